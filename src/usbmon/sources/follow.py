"""Following devices through a bus: which events are theirs, wherever they are plugged.

Here: what names a device, and keeping its events through addresses that come and go. Not here: who
is plugged (`usbmon.sources.hotplug`), and where events come from.

The system tells of a device only when it has been enumerated: the events of that came before. So
those of addresses that nobody has told of yet are held for a while, and given when it is known that
they are wanted. Address 0, where each enumeration begins, is that of the next device of its bus.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon.events import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import numpy.typing as npt

    from usbmon.devices.model import Device

# So long, and so many bytes, events of unknown addresses are held.
HOLD_NS: Final = 10_000_000_000
HOLD_BYTES: Final = 16 << 20
# What comes for a device after it has gone is its own for so long.
LINGER_NS: Final = 2_000_000_000

_ID: Final = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4})?", re.IGNORECASE)
_PORT: Final = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*|usb[0-9]+")


def matcher(spec: str) -> Callable[[Device], bool]:
    """Which devices the words name: ``0557:2004`` or ``0557:``, ``serial:NUMBER``, a port as
    ``1-4.2``, or part of the names that a device gives itself."""
    if match := _ID.fullmatch(spec):
        prefix = f"{match[1]}:{match[2] or ''}".lower()
        return lambda device: device.id.startswith(prefix)
    if spec.startswith("serial:"):
        return lambda device: device.serial == spec[7:]
    if _PORT.fullmatch(spec):
        return lambda device: device.sysname == spec
    words = spec.casefold()
    return lambda device: words in f"{device.manufacturer} {device.product}".casefold()


def key(busnum: int, devnum: int) -> int:
    """An address as one number."""
    return busnum << 8 | devnum


class Follower:
    """`feed` it all events, tell it of devices, and it gives the events of those that match."""

    def __init__(self, matches: Callable[[Device], bool], *, hubs: bool = False) -> None:
        """`hubs`: those that a matching device is plugged into are followed as well."""
        self.matches = matches
        self._hubs = hubs
        self._kept: dict[int, int | None] = {}  # and until when, for one that has gone
        self._others: set[int] = set()
        self._held: deque[Events] = deque()
        self._held_bytes = 0

    def is_followed(self, device: Device) -> bool:
        return key(device.busnum, device.devnum) in self._kept

    def appeared(self, device: Device, all_devices: Iterable[Device]) -> Events:
        """A device is there; the events that were held for it, if it matches."""
        address = key(device.busnum, device.devnum)
        if not self.matches(device):
            if self._kept.get(address, 0) is not None:  # not one that is followed as a hub
                self._kept.pop(address, None)
                self._others.add(address)
            self._release(address)
            return Events.empty()
        self._others.discard(address)
        self._kept[address] = None
        if self._hubs:
            for hub in _above(device, all_devices):
                self._others.discard(key(hub.busnum, hub.devnum))
                self._kept[key(hub.busnum, hub.devnum)] = None
        return self._release(address)

    def gone(self, device: Device, now: int) -> None:
        """A device is no more there, at this time (ns)."""
        address = key(device.busnum, device.devnum)
        self._others.discard(address)
        if address in self._kept:
            self._kept[address] = now + LINGER_NS

    def feed(self, events: Events) -> Events:
        """Those of devices that are followed; those of addresses yet unknown are held."""
        if not len(events):
            return events
        self._forget(int(events.ts[-1]))
        keys = _keys(events)
        kept = _among(keys, self._kept)
        held = ~kept & ~_among(keys, self._others)
        if held.any():
            self._hold(events[held])
        return events[kept]

    def _forget(self, now: int) -> None:
        for address in [a for a, end in self._kept.items() if end is not None and end < now]:
            del self._kept[address]
        while self._held and int(self._held[0].ts[-1]) < now - HOLD_NS:
            self._held_bytes -= _size(self._held.popleft())

    def _hold(self, events: Events) -> None:
        copy = _copied(events)
        self._held.append(copy)
        self._held_bytes += _size(copy)
        while self._held_bytes > HOLD_BYTES and len(self._held) > 1:
            self._held_bytes -= _size(self._held.popleft())

    def _release(self, address: int) -> Events:
        """Take those of an address out of what is held, and those of address 0 of its bus from
        before it had one: devices of a bus are enumerated one after the other."""
        taken = []
        kept: deque[Events] = deque()
        starts = [e.ts[_keys(e) == address] for e in self._held]
        first = min((int(times[0]) for times in starts if len(times)), default=None)
        for events in self._held:
            keys = _keys(events)
            mask = keys == (address & ~0xFF)
            if first is not None:
                mask &= events.ts <= first
            mask |= keys == address
            if mask.any():
                taken.append(events[mask])
            if not mask.all():
                kept.append(events[~mask])
        self._held = kept
        return Events.concat(taken)


def _keys(events: Events) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = events.busnum.astype("i8") << 8 | events.devnum
    return keys


def _among(keys: npt.NDArray[np.int64], addresses: Iterable[int]) -> npt.NDArray[np.bool_]:
    import numpy as np

    return np.isin(keys, np.fromiter(addresses, np.int64))


def _copied(events: Events) -> Events:
    """With a payload of its own: that of the whole batch is not to be kept for a few events."""
    rows = events.rows.copy()
    payloads = [events.payload(number) for number in range(len(events))]
    at = 0
    for number, payload in enumerate(payloads):
        rows["data_at"][number] = at
        at += len(payload)
    return Events(rows.view("u1").data, memoryview(bytearray().join(payloads)), events.comments)


def _size(events: Events) -> int:
    rows, arena = events.buffers
    return len(rows) + len(arena)


def _above(device: Device, all_devices: Iterable[Device]) -> list[Device]:
    """The hubs on the way to a device."""
    by_number = {d.devnum: d for d in all_devices if d.busnum == device.busnum}
    found: list[Device] = []
    parent = device.parent
    while parent and parent in by_number and by_number[parent] not in found:
        found.append(by_number[parent])
        parent = by_number[parent].parent
    return found
