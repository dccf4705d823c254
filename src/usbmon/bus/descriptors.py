"""Descriptors as a device model declares them, and their bytes.

Here: device, configuration, interface, association, endpoint and string descriptors (USB 2.0 §9.6,
USB 3.2 §9.6), with the standard's names. Where the standard wants the number of a string, the model
has the text. Not here: class-specific descriptors, which stand as bytes in `extra` of what they
belong to, and reading descriptors (`host`), which shares nothing with this.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, CONTROL, TransferType

DEVICE: Final = 1
CONFIGURATION: Final = 2
STRING: Final = 3
DEVICE_QUALIFIER: Final = 6
OTHER_SPEED: Final = 7
BOS: Final = 15

# English (United States), the language of all models.
LANGID: Final = 0x0409


class Strings:
    """The strings of a device, numbered from 1 in the order they are asked for."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of this text; 0 for none."""
        if not text:
            return 0
        if text not in self._texts:
            self._texts.append(text)
        return self._texts.index(text) + 1

    def descriptor(self, number: int) -> bytes | None:
        """STRING descriptor (§9.6.7); number 0 lists the languages. None if there is none."""
        if number == 0:
            return struct.pack("<BBH", 4, STRING, LANGID)
        if number > len(self._texts):
            return None
        text = self._texts[number - 1].encode("utf-16-le")[:252]
        return bytes((2 + len(text), STRING)) + text


# Class-specific descriptors: bytes, or what makes them when they hold numbers of strings.
Extra = bytes | Callable[[Strings], bytes]


def _bytes(extra: Extra, strings: Strings) -> bytes:
    return extra if isinstance(extra, bytes) else extra(strings)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """ENDPOINT descriptor (§9.6.6). `wMaxPacketSize` 0: that of bulk endpoints at the device's
    speed. `attributes`: the bits of bmAttributes above the type. `bMaxBurst` and `companion`, its
    bmAttributes, go to the companion descriptor of a SuperSpeed device."""

    bEndpointAddress: int
    type: TransferType
    wMaxPacketSize: int = 0
    bInterval: int = 0
    attributes: int = 0
    bMaxBurst: int = 0
    companion: int = 0
    extra: Extra = b""
    audio: tuple[int, int] | None = None
    """bRefresh and bSynchAddress of audio 1.0, whose endpoint descriptors have nine bytes."""

    def encode(self, speed: Speed, strings: Strings) -> bytes:
        size = self.wMaxPacketSize or (speed.bulk_size if self.type is BULK else 8)
        tail = bytes(self.audio) if self.audio is not None else b""
        out = struct.pack(
            "<BBBBHB",
            7 + len(tail),
            5,
            self.bEndpointAddress,
            self.type | self.attributes,
            size,
            self.bInterval,
        )
        out += tail
        if speed is Speed.SUPER:
            a_interval = 0 if self.type in (BULK, CONTROL) else size
            out += struct.pack("<BBBBH", 6, 0x30, self.bMaxBurst, self.companion, a_interval)
        return out + _bytes(self.extra, strings)


@dataclass(frozen=True, slots=True)
class Interface:
    """INTERFACE descriptor (§9.6.5), one alternate setting; `extra` follows it at once."""

    bInterfaceClass: int
    bInterfaceSubClass: int = 0
    bInterfaceProtocol: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    bInterfaceNumber: int = 0
    bAlternateSetting: int = 0
    iInterface: str = ""
    extra: Extra = b""

    def encode(self, speed: Speed, strings: Strings) -> bytes:
        out = struct.pack(
            "<BBBBBBBBB",
            9,
            4,
            self.bInterfaceNumber,
            self.bAlternateSetting,
            len(self.endpoints),
            self.bInterfaceClass,
            self.bInterfaceSubClass,
            self.bInterfaceProtocol,
            strings.number(self.iInterface),
        )
        out += _bytes(self.extra, strings)
        return out + b"".join(endpoint.encode(speed, strings) for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True)
class Association:
    """INTERFACE ASSOCIATION descriptor: interfaces that are one function (USB 2.0 ECN)."""

    bFirstInterface: int
    bInterfaceCount: int
    bFunctionClass: int
    bFunctionSubClass: int = 0
    bFunctionProtocol: int = 0
    iFunction: str = ""

    def encode(self, _speed: Speed, strings: Strings) -> bytes:
        return struct.pack(
            "<BBBBBBBB",
            8,
            11,
            self.bFirstInterface,
            self.bInterfaceCount,
            self.bFunctionClass,
            self.bFunctionSubClass,
            self.bFunctionProtocol,
            strings.number(self.iFunction),
        )


@dataclass(frozen=True, slots=True)
class Configuration:
    """CONFIGURATION descriptor (§9.6.3). `parts`: interfaces and associations, in their order.
    `power`: in milliamperes."""

    parts: tuple[Interface | Association, ...]
    bConfigurationValue: int = 1
    iConfiguration: str = ""
    self_powered: bool = False
    remote_wakeup: bool = False
    power: int = 100

    @property
    def interfaces(self) -> Iterator[Interface]:
        return (part for part in self.parts if isinstance(part, Interface))

    def encode(self, speed: Speed, strings: Strings, *, type: int = CONFIGURATION) -> bytes:
        body = b"".join(part.encode(speed, strings) for part in self.parts)
        numbers = {part.bInterfaceNumber for part in self.interfaces}
        return (
            struct.pack(
                "<BBHBBBBB",
                9,
                type,
                9 + len(body),
                len(numbers),
                self.bConfigurationValue,
                strings.number(self.iConfiguration),
                0x80 | self.self_powered << 6 | self.remote_wakeup << 5,
                self.power // (8 if speed is Speed.SUPER else 2),
            )
            + body
        )


@dataclass(frozen=True, slots=True)
class DeviceDescriptor:
    """DEVICE descriptor (§9.6.1). `bMaxPacketSize0` 0: what the speed asks for."""

    idVendor: int
    idProduct: int
    bcdDevice: int = 0x0100
    iManufacturer: str = ""
    iProduct: str = ""
    iSerialNumber: str = ""
    bDeviceClass: int = 0
    bDeviceSubClass: int = 0
    bDeviceProtocol: int = 0
    bcdUSB: int = 0
    bMaxPacketSize0: int = 0

    def encode(self, speed: Speed, strings: Strings, configurations: int) -> bytes:
        default = {Speed.LOW: 8, Speed.FULL: 64, Speed.HIGH: 64, Speed.SUPER: 9}[speed]
        return struct.pack(
            "<BBHBBBBHHHBBBB",
            18,
            DEVICE,
            self.bcdUSB or (0x0300 if speed is Speed.SUPER else 0x0200),
            self.bDeviceClass,
            self.bDeviceSubClass,
            self.bDeviceProtocol,
            self.bMaxPacketSize0 or default,
            self.idVendor,
            self.idProduct,
            self.bcdDevice,
            strings.number(self.iManufacturer),
            strings.number(self.iProduct),
            strings.number(self.iSerialNumber),
            configurations,
        )

    def qualifier(self, configurations: int) -> bytes:
        """DEVICE_QUALIFIER (§9.6.2): what it would be at the other speed."""
        return struct.pack(
            "<BBHBBBBBB",
            10,
            DEVICE_QUALIFIER,
            0x0200,
            self.bDeviceClass,
            self.bDeviceSubClass,
            self.bDeviceProtocol,
            64,
            configurations,
            0,
        )


# USB 2.0 extension (LPM) and SuperSpeed capability (USB 3.2 §9.6.2), as most devices have them.
BOS_SUPER: Final = bytes.fromhex(
    "05 0f 16 00 02 07 10 02 02 00 00 00 0a 10 03 00 0e 00 01 0a ff 07"
)
