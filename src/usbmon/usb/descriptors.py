"""Descriptors taken apart: bytes to configurations, interfaces and endpoints.

Here: the walk over descriptors one behind the other, and what stands in the standard ones (USB 2.0
§9.6, USB 3.2 §9.6), with the standard's names. Each of them keeps the bytes it was read from. Not
here: making descriptors (`usbmon.bus.descriptors`), class-specific ones, which stand as bytes in
`extra` of what they belong to, and whose device it is.

Nothing here raises for bytes that make no sense: what can be told of them is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE: Final = 1
CONFIGURATION: Final = 2
STRING: Final = 3
INTERFACE: Final = 4
ENDPOINT: Final = 5
INTERFACE_ASSOCIATION: Final = 11
BOS: Final = 15
HID_REPORT: Final = 0x22

_DEVICE: Final = struct.Struct("<BBHBBBBHHHBBBB")
DEVICE_SIZE: Final = _DEVICE.size
CONFIGURATION_SIZE: Final = 9


class DeviceDescriptor(NamedTuple):
    """DEVICE (§9.6.1)."""

    bcdUSB: int
    bDeviceClass: int
    bDeviceSubClass: int
    bDeviceProtocol: int
    bMaxPacketSize0: int
    idVendor: int
    idProduct: int
    bcdDevice: int
    iManufacturer: int = 0
    iProduct: int = 0
    iSerialNumber: int = 0
    bNumConfigurations: int = 1


def device_descriptor(raw: bytes) -> DeviceDescriptor | None:
    """The fields of the bytes; None where they are no device descriptor."""
    if len(raw) < DEVICE_SIZE or raw[1] != DEVICE:
        return None
    return DeviceDescriptor(*_DEVICE.unpack_from(raw)[2:])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """ENDPOINT (§9.6.6). `raw`: it, and what follows it up to the next one (a companion, what its
    class adds); empty where only the fields are known."""

    bEndpointAddress: int
    bmAttributes: int
    wMaxPacketSize: int
    bInterval: int
    raw: bytes = b""

    @property
    def is_in(self) -> bool:
        return self.bEndpointAddress & 0x80 != 0

    @property
    def type(self) -> int:
        """0 control, 1 isochronous, 2 bulk, 3 interrupt."""
        return self.bmAttributes & 3


@dataclass(frozen=True, slots=True)
class Interface:
    """INTERFACE (§9.6.5): one alternate setting. `extra`: what stands between it and its first
    endpoint. `raw`: its own bytes; empty where only the fields are known."""

    bInterfaceNumber: int
    bAlternateSetting: int
    bNumEndpoints: int
    bInterfaceClass: int
    bInterfaceSubClass: int
    bInterfaceProtocol: int
    iInterface: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    extra: bytes = b""
    raw: bytes = b""


class Association(NamedTuple):
    """INTERFACE ASSOCIATION: interfaces that are one function (USB 2.0 ECN)."""

    bFirstInterface: int
    bInterfaceCount: int
    bFunctionClass: int
    bFunctionSubClass: int
    bFunctionProtocol: int
    iFunction: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """CONFIGURATION (§9.6.3) and all that it holds. `extra`: what stands before its first
    interface, associations aside."""

    bNumInterfaces: int
    bConfigurationValue: int
    iConfiguration: int
    bmAttributes: int
    bMaxPower: int
    interfaces: tuple[Interface, ...] = ()
    associations: tuple[Association, ...] = ()
    extra: bytes = b""

    def setting(self, number: int, alternate: int = 0) -> Interface | None:
        """The interface of this number with this alternate setting."""
        for interface in self.interfaces:
            if (interface.bInterfaceNumber, interface.bAlternateSetting) == (number, alternate):
                return interface
        return None


def walk(raw: bytes) -> Iterator[bytes]:
    """Descriptors one behind the other, as far as they make sense."""
    at = 0
    while at + 2 <= len(raw) and raw[at] >= 2:
        yield raw[at : at + raw[at]]
        at += raw[at]


def configurations(raw: bytes) -> Iterator[bytes]:
    """The bytes of each configuration, of those one behind the other. The last may be cut."""
    while len(raw) >= CONFIGURATION_SIZE and raw[1] == CONFIGURATION:
        size = max(int.from_bytes(raw[2:4], "little"), CONFIGURATION_SIZE)
        yield raw[:size]
        raw = raw[size:]


def configuration(raw: bytes) -> Configuration | None:
    """A configuration and all that it holds; None where the bytes do not start with one."""
    if len(raw) < CONFIGURATION_SIZE or raw[1] != CONFIGURATION:
        return None
    parts = _Parts()
    for descriptor in walk(raw[max(raw[0], CONFIGURATION_SIZE) :]):
        parts.take(descriptor)
    count, value, name, attributes, power = raw[4:9]
    return Configuration(
        count,
        value,
        name,
        attributes,
        power,
        interfaces=tuple(parts.interfaces()),
        associations=tuple(parts.associations),
        extra=parts.extra,
    )


class _Parts:
    """What a walk over a configuration has come across."""

    def __init__(self) -> None:
        self.extra = b""
        self.associations: list[Association] = []
        self._interfaces: list[tuple[bytes, list[bytes], list[bytes]]] = []

    def take(self, descriptor: bytes) -> None:
        """Put it where it belongs. What is too short for its type belongs to what is before it."""
        kind, size = descriptor[1], len(descriptor)
        if kind == INTERFACE and size >= 9:
            self._interfaces.append((descriptor, [], []))
        elif kind == INTERFACE_ASSOCIATION and size >= 8:
            self.associations.append(Association(*descriptor[2:8]))
        elif not self._interfaces:
            self.extra += descriptor
        elif kind == ENDPOINT and size >= 7 and descriptor[2] & 0x0F:
            self._interfaces[-1][2].append(descriptor)
        else:
            _, extra, endpoints = self._interfaces[-1]
            if endpoints:
                endpoints[-1] += descriptor
            else:
                extra.append(descriptor)

    def interfaces(self) -> Iterator[Interface]:
        for raw, extra, endpoints in self._interfaces:
            number, alternate, count, cls, subclass, protocol, name = raw[2:9]
            yield Interface(
                number,
                alternate,
                count,
                cls,
                subclass,
                protocol,
                name,
                tuple(map(_endpoint, endpoints)),
                b"".join(extra),
                raw,
            )


def _endpoint(raw: bytes) -> Endpoint:
    return Endpoint(raw[2], raw[3], raw[4] | raw[5] << 8, raw[6], raw)


def string_text(raw: bytes) -> str:
    """The text of a STRING descriptor (§9.6.7), as far as it is there."""
    return raw[2 : max(raw[:1], default=0)].decode("utf-16-le", "replace")


def string_descriptor(text: str) -> bytes:
    """A STRING descriptor of the text, as much of it as one can hold."""
    units = text.encode("utf-16-le", "replace")[:252]
    return bytes((2 + len(units), STRING)) + units
