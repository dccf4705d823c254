"""The hub driver: what it asks, in which order, and how it copes with what goes wrong.

The lists of requests are those of Linux 6.1, captured on QEMU's xHCI (a keyboard, a UAS disk), its
EHCI, and a hub on its UHCI. Left out of them: what Linux does for power saving, which this host
does not do (it suspends and resumes hubs, and the first submission of a hub's status URB is thus
killed and repeated).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.drivers.hub import reset_device
from usbmon.bus.faults import Fault
from usbmon.bus.hub import Hub
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, INTERRUPT

GET_PORT_1 = "a300000001000400"
RESET_PORT_1 = ["2303040001000000", GET_PORT_1, "2301140001000000"]

# A port is looked at until it has been the same for 100 ms; then the device is reset and asked.
CONNECTED = [GET_PORT_1, "2301100001000000", *[GET_PORT_1] * 5]

HIGH = [
    *CONNECTED,
    *RESET_PORT_1,
    "8006000100004000",  # 64 bytes of the device descriptor, at address 0
    *RESET_PORT_1,
    "0005020000000000",
    "8006000100001200",
    "8006000200000900",
    "8006000200006100",
    "800600030000ff00",
    "800602030904ff00",  # product, manufacturer, serial number
    "800601030904ff00",
    "800603030904ff00",
    "0009010000000000",
]

SUPER = [
    *CONNECTED,
    *RESET_PORT_1,
    "23011d0001000000",  # C_BH_PORT_RESET, C_PORT_LINK_STATE, C_PORT_CONNECTION
    "2301190001000000",
    "2301100001000000",
    GET_PORT_1,
    "8006000100000800",
    "0031280000000000",  # SET_ISOCH_DELAY
    "8006000100001200",
    "8006000f00000500",
    "8006000f00001600",
    "8006000200000900",
    "8006000200009d00",
    "800600030000ff00",
    "800602030904ff00",
    "800601030904ff00",
    "800603030904ff00",
    "0009010000000000",
]


@pytest.mark.parametrize(("speed", "expected"), [(Speed.HIGH, HIGH), (Speed.SUPER, SUPER)])
def test_a_device_is_set_up_by_the_requests_of_linux(speed: Speed, expected: list[str]) -> None:
    bench = Bench(speed)
    bench.run()
    start = len(bench.tape.setups())
    device = bench.plug(Loopback(speed=speed))
    assert bench.tape.setups()[start:] == expected
    assert (device.devnum, device.configuration) == (2, 1)


def test_a_hub_is_set_up_by_the_requests_of_linux() -> None:
    bench = Bench(Speed.FULL)
    hub = bench.plug(Hub(speed=Speed.FULL))
    setups = [event[4] for event in bench.tape.events if event[0] == "S" and event[2] == hub.devnum]
    assert setups[setups.index("0009010000000000") + 1 :] == [
        "a006002900000f00",
        "8000000000000200",
        "a000000000000400",
        *(f"230308000{port}000000" for port in range(1, 5)),
        *(f"a30000000{port}000400" for port in range(1, 5)),
        "",  # the status endpoint, from now on
    ]


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_the_first_read_tells_the_packet_size_of_endpoint_0(size: int) -> None:
    class Small(Loopback):
        max_speed = Speed.FULL
        descriptor = DeviceDescriptor(0x1209, 0x0001, bMaxPacketSize0=size)

    device = Bench(Speed.FULL).plug(Small(speed=Speed.FULL))
    assert device.endpoints[0].max_packet == size


# Coming and going.


def test_devices_come_and_go_at_every_port_of_a_tree() -> None:
    bench = Bench()
    outer, inner, models = Hub(), Hub(speed=Speed.FULL), [Loopback() for _ in range(4)]
    bench.host.plug(outer)
    bench.host.plug(inner, outer)
    for model, hub in zip(models, (None, outer, inner, inner), strict=True):
        bench.host.plug(model, hub)
    bench.run(6 * SECOND)
    assert len(list(bench.host.devices())) == 7
    assert {bench.host.find(model).name: bench.host.find(model).speed for model in models} == {
        "1-2": Speed.HIGH,
        "1-1.2": Speed.HIGH,
        "1-1.1.1": Speed.FULL,
        "1-1.1.2": Speed.FULL,
    }
    bench.host.unplug(outer)
    bench.run()
    assert [device.name for device in bench.host.devices()] == ["usb1", "1-2"]
    bench.host.plug(outer)
    bench.run(6 * SECOND)
    assert len(list(bench.host.devices())) == 7


def test_numbers_are_not_soon_given_again() -> None:
    bench, model = Bench(), Loopback()
    numbers = []
    for _ in range(130):
        numbers.append(bench.plug(model).devnum)
        bench.host.unplug(model)
        bench.run()
    assert numbers == [*range(2, 128), *range(2, 6)]


def test_one_device_of_a_bus_at_a_time_has_address_0() -> None:
    bench, hubs = Bench(), [Hub(), Hub()]
    for hub in hubs:
        bench.plug(hub)
    start = len(bench.tape.events)
    for hub in hubs:
        bench.host.plug(Loopback(), hub)
    bench.run(4 * SECOND)
    at_zero = [
        event[4][:4] for event in bench.tape.events[start:] if event[0] == "S" and not event[2]
    ]
    assert at_zero == ["8006", "0005"] * 2
    assert len(list(bench.host.devices())) == 5


@given(st.integers(0, 1500), st.booleans(), st.booleans())
def test_unplugged_at_any_moment_nothing_is_left(
    milliseconds: int, behind_hub: bool, hub_goes: bool
) -> None:
    bench, hub, model = Bench(), Hub(), Loopback()
    if behind_hub:
        bench.plug(hub)
    bench.host.plug(model, hub if behind_hub else None)
    bench.run(milliseconds * MS)
    bench.host.unplug(hub if behind_hub and hub_goes else model)
    bench.run(3 * SECOND)
    left = 2 if behind_hub and not hub_goes else 1
    assert len(list(bench.host.devices())) == left
    assert bench.bus.urbs == len(bench.tape.open) == left
    assert len(bench.host.tasks) == left
    assert bench.host.root_hubs[0].children.keys() == ({1} if left == 2 else set())


def test_a_device_that_is_exchanged_within_a_moment_is_another_one() -> None:
    bench, first, second = Bench(), Loopback(), Loopback()
    old = bench.plug(first)
    bench.host.unplug(first)
    bench.host.plug(second)
    bench.run(3 * SECOND)
    assert not old.is_there
    assert bench.host.find(second).devnum == 3


def test_a_contact_that_bounces_is_waited_for() -> None:
    bench, model = Bench(), Loopback()
    bench.run()
    for _ in range(6):
        bench.host.plug(model)
        bench.run(30 * MS)
        bench.host.unplug(model)
        bench.run(30 * MS)
    start = len(bench.tape.setups())
    bench.plug(model)
    assert bench.tape.setups()[start:].count("0005020000000000") == 1


# What goes wrong.


@given(
    st.sampled_from(["stall", "no-response", "crc", "babble", "short", "timeout", "disconnect"]),
    st.integers(0, 14),
    st.sampled_from([1, 2, 4, None]),
)
def test_a_fault_at_any_request_ends_in_a_device_or_in_none(
    kind: str, after: int, count: int | None
) -> None:
    bench, model = Bench(), Loopback()
    bench.run()
    model.faults.append(Fault(kind, endpoint=0, after=after, count=count))
    bench.host.plug(model)
    bench.run(300 * SECOND)
    found = bench.host.find(model)
    # Nobody is known who is not there, and the hub still works.
    assert [d for d in bench.host.devices() if d.parent] == ([found] if found else [])
    other = bench.plug(Loopback())
    assert other.configuration == 1


@pytest.mark.parametrize("count", [1, 2])
def test_an_early_error_is_tried_again(count: int) -> None:
    bench, model = Bench(), Loopback()
    model.faults.append(Fault("no-response", endpoint=0, count=count))
    assert bench.plug(model).configuration == 1


def test_a_dead_device_is_given_up() -> None:
    bench, model = Bench(), Loopback()
    model.faults.append(Fault("no-response", endpoint=0, count=None))
    bench.host.plug(model)
    bench.run(60 * SECOND)
    assert bench.host.find(model) is None
    assert bench.log[-1] == "usb usb1-port1: unable to enumerate USB device"


@pytest.mark.parametrize(
    "endpoints", [(), (Endpoint(0x81, BULK),), (Endpoint(0x01, INTERRUPT, 1, 12),)]
)
def test_a_hub_that_cannot_tell_is_no_hub(endpoints: tuple[Endpoint, ...]) -> None:
    class Mute(Hub):
        def __init__(self) -> None:
            super().__init__()
            self.configurations = (Configuration((Interface(9, endpoints=endpoints),)),)

    bench = Bench()
    assert bench.plug(Mute()).drivers == {}


@pytest.mark.parametrize("count", [1, 9])
def test_a_status_endpoint_that_fails_is_asked_again(count: int) -> None:
    bench, hub, model = Bench(), Hub(), Loopback()
    bench.plug(hub)
    hub.faults.append(Fault("crc", endpoint=0x81, count=count))
    bench.run(5 * SECOND)
    bench.host.plug(model, hub)
    bench.run(5 * SECOND)
    assert bench.host.find(model) is not None


def test_too_much_current_switches_a_port_off_and_back_on_afterwards() -> None:
    bench, model = Bench(), Loopback()
    bench.plug(model)
    port = bench.bus.root.ports[0]
    port.set_over_current(True)
    bench.run()
    assert (port.status, model.loop) == (0x0008, None)
    port.set_over_current(False)
    bench.run(3 * SECOND)
    assert bench.host.find(model).devnum == 3
    assert bench.log.count("usb usb1-port1: over-current change") == 2
    assert bench.log.count("usb usb1-port1: over-current condition") == 1


# Reset by a driver.


def test_a_reset_device_has_its_address_and_configuration_again() -> None:
    bench, model = Bench(), Loopback()
    device = bench.plug(model)
    start = len(bench.tape.setups())
    bench.host.run_task(reset_device(bench.host, device))
    assert [setup for setup in bench.tape.setups()[start:] if setup[:2] not in {"a3", "23"}] == [
        "8006000100004000",
        "0005020000000000",
        "8006000100001200",
        f"800600020000{len(device.configurations[0].raw):02x}00",
        "800603030904ff00",
        "0009010000000000",
    ]
    assert bench.host.find(model) is device
    urb = bench.submit(device, 0x01, b"x")
    bench.run()
    assert urb.status == 0


@given(st.integers(0, 400), st.booleans())
def test_unplugged_in_a_reset_it_is_gone(milliseconds: int, hub_goes: bool) -> None:
    bench, hub, model = Bench(), Hub(), Loopback()
    bench.plug(hub)
    device = bench.plug(model, hub)
    bench.host.spawn(reset_device(bench.host, device))
    bench.run(milliseconds * MS)
    bench.host.unplug(hub if hub_goes else model)
    bench.run(3 * SECOND)
    assert device not in list(bench.host.devices())
    assert bench.bus.urbs == len(bench.tape.open) == (1 if hub_goes else 2)
