"""URBs in flight: taken back all at once, or one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.isochronous import Flight
from usbmon.bus.timing import Speed
from usbmon.bus.urb import ISOCHRONOUS, IsoPacket

if TYPE_CHECKING:
    from usbmon.bus.host import HostDevice


def stream(device: HostDevice, flight: Flight, back: str, *, length: int = 8):
    """Steps: four URBs of 8 packets into flight, the first one received, the others taken back."""
    setting = yield from device.set_interface(0, 1)
    endpoint = setting.endpoint(ISOCHRONOUS, is_in=True)
    for _ in range(4):
        packets = [IsoPacket(n * length, length) for n in range(8)]
        yield from flight.submit(device.urb(endpoint, 8 * length, packets=packets))
    yield from flight.receive()
    assert len(flight) == 3
    yield from getattr(flight, back)()
    assert not flight


@pytest.mark.parametrize(
    ("back", "status", "frames"),
    [("unlink", -104, [1, 1, 1]), ("kill", -2, [1, 2, 3])],  # ECONNRESET, ENOENT
)
def test_all_come_back(back: str, status: int, frames: list[int]) -> None:
    bench = Bench(Speed.FULL)
    flight = Flight("stream")
    bench.host.run_task(stream(bench.plug(Loopback(speed=Speed.FULL)), flight, back))
    ended = [event for event in bench.tape.events if event[0] == "C" and event[3] == 0x83]
    assert [event[5] for event in ended] == [0, status, status, status]
    first = ended[0][1]
    assert [-(-(event[1] - first) // Speed.FULL.frame) for event in ended[1:]] == frames


def test_what_is_refused_is_not_in_flight() -> None:
    bench = Bench(Speed.FULL)
    flight = Flight("stream of 1-1")
    with pytest.raises(UrbFailed, match="stream of 1-1: EMSGSIZE"):
        bench.host.run_task(
            stream(bench.plug(Loopback(speed=Speed.FULL)), flight, "kill", length=1000)
        )
    assert not flight


def test_an_urb_that_fails_is_an_error_and_no_longer_in_flight() -> None:
    bench = Bench(Speed.FULL)
    device = bench.plug(Loopback(speed=Speed.FULL))
    flight = Flight("stream of 1-1")

    def steps():
        setting = yield from device.set_interface(0, 1)
        endpoint = setting.endpoint(ISOCHRONOUS, is_in=True)
        yield from flight.submit(device.urb(endpoint, 64, packets=[IsoPacket(0, 64)]))
        device.disable(0)
        yield from flight.receive()

    with pytest.raises(UrbFailed, match="stream of 1-1: ESHUTDOWN"):
        bench.host.run_task(steps())
    assert not flight
