"""A sysfs of USB devices in a folder, made of what was recorded: a device's descriptors file, and
its block of the kernel's list of the same moment. As in the kernel's, the devices are links."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from usbmon.devices import listing

if TYPE_CHECKING:
    from pathlib import Path

    from usbmon.devices.model import Device


class Sysfs:
    """The tree below `root`; `place` is where the devices stand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = root / "bus/usb/devices"
        self.place.mkdir(parents=True)
        self._homes = root / "devices"

    def add(
        self, device: Device, descriptors: bytes, reports: dict[int, bytes] | None = None
    ) -> None:
        """A device with its interfaces, bound to their drivers."""
        home = self._homes / device.sysname
        home.mkdir(parents=True)
        (home / "descriptors").write_bytes(descriptors)
        texts = {
            "busnum": device.busnum,
            "devnum": device.devnum,
            "speed": device.speed,
            "maxchild": device.maxchild,
            "bConfigurationValue": device.configuration,
            "manufacturer": device.manufacturer,
            "product": device.product,
            "serial": device.serial,
        }
        for name, value in texts.items():
            if value not in (None, ""):
                (home / name).write_text(f"{value}\n")
        (self.place / device.sysname).symlink_to(home)
        for interface in device.interfaces:
            number = interface.bInterfaceNumber
            self._interface(device, number, (reports or {}).get(number, b""))

    def _interface(self, device: Device, number: int, report: bytes) -> None:
        head = f"{device.busnum}-0" if device.level == 0 else device.sysname
        name = f"{head}:{device.configuration}.{number}"
        home = self._homes / device.sysname / name
        home.mkdir()
        (home / "bInterfaceNumber").write_text(f"{number:02x}\n")
        (home / "bAlternateSetting").write_text(f"{device.alternates.get(number, 0):2d}\n")
        (self.place / name).symlink_to(home)
        if number in device.drivers:
            self.bind(name, device.drivers[number])
        if report:
            hid = home / "0003:0627:0001.0001"
            hid.mkdir()
            (hid / "report_descriptor").write_bytes(report)

    def bind(self, interface: str, driver: str) -> None:
        """Another driver for an interface, or none."""
        link = self.place / interface / "driver"
        link.unlink(missing_ok=True)
        if driver:
            target = self.root / "bus/usb/drivers" / driver
            target.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)

    def write(self, name: str, value: object) -> None:
        """An attribute, as ``1-1/devnum``."""
        (self.place / name).write_text(f"{value}\n")

    def remove(self, sysname: str) -> None:
        for link in self.place.iterdir():
            if link.name == sysname or link.name.startswith(f"{sysname}:"):
                link.unlink()
        shutil.rmtree(self._homes / sysname)


def recorded(folder: Path, name: str) -> tuple[Device, bytes]:
    """A device of tests/captures/devices: what the list told of it, and its descriptors."""
    sysname = "-".join(name.rsplit("-", 2)[1:])
    (device,) = listing.read((folder / f"{name}.txt").read_text())
    return replace(device, sysname=sysname), (folder / f"{name}.bin").read_bytes()
