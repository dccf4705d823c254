"""Devices coming and going, watched in sysfs.

Here: `Watcher`, which tells what has changed since it was asked last. Not here: reading a device
(`usbmon.devices.sysfs`), and what is done about a change.

Each `poll` lists one folder and looks at the links in it; of a device, more is read only where its
folder is another one than before (it was plugged in anew), or its number, an interface or a driver
is. Who polls every 250 ms misses nothing that a person does. Where pyudev is installed
(``pip install 'usbmon[hotplug]'``), `fileno` becomes readable as soon as the kernel tells of a
change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from usbmon.devices import sysfs
from usbmon.devices.model import ports_of
from usbmon.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from usbmon.devices.model import Device


class Change(NamedTuple):
    """`kind`: "added", "removed", or "changed" where number, configuration or a driver is another.
    `device`: as it is now, and of one that is gone as it was."""

    kind: str
    device: Device


class Watcher:
    """Iterate over nothing: call `poll` whenever `fileno` is readable, or after a while."""

    def __init__(self, root: str | Path = "/sys") -> None:
        """Devices that are there already are no change; `devices` has them."""
        self._root = root
        self._states: dict[str, tuple[object, ...]] = {}
        self._known: dict[str, Device] = {}
        self._monitor = _udev_monitor() if str(root) == "/sys" else None
        self._look()

    @property
    def devices(self) -> list[Device]:
        """Those that are there, as of the last `poll`."""
        return sysfs.with_parents(self._known.values())

    def fileno(self) -> int | None:
        """What to wait for; None where only a timer helps."""
        return None if self._monitor is None else int(self._monitor.fileno())

    def poll(self) -> list[Change]:
        """What has changed since the last time: removals, then the rest, each by bus and number. A
        device that was plugged in anew in between has gone and come."""
        while self._monitor is not None and self._monitor.poll(timeout=0) is not None:
            pass  # it only wakes: what has changed, sysfs tells
        before = {device.sysname: device for device in self.devices}
        replugged = self._look()
        after = {device.sysname: device for device in self.devices}
        removed = [
            Change("removed", device)
            for name, device in before.items()
            if name not in after or name in replugged
        ]
        return removed + [
            Change("added" if name not in before or name in replugged else "changed", device)
            for name, device in after.items()
            if name not in before or name in replugged or _differ(before[name], device)
        ]

    def _look(self) -> set[str]:
        """Read what is new or different. Returns the names of devices that stand where another one
        stood."""
        try:
            place = sysfs.folder(self._root)
        except SourceError:  # usbcore was unloaded, or is not there yet
            self._states.clear()
            self._known.clear()
            return set()
        names = sysfs.entries(place)
        before = self._states
        self._states = {
            name: sysfs.state(place, name, names) for name in names if ports_of(name) is not None
        }
        replugged = set()
        for name, state in self._states.items():
            if state == before.get(name):
                continue
            device = sysfs.device(place, name, names)
            if device is None:  # gone again, or not ready: the next time
                self._states[name] = ()
                self._known.pop(name, None)
                continue
            if name in self._known and before[name][:1] != state[:1]:
                replugged.add(name)
            self._known[name] = device
        for name in self._known.keys() - self._states.keys():
            del self._known[name]
        return replugged


def _differ(before: Device, after: Device) -> bool:
    """Whether a change is worth telling."""
    return (before.devnum, before.configuration, before.drivers) != (
        after.devnum,
        after.configuration,
        after.drivers,
    )


def _udev_monitor() -> Any:
    """What the kernel tells of USB; None without pyudev, or where it cannot listen (a container
    without netlink)."""
    try:
        import pyudev

        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
        monitor.filter_by("usb")
        monitor.start()
    except (ImportError, OSError):  # pyudev raises ImportError where libudev is missing, too
        return None
    return monitor
