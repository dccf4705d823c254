"""What people do with a disk, over each transport and at each speed."""

from __future__ import annotations

import random

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.storage import MIB, FlashKey
from usbmon.bus.devices.uas import UasDisk
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.disk import DiskDriver
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.scsi import CommandFailed
from usbmon.bus.drivers.storage import StorageDriver
from usbmon.bus.drivers.uas import UasDriver
from usbmon.bus.loop import MS
from usbmon.bus.status import ENOMEDIUM, EROFS
from usbmon.bus.timing import Speed
from usbmon.bus.volume import VolumeError

DATA = random.Random(1).randbytes(1_300_001)

CASES = {
    "flash full": (FlashKey, Speed.FULL, StorageDriver),
    "flash high": (FlashKey, Speed.HIGH, StorageDriver),
    "flash super": (FlashKey, Speed.SUPER, StorageDriver),
    "uas full": (UasDisk, Speed.FULL, UasDriver),
    "uas high": (UasDisk, Speed.HIGH, UasDriver),
    "uas super": (UasDisk, Speed.SUPER, UasDriver),
    "uas as bulk-only": (UasDisk, Speed.HIGH, StorageDriver),
}


def plugged(model, driver=StorageDriver) -> tuple[Bench, DiskDriver]:
    bench = Bench(model.wanted_speed, drivers=(HubDriver, driver))
    device = bench.plug(model)
    found = device.drivers[0]
    assert isinstance(found, DiskDriver)
    return bench, found


@pytest.mark.parametrize(("model", "speed", "driver"), CASES.values(), ids=CASES)
def test_file_is_copied_in_and_out(model, speed, driver):
    disk = model(size=8 * MIB, speed=speed)
    bench, found = plugged(disk, driver)
    assert found.name == driver.name
    bench.host.run_task(found.copy_in("A file of mine.bin", DATA))
    assert bench.host.run_task(found.copy_out("a file of mine.bin")) == DATA
    # Its clusters follow one another: the bytes stand in the image as they are.
    image = disk.disk.image.read(0, 8 * MIB)
    assert DATA in image
    assert b"\1A\0 \0f\0i\0l\0" in image
    assert not bench.tape.open - {event[7] for event in bench.tape.events if event[2] == 1}


def test_blocks_are_read_and_written():
    bench, disk = plugged(FlashKey(size=4 * MIB))
    assert disk.size == 4 * MIB
    bench.host.run_task(disk.write(5000, DATA[: 300 * 512]))
    assert bench.host.run_task(disk.read(5000, 300)) == DATA[: 300 * 512]
    assert bench.host.run_task(disk.read(5000, 0)) == b""


def test_block_beyond_the_end_fails():
    bench, disk = plugged(FlashKey(size=4 * MIB))
    with pytest.raises(CommandFailed) as caught:
        bench.host.run_task(disk.read(8191, 2))
    assert caught.value.answer.code == 0x2100


def test_tasks_beside_one_another_do_not_mix():
    bench, disk = plugged(FlashKey(size=4 * MIB))
    bench.host.run_task(disk.write(4096, DATA[: 64 * 512]))
    tasks = [bench.host.spawn(disk.read(4096 + n, 1)) for n in range(64)]
    bench.run()
    assert b"".join(task.result for task in tasks) == DATA[: 64 * 512]


def test_who_comes_early_waits_for_the_scan():
    bench = Bench(drivers=(HubDriver, StorageDriver))
    key = FlashKey(size=4 * MIB)
    bench.host.plug(key)
    bench.run(800 * MS)
    disk = bench.host.find(key).drivers[0]
    assert disk.size == 0
    assert len(bench.host.run_task(disk.read(0, 1))) == 512


def test_disks_have_numbers_and_those_are_used_again():
    keys = [FlashKey(size=4 * MIB) for _ in range(2)]
    bench, _ = plugged(keys[0])
    assert bench.plug(keys[1]).drivers[0].place == "1:0:0:0"
    bench.host.unplug(keys[0])
    bench.run()
    assert bench.plug(FlashKey(size=4 * MIB)).drivers[0].place == "0:0:0:0"


def test_flush_is_a_command_of_its_own():
    bench, disk = plugged(UasDisk(size=4 * MIB), UasDriver)
    bench.host.run_task(disk.flush())


def test_ejected_key_is_empty():
    key = FlashKey(size=4 * MIB)
    bench, disk = plugged(key)
    bench.host.run_task(disk.eject())
    assert not key.disk.has_medium
    assert disk.size == 0
    with pytest.raises(UrbFailed) as caught:
        bench.host.run_task(disk.read(0, 1))
    assert caught.value.status == ENOMEDIUM


def test_mounted_key_is_locked():
    key = FlashKey(size=4 * MIB)
    bench, disk = plugged(key)
    volume = bench.host.run_task(disk.mount())
    assert key.disk.is_locked
    bench.host.run_task(disk.unmount(volume))
    assert not key.disk.is_locked


def test_protected_key_can_be_read(tmp_path):
    path = tmp_path / "key.img"
    key = FlashKey(path, size=4 * MIB)
    bench, disk = plugged(key)
    bench.host.run_task(disk.copy_in("kept", b"kept"))
    key.close()
    key = FlashKey(path, write_protected=True)
    bench, disk = plugged(key)
    assert bench.host.run_task(disk.copy_out("kept")) == b"kept"
    with pytest.raises(VolumeError) as caught:
        bench.host.run_task(disk.copy_in("new", b""))
    assert caught.value.status == EROFS
    key.close()


@pytest.mark.parametrize(("model", "speed", "driver"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("after", [1, 9, 15])
def test_unplugged_in_the_middle(model, speed, driver, after):
    disk = model(size=8 * MIB, speed=speed)
    bench, found = plugged(disk, driver)
    milliseconds = after if speed is not Speed.SUPER else after / 9
    bench.loop.call_later(int(milliseconds * MS), bench.host.unplug, disk)
    with pytest.raises(UrbFailed):
        bench.host.run_task(found.copy_in("file", DATA))
    bench.run()
    assert [device.devnum for device in bench.host.devices()] == [1]
    assert {task.owner for task in bench.host.tasks} == {bench.host.root_hubs[0].drivers[0]}
