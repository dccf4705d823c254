"""Directories of FAT: entries and names, short and long, as bytes.

Here: the 32 bytes of an entry (ECMA-107 §11) and the long names spread over several of them
(Microsoft's FAT specification 1.03). Not here: where directories lie (`fat`, `volume`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

ENTRY: Final = 32

READ_ONLY, HIDDEN, SYSTEM, VOLUME_ID, DIRECTORY, ARCHIVE = 1, 2, 4, 8, 16, 32
LONG_NAME: Final = READ_ONLY | HIDDEN | SYSTEM | VOLUME_ID

_ENTRY: Final = struct.Struct("<11sBBBHHHHHHHI")

# What a short name may hold besides capital letters and digits.
_SIGNS: Final = frozenset("!#$%&'()-@^_`{}~")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a directory: `index` is that of its first entry there, `count` how many it has."""

    name: str
    size: int
    cluster: int
    attributes: int
    index: int
    count: int


def files(directory: bytes) -> Iterator[File]:
    """What a directory lists; volume labels and the dead are no files."""
    long, first = b"", 0
    for index in range(len(directory) // ENTRY):
        raw = directory[index * ENTRY : (index + 1) * ENTRY]
        if raw[0] == 0:
            return
        attributes = raw[11]
        if raw[0] != 0xE5 and attributes & 0x3F == LONG_NAME:
            if raw[0] & 0x40:
                long, first = b"", index
            long = _long_part(raw) + long
            continue
        if raw[0] != 0xE5 and not attributes & VOLUME_ID:
            fields = _ENTRY.unpack(raw)
            start = first if long else index
            text = long.decode("utf-16-le", "replace").split("\0", 1)[0]
            name = text or _short_text(raw)
            yield File(name, fields[11], fields[10], attributes, start, index - start + 1)
        long = b""


def _long_part(raw: bytes) -> bytes:
    return raw[1:11] + raw[14:26] + raw[28:32]


def _short_text(raw: bytes) -> str:
    """The name, in small letters where the flags of Windows NT say so."""
    base, suffix = (part.rstrip(b" ").decode("cp437") for part in (raw[:8], raw[8:11]))
    base = base.lower() if raw[12] & 0x08 else base
    suffix = suffix.lower() if raw[12] & 0x10 else suffix
    return f"{base}.{suffix}" if suffix else base


def entries(name: str, cluster: int, size: int, when: datetime, taken: set[bytes]) -> bytes:
    """The directory entries of a new file: a long name where the short one does not say it all.
    Raises ValueError for a name that FAT cannot have."""
    is_bad = any(c < " " or c in '"*/:<>?\\|' for c in name) or name[-1:] in {"", " ", "."}
    if is_bad or len(name.encode("utf-16-le")) > 510:
        raise ValueError(f"{name!r} is no name of a file on FAT")
    alias = _alias(name, taken)
    entry = entry_bytes(alias, ARCHIVE, cluster, size, when)
    return entry if _short_text(entry) == name else _long_entries(name, alias) + entry


def _alias(name: str, taken: set[bytes]) -> bytes:
    """A short name that no other file has."""
    base, dot, suffix = name.upper().rpartition(".")
    if not dot or not base.strip("."):
        base, suffix = name.upper(), ""
    parts = [_legal(part) for part in (base, suffix)]
    alias = f"{parts[0]:8.8}{parts[1]:3.3}".encode("ascii")
    fits = len(parts[0]) <= 8 and len(parts[1]) <= 3 and [base, suffix] == parts
    number = 0
    while not fits or alias in taken:
        fits = True
        number += 1
        tail = f"~{number}"
        alias = f"{parts[0][: 8 - len(tail)] + tail:8}{parts[1]:3.3}".encode("ascii")
    return alias


def _legal(part: str) -> str:
    kept = part.replace(" ", "").replace(".", "")
    return "".join(c if c.isascii() and (c.isalnum() or c in _SIGNS) else "_" for c in kept)


def _long_entries(name: str, alias: bytes) -> bytes:
    """The long name, its last part first."""
    total = 0
    for byte in alias:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    raw = name.encode("utf-16-le") + b"\0\0"
    count = -(-(len(raw) - 2) // 26)
    raw = raw.ljust(count * 26, b"\xff")[: count * 26]
    out = b""
    for number in range(count, 0, -1):
        part = raw[(number - 1) * 26 : number * 26]
        order = number | (0x40 if number == count else 0)
        head = bytes((order,)) + part[:10] + bytes((LONG_NAME, 0, total))
        out += head + part[10:22] + b"\0\0" + part[22:26]
    return out


def short_label(label: str) -> bytes:
    """A label as it stands in the boot sector and in the root directory."""
    return _legal(label.upper())[:11].ljust(11).encode("ascii")


def entry_bytes(name: bytes, attributes: int, cluster: int, size: int, when: datetime) -> bytes:
    """A directory entry with all its times the same."""
    time = when.hour << 11 | when.minute << 5 | when.second // 2
    date = (when.year - 1980) << 9 | when.month << 5 | when.day
    return _ENTRY.pack(name, attributes, 0, 0, time, date, date, 0, time, date, cluster, size)
