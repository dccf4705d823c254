"""A command at work: its data in pieces, and how it fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.devices.scsi import Disk
from usbmon.bus.devices.scsi_job import Job, Sense, sense_data
from usbmon.bus.image import FileImage, Image, MemoryImage


class Broken(MemoryImage):
    """A medium that can be neither read nor written."""

    def read(self, offset: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    def write(self, offset: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")


def disk(image: Image | None = None) -> Disk:
    image = image or MemoryImage(1 << 20)
    return Disk(image, product="Test", serial="1", is_removable=True)


@given(st.lists(st.integers(0, 700), max_size=20))
def test_reply_is_the_same_in_any_pieces(sizes):
    reply = bytes(range(256)) * 2
    job = Job(disk(), reply)
    assert b"".join(job.read(size) for size in sizes) == reply[: sum(sizes)]
    assert job.left == len(reply) - min(len(reply), sum(sizes))


@given(st.lists(st.binary(max_size=700), max_size=20))
def test_data_are_written_in_any_pieces(pieces):
    target = disk()
    job = Job(target, offset=512, size=1024, is_in=False)
    for piece in pieces:
        job.write(piece)
    data = b"".join(pieces)[:1024]
    assert target.image.read(0, 2048) == bytes(512) + data.ljust(1536, b"\0")


def test_fixed_sense_data():
    """SPC-4 table 53: response code, key, additional length, code and qualifier."""
    sense = sense_data(Sense.POWER_ON_OR_RESET)
    assert sense == bytes.fromhex("70 00 06 00000000 0a 00000000 2900 00 000000")


def test_medium_that_cannot_be_read_is_a_medium_error():
    target = disk(Broken(1 << 20))
    job = Job(target, offset=0, size=1024)
    assert job.read(512) == b""
    assert job.sense == target.sense == sense_data(Sense.UNRECOVERED_READ_ERROR)


def test_image_that_is_closed_is_a_medium_error(tmp_path):
    image = FileImage(tmp_path / "key.img", 1 << 20)
    target = disk(image)
    image.close()
    job = Job(target, offset=0, size=1024)
    assert job.read(512) == b""
    assert job.sense == sense_data(Sense.UNRECOVERED_READ_ERROR)


def test_medium_that_cannot_be_written_is_a_medium_error():
    job = Job(disk(Broken(1 << 20)), offset=0, size=1024, is_in=False)
    job.write(bytes(512))
    assert job.sense == sense_data(Sense.WRITE_ERROR)


@pytest.mark.parametrize("code", list(Sense))
def test_sense_data_have_their_length(code):
    assert len(sense_data(code)) == 18
