"""Devices as sysfs tells of them (Documentation/ABI/*/sysfs-bus-usb).

Here: reading ``/sys/bus/usb/devices``, or a copy of such a tree. Passive: the kernel answers from
what it read when the device came. Not here: watching it (`usbmon.sources.hotplug`), and
``/dev/bus/usb``, which is never opened, as that alone may wake a device that sleeps.

Of drivers/usb/core/sysfs.c only these are read: descriptors (the kernel's copy, read_descriptors),
bos_descriptors, busnum, devnum, devpath, speed, maxchild, bConfigurationValue, configuration,
manufacturer, product, serial (strings it has cached), and of an interface its number, alternate
setting, string (of cur_altsetting, cached too) and link to the driver; of HID its
report_descriptor (drivers/hid/hid-core.c, ``hdev->rdesc``). None of them asks the device. Some take
its lock, and so wait while it is being set up.

A device may go while it is read, and a file may hold anything: what can be read is given.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbmon.devices.model import Device, ports_of
from usbmon.errors import SourceError
from usbmon.usb import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOLDER: Final = "bus/usb/devices"
# A HID device below its interface: bus type 3 (BUS_USB), vendor, product, number.
_HID: Final = re.compile(r"0003:[0-9A-F]{4}:[0-9A-F]{4}\.[0-9A-F]{4,}")
# Larger than any of these files; who puts something else there gets no more read.
_LIMIT: Final = 1 << 20
_NUMBER_LIMIT: Final = 0xFFFF


def folder(root: str | Path = "/sys") -> Path:
    """Where the devices are: of a sysfs, or of a copy of it or of that folder alone. Raises
    `SourceError` where there is none."""
    root = Path(root)
    for place in (root / _FOLDER, root):
        if any(ports_of(name) is not None for name in entries(place)):
            return place
    if (root / _FOLDER).is_dir():
        return root / _FOLDER
    if str(root) == "/sys":
        raise SourceError(
            "this machine has no USB (or its kernel has not loaded usbcore)", file=f"/sys/{_FOLDER}"
        )
    raise SourceError(f"no devices of sysfs here, nor in {_FOLDER} below it", file=str(root))


def snapshot(root: str | Path = "/sys") -> list[Device]:
    """All devices there are now, by bus and number. Raises `SourceError` where there is no USB."""
    place = folder(root)
    names = entries(place)
    found = (device(place, name, names) for name in names if ports_of(name) is not None)
    return with_parents(one for one in found if one is not None)


def with_parents(devices: Iterable[Device]) -> list[Device]:
    """The same with the numbers of their hubs, in order."""
    known = {one.sysname: one for one in devices}
    parents = {name: known.get(_above(one)) for name, one in known.items()}
    made = [
        replace(one, parent=0 if one.level == 0 else hub.devnum if hub is not None else None)
        for one, hub in ((one, parents[name]) for name, one in known.items())
    ]
    return sorted(made, key=lambda one: (one.busnum, one.devnum))


def _above(one: Device) -> str:
    """The name of the hub that a device is plugged into."""
    head, dot, _ = one.sysname.rpartition(".")
    return head if dot else f"usb{one.busnum}"


def device(place: Path, name: str, names: list[str] | None = None) -> Device | None:
    """The device of this name in the folder `place`, whose `names` need not be read again; its
    parent is left out. None where it has gone."""
    at = place / name
    busnum, devnum = _number(at / "busnum"), _number(at / "devnum")
    if busnum is None or devnum is None or not 0 < devnum < 128:
        return None
    ports = ports_of(name) or []
    raw = _bytes(at / "descriptors")
    made = Device(
        busnum=busnum,
        devnum=devnum,
        sysname=name,
        level=len(ports),
        port=ports[-1] if ports else 0,
        speed=_text(at / "speed"),
        maxchild=_number(at / "maxchild"),
        descriptor=raw[: descriptors.DEVICE_SIZE],
        configurations=tuple(descriptors.configurations(raw[descriptors.DEVICE_SIZE :])),
        bos=_bytes(at / "bos_descriptors"),
        configuration=_number(at / "bConfigurationValue") or 0,  # empty: not configured
        manufacturer=_text(at / "manufacturer"),
        product=_text(at / "product"),
        serial=_text(at / "serial"),
    )
    return _with_interfaces(made, place, entries(place) if names is None else names)


def _with_interfaces(made: Device, place: Path, names: list[str]) -> Device:
    alternates, drivers, reports, texts = {}, {}, {}, {}
    for name in _interfaces(made.sysname, names):
        at = place / name
        number = _number(at / "bInterfaceNumber", 16)
        if number is None:
            continue
        alternates[number] = _number(at / "bAlternateSetting") or 0
        texts[number] = _text(at / "interface")
        if driver := _driver(at):
            drivers[number] = driver
        for child in filter(_HID.fullmatch, entries(at)):
            if report := _bytes(at / child / "report_descriptor"):
                reports[number] = report
    made = replace(made, alternates=alternates, drivers=drivers, reports=reports)
    return replace(
        made, strings=_strings(made, _text(place / made.sysname / "configuration"), texts)
    )


def identity(place: Path, name: str) -> int:
    """Which of all devices that ever had this name it is: of sysfs, the number of a folder is used
    once. 0 where there is none now."""
    try:
        return (place / name).stat().st_ino
    except OSError:
        return 0


def state(place: Path, name: str, names: list[str]) -> tuple[object, ...]:
    """Little and quickly read; where it is as it was, so is the device."""
    interfaces = _interfaces(name, names)
    drivers = (_driver(place / interface) for interface in interfaces)
    number = _number(place / name / "devnum")
    return identity(place, name), number, *interfaces, *drivers


def _interfaces(name: str, names: list[str]) -> list[str]:
    """The interfaces of a device: 1-4.2:1.0 of 1-4.2; a root hub, usb1, has 1-0:1.0."""
    head = f"{name[3:]}-0:" if name.startswith("usb") else f"{name}:"
    return [one for one in names if one.startswith(head)]


def _driver(at: Path) -> str:
    """The driver bound to the interface; "" for none."""
    try:
        return (at / "driver").readlink().name
    except (OSError, ValueError):
        return ""


def _strings(made: Device, configuration: str, interfaces: dict[int, str]) -> dict[int, str]:
    """What is known of them by the numbers that the descriptors have for them."""
    pairs = []
    if made.about is not None:
        about = made.about
        pairs += [
            (about.iManufacturer, made.manufacturer),
            (about.iProduct, made.product),
            (about.iSerialNumber, made.serial),
        ]
    if made.active is not None:
        pairs.append((made.active.iConfiguration, configuration))
    pairs += [
        (setting.iInterface, interfaces.get(setting.bInterfaceNumber, ""))
        for setting in made.interfaces
    ]
    return {number: text for number, text in pairs if number and text}


def entries(at: Path) -> list[str]:
    try:
        return sorted(os.listdir(at))  # noqa: PTH208  names are all that is wanted
    except OSError:
        return []


def _bytes(at: Path) -> bytes:
    try:
        with at.open("rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return b""


def _text(at: Path) -> str:
    """What stands in the file, without the line break that sysfs adds, or any other at its end."""
    return _bytes(at).decode(errors="replace").rstrip("\n").strip("\0")


def _number(at: Path, base: int = 10) -> int | None:
    try:
        number = int(_text(at), base)
    except ValueError:
        return None
    return number if 0 <= number <= _NUMBER_LIMIT else None
