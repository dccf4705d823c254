"""The kinds of values that a filter compares: how they are written, and written back.

Here: a word of a filter to the number or bytes that a column holds (`Kind.read`), the way back
(`Kind.write`), and what may be asked of a kind. Not here: which field is of which kind
(`usbmon.filters.fields`), or grammar.

A `read` raises ValueError with what is wrong, in words; where it is, the grammar knows.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Value = int | bytes

_SHOWN: Final = 40
_TOO_LARGE: Final = 1 << 64

_EQUAL: Final = ("==", "!=")
COMPARISONS: Final = (*_EQUAL, "<", "<=", ">", ">=")
OPERATORS: Final = (*COMPARISONS, "in", "&", "contains", "matches")

_WHOLE: Final = re.compile(r"(-?)0[xX]([0-9a-fA-F]+)|(-?\d+(?:\.\d+)?)(k|[KMG]i|[MG])?", re.ASCII)
_SIZES: Final = {
    None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
}  # fmt: skip
_TIME: Final = re.compile(r"(-?\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)?", re.ASCII)
_TIMES: Final = {
    "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1,
    "µs": 10**3, None: 10**9,
}  # fmt: skip
_ADDRESS: Final = re.compile(r"(\d+)[:.](\d+)", re.ASCII)
_BYTES: Final = re.compile(r"[0-9a-fA-F]{2}(?::?[0-9a-fA-F]{2})*")
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(NamedTuple):
    """`read` is given the word, whether it stood in quotes, and the field's symbols; `write` a
    value and these symbols. `operators`: those that it takes."""

    name: str
    read: Callable[[str, bool, Mapping[str, int]], Value]
    write: Callable[[Value, Mapping[str, int]], str]
    operators: tuple[str, ...]
    doc: str


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that may have been meant, or ""."""
    by_lower = {name.lower(): name for name in names}
    tail = [name for name in by_lower.values() if name.lower().endswith("." + word.lower())]
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return (tail or [by_lower[name] for name in close] or [""])[0]


def quoted(word: str) -> str:
    """A word for a message, which stays short."""
    return repr(word if len(word) <= _SHOWN else word[:_SHOWN] + "…")


def _whole(word: str, _in_quotes: bool, symbols: Mapping[str, int]) -> int:
    """A number, or a name for one."""
    symbol = {name.lower(): value for name, value in symbols.items()}.get(word.lower())
    if symbol is not None:
        return symbol
    match = _WHOLE.fullmatch(word)
    if match is None:
        raise ValueError(_no_symbol(word, symbols))
    sign, digits, number, unit = match.groups()
    value = Fraction(int(sign + digits, 16) if digits else number) * _SIZES[unit]
    if value.denominator != 1:
        raise ValueError(f"{quoted(word)} is no whole number")
    return _bounded(value)


def _bounded(value: Fraction) -> int:
    """Rounded to a whole number, of not more bits than any column has."""
    if abs(value) >= _TOO_LARGE:
        raise ValueError("no number here is larger than 64 bits")
    return round(value)


def _no_symbol(word: str, symbols: Mapping[str, int]) -> str:
    if not symbols:
        return f"{quoted(word)} is no number; write one as 18, 0x12, 4k or 64Ki"
    near = nearest(word[:_SHOWN], symbols)
    if near:
        return f"no value {quoted(word)}; did you mean {near}?"
    names = list(symbols)
    return f"no value {quoted(word)}; there are {', '.join(names[:8])}{', …' if names[8:] else ''}"


def _named(value: Value, symbols: Mapping[str, int]) -> str:
    """The first name of a number, or the number."""
    return next((name for name, number in symbols.items() if number == value), str(value))


def _hex(value: Value, symbols: Mapping[str, int]) -> str:
    assert isinstance(value, int)
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value):#x}" if value not in symbols.values() else _named(value, symbols)


def _time(word: str, in_quotes: bool, _symbols: Mapping[str, int]) -> int:
    """A time in nanoseconds: of seconds where no unit is told, or a date in quotes."""
    if in_quotes:
        return _date(word)
    match = _TIME.fullmatch(word)
    if match is None:
        raise ValueError(f"{quoted(word)} is no time; write one as 1.5s, 10ms or 250us")
    return _bounded(Fraction(match[1]) * _TIMES[match[2]])


def _date(word: str) -> int:
    try:
        moment = datetime.fromisoformat(word.removesuffix(" UTC"))
        since = moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH
    except (ValueError, OverflowError):
        raise ValueError(
            f"{quoted(word)} is no date; write one as 2025-12-31 23:59:59.5 (UTC)"
        ) from None
    return _bounded(Fraction(since // timedelta(microseconds=1) * 1000))


def _time_words(value: Value, _symbols: Mapping[str, int]) -> str:
    """In the largest unit up to seconds in which it is whole, or else in nanoseconds."""
    assert isinstance(value, int)
    unit = next(unit for unit in ("s", "ms", "us", "ns") if value % _TIMES[unit] == 0)
    return f"{value // _TIMES[unit]}{unit}"


def _truth(word: str, _in_quotes: bool, _symbols: Mapping[str, int]) -> int:
    value = {"true": 1, "1": 1, "false": 0, "0": 0}.get(word.lower())
    if value is None:
        raise ValueError(f"{quoted(word)} is neither true nor false")
    return value


def _truth_word(value: Value, _symbols: Mapping[str, int]) -> str:
    return "true" if value else "false"


def _address(word: str, _in_quotes: bool, _symbols: Mapping[str, int]) -> int:
    """A bus and a device in one number, as `usbmon.filters.fields` has them in the column."""
    match = _ADDRESS.fullmatch(word)
    if match is None:
        raise ValueError(
            f"{quoted(word)} is no device; write bus:device, as 1:5 (addr == 5: on any bus)"
        )
    bus, device = int(match[1]), int(match[2])
    if bus > 0xFFFF or device > 0xFF:
        raise ValueError(f"{quoted(word)} cannot be: a bus is at most 65535, a device at most 255")
    return bus << 8 | device


def _address_words(value: Value, _symbols: Mapping[str, int]) -> str:
    assert isinstance(value, int)
    return f"{value >> 8}:{value & 0xFF}"


def _bytes(word: str, in_quotes: bool, _symbols: Mapping[str, int]) -> bytes:
    if in_quotes:
        value = unescaped(word)
    elif _BYTES.fullmatch(word):
        value = bytes.fromhex(word.replace(":", ""))
    else:
        raise ValueError(f'{quoted(word)} are no bytes; write them as 55:53:42:43 or "USBC"')
    if not value:
        raise ValueError("no bytes to look for")
    return value


def unescaped(text: str) -> bytes:
    r"""What stands between quotes, as bytes: ``\x00``, ``\n``, ``\r``, ``\t``, ``\0``, and any
    other character behind a backslash as itself."""
    out, at = bytearray(), 0
    for match in _ESCAPE.finditer(text):
        out += _encoded(text[at : match.start()])
        code = match[1]
        is_byte = len(code) == 3
        out += bytes.fromhex(code[1:]) if is_byte else _encoded(_ESCAPES.get(code, code))
        at = match.end()
    return bytes(out + _encoded(text[at:]))


def _encoded(text: str) -> bytes:
    """As UTF-8; what came in as other bytes goes out as them."""
    return text.encode(errors="surrogateescape")


def _bytes_words(value: Value, _symbols: Mapping[str, int]) -> str:
    assert isinstance(value, bytes)
    return value.hex(":")


INT: Final = Kind("number", _whole, _named, (*COMPARISONS, "in", "&"), "18, 0x12, 4k, 64Ki")
HEX: Final = INT._replace(write=_hex)
WORD: Final = Kind("name", _whole, _named, (*_EQUAL, "in"), "one of its names, or a number")
BOOL: Final = Kind("yes/no", _truth, _truth_word, (*_EQUAL, "in"), "true, false")
TIME: Final = Kind("time", _time, _time_words, (*COMPARISONS, "in"), "1.5s, 10ms, 250us; 2 is 2s")
ADDRESS: Final = Kind("device", _address, _address_words, (*_EQUAL, "in"), "bus:device, as 1:5")
BYTES: Final = Kind(
    "bytes", _bytes, _bytes_words, (*_EQUAL, "contains", "matches"), '55:53:42:43 or "USBC"'
)

# For people; HEX is a number like INT.
KINDS: Final = (INT, WORD, BOOL, TIME, ADDRESS, BYTES)
