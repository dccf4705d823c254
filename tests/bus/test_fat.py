"""FAT as it lies on a disk. Checked against ``fsck.vfat`` by hand; here against the standard."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus import directory, fat
from usbmon.bus.image import MemoryImage

MIB = 1 << 20


def made(size: int) -> tuple[MemoryImage, fat.Layout]:
    image = MemoryImage(size)
    fat.make(image, "My key")
    start = fat.partition(image.read(0, 512))
    return image, fat.layout(image.read(start * 512, 512), start)


@pytest.mark.parametrize(
    ("size", "is_fat16", "cluster"),
    [
        (2 * MIB, False, 8),
        (16 * MIB, False, 8),
        (32 * MIB, True, 8),
        (512 * MIB, True, 16),
        (2000 * MIB, True, 64),
    ],
)
def test_new_file_system_fits_its_disk(size, is_fat16, cluster):
    _, where = made(size)
    assert (where.start, where.sectors) == (2048, size // 512 - 2048)
    assert (where.is_fat16, where.cluster) == (is_fat16, cluster)
    assert where.fat_sectors >= fat.table_size(where)
    assert where.place(where.clusters + 1) + where.cluster <= size // 512


@pytest.mark.parametrize("size", [-MIB, MIB, 2 * MIB - 512, 2048 * MIB + 512, 2200 * MIB, MIB**4])
def test_size_that_fat_cannot_have_is_refused(size):
    with pytest.raises(ValueError, match=r"MiB|GiB"):
        fat.make(MemoryImage(size), "")


def test_a_disk_of_a_size_that_cannot_be_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="GiB"):
        fat.open_disk(tmp_path / "key.img", MIB**4, "")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_there_is_as_it_was(tmp_path):
    path = tmp_path / "key.img"
    path.write_bytes(bytes(1024))
    fat.open_disk(path, MIB**4, "").close()
    assert path.read_bytes() == bytes(1024)


def test_new_file_system_byte_by_byte():
    """The places that ECMA-107 and the master boot record name."""
    image, where = made(32 * MIB)
    record = image.read(0, 512)
    assert record[510:] == b"\x55\xaa"
    assert struct.unpack_from("<II", record, 454) == (2048, 63488)
    assert record[450] == 0x0E
    boot = image.read(MIB, 512)
    assert boot[:3] == b"\xeb\x3c\x90"
    assert struct.unpack_from("<HBHBHH", boot, 11) == (512, 8, 8, 2, 512, 63488)
    assert boot[43:62] == b"MYKEY      FAT16   "
    for table in range(2):
        at = (where.fat_start + table * where.fat_sectors) * 512
        assert image.read(at, 6) == b"\xf8\xff\xff\xff\0\0"
    assert image.read(where.root_start * 512, 12) == b"MYKEY      \x08"


def test_same_bytes_every_time():
    assert made(4 * MIB)[0].read(0, 4 * MIB) == made(4 * MIB)[0].read(0, 4 * MIB)


@pytest.mark.parametrize("size", [4 * MIB, 64 * MIB])
@given(data=st.data())
def test_table_survives_the_round_trip(size, data):
    _, where = made(size)
    most = 0xFFFF if where.is_fat16 else 0xFFF
    seen = data.draw(st.lists(st.integers(0, most), max_size=50))
    entries = (seen + [0] * (where.clusters + 2))[: where.clusters + 2]
    packed = fat.pack_table(where, entries)
    assert len(packed) == fat.table_size(where) * 512
    assert fat.unpack_table(where, packed) == entries


def test_disk_without_partitions_is_a_file_system_itself():
    image, where = made(4 * MIB)
    assert fat.partition(image.read(where.start * 512, 512)) == 0


def test_disk_without_any_of_it_is_refused():
    with pytest.raises(ValueError, match="no partition table"):
        fat.partition(bytes(512))


@given(st.binary(min_size=510, max_size=510))
def test_any_boot_sector_is_read_or_refused(raw):
    try:
        where = fat.layout(raw + b"\x55\xaa", 2048)
    except ValueError:
        return
    assert 0 < where.clusters <= 65524
    assert directory.ENTRY * where.root_entries <= where.root_sectors * 512


@given(st.binary(min_size=510, max_size=510))
def test_any_boot_record_is_read_or_refused(raw):
    assert fat.partition(raw + b"\x55\xaa") >= 0
