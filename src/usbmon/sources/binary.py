"""/dev/usbmonN: its calls (drivers/usb/mon/mon_bin.c), and three ways to take events by them.

Here: ioctl numbers and structures, one open device, and the takers: by the mapped ring, by GETX, by
read(). Not here: which of them is used, how large the ring is to be, and what becomes of the bytes
(`usbmon.sources.kernel`).

A device's methods are those of `usbmon.monitor.binary.BinaryReader`, the other end of the same
calls, so that either serves a taker.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

from usbmon import layout
from usbmon.formats.binary import Binary48Decoder, BinaryDecoder, RingDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER: Final = layout.PACKET_SIZE
_OLD_HEADER: Final = layout.PACKET_SIZE_OLD
_LEN_CAP: Final = layout.OFFSET["len_cap"]
_ALIGN: Final = RingDecoder.align
# A piece that is taken at once: so many events, and bytes unless one event has more.
MOST_EVENTS: Final = 4096
_MOST_BYTES: Final = 1 << 20
# The most that GETX may ask for (mon_bin.c).
ALLOC_MAX: Final = 0x1000_0000
# No event has more than a fifth of the largest ring, and 128 descriptors.
_LARGEST_EVENT: Final = (64 << 20) // 5 + 4096


class _Stats(ctypes.Structure):
    _fields_ = [("queued", ctypes.c_uint32), ("dropped", ctypes.c_uint32)]


class _Get(ctypes.Structure):
    _fields_ = [
        ("hdr", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("alloc", ctypes.c_size_t),
    ]


class _Fetch(ctypes.Structure):
    _fields_ = [
        ("offvec", ctypes.c_void_p),
        ("nfetch", ctypes.c_uint32),
        ("nflush", ctypes.c_uint32),
    ]


def _ioc(direction: int, number: int, size: int) -> int:
    """An ioctl number (asm-generic/ioctl.h); a structure's size is part of it, so that a 32-bit
    program has other numbers than a 64-bit one."""
    return direction << 30 | size << 16 | 0x92 << 8 | number


_WRITE, _READ = 1, 2
URB_LEN: Final = _ioc(0, 1, 0)
STATS: Final = _ioc(_READ, 3, ctypes.sizeof(_Stats))
T_RING_SIZE: Final = _ioc(0, 4, 0)
Q_RING_SIZE: Final = _ioc(0, 5, 0)
MFETCH: Final = _ioc(_READ | _WRITE, 7, ctypes.sizeof(_Fetch))
MFLUSH: Final = _ioc(0, 8, 0)
GETX: Final = _ioc(_WRITE, 10, ctypes.sizeof(_Get))


class Device:
    """One open /dev/usbmonN, which never waits: where nothing is there, BlockingIOError. It sees
    each event from its opening on. What the kernel refuses is an OSError with its errno."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._offsets = (ctypes.c_uint32 * MOST_EVENTS)()
        self._map: mmap.mmap | None = None
        self._view = memoryview(b"")
        self._get_header = ctypes.create_string_buffer(_HEADER)
        self._get_data = ctypes.create_string_buffer(1)

    def _ioctl(self, number: int, argument: int | ctypes.Structure = 0) -> int:
        # Not fcntl.ioctl: it takes no argument of 2 GiB and more, and copies structures.
        passed = ctypes.c_ulong(argument) if isinstance(argument, int) else ctypes.byref(argument)
        result: int = self._libc.ioctl(self._fd, ctypes.c_ulong(number), passed)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    @property
    def identity(self) -> tuple[int, int]:
        """Which node it is: the same number may be another bus some day."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def wait(self, seconds: float) -> bool:
        """Whether an event comes within this time."""
        return bool(self._poll.poll(seconds * 1000))

    @property
    def ring_size(self) -> int:
        return self._ioctl(Q_RING_SIZE)

    def set_ring_size(self, size: int) -> None:
        self._ioctl(T_RING_SIZE, size)

    def stats(self) -> tuple[int, int]:
        """Events that are queued, fillers among them, and those dropped since the last call."""
        stats = _Stats()
        self._ioctl(STATS, stats)
        return stats.queued, stats.dropped

    def urb_len(self) -> int:
        return self._ioctl(URB_LEN)

    def map(self) -> memoryview:
        """The ring, to be read only."""
        self._map = mmap.mmap(self._fd, self.ring_size, mmap.MAP_SHARED, mmap.PROT_READ)
        self._view = memoryview(self._map)
        return self._view

    def mfetch(self, nfetch: int, nflush: int = 0) -> Sequence[int]:
        """Flush so many, then the offsets of at most `nfetch` events, and no more than
        `MOST_EVENTS`. Has flushed even where it raises BlockingIOError."""
        fetch = _Fetch(ctypes.addressof(self._offsets), min(nfetch, MOST_EVENTS), nflush)
        self._ioctl(MFETCH, fetch)
        return self._offsets[: fetch.nfetch]

    def mflush(self, count: int) -> int:
        return self._ioctl(MFLUSH, count)

    def getx(self, alloc: int) -> tuple[bytes, bytes]:
        """The header of an event, and at most `alloc` bytes of what is behind it."""
        if len(self._get_data) < alloc <= ALLOC_MAX:
            self._get_data = ctypes.create_string_buffer(alloc)
        address = ctypes.addressof(self._get_data)
        self._ioctl(GETX, _Get(ctypes.addressof(self._get_header), address, alloc))
        header = self._get_header.raw
        return header, ctypes.string_at(address, min(_len_cap(header, 0), alloc))

    def read(self, size: int) -> bytes:
        """At most one event, in pieces if `size` is small."""
        return os.read(self._fd, size)

    def close(self) -> None:
        self._view.release()
        if self._map is not None:
            self._map.close()
        os.close(self._fd)


class Reader(Protocol):
    """What a taker needs of a `Device`, or of a `BinaryReader`."""

    @property
    def ring_size(self) -> int: ...
    def map(self) -> memoryview: ...
    def mfetch(self, nfetch: int, nflush: int = 0) -> Sequence[int]: ...
    def mflush(self, count: int) -> int: ...
    def getx(self, alloc: int) -> tuple[bytes, bytes]: ...
    def read(self, size: int) -> bytes: ...


def _len_cap(record: bytes | memoryview, at: int) -> int:
    return int.from_bytes(record[at + _LEN_CAP : at + _LEN_CAP + 4], _ORDER)


_ORDER: Final = __import__("sys").byteorder


class Piece(NamedTuple):
    """Whole records, as the taker's decoder takes them; how many, fillers included."""

    data: bytearray
    records: int


class Taker:
    """Takes events out of a device. Raises OSError at its making where that has not the calls."""

    name: ClassVar[str]

    def __init__(self, device: Reader) -> None:
        self._device = device

    def take(self, most: int = MOST_EVENTS) -> Piece:
        """At most so many events; none where there are none."""
        raise NotImplementedError

    @staticmethod
    def decoder() -> BinaryDecoder:
        raise NotImplementedError


class Mapped(Taker):
    """By the mapped ring: one call for many events, which are copied out and then flushed."""

    name: ClassVar[str] = "mmap"

    def __init__(self, device: Reader) -> None:
        super().__init__(device)
        device.mflush(0)  # whether there is the call
        self._ring = device.map()

    @staticmethod
    def decoder() -> BinaryDecoder:
        return RingDecoder()

    def take(self, most: int = MOST_EVENTS) -> Piece:
        try:
            offsets = self._device.mfetch(most)
        except BlockingIOError:
            return Piece(bytearray(), 0)
        start, end, count = self._run(offsets)
        data = bytearray(self._ring[start:end])
        self._device.mflush(count)  # and not with the next call: there is room again at once
        return Piece(data, count)

    def _run(self, offsets: Sequence[int]) -> tuple[int, int, int]:
        """Where the events at the head of these stand in one piece, and how many they are: up to
        the ring's end, or until there are bytes enough."""
        start = offsets[0]
        count = len(offsets)
        if offsets[-1] < start:
            count = next(n for n in range(1, count) if offsets[n] < start)
        while count > 1 and offsets[count - 1] - start > _MOST_BYTES:
            count //= 2
        last = offsets[count - 1]
        size = _HEADER + _len_cap(self._ring, last)
        return start, last + -(-size // _ALIGN) * _ALIGN, count


class _OneByOne(Taker):
    """A call an event."""

    def __init__(self, device: Reader) -> None:
        super().__init__(device)
        self._most = min(_LARGEST_EVENT, device.ring_size)

    def one(self) -> bytes:
        raise NotImplementedError

    def take(self, most: int = MOST_EVENTS) -> Piece:
        records: list[bytes] = []
        size = 0
        try:
            while len(records) < most and size < _MOST_BYTES:
                records.append(self.one())
                size += len(records[-1])
        except BlockingIOError:
            pass
        return Piece(bytearray().join(records), len(records))


class Getx(_OneByOne):
    """By MON_IOCX_GETX."""

    name: ClassVar[str] = "getx"

    def __init__(self, device: Reader) -> None:
        super().__init__(device)
        try:
            device.getx(ALLOC_MAX + 1)  # whether there is the call: it takes no event with this
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    def one(self) -> bytes:
        header, data = self._device.getx(self._most)
        return header + data

    @staticmethod
    def decoder() -> BinaryDecoder:
        return BinaryDecoder(header=_HEADER)


class Read(_OneByOne):
    """By read(), whose header has no interval, frame and flags; the oldest kernels have no more."""

    name: ClassVar[str] = "read"

    def one(self) -> bytes:
        record = self._device.read(_OLD_HEADER + self._most)
        while len(record) < _OLD_HEADER or len(record) < _OLD_HEADER + _len_cap(record, 0):
            record += self._device.read(_OLD_HEADER + self._most)
        return record

    @staticmethod
    def decoder() -> BinaryDecoder:
        return Binary48Decoder()


# In the order in which they are tried.
TAKERS: Final = (Mapped, Getx, Read)
