"""Our drivers against Linux's, with the same device: the same transfers in the same order.

Of a recording and of our host, what the driver submits from SET_CONFIGURATION on: setup packets,
and endpoint, length and data of the rest. What comes before is in test_order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

import usbmon
from tests.helpers.corpus import CAPTURES
from usbmon.bus import devices
from usbmon.bus.driver import Sleep
from usbmon.bus.host import Host
from usbmon.bus.loop import SECOND
from usbmon.bus.timing import Speed
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from usbmon.bus.driver import Steps
    from usbmon.events import Event

SET_CONFIGURATION = bytes.fromhex("00090100")
JOB = bytes(1120)
# Lengths of reads that always wait: those of a serial port, of an Ethernet adapter.
RX = (1024, 1514)


def nothing(_driver) -> Steps[None]:
    yield Sleep(0)


def serial(driver) -> Steps[None]:
    text = b"The quick brown fox jumps over the lazy dog.\n"
    yield from driver.open(115200)
    yield from driver.write(text)
    assert (yield from driver.read(len(text))) == text
    yield from driver.close()


def ping(driver) -> Steps[None]:
    yield from driver.up()
    for sequence in range(1, 5):
        yield from driver.ping("10.55.0.1", sequence=sequence)
        yield Sleep(SECOND)


class Case(NamedTuple):
    """A device, and what is done with it. `shown` bytes of data are compared; where the recording
    is `cut`, ours goes on. `linux_only`: what ours does not submit, at these places."""

    name: str
    use: Callable[..., Steps[None]] = nothing
    shown: int = 32
    cut: bool = False
    linux_only: tuple[int, ...] = ()


CASES = [
    Case("keyboard"),
    Case("mouse"),
    Case("serial", serial),
    # Addresses and MACs only: numbers and checksums of packets are the sender's. Linux sets the
    # filter again for each group of multicast that IP joins and leaves.
    Case("ethernet", ping, shown=16, linux_only=(69, 75)),
    Case("printer", lambda driver: driver.print(JOB)),
    Case("microphone", lambda driver: driver.record(1.0)),
    Case("speaker", lambda driver: driver.play(bytes(192000))),
    Case("webcam"),
    Case("flash", cut=True),
    Case("uas", cut=True),
]


def submissions(events: Iterable[Event], shown: int) -> list[str]:
    """What is submitted behind SET_CONFIGURATION. Isochronous transfers are left out, and those of
    interrupt and receiving endpoints that are asked again: when depends on the device."""
    out: list[str] = []
    begun = False
    waiting: set[int] = set()
    answered: set[int] = set()
    for event in events:
        if event.type != "S":
            answered |= waiting & {event.epnum}
            continue
        if event.xfer_type == "interrupt" or (event.is_in and event.length in RX):
            waiting.add(event.epnum)
        begun = begun or (event.setup is not None and event.setup[:4] == SET_CONFIGURATION)
        if begun and event.xfer_type != "iso" and event.epnum not in answered:
            what = event.setup.hex() if event.setup is not None else f"{event.epnum:02x}"
            out.append(f"{what} {event.length} {event.data[:shown].hex()}")
    return out


def ours(case: Case) -> list[str]:
    host = Host()
    host.add_controller(Speed.HIGH)
    host.settle()
    collector = Collector(Monitor(host.controllers).buses[1])
    model = devices.by_name(case.name).load()()
    host.plug(model)
    host.loop.run(host.loop.now + 4 * SECOND)
    device = host.find(model)
    assert device is not None
    host.run_task(case.use(device.drivers[0]))
    return submissions((e for e in collector.take() if e.devnum == device.devnum), case.shown)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_transfers(case):
    recorded = usbmon.read(CAPTURES / f"drivers-usbip/{case.name}.u", format="u")
    linux = submissions(recorded, case.shown)
    for place in reversed(case.linux_only):
        del linux[place]
    assert (ours(case)[: len(linux)] if case.cut else ours(case)) == linux
