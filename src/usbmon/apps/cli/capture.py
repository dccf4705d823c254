"""``usbmon capture``: what happens on a bus, into files or onto the screen.

Here: the options, the loop, and what is said while it goes on. Not here: sources
(`usbmon.sources`) and writing (`usbmon.files.Writer`).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from usbmon.apps.cli import _common
from usbmon.apps.cli.convert import targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from usbmon.events import Events
    from usbmon.files import Writer
    from usbmon.sources import Source

_EVERY_SECONDS: Final = 0.2
_SIZE: Final = re.compile(r"(\d+)\s*([kMGT]?)B?", re.IGNORECASE)
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?")
_POWERS: Final = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12}
_UNITS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class _Size(click.ParamType[int]):
    """A number of bytes, as 500k or 10MB (powers of ten)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _SIZE.fullmatch(str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is no size; write one as 500k or 10MB", param, ctx)
        size: int = int(match[1]) * 10 ** _POWERS[match[2].upper()]
        return size


class _Time(click.ParamType[float]):
    """A time in seconds, or with a unit, as 500ms or 2m."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = _TIME.fullmatch(str(value))
        seconds = float(match[1]) * _UNITS[match[2]] if match is not None else 0.0
        if not seconds:
            self.fail(f"{value!r} is no time; write one as 5, 500ms or 2m", param, ctx)
        return seconds


SIZE, TIME = _Size(), _Time()


@click.command("capture", short_help="Capture what happens on a bus.")
@click.argument("spec", metavar="SOURCE")
@click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE",
    multiple=True,
    type=click.Path(allow_dash=True),
    help="Write to FILE, in the format of its suffix; may be given several times.",
)
@click.option(
    "--to",
    "target_format",
    type=click.Choice(targets()),
    metavar="FORMAT",
    help="Write this format whatever the suffixes say (see `usbmon formats`).",
)
@click.option("--text", is_flag=True, help="Print events as usbmon text to standard output.")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N events.")
@click.option("-d", "--duration", type=TIME, metavar="TIME", help="Stop after this time, as 10s.")
@click.option(
    "--rotate-size",
    type=SIZE,
    metavar="SIZE",
    help="Begin a new file after SIZE, as 10MB: name-0001.pcapng, name-0002.pcapng, …",
)
@click.option("--rotate-time", type=TIME, metavar="TIME", help="Begin a new file after TIME.")
@click.option("--listen", metavar="ADDRESS[:PORT]", help="Where clients of usbip: are to connect.")
@click.option("--paced", is_flag=True, help="Let a virtual bus keep to the real clock.")
@click.option("--seed", type=int, metavar="N", help="What chance on a virtual bus starts from.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("-q", "--quiet", is_flag=True, help="No counts and no summary.")
@click.option("-v", "--verbose", is_flag=True, help="Say what happens on a virtual bus.")
def command(
    spec: str,
    *,
    outputs: tuple[str, ...],
    target_format: str | None,
    text: bool,
    count: int | None,
    duration: float | None,
    rotate_size: int | None,
    rotate_time: float | None,
    listen: str | None,
    paced: bool,
    seed: int | None,
    force: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Capture what happens on a bus.

    SOURCE is virtual:DEVICE[,DEVICE…] or virtual:FILE.toml, a bus of usbmon's own with these
    devices at work (`usbmon bus --list` names them), or usbip:HOST[:PORT], a USB/IP server that is
    reached through a proxy. With no -o, events are printed as usbmon text.

    Ctrl-C ends the capture; what was captured is a valid file.

    \b
    Examples:
      usbmon capture virtual:flash -o key.pcapng
      usbmon capture virtual:keyboard,mouse --text
      usbmon capture virtual:microphone -o mic.pcapng -o mic.txt -d 500ms
      usbmon capture virtual:scenario.toml -o all.pcapng.zst --rotate-size 10MB
    """
    from usbmon import sources

    rotates = rotate_size is not None or rotate_time is not None
    _check_outputs(outputs, text=text, rotates=rotates)
    kind = spec.partition(":")[0]
    options: dict[str, Any] = {"report": _reporter(verbose=verbose)}
    if kind != "virtual" and (paced or seed is not None):
        raise click.UsageError("--paced and --seed are for virtual: only")
    if kind != "usbip" and listen is not None:
        raise click.UsageError("--listen is for usbip: only")
    if kind == "virtual":
        options |= {"paced": paced, "seed": seed}
    elif kind == "usbip":
        options |= {"listen": listen, "report": _reporter(verbose=not quiet)}
    with closing(sources.open(spec, **options)) as source, ExitStack() as stack:
        sinks = []
        for path in outputs:
            sink = _Sink(source, path, target_format, rotate_size, rotate_time, force=force)
            stack.callback(sink.abandon)
            sinks.append(sink)
        if text or not outputs:
            sinks.append(_Sink(source, "-", "u", None, None, force=False))
        stack.pop_all()  # from here on, what there is is kept
        return _Capture(source, sinks, count, duration, quiet=quiet).run()


def _check_outputs(outputs: tuple[str, ...], *, text: bool, rotates: bool) -> None:
    if rotates and not outputs:
        raise click.UsageError("--rotate-size and --rotate-time need a file: say -o FILE")
    if rotates and "-" in outputs:
        raise click.UsageError("standard output cannot be rotated")
    if len(set(outputs)) < len(outputs):
        raise click.UsageError("an output is named twice")
    if "-" in outputs and text:
        raise click.UsageError("--text and -o - both go to standard output")


def _reporter(*, verbose: bool) -> Any:
    return (lambda line: click.echo(line, err=True)) if verbose else None


class _Sink:
    """One output: a file, or a row of them."""

    def __init__(
        self,
        source: Source,
        path: str,
        format: str | None,
        size: int | None,
        seconds: float | None,
        *,
        force: bool,
    ) -> None:
        self.path = path
        self.written: list[str] = []
        self.encoders: list[Any] = []
        self._source = source
        self._format = format or ""
        self._size, self._seconds = size, seconds
        self._force = force
        self._since = 0.0
        self._writer = self._open()

    def _open(self) -> Writer:
        from usbmon import files

        path = self.path
        if self._size is not None or self._seconds is not None:
            stem, dot, suffix = os.path.basename(path).partition(".")  # noqa: PTH119
            name = f"{stem}-{len(self.written) + 1:04}{dot}{suffix}"
            path = os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120
        writer = files.Writer(
            path, format=self._format, force=self._force, interfaces=self._source.interfaces
        )
        self.written.append(path)
        self.encoders.append(writer.encoder)
        return writer

    def write(self, events: Events) -> None:
        if self._size is None:
            self._write(events)
        else:  # the size of a file is looked at before each event
            for number in range(len(events)):
                self._write(events[number : number + 1])
        if self.path == "-":
            sys.stdout.flush()

    def _write(self, events: Events) -> None:
        if self._is_full():
            self.close()
            self._since = self._source.elapsed
            self._writer = self._open()
        self._writer.write(events)

    def _is_full(self) -> bool:
        if self._size is not None and self._writer.size >= self._size:
            return True
        return self._seconds is not None and self._source.elapsed - self._since >= self._seconds

    def close(self) -> None:
        """Bring the file to its end."""
        self._source.interfaces[0].dropped = self._source.dropped
        self._writer.__exit__(None, None, None)

    def abandon(self) -> None:
        """Leave no file behind."""
        error = RuntimeError()
        self._writer.__exit__(RuntimeError, error, None)


class _Capture:
    """The loop: from the source to the sinks, until it is enough."""

    def __init__(
        self,
        source: Source,
        sinks: list[_Sink],
        count: int | None,
        duration: float | None,
        *,
        quiet: bool,
    ) -> None:
        self._source = source
        self._sinks = sinks
        self._limit = count
        self._duration = duration
        self._quiet = quiet
        self._shows = not quiet and sys.stderr.isatty() and not self._prints_on_terminal()
        self._due = 0.0
        self._events = 0
        self._bytes = 0

    def _prints_on_terminal(self) -> bool:
        return any(sink.path == "-" for sink in self._sinks) and sys.stdout.isatty()

    def run(self) -> int:
        """The exit code."""
        from usbmon.errors import UsbmonError

        failed: UsbmonError | None = None
        interrupted = False
        try:
            with terminated_as_interrupt():
                try:
                    self._pump()
                except KeyboardInterrupt:
                    interrupted = True
                except UsbmonError as error:
                    failed = error
                finally:
                    self._source.close()
                    self._clear()
        except KeyboardInterrupt:  # a second one, while the first was being served
            interrupted = True
        for sink in self._sinks:
            try:
                sink.close()
            except UsbmonError as error:  # the others are to be brought to their end too
                failed = failed or error
        if not self._quiet:
            self._sum_up(interrupted=interrupted)
        if failed is not None:
            _common.complain(str(failed))
            return _common.exit_code(failed)
        return 0

    def _pump(self) -> None:
        for batch in self._source:
            events = batch
            if self._limit is not None and self._events + len(events) >= self._limit:
                events = events[: self._limit - self._events]
            if len(events):
                self._take(events)
            if self._shows:
                self._show()
            if self._limit is not None and self._events >= self._limit:
                return
            if self._duration is not None and self._source.elapsed >= self._duration:
                return

    def _take(self, events: Events) -> None:
        self._events += len(events)
        # The arena of a part is that of its whole.
        whole = self._limit is None or self._events < self._limit
        self._bytes += len(events.buffers[1]) if whole else sum(len(e.data) for e in events)
        for sink in self._sinks:
            sink.write(events)

    def _show(self) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _EVERY_SECONDS
            sys.stderr.write(f"\r\033[K{self._counts()}  (Ctrl-C ends)")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._shows and self._due:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _counts(self) -> str:
        dropped = self._source.dropped
        return (
            f"{self._events:,} events  {_common.size_words(self._bytes)}  "
            f"{self._source.elapsed:.1f} s  {dropped:,} dropped"
        )

    def _sum_up(self, *, interrupted: bool) -> None:
        ended = ", ended by you" if interrupted else ""
        click.echo(f"captured: {self._counts()}{ended}", err=True)
        for sink in self._sinks:
            for path, encoder in zip(sink.written, sink.encoders, strict=True):
                if path == "-":
                    continue
                if not os.path.exists(path):  # noqa: PTH110 (it failed, and that has been told)
                    continue
                size = _common.size_words(os.stat(path).st_size)  # noqa: PTH116
                click.echo(f"  {path}: {encoder.format}, {size}", err=True)
                for words, number in encoder.lost.items():
                    click.echo(f"    lost: {words} ({number:,} events)", err=True)


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a capture as Ctrl-C does: in order. While an event loop runs, Ctrl-C is its to
    handle: an exception would be raised in whichever task is at work."""

    def interrupt(_number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
