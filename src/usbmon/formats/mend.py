"""Mending lines that are not as the kernel printed them, because of what they went through.

Lines in, lines as `usbmon._kernel.textscan` takes them out; each repair is noted with its place.
Mail quoting, wrapping, line ends of Windows, kernel log in between, prefixes, and the cut at the
end are known. Not here: the grammar; a line is good when the scanner says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon import layout
from usbmon._kernel import textprint, textscan
from usbmon.formats.stat import LINE as STATISTICS

if TYPE_CHECKING:
    from usbmon.formats.base import Notes

# The first words of an event, wherever they stand in a line. It looks at the starts of words alone:
# a long line without blanks would take for ever otherwise.
HEAD: Final = re.compile(rb"(?<!\S)(\S+)[ \t]+(\d{1,10})[ \t]+([SCE])[ \t]+([CZIB][io]:\d+:\d+)")

# What may be the start of an event whose rest is on the next line.
_START: Final = re.compile(
    rb"[0-9a-f]{1,16}([ \t]+\d{1,10}([ \t]+([SCE]([ \t]+([CZIB]([io](:[\d:]*)?)?)?)?)?)?)?[ \t]*"
)
_KERNEL_LOG: Final = re.compile(rb"(<\d+>)?\[ *\d+\.\d{6}\](\[ *[TC]\d+\])? ")
_QUOTING: Final = re.compile(rb"([>|][ \t]?)+")
_WORDS: Final = re.compile(rb"[0-9a-fA-F \t]+")
_LINES_JOINED: Final = 8
_TEXT_SHOWN: Final = 60
_BOM: Final = b"\xef\xbb\xbf"

_FLAG_DATA: Final = layout.OFFSET["flag_data"]
_LENGTH: Final = layout.OFFSET["length"]
_CAPTURED: Final = layout.OFFSET["captured"]
_NDESC: Final = layout.OFFSET["ndesc"]


class Mended(NamedTuple):
    """A line that the scanner takes, and whether it had to be changed for that."""

    text: bytes
    changed: bool


def is_short(row: memoryview) -> bool:
    """Whether a row has fewer data bytes than the kernel would have printed: the line may go on."""
    if row[_FLAG_DATA]:
        return False
    length = int.from_bytes(row[_LENGTH : _LENGTH + 4], _ORDER, signed=True)
    captured = int.from_bytes(row[_CAPTURED : _CAPTURED + 4], _ORDER)
    ndesc = int.from_bytes(row[_NDESC : _NDESC + 4], _ORDER)
    return captured - 16 * ndesc < min(length, textprint.DATA_MAX)


_ORDER: Final = __import__("sys").byteorder


class _State:
    GOOD, SHORT, BAD = range(3)


def _judge(line: bytes) -> int:
    text = memoryview(line + b"\n")
    rows = bytearray(layout.ROW_SIZE)
    bad = memoryview(bytearray(24)).cast("q")
    n, _, _, _ = textscan.scan(text, 0, rows, bytearray(len(text) + 128), bad)
    if not n:
        return _State.BAD
    return _State.SHORT if is_short(memoryview(rows)) else _State.GOOD


class Mender:
    """Takes lines in order; gives back those that can be read, as soon as that is sure."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.statistics: list[bytes] = []
        self._pending = b""
        self._pending_line = 0
        self._joined = 0
        self._cut = False

    @property
    def is_waiting(self) -> bool:
        """Whether a line is held back because the next may belong to it."""
        return bool(self._pending)

    def hold(self, line: bytes, number: int) -> None:
        """Hold back a line that can be read as it is, but may go on in the next."""
        self._pending, self._pending_line, self._joined, self._cut = line, number, 0, False

    def push(self, line: bytes, number: int) -> list[Mended]:
        """The lines that can be read now that this one, number `number`, has come."""
        text, cut = self._clean(line, number)
        if not text:
            self._cut = self._cut or cut
            return []
        if self._pending:
            joined = self._join(text, cut, number)
            if joined is not None:
                return joined
            before = self.flush()
        else:
            before = []
        return before + self._start(text, line, cut, number)

    def flush(self, at_end: bool = False) -> list[Mended]:
        """What was held back, now that nothing will be joined to it."""
        text, number, joined = self._pending, self._pending_line, self._joined
        self._pending = b""
        if not text:
            return []
        if _judge(text) != _State.BAD:
            if at_end and not joined:
                self.notes.add("cut line", line=number)
            return [Mended(text, changed=joined > 0)]
        whole = text[: text.rfind(b" ")]
        odd = text[:-1]
        for shorter in (odd, whole) if at_end else ():
            if b" = " in shorter and _judge(shorter) != _State.BAD:
                self.notes.add("cut line", line=number)
                return [Mended(shorter, changed=True)]
        self._give_up("cut line" if at_end else "unreadable", text, number)
        return []

    def _start(self, text: bytes, line: bytes, cut: bool, number: int) -> list[Mended]:
        """Read a line that continues no other."""
        state = _judge(text)
        if state == _State.GOOD and not cut:
            return [Mended(text, changed=text != line)]
        if state != _State.BAD or HEAD.match(text) or _START.fullmatch(text):
            self._pending, self._pending_line, self._joined, self._cut = text, number, 0, cut
            return []
        self._give_up("unreadable", text, number)
        return []

    def _join(self, text: bytes, cut: bool, number: int) -> list[Mended] | None:
        """Try to make one line of what is held back and this; None where two lines are two."""
        was = _judge(self._pending)
        if was != _State.BAD and not _WORDS.fullmatch(text):
            return None
        if was == _State.BAD and HEAD.match(text):
            return None
        between = (b"", b" ") if self._cut else (b" ", b"")
        kind = "kernel log" if self._cut else "wrapped"
        best = None
        for glue in between:
            joined = self._pending + glue + text
            state = _judge(joined)
            if state == _State.GOOD:
                self._pending = b""
                self._note_join(kind, number)
                return [Mended(joined, changed=True)]
            if state == _State.SHORT and best is None:
                best = joined
        if best is None and (was != _State.BAD or self._joined >= _LINES_JOINED):
            return None
        self._note_join(kind, number)
        self._pending = best or self._pending + between[0] + text
        self._joined += 1
        self._cut = cut
        return []

    def _note_join(self, kind: str, number: int) -> None:
        if kind == "wrapped":
            self.notes.add(kind, line=number)

    def _give_up(self, kind: str, text: bytes, number: int) -> None:
        shown = text[:_TEXT_SHOWN].decode("ascii", "replace")
        self.notes.add(kind, line=number, text=shown)

    def _clean(self, line: bytes, number: int) -> tuple[bytes, bool]:
        """The line without what does not belong to it, and whether kernel log cut it."""
        text = line
        if text.startswith(_BOM):
            text = text[len(_BOM) :]
            self.notes.add("bom", line=number)
        if text.endswith(b"\r"):
            text = text[:-1]
            self.notes.add("crlf", line=number)
        quoting = _QUOTING.match(text)
        if quoting and not text.startswith((b">\n", b"|\n")):
            text = text[quoting.end() :]
            self.notes.add("quoting", line=number)
        if not text.strip():
            if not quoting and not self._pending:
                self.notes.add("blank", line=number)
            return b"", False
        if STATISTICS.fullmatch(text):
            self.statistics.append(text)
            shown = text.strip().decode("ascii", "replace")
            self.notes.add("statistics", line=number, text=shown)
            return b"", False
        log = _KERNEL_LOG.search(text)
        if log and not HEAD.search(text, log.end()):
            text = text[: log.start()]
            self.notes.add("kernel log", line=number)
        elif log:
            log = None
        return self._canonical(text, number, log is not None), log is not None

    def _canonical(self, text: bytes, number: int, cut: bool) -> bytes:
        """The event in the line, its words one space apart and its tag as the kernel prints it."""
        head = HEAD.search(text)
        if head is None:
            return text if cut or self._cut or self._pending else b" ".join(text.split())
        tag = head[1]
        if head.start():
            self.notes.add("prefix", line=number)
        elif b":" in tag:
            tag = tag.rpartition(b":")[2]
            self.notes.add("prefix", line=number)
        rest = text[head.end(1) :]
        spaced = b" ".join(rest.split())
        if b" " + spaced != (rest.rstrip() if cut else rest):
            self.notes.add("spacing", line=number)
        if cut and rest.endswith(b" "):
            spaced += b" "
        kernel_tag = _kernel_tag(tag)
        if kernel_tag != tag:
            self.notes.add("tag", line=number)
        return kernel_tag + b" " + spaced


def _kernel_tag(tag: bytes) -> bytes:
    """The tag in the kernel's spelling. "Any unique string, within reason" is a tag: what is no
    hexadecimal number becomes one by its FNV-1a hash."""
    digits = tag[2:] if tag[:2] in (b"0x", b"0X") else tag
    if len(digits) <= 16 and re.fullmatch(rb"[0-9a-fA-F]+", digits):
        return b"%x" % int(digits, 16)
    value = 0xCBF29CE484222325
    for byte in tag:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return b"%x" % value
