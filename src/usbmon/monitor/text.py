"""The text reader: the files ``Nt`` and ``Nu`` of drivers/usb/mon/mon_text.c.

Here: the queue with its bound, and reading it, a line a read. Not here: how a line is made of an
event, which is the text encoder's (`usbmon._kernel.textprint`).
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon import layout
from usbmon._kernel import textprint
from usbmon.monitor.record import TEXT_DATA

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.monitor.main import MonitoredBus
    from usbmon.monitor.record import Record

# EVENT_MAX: four pages of struct mon_event_text, as a 64-bit kernel has it.
EVENT_MAX: Final = 93
ISODESC_MAX: Final = 5

_OURS: Final = struct.Struct("=" + "".join(field.code for field in layout.OURS))
_STAMP: Final = struct.Struct("=qi")
_NDESC: Final = struct.Struct("=I")
_LENGTH: Final = struct.Struct("=I")
_PACKET: Final = layout.PACKET_SIZE
_SECOND: Final = 1_000_000_000
_LINE_MAX: Final = 1024


def line(record: Record, *, old: bool) -> bytes:
    """The line of an event; `old`: in the format ``t``. Its stamp is monotonic, and as the kernel
    has it: seconds modulo 4096."""
    packet, shown = record.packet, min(record.ndesc, ISODESC_MAX)
    descriptors = packet[_PACKET : _PACKET + shown * layout.DESCRIPTOR_SIZE]
    begin = _PACKET + record.ndesc * layout.DESCRIPTOR_SIZE
    data = packet[begin : begin + TEXT_DATA]
    row = bytearray(packet[:_PACKET])
    if record.sparse is not None:  # "Wasteful, but simple to understand", says the kernel
        length, data = record.sparse
        _LENGTH.pack_into(row, layout.OFFSET["length"], length)
    payload = descriptors + data
    _STAMP.pack_into(
        row,
        layout.OFFSET["ts_sec"],
        record.monotonic // _SECOND,
        record.monotonic % _SECOND // 1000,
    )
    _NDESC.pack_into(row, layout.OFFSET["ndesc"], shown)
    row += _OURS.pack(record.monotonic, 0, 0, len(payload), 0, 0, 0, 0, layout.WALL, 0)
    out = bytearray(_LINE_MAX)
    _, used = textprint.print_text(
        memoryview(row), 0, 1, memoryview(payload or b"\0"), memoryview(out), old, TEXT_DATA
    )
    return bytes(out[:used])


class TextReader:
    """One open file. It reads from its making on, until it is closed.

    `on_event` is called when something can be read, for those who wait.
    """

    def __init__(self, bus: MonitoredBus, *, old: bool = False) -> None:
        """`old`: the format ``t``, else ``u``."""
        self.on_event: Callable[[], None] | None = None
        self._bus = bus
        self._old = old
        self._queue: deque[bytes] = deque()
        self._rest = b""
        bus.add(self)

    def put(self, record: Record) -> None:
        if len(self._queue) >= EVENT_MAX:
            self._bus.text_lost += 1
            return
        # The line and not the record is kept: the queue is small whatever the URBs are.
        text = record.lines.get(self._old)
        if text is None:
            text = record.lines[self._old] = line(record, old=self._old)
        self._queue.append(text)
        if self.on_event is not None:
            self.on_event()

    @property
    def waiting(self) -> int:
        """Events that nobody has read yet."""
        return len(self._queue)

    @property
    def is_ready(self) -> bool:
        """Whether a read would give something."""
        return bool(self._rest or self._queue)

    def read(self, size: int) -> bytes:
        """At most one line, or as much of it as `size` bytes hold; the rest comes first next time.
        Raises BlockingIOError where the kernel would wait."""
        if not self._rest:
            if not self._queue:
                raise BlockingIOError(errno.EAGAIN, "no event to read")
            self._rest = self._queue.popleft()
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    def close(self) -> None:
        """Read no more."""
        self._bus.remove(self)
        self._queue.clear()
        self._rest = b""
