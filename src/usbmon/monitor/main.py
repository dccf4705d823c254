"""`Monitor`: sees every submission, completion and submission error on its buses, makes one record
of it, and gives that to all who read.

Here: what drivers/usb/mon/mon_main.c does. Not here: what of an URB goes into a record (`record`),
and what a reader does with it (`text`, `binary`, `collector`).

A bus is tapped while somebody reads it, or bus 0, which is all buses; the last one to leave takes
the tap away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from usbmon.bus.status import EINPROGRESS
from usbmon.monitor.record import COMPLETE, ERROR, SUBMIT, Clock, Record, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from usbmon.bus.hcd import Tap
    from usbmon.bus.urb import Urb


class Reader(Protocol):
    """Who reads a bus."""

    def put(self, record: Record) -> None:
        """An event has come."""


class MonitoredBus:
    """One bus as readers see it (``struct mon_bus``); number 0 is all of them."""

    def __init__(self, number: int, changed: Callable[[], None]) -> None:
        self.number = number
        self.readers: list[Reader] = []
        self.events = 0
        self.text_lost = 0
        self._changed = changed

    def add(self, reader: Reader) -> None:
        """From now on, it sees each event."""
        self.readers.append(reader)
        self._changed()

    def remove(self, reader: Reader) -> None:
        """It sees no more. Nothing happens if it did not read."""
        if reader in self.readers:
            self.readers.remove(reader)
            self._changed()


class _Tap:
    """Hangs on one controller, and serves its bus and bus 0."""

    def __init__(self, controller: Tapped, buses: tuple[MonitoredBus, ...]) -> None:
        self._loop = controller.loop
        self._buses = buses

    def submit(self, urb: Urb) -> None:
        self._give(make(urb, SUBMIT, EINPROGRESS, self._loop))

    def submit_error(self, urb: Urb, error: int) -> None:
        self._give(make(urb, ERROR, error, self._loop))

    def complete(self, urb: Urb, status: int) -> None:
        self._give(make(urb, COMPLETE, status, self._loop))

    def _give(self, record: Record) -> None:
        for bus in self._buses:
            bus.events += 1
            for reader in bus.readers:
                reader.put(record)


class Tapped(Protocol):
    """What can be listened to: a host controller, or a link that URBs pass through."""

    tap: Tap | None

    @property
    def busnum(self) -> int: ...

    @property
    def loop(self) -> Clock: ...


class Monitor:
    """The monitor of these buses: a `MonitoredBus` for each, and number 0 for all."""

    def __init__(self, controllers: Iterable[Tapped]) -> None:
        self._controllers = {c.busnum: c for c in controllers}
        self.buses = {n: MonitoredBus(n, self._tap) for n in (0, *self._controllers)}

    def _tap(self) -> None:
        """Hang a tap on what is read, and take it off what is not."""
        for number, controller in self._controllers.items():
            own, every = self.buses[number], self.buses[0]
            is_read = bool(own.readers or every.readers)
            if is_read and controller.tap is None:
                controller.tap = _Tap(controller, (own, every))
            elif not is_read:
                controller.tap = None
