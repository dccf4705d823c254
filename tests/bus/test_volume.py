"""Files on a volume, over a disk that is only an image: no bus, no driver."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usbmon.bus import fat
from usbmon.bus.image import MemoryImage
from usbmon.bus.status import EINVAL, EIO, ENOENT, ENOSPC, EROFS
from usbmon.bus.volume import Volume, VolumeError

if TYPE_CHECKING:
    from usbmon.bus.driver import Steps

MIB = 1 << 20


class Disk:
    """Blocks that are there at once. `writes`: where it was written to."""

    block_size = 512
    write_protected = False

    def __init__(self, size: int = 4 * MIB) -> None:
        self.image = MemoryImage(size)
        self.writes: list[int] = []
        fat.make(self.image, "TEST")

    def read(self, lba: int, count: int) -> Steps[bytes]:
        yield from ()
        return self.image.read(lba * 512, count * 512)

    def write(self, lba: int, data: bytes) -> Steps[None]:
        assert len(data) % 512 == 0
        yield from ()
        self.writes.append(lba)
        self.image.write(lba * 512, data)


def do(steps):
    """The result of steps that wait for nothing."""
    with pytest.raises(StopIteration) as stop:
        next(steps)
    return stop.value.value


def mount(disk: Disk) -> Volume:
    return do(Volume.mount(disk, clock=lambda: 1_244_210_480 * 10**9))


def contents(image: MemoryImage, short: bytes) -> bytes:
    """A file by its short name, found the way ECMA-107 says, with FAT16 alone."""
    boot = image.read(MIB, 512)
    cluster_size, reserved, _, roots = struct.unpack_from("<BHBH", boot, 13)
    table = MIB + reserved * 512
    root = table + 2 * struct.unpack_from("<H", boot, 22)[0] * 512
    data = root + roots * 32
    entries = image.read(root, roots * 32)
    at = next(at for at in range(0, len(entries), 32) if entries[at : at + 11] == short)
    cluster, size = struct.unpack_from("<HI", entries, at + 26)
    out = b""
    while cluster < 0xFFF8:
        out += image.read(data + (cluster - 2) * cluster_size * 512, cluster_size * 512)
        (cluster,) = struct.unpack("<H", image.read(table + 2 * cluster, 2))
    return out[:size]


@pytest.mark.parametrize("size", [0, 1, 512, 4096, 4097, 300_000])
def test_file_is_really_in_the_image(size):
    disk = Disk(32 * MIB)
    data = random.Random(size).randbytes(size)
    volume = mount(disk)
    do(volume.write("FILE.BIN", data))
    do(volume.unmount())
    if size:
        assert contents(disk.image, b"FILE    BIN") == data
    assert do(mount(disk).read("file.bin")) == data


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from(["one", "two", "A longer name.txt"]), st.binary(max_size=9000)),
        max_size=6,
    )
)
def test_last_of_each_name_stays(files):
    disk = Disk()
    volume = mount(disk)
    for name, data in files:
        do(volume.write(name, data))
    volume = mount(disk)
    wanted = dict(files)
    assert {file.name: file.size for file in volume.files} == {n: len(d) for n, d in wanted.items()}
    assert {name: do(volume.read(name)) for name in wanted} == wanted


def test_deleted_file_gives_its_room_back():
    disk = Disk()
    volume = mount(disk)
    do(volume.write("other file", b"stays"))
    table = disk.image.read(MIB + 4096, 1536)
    do(volume.write("some file", bytes(10_000)))
    do(volume.delete("SOME FILE"))
    assert [file.name for file in volume.files] == ["other file"]
    assert disk.image.read(MIB + 4096, 1536) == table


def test_both_tables_are_the_same():
    disk = Disk(32 * MIB)
    volume = mount(disk)
    do(volume.write("x", bytes(2 * MIB)))
    where = fat.layout(disk.image.read(MIB, 512), 2048)
    first, second = (
        disk.image.read((where.fat_start + n * where.fat_sectors) * 512, where.fat_sectors * 512)
        for n in range(2)
    )
    assert first == second


def test_volume_is_marked_while_it_is_mounted():
    disk = Disk()
    volume = mount(disk)
    assert disk.image.read(MIB + 0x25, 1) == b"\1"
    do(volume.unmount())
    assert disk.image.read(MIB + 0x25, 1) == b"\0"


def test_full_volume_stays_as_it_was():
    disk = Disk()
    volume = mount(disk)
    do(volume.write("kept", b"kept"))
    disk.writes.clear()
    with pytest.raises(VolumeError) as caught:
        do(volume.write("kept", bytes(4 * MIB)))
    assert caught.value.status == ENOSPC
    assert not disk.writes
    assert do(volume.read("kept")) == b"kept"


def test_root_directory_has_an_end():
    volume = mount(Disk())
    for number in range(511):  # and the label
        do(volume.write(f"F{number}", b""))
    with pytest.raises(VolumeError) as caught:
        do(volume.write("ONE-MORE", b""))
    assert caught.value.status == ENOSPC
    assert len(volume.files) == 511


def test_name_that_is_none_is_refused():
    with pytest.raises(VolumeError) as caught:
        do(mount(Disk()).write("a/b", b""))
    assert caught.value.status == EINVAL


@pytest.mark.parametrize("step", ["read", "delete"])
def test_file_that_is_not_there(step):
    with pytest.raises(VolumeError) as caught:
        do(getattr(mount(Disk()), step)("nothing"))
    assert caught.value.status == ENOENT


def test_protected_disk_is_only_read():
    disk = Disk()
    do(mount(disk).write("there", b"it is"))
    disk.write_protected = True
    disk.writes.clear()
    volume = mount(disk)
    assert do(volume.read("there")) == b"it is"
    for steps in (volume.write("x", b""), volume.delete("there")):
        with pytest.raises(VolumeError) as caught:
            do(steps)
        assert caught.value.status == EROFS
    do(volume.unmount())
    assert not disk.writes


@pytest.mark.parametrize("entry", [2, 1, 0, 0xFF0])
def test_damaged_table_is_reported(entry):
    """A file of three clusters whose first entry is changed: a circle, astray, or too short."""
    disk = Disk()
    do(mount(disk).write("x", bytes(10_000)))
    at = MIB + 8 * 512 + 3
    raw = int.from_bytes(disk.image.read(at, 2), "little") & 0xF000 | entry
    disk.image.write(at, raw.to_bytes(2, "little"))
    with pytest.raises(VolumeError) as caught:
        do(mount(disk).read("x"))
    assert caught.value.status == EIO


@pytest.mark.parametrize("at", [510, MIB + 510, MIB + 11, MIB + 13])
def test_disk_without_a_file_system_is_refused(at):
    disk = Disk()
    disk.image.write(at, b"\0\0")
    with pytest.raises(VolumeError) as caught:
        mount(disk)
    assert caught.value.status == EINVAL


def test_disk_of_other_blocks_is_refused():
    disk = Disk()
    disk.block_size = 4096
    with pytest.raises(VolumeError, match="not of 512 bytes"):
        mount(disk)
