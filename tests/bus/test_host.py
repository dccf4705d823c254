"""The host's view: descriptors as it reads them, devices and their names, drivers and tasks."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Association, Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import Device
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import Driver, Sleep, Spawn, Steps
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host, HostConfiguration, HostEndpoint
from usbmon.bus.hub import Hub
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.status import EINPROGRESS
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, INTERRUPT
from usbmon.usb.descriptors import walk


class Many(Device):
    """Three interfaces, the last with an alternate setting and descriptors of its class."""

    descriptor = DeviceDescriptor(0x1209, 0x0002)
    max_speed = Speed.SUPER
    configurations = (
        Configuration(
            (
                Association(0, 2, 2),
                Interface(2, 2, 1, (Endpoint(0x81, INTERRUPT, 8, 4),), extra=b"\x04\x24\x00\x01"),
                Interface(10, bInterfaceNumber=1),
                Interface(0xFF, bInterfaceNumber=2),
                Interface(
                    0xFF,
                    endpoints=(Endpoint(0x02, BULK, extra=b"\x03\x25\x01"),),
                    bInterfaceNumber=2,
                    bAlternateSetting=1,
                ),
            )
        ),
    )


class Recording(Driver):
    """Takes whatever it may, and writes down what becomes of it."""

    name = "recording"
    story: ClassVar[list[str]] = []

    @classmethod
    def matches(cls, interface) -> bool:
        return interface.cls in {2, 0xFF}

    def probe(self) -> Steps[None]:
        self.story.append(f"probe {self.interface.number}")
        yield Spawn(self._work(), self)

    def _work(self) -> Steps[None]:
        story = self.story  # of this test: an end may be told late
        try:
            yield Sleep(1000 * SECOND)
        finally:
            story.append(f"work on {self.interface.number} ends")

    def disconnect(self) -> None:
        self.story.append(f"disconnect {self.interface.number}")


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    fresh: list[str] = []
    monkeypatch.setattr(Recording, "story", fresh)
    return fresh


class Failing(Recording):
    """Asks for what the device does not have."""

    name = "failing"

    def probe(self) -> Steps[None]:
        yield from super().probe()
        yield from self.device.control_in(0xC1, 0x77, 0, self.interface.number, 1)


# Reading descriptors.


def test_a_configuration_is_read_as_it_was_declared() -> None:
    device = Bench(Speed.SUPER).plug(Many(speed=Speed.SUPER))
    configuration = device.configurations[0]
    assert [(s.number, s.alternate, s.cls) for s in configuration.settings] == [
        (0, 0, 2),
        (1, 0, 10),
        (2, 0, 0xFF),
        (2, 1, 0xFF),
    ]
    assert [association[:3] for association in configuration.associations] == [(0, 2, 2)]
    first, last = configuration.setting(0), configuration.setting(2, 1)
    assert (first.subclass, first.protocol, first.extra) == (2, 1, b"\x04\x24\x00\x01")
    endpoint = first.endpoint(INTERRUPT, is_in=True)
    assert (endpoint.address, endpoint.max_packet, endpoint.b_interval) == (0x81, 8, 4)
    (bulk,) = last.endpoints
    assert [part[1] for part in walk(bulk.descriptor)] == [5, 0x30, 0x25]
    with pytest.raises(LookupError, match="no BULK"):
        first.endpoint(BULK, is_in=True)
    with pytest.raises(LookupError, match="interface 2 with alternate setting 2"):
        configuration.setting(2, 2)


@given(st.binary(min_size=9, max_size=120))
def test_any_bytes_are_read_as_far_as_they_make_sense(raw: bytes) -> None:
    device = Bench().host.root_hubs[0]
    configuration = HostConfiguration(device, raw)
    assert sum(len(s.endpoints) for s in configuration.settings) <= len(raw) // 7


def test_a_high_bandwidth_endpoint_has_up_to_three_packets() -> None:
    endpoint = HostEndpoint(bytes.fromhex("0705810500140 1".replace(" ", "")))
    assert (endpoint.max_packet, endpoint.mult, endpoint.is_in) == (1024, 3, True)


# Plugging.


def test_a_device_goes_to_the_bus_of_its_speed() -> None:
    host = Host(Loop(), drivers=(HubDriver,))
    high, superb = host.add_controller(Speed.HIGH), host.add_controller(Speed.SUPER)
    slow, fast = Loopback(speed=Speed.FULL), Loopback(speed=Speed.SUPER)
    host.plug(slow)
    host.plug(fast)
    host.loop.run(2 * SECOND)
    assert [host.find(model).controller for model in (slow, fast)] == [high, superb]
    assert [device.name for device in host.devices()] == ["usb1", "1-1", "usb2", "2-1"]


def test_without_a_bus_of_its_speed_it_goes_nowhere() -> None:
    bench = Bench(Speed.HIGH)
    with pytest.raises(ValueError, match="5000"):
        bench.host.plug(Loopback(speed=Speed.SUPER))


def test_ports_can_be_chosen_and_are_taken_once() -> None:
    bench = Bench()
    models = [Loopback() for _ in range(5)]
    bench.host.plug(models[0], port=3)
    for model in models[1:4]:
        bench.host.plug(model)
    assert [port.device for port in bench.bus.root.ports] == [*models[1:3], models[0], models[3]]
    for wrong in (
        lambda: bench.host.plug(models[4]),
        lambda: bench.host.plug(models[4], port=1),
        lambda: bench.host.plug(models[4], port=0),
        lambda: bench.host.plug(models[4], port=5),
        lambda: bench.host.plug(models[0], Hub()),
    ):
        with pytest.raises(ValueError, match=r"port|already"):
            wrong()


def test_settling_ends_with_the_last_device_set_up() -> None:
    bench, models = Bench(), [Loopback() for _ in range(2)]
    for model in models:
        bench.host.plug(model)
    bench.host.settle()
    assert all(bench.host.find(model).configuration for model in models)
    assert bench.loop.now < 2 * SECOND


def test_unplugging_what_is_not_plugged_in_is_nothing() -> None:
    bench = Bench()
    bench.host.unplug(Loopback())
    assert bench.host.find(Loopback()) is None


def test_devices_are_called_as_linux_calls_them() -> None:
    bench = Bench()
    hub, model = Hub(), Loopback()
    bench.plug(hub)
    device = bench.plug(model, hub)
    assert (device.name, device.level, device.id) == ("1-1.1", 2, (0x1209, 0x0001))
    assert repr(device) == "<HostDevice 1-1.1 number 3 1209:0001>"
    assert device.string(device.descriptor[15]) == "Loopback"
    assert device.string(0) == ""


# Drivers.


def test_drivers_are_bound_to_the_interfaces_that_they_match(story: list[str]) -> None:
    device = Bench(drivers=(HubDriver, Recording)).plug(Many(speed=Speed.HIGH))
    assert story == ["probe 0", "probe 2"]
    assert sorted(device.drivers) == [0, 2]
    assert device.active[0].driver is device.drivers[0]
    assert device.active[1].driver is None


def test_a_driver_that_fails_leaves_the_device_to_others(story: list[str]) -> None:
    bench = Bench(drivers=(HubDriver, Failing))
    device = bench.plug(Many(speed=Speed.HIGH))
    assert device.is_there
    assert device.configuration == 1
    assert device.drivers == {}
    assert [line for line in story if line.startswith("probe")] == ["probe 0", "probe 2"]
    assert [line for line in story if line.endswith("ends")] == [
        "work on 0 ends",
        "work on 2 ends",
    ], "what it had begun is stopped"
    assert sum("failing" in line for line in bench.log) == 2


def test_when_the_device_goes_its_drivers_do_and_their_tasks(story: list[str]) -> None:
    bench = Bench(drivers=(HubDriver, Recording))
    model = Many(speed=Speed.HIGH)
    device = bench.plug(model)
    bench.host.unplug(model)
    bench.run()
    assert sorted(story[2:]) == [
        "disconnect 0",
        "disconnect 2",
        "work on 0 ends",
        "work on 2 ends",
    ]
    assert (device.is_there, device.drivers) == (False, {})
    assert not [task for task in bench.host.tasks if isinstance(task.owner, Recording)]


def test_tasks_of_a_driver_end_in_the_order_of_their_start() -> None:
    bench, ended = Bench(), []
    device = bench.plug(Loopback())
    driver = Recording(bench.host, device.active[0])
    device.drivers[0] = driver

    def work(number: int) -> Steps[None]:
        try:
            yield Sleep(1000 * SECOND)
        finally:
            ended.append(number)

    for number in range(50):
        bench.host.spawn(work(number), driver)
    bench.host.release(device)
    assert ended == list(range(50))


def test_a_handler_that_submits_again_at_a_change_of_setting_is_refused_unseen() -> None:
    bench = Bench()
    device = bench.plug(Loopback())
    urb = bench.submit(device, 0x81, 1)
    errors: list[int] = []
    urb.complete = lambda _urb: errors.append(bench.bus.submit(urb))
    start = len(bench.tape.events)
    bench.host.run_task(device.set_interface(0, 1))
    assert errors == [-2]
    assert [event[0] for event in bench.tape.events[start:]] == ["S", "C", "C"]


# Tasks.


def test_a_task_s_result_and_error_are_those_of_its_steps() -> None:
    bench = Bench()

    def right() -> Steps[int]:
        yield Sleep(1)
        return 42

    def wrong() -> Steps[int]:
        yield Sleep(1)
        raise KeyError("mine")

    assert bench.host.run_task(right()) == 42
    with pytest.raises(KeyError, match="mine"):
        bench.host.run_task(wrong())


def test_a_task_that_takes_too_long_is_ended() -> None:
    bench = Bench()
    device = bench.plug(Loopback())
    urb = bench.urb(device, 0x81, 1)

    def steps() -> Steps[None]:
        yield urb

    start = bench.loop.now
    with pytest.raises(TimeoutError):
        bench.host.run_task(steps(), timeout=SECOND)
    assert bench.loop.now == start + SECOND
    assert urb.status == EINPROGRESS
    bench.run()
    assert urb.status == -2
