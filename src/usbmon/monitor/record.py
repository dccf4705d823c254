"""`Record`: one event, as the monitor makes it once of an URB and hands it to all its readers.

Here: what mon_bin.c and mon_text.c of the kernel take from an URB, whatever they then do with it.
Not here: who is told of an URB (`main`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from usbmon import layout
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS

if TYPE_CHECKING:
    from usbmon.bus.urb import Urb

_HEADER: Final = struct.Struct("=" + "".join(field.code for field in layout.PACKET))
_DESCRIPTOR: Final = struct.Struct("=iIII")
_ISO: Final = struct.Struct("=ii")

# xfer_type, by our type of transfer.
_XFER: Final = {
    CONTROL: layout.CONTROL,
    ISOCHRONOUS: layout.ISO_XFER,
    BULK: layout.BULK,
    INTERRUPT: layout.INTERRUPT,
}
SUBMIT, COMPLETE, ERROR = ord("S"), ord("C"), ord("E")
_NO_SETUP: Final = ord("-")
_PENDING, _SHOWN, _REFUSED = ord("<"), ord(">"), ord("E")
_SECOND: Final = 1_000_000_000

# DATA_MAX of mon_text.c: enough for INQUIRY.
TEXT_DATA: Final = 32


class Record(NamedTuple):
    """An event, whole: a reader takes as much of it as it serves.

    `packet` is what the binary API gives where nothing is cut: the 64 bytes of ``struct
    usbmon_packet`` (`usbmon.layout.PACKET`, stamped by the wall clock), `ndesc` isochronous
    descriptors of 16 bytes, and all data. `monotonic` is the stamp of text readers, in nanoseconds;
    `sparse`, in completions of isochronous URBs, what those show instead of length and data: the
    length of the whole buffer, and its first bytes. `lines` are the lines that text readers have
    made of it, by whether they are of the old format, so that the next need not.
    """

    packet: bytes
    ndesc: int
    monotonic: int
    sparse: tuple[int, bytes] | None
    lines: dict[bool, bytes]


class Clock(Protocol):
    """The time of a bus, in nanoseconds: since its start, and of the wall clock at that start."""

    @property
    def now(self) -> int: ...

    @property
    def epoch(self) -> int: ...


def make(urb: Urb, type: int, status: int, clock: Clock) -> Record:
    """mon_bin_event, for a ring without end."""
    now = clock.now
    is_in = urb.is_in
    setup, flag_setup = b"", _NO_SETUP
    descriptors = b""
    interval = start_frame = length = 0
    data: memoryview | bytes = b""
    flag_data = _REFUSED
    if type != ERROR:
        length = len(urb.buffer) if type == SUBMIT else urb.actual_length
        data, flag_data = _data(urb, type, length, is_in=is_in)
        if urb.type is CONTROL:
            if type == SUBMIT and urb.setup is not None:
                setup, flag_setup = urb.setup, 0
        elif urb.type is INTERRUPT:
            interval = urb.interval
        elif urb.type is ISOCHRONOUS:
            interval, start_frame = urb.interval, urb.start_frame
            setup = _ISO.pack(urb.error_count, len(urb.packets))
            descriptors = _descriptors(urb, type)
    ndesc = len(descriptors) // layout.DESCRIPTOR_SIZE
    wall = clock.epoch + now
    header = _HEADER.pack(
        urb.id,
        type,
        _XFER[urb.type],
        urb.endpoint & 0x7F | is_in << 7,
        urb.device.devnum,
        urb.device.busnum,
        flag_setup,
        flag_data,
        wall // _SECOND,
        wall % _SECOND // 1000,
        status,
        length,
        len(descriptors) + len(data),
        setup,
        interval,
        start_frame,
        urb.transfer_flags if type != ERROR else 0,
        ndesc,
    )
    sparse = None
    if urb.packets and type == COMPLETE:
        sparse = (len(urb.buffer), bytes(urb.buffer[:TEXT_DATA]) if is_in else b"")
    return Record(b"".join((header, descriptors, data)), ndesc, now, sparse, {})


def _data(urb: Urb, type: int, length: int, *, is_in: bool) -> tuple[memoryview | bytes, int]:
    """The data of an event and its flag: of a submission what is sent, of a completion what came;
    of an isochronous one all up to the last byte that a packet reaches (mon_bin_collate_isodesc).
    """
    if is_in and type == SUBMIT:
        return b"", _PENDING
    if not is_in and type == COMPLETE:
        return b"", _SHOWN
    if is_in and urb.packets:
        ends = (p.offset + p.actual_length for p in urb.packets if p.actual_length)
        length = max(ends, default=0)
    return memoryview(urb.buffer)[:length], 0


def _descriptors(urb: Urb, type: int) -> bytes:
    return b"".join(
        _DESCRIPTOR.pack(
            packet.status,
            packet.offset,
            packet.length if type == SUBMIT else packet.actual_length,
            0,
        )
        for packet in urb.packets
    )
