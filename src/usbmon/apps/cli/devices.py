"""``usbmon devices``: what is on the buses.

Here: the table, the tree and the JSON of what is known of devices. Not here: who knows it
(`usbmon.devices`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from usbmon.apps.cli import _common
from usbmon.devices import listing, lsusb, names, sysfs
from usbmon.devices.model import tree
from usbmon.errors import FormatError, SourceError
from usbmon.usb import ids
from usbmon.usb.descriptors import DeviceDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.devices.model import Branch, Device
    from usbmon.usb.descriptors import Configuration, Endpoint, Interface

_READERS: Final = ((lsusb.looks_like, lsusb.read), (listing.looks_like, listing.read))
_HEADS: Final = ("bus.dev", "id", "speed", "class", "driver", "name")
_TYPES: Final = ("control", "isochronous", "bulk", "interrupt")
_DRIVERS_WIDTH: Final = 20
# Text of so much is no list of devices.
_LIMIT: Final = 64 << 20


class _Lines:
    """What a tree is drawn with."""

    def __init__(self, *, unicode: bool) -> None:
        drawn = ("├─ ", "└─ ", "│  ") if unicode else ("|- ", "`- ", "|  ")
        self.fork, self.last, self.down = drawn


@click.command("devices")
@click.argument(
    "file",
    metavar="[FILE]",
    required=False,
    type=click.Path(allow_dash=True, path_type=str),
)
@click.option("--tree", "form", flag_value="tree", help="As a tree of hubs, ports and interfaces.")
@click.option("--json", "form", flag_value="json", help="All that is known, as a JSON array.")
@click.option(
    "--text", "form", flag_value="text", help="As the kernel lists them (lines T:, D:, P:, …)."
)
@click.option(
    "--sysfs",
    "root",
    metavar="DIR",
    default="/sys",
    show_default=True,
    type=click.Path(file_okay=False, path_type=str),
    help="Where sysfs is mounted.",
)
def command(file: str | None, *, form: str | None, root: str) -> None:
    """List the USB devices that are there: what they are, how fast, and whose driver has them.

    sysfs tells it; no device is asked, opened or woken, and no root is needed. FILE instead is what
    another machine told: its /sys/kernel/debug/usb/devices, the output of `lsusb -v`, or a folder
    with a copy of its sysfs ("-": standard input).

    \b
    Examples:
      usbmon devices
      usbmon devices --tree
      usbmon devices --json | jq -r '.[] | select(.bDeviceClass == 9).sysname'
      ssh HOST lsusb -v | usbmon devices -
    """
    known = _read(file, root)
    if form == "json":
        import json

        click.echo(json.dumps([report(device) for device in known], indent=2))
    elif form == "text":
        click.echo(listing.write(known), nl=False)
    elif not known:
        click.echo("no USB devices")
    else:
        for line in _tree(known) if form == "tree" else _table(known):
            click.echo(line)


def _read(file: str | None, root: str) -> list[Device]:
    if file is None:
        return sysfs.snapshot(root)
    if file != "-" and Path(file).is_dir():
        return sysfs.snapshot(file)
    name = "standard input" if file == "-" else file
    try:
        with click.open_file(file, "rb") as opened:
            text = opened.read(_LIMIT).decode(errors="replace")
    except OSError as error:
        raise SourceError(error.strerror or str(error), file=name) from None
    for looks_like, read in _READERS:
        if looks_like(text):
            return read(text, name)
    raise FormatError(
        "neither a list of devices nor the output of lsusb -v "
        "(what is in a trace: usbmon info FILE)",
        file=name,
    )


# The table.


def _table(devices: list[Device]) -> Iterator[str]:
    rows = [_HEADS, *map(_row, devices)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    limit = _common.width(sys.stdout)
    colour = _common.use_colour(sys.stdout)
    for number, row in enumerate(rows):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        line = _cut(line.rstrip(), limit)
        yield click.style(line, dim=True) if colour and number == 0 else line


def _row(device: Device) -> tuple[str, ...]:
    return (
        device.address,
        device.id,
        device.speed_words or "?",
        names.class_words(device) or "-",
        _cut(" ".join(device.driver_names), _DRIVERS_WIDTH) or "-",
        _printable(names.device_name(device)),
    )


def _cut(text: str, width: int) -> str:
    return text if not width or len(text) <= width else text[: width - 1] + "…"


def _printable(text: str) -> str:
    """A device may say anything, also what would command a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


# The tree.


def _tree(devices: list[Device]) -> Iterator[str]:
    unicode = sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower()
    lines = _Lines(unicode=unicode)
    limit = _common.width(sys.stdout)
    for branch in tree(devices):
        for line in _branch(branch, lines, "", ""):
            yield _cut(line, limit)


def _branch(branch: Branch, lines: _Lines, first: str, rest: str) -> Iterator[str]:
    """A device, its interfaces, and those below it. `first` stands before its line, `rest` before
    those that follow."""
    device = branch.device
    yield first + _device_line(device)
    bar = lines.down if branch.children else "   "
    for interface in device.interfaces if not device.is_hub else ():
        yield rest + bar + _interface_line(device, interface)
    for number, child in enumerate(branch.children, 1):
        is_last = number == len(branch.children)
        yield from _branch(
            child,
            lines,
            rest + (lines.last if is_last else lines.fork),
            rest + ("   " if is_last else lines.down),
        )


def _device_line(device: Device) -> str:
    named = _printable(names.device_name(device))
    parts = [f"{device.id} {named}".rstrip(), device.speed_words]
    if device.maxchild:
        parts.append(f"{device.maxchild} ports" if device.maxchild != 1 else "1 port")
    place = f"port {device.port}: " if device.port else f"bus {device.busnum}: "
    return f"{place}{device.address} {', '.join(filter(None, parts))}"


def _interface_line(device: Device, interface: Interface) -> str:
    alternate = interface.bAlternateSetting
    number = f"{interface.bInterfaceNumber}" + (f" alt {alternate}" if alternate else "")
    driver = device.drivers.get(interface.bInterfaceNumber, "")
    if not driver and interface.bInterfaceNumber in device.alternates:
        driver = "no driver"  # only who tells of settings tells of drivers: lsusb does not
    words = names.interface_words(interface)
    return f"{number}: {words} ({_printable(driver)})" if driver else f"{number}: {words}"


# JSON.


def report(device: Device) -> dict[str, Any]:
    """All that is known of a device; what is not is null or empty. docs/devices.md has the
    fields."""
    about = device.about
    fields = about._asdict() if about else dict.fromkeys(DeviceDescriptor._fields)
    vendor = product = ""
    if about is not None:
        vendor = ids.names().vendor(about.idVendor)
        product = ids.names().product(about.idVendor, about.idProduct)
    return {
        "busnum": device.busnum,
        "devnum": device.devnum,
        "sysname": device.sysname,
        "parent": device.parent,
        "level": device.level,
        "port": device.port,
        "speed": device.speed,
        "maxchild": device.maxchild,
        **fields,
        "manufacturer": device.manufacturer,
        "product": device.product,
        "serial": device.serial,
        "vendor_name": vendor,
        "product_name": product,
        "active_configuration": device.configuration,
        "configurations": [_configuration(device, each) for each in device.all_configurations],
        "strings": {str(number): text for number, text in sorted(device.strings.items())},
        "descriptors": (device.descriptor + b"".join(device.configurations)).hex(),
        "bos": device.bos.hex(),
        "reports": {str(number): raw.hex() for number, raw in sorted(device.reports.items())},
    }


def _configuration(device: Device, configuration: Configuration) -> dict[str, Any]:
    is_active = configuration is device.active
    return {
        "bConfigurationValue": configuration.bConfigurationValue,
        "active": is_active,
        "bmAttributes": configuration.bmAttributes,
        "bMaxPower": configuration.bMaxPower,
        "interfaces": [
            _interface(device, interface, is_active=is_active)
            for interface in configuration.interfaces
        ],
    }


def _interface(device: Device, interface: Interface, *, is_active: bool) -> dict[str, Any]:
    number = interface.bInterfaceNumber
    return {
        "bInterfaceNumber": number,
        "bAlternateSetting": interface.bAlternateSetting,
        "active": is_active and device.is_active(interface),
        "bInterfaceClass": interface.bInterfaceClass,
        "bInterfaceSubClass": interface.bInterfaceSubClass,
        "bInterfaceProtocol": interface.bInterfaceProtocol,
        "class_name": names.interface_words(interface),
        "driver": device.drivers.get(number) if is_active else None,
        "name": device.strings.get(interface.iInterface, ""),
        "endpoints": [_endpoint(endpoint) for endpoint in interface.endpoints],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "bEndpointAddress": endpoint.bEndpointAddress,
        "direction": "in" if endpoint.is_in else "out",
        "type": _TYPES[endpoint.type],
        "bmAttributes": endpoint.bmAttributes,
        "wMaxPacketSize": endpoint.wMaxPacketSize,
        "bInterval": endpoint.bInterval,
    }
