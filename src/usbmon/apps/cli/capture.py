"""``usbmon capture``: what happens on a bus, into files or onto the screen.

Here: the options, the loop, and what is said while it goes on. Not here: sources
(`usbmon.sources`), where events go (`_sinks`).
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from usbmon import __version__
from usbmon.apps.cli import _common
from usbmon.apps.cli._sinks import NO_ROTATION, FileSink, Rotation, Sink, ViewSink
from usbmon.apps.cli.convert import targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.events import Events
    from usbmon.filters import Filter
    from usbmon.sources import Source
    from usbmon.sources.trigger import Trigger

_EVERY_SECONDS: Final = 0.2
_JSON_SECONDS: Final = 1.0
# What a compressed file holds is safe so often.
_FLUSH_SECONDS: Final = 1.0
_SIZE: Final = re.compile(r"(\d+)\s*([kMGT]?)B?", re.IGNORECASE)
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?")
_POWERS: Final = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12}
_UNITS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NS: Final = 1_000_000_000


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


class _Settings(NamedTuple):
    """What the loop is to do."""

    most: int | None
    duration: float | None
    size: int | None
    snaplen: int | None
    filter: Filter | None
    trigger: Trigger | None
    quiet: bool
    json: bool


@click.command("capture")
@click.argument("specs", metavar="SOURCE...", nargs=-1, required=True)
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
@click.option("--show", is_flag=True, help="Print events as `usbmon show` does.")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N events.")
@click.option("-d", "--duration", type=TIME, metavar="TIME", help="Stop after this time, as 10s.")
@click.option("--size", type=SIZE, metavar="SIZE", help="Stop after SIZE of events, as 1GB.")
@click.option(
    "-s",
    "--snaplen",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep at most N bytes of the data of an event.",
)
@click.option(
    "-F",
    "--filter",
    "filter_",
    type=_common.Expression(),
    metavar="EXPR",
    help="Keep only these events.",
)
@click.option(
    "--start-on", type=_common.Expression(), metavar="EXPR", help="Begin with the first such event."
)
@click.option(
    "--stop-on", type=_common.Expression(), metavar="EXPR", help="End with the next such event."
)
@click.option("--before", type=TIME, metavar="TIME", help="Keep this time before --start-on, too.")
@click.option("--after", type=TIME, metavar="TIME", help="Keep this time after --stop-on, too.")
@click.option(
    "--rotate-size",
    type=SIZE,
    metavar="SIZE",
    help="Begin a new file after SIZE, as 10MB: name-0001.pcapng, name-0002.pcapng, …",
)
@click.option("--rotate-time", type=TIME, metavar="TIME", help="Begin a new file after TIME.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of the files that rotation makes, keep the last N.",
)
@click.option(
    "--ring",
    type=SIZE,
    metavar="SIZE",
    help="How large the kernel's ring is to be, as 64MB.  [default: 16.8 MB]",
)
@click.option(
    "--by",
    "way",
    type=click.Choice(["auto", "mmap", "getx", "read", "text"]),
    help="How events are taken from the kernel; auto: the best way that works.",
)
@click.option("--wait", is_flag=True, default=None, help="Wait for a device that is not there yet.")
@click.option("--hubs", is_flag=True, default=None, help="Of a device: its hubs' events as well.")
@click.option(
    "--describe/--no-describe",
    default=None,
    help="Keep the descriptors of the devices that are there, as sysfs has them.  [default: keep]",
)
@click.option("--listen", metavar="ADDRESS[:PORT]", help="Where clients of usbip: are to connect.")
@click.option("--paced", is_flag=True, default=None, help="Let a virtual bus keep the real time.")
@click.option("--seed", type=int, metavar="N", help="What chance on a virtual bus starts from.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("-q", "--quiet", is_flag=True, help="No counts and no summary.")
@click.option("--json", "as_json", is_flag=True, help="Counts and summary as lines of JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Say what happens on a virtual bus.")
def command(
    specs: tuple[str, ...],
    *,
    outputs: tuple[str, ...],
    target_format: str | None,
    text: bool,
    show: bool,
    count: int | None,
    duration: float | None,
    size: int | None,
    snaplen: int | None,
    filter_: Filter | None,
    start_on: Filter | None,
    stop_on: Filter | None,
    before: float | None,
    after: float | None,
    rotate_size: int | None,
    rotate_time: float | None,
    keep: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Capture what happens on a bus.

    SOURCE is one of these; several are merged by time into one file.

    \b
      3, all               a bus of this machine by its number, or all of them
      0557:2004            one device, wherever it is plugged; serial:NUMBER or part
                           of its name do as well (`usbmon devices` lists them)
      text:PATH            usbmon's text as it comes, from a file or a FIFO
      ssh:HOST/SOURCE      the same on another machine, where nothing is installed
      virtual:DEVICE,…     a virtual bus with these devices at work, or a scenario
                           (`usbmon bus --list` names them)
      usbip:HOST           a USB/IP server that is reached through a proxy

    With no -o, events are printed as usbmon text. Ctrl-C ends the capture in order; whatever ends
    it, the file is valid up to there. A capture holds what is typed on keyboards: its files are
    readable by you alone.

    \b
    Examples:
      usbmon capture 1 -o bus1.pcapng
      usbmon capture 046d:c31c -o keyboard.pcapng --wait
      usbmon capture all -o all.pcapng.zst --rotate-size 100MB --keep 10
      usbmon capture 1 -o stall.pcapng --start-on 'status == EPIPE' --before 2s -d 1m
      usbmon capture virtual:flash -o key.pcapng
      usbmon capture virtual:microphone -o mic.pcapng -o mic.txt -d 500ms
      usbmon capture ssh:root@board/1 -o board.pcapng
    """
    from usbmon import sources

    rotation = Rotation(rotate_size, rotate_time, keep or 0)
    given = {name: value for name, value in options.items() if value is not None}
    _check_outputs(outputs, printed=text + show, rotates=rotation.is_wanted, keeps=bool(keep))
    if (before and start_on is None) or (after and stop_on is None):
        raise click.UsageError("--before goes with --start-on, --after with --stop-on")
    kinds = [sources.kind_of(spec)[0] for spec in specs]
    for name in given:
        takes = [row.name for row in sources.SOURCES if name in row.options]
        if not any(name in kind.options for kind in kinds):
            option = {"way": "by"}.get(name, name)
            raise click.UsageError(f"--{option} is for {' and '.join(takes)} sources only")
    is_virtual = all(kind.name == "virtual" for kind in kinds)
    report = _reporter(verbose=verbose if is_virtual else not (quiet or as_json))
    trigger = _trigger(start_on, stop_on, before, after)
    settings = _Settings(count, duration, size, snaplen, filter_, trigger, quiet, as_json)
    to_stdout = ["-"] if text or not (outputs or show) else []
    ending = _Ending()
    with (
        _common.stopped_by_signals(ending),
        sources.capture(*specs, report=report, **given) as source,
        ExitStack() as unfinished,
    ):
        ending.source = source
        sinks: list[Sink] = []
        for path in (*outputs, *to_stdout):
            is_text = path == "-" and path not in outputs
            sink = FileSink(
                source,
                path,
                "u" if is_text else target_format or "",
                NO_ROTATION if path == "-" else rotation,
                force=force,
                about=_about(),
                comments=_comments(is_virtual=is_virtual),
            )
            unfinished.callback(sink.abandon)
            sinks.append(sink)
        if show:
            sinks.append(ViewSink(_view()))
        unfinished.pop_all()  # from here on, what there is is kept
        return _Loop(source, sinks, settings, ending).run()


def _check_outputs(outputs: tuple[str, ...], *, printed: int, rotates: bool, keeps: bool) -> None:
    if rotates and not outputs:
        raise click.UsageError("--rotate-size and --rotate-time need a file: say -o FILE")
    if rotates and "-" in outputs:
        raise click.UsageError("standard output cannot be rotated")
    if keeps and not rotates:
        raise click.UsageError("--keep goes with --rotate-size or --rotate-time")
    if len(set(outputs)) < len(outputs):
        raise click.UsageError("an output is named twice")
    if printed + ("-" in outputs) > 1:
        raise click.UsageError("only one of --text, --show and -o - can have standard output")


def _reporter(*, verbose: bool) -> Callable[[str], None] | None:
    """What says a line, on a terminal in place of the counts."""
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    return (lambda line: click.echo(clear + line, err=True)) if verbose else None


class _Ending:
    """What a signal does: while a source is being opened it interrupts that, and then it stops the
    source, so that nothing is lost that came."""

    def __init__(self) -> None:
        self.source: Source | None = None
        self.came = False

    def __call__(self) -> None:
        self.came = True
        if self.source is None:
            raise KeyboardInterrupt
        self.source.stop()


def _trigger(
    start: Filter | None, stop: Filter | None, before: float | None, after: float | None
) -> Trigger | None:
    if start is None and stop is None:
        return None
    from usbmon.sources.trigger import Trigger

    return Trigger(
        start.following() if start is not None else None,
        stop.following() if stop is not None else None,
        before=round((before or 0) * _NS),
        after=round((after or 0) * _NS),
    )


def _view() -> Any:
    from usbmon.apps.cli import _views

    return _views.new_view(
        "lines",
        time="relative",
        hexdump=False,
        colour=_common.use_colour(sys.stdout, "auto"),
        several=False,
        width=_common.width(sys.stdout),
    )


def _about() -> dict[str, str]:
    """What a capture file says of how it was made."""
    system = os.uname()
    return {
        "hardware": system.machine,
        "os": f"{system.sysname} {system.release} ({system.nodename})",
        "application": f"usbmon {__version__}",
    }


def _comments(*, is_virtual: bool) -> tuple[str, ...]:
    """The command, and how the clocks of text (monotonic) and of records (real) are related."""
    import shlex

    command = "command: " + shlex.join(["usbmon", *sys.argv[1:]])
    if is_virtual:
        return (command,)
    seconds, real = time.monotonic_ns() / _NS, time.time_ns() / _NS
    return command, f"clocks: monotonic {seconds:.6f} s was real {real:.6f} s"


class _Loop:
    """From the source to the sinks, until it is enough."""

    def __init__(
        self, source: Source, sinks: list[Sink], settings: _Settings, ending: _Ending
    ) -> None:
        self._ending = ending
        self._source = source
        self._sinks = sinks
        self._set = settings
        self._shows = (
            not settings.quiet
            and not settings.json
            and sys.stderr.isatty()
            and not (sys.stdout.isatty() and any(sink.path == "-" for sink in sinks))
        )
        self._told = [interface.dropped for interface in source.interfaces]
        chosen = settings.filter
        self._filter = chosen.following(keep_synthetic=True) if chosen is not None else None
        self._due = self._flush_due = 0.0
        self._events = 0
        self._bytes = 0
        self._latest = 0
        self._ended = "source"
        self._error: Exception | None = None

    def run(self) -> int:
        """The exit code."""
        from usbmon.errors import UsbmonError

        try:
            self._pump()
        except UsbmonError as error:
            self._error, self._ended = error, "error"
        except KeyboardInterrupt:  # a second one: what is still to come is given up
            self._ended = "interrupted"
        finally:
            self._clear()
        if self._ending.came and self._ended == "source":
            self._ended = "interrupted"
        self._finish()
        if self._set.json:
            self._tell(self._summary())
        elif not self._set.quiet:
            self._sum_up()
        if self._error is None:
            return 0
        _common.complain(str(self._error))
        return _common.exit_code(self._error) if isinstance(self._error, UsbmonError) else 1

    def _finish(self) -> None:
        from usbmon.errors import UsbmonError

        self._report_drops()
        for sink in self._sinks:
            try:
                sink.close()
            except UsbmonError as error:  # the others are to be brought to their end too
                self._error = self._error or error

    def _pump(self) -> None:
        for batch in self._source:
            self._report_drops()
            self._take(self._chosen(batch))
            for remark in self._source.remarks():
                self._to_sinks("report", _remark(remark))
            if time.monotonic() >= self._flush_due:
                self._flush_due = time.monotonic() + _FLUSH_SECONDS
                self._to_sinks("flush")
            self._progress()
            if not self._sinks or self._is_enough():
                return

    def _chosen(self, events: Events) -> Events:
        """What is kept of a batch."""
        if not len(events):
            return events
        if self._filter is not None:
            events = events[self._filter(events)]
        if self._set.trigger is not None:
            events = self._set.trigger.feed(events)
        if self._set.most is not None:
            real = (~events.synthetic).cumsum()
            events = events[real <= self._set.most - self._events]
        if self._set.snaplen is not None:
            events = events.cut(self._set.snaplen)
        return events

    def _take(self, events: Events) -> None:
        if not len(events):
            return
        self._events += int((~events.synthetic).sum())
        self._bytes += int(events.captured.sum())
        self._latest = int(events.ts[-1])
        self._to_sinks("write", events)

    def _to_sinks(self, what: str, *arguments: Any) -> None:
        """One that fails is left; the others go on."""
        from usbmon.errors import UsbmonError

        for sink in list(self._sinks):
            try:
                getattr(sink, what)(*arguments)
            except UsbmonError as error:
                self._sinks.remove(sink)
                with suppress(UsbmonError):
                    sink.close()
                if self._error is None:
                    self._error = error
                else:
                    _common.complain(str(error))

    def _report_drops(self) -> None:
        """Where events are missing, before those that follow."""
        from usbmon.formats.base import Report

        for number, interface in enumerate(self._source.interfaces):
            if interface.dropped != self._told[number]:
                self._told[number] = interface.dropped
                self._to_sinks("report", Report(number, self._latest, dropped=interface.dropped))

    def _is_enough(self) -> bool:
        """Whether the loop is to end now; a time that has passed only stops the source, which has
        more to give."""
        count, duration, size = self._set.most, self._set.duration, self._set.size
        if count is not None and self._events >= count:
            self._ended = "count"
        elif size is not None and self._bytes >= size:
            self._ended = "size"
        elif self._set.trigger is not None and self._set.trigger.done:
            self._ended = "trigger"
        else:
            if self._ended == "source" and duration and self._source.elapsed >= duration:
                self._ended = "duration"
                self._source.stop()
            return False
        return True

    # What is said.

    def _progress(self) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        if self._set.json:
            self._due = now + _JSON_SECONDS
            self._tell({"type": "progress", **self._numbers()})
        elif self._shows:
            self._due = now + _EVERY_SECONDS
            waits = self._set.trigger is not None and not self._set.trigger.started
            words = "waiting for --start-on  " if waits else ""
            sys.stderr.write(f"\r\033[K{words}{self._counts()}  (Ctrl-C ends)")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._shows and self._due:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _numbers(self) -> dict[str, Any]:
        return {
            "events": self._events,
            "bytes": self._bytes,
            "seconds": round(self._source.elapsed, 3),
            "dropped": self._source.dropped or (None if self._is_unsure else 0),
        }

    @property
    def _is_unsure(self) -> bool:
        """Whether there may be losses that nothing has told of."""
        return any(interface.dropped is None for interface in self._source.interfaces)

    def _drops(self) -> str:
        dropped = self._source.dropped
        if not self._is_unsure:
            return f"{dropped:,} dropped"
        return f"{dropped:,} dropped or more" if dropped else "drops not known"

    def _counts(self) -> str:
        return (
            f"{self._events:,} events  {_common.size_words(self._bytes)}  "
            f"{self._source.elapsed:.1f} s  {self._drops()}"
        )

    @staticmethod
    def _tell(value: dict[str, Any]) -> None:
        click.echo(json.dumps(value), err=True)

    def _files(self) -> Iterator[tuple[str, Any, int]]:
        """The files that are there: path, encoder, size."""
        for sink in self._sinks:
            if isinstance(sink, FileSink) and sink.path != "-":
                for path, encoder in sink.written:
                    if os.path.exists(path):  # noqa: PTH110 (it failed, and that has been told)
                        yield path, encoder, os.stat(path).st_size  # noqa: PTH116

    def _summary(self) -> dict[str, Any]:
        return {
            "type": "summary",
            **self._numbers(),
            "ended": self._ended,
            "error": None if self._error is None else str(self._error),
            "files": [
                {"path": path, "format": encoder.format, "bytes": size, "lost": encoder.lost}
                for path, encoder, size in self._files()
            ],
        }

    def _sum_up(self) -> None:
        ended = ", ended by you" if self._ended == "interrupted" else ""
        click.echo(f"captured: {self._counts()}{ended}", err=True)
        trigger = self._set.trigger
        if trigger is not None and not trigger.started:
            click.echo("  the event of --start-on did not come", err=True)
        elif trigger is not None and trigger.shortened:
            click.echo("  not all of the time of --before fitted into memory", err=True)
        for path, encoder, size in self._files():
            click.echo(f"  {path}: {encoder.format}, {_common.size_words(size)}", err=True)
            for words, number in encoder.lost.items():
                click.echo(f"    lost: {words} ({number:,} events)", err=True)


def _remark(remark: Any) -> Any:
    from usbmon.formats.base import Report

    return Report(remark.interface, remark.ts, comments=(remark.text,))
