"""A virtual bus to experiment on: a host, its log, and a tape of what the tap saw.

The tape holds the kernel's promise: a submission is completed or refused, once, and nothing else
comes from it. It fails where that is broken. What was under way before it ran is not on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.timing import Speed

if TYPE_CHECKING:
    from usbmon.bus.device import Device
    from usbmon.bus.driver import Driver
    from usbmon.bus.host import HostDevice
    from usbmon.bus.hub import Hub
    from usbmon.bus.urb import Urb


class Tape:
    """Events as tuples: letter, time, devnum, endpoint, setup in hex, status, length, tag."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.events: list[tuple[Any, ...]] = []
        self.open: set[int] = set()
        self._known: set[int] = set()

    def _write(self, letter: str, urb: Urb, status: int, length: int) -> None:
        setup = urb.setup.hex() if urb.setup is not None else ""
        self.events.append(
            (letter, self.loop.now, urb.device.devnum, urb.endpoint, setup, status, length, urb.id)
        )

    def submit(self, urb: Urb) -> None:
        assert urb.id not in self.open
        self.open.add(urb.id)
        self._known.add(urb.id)
        self._write("S", urb, urb.status, len(urb.buffer))

    def submit_error(self, urb: Urb, error: int) -> None:
        self.open.remove(urb.id)
        self._write("E", urb, error, 0)

    def complete(self, urb: Urb, status: int) -> None:
        if urb.id not in self._known:
            return
        self.open.remove(urb.id)
        self._write("C", urb, status, urb.actual_length)

    def setups(self) -> list[str]:
        """The control requests, in their order."""
        return [event[4] for event in self.events if event[0] == "S" and event[4]]


class Bench:
    """A host with one controller. `log` has the lines that the kernel would log."""

    def __init__(
        self,
        speed: Speed = Speed.HIGH,
        *,
        drivers: tuple[type[Driver], ...] = (HubDriver,),
        seed: int = 0,
    ) -> None:
        self.log: list[str] = []
        self.loop = Loop(seed=seed)
        self.host = Host(self.loop, drivers=drivers, report=self.log.append)
        self.bus = self.host.add_controller(speed)
        self.tape = self.bus.tap = Tape(self.loop)

    def plug(self, model: Device, hub: Hub | None = None) -> HostDevice:
        """Plug it in and wait until it is set up."""
        self.host.plug(model, hub)
        self.run(3 * SECOND)
        device = self.host.find(model)
        assert device is not None
        return device

    def run(self, duration: int = SECOND) -> None:
        self.loop.run(self.loop.now + duration)

    def urb(self, device: HostDevice, address: int, buffer: bytes | int, **more: Any) -> Urb:
        return device.urb(device.endpoints[address], buffer, **more)

    def submit(self, device: HostDevice, address: int, buffer: bytes | int, **more: Any) -> Urb:
        """An URB on its way, with no driver waiting for it."""
        urb = self.urb(device, address, buffer, **more)
        assert self.bus.submit(urb) == 0
        return urb
