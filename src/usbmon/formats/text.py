"""usbmon text, formats `t` and `u` (drivers/usb/mon/mon_text.c; usbmon.rst, "Raw text data").

Whole lines go through the kernel's strict scan; what it sets aside goes through `mend`. Stamps are
unwrapped in order. Writing gives the kernel's bytes. Not here: the grammar (`_kernel.textscan`).

Theory: `scan` looks at a block alone and remembers nothing, so blocks can be scanned on several
threads; `settle` takes the blocks in order and does what needs memory: stamps, numbers, mending.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

from usbmon import layout
from usbmon._kernel import textprint, textscan
from usbmon.errors import FormatError
from usbmon.events import Events
from usbmon.formats.base import UNMARKED, Buffers, Decoder, Encoder
from usbmon.formats.mend import Mended, Mender, is_short

_ROW: Final = layout.ROW_SIZE
_MARKS: Final = layout.OFFSET["marks"]
_ABSENT: Final = layout.OFFSET["absent"]
_BAD_LINES: Final = 256
# A line of a trace has some 75 bytes; buffers are made for shorter ones, and a block of many very
# short lines takes two turns.
_BYTES_A_LINE: Final = 56
_TAIL: Final = 1024
# The kernel's longest has 189 bytes; this is where waiting for the end of one is given up.
_LONGEST_LINE: Final = 1 << 20


class _Piece(NamedTuple):
    """A run of rows from one block, and the lines set aside in it: rows before, start, end."""

    rows: memoryview
    number: int
    arena: memoryview
    bad: list[tuple[int, int, int]]


class Scanned(NamedTuple):
    """A block of whole lines, scanned."""

    block: bytes | bytearray | memoryview
    pieces: list[_Piece]


def scan(block: bytes | bytearray | memoryview, buffers: Buffers) -> Scanned:
    """Scan whole lines (the block ends with a newline); other threads may run meanwhile."""
    pieces = []
    at = 0
    while at < len(block):
        rows = buffers.take(((len(block) - at) // _BYTES_A_LINE + 16) * _ROW)
        arena = buffers.take((len(block) - at) // 2 + 256)
        bad = memoryview(bytearray(_BAD_LINES * 8 * textscan.BAD_LINE)).cast("q")
        count, at, _, bads = textscan.scan(block, at, rows, arena, bad)
        words = bad[: bads * textscan.BAD_LINE].tolist()
        pieces.append(_Piece(rows, count, arena, list(zip(*[iter(words)] * 3, strict=True))))
    return Scanned(block, pieces)


class TextDecoder(Decoder):
    """Reads both formats; `statistics` has the lines of `Ns` files that stood in between."""

    format: ClassVar[str] = "text"

    def __init__(self, *, file: str = "", strict: bool = False) -> None:
        super().__init__(file=file, strict=strict)
        self._mender = Mender(self.notes)
        self._line = 1
        self._unwrap = memoryview(bytearray(32)).cast("q")
        self._formats: set[str] = set()

    @property
    def variant(self) -> str:
        return " and ".join(sorted(self._formats))

    @property
    def statistics(self) -> list[bytes]:
        return self._mender.statistics

    def decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        used = cut(block, final)
        if not used and len(block) > _LONGEST_LINE:
            raise FormatError(
                "a line of more than a MiB; this is no usbmon text", file=self.file, line=self._line
            )
        text = block[:used] if used <= len(block) else memoryview(bytes(block) + b"\n")
        unfinished = final and used > len(block)
        return self.settle(scan(text, self.buffers), final, unfinished), min(used, len(block))

    def settle(self, scanned: Scanned, final: bool = False, unfinished: bool = False) -> Events:
        """The events of a scanned block, which follows the one settled before.

        With `final` nothing follows; `unfinished` tells that the last line had no newline.
        """
        batches: list[Events] = []
        for piece in scanned.pieces:
            if piece.bad or self._mender.is_waiting or self._may_go_on(piece):
                self._mend(piece, scanned.block, batches)
            else:
                self._line += piece.number
                self._take(piece.rows, piece.number, piece.arena, batches)
        if final:
            self._take_mended(self._mender.flush(at_end=unfinished), batches)
        return batches[0] if len(batches) == 1 else Events.concat(batches)

    def _may_go_on(self, piece: _Piece) -> bool:
        last = (piece.number - 1) * _ROW
        return piece.number > 0 and is_short(piece.rows[last : last + _ROW])

    def _take(self, rows: memoryview, count: int, arena: memoryview, batches: list[Events]) -> None:
        """Make a batch of scanned rows: their times and numbers."""
        if not count:
            return
        view = rows[: count * _ROW]
        textscan.unwrap(view, count, self._unwrap)
        self.pairing.number(view, count)
        has_bus = not view[_ABSENT] & layout.ABSENT_BIT["busnum"]
        self._formats.add("u" if has_bus else "t")
        batches.append(Events(view, arena))

    def _take_mended(self, lines: list[Mended], batches: list[Events]) -> None:
        for line in lines:
            for piece in scan(line.text + b"\n", Buffers()).pieces:
                if line.changed:
                    piece.rows[_MARKS] |= layout.REPAIRED
                self._take(piece.rows, piece.number, piece.arena, batches)

    def _mend(
        self, piece: _Piece, block: bytes | bytearray | memoryview, batches: list[Events]
    ) -> None:
        """Take the rows and the lines set aside in their order."""
        done = 0
        for before, start, end in [*piece.bad, (piece.number, -1, -1)]:
            if before > done:
                self._take_mended(self._mender.flush(), batches)
                held = self._hold_last(piece, before)
                self._take(
                    piece.rows[done * _ROW :],
                    before - done - held,
                    piece.arena,
                    batches,
                )
                self._line += before - done
                done = before
            if start >= 0:
                line = bytes(block[start : end - 1])
                mended = self._mender.push(line, self._line)
                self._line += 1
                self._take_mended(mended, batches)

    def _hold_last(self, piece: _Piece, before: int) -> int:
        """Give the mender the last row before a place if its line may go on there: 1, or 0."""
        row = piece.rows[(before - 1) * _ROW : before * _ROW]
        if not is_short(row):
            return 0
        # The line as it stood: printed again, which is the same to the byte.
        out = bytearray(4096 + len(piece.arena) * 3)
        has_bus = not int.from_bytes(row[_ABSENT : _ABSENT + 1]) & layout.ABSENT_BIT["busnum"]
        _, size = textprint.print_text(row, 0, 1, piece.arena, out, not has_bus, len(piece.arena))
        self._mender.hold(bytes(out[: size - 1]), self._line + before - 1)
        return 1


def cut(block: memoryview, final: bool) -> int:
    """How many bytes of `block` are whole lines; one more than it has where, at the end, only the
    last newline is missing."""
    if final and block and block[-1] != 10:
        return len(block) + 1
    for size in (_TAIL, len(block)):
        tail = bytes(block[-size:]) if size else b""
        end = tail.rfind(b"\n") + 1
        if end:
            return len(block) - len(tail) + end
    return 0


class _TextEncoder(Encoder):
    _old: ClassVar[bool]
    data_limit: ClassVar[int] = textprint.DATA_MAX
    descriptor_limit: ClassVar[int] = textprint.ISODESC_MAX

    def write(self, events: Events) -> bytes | memoryview:
        rows, arena = events.buffers
        pieces: list[memoryview] = []
        n = 0
        while n < len(events):
            out = self.buffers.take((len(events) - n) * 96 + 1024)
            n, size = textprint.print_text(
                rows, n, len(events), arena, out, self._old, textprint.DATA_MAX
            )
            pieces.append(out[:size])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class UEncoder(_TextEncoder):
    """Today's format, `1u`."""

    format: ClassVar[str] = "u"
    _old: ClassVar[bool] = False
    cannot_hold: ClassVar[tuple[str, ...]] = (
        "data",
        "descriptors",
        "xfer_flags",
        "date",
        "nanoseconds",
        "windows",
        *UNMARKED,
    )
    must_write: ClassVar[tuple[str, ...]] = ("no bus", "no iso interval")


class TEncoder(_TextEncoder):
    """The old format, `1t`."""

    format: ClassVar[str] = "t"
    _old: ClassVar[bool] = True
    cannot_hold: ClassVar[tuple[str, ...]] = (
        "data",
        "bus",
        "interval",
        "iso",
        "xfer_flags",
        "date",
        "nanoseconds",
        "windows",
        *UNMARKED,
    )
