"""What to call a device, and what it is for, in words for people.

Here: names of devices and interfaces, their own or those of usb.ids. Not here: the list
(`usbmon.usb.ids`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.usb import ids

if TYPE_CHECKING:
    from usbmon.devices.model import Device
    from usbmon.usb.descriptors import Interface

# The base classes (https://www.usb.org/defined-class-codes), short enough for a column.
CLASS_WORDS: Final = {
    0x01: "audio",
    0x02: "comm",
    0x03: "HID",
    0x05: "physical",
    0x06: "image",
    0x07: "printer",
    0x08: "storage",
    0x09: "hub",
    0x0A: "data",
    0x0B: "smart card",
    0x0D: "security",
    0x0E: "video",
    0x0F: "health",
    0x10: "A/V",
    0x11: "billboard",
    0x12: "Type-C",
    0xDC: "diagnostic",
    0xE0: "wireless",
    0xEF: "misc",
    0xFE: "application",
    0xFF: "vendor",
}
_SAYS_NOTHING: Final = ("Unused", "Vendor Specific", "None", "No ")


def vendor_name(device: Device) -> str:
    """Who made it: its own word or, where it has none, that of usb.ids."""
    about = device.about
    told = " ".join(device.manufacturer.split())
    return told or (ids.names().vendor(about.idVendor) if about is not None else "")


def product_name(device: Device) -> str:
    """What it is, in the same way."""
    about = device.about
    told = " ".join(device.product.split())
    if told or about is None:
        return told
    return ids.names().product(about.idVendor, about.idProduct)


def device_name(device: Device) -> str:
    """Both; who made it only once, where the product's name starts with that."""
    vendor, product = vendor_name(device), product_name(device)
    if product.lower().startswith(vendor.lower()):
        return product
    return f"{vendor} {product}".strip()


def class_words(device: Device) -> str:
    """Its class in a word; those of its interfaces, each once, where they decide."""
    about = device.about
    numbers = [about.bDeviceClass] if about is not None else []
    if numbers in ([0x00], [0xEF]):  # USB 2.0 §9.6.1; several functions with associations
        numbers = [interface.bInterfaceClass for interface in device.interfaces] or numbers
    return "+".join(dict.fromkeys(CLASS_WORDS.get(n, f"{n:02x}") for n in numbers if n))


def interface_words(interface: Interface) -> str:
    """What an interface is for, in the words of usb.ids: class, subclass and protocol, as far as
    they say more than the one before."""
    triple = (
        interface.bInterfaceClass,
        interface.bInterfaceSubClass,
        interface.bInterfaceProtocol,
    )
    found = [ids.names().cls(*triple[:depth]) for depth in (1, 2, 3)]
    more = [word for word in found[1:] if word and not word.startswith(_SAYS_NOTHING)]
    if found[0]:
        return ", ".join(dict.fromkeys((found[0], *more)))
    return "class {:02x} subclass {:02x} protocol {:02x}".format(*triple)
