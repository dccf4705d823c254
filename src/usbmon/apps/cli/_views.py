"""How `usbmon show` shows events: a `View` for each form of output.

Events in, bytes out; the one place that turns an event into what people and programs read. To add a
form, write a class and a row in `VIEWS`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import click

from usbmon._kernel import lines
from usbmon.formats import by_name
from usbmon.usb.errno import ERRNO, status_name
from usbmon.usb.setup import setup_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from usbmon.events import Event, Events

_TIMES: Final = {"relative": lines.RELATIVE, "absolute": lines.ABSOLUTE, "delta": lines.DELTA}
_CHUNK: Final = 1 << 18
_WIDE: Final = 16
# What stands behind the length in a line where it is no words: packets, data, or what is left of
# them when they were cut to fit.
_DATA: Final = re.compile(r"( +\d+ packets(, \d+ failed)?)?( +[0-9a-f]{1,8}| \.\.?)*…?")


def _status_words(status: int) -> str:
    name = ERRNO.get(-status)
    return f"{name} {status}" if name else str(status)


_STATUSES: Final = b"".join(
    _status_words(-n).encode().ljust(lines.STATUS_WIDTH) for n in range(lines.STATUSES)
)
_MARKS: Final = tuple(
    b"".join(
        f"  [{words}]".encode()
        for bit, words in enumerate(("doubled", "no submission", "mended", "sysfs"))
        if marks >> bit & 1
    )
    for marks in range(256)
)


@lru_cache(4096)
def _setup_bytes(setup: bytes) -> bytes:
    return setup_words(setup).encode()


class View(ABC):
    """`begin` and `end` stand round all, `begin_trace` before each trace."""

    def __init__(
        self,
        *,
        several: bool,
        time: str = "relative",
        hexdump: bool = False,
        colour: bool = False,
        width: int = 0,
    ) -> None:
        """`several`: there is more than one trace, so that each is to be named. `width`: what is
        for eyes has no longer lines, unless it is 0."""
        self._time = time
        self._hexdump = hexdump
        self._colour = colour
        self._width = width
        self._several = several
        self._name = ""
        self._number = 0

    def begin(self) -> bytes:
        return b""

    def begin_trace(self, name: str) -> bytes:
        self._name = name
        self._number = 0
        return b""

    def look(self, events: Events) -> Events:
        """The same events. Of those that are read, whether they are shown or not, the first has the
        time that others are relative to."""
        return events

    @abstractmethod
    def show(self, events: Events) -> Iterator[bytes | memoryview]: ...

    def end(self) -> bytes:
        return b""


class LinesView(View):
    """One line an event, as `usbmon._kernel.lines` prints it."""

    def begin_trace(self, name: str) -> bytes:
        first = not self._name
        super().begin_trace(name)
        self._zero: int | None = None
        if not self._several:
            return b""
        return f"{'' if first else chr(10)}==> {name} <==\n".encode()

    def look(self, events: Events) -> Events:
        if self._zero is None:
            self._zero = _first_time(events)
        return events

    def show(self, events: Events) -> Iterator[bytes | memoryview]:
        rows, arena = self.look(events).buffers
        out = bytearray(_CHUNK)
        done = 0
        while done < len(events):
            start = done
            done, size, zero = lines.lines(
                rows,
                start,
                len(events),
                arena or b"\x00",
                out,
                _STATUSES,
                _setup_bytes,
                _MARKS,
                _TIMES[self._time],
                self._zero or 0,
            )
            if self._zero is not None:
                self._zero = zero
            text: bytes | memoryview = memoryview(out)[:size]
            if self._colour or self._hexdump or self._width:
                text = self._adorn(bytes(text), events, start)
            yield bytes(text)

    def _adorn(self, text: bytes, events: Events, start: int) -> bytes:
        shown = []
        for number, line in enumerate(text.decode().splitlines(), start):
            at = self._columns(line)
            fitting = _fitted(line, at["info"], self._width) if self._width else line
            shown.append(_coloured(fitting, at) if self._colour else fitting)
            if self._hexdump:
                shown += _details(events[number])
        return "".join(line + "\n" for line in shown).encode()

    def _columns(self, line: str) -> dict[str, int]:
        """Where each column begins in this line."""
        absolute = self._time == "absolute" and line[4:5] == "-"
        width = lines.TIME_WIDTH[lines.ABSOLUTE if absolute else lines.RELATIVE] + 2
        return {name: width + column for name, column in lines.COLUMNS.items()}


def _fitted(line: str, info: int, width: int) -> str:
    """The line, its data cut to the width. Words are worth a second line, data are not."""
    if len(line) <= width or not _DATA.fullmatch(line, info):
        return line
    return line[: max(width - 1, info)] + "…"


def _coloured(line: str, at: dict[str, int]) -> str:
    event = line[at["event"]]
    status = line[at["status"] : at["length"]]
    failed = status[:1] not in "-0"
    return "".join(
        (
            click.style(line[: at["address"]], dim=True),
            line[at["address"] : at["event"]],
            click.style(event, fg={"S": "cyan", "C": "green"}.get(event, "red"), bold=True),
            " ",
            click.style(status, fg="red") if failed else click.style(status, dim=True),
            line[at["length"] : at["info"]],
            _coloured_info(line[at["info"] :]),
        )
    )


def _first_time(events: Events) -> int | None:
    """The first time that any of the events has."""
    for event in events:
        if event.ts is not None:
            return event.ts
    return None


def _coloured_info(info: str) -> str:
    words, marks, rest = info.partition("  [")
    plain = not words or _DATA.fullmatch(words)
    shown = words if plain else click.style(words, fg="yellow")
    return shown + (click.style(marks + rest, fg="magenta") if marks else "")


def _details(event: Event) -> Iterator[str]:
    """The isochronous packets and the data of an event, as lines below its own."""
    for number, packet in enumerate(event.descriptors):
        status = _status_words(packet.status)
        place = f"offset {packet.offset:<6} length {packet.length}"
        yield f"    packet {number:<3} {status:<12} {place}"
    missing = (event.numdesc or 0) - len(event.descriptors)
    if missing > 0:
        yield f"    {missing} more packets are not in the trace"
    for at in range(0, len(event.data), _WIDE):
        part = event.data[at : at + _WIDE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"    {at:04x}  {part[:8].hex(' '):<23}  {part[8:].hex(' '):<23}  {text}"
    whole = event.length or 0
    if event.data and event.xfer_type != "iso" and len(event.data) < whole:
        yield f"    {whole - len(event.data)} more bytes are not in the trace"


class KernelView(View):
    """As the kernel prints it; `format` is u or t."""

    format: str

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._encoder = by_name(self.format).new_encoder()

    def show(self, events: Events) -> Iterator[bytes | memoryview]:
        yield self._encoder.encode(events)


class UView(KernelView):
    format = "u"


class TView(KernelView):
    format = "t"


# Columns of CSV and keys of JSON: how they are called, and what they are of an event.
_VALUES: Final[dict[str, Callable[[Event], Any]]] = {
    "ts_ns": lambda e: e.ts,
    "clock": lambda e: e.clock,
    "urb": lambda e: e.urb,
    "id": lambda e: f"{e.id:x}",
    "type": lambda e: e.type,
    "xfer_type": lambda e: e.xfer_type,
    "direction": lambda e: "in" if e.is_in else "out",
    "busnum": lambda e: e.busnum,
    "devnum": lambda e: e.devnum,
    "epnum": lambda e: e.epnum & 0x7F,
    "status": lambda e: e.status,
    "status_name": lambda e: status_name(e.status) if e.status else "",
    "length": lambda e: e.length,
    "len_cap": lambda e: e.len_cap,
    "setup": lambda e: None if e.setup is None else e.setup.hex(),
    "setup_words": lambda e: None if e.setup is None else setup_words(e.setup),
    "flag_setup": lambda e: e.flag_setup,
    "flag_data": lambda e: e.flag_data,
    "interval": lambda e: e.interval,
    "start_frame": lambda e: e.start_frame,
    "xfer_flags": lambda e: e.xfer_flags,
    "error_count": lambda e: e.error_count,
    "numdesc": lambda e: e.numdesc,
    "descriptors": lambda e: [packet._asdict() for packet in e.descriptors],
    "usbd_status": lambda e: e.usbd_status,
    "usbd_function": lambda e: e.usbd_function,
    "interface": lambda e: e.interface,
    "marks": lambda e: list(e.marks),
    "data": lambda e: e.data.hex(),
}


class _RecordsView(View):
    def _records(self, events: Events) -> Iterator[dict[str, Any]]:
        for event in events:
            self._number += 1
            named = {"file": self._name} if self._several else {}
            values = {name: value(event) for name, value in _VALUES.items()}
            yield {**named, "number": self._number, **values}


class NdjsonView(_RecordsView):
    """One JSON object a line."""

    def show(self, events: Events) -> Iterator[bytes]:
        yield "".join(
            json.dumps(record, separators=(",", ":")) + "\n" for record in self._records(events)
        ).encode()


class JsonView(_RecordsView):
    """One JSON array of all events."""

    def begin(self) -> bytes:
        self._separator = b""
        return b"["

    def show(self, events: Events) -> Iterator[bytes]:
        if len(events):
            records = ",".join(f"\n{json.dumps(record)}" for record in self._records(events))
            yield self._separator + records.encode()
            self._separator = b","

    def end(self) -> bytes:
        return b"\n]\n"


class CsvView(_RecordsView):
    """RFC 4180, with a line of names; descriptors are status:offset:length, spaces between."""

    def begin(self) -> bytes:
        names = [*(["file"] if self._several else []), "number", *_VALUES]
        return _csv([names])

    def show(self, events: Events) -> Iterator[bytes]:
        yield _csv(map(self._row, self._records(events)))

    def _row(self, record: dict[str, Any]) -> list[Any]:
        record["marks"] = " ".join(record["marks"])
        packets = (":".join(map(str, packet.values())) for packet in record["descriptors"])
        record["descriptors"] = " ".join(packets)
        return list(record.values())


def _csv(lines_of_values: Iterable[list[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(lines_of_values)
    return out.getvalue().encode()


VIEWS: Final[dict[str, type[View]]] = {
    "lines": LinesView,
    "u": UView,
    "t": TView,
    "json": JsonView,
    "ndjson": NdjsonView,
    "csv": CsvView,
}


def new_view(form: str, **options: Any) -> View:
    return VIEWS[form](**options)
