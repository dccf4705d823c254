"""What the commands share: errors to exit codes, progress, colours, and numbers for people."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from usbmon.errors import FormatError, UsbmonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from click.shell_completion import CompletionItem

    from usbmon.events import Events
    from usbmon.files import Trace
    from usbmon.filters import Filter
    from usbmon.formats.base import Note, Notes

_Command = TypeVar("_Command", bound="Callable[..., Any]")

# A read that takes no longer needs no progress.
_QUIET_SECONDS: Final = 0.5
_EVERY_SECONDS: Final = 0.2


def files_argument(function: _Command) -> _Command:
    return click.argument(
        "files",
        metavar="FILE...",
        nargs=-1,
        required=True,
        type=click.Path(allow_dash=True, path_type=str),
    )(function)


def input_options(function: _Command) -> _Command:
    """The options of whatever reads a trace."""
    from usbmon.formats import FORMATS

    names = [format.name for format in FORMATS if format.decoder]
    for option in (
        click.option(
            "--strict",
            is_flag=True,
            help="Refuse a trace that needs mending, with exit code 4, and say at which line.",
        ),
        click.option(
            "--from",
            "source_format",
            type=click.Choice(names),
            metavar="FORMAT",
            help="Read the input as this format instead of finding it out (see `usbmon formats`).",
        ),
    ):
        function = option(function)
    return function


class Expression(click.ParamType["Filter"]):
    """A filter (`usbmon filter --help`)."""

    name = "filter"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Filter:
        from usbmon import filters

        try:
            return filters.compile(value)
        except filters.FilterError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from usbmon import filters

        return [CompletionItem(text) for text in filters.complete(incomplete)]


def filter_option(function: _Command) -> _Command:
    return click.option(
        "-F",
        "--filter",
        "filter_",
        type=Expression(),
        metavar="EXPR",
        help="Only these events, as 'dev == 1:5 and status != 0' (see `usbmon filter --help`).",
    )(function)


def complain(message: str) -> None:
    """One line on standard error."""
    word = click.style("usbmon:", fg="red", bold=True) if use_colour(sys.stderr) else "usbmon:"
    click.echo(f"{word} {message}", err=True, color=True)


def exit_code(error: UsbmonError) -> int:
    if isinstance(error, FormatError):
        return 4 if error.mendable else 3
    return 1


def for_each(files: Iterable[str], work: Callable[[str], None]) -> int:
    """Do the work for each file, going on after an error; returns the exit code of the first."""
    code = 0
    for file in files:
        try:
            work(file)
        except UsbmonError as error:
            sys.stdout.flush()
            complain(str(error))
            code = code or exit_code(error)
    return code


def use_colour(stream: Any, wish: str = "auto") -> bool:
    """Whether to colour what goes to the stream (https://no-color.org)."""
    if wish != "auto":
        return wish == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width(stream: Any) -> int:
    """The columns of the terminal that the stream goes to; 0 where there is no limit."""
    if not stream.isatty():
        return 0
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 0


def tracked(trace: Trace, *, also_on_terminal: bool = True) -> Iterator[Events]:
    """The batches of a trace, with progress on standard error where that is a terminal and the
    size of the trace is known. Without `also_on_terminal`, none if the output goes to one too."""
    shown = trace.size and sys.stderr.isatty() and (also_on_terminal or not sys.stdout.isatty())
    return _with_progress(trace) if shown else iter(trace)


def _with_progress(trace: Trace) -> Iterator[Events]:
    assert trace.size
    begun = time.monotonic()
    due = begun + _QUIET_SECONDS
    events = 0
    try:
        for batch in trace:
            events += len(batch)
            now = time.monotonic()
            if now >= due:
                part = min(1.0, trace.position / trace.size)
                left = (now - begun) * (1 - part) / part if part else 0
                sys.stderr.write(f"\r\033[K{part:4.0%}  {events:,} events  {left:.0f} s left")
                sys.stderr.flush()
                due = now + _EVERY_SECONDS
            yield batch
    finally:
        if due > begun + _QUIET_SECONDS:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def warn_of(notes: Notes, name: str) -> None:
    """Say on standard error what was mended and left out, so that nothing is lost in silence."""
    told = [note for note in notes.values() if note.is_repair]
    if told:
        complain(f"{name}: " + "; ".join(map(note_words, told)))


def note_words(note: Note) -> str:
    from usbmon.formats.base import PLACES_KEPT

    more = note.count > len(note.places) == PLACES_KEPT
    places = f" ({', '.join(note.places)}{', …' if more else ''})"
    return f"{note.count:,} {note.words}{places if note.places else ''}"


def size_words(size: int) -> str:
    """A size in bytes, as 1.5 MB (powers of ten, as ls --si and disks have them)."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} bytes" if size != 1 else "1 byte"


def clock_words(clock: str, ns: int) -> str:
    """A time of one of `layout.CLOCKS`, for a person."""
    if clock != "wall":
        return f"{ns / 1e9:.6f} s"
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f UTC")


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a terminal that goes away end a capture in order, by `stop`; a second one
    ends it at once, by KeyboardInterrupt."""
    came = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True
        stop()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: in order. While an event loop runs, Ctrl-C is its to
    handle: an exception would be raised in whichever task is at work."""

    def interrupt(_number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
