"""Raw streams of the binary API (drivers/usb/mon/mon_bin.c): what `read`, GET, GETX and the mapped
ring deliver, one record behind the other, with 48- or 64-byte headers.

Such a stream says nothing of itself: header size and, for GETX with a small buffer, where its data
were cut are found by looking for what makes all records fit. Not here: records (`_kernel.records`).
"""

from __future__ import annotations

from typing import ClassVar, Final

from usbmon import layout
from usbmon._kernel import records
from usbmon.events import Events
from usbmon.formats.base import Decoder, Encoder

_HEADERS: Final = (layout.PACKET_SIZE, layout.PACKET_SIZE_OLD)
_NO_LIMIT: Final = records.LARGEST_RECORD
_FILLER: Final = ord("@")
_TYPE: Final = layout.OFFSET["type"]
_LEN_CAP: Final = layout.OFFSET["len_cap"]
# Records that must fit before a guess is taken, where there are so many.
_ENOUGH: Final = 64


def guess(head: bytes | memoryview) -> int | None:
    """The header size, 48 or 64, of the stream that starts so; None if it is none of the kind."""
    fits = {header: _fitting(head, header) for header in _HEADERS}
    best = max(_HEADERS, key=lambda header: fits[header])
    return best if fits[best] > 0 else None


def _fitting(head: bytes | memoryview, header: int) -> float:
    """How many records fit one behind the other, and a half if the last ends with the stream; -1 if
    something does not fit."""
    at = count = 0
    while at + header <= len(head) and count < _ENOUGH:
        if head[at + _TYPE] == _FILLER:
            at += header
            continue
        if not records.plausible(head, at):
            # GETX with a small buffer cuts what len_cap still counts, from some record on.
            return count if count > 1 else -1
        at += header + _len_cap(head, at)
        count += 1
    return count + 0.5 if count and at == len(head) else count


def _len_cap(block: bytes | memoryview, at: int) -> int:
    return int.from_bytes(block[at + _LEN_CAP : at + _LEN_CAP + 4], _ORDER)


def _start(rows: memoryview, number: int) -> int:
    """Where the record of a row that was walked over starts."""
    place = number * layout.ROW_SIZE + layout.OFFSET["data_at"]
    return int.from_bytes(rows[place : place + 8], _ORDER)


_ORDER: Final = __import__("sys").byteorder


class BinaryDecoder(Decoder):
    """`header` is the header's size once it is known, `alloc` the length at which GETX cut data."""

    # Records follow one another without a gap.
    align: ClassVar[int] = 1

    format: ClassVar[str] = "bin"

    def __init__(self, *, file: str = "", strict: bool = False, header: int = 0) -> None:
        super().__init__(file=file, strict=strict)
        self.header = header
        self.alloc: int | None = None

    @property
    def variant(self) -> str:
        cut = f", data cut at {self.alloc} bytes" if self.alloc is not None else ""
        return f"{self.header}-byte headers{cut}" if self.header else ""

    def decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        if not self.header and (len(block) >= _ENOUGH * 64 or final):
            self.header = guess(block) or 0
            if not self.header and block:
                raise self.fail("no records of the binary API (neither 48- nor 64-byte headers)")
        if not self.header:
            return Events.empty(), 0
        most = (len(block) // self.header + 1) * layout.ROW_SIZE
        rows = self.buffers.take(most)
        count, end, fillers, lost = self._walk(block, rows)
        unfinished = final and end < len(block)
        if (
            self.alloc is None
            and (count if lost else unfinished)
            and self._find_alloc(block, rows, count, end, lost)
        ):
            # What was walked over before may have been cut too, and a record in it missed.
            rows = self.buffers.take(most)
            count, end, fillers, lost = self._walk(block, rows)
            unfinished = final and end < len(block)
        elif not lost and not final:
            count, end = self._hold_back(block, rows, count, end)
        if lost and not count:
            raise self.fail(
                "no record of the binary API where one should start; "
                "the stream is damaged or has lost bytes",
                end,
            )
        if fillers:
            self.notes.add("filler", count=fillers)
        if unfinished and not lost:
            self.notes.add("cut record", count=len(block) - end, offset=self.position + end)
            end = len(block)
        table = memoryview(bytearray(8 * records.INTERFACE_WORDS)).cast("q")
        table[0] = self.header
        count, _, _ = records.unpack(
            block, rows, count, table, 0, False, True, table[:0], len(block)
        )
        view = rows[: count * layout.ROW_SIZE]
        self.pairing.number(view, count)
        return Events(view, block), end

    def _walk(self, block: memoryview, rows: memoryview) -> tuple[int, int, int, bool]:
        limit = _NO_LIMIT if self.alloc is None else self.alloc
        return records.walk_raw(block, 0, rows, self.header, limit, self.align)

    def _hold_back(
        self, block: memoryview, rows: memoryview, count: int, end: int
    ) -> tuple[int, int]:
        """Leave the last record to the next block where only what follows tells whether it was cut
        by GETX."""
        if not count or self.header != layout.PACKET_SIZE or len(block) - end >= self.header:
            return count, end
        start = _start(rows, count - 1)
        if self.alloc is None and _len_cap(block, start) == end - start - self.header > 0:
            return count - 1, start
        return count, end

    def _find_alloc(
        self, block: memoryview, rows: memoryview, count: int, end: int, lost: bool
    ) -> bool:
        """Whether the record before bytes that are none, or one that the stream ends in, was cut by
        GETX: then a length at which it was is where the walk goes on from there."""
        if self.header != layout.PACKET_SIZE:
            return False
        start = _start(rows, count - 1) if lost else end
        data = start + self.header
        for alloc in range(min(_len_cap(block, start), len(block) - data)):
            if records.plausible(block, data + alloc):
                self.alloc = alloc
                _, after, _, again = self._walk(
                    block[start:], self.buffers.take(4 * layout.ROW_SIZE)
                )
                if not again and after > self.header + alloc:
                    return True
        self.alloc = None
        return False


class RingDecoder(BinaryDecoder):
    """For pieces copied out of the mapped ring, each of whole records, padding and fillers."""

    align: ClassVar[int] = 64

    def __init__(self) -> None:
        super().__init__(header=layout.PACKET_SIZE)
        self.alloc = _NO_LIMIT  # nothing is cut, and nothing is to be guessed


class Binary48Decoder(BinaryDecoder):
    """For those who know that the headers have 48 bytes, however few records there are."""

    format: ClassVar[str] = "bin48"

    def __init__(self, *, file: str = "", strict: bool = False) -> None:
        super().__init__(file=file, strict=strict, header=layout.PACKET_SIZE_OLD)


class _BinaryEncoder(Encoder):
    header: ClassVar[int]

    def write(self, events: Events) -> memoryview:
        rows, arena = events.buffers
        out = self.buffers.take(packed_size(events, self.header))
        none = memoryview(b"").cast("q")
        size = records.pack(
            rows, len(events), arena, out, self.header, records.BARE, _BIG, False, none
        )
        return out[:size]


_BIG: Final = _ORDER == "big"
_ROUND_THE_RECORD: Final = 36


def packed_size(events: Events, header: int) -> int:
    """An upper bound of what `records.pack` writes for these events, in any container."""
    rows, _ = events.buffers
    return records.payload_size(rows, len(events)) + len(events) * (header + _ROUND_THE_RECORD)


class BinaryEncoder(_BinaryEncoder):
    """Records as GETX and the mapped ring deliver them."""

    format: ClassVar[str] = "bin"
    header: ClassVar[int] = layout.PACKET_SIZE
    cannot_hold: ClassVar[tuple[str, ...]] = ("len_cap", "nanoseconds", "windows")
    must_write: ClassVar[tuple[str, ...]] = (
        "no bus",
        "no interval",
        "no iso",
        "no xfer_flags",
        "no date",
        "no time",
    )


class Binary48Encoder(_BinaryEncoder):
    """Records as read() and GET deliver them."""

    format: ClassVar[str] = "bin48"
    header: ClassVar[int] = layout.PACKET_SIZE_OLD
    cannot_hold: ClassVar[tuple[str, ...]] = (
        "interval",
        "xfer_flags",
        "len_cap",
        "nanoseconds",
        "windows",
    )
    must_write: ClassVar[tuple[str, ...]] = ("no bus", "no iso", "no date", "no time")
