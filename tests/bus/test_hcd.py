"""What a controller takes and refuses, what its tap sees of it, and how it gives URBs back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Configuration, Endpoint, Interface
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import UrbFailed
from usbmon.bus.hub import Hub
from usbmon.bus.loop import MS
from usbmon.bus.status import EINPROGRESS
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, URB_DIR_IN, IsoPacket, Urb

ENOENT, ENOEXEC, EBUSY, ENODEV, EINVAL, ENOSPC = -2, -8, -16, -19, -22, -28
EIDRM, EBADR, EMSGSIZE = -43, -53, -90
ECONNRESET, ESHUTDOWN, EHOSTUNREACH = -104, -108, -113

GET_DEVICE = bytes.fromhex("8006000100001200")


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def device(bench: Bench):
    return bench.plug(Loopback())


def iso(device: Any, *packets: IsoPacket, size: int = 192) -> Urb:
    return Urb(device, 0x83, ISOCHRONOUS, size, packets=list(packets))


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (ENOENT, lambda d: Urb(d, 0x85, BULK, 1)),
        (ENOENT, lambda d: iso(d, IsoPacket(0, 1))),  # of the other alternate setting
        (EINVAL, lambda d: Urb(d, 0x81, INTERRUPT, 1)),
        (EINVAL, lambda d: Urb(d, 0x82, INTERRUPT, 1, interval=-1)),
        (ENOEXEC, lambda d: Urb(d, 0, CONTROL, 18)),
        (ENOEXEC, lambda d: Urb(d, 0, CONTROL, 18, setup=GET_DEVICE[:7])),
        (EBADR, lambda d: Urb(d, 0, CONTROL, 17, setup=GET_DEVICE)),
    ],
)
def test_what_makes_no_sense_is_refused_and_no_tap_sees_it(bench, device, error: int, make) -> None:
    seen = len(bench.tape.events)
    urb = make(device)
    assert bench.bus.submit(urb) == error
    assert len(bench.tape.events) == seen
    assert urb.status == 0


@pytest.mark.parametrize(
    ("error", "packets"),
    [
        (EINVAL, []),
        (EMSGSIZE, [IsoPacket(0, 193)]),
        (EMSGSIZE, [IsoPacket(1, 192)]),  # beyond the buffer
        (0, [IsoPacket(0, 192)]),
    ],
)
def test_isochronous_packets_have_to_fit(bench, device, error: int, packets) -> None:
    bench.host.run_task(device.set_interface(0, 1))
    assert bench.bus.submit(iso(device, *packets)) == error


def test_a_device_without_configuration_has_its_control_endpoint_alone(bench, device) -> None:
    device.configuration = 0
    assert bench.bus.submit(Urb(device, 0x81, BULK, 1)) == ENODEV
    assert bench.bus.submit(Urb(device, 0, CONTROL, 18, setup=GET_DEVICE)) == 0


def test_what_is_under_way_cannot_be_submitted_again(bench, device) -> None:
    urb = bench.submit(device, 0x81, 10)
    assert bench.bus.submit(urb) == EBUSY
    bench.bus.unlink(urb)
    bench.run()
    assert urb.status == ECONNRESET
    assert bench.bus.submit(urb) == 0


@pytest.mark.parametrize(
    ("error", "spoil"),
    [
        (ENOENT, lambda bench, device: setattr(device.endpoints[0x81], "enabled", False)),
        (EHOSTUNREACH, lambda bench, device: setattr(device, "suspended", True)),
        (ESHUTDOWN, lambda bench, device: setattr(bench.bus, "dead", True)),
    ],
)
def test_what_the_controller_refuses_the_tap_sees_twice(bench, device, error: int, spoil) -> None:
    spoil(bench, device)
    urb = Urb(device, 0x81, BULK, 10)
    assert bench.bus.submit(urb) == error
    assert [(event[0], event[5]) for event in bench.tape.events[-2:]] == [
        ("S", EINPROGRESS),
        ("E", error),
    ]
    bench.run(MS)
    assert urb.status == error, "it does not complete"


class Wide(Loopback):
    """Two streams of the largest packets of full speed."""

    configurations = (
        Configuration(
            (
                Interface(0xFF),
                Interface(
                    0xFF,
                    endpoints=tuple(Endpoint(a, ISOCHRONOUS, 1023, 1) for a in (0x03, 0x83)),
                    bAlternateSetting=1,
                ),
            )
        ),
    )


def test_periodic_endpoints_do_not_get_more_of_the_wire_than_the_standard_allows() -> None:
    bench = Bench(Speed.FULL)
    device = bench.plug(Wide(speed=Speed.FULL))

    def submit(address: int) -> int:
        urb = Urb(device, address, ISOCHRONOUS, 1023, packets=[IsoPacket(0, 1023)])
        return bench.bus.submit(urb)

    bench.host.run_task(device.set_interface(0, 1))
    assert [submit(address) for address in (0x83, 0x83, 0x03)] == [0, 0, ENOSPC]
    assert bench.tape.events[-1][:6:5] == ("E", ENOSPC)
    bench.host.run_task(device.set_interface(0, 1))
    assert submit(0x03) == 0, "a setting that goes gives back what it had"


@pytest.mark.parametrize(("address", "bit"), [(0x01, 0), (0x81, URB_DIR_IN)])
def test_the_direction_is_the_core_s_to_set(bench, device, address: int, bit: int) -> None:
    urb = Urb(device, address, BULK, 1, transfer_flags=URB_DIR_IN ^ bit)
    bench.bus.submit(urb)
    assert urb.transfer_flags == bit


@given(st.sampled_from([Speed.FULL, Speed.HIGH, Speed.SUPER]), st.integers(1, 255))
def test_an_interval_becomes_a_power_of_two_that_is_no_longer(speed: Speed, asked: int) -> None:
    bench = Bench(speed)
    device = bench.plug(Loopback(speed=speed))
    urb = Urb(device, 0x82, INTERRUPT, 1, interval=asked)
    assert bench.bus.submit(urb) == 0
    assert asked / 2 < urb.interval <= asked
    assert urb.interval.bit_count() == 1


@pytest.mark.parametrize(
    ("speed", "type", "most"),
    [(Speed.HIGH, INTERRUPT, 8192), (Speed.SUPER, INTERRUPT, 32768)],
)
def test_an_interval_is_no_longer_than_controllers_can_do(speed, type, most: int) -> None:
    bench = Bench(speed)
    device = bench.plug(Loopback(speed=speed))
    urb = Urb(device, 0x82, type, 1, interval=32768)
    bench.bus.submit(urb)
    assert urb.interval == most


def test_without_an_interval_it_is_that_of_the_endpoint(bench, device) -> None:
    assert bench.submit(device, 0x82, 1).interval == 8


def test_each_urb_has_a_tag_that_it_keeps(bench, device) -> None:
    urbs = [bench.submit(device, 0x81, 1) for _ in range(3)]
    tags = [urb.id for urb in urbs]
    assert len(set(tags)) == 3
    bench.bus.unlink(urbs[0])
    bench.run()
    bench.bus.submit(urbs[0])
    assert urbs[0].id == tags[0]


@pytest.mark.parametrize("status", [ECONNRESET, ENOENT])
def test_an_urb_is_taken_back_once(bench, device, status: int) -> None:
    urb = bench.submit(device, 0x81, 1)
    assert bench.bus.unlink(urb, status) == 0
    assert bench.bus.unlink(urb) == EBUSY
    bench.run()
    assert urb.status == status
    assert bench.bus.unlink(urb) == EIDRM


def test_what_was_never_submitted_cannot_be_taken_back(bench, device) -> None:
    assert bench.bus.unlink(Urb(device, 0x81, BULK, 1)) == EIDRM
    assert bench.bus.unlink(Urb(device, 0x99, BULK, 1)) == EIDRM


def test_a_flush_gives_back_the_last_one_first_and_leaves_what_was_unlinked(bench, device) -> None:
    urbs = [bench.submit(device, 0x81, 1) for _ in range(3)]
    done: list[Urb] = []
    for urb in urbs:
        urb.complete = done.append
    bench.bus.unlink(urbs[1])
    bench.bus.flush(device.endpoints[0x81])
    assert done == urbs[::-1]
    assert [urb.status for urb in urbs] == [ESHUTDOWN, ECONNRESET, ESHUTDOWN]
    bench.run()
    assert len(done) == 3
    bench.bus.flush(device.endpoints[0x81])  # nothing is left, and nothing happens


def test_the_tap_sees_a_completion_before_the_driver(bench, device) -> None:
    order: list[str] = []
    urb = bench.submit(device, 0x01, b"x")
    urb.complete = lambda _urb: order.append(f"driver after {bench.tape.events[-1][0]}")
    bench.run()
    assert order == ["driver after C"]


def test_what_its_completion_submits_again_is_in_time(bench, device) -> None:
    """The tap shows C and then S at the same moment, and the count is right throughout."""
    urb = bench.submit(device, 0x01, b"x")
    counts: list[int] = []

    def again(_urb: Urb) -> None:
        counts.append(bench.bus.urbs)
        if len(counts) < 3:
            bench.bus.submit(urb)

    urb.complete = again
    bench.run()
    assert counts == [1, 1, 1], "the root hub's is always there"
    assert bench.bus.urbs == 1


def test_a_bus_works_without_a_tap(bench, device) -> None:
    bench.bus.tap = None
    urb = bench.submit(device, 0x01, b"x")
    device.suspended = True
    assert bench.bus.submit(Urb(device, 0x01, BULK, b"y")) == EHOSTUNREACH
    bench.run()
    assert urb.status == 0


def test_an_address_is_answered_behind_open_ports_alone(bench) -> None:
    hub, model = Hub(), Loopback()
    above = bench.plug(hub)
    device = bench.plug(model, hub)
    assert bench.bus.model(device) is model
    for port in (hub.ports[0], bench.bus.root.ports[0]):
        port.suspend()
        assert bench.bus.model(device) is None
        port.resume()
        bench.run(25 * MS)
        assert bench.bus.model(device) is model
    model.address = 99
    assert bench.bus.model(device) is None
    hub.address = 98
    assert (bench.bus.model(above), bench.bus.port(device)) == (None, None)


def test_a_device_is_pulled_wherever_it_is(bench) -> None:
    outer, inner, model = Hub(), Hub(), Loopback()
    bench.plug(outer)
    bench.plug(inner, outer)
    bench.plug(model, inner)
    bench.bus.pull(model)
    assert inner.ports[0].device is None
    bench.bus.pull(Loopback())
    assert outer.ports[0].device is inner


def test_a_slow_device_has_the_line_behind_its_high_speed_hub_to_itself() -> None:
    """And two of them share it: a transaction translator a hub."""
    bench = Bench()
    hubs = [Hub(), Hub()]
    for hub in hubs:
        bench.plug(hub)
    slow = [bench.plug(Loopback(speed=Speed.FULL), hub) for hub in (hubs[0], hubs[0], hubs[1])]
    fast = bench.plug(Loopback(), hubs[0])
    wires = [bench.bus.wire(device) for device in (*slow, fast)]
    assert wires[0] is wires[1]
    assert len({id(wire) for wire in wires}) == 3


def test_a_device_that_has_gone_is_no_device(bench, device) -> None:
    model = bench.bus.model(device)
    bench.host.unplug(model)
    bench.run()
    seen = len(bench.tape.events)
    assert bench.bus.submit(Urb(device, 0x81, BULK, 1)) == ENODEV
    with pytest.raises(UrbFailed, match="ENODEV"):
        bench.host.run_task(device.get_descriptor(1, 0, 18))
    assert len(bench.tape.events) == seen
