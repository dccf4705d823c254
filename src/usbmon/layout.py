"""The one statement of what an event is made of.

Here: the fields of the kernel's ``struct usbmon_packet`` (Documentation/usb/usbmon.rst, "Raw binary
format and API"; drivers/usb/mon/mon_bin.c, ``struct mon_bin_hdr``), the fields that ingest adds to
it, and what a trace kind may leave unsaid. Not here: NumPy, Arrow or any codec; they derive their
dtype, schema and offsets from these tables, and so does the table in the documentation.

An event is one *row* of `ROW_SIZE` bytes in the machine's byte order: first the kernel's 64 bytes,
untouched, then ours. Its payload (isochronous descriptors, then data, as the binary API has them)
stands in the batch's arena, at `data_at`, `captured` bytes long.
"""

from typing import Final, NamedTuple


class Field(NamedTuple):
    """One field of a row: `code` is that of the struct module (``8s``: eight raw bytes)."""

    name: str
    code: str
    offset: int
    doc: str


_SIZE: Final = {"B": 1, "H": 2, "I": 4, "i": 4, "Q": 8, "q": 8, "8s": 8}


def _fields(at: int, *rows: tuple[str, str, str]) -> tuple[Field, ...]:
    fields = []
    for name, code, doc in rows:
        fields.append(Field(name, code, at, doc))
        at += _SIZE[code]
    return tuple(fields)


# fmt: off
PACKET: Final = _fields(
    0,
    ("id", "Q", "URB tag, normally its kernel address; reused once the URB has completed"),
    ("type", "B", "'S' submission, 'C' callback (completion), 'E' submission error"),
    ("xfer_type", "B", "0 isochronous, 1 interrupt, 2 control, 3 bulk"),
    ("epnum", "B", "endpoint number, bit 7 set for input"),
    ("devnum", "B", "device address"),
    ("busnum", "H", "bus number"),
    ("flag_setup", "B", "0: setup is present; '-': none; 'Z': not captured"),
    ("flag_data", "B", "0: data is present; '<' '>' 'Z' 'D' 'E': why there is none"),
    ("ts_sec", "q", "the stamp as recorded: seconds (of a text trace, of its 32-bit stamp)"),
    ("ts_usec", "i", "the stamp as recorded: microseconds"),
    ("status", "i", "URB status, a negative errno; -115 (in progress) in submissions"),
    ("length", "I", "bytes requested (S) or transferred (C)"),
    ("len_cap", "I", "bytes the kernel captured, descriptors included"),
    ("setup", "8s", "setup packet, as on the wire (control submissions)"),
    ("interval", "i", "polling interval of interrupt and isochronous URBs, in (micro)frames"),
    ("start_frame", "i", "first frame of an isochronous URB"),
    ("xfer_flags", "I", "the URB's transfer_flags"),
    ("ndesc", "I", "isochronous descriptors present in the payload"),
)
PACKET_SIZE: Final = 64
PACKET_SIZE_OLD: Final = 48

# The same eight bytes as `setup`, in isochronous events.
ISO: Final = _fields(
    40,
    ("error_count", "i", "isochronous packets that failed"),
    ("numdesc", "i", "isochronous descriptors of the URB, present or not"),
)

OURS: Final = _fields(
    PACKET_SIZE,
    ("ts", "q", "time in nanoseconds of `clock`, unwrapped"),
    ("urb", "Q", "ingest number: one for a submission and its completion; 0: not numbered"),
    ("data_at", "Q", "where the payload starts in the arena"),
    ("captured", "I", "payload bytes present in the trace, descriptors included"),
    ("usbd_status", "I", "USBD_STATUS of a Windows trace (USBPcap)"),
    ("usbd_function", "H", "URB function of a Windows trace (USBPcap)"),
    ("absent", "H", "bits of ABSENT: what the trace does not say"),
    ("interface", "H", "number of the capture interface, or of the merged input"),
    ("clock", "B", "index in CLOCKS"),
    ("marks", "B", "bits of MARKS"),
)
ROW_SIZE: Final = 104

DESCRIPTOR: Final = _fields(
    0,
    ("status", "i", "packet status, a negative errno; -18 in submissions"),
    ("offset", "I", "where the packet's bytes stand in the transfer buffer"),
    ("length", "I", "bytes asked for (S) or transferred (C)"),
    ("_pad", "I", ""),
)
DESCRIPTOR_SIZE: Final = 16
# fmt: on

ROW: Final = PACKET + ISO + OURS
OFFSET: Final = {field.name: field.offset for field in ROW}

# Fields that a trace kind may not carry, in the order of their bits in `absent`. They hold 0 then,
# which no reader of `Events` needs to take for a value.
ABSENT: Final = (
    "busnum",
    "interval",
    "start_frame",
    "error_count",
    "numdesc",
    "xfer_flags",
    "ts",
    "len_cap",
    "length",
    "ndesc",
    "usbd_status",
    "usbd_function",
)
ABSENT_BIT: Final = {name: 1 << bit for bit, name in enumerate(ABSENT)}

CLOCKS: Final = ("unknown", "wall", "monotonic")
UNKNOWN, WALL, MONOTONIC = range(3)

# What ingest found out about an event, in the order of the bits of `marks`.
MARKS: Final = ("doubled", "orphan", "repaired", "synthetic")
DOUBLED, ORPHAN, REPAIRED, SYNTHETIC = 1, 2, 4, 8

XFER_TYPES: Final = ("iso", "interrupt", "control", "bulk")
ISO_XFER, INTERRUPT, CONTROL, BULK = range(4)
