"""Names for numbers: vendors, products and classes, from the list of usb.ids.

Here: looking up what the list has (http://www.linux-usb.org/usb-ids.html). Not here: the list,
which is the system's or, where that is older or there is none, our copy of it, ``usb.ids.gz``
beside this file (scripts/update_usb_ids.py brings it up to date).

The text is searched as it is: an entry is a line that starts with its number, and those that belong
to it follow it with one tab more. That takes a fraction of a millisecond, a table of all of it a
hundred times as long.
"""

from __future__ import annotations

import gzip
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Final

# Where systems have it (Debian, Fedora; update-usbids).
SYSTEM: Final = (
    "/usr/share/hwdata/usb.ids",
    "/usr/share/misc/usb.ids",
    "/var/lib/usbutils/usb.ids",
)
SHIPPED: Final = Path(__file__).with_name("usb.ids.gz")

_HEAD_SIZE: Final = 2048
_DATE: Final = re.compile(rb"^# (?:Date:|Version:)\s+(\d{4})[-.](\d{2})[-.](\d{2})", re.MULTILINE)
_LIMIT: Final = 16 << 20


class Names:
    """The list, as text."""

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text.replace(b"\r\n", b"\n")

    def vendor(self, vendor: int) -> str:
        """The name of idVendor; "" for none."""
        return self._name(b"%04x" % vendor)

    def product(self, vendor: int, product: int) -> str:
        """The name of idProduct of this vendor."""
        return self._name(b"%04x" % vendor, b"%04x" % product)

    def cls(self, number: int, subclass: int | None = None, protocol: int | None = None) -> str:
        """The name of a class, of a subclass of it, or of a protocol of that."""
        wanted = [number, *(n for n in (subclass, protocol) if n is not None)]
        return self._name(b"C %02x" % wanted[0], *(b"%02x" % n for n in wanted[1:]))

    def _name(self, *path: bytes) -> str:
        """What stands behind the last key of the path, each below the one before."""
        start, end, after = 0, len(self._text), 0
        for depth, key in enumerate(path):
            at = self._text.find(b"\n" + b"\t" * depth + key + b"  ", start, end)
            if at < 0:
                return ""
            start = at + 1
            after = start + depth + len(key) + 2
            start = self._text.find(b"\n", after) % (len(self._text) + 1)
            end = self._end(start, depth, end)
        line_end = self._text.find(b"\n", after)
        line = self._text[after : line_end if line_end >= 0 else None]
        return line.strip().decode(errors="replace")

    def _end(self, start: int, depth: int, end: int) -> int:
        """Where what belongs to a line of this depth ends: at the first that is no deeper."""
        shallow = _SHALLOW[depth].search(self._text, start, end)
        return shallow.start() if shallow else end


_SHALLOW: Final = tuple(re.compile(rb"\n(?!\t{%d})[^\n]" % (depth + 1)) for depth in range(3))


def date(head: bytes) -> tuple[int, int, int]:
    """Which day a list is of, from its first lines; (0, 0, 0) where they do not tell."""
    match = _DATE.search(head[:_HEAD_SIZE])
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)


@lru_cache(maxsize=1)
def names() -> Names:
    """The newest list there is."""
    return Names(newest([*map(Path, SYSTEM), SHIPPED]))


def newest(places: list[Path]) -> bytes:
    """The text of the newest list of those that can be read; the first of those of a day."""
    heads = {place: date(_read(place, _HEAD_SIZE)) for place in places}
    for place in sorted(heads, key=lambda place: heads[place], reverse=True):
        text = _read(place, _LIMIT)
        if text:
            return text
    return b""


def _read(place: Path, size: int) -> bytes:
    try:
        with place.open("rb") as file:
            if place.suffix != ".gz":
                return file.read(size)
            with gzip.open(file) as unpacked:
                return unpacked.read(size)
    except (OSError, EOFError, zlib.error):
        return b""
