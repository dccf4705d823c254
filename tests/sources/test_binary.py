"""The calls of /dev/usbmonN. What the kernel answers to them is tried in tests/live; the takers,
over the monitor's own reader, in test_kernel."""

import ctypes
import errno

import pytest

from usbmon.sources import binary


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the numbers of a 64-bit program")
def test_the_numbers_are_those_that_linux_61_took():
    """As a program printed them there (the sizes of structures are part of them)."""
    assert {name: hex(getattr(binary, name)) for name in (
        "URB_LEN", "STATS", "T_RING_SIZE", "Q_RING_SIZE", "MFETCH", "MFLUSH", "GETX"
    )} == {
        "URB_LEN": "0x9201", "STATS": "0x80089203", "T_RING_SIZE": "0x9204",
        "Q_RING_SIZE": "0x9205", "MFETCH": "0xc0109207", "MFLUSH": "0x9208", "GETX": "0x4018920a",
    }  # fmt: skip


@pytest.fixture
def other(tmp_path):
    """A device that is none."""
    path = tmp_path / "usbmon1"
    path.write_bytes(b"")
    device = binary.Device(str(path))
    yield device, path
    device.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda device: device.ring_size,
        lambda device: device.set_ring_size(8192),
        lambda device: device.stats(),
        lambda device: device.urb_len(),
        lambda device: device.mfetch(5),
        lambda device: device.mflush(0),
        lambda device: device.getx(100),
        lambda device: device.getx(binary.ALLOC_MAX + 1),
        lambda device: device.map(),
    ],
)
def test_what_has_not_the_call_says_so(other, call):
    with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
        call(other[0])
    assert caught.value.errno == errno.ENOTTY


def test_it_is_the_node_that_was_opened(other):
    device, path = other
    assert device.identity == (path.stat().st_dev, path.stat().st_ino)
    path.rename(path.with_name("gone"))
    path.write_bytes(b"")
    assert device.identity != (path.stat().st_dev, path.stat().st_ino)


def test_what_cannot_be_opened_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        binary.Device(str(tmp_path / "usbmon7"))
