"""The flash key and the UAS disk: Linux mounts them, and files go both ways."""

import hashlib

import pytest

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.storage import FlashKey
from usbmon.bus.devices.uas import UasDisk
from usbmon.bus.timing import Speed


@pytest.mark.parametrize(
    ("model", "speed", "driver"),
    [
        (FlashKey, Speed.HIGH, "usb-storage"),
        (FlashKey, Speed.SUPER, "usb-storage"),
        (UasDisk, Speed.HIGH, "uas"),
        # uas wants streams of a SuperSpeed controller, and vhci_hcd has none
        (UasDisk, Speed.SUPER, "usb-storage"),
    ],
)
def test_files_go_both_ways(guest, model, speed, driver):
    with Served(model(speed=speed)) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("[ -b /dev/sda1 ]")
        assert f"Driver={driver}," in guest.check("lsusb -t")
        guest.check(
            "mkdir -p /mnt; mount /dev/sda1 /mnt && head -c 300000 /dev/urandom > /mnt/random.bin"
        )
        digest = guest.check("sha256sum < /mnt/random.bin").split()[0]
        guest.check("umount /mnt && echo 3 > /proc/sys/vm/drop_caches && mount /dev/sda1 /mnt")
        assert guest.check("sha256sum < /mnt/random.bin").split()[0] == digest
        guest.check("umount /mnt")
        guest.detach()
        ours = served.events()
        content = read_file(served.device.disk.image, "RANDOM.BIN")
    assert hashlib.sha256(content).hexdigest() == digest
    assert agree.compare(linux.events, ours) > 100


def read_file(image, name: str) -> bytes:
    """A file in the root folder of a FAT16 image, found without our own FAT code."""
    import struct

    start = struct.unpack_from("<I", image.read(446 + 8, 4))[0] * 512
    boot = image.read(start, 512)
    cluster = boot[13] * 512
    (reserved,) = struct.unpack_from("<H", boot, 14)
    fat = start + reserved * 512
    fat_size = struct.unpack_from("<H", boot, 22)[0] * 512
    root = fat + boot[16] * fat_size
    (entries,) = struct.unpack_from("<H", boot, 17)
    raw = image.read(root, entries * 32)
    short = "".join(part.ljust(width) for part, width in zip(name.split("."), (8, 3), strict=True))
    for at in range(0, len(raw), 32):
        if raw[at : at + 11] == short.encode() and raw[at + 11] != 0x0F:
            (number,) = struct.unpack_from("<H", raw, at + 26)
            (size,) = struct.unpack_from("<I", raw, at + 28)
            table = image.read(fat, fat_size)
            out = b""
            while 2 <= number < 0xFFF0:
                out += image.read(root + entries * 32 + (number - 2) * cluster, cluster)
                (number,) = struct.unpack_from("<H", table, number * 2)
            return out[:size]
    raise LookupError(name)
