"""``usbmon bus``: a virtual bus at work, told as it goes.

Here: the options and the log. Not here: the bus (`usbmon.bus`) and scenarios
(`usbmon.sources.scenario`); to capture one is ``usbmon capture virtual:…``.
"""

from __future__ import annotations

import inspect
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import click

from usbmon.apps.cli import _common
from usbmon.apps.cli._common import terminated_as_interrupt
from usbmon.apps.cli.capture import TIME

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.sources.scenario import Stage

_SLICE_NS: Final = 50_000_000
_SETTLE_NS: Final = 100_000_000
_EVERY_SECONDS: Final = 0.2
_SECOND: Final = 1_000_000_000


def _list(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """What there is to put on a bus, and to do with it."""
    if not value or ctx.resilient_parsing:
        return
    from usbmon.bus.devices import MODELS
    from usbmon.sources.verbs import DEFAULT_STEPS, VERBS

    click.echo("devices, and what they do when only named:")
    for model in MODELS:
        steps = ", ".join(step["do"] for step in DEFAULT_STEPS[model.name])
        click.echo(f"  {model.name:<11} {model.words}: {steps}")
    click.echo("\nwhat a step of a scenario may `do`, and with what (see docs/bus.md):")
    for name, verb in VERBS.items():
        parameters = list(inspect.signature(verb).parameters.values())[1:]
        words = [p.name if p.default is p.empty else f"[{p.name}]" for p in parameters]
        click.echo(f"  {name:<11} {' '.join(words)}")
    ctx.exit()


@click.command("bus")
@click.argument("what", metavar="DEVICE... | SCENARIO.toml", nargs=-1, required=True)
@click.option("--paced", is_flag=True, help="Keep to the real clock, instead of going fast.")
@click.option("--seed", type=int, metavar="N", help="What chance starts from.")
@click.option("-d", "--duration", type=TIME, metavar="TIME", help="Stop after this time, as 10s.")
@click.option("--devices", is_flag=True, help="At the end, list the devices as the kernel does.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="List the devices there are and what can be done with them, and exit.",
)
def command(
    what: tuple[str, ...],
    *,
    paced: bool,
    seed: int | None,
    duration: float | None,
    devices: bool,
    quiet: bool,
) -> int:
    """Run a virtual USB bus with devices at work, and tell what happens.

    Either DEVICEs by name, each of which is plugged in and does what it is for, or a scenario in
    TOML: which devices, what is done with them, and when. Time is virtual and costs nothing; with
    --paced it is the real one.

    \b
    Examples:
      usbmon bus --list
      usbmon bus flash keyboard
      usbmon bus hub webcam --paced
      usbmon bus scenario.toml --devices
    """
    from usbmon.devices import listing, virtual
    from usbmon.sources.scenario import Stage
    from usbmon.sources.virtual import choose

    log = _Log(quiet=quiet)
    stage = Stage(choose(list(what), seed), paced=paced, report=log.line)
    log.now = lambda: stage.loop.now
    begun = time.monotonic()
    with terminated_as_interrupt(), closing(stage):
        try:
            _run(stage, log, None if duration is None else round(duration * _SECOND))
        except KeyboardInterrupt:
            log.line("ended by you")
    if devices:
        click.echo(listing.write(virtual.devices(stage.host)), nl=False)
    if not quiet:
        urbs = sum(controller.completed for controller in stage.host.controllers)
        click.echo(
            f"{urbs:,} URBs in {stage.loop.now / _SECOND:.3f} s of the bus, "
            f"{time.monotonic() - begun:.1f} s of ours",
            err=True,
        )
    if stage.error is not None:
        _common.complain(str(stage.error))
        return 1
    return 0


def _run(stage: Stage, log: _Log, end: int | None) -> None:
    while not stage.done and (end is None or stage.loop.now < end):
        until = stage.loop.now + _SLICE_NS
        stage.loop.run(until if end is None else min(until, end))
        log.progress()
    if end is None:  # what the last step has set going
        stage.loop.run(stage.loop.now + _SETTLE_NS)
    log.clear()


class _Log:
    """Lines with the time of the bus, as dmesg has them; and that time, where nothing is said."""

    def __init__(self, *, quiet: bool) -> None:
        self.now: Callable[[], int] = lambda: 0
        self._quiet = quiet
        self._shows = not quiet and sys.stderr.isatty()
        self._due = 0.0

    def line(self, text: str) -> None:
        self.clear()
        if not self._quiet:
            click.echo(f"[{self.now() / _SECOND:12.6f}] {text}")

    def progress(self) -> None:
        if self._shows and time.monotonic() >= self._due:
            self._due = time.monotonic() + _EVERY_SECONDS
            sys.stderr.write(f"\r\033[K[{self.now() / _SECOND:12.6f}]  (Ctrl-C ends)")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shows and self._due:
            self._due = 0.0
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
