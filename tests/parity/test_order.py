"""Our host against Linux 6.1: the same requests in the same order, from the plug on.

Recordings of the kernel with each class of device, and our host with our device of that class. What
is different is listed here, all of it; `docs/order.md` says why. `helpers/order.py` has the rules
by which different devices compare.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

import usbmon
from tests.helpers import order
from tests.helpers.bus import Bench
from tests.helpers.corpus import CAPTURES
from tests.helpers.order import Difference, Plug
from usbmon.bus.device import Device
from usbmon.bus.devices.audio import Loudspeaker
from usbmon.bus.devices.ecm import EthernetAdapter
from usbmon.bus.devices.hid import Keyboard, Mouse
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.devices.storage import FlashKey
from usbmon.bus.devices.uas import UasDisk
from usbmon.bus.driver import Steps
from usbmon.bus.faults import Fault
from usbmon.bus.host import Host, HostDevice
from usbmon.bus.hub import Hub
from usbmon.bus.loop import SECOND
from usbmon.bus.timing import Speed
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor

LOOK = "port GET_STATUS"
TOO_SLOW = "usb 1-1.1: not running at top speed; connect to a high speed hub"


def play(device: HostDevice) -> Steps[None]:
    """As aplay did in the recording."""
    return device.drivers[0].play(bytes(192 * 1000))


def bring_up(device: HostDevice) -> Steps[None]:
    return device.drivers[0].up()


class FullSpeedAdapter(EthernetAdapter):
    """As the one in the recording, which has nothing to say about high speed."""

    max_speed = Speed.FULL


@dataclass
class Case:
    """A device in a recording, ours of its class, and where both have come to rest."""

    name: str
    recording: str
    plug: Plug
    model: Callable[[], Device]
    end: str
    times: int = 1
    buses: tuple[Speed, ...] = (Speed.HIGH,)
    behind_hub: bool = False
    use: Callable[[HostDevice], Steps[None]] | None = None
    expected: tuple[Difference, ...] = ()


def ours(case: Case) -> order.Recording:
    host = Host()
    for speed in case.buses:
        host.add_controller(speed)
    collector = Collector(Monitor(host.controllers).buses[1])
    hub = Hub() if case.behind_hub else None
    if hub is not None:
        host.plug(hub)
    host.loop.run(2 * SECOND)
    model = case.model()
    host.plug(model, hub)
    host.loop.run(5 * SECOND)
    device = host.find(model)
    if case.use is not None:
        host.run_task(case.use(device))
    return order.Recording(collector.take(), Plug(device.devnum, device.parent.devnum, device.port))


HID = "hid-xhci/usbmon1.getx.bin"
BEHIND_HUB = "hub-unplug-uhci/usbmon1.getx.bin"
ADAPTER = Plug(3, port=2, descriptors=(CAPTURES / "devices/serial-net-2-2.bin").read_bytes())

# The hub slept, and finds the device when it wakes: it is not debounced then. Ours never sleep.
ASLEEP = Difference("port CLEAR_FEATURE 0x10", ours=(LOOK,) * 4)
# An xHCI gives the address by a command of its own, and no URB shows it. Ours of USB 2.0 is like an
# EHCI.
ADDRESS = Difference("port CLEAR_FEATURE 0x14", ours=("SET_ADDRESS",))

CASES = [
    Case(
        "a keyboard",
        HID,
        Plug(2),
        lambda: Keyboard(speed=Speed.HIGH),
        end="interrupt in 8",
        expected=(ASLEEP, ADDRESS),
    ),
    Case(
        "a mouse",
        HID,
        Plug(3, port=2),
        lambda: Mouse(speed=Speed.HIGH),
        end="interrupt in 4",
        expected=(ADDRESS,),
    ),
    Case(
        "a HID gadget",
        "hid-gadget-refused/usbmon1.getx.bin",
        Plug(2),
        lambda: Mouse(speed=Speed.HIGH),
        end="report descriptor",  # its URB waits until somebody opens it
        expected=(ASLEEP,),
    ),
    Case(
        "a flash key",
        "storage-ehci/usbmon1.get.bin",
        Plug(2),
        FlashKey,
        end="TEST UNIT READY",  # the last that the partitions are looked for with
        times=5,
        expected=(ASLEEP,),
    ),
    Case(
        "a UAS disk",
        "uas-xhci/usbmon2.getx.bin",
        Plug(2),
        lambda: UasDisk(speed=Speed.SUPER),
        end="in 4096, READ",  # the look for partitions
        buses=(Speed.SUPER,),
        expected=(
            Difference("port CLEAR_FEATURE 0x10", ours=(LOOK,) * 3),  # ASLEEP
            # Which setting is the one for UAS is the device's choice.
            Difference("SET_CONFIGURATION 0x1", ("SET_INTERFACE 0.0",), ("SET_INTERFACE 0.1",)),
        ),
    ),
    Case(
        "a loudspeaker that plays",
        "audio-xhci/usbmon1.getx.bin",
        Plug(2),
        Loudspeaker,
        end="iso out",
        times=48,
        buses=(Speed.FULL,),
        use=play,
        expected=(ASLEEP, ADDRESS),
    ),
    Case(
        "a hub",
        BEHIND_HUB,
        Plug(2),
        lambda: Hub(8),
        end="interrupt in 2",
        buses=(Speed.FULL,),
        expected=(ASLEEP,),
    ),
    Case(
        "a keyboard behind a hub",
        BEHIND_HUB,
        Plug(3, hub=2),
        Keyboard,
        end="interrupt in 8",
        buses=(Speed.FULL,),
        behind_hub=True,
        expected=(ASLEEP,),
    ),
    Case(
        "a flash key behind a hub",
        BEHIND_HUB,
        Plug(5, hub=2, port=3),
        lambda: FlashKey(speed=Speed.FULL),
        end="TEST UNIT READY",
        times=5,
        buses=(Speed.FULL,),
        behind_hub=True,
        # QEMU's hub reports each enabling as a change (C_PORT_ENABLE), which USB 2.0 §11.24.2.7.2.2
        # does not.
        expected=(Difference(LOOK, ("port CLEAR_FEATURE 0x11",)),),
    ),
    Case(
        "an Ethernet adapter",
        "serial-net-uhci/2u.txt",
        ADAPTER,
        FullSpeedAdapter,
        end="SET_ETHERNET_PACKET_FILTER 0xe",
        buses=(Speed.FULL, Speed.HIGH),
        use=bring_up,
        expected=(
            # It has a second configuration.
            Difference(
                "configuration descriptor n",
                ("configuration descriptor 9", "configuration descriptor n"),
            ),
            # The driver was loaded already: Linux read the string of an interface just before.
            Difference("string interface 0.0", ours=("string interface 1.0",)),
            Difference("SET_INTERFACE 1.1", ours=("string interface 1.0",)),
            Difference("string address", ("string interface 1.0",)),
            # It has told its first news before the network is up.
            Difference("bulk in 1514", ("interrupt in 16",)),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_requests_are_those_of_linux_but_for_these(case):
    linux = order.Recording(usbmon.read(CAPTURES / case.recording), case.plug)
    found = order.differences(linux, ours(case), case.end, case.times)
    assert found == list(case.expected)


def test_a_request_that_is_missing_is_noticed():
    linux = order.Recording(usbmon.read(CAPTURES / HID), Plug(3, port=2))
    other = order.Recording(usbmon.read(CAPTURES / HID), Plug(3, port=2))
    idle = next(line for line in other.lines if line.text == "SET_IDLE")
    other.lines.remove(idle)
    assert order.differences(linux, linux, "interrupt in 4") == []
    assert [d.linux for d in order.differences(linux, other, "interrupt in 4")] == [("SET_IDLE",)]


# What no recording has: as drivers/usb/core/hub.c does it.


def test_a_dead_device_is_tried_in_two_ways_with_a_power_cycle_between_them():
    bench, model = Bench(), Loopback()
    bench.run()
    start = len(bench.tape.setups())
    model.faults.append(Fault("no-response", endpoint=0, count=None))
    bench.host.plug(model)
    bench.run(60 * SECOND)
    asked = [setup for setup in bench.tape.setups()[start:] if setup[:2] not in {"a3", "23"}]
    addresses = [f"00050{number}0000000000" for number in (4, 4, 5, 5)]
    assert asked == ["8006000100004000"] * 12 + addresses
    power = [s for s in bench.tape.setups()[start:] if s[4:8] == "0800"]
    assert power == ["2301080001000000", "2303080001000000"]


@pytest.mark.parametrize(
    ("model", "requests", "lines"),
    [
        (Loopback(), ["8006000600000a00"], [TOO_SLOW]),
        (Keyboard(speed=Speed.FULL), ["8006000600000a00"] * 3, []),
    ],
)
def test_a_device_at_full_speed_is_asked_what_it_would_be_at_high_speed(model, requests, lines):
    bench, hub = Bench(), Hub(speed=Speed.FULL)
    bench.plug(hub)
    start = len(bench.tape.setups())
    bench.log.clear()
    bench.plug(model, hub)
    asked = bench.tape.setups()[start:]
    at = asked.index("8006000100001200") + 1
    assert asked[at : asked.index("8006000200000900")] == requests
    assert [line for line in bench.log if line == TOO_SLOW] == lines
