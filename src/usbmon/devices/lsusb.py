"""What ``lsusb -v`` prints, read back into devices, with the bytes of their descriptors.

Here: the text of lsusb (usbutils), whose lines are the fields of descriptors in their order, a name
and a value. Not here: writing such a text.

A field's width is told by its name, as the standard names them (b one byte, w two, dw four, …), or
by the digits of its value. A descriptor is whole where its fields make up its bLength. Where one is
not (lsusb leaves out wBytesPerInterval of SuperSpeed companions, and what it does not know), the
configuration has its fields, but no bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Final

from usbmon.devices.model import Device, sysname
from usbmon.errors import FormatError
from usbmon.usb import descriptors
from usbmon.usb.descriptors import Configuration, DeviceDescriptor

_HEAD: Final = re.compile(
    r"Bus (\d{1,5}) Device (\d{1,3}): ID ([0-9a-f]{4}):([0-9a-f]{4})", re.ASCII
)
_SPEED: Final = re.compile(r"Negotiated speed: .*\((1\.5|12|480|5|10|20)([MG])bps\)")
_FIELD: Final = re.compile(
    r"(?P<name>(?P<prefix>dw|bcd|bm|ba|bma|id|guid|b|w|i|n|t)(?:[A-Z]\w*|lcdLayout)\.?"
    r"|MaxPower|MaxStreams|Mult|ContainerID|PlatformCapabilityUUID|CapabilityData)"
    r"\s*(?:[(\[]\s*\d+\s*[)\]])?\s+(?P<value>\S.*)"
)
_WIDTHS: Final = {"dw": 4, "bcd": 2, "id": 2, "w": 2, "t": 3}
# Fields whose names tell another width than they have (USB 3.2 table 9-15, CCID 1.1 §5.1).
_MISNAMED: Final = {"bU2DevExitLat": 2}
_BARE_HEX: Final = ("dwSyncProtocols", "dwMechanical", "dwFeatures")
_WORDS: Final = {"echo": 0xFF, "none": 0}
_HEX: Final = "([0-9a-fA-F]{%d})"
_UUID: Final = re.compile(r"\{" + "-".join(_HEX % digits for digits in (8, 4, 4, 4, 12)) + r"\}")

# Functional descriptors of CDC, which lsusb prints without their first three bytes: their subtypes
# (CDC 1.2 table 13).
_CDC: Final = {
    "CDC Header": 0x00,
    "CDC Call Management": 0x01,
    "CDC ACM": 0x02,
    "CDC Union": 0x06,
    "CDC Ethernet": 0x0F,
    "CDC NCM": 0x1A,
    "CDC MBIM": 0x1B,
    "CDC MBIM Extended": 0x1C,
}
_CS_INTERFACE: Final = 0x24
# The pipe usage descriptor of UAS (UAS-2 §5.2.3.6), of which lsusb prints the number in words.
_PIPE: Final = re.compile(r"(?:Command|Status|Data-in|Data-out) pipe \(0x([0-9a-f]{2})\)")
_COMPANION: Final = 0x30
_BULK: Final = 2
_DEVICE, _CONFIGURATION = "Device Descriptor", "Configuration Descriptor"
_BOS: Final = "Binary Object Store Descriptor"
_QUIET: Final = ("Report Descriptor", "Report Descriptors", "Hub Port Status")


def looks_like(text: str) -> bool:
    """Whether the text may be one of lsusb, with -v or not."""
    return re.search(rf"^{_HEAD.pattern}", text, re.MULTILINE | re.ASCII) is not None


def read(text: str, file: str = "") -> list[Device]:
    """The devices of the text, by bus and number. Raises `FormatError` where there are none, or
    only their names."""
    blocks: list[_Block] = []
    for line in text.split("\n"):
        head = _HEAD.match(line)
        if head:
            blocks.append(_Block(int(head[1]), int(head[2]), int(head[3], 16), int(head[4], 16)))
        elif blocks:
            blocks[-1].take(line.rstrip())
    if not blocks:
        raise FormatError(
            "no output of lsusb: it has no line such as Bus 001 Device 002: ID", file=file
        )
    if not any(block.pieces for block in blocks):
        raise FormatError(
            "lsusb has told the names only; `lsusb -v` tells what is needed", file=file
        )
    return sorted((block.device() for block in blocks), key=lambda d: (d.busnum, d.devnum))


@dataclass
class _Piece:
    """A descriptor, while its fields come. `names` has the values by name, of the first of each."""

    title: str
    raw: bytearray = field(default_factory=bytearray)
    names: dict[str, int] = field(default_factory=dict)
    whole: bool = True

    def put(self, name: str, value: int, width: int) -> None:
        try:
            self.raw += value.to_bytes(width, "little")
            self.names.setdefault(name, value)
        except OverflowError:
            self.whole = False

    def bytes(self) -> bytes | None:
        """None where something is missing."""
        raw = bytes(self.raw)
        if self.title in _CDC:
            raw = bytes((len(raw) + 3 & 0xFF, _CS_INTERFACE, _CDC[self.title])) + raw
        return raw if self.whole and len(raw) >= 2 and len(raw) == raw[0] else None


@dataclass
class _Block:
    """The lines of one device, while they come."""

    busnum: int
    devnum: int
    vendor: int
    product: int
    speed: str = ""
    pieces: list[_Piece] = field(default_factory=list)
    strings: dict[int, str] = field(default_factory=dict)
    numbered: dict[str, str] = field(default_factory=dict)
    section: str = ""
    current: _Piece | None = None

    def take(self, line: str) -> None:
        words = line.strip()
        if words.startswith("** UNRECOGNIZED:"):
            self._unrecognized(words.partition(":")[2])
        elif self.current is not None and (match := _FIELD.fullmatch(words)):
            self._field(self.current, match["name"], match["prefix"] or "", match["value"])
        elif words.endswith(":") or words.startswith("Report Descriptor:"):
            self._title(line, words)
        elif match := _SPEED.match(words):
            self.speed = match[1] + ("000" if match[2] == "G" else "")
        elif self.current is not None:
            self._bytes(self.current, words)

    def _title(self, line: str, words: str) -> None:
        """A new descriptor begins, or what is none."""
        title = words.partition(":")[0].partition(" (for")[0]
        if title.startswith("Warning"):
            return
        if line[:1] != " ":
            self.section = title
        if title in _QUIET or self.section not in (_DEVICE, _BOS):
            self.current = None
            return
        self.current = _Piece(title)
        self.pieces.append(self.current)

    def _unrecognized(self, digits: str) -> None:
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if self.section in (_DEVICE, _BOS):
            self.pieces.append(_Piece("", bytearray(raw)))
            self.current = None

    def _bytes(self, piece: _Piece, words: str) -> None:
        """A descriptor in words; or bytes behind the last field, which lsusb calls junk; or words
        for people."""
        if match := _PIPE.fullmatch(words):
            raw = bytes((4, _CS_INTERFACE, int(match[1], 16), 0))
            self.pieces.append(_Piece("", bytearray(raw)))
        elif re.fullmatch(r"(?:[0-9a-f]{2} )*[0-9a-f]{2}", words):
            piece.raw += bytes.fromhex(words)

    def _field(self, piece: _Piece, name: str, prefix: str, value: str) -> None:
        if piece.title == "Endpoint Descriptor" and name in _COMPANIONS:
            self._companion(piece, name, value)
        elif name == "bSlaveInterface":  # all of them in one line
            for number in re.findall(r"\d+", value, re.ASCII):
                piece.put(name, int(number), 1)
        elif match := _UUID.match(value):
            a, b, c, d, e = (int(part, 16) for part in match.groups())
            piece.raw += struct.pack("<IHH", a, b, c) + d.to_bytes(2, "big") + e.to_bytes(6, "big")
        else:
            self._number(piece, name, prefix, value)

    def _number(self, piece: _Piece, name: str, prefix: str, value: str) -> None:
        first, _, rest = value.partition(" ")
        number, width = _value(name, prefix, first)
        if number is None:
            piece.whole = False
            return
        if name == "MaxPower":  # in milliamperes, of units of 2 or 8
            number //= 8 if self._is_super else 2
        if name == "bmControls" and "bControlSize" in piece.names:
            width = piece.names["bControlSize"]
        piece.put(name, number, width)
        if prefix == "i" and number and rest.strip() not in ("", "(error)"):
            self.strings[number] = rest.strip()
            if piece.title == _DEVICE:
                self.numbered[name] = rest.strip()

    @property
    def _is_super(self) -> bool:
        head = self.pieces[0] if self.pieces else None
        return head is not None and head.names.get("bcdUSB", 0) >= 0x0300

    def _companion(self, endpoint: _Piece, name: str, value: str) -> None:
        """The SuperSpeed companion (USB 3.2 §9.6.7), of which lsusb prints two fields of three, as
        if they were the endpoint's. What is not printed is 0 for bulk endpoints only."""
        digits = re.match(r"\d{1,6}", value, re.ASCII)
        number = int(digits[0]) if digits else 0
        if name == "bMaxBurst":
            raw = bytearray((6, _COMPANION, number & 0xFF, 0, 0, 0))
            is_bulk = endpoint.names.get("bmAttributes", 0) & 3 == _BULK
            self.pieces.append(_Piece("", raw, whole=is_bulk))
        else:
            companion = self.pieces[-1].raw
            if companion[1:2] == bytes((_COMPANION,)):
                companion[3] = (number.bit_length() - 1 if name == "MaxStreams" else number) & 0xFF

    def device(self) -> Device:
        raw = b""
        configurations: list[list[_Piece]] = []
        bos: list[_Piece] = []
        for piece in self.pieces:
            if piece.title == _DEVICE:
                raw = piece.bytes() or b""
            elif piece.title == _CONFIGURATION:
                configurations.append([piece])
            elif piece.title == _BOS or bos:
                bos.append(piece)
            elif configurations:
                configurations[-1].append(piece)
        whole = [_whole(pieces) for pieces in configurations]
        known = [each for each in whole if each is not None]
        is_whole = len(known) == len(whole)
        made = Device(
            busnum=self.busnum,
            devnum=self.devnum,
            speed=self.speed,
            descriptor=raw,
            configurations=tuple(known) if is_whole else (),
            bos=_whole(bos) or b"" if bos else b"",
            fields=None if raw else self._fields(),
            parsed=() if is_whole else tuple(map(_parsed, configurations)),
            strings=self.strings,
            manufacturer=self.numbered.get("iManufacturer", ""),
            product=self.numbered.get("iProduct", ""),
            serial=self.numbered.get("iSerial", ""),
        )
        return replace(made, sysname=sysname(self.busnum, ())) if _is_root(made) else made

    def _fields(self) -> DeviceDescriptor:
        names = next((piece.names for piece in self.pieces if piece.title == _DEVICE), {})
        names = {"iSerialNumber": names.get("iSerial", 0), **names}
        known = {name: names.get(name, 0) for name in DeviceDescriptor._fields}
        return DeviceDescriptor(**known | {"idVendor": self.vendor, "idProduct": self.product})


_COMPANIONS: Final = ("bMaxBurst", "MaxStreams", "Mult")


def _value(name: str, prefix: str, text: str) -> tuple[int | None, int]:
    """The number of a field and its width in bytes; None where it is none."""
    width = _MISNAMED.get(name) or _WIDTHS.get(prefix, 1)
    try:
        if text in _WORDS:
            return _WORDS[text], width
        if text.startswith("0x"):
            return int(text, 16), (len(text) - 2) // 2
        if name in _BARE_HEX:
            return int(text, 16), width
        if prefix == "bcd":
            high, _, low = text.partition(".")
            return int(high, 16) << 8 | int(low, 16), width
        return int(text.removesuffix("mA")), width
    except ValueError:
        return None, width


def _whole(pieces: list[_Piece]) -> bytes | None:
    """The bytes of a configuration or BOS, of those of its descriptors; None where they are not
    all there. Both have wTotalLength at the same place."""
    parts = [piece.bytes() for piece in pieces if piece.raw or not piece.whole]
    raw = b"".join(part for part in parts if part is not None)
    total = int.from_bytes(raw[2:4], "little")
    return raw if None not in parts and len(raw) == total else None


def _parsed(pieces: list[_Piece]) -> Configuration:
    """The fields of a configuration, of those of its descriptors that are whole."""
    raw = b"".join(piece.bytes() or b"" for piece in pieces)
    return descriptors.configuration(raw) or Configuration(0, 0, 0, 0, 0)


def _is_root(made: Device) -> bool:
    """Root hubs are Linux Foundation 0001 to 0003, and the first at their bus."""
    about = made.about
    return (
        made.devnum == 1
        and about is not None
        and (about.idVendor, about.idProduct >> 2) == (0x1D6B, 0)
    )
