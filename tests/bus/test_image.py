"""The bytes of a disk: what is written is read, holes cost nothing, files stay what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.image import BLOCK, FileImage, Image, MemoryImage, open_image
from usbmon.errors import SourceError

SIZE = 300 * BLOCK


@pytest.fixture(params=["memory", "file"])
def image(request, tmp_path):
    made = open_image(tmp_path / "key.img" if request.param == "file" else None, SIZE)
    yield made
    made.close()


def test_new_image_is_of_zeros(image: Image):
    assert image.is_new
    assert image.size == SIZE
    assert image.read(0, SIZE) == bytes(SIZE)


def test_write_changes_its_range_and_no_more(image: Image):
    image.write(65_000, b"x" * 2000)
    assert image.read(64_999, 2002) == b"\0" + b"x" * 2000 + b"\0"


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.binary(max_size=3000)), max_size=8))
def test_memory_image_is_an_array(writes):
    image, model = MemoryImage(SIZE), bytearray(SIZE)
    for offset, data in writes:
        part = data[: SIZE - offset]
        image.write(offset, part)
        model[offset : offset + len(part)] = part
    assert image.read(0, SIZE) == model


def test_only_what_was_written_takes_room(tmp_path):
    size = 1 << 36
    image = open_image(tmp_path / "large.img", size)
    image.write(size - BLOCK, b"end")
    assert image.size == size
    assert (tmp_path / "large.img").stat().st_blocks * 512 < 1 << 20
    image.close()
    memory = MemoryImage(size)
    memory.write(size - BLOCK, b"end")
    assert memory.read(size - BLOCK, 3) == b"end"


def test_file_that_is_there_is_kept(tmp_path):
    path = tmp_path / "key.img"
    path.write_bytes(b"kept" + bytes(2 * BLOCK))
    image = open_image(path, SIZE)
    assert not image.is_new
    assert image.size == 2 * BLOCK  # the rest of a block is none
    assert image.read(0, 4) == b"kept"
    image.close()


def test_writes_are_in_the_file_at_once(tmp_path):
    image = open_image(tmp_path / "key.img", SIZE)
    image.write(BLOCK, b"here")
    assert (tmp_path / "key.img").read_bytes()[BLOCK : BLOCK + 4] == b"here"
    image.close()


def test_read_only_file_cannot_be_written(tmp_path):
    path = tmp_path / "key.img"
    path.write_bytes(bytes(BLOCK))
    image = open_image(path, SIZE, read_only=True)
    with pytest.raises(OSError, match="not open for writing"):
        image.write(0, b"x")
    image.close()


def test_file_that_was_cut_reads_as_zeros(tmp_path):
    path = tmp_path / "key.img"
    image = FileImage(path, SIZE)
    path.write_bytes(b"ab")
    assert image.read(0, 4) == b"ab\0\0"
    image.close()


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be used as a disk image"):
        open_image(tmp_path / "no" / "key.img", SIZE)


def test_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.img"
    path.touch()
    with pytest.raises(SourceError, match="less than one block"):
        open_image(path, SIZE)
