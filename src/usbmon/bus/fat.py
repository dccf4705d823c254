"""FAT12 and FAT16: how such a file system lies on a disk, and making one.

Here: the master boot record, the boot sector and the tables, as bytes (ECMA-107; Microsoft's FAT
specification 1.03). Not here: directories (`directory`), reading and writing of files (`volume`).

A new file system is what ``mkfs.vfat`` makes of a partition at 1 MiB, the same bytes every time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbmon.bus import directory
from usbmon.bus.image import open_image

if TYPE_CHECKING:
    from usbmon.bus.image import Image

SECTOR: Final = 512

# The partition starts at 1 MiB, as every tool puts it.
_START: Final = 2048
_RESERVED: Final = 8
_ROOT_ENTRIES: Final = 512
_FATS: Final = 2
_MEDIA: Final = 0xF8
_SERIAL: Final = 0x20090605
_SMALLEST: Final = 2 << 20
_LARGEST: Final = 2 << 30

# Clusters: fewer than this is FAT12, more than that no FAT16 (Microsoft, "FAT type determination").
_FAT16_FROM: Final = 4085
_MOST: Final = 65524

_BOOT: Final = struct.Struct("<3s8sHBHBHHBHHHII BBBI11s8s")
_PARTITION: Final = struct.Struct("<B3sB3sII")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are, in sectors of the disk, from `start`, the first one of the partition."""

    start: int
    sectors: int
    cluster: int
    fat_start: int
    fat_sectors: int
    fats: int
    root_entries: int

    @property
    def root_start(self) -> int:
        return self.fat_start + self.fats * self.fat_sectors

    @property
    def root_sectors(self) -> int:
        return -(-self.root_entries * directory.ENTRY // SECTOR)

    @property
    def data_start(self) -> int:
        return self.root_start + self.root_sectors

    @property
    def clusters(self) -> int:
        return (self.start + self.sectors - self.data_start) // self.cluster

    @property
    def is_fat16(self) -> bool:
        return self.clusters >= _FAT16_FROM

    @property
    def end(self) -> int:
        """Entries of the table from here on say that a file ends."""
        return 0xFFF8 if self.is_fat16 else 0xFF8

    def place(self, cluster: int) -> int:
        """The first sector of a cluster."""
        return self.data_start + (cluster - 2) * self.cluster


def partition(record: bytes) -> int:
    """The first sector of the first partition with FAT12 or FAT16, by the master boot record; 0 if
    the disk has no partitions but is a file system itself. Raises ValueError for neither."""
    if record[510:512] != b"\x55\xaa":
        raise ValueError("the disk has no partition table")
    for at in range(446, 510, _PARTITION.size):
        _, _, kind, _, start, count = _PARTITION.unpack_from(record, at)
        if kind in (0x01, 0x04, 0x06, 0x0C, 0x0E) and start and count:
            return int(start)
    return 0


def layout(boot: bytes, start: int) -> Layout:
    """By the boot sector. Raises ValueError where it is none of FAT12 or FAT16."""
    (_, _, size, cluster, reserved, fats, roots, small, _, fat_sectors, _, _, _, large, *_) = (
        _BOOT.unpack_from(boot)
    )
    sectors = small or large
    found = Layout(start, sectors, cluster, start + reserved, fat_sectors, fats, roots)
    if boot[510:512] != b"\x55\xaa" or size != SECTOR or not (cluster and fats and fat_sectors):
        raise ValueError("the partition has no FAT12 or FAT16 file system")
    if not 0 < found.clusters <= _MOST or table_size(found) > fat_sectors:
        raise ValueError("the sizes in the boot sector contradict one another")
    return found


def table_size(where: Layout) -> int:
    """Sectors that a table needs."""
    bits = (where.clusters + 2) * (16 if where.is_fat16 else 12)
    return -(-bits // (8 * SECTOR))


def open_disk(path: str | Path | None, size: int, label: str, *, read_only: bool = False) -> Image:
    """The image in this file, or in memory; one that was not there yet has an empty file system.
    Raises SourceError for a file that cannot be used, and as `make`, before there is a file."""
    if path is None or not Path(path).exists():
        _plan(size // SECTOR)
    image = open_image(path, size, read_only=read_only)
    if image.is_new:
        make(image, label)
    return image


def make(image: Image, label: str) -> None:
    """Write a partition table and an empty file system. Raises ValueError for a size that has no
    FAT12 or FAT16."""
    where = _plan(image.size // SECTOR)
    kind = 0x0E if where.is_fat16 else 0x01
    entry = _PARTITION.pack(0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", where.start, where.sectors)
    record = struct.pack("<440xIH", _SERIAL, 0) + entry
    image.write(0, record.ljust(510, b"\0") + b"\x55\xaa")
    name = directory.short_label(label)
    image.write(where.start * SECTOR, _boot_sector(where, name))
    first = pack_table(where, [0xFF00 | _MEDIA, 0xFFFF])
    for number in range(where.fats):
        image.write((where.fat_start + number * where.fat_sectors) * SECTOR, first)
    made = datetime(2009, 6, 5, tzinfo=UTC)
    entry = directory.entry_bytes(name, directory.VOLUME_ID, 0, 0, made)
    image.write(where.root_start * SECTOR, entry)


def _plan(total: int) -> Layout:
    """As large clusters as are needed, and tables as large as they need."""
    sectors = total - _START
    if total * SECTOR < _SMALLEST:
        raise ValueError("a FAT file system in a partition needs 2 MiB or more")
    if total * SECTOR > _LARGEST:
        raise ValueError("a FAT16 file system has 2 GiB at most")
    cluster = 8
    while True:
        fat_sectors = 0
        while True:
            where = Layout(
                _START, sectors, cluster, _START + _RESERVED, fat_sectors, _FATS, _ROOT_ENTRIES
            )
            if table_size(where) <= fat_sectors:
                break
            fat_sectors += 1
        if where.clusters <= _MOST:
            return where
        cluster *= 2


def _boot_sector(where: Layout, name: bytes) -> bytes:
    kind = b"FAT16   " if where.is_fat16 else b"FAT12   "
    small = where.sectors if where.sectors < 0x10000 else 0
    large = 0 if small else where.sectors
    head = _BOOT.pack(
        b"\xeb\x3c\x90",
        b"usbmon  ",
        SECTOR,
        where.cluster,
        _RESERVED,
        where.fats,
        where.root_entries,
        small,
        _MEDIA,
        where.fat_sectors,
        32,
        2,
        where.start,
        large,
        0x80,
        0,
        0x29,
        _SERIAL,
        name,
        kind,
    )
    return head.ljust(510, b"\0") + b"\x55\xaa"


# The table.


def unpack_table(where: Layout, raw: bytes) -> list[int]:
    """The entries of all clusters, the two that are none included."""
    count = where.clusters + 2
    if where.is_fat16:
        return list(struct.unpack_from(f"<{count}H", raw))
    entries = []
    for number in range(count):
        pair = int.from_bytes(raw[number * 3 // 2 : number * 3 // 2 + 2], "little")
        entries.append(pair >> 4 if number & 1 else pair & 0xFFF)
    return entries


def pack_table(where: Layout, entries: list[int]) -> bytes:
    """Whole sectors."""
    if where.is_fat16:
        raw = struct.pack(f"<{len(entries)}H", *entries)
    else:
        pairs = [*entries, 0] if len(entries) & 1 else entries
        raw = b"".join(
            (low & 0xFFF | (high & 0xFFF) << 12).to_bytes(3, "little")
            for low, high in zip(pairs[::2], pairs[1::2], strict=True)
        )
    return raw.ljust(-(-len(raw) // SECTOR) * SECTOR, b"\0")
