"""`Device`: what is known of one device, whoever told it.

Here: the noun, what follows from its descriptors, and the order of a tree. Not here: where the
knowledge comes from (`sysfs`, `listing`, `lsusb`, `virtual`), or what it is used for (`listing`,
`synthetic`).

A source that has descriptors gives their bytes, and the fields are read from those. One that has
only fields (a listing has no numbers of strings and nothing of a class) gives these, and no bytes.
What a source does not tell is empty, or None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from usbmon.usb import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbmon.usb.descriptors import Configuration, DeviceDescriptor, Interface

# The words of a speed in Mbit/s, for people.
SPEED_WORDS: Final = {
    "1.5": "1.5 Mb/s",
    "12": "12 Mb/s",
    "480": "480 Mb/s",
    "5000": "5 Gb/s",
    "10000": "10 Gb/s",
    "20000": "20 Gb/s",
}
_HUB: Final = 9


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device at an address. Names are the kernel's (``struct usb_device``, sysfs).

    `sysname` is "1-4.2"; `parent` the number of the hub it is plugged into (0 at a root hub), at
    the `port` counted from 1 (0 at a root hub); `speed` in Mbit/s as sysfs has it. `descriptor` is
    the device descriptor, `configurations` are all of theirs, whole, `bos` the BOS; where only
    fields are known, those stand in `fields` and `parsed`. `strings` are known by their number;
    `manufacturer`, `product` and `serial` also without one. `alternates`, `drivers` and `reports`
    (HID report descriptors) go by the number of the interface.
    """

    busnum: int
    devnum: int
    sysname: str = ""
    parent: int | None = None
    level: int | None = None
    port: int | None = None
    speed: str = ""
    maxchild: int | None = None
    descriptor: bytes = b""
    configurations: tuple[bytes, ...] = ()
    bos: bytes = b""
    fields: DeviceDescriptor | None = None
    parsed: tuple[Configuration, ...] = ()
    strings: dict[int, str] = field(default_factory=dict)
    manufacturer: str = ""
    product: str = ""
    serial: str = ""
    configuration: int | None = None
    alternates: dict[int, int] = field(default_factory=dict)
    drivers: dict[int, str] = field(default_factory=dict)
    reports: dict[int, bytes] = field(default_factory=dict)
    bandwidth: tuple[int, int, int] = (0, 0, 0)
    first_seen: int | None = None
    last_seen: int | None = None

    @cached_property
    def about(self) -> DeviceDescriptor | None:
        """The fields of the device descriptor, from its bytes or as told."""
        return descriptors.device_descriptor(self.descriptor) or self.fields

    @cached_property
    def all_configurations(self) -> tuple[Configuration, ...]:
        """What the configurations hold, from their bytes or as told."""
        read = map(descriptors.configuration, self.configurations)
        return tuple(each for each in read if each is not None) or self.parsed

    @property
    def active(self) -> Configuration | None:
        """The active configuration; the only one, where none is told."""
        if self.configuration is None and len(self.all_configurations) == 1:
            return self.all_configurations[0]
        for each in self.all_configurations:
            if each.bConfigurationValue == self.configuration:
                return each
        return None

    @property
    def interfaces(self) -> list[Interface]:
        """The interfaces of the active configuration, each in its active alternate setting."""
        return [
            interface
            for interface in (self.active.interfaces if self.active else ())
            if self.is_active(interface)
        ]

    def is_active(self, interface: Interface) -> bool:
        """Whether this setting of its interface is the active one (0 where none is told)."""
        number = interface.bInterfaceNumber
        return interface.bAlternateSetting == self.alternates.get(number, 0)

    @property
    def is_root(self) -> bool:
        return self.level == 0 or self.sysname.startswith("usb")

    @property
    def is_hub(self) -> bool:
        return bool(self.maxchild) or (self.about is not None and self.about.bDeviceClass == _HUB)

    @property
    def address(self) -> str:
        """As usbmon writes it: "1.005"."""
        return f"{self.busnum}.{self.devnum:03d}"

    @property
    def id(self) -> str:
        """As lsusb writes it: "0557:2004"; of one that has not told, "????:????"."""
        about = self.about
        return f"{about.idVendor:04x}:{about.idProduct:04x}" if about else "????:????"

    @property
    def speed_words(self) -> str:
        if not self.speed:
            return ""
        return SPEED_WORDS.get(self.speed, f"{self.speed} Mb/s")

    @property
    def driver_names(self) -> list[str]:
        """The drivers of its interfaces, each once, in the order of those."""
        return list(dict.fromkeys(self.drivers[number] for number in sorted(self.drivers)))


def sysname(busnum: int, ports: Iterable[int]) -> str:
    """The name of a device in sysfs, from the ports on the way from the root hub to it
    (drivers/usb/core/usb.c, usb_alloc_dev)."""
    path = ".".join(map(str, ports))
    return f"{busnum}-{path}" if path else f"usb{busnum}"


def ports_of(name: str) -> list[int] | None:
    """The way back: the ports on the way to a device, none for a root hub. None: it is no name of
    a device in sysfs."""
    if name.startswith("usb") and name[3:].isascii() and name[3:].isdigit():
        return []
    bus, dash, path = name.partition("-")
    numbers = path.split(".")
    if not dash or not all(n.isascii() and n.isdigit() for n in (bus, *numbers)):
        return None
    return [int(number) for number in numbers]


@dataclass
class Branch:
    """A device and those plugged into it."""

    device: Device
    children: list[Branch] = field(default_factory=list)


def tree(devices: Iterable[Device]) -> list[Branch]:
    """Devices below their hubs, by bus and port; one whose hub is not known stands at the top."""
    branches = [Branch(device) for device in sorted(devices, key=_place)]
    hubs = {(b.device.busnum, b.device.devnum): b for b in branches}
    top = []
    for branch in branches:
        device = branch.device
        hub = hubs.get((device.busnum, device.parent or 0))
        if hub is None or not _is_above(hub.device, device):
            top.append(branch)
        else:
            hub.children.append(branch)
    return top


def _is_above(hub: Device, device: Device) -> bool:
    """What claims to be its own hub, or in a ring, is not believed."""
    return hub.level is not None and device.level is not None and hub.level < device.level


def _place(device: Device) -> tuple[int, int, int, int]:
    return device.busnum, device.level or 0, device.port or 0, device.devnum
