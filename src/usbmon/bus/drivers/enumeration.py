"""Enumeration: what a device is, from its descriptors on, until its interfaces have drivers.

Here: usb_enumerate_device and usb_set_configuration of drivers/usb/core, in their order; and
whether a device is still what it was. Not here: its port, and its address (`hub`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Steps, UrbFailed
from usbmon.bus.host import HostConfiguration
from usbmon.bus.status import EPROTO, ETIMEDOUT

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostDevice

# Some devices need to be asked again (usb_get_descriptor).
_TRIES: Final = 3


def get_descriptor(device: HostDevice, kind: int, index: int, size: int) -> Steps[bytes]:
    """usb_get_descriptor: some devices need to be asked again."""
    for _ in range(_TRIES - 1):
        try:
            raw = yield from device.get_descriptor(kind, index, size)
        except UrbFailed as error:
            if error.status == ETIMEDOUT:
                raise
            continue
        if len(raw) >= 2 and raw[1] == kind:
            return bytes(raw)
    return (yield from device.get_descriptor(kind, index, size))


def read_bos(device: HostDevice) -> Steps[None]:
    """usb_get_bos_descriptor; a device without one may say so."""
    try:
        head = yield from get_descriptor(device, 15, 0, 5)
        at_least(head, 5, "BOS")
        yield from get_descriptor(device, 15, 0, int.from_bytes(head[2:4], "little"))
    except UrbFailed:
        return


def enumerate_device(host: Host, device: HostDevice) -> Steps[None]:
    """Configurations, strings, SET_CONFIGURATION and drivers of a device with an address
    (usb_enumerate_device, usb_set_configuration)."""
    for number in range(device.descriptor[17]):
        head = yield from get_descriptor(device, 2, number, 9)
        at_least(head, 9, "configuration descriptor")
        raw = yield from get_descriptor(device, 2, number, int.from_bytes(head[2:4], "little"))
        at_least(raw, 9, "configuration descriptor")
        device.configurations.append(HostConfiguration(device, raw))
    for at in (15, 14, 16):  # product, manufacturer, serial number
        yield from device.read_string(device.descriptor[at])
    _announce(host, device)
    if device.configurations:
        yield from set_configuration(host, device, device.configurations[0])
    device.is_set_up = True


def set_configuration(
    host: Host, device: HostDevice, configuration: HostConfiguration
) -> Steps[None]:
    """usb_set_configuration."""
    yield from device.control_out(0x00, 9, configuration.value, 0)
    device.choose(configuration.value)
    yield from device.read_string(configuration.raw[6])
    for setting in configuration.settings:
        if setting.alternate == 0:
            yield from device.name_setting(setting)
    yield from host.bind(device)


def verify(device: HostDevice) -> Steps[None]:
    """descriptors_changed, after a reset: read what it is once more."""
    yield from get_descriptor(device, 1, 0, 18)
    for number, configuration in enumerate(device.configurations):
        yield from get_descriptor(device, 2, number, len(configuration.raw))
    yield from device.read_string(device.descriptor[16])


def register_root(host: Host, device: HostDevice) -> Steps[None]:
    """A root hub is there from the start (register_root_hub)."""
    device.descriptor = yield from get_descriptor(device, 1, 0, 18)
    if int.from_bytes(device.descriptor[2:4], "little") >= 0x0201:
        yield from read_bos(device)
    yield from enumerate_device(host, device)


def at_least(raw: bytes, size: int, what: str) -> bytes:
    """A device may answer with less than it should."""
    if len(raw) < size:
        raise UrbFailed(EPROTO, f"{what} of {len(raw)} bytes, not {size}")
    return raw


def _announce(host: Host, device: HostDevice) -> None:
    vendor, product = device.id
    host.report(
        f"usb {device.name}: New USB device found, idVendor={vendor:04x}, idProduct={product:04x}"
    )
    for word, at in (("Product", 15), ("Manufacturer", 14), ("SerialNumber", 16)):
        if device.string(device.descriptor[at]):
            host.report(f"usb {device.name}: {word}: {device.string(device.descriptor[at])}")
