"""A reader that gives `Events`: what a program in the same process reads a bus with.

Here: records gathered until they are taken as a batch. Not here: decoding, which is that of the
binary API, whose 64-byte records these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.formats.binary import BinaryDecoder

if TYPE_CHECKING:
    from usbmon.events import Events
    from usbmon.monitor.main import MonitoredBus
    from usbmon.monitor.record import Record

# Bytes that wait to be taken, at most; what comes then is dropped, and counted.
LIMIT: Final = 64 << 20


class Collector:
    """Reads a bus from its making on. Data are whole: no ring cuts them.

    `dropped` counts events that came while `limit` bytes were waiting.
    """

    def __init__(self, bus: MonitoredBus, *, limit: int = LIMIT) -> None:
        self.dropped = 0
        self.waiting = 0
        self._limit = limit
        self._bus = bus
        self._parts: list[bytes] = []
        self._decoder = BinaryDecoder(header=64)
        bus.add(self)

    def put(self, record: Record) -> None:
        size = len(record.packet)
        if self.waiting + size > self._limit:
            self.dropped += 1
            return
        self.waiting += size
        self._parts.append(record.packet)

    def take(self) -> Events:
        """All that came since the last time; URBs are numbered through all batches."""
        data = bytearray().join(self._parts)
        self._parts.clear()
        self.waiting = 0
        # As if these were the last ones: whole records, of which none is to be waited for.
        events, _ = self._decoder.advance(memoryview(data), final=True)
        return events

    def close(self) -> None:
        """Read no more."""
        self._bus.remove(self)
