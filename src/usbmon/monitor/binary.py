"""The binary reader: ``/dev/usbmonN`` of drivers/usb/mon/mon_bin.c, of Linux 6.1.

Here: the ring with its bounds, its wrap and its fillers, and the calls on it as methods, with the
kernel's answers. Where the kernel refuses, an OSError with its errno is raised; where it would
wait, BlockingIOError. Not here: what of an URB is in a record (`record`).

Theory: the ring holds packets, each a 64-byte header with descriptors and data behind it, aligned
to 64 bytes. Unmapped, a packet may wrap around the ring's end; mapped, a reader is to find it in
one piece, and a filler ('@') takes what is left before the end. What does not fit is lost, and
counted.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, NoReturn

from usbmon import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.monitor.main import MonitoredBus
    from usbmon.monitor.record import Record

# CHUNK_SIZE is a page. BUFF_MIN, BUFF_DFL, BUFF_MAX: the smallest ring that still holds a control
# transfer's worth, the default of 300 KiB, and the largest that the kernel gives.
CHUNK: Final = 4096
RING_MIN: Final = 8 << 10
RING_DEFAULT: Final = 300 << 10
RING_MAX: Final = 64 << 20

PACKET: Final = layout.PACKET_SIZE
_ALIGN: Final = 64
_OLD: Final = layout.PACKET_SIZE_OLD
# ISODESC_MAX, and the most that GETX may ask for.
_NDESC_MAX: Final = 128
_ALLOC_MAX: Final = 0x1000_0000
_FILLER: Final = ord("@")
# No single event takes more than a fifth of the ring: four or five are then still kept.
_PART: Final = 5

_U32: Final = struct.Struct("=I")
_LEN_CAP: Final = layout.OFFSET["len_cap"]
_NDESC: Final = layout.OFFSET["ndesc"]


def _refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


class BinaryReader:
    """One open device. It reads from its making on, until it is closed.

    `on_event` is called when something can be read, for those who wait.
    """

    def __init__(self, bus: MonitoredBus, *, ring: int = RING_DEFAULT) -> None:
        """`ring`: bytes of the ring, as `set_ring_size` takes them."""
        self.on_event: Callable[[], None] | None = None
        self._bus = bus
        self._maps = 0
        self._in = self._out = self._used = self._read = self._lost = 0
        self.set_ring_size(ring)
        bus.add(self)

    # The ring (mon_buff_area_*).

    @staticmethod
    def _aligned(size: int) -> int:
        return -(-size // _ALIGN) * _ALIGN

    def _allocate(self, size: int) -> int | None:
        """Room for so many bytes, which may wrap; None if there is none."""
        size = self._aligned(size)
        if self._used + size > self._size:
            return None
        offset = self._in
        self._used += size
        self._in = (self._in + size) % self._size
        return offset

    def _allocate_whole(self, size: int) -> int | None:
        """Room in one piece, with a filler before the end if need be."""
        size = self._aligned(size)
        if self._used + size > self._size:
            return None
        if self._in + size > self._size:
            fill = self._size - self._in
            if self._used + size + fill > self._size:
                return None
            self._put(self._in, bytes(8) + bytes((_FILLER,)) + bytes(PACKET - 9))
            _U32.pack_into(self._ring, self._in + _LEN_CAP, fill - PACKET)
            self._used += fill
            self._in = 0
        offset = self._in
        self._used += size
        self._in = (self._in + size) % self._size
        return offset

    def _free(self, size: int) -> None:
        size = self._aligned(size)
        self._used -= size
        self._out = (self._out + size) % self._size

    def _put(self, offset: int, data: bytes) -> None:
        """Copy into the ring, around its end."""
        end = offset + len(data)
        if end <= self._size:
            self._ring[offset:end] = data
            return
        first = self._size - offset
        self._ring[offset:] = data[:first]
        self._ring[: end - self._size] = data[first:]

    def _get(self, offset: int, size: int) -> bytes:
        offset %= self._size
        got = bytes(memoryview(self._ring)[offset : offset + size])
        return got if len(got) == size else got + bytes(self._ring[: size - len(got)])

    def _len_cap(self, offset: int) -> int:
        size: int = _U32.unpack_from(self._ring, offset + _LEN_CAP)[0]
        return size

    # From the monitor.

    def put(self, record: Record) -> None:
        """An event (mon_bin_event)."""
        packet = record.packet
        data = PACKET + record.ndesc * layout.DESCRIPTOR_SIZE
        if record.ndesc > _NDESC_MAX or len(packet) - data > self._size // _PART:
            packet = self._cut(packet, data)
        allocate = self._allocate_whole if self._maps else self._allocate
        offset = allocate(len(packet))
        if offset is None:
            self._lost += 1
            return
        self._put(offset, packet)
        if self.on_event is not None:
            self.on_event()

    def _cut(self, packet: bytes, data: int) -> bytes:
        """A packet as long as it may be, and its header that says so; `data`: where they begin."""
        cut = bytearray(packet[: min(data, PACKET + _NDESC_MAX * layout.DESCRIPTOR_SIZE)])
        _U32.pack_into(cut, _NDESC, (len(cut) - PACKET) // layout.DESCRIPTOR_SIZE)
        cut += packet[data : data + self._size // _PART]
        _U32.pack_into(cut, _LEN_CAP, len(cut) - PACKET)
        return bytes(cut)

    # The calls.

    @property
    def is_ready(self) -> bool:
        """What poll() says: whether there is an event."""
        return self._used != 0

    def _first(self) -> int:
        """Bytes behind the header of the first packet. Raises BlockingIOError if there is none."""
        if not self._used:
            _refuse(errno.EAGAIN)
        return self._len_cap(self._out)

    def read(self, size: int) -> bytes:
        """At most one event: a 48-byte header, then descriptors and data; in pieces, if `size` is
        small, of which each call gives the next."""
        length = self._first()
        whole = self._get(self._out, _OLD) + self._get(self._out + PACKET, length)
        piece = whole[self._read : self._read + size]
        self._read += len(piece)
        if self._read >= _OLD + length:
            self._free(PACKET + length)
            self._read = 0
        return piece

    def get(self, alloc: int) -> tuple[bytes, bytes]:
        """MON_IOCX_GET: the 48-byte header of an event, and at most `alloc` bytes of what is behind
        it; the rest is gone."""
        return self._take(_OLD, alloc)

    def getx(self, alloc: int) -> tuple[bytes, bytes]:
        """MON_IOCX_GETX: the same with the header of 64 bytes."""
        return self._take(PACKET, alloc)

    def _take(self, header: int, alloc: int) -> tuple[bytes, bytes]:
        if alloc > _ALLOC_MAX:
            _refuse(errno.EINVAL)
        length = self._first()
        got = self._get(self._out, header), self._get(self._out + PACKET, min(length, alloc))
        self._free(PACKET + length)
        self._read = 0
        return got

    def mfetch(self, nfetch: int, nflush: int = 0) -> list[int]:
        """MON_IOCX_MFETCH: flush so many, then the offsets of at most `nfetch` events in the mapped
        ring, fillers among them. Has flushed even where it raises BlockingIOError."""
        self.mflush(nflush)
        self._first()
        offsets: list[int] = []
        at = self._out
        for _ in range(min(nfetch, self.queued)):
            offsets.append(at)
            at = (at + self._aligned(PACKET + self._len_cap(at))) % self._size
        return offsets

    def mflush(self, count: int) -> int:
        """MON_IOCH_MFLUSH: let go of so many events, or all there are; how many it were."""
        flushed = 0
        while flushed < count and self._used:
            self._free(PACKET + self._len_cap(self._out))
            flushed += 1
        if count:
            self._read = 0
        return flushed

    @property
    def queued(self) -> int:
        """Events in the ring, fillers among them."""
        count, at, left = 0, self._out, self._used
        while left > 0:
            size = self._aligned(PACKET + self._len_cap(at))
            at = (at + size) % self._size
            left -= size
            count += 1
        return count

    def stats(self) -> tuple[int, int]:
        """MON_IOCG_STATS: events in the ring, and those lost since the last call."""
        lost, self._lost = self._lost, 0
        return self.queued, lost

    def urb_len(self) -> int:
        """MON_IOCQ_URB_LEN: bytes behind the header of the first event; 0 if there is none."""
        return self._len_cap(self._out) if self._used else 0

    @property
    def ring_size(self) -> int:
        """MON_IOCQ_RING_SIZE: bytes of the ring."""
        return self._size

    def set_ring_size(self, size: int) -> None:
        """MON_IOCT_RING_SIZE: a new ring, of whole pages; what was in the old one is gone. EINVAL
        for one that is too small or too large, EBUSY while it is mapped."""
        if not RING_MIN <= size <= RING_MAX:
            _refuse(errno.EINVAL)
        if self._maps:
            _refuse(errno.EBUSY)
        self._size = -(-size // CHUNK) * CHUNK
        self._ring = bytearray(self._size)
        self._in = self._out = self._used = self._read = self._lost = 0

    def map(self) -> memoryview:
        """mmap(): the ring, to be read only; until `unmap`, no event wraps."""
        self._maps += 1
        return memoryview(self._ring).toreadonly()

    def unmap(self) -> None:
        """munmap()."""
        self._maps -= 1

    def close(self) -> None:
        """Read no more."""
        self._bus.remove(self)
