"""uas on the bus: pipes, tags, many commands under way, and how it recovers."""

from __future__ import annotations

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Configuration, Endpoint, Interface
from usbmon.bus.devices.storage import MIB, FlashKey
from usbmon.bus.devices.uas import UasDisk
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.storage import StorageDriver
from usbmon.bus.drivers.uas import UasDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import SECOND
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK

COMMAND, STATUS, DATA_IN, DATA_OUT = 0x04, 0x83, 0x81, 0x02
SET_INTERFACE = "010b010000000000"
SPEEDS = (Speed.HIGH, Speed.SUPER)


class Set:
    """A disk in a host, scanned. `events` are those since."""

    def __init__(self, speed: Speed, model: FlashKey | UasDisk | None = None) -> None:
        self.bench = Bench(speed, drivers=(HubDriver, UasDriver, StorageDriver))
        self.model = model or UasDisk(size=16 * MIB, speed=speed)
        self.disk = self.bench.plug(self.model).drivers[0]
        self.before = len(self.bench.tape.events)

    def run(self, steps):
        return self.bench.host.run_task(steps)

    @property
    def events(self):
        return self.bench.tape.events[self.before :]


@pytest.fixture(params=SPEEDS, ids=lambda speed: speed.value)
def made(request) -> Set:
    return Set(request.param)


def test_alternate_setting_is_chosen_first(made):
    order = [e[4] or e[3] for e in made.bench.tape.events if e[0] == "S" and e[2] == 2]
    first = order.index(SET_INTERFACE)
    assert order[first - 1] == "0009010000000000"
    assert order[first + 1] == STATUS
    assert made.disk.name == "uas"
    assert made.disk.blocks == 32768


def test_order_without_streams():
    made = Set(Speed.HIGH)
    made.run(made.disk.read(0, 1))
    order = [(e[0], e[3]) for e in made.events]
    assert order == [
        ("S", STATUS),
        ("S", COMMAND),
        ("C", COMMAND),
        ("C", STATUS),  # READ READY
        ("S", STATUS),
        ("S", DATA_IN),
        ("C", DATA_IN),
        ("C", STATUS),
    ]


def test_order_with_streams():
    made = Set(Speed.SUPER)
    made.run(made.disk.read(0, 1))
    assert [(e[3], e[6]) for e in made.events if e[0] == "S"] == [
        (STATUS, 112),
        (DATA_IN, 512),
        (COMMAND, 32),
    ]


def test_many_commands_are_under_way(made):
    data = bytes(range(256)) * 16 * 1024
    made.run(made.disk.write(4096, data))
    assert made.run(made.disk.read(4096, len(data) // 512)) == data
    commands = [e for e in made.events if e[3] == COMMAND or (e[3] == STATUS and e[0] == "C")]
    assert [e[0] for e in commands[:8]] == ["S"] * 8


def test_no_more_than_there_are_tags(made):
    tasks = [made.bench.host.spawn(made.disk.read(n, 1)) for n in range(100)]
    most = 0
    while not all(task.done for task in tasks):
        most = max(most, len(made.disk._active))
        made.bench.loop.step()
    assert most == made.disk.depth == (30 if made.disk.device.speed is Speed.HIGH else 14)
    assert all(len(task.result) == 512 for task in tasks)


def test_command_that_fails_among_others(made):
    """Its buffers are taken back, the others' data go where they belong."""
    made.model.disk.image.write(0, bytes(range(256)) * 2 * 64)
    good = [made.bench.host.spawn(made.disk.read(0, 8 * n)) for n in range(1, 8)]
    bad = made.bench.host.spawn(made.disk.read(made.disk.blocks, 1))
    more = [made.bench.host.spawn(made.disk.read(0, 8 * n)) for n in range(1, 8)]
    made.bench.run()
    assert isinstance(bad.error, UrbFailed)
    for tasks in (good, more):
        for n, task in enumerate(tasks, 1):
            assert task.result == bytes(range(256)) * 2 * 8 * n


@pytest.mark.parametrize("endpoint", [COMMAND, STATUS, DATA_IN])
@pytest.mark.parametrize("kind", ["stall", "no-response", "timeout"])
def test_command_that_hangs_resets_all(made, endpoint, kind):
    made.model.disk.image.write(0, b"first")
    made.model.faults.append(Fault(kind, endpoint))
    start = made.bench.loop.now
    assert made.run(made.disk.read(0, 1))[:5] == b"first"
    assert made.bench.loop.now - start == pytest.approx(30 * SECOND, abs=SECOND // 100)
    assert [e[4] for e in made.events if e[0] == "S" and e[4]] == [SET_INTERFACE]


def test_disk_that_cannot_be_reset_is_given_up(made):
    made.model.faults += [Fault("timeout", COMMAND, count=None), Fault("stall", 0, count=None)]
    tasks = [made.bench.host.spawn(made.disk.read(n, 1)) for n in range(3)]
    made.bench.run(60 * SECOND)
    assert all(isinstance(task.error, UrbFailed) for task in tasks)
    with pytest.raises(UrbFailed, match="ENODEV"):
        made.run(made.disk.read(0, 1))


def test_news_that_make_no_sense_are_passed_over(made):
    for iu in (b"", b"\3", b"\3\0\0\x63" + bytes(12), b"\7\0\0\x01"):
        made.model._say(iu)
    assert len(made.run(made.disk.read(0, 1))) == 512


def test_plain_key_is_left_to_usb_storage(made):
    speed = made.bench.bus.speed
    assert Set(speed, FlashKey(size=4 * MIB, speed=speed)).disk.name == "usb-storage"


class Streamless(UasDisk):
    """UAS at SuperSpeed without streams, which is against the standard."""

    configurations = (
        Configuration(
            (
                Interface(8, 6, 0x50, (Endpoint(DATA_IN, BULK), Endpoint(DATA_OUT, BULK))),
                Interface(
                    8,
                    6,
                    0x62,
                    tuple(
                        Endpoint(address, BULK, extra=bytes((4, 0x24, usage, 0)))
                        for usage, address in enumerate((COMMAND, STATUS, DATA_IN, DATA_OUT), 1)
                    ),
                    bAlternateSetting=1,
                ),
            )
        ),
    )


@pytest.mark.parametrize(("speed", "driver"), [(Speed.HIGH, "uas"), (Speed.SUPER, "usb-storage")])
def test_super_speed_needs_streams(speed, driver):
    assert Set(speed, Streamless(size=4 * MIB, speed=speed)).disk.name == driver
