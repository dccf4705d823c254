"""cdc_ether: up and down, frames both ways, ping, and errors. That its requests are Linux's, and in
Linux's order, is in tests/parity/test_drivers.py."""

from __future__ import annotations

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.ecm import MAC, EthernetAdapter
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.ecm import EcmDriver
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.timing import Speed


class Wire:
    """An adapter in use, its interface up."""

    def __init__(self, adapter: EthernetAdapter, speed: Speed = Speed.HIGH) -> None:
        self.bench = Bench(speed, drivers=(HubDriver, EcmDriver))
        self.adapter = adapter
        self.driver = self.bench.plug(adapter).drivers[0]
        self.run(self.driver.up())

    def run(self, steps):
        return self.bench.host.run_task(steps, timeout=60 * SECOND)


@pytest.fixture
def wire() -> Wire:
    return Wire(EthernetAdapter())


def test_it_has_the_address_of_the_descriptor(wire):
    assert wire.driver.mac == MAC
    device = wire.bench.host.find(wire.adapter)
    assert device.drivers == {0: wire.driver, 1: wire.driver}


def test_it_learns_that_the_wire_is_there(wire):
    wire.bench.run()
    assert wire.driver.is_connected


@pytest.mark.parametrize(("speed", "count"), [(Speed.FULL, 4), (Speed.HIGH, 60)])
def test_as_many_reads_wait_as_usbnet_has_at_the_speed(speed, count):
    wire = Wire(EthernetAdapter(speed=speed), speed)
    reads = [e for e in wire.bench.tape.events if e[0] == "S" and e[3] == 0x81 and e[2] == 2]
    assert [e[6] for e in reads] == [1514] * count


@pytest.mark.parametrize("size", [14, 60, 512, 1024, 1514])
def test_frames_go_both_ways(size):
    frames: list[bytes] = []
    wire = Wire(EthernetAdapter(frames.append))
    frame = MAC.ljust(size, b"\x5a")
    wire.run(wire.driver.send(frame))
    assert frames == [frame]
    wire.adapter.send(frame)
    assert wire.run(wire.driver.receive()) == frame


def test_ping_takes_its_time_on_the_wire(wire):
    first = wire.run(wire.driver.ping("10.55.0.1"))
    again = wire.run(wire.driver.ping("10.55.0.1", sequence=2))
    assert 0 < first < MS
    assert again == pytest.approx(first, abs=MS // 4)


def test_who_has_an_address_is_asked_once(wire):
    for sequence in (1, 2):
        wire.run(wire.driver.ping("10.55.0.1", sequence=sequence))
    kinds = [frame[12:14] for frame in wire.adapter.far.received]
    assert kinds == [b"\x08\x06", b"\x08\x00", b"\x08\x00"]


def test_nobody_has_another_address(wire):
    with pytest.raises(TimeoutError, match=r"nobody has 10\.55\.0\.9"):
        wire.run(wire.driver.ping("10.55.0.9"))


def test_no_frame_is_none_after_the_time(wire):
    before = wire.bench.loop.now
    assert wire.run(wire.driver.receive(5 * MS)) is None
    assert wire.bench.loop.now - before == 5 * MS


def test_down_nothing_is_left_in_flight(wire):
    wire.run(wire.driver.down())
    wire.bench.run()
    assert wire.bench.bus.urbs == 1  # the root hub's
    wire.run(wire.driver.up())
    assert wire.run(wire.driver.ping("10.55.0.1"))


@pytest.mark.parametrize(("kind", "name"), [("stall", "EPIPE"), ("protocol", "EPROTO")])
def test_a_frame_that_is_not_taken_is_an_error(wire, kind, name):
    wire.adapter.faults.append(Fault(kind, 0x02))
    with pytest.raises(UrbFailed, match=name):
        wire.run(wire.driver.send(bytes(60)))


@pytest.mark.parametrize(
    ("kind", "status"), [("protocol", -71), ("crc", -84), ("babble", -75), ("stall", -32)]
)
def test_receiving_goes_on_after_an_error(wire, kind, status):
    wire.adapter.faults.append(Fault(kind, 0x81))
    assert wire.run(wire.driver.ping("10.55.0.1"))
    assert status in [e[5] for e in wire.bench.tape.events if e[0] == "C" and e[3] == 0x81]
    assert wire.run(wire.driver.ping("10.55.0.1", sequence=2))


def test_pulled_out_nothing_is_left_in_flight(wire):
    wire.bench.host.unplug(wire.adapter)
    wire.bench.run()
    assert wire.bench.bus.urbs == 1
    with pytest.raises(UrbFailed):
        wire.run(wire.driver.send(bytes(60)))
