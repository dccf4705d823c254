"""What a filter can ask about: the table of fields.

Here: each field's names, kind, and how it is read from the columns of a batch. Not here: how its
values are written (`usbmon.filters.values`) and compared (`usbmon.filters.columns`).

A field that an event does not have is absent there: `Column.present` tells. Fields of later layers
(latency of transfers, what decoders found) are rows of the same kind with other `needs`; who has
them hands ``{**FIELDS, **theirs}`` to `usbmon.filters.compile`.

Wireshark's names (``tshark -G fields``) are aliases where they choose the same frames. Of some
requests it has no wValue and wIndex, but parts of them under other names; here they are whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from usbmon import layout
from usbmon.filters.values import ADDRESS, BOOL, BYTES, HEX, INT, TIME, WORD, Kind
from usbmon.usb.errno import ERRNO, URB_FUNCTION, USBD_STATUS
from usbmon.usb.setup import HUB_REQUESTS, RECIPIENTS, REQUESTS, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from usbmon.events import Events

    Mask = npt.NDArray[np.bool_]

Needs = Literal["events", "transfers", "nodes"]

_SUBMISSION: Final = ord("S")
_IN: Final = 0x80


class Context(NamedTuple):
    """What a batch alone does not tell. `start`: the time of the trace's first event, in ns; None:
    that of the batch's own first."""

    start: int | None = None


class Column(NamedTuple):
    """A field's values in a batch, and where there are any; None: in every event."""

    values: npt.NDArray[Any]
    present: Mask | None = None


class Spans(NamedTuple):
    """The same of a field of bytes: where they begin and end in `arena`; absent where empty."""

    arena: memoryview
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


class Field(NamedTuple):
    """`column` reads it from a batch of what it `needs`; `symbols` are names of its numbers, the
    first of a number the one to show."""

    name: str
    kind: Kind
    doc: str
    column: Callable[[Events, Context], Column | Spans]
    aliases: tuple[str, ...] = ()
    symbols: Mapping[str, int] = {}
    needs: Needs = "events"


def first_time(events: Events) -> int | None:
    """The first time that any of the events has."""
    present = events.present("ts")
    at = int(present.argmax()) if len(events) else 0
    return int(events.ts[at]) if len(events) and present[at] else None


def _plain(name: str) -> Callable[[Events, Context], Column]:
    """A column of `usbmon.layout`, as it is."""

    def column(events: Events, _context: Context) -> Column:
        may_lack = name in layout.ABSENT_BIT
        return Column(getattr(events, name), events.present(name) if may_lack else None)

    return column


def _setup(offset: int, *, size: int = 1, shift: int = 0, mask: int = 0xFFFF) -> Any:
    """A field of the setup packet, or bits of one (USB 2.0 tables 9-2 and 9-3)."""

    def column(events: Events, _context: Context) -> Column:
        values = events.setup[:, offset]
        if size == 2:
            values = values + events.setup[:, offset + 1].astype("u2") * 256
        if shift or mask != 0xFFFF:
            values = values >> shift & mask
        return Column(values, events.present("setup"))

    return column


def _mark(name: str) -> Callable[[Events, Context], Column]:
    bit = 1 << layout.MARKS.index(name)
    return lambda events, _: Column(events.marks & bit != 0)


def _device(events: Events, _context: Context) -> Column:
    return Column(events.busnum.astype("i4") << 8 | events.devnum, events.present("busnum"))


def _status(events: Events, _context: Context) -> Column:
    return Column(events.status, events.type != _SUBMISSION)


def _is_error(events: Events, _context: Context) -> Column:
    bad_packets = events.present("error_count") & (events.error_count > 0)
    return Column(((events.status != 0) | bad_packets) & (events.type != _SUBMISSION))


def _captured(events: Events, _context: Context) -> Column:
    spans = _data(events, _context)
    return Column(spans.end - spans.start)


def _data(events: Events, _context: Context) -> Spans:
    start = events.data_at.astype("i8")
    end = start + events.captured
    start += events.ndesc.astype("i8") * layout.DESCRIPTOR_SIZE
    return Spans(events.buffers[1], start, end)


def _time(events: Events, context: Context) -> Column:
    return Column(events.ts - (context.start or 0), events.present("ts"))


def _urb(events: Events, _context: Context) -> Column:
    return Column(events.urb, events.urb != 0)


def _reversed(names: Mapping[int, str], sign: int = 1) -> dict[str, int]:
    return {name: sign * number for number, name in names.items()}


def _numbered(names: tuple[str, ...]) -> dict[str, int]:
    return {name.lower(): number for number, name in enumerate(names)}


_TYPE_WORDS: Final = {
    **_numbered(layout.XFER_TYPES), "isochronous": layout.ISO_XFER, "isoc": layout.ISO_XFER,
    "int": layout.INTERRUPT, "intr": layout.INTERRUPT, "ctrl": layout.CONTROL,
}  # fmt: skip
_EVENT_WORDS: Final = {
    "S": 0x53, "C": 0x43, "E": 0x45, "submission": 0x53, "completion": 0x43, "callback": 0x43,
    "error": 0x45,
}  # fmt: skip
_STATUS_WORDS: Final = {
    "0": 0, **_reversed(ERRNO, -1), "ok": 0, "stall": -32, "protocol": -71, "babble": -75,
    "crc": -84, "timeout": -110, "short": -121, "gone": -19,
}  # fmt: skip
_DIRECTIONS: Final = {"out": 0, "in": 1}
_MARK_DOCS: Final = {
    "doubled": "recorded twice",
    "orphan": "a completion whose submission is not in the trace",
    "repaired": "the line was damaged and has been mended",
    "synthetic": "not seen on the bus: what was known of a device",
}

# fmt: off
_TABLE: Final = (
    Field("dev", ADDRESS, "bus and device, as 1:5", _device),
    Field("bus", INT, "bus number", _plain("busnum"), ("busnum", "usb.bus_id")),
    Field("addr", INT, "device address, on any bus", _plain("devnum"),
          ("devnum", "usb.device_address")),
    Field("ep", INT, "endpoint number, without its direction",
          lambda e, _: Column(e.epnum & 0x7F), ("usb.endpoint_address.number",)),
    Field("ep.address", HEX, "endpoint address: bit 7 set for input", _plain("epnum"),
          ("epnum", "usb.endpoint_address")),
    Field("ep.in", BOOL, "data go to the host", lambda e, _: Column(e.epnum >= _IN)),
    Field("ep.out", BOOL, "data go to the device", lambda e, _: Column(e.epnum < _IN)),
    Field("ep.direction", WORD, "the same as a name", lambda e, _: Column(e.epnum >> 7),
          ("usb.endpoint_address.direction",), _DIRECTIONS),
    Field("type", WORD, "transfer type", _plain("xfer_type"), ("xfer_type", "usb.transfer_type"),
          _TYPE_WORDS),
    Field("event", WORD, "submission, completion, or error of submission", _plain("type"),
          ("usb.urb_type",), _EVENT_WORDS),
    Field("status", INT, "how a transfer ended; absent in submissions", _status, (),
          _STATUS_WORDS),
    Field("urb_status", INT, "as recorded: -115 in submissions", _plain("status"),
          ("usb.urb_status",), _STATUS_WORDS),
    Field("error", BOOL, "it failed: a status, or isochronous packets", _is_error),
    Field("len", INT, "bytes asked for (S) or moved (C)", _plain("length"),
          ("length", "usb.urb_len")),
    Field("captured", INT, "bytes of data that the trace holds", _captured),
    Field("len_cap", INT, "bytes the kernel gave, iso descriptors included", _plain("len_cap"),
          ("usb.data_len",)),
    Field("data", BYTES, "the data that the trace holds", _data),
    Field("time", TIME, "since the first event of the trace", _time, ("frame.time_relative",)),
    Field("ts", TIME, 'of the trace\'s clock; of the wall clock also as "2025-12-31 23:59"',
          _plain("ts"), ("frame.time_epoch",)),
    Field("urb", INT, "number shared by a submission and its completion", _urb),
    Field("id", HEX, "URB tag", _plain("id"), ("usb.urb_id", "usb.irp_id")),
    Field("setup", BOOL, "there is a setup packet",
          lambda e, _: Column(e.present("setup"))),
    Field("setup.bmRequestType", HEX, "direction, type and recipient", _setup(0),
          ("usb.bmRequestType",)),
    Field("setup.direction", WORD, "of the data stage", _setup(0, shift=7, mask=1),
          ("usb.bmRequestType.direction",), _DIRECTIONS),
    Field("setup.type", WORD, "whose request it is", _setup(0, shift=5, mask=3),
          ("usb.bmRequestType.type",), _numbered(TYPES)),
    Field("setup.recipient", WORD, "whom it is for", _setup(0, mask=0x1F),
          ("usb.bmRequestType.recipient",), _numbered(RECIPIENTS)),
    Field("setup.bRequest", INT, "request; names are those of standards and hubs", _setup(1),
          ("usb.setup.bRequest",), {**_reversed(REQUESTS), **_reversed(HUB_REQUESTS)}),
    Field("setup.wValue", HEX, "value", _setup(2, size=2), ("usb.setup.wValue",)),
    Field("setup.wIndex", INT, "index", _setup(4, size=2), ("usb.setup.wIndex",)),
    Field("setup.wLength", INT, "bytes of the data stage", _setup(6, size=2),
          ("usb.setup.wLength",)),
    Field("iso.error_count", INT, "packets that failed",
          lambda e, _: Column(e.error_count, e.present("error_count")),
          ("error_count", "usb.iso.error_count")),
    Field("iso.numdesc", INT, "packets of the URB",
          lambda e, _: Column(e.numdesc, e.present("numdesc")),
          ("numdesc", "usb.iso.numdesc")),
    Field("interval", INT, "polling interval, in (micro)frames", _plain("interval"),
          ("usb.interval",)),
    Field("start_frame", INT, "first frame of an isochronous URB", _plain("start_frame"),
          ("usb.start_frame",)),
    Field("xfer_flags", HEX, "transfer_flags of the URB", _plain("xfer_flags"),
          ("usb.copy_of_transfer_flags",)),
    Field("usbd_status", HEX, "status in a trace of Windows", _plain("usbd_status"),
          ("usb.usbd_status",), _reversed(USBD_STATUS)),
    Field("usbd_function", HEX, "URB function in a trace of Windows", _plain("usbd_function"),
          ("usb.function",), _reversed(URB_FUNCTION)),
    Field("interface", INT, "capture interface, or merged input", _plain("interface")),
    *(Field(name, BOOL, _MARK_DOCS[name], _mark(name)) for name in layout.MARKS),
)
# fmt: on


def named(fields: tuple[Field, ...]) -> dict[str, Field]:
    """Fields by all their names."""
    return {name: field for field in fields for name in (field.name, *field.aliases)}


FIELDS: Final = named(_TABLE)


def listed(fields: Mapping[str, Field] = FIELDS) -> Iterator[Field]:
    """Each field once."""
    return (field for name, field in fields.items() if name == field.name)
