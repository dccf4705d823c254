"""The kernel's list of devices, ``/sys/kernel/debug/usb/devices``: written and read.

Here: the lines T: B: D: P: S: C: A: I: E: of drivers/usb/core/devices.c, to the byte, and the way
back, also of what 2.6 kernels wrote to ``/proc/bus/usb/devices``, cut, with CR LF, with lines
missing. Not here: who has the list (`usbmon.devices.sysfs`, a file, a virtual bus).

A listing has no numbers of strings, and nothing of what a class adds, so no descriptor's bytes can
be made of it: what is read has `Device.fields` and `Device.parsed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from usbmon.devices.model import Branch, Device, sysname, tree
from usbmon.errors import FormatError
from usbmon.usb.descriptors import (
    Association,
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# clas_info of devices.c.
_CLASSES: Final = {
    0x00: ">ifc",
    0x01: "audio",
    0x02: "comm.",
    0x03: "HID",
    0x05: "PID",
    0x06: "still",
    0x07: "print",
    0x08: "stor.",
    0x09: "hub",
    0x0A: "data",
    0x0B: "scard",
    0x0D: "c-sec",
    0x0E: "video",
    0xE0: "wlcon",
    0xEF: "misc",
    0xFE: "app.",
    0xFF: "vend.",
}
_TYPES: Final = ("Ctrl", "Isoc", "Bulk", "Int.")
_CONTROL, _ISOCHRONOUS, _BULK, _INTERRUPT = range(4)
_HIGH: Final = "480"
# What usb_device_dump knows of speeds; faster ones have the word of the fastest.
_SPEEDS: Final = {"1.5": "1.5", "12": "12", "480": "480", "5000": "5000"} | dict.fromkeys(
    ("10000", "20000"), "10000"
)
_SLOW: Final = ("1.5", "12")
_STRING_LIMIT: Final = 100


# Writing.


def write(devices: Iterable[Device]) -> str:
    """The whole list: a block a device, each after an empty line, below its hub."""
    lines: list[str] = []
    for branch in tree(device for device in devices if device.about is not None):
        lines += _branch(branch, 0)
    return "".join(lines)


def _branch(branch: Branch, count: int) -> Iterator[str]:
    yield from _block(branch.device, count)
    for number, child in enumerate(branch.children, 1):
        yield from _branch(child, number)


def _block(device: Device, count: int) -> Iterator[str]:
    about = device.about
    assert about is not None
    yield (
        f"\nT:  Bus={device.busnum:02d} Lev={device.level or 0:02d} Prnt={device.parent or 0:02d} "
        f"Port={max((device.port or 0) - 1, 0):02d} Cnt={count:02d} Dev#={device.devnum:3d} "
        f"Spd={_SPEEDS.get(device.speed, '??'):<4s} MxCh={device.maxchild or 0:2d}\n"
    )
    if device.is_root:
        most = 900 if device.speed in _SLOW else 800
        used, interrupts, isochronous = device.bandwidth
        yield (
            f"B:  Alloc={used:3d}/{most:3d} us ({(100 * used + most // 2) // most:2d}%), "
            f"#Int={interrupts:3d}, #Iso={isochronous:3d}\n"
        )
    yield (
        f"D:  Ver={_bcd(about.bcdUSB)} Cls={_class(about.bDeviceClass)} "
        f"Sub={about.bDeviceSubClass:02x} Prot={about.bDeviceProtocol:02x} "
        f"MxPS={about.bMaxPacketSize0:2d} #Cfgs={about.bNumConfigurations:3d}\n"
        f"P:  Vendor={about.idVendor:04x} ProdID={about.idProduct:04x} "
        f"Rev={_bcd(about.bcdDevice)}\n"
    )
    for word, name in _STRINGS.items():
        text = _one_line(getattr(device, name))
        if text:
            yield f"S:  {word}={text}\n"
    for configuration in device.all_configurations:
        yield from _configuration(device, configuration)


_STRINGS: Final = {"Manufacturer": "manufacturer", "Product": "product", "SerialNumber": "serial"}


def _one_line(text: str) -> str:
    """``%.100s``, in bytes as the kernel counts; a line break would begin a line of its own."""
    cut = text.encode(errors="replace")[:_STRING_LIMIT].decode(errors="ignore")
    return " ".join(cut.split("\n")) if "\n" in cut else cut


def _bcd(number: int) -> str:
    return f"{number >> 8:2x}.{number & 0xFF:02x}"


def _class(number: int) -> str:
    return f"{number:02x}({_CLASSES.get(number, 'unk.'):<5s})"


def _configuration(device: Device, configuration: Configuration) -> Iterator[str]:
    is_active = configuration.bConfigurationValue == device.configuration
    unit = 2 if device.speed in (*_SLOW, _HIGH) else 8  # usb_get_max_power
    yield (
        f"C:{'*' if is_active else ' '} #Ifs={configuration.bNumInterfaces:2d} "
        f"Cfg#={configuration.bConfigurationValue:2d} Atr={configuration.bmAttributes:02x} "
        f"MxPwr={configuration.bMaxPower * unit:3d}mA\n"
    )
    for association in configuration.associations:
        first, count, cls, subclass, protocol, _ = association
        yield (
            f"A:  FirstIf#={first:2d} IfCount={count:2d} Cls={_class(cls)} Sub={subclass:02x} "
            f"Prot={protocol:02x}\n"
        )
    for interface in _by_number(configuration.interfaces):
        yield _interface(device, interface, is_active=is_active)
        for endpoint in interface.endpoints:
            yield _endpoint(device.speed, endpoint)


def _by_number(interfaces: Iterable[Interface]) -> Iterator[Interface]:
    """The settings of an interface stand together (usb_parse_configuration)."""
    groups: dict[int, list[Interface]] = {}
    for interface in interfaces:
        groups.setdefault(interface.bInterfaceNumber, []).append(interface)
    for group in groups.values():
        yield from group


def _interface(device: Device, interface: Interface, *, is_active: bool) -> str:
    """usb_dump_interface_descriptor: a configuration that is not active has no drivers, not even
    none."""
    driver = device.drivers.get(interface.bInterfaceNumber, "(none)") if is_active else ""
    return (
        f"I:{'*' if is_active and device.is_active(interface) else ' '} "
        f"If#={interface.bInterfaceNumber:2d} Alt={interface.bAlternateSetting:2d} "
        f"#EPs={interface.bNumEndpoints:2d} Cls={_class(interface.bInterfaceClass)} "
        f"Sub={interface.bInterfaceSubClass:02x} Prot={interface.bInterfaceProtocol:02x} "
        f"Driver={driver}\n"
    )


def _endpoint(speed: str, endpoint: Endpoint) -> str:
    """usb_dump_endpoint_descriptor."""
    is_control = endpoint.type == _CONTROL
    direction = "B" if is_control else "I" if endpoint.is_in else "O"
    size = endpoint.wMaxPacketSize & 0x7FF
    if speed == _HIGH:
        size *= (endpoint.wMaxPacketSize >> 11 & 3) + 1
    micro = _interval(speed, endpoint) * (1000 if speed in _SLOW else 125)
    text = f"{micro}us" if micro % 1000 else f"{micro // 1000}ms"
    return (
        f"E:  Ad={endpoint.bEndpointAddress:02x}({direction}) Atr={endpoint.bmAttributes:02x}"
        f"({_TYPES[endpoint.type]:<4s}) MxPS={size:4d} Ivl={text}\n"
    )


def _interval(speed: str, endpoint: Endpoint) -> int:
    """usb_decode_interval, in (micro)frames, after usb_parse_endpoint of drivers/usb/core/config.c
    has put right what a device must not say."""
    value = endpoint.bInterval
    is_slow = speed in _SLOW
    if endpoint.type == _INTERRUPT and is_slow:
        return value or 10
    if endpoint.type == _INTERRUPT:
        return 1 << ((value if 1 <= value <= 16 else (value * 8).bit_length() or 7) - 1)
    if endpoint.type == _ISOCHRONOUS:
        guess = 7 if speed == _HIGH else 4
        return 1 << ((value if 1 <= value <= 16 else guess) - 1)
    counts = speed == _HIGH and (endpoint.type == _CONTROL or not endpoint.is_in)
    return value if counts else 0


# Reading.


_LINE: Final = re.compile(r"\s*([TBDPSCAIE]):([* ])?[ \t]*(.*)", re.DOTALL)
_PAIR: Final = re.compile(r"([A-Za-z#]+)\s*=\s*([^\s=]*)")


def looks_like(text: str) -> bool:
    """Whether the text may be a listing: it has a line T: with a bus and a number."""
    return re.search(r"^\s*T:\s+Bus\s*=.*Dev#\s*=", text, re.MULTILINE) is not None


def read(text: str, file: str = "") -> list[Device]:
    """The devices of a listing, as far as its lines go. Raises `FormatError` if there is none."""
    blocks: list[_Block] = []
    for number, line in enumerate(text.split("\n"), 1):
        match = _LINE.match(line.removesuffix("\r"))
        if match is None:
            continue
        letter, star, rest = match.groups()
        try:
            if letter == "T":
                blocks.append(_Block(_Values(rest)))
            elif blocks:
                blocks[-1].take(letter, rest, is_active=star == "*")
        except ValueError:
            message = f"not a line of a device list: {line.strip()}"
            raise FormatError(message, file=file, line=number) from None
    if not blocks:
        raise FormatError("no list of devices: it has no line that begins with T:", file=file)
    return _named([block.device() for block in blocks])


class _Values(dict[str, str]):
    """The ``Name=value`` of a line; those of a line that was cut are not there."""

    def __init__(self, rest: str) -> None:
        super().__init__(_PAIR.findall(rest))
        if "Driver" in self:  # the last of its line; old drivers have blanks in their names
            self["Driver"] = rest.partition("Driver=")[2].strip()

    def number(self, name: str, base: int = 10, absent: int = 0) -> int:
        """The number before what stands in brackets or behind it, as the 09 of ``09(hub  )``."""
        text = self.get(name, "")
        digits = re.match(r"[0-9a-fA-F]+" if base == 16 else r"\d+", text, re.ASCII)
        if not digits:
            return absent
        number = int(digits[0], base)
        if number > 0xFFFF:
            raise ValueError(name)
        return number

    def byte(self, name: str, base: int = 10) -> int:
        return self.number(name, base) & 0xFF

    def bcd(self, name: str) -> int:
        """``Ver= 2.00`` as 0x0200."""
        match = re.match(r"([0-9a-fA-F]{1,2})\.([0-9a-fA-F]{1,2})", self.get(name, ""))
        return int(match[1], 16) << 8 | int(match[2], 16) if match else 0

    def triple(self) -> tuple[int, int, int]:
        """Class, subclass and protocol."""
        return self.byte("Cls", 16), self.byte("Sub", 16), self.byte("Prot", 16)


@dataclass
class _Block:
    """The lines of one device, while they come."""

    topology: _Values

    def __post_init__(self) -> None:
        number = self.topology.number
        level = number("Lev")
        self.told: dict[str, Any] = {
            "busnum": number("Bus"),
            "devnum": number("Dev#") & 0x7F,
            "parent": number("Prnt"),
            "level": level,
            "port": number("Port") + 1 if level else 0,
            "maxchild": number("MxCh"),
        }
        self.about: dict[str, int] = {}
        self.parsed: list[Configuration] = []
        self.alternates: dict[int, int] = {}
        self.drivers: dict[int, str] = {}
        self.speed = self.topology.get("Spd", "")

    def take(self, letter: str, rest: str, *, is_active: bool) -> None:
        """A line, by its letter."""
        if letter == "S":
            word, _, text = rest.partition("=")
            if word in _STRINGS:
                self.told[_STRINGS[word]] = text
            return
        _TAKE[letter](self, _Values(rest), is_active)

    def bandwidth(self, values: _Values, _is_active: bool) -> None:
        self.told["bandwidth"] = (
            values.number("Alloc"),
            values.number("#Int"),
            values.number("#Iso"),
        )

    def descriptor(self, values: _Values, _is_active: bool) -> None:
        cls, subclass, protocol = values.triple()
        self.about |= {
            "bcdUSB": values.bcd("Ver"),
            "bDeviceClass": cls,
            "bDeviceSubClass": subclass,
            "bDeviceProtocol": protocol,
            "bMaxPacketSize0": values.byte("MxPS"),
            "bNumConfigurations": values.byte("#Cfgs"),
        }

    def product(self, values: _Values, _is_active: bool) -> None:
        self.about |= {
            "idVendor": values.number("Vendor", 16),
            "idProduct": values.number("ProdID", 16),
            "bcdDevice": values.bcd("Rev"),
        }

    def configuration(self, values: _Values, is_active: bool) -> None:
        value = values.byte("Cfg#")
        unit = 2 if self.speed in (*_SLOW, _HIGH) else 8
        self.parsed.append(
            Configuration(
                values.byte("#Ifs"),
                value,
                0,
                values.byte("Atr", 16),
                values.number("MxPwr") // unit & 0xFF,
            )
        )
        if is_active:
            self.told["configuration"] = value

    def association(self, values: _Values, _is_active: bool) -> None:
        made = Association(values.byte("FirstIf#"), values.byte("IfCount"), *values.triple())
        self._change(lambda c: replace(c, associations=(*c.associations, made)))

    def interface(self, values: _Values, is_active: bool) -> None:
        number, alternate = values.byte("If#"), values.byte("Alt")
        made = Interface(number, alternate, values.byte("#EPs"), *values.triple())
        self._change(lambda c: replace(c, interfaces=(*c.interfaces, made)))
        if is_active:
            self.alternates[number] = alternate
        driver = values.get("Driver", "")
        if driver and driver != "(none)":
            self.drivers[number] = driver

    def endpoint(self, values: _Values, _is_active: bool) -> None:
        address, attributes = values.byte("Ad", 16), values.byte("Atr", 16)
        made = Endpoint(
            address,
            attributes,
            self._size(values.number("MxPS")),
            self._b_interval(address, attributes & 3, values.get("Ivl", "")),
        )

        def add(configuration: Configuration) -> Configuration:
            if not configuration.interfaces:
                return configuration
            *before, last = configuration.interfaces
            last = replace(last, endpoints=(*last.endpoints, made))
            return replace(configuration, interfaces=(*before, last))

        self._change(add)

    def _change(self, change: Callable[[Configuration], Configuration]) -> None:
        """Change the last configuration. What stands before the first belongs to none."""
        if self.parsed:
            self.parsed[-1] = change(self.parsed[-1])

    def _size(self, size: int) -> int:
        """The wMaxPacketSize: at high speed the line has that of all packets of a microframe."""
        for packets in (1, 2, 3):
            if self.speed == _HIGH and size % packets == 0 and size // packets <= 1024:
                return size // packets | packets - 1 << 11
        return size & 0x7FF

    def _b_interval(self, address: int, type: int, text: str) -> int:
        """The bInterval of a time such as 125us or 8ms; 0 where the line does not hold it."""
        match = re.match(r"(\d{1,9})(u|m)s", text, re.ASCII)
        if match is None:
            return 0
        micro = int(match[1]) * (1000 if match[2] == "m" else 1)
        is_slow = self.speed in _SLOW
        frames = micro // (1000 if is_slow else 125)
        if type == _ISOCHRONOUS or (type == _INTERRUPT and not is_slow):
            return min(frames.bit_length(), 16)
        return min(frames, 255) if type != _BULK or not address & 0x80 else 0

    def device(self) -> Device:
        if self.parsed:  # and none has the asterisk: it is not configured
            self.told.setdefault("configuration", 0)
        return Device(
            speed=self.speed,
            fields=DeviceDescriptor(**(_NOTHING | self.about)) if self.about else None,
            parsed=tuple(self.parsed),
            alternates=self.alternates,
            drivers=self.drivers,
            **self.told,
        )


_NOTHING: Final = dict.fromkeys(DeviceDescriptor._fields, 0)
_TAKE: Final[dict[str, Callable[[_Block, _Values, bool], None]]] = {
    "B": _Block.bandwidth,
    "D": _Block.descriptor,
    "P": _Block.product,
    "C": _Block.configuration,
    "A": _Block.association,
    "I": _Block.interface,
    "E": _Block.endpoint,
}


def _named(devices: list[Device]) -> list[Device]:
    """The same with their names in sysfs, where the way from the root hub is known."""
    known = {(device.busnum, device.devnum): device for device in devices}
    return [replace(device, sysname=_name(device, known)) for device in devices]


def _name(device: Device, known: dict[tuple[int, int], Device]) -> str:
    ports: list[int] = []
    at: Device | None = device
    while at is not None and at.level:
        ports.insert(0, at.port or 0)
        if at.level == 1:
            return sysname(device.busnum, ports)
        above = known.get((at.busnum, at.parent or 0))
        at = above if above is not None and above.level == at.level - 1 else None
    return sysname(device.busnum, ports) if at is not None else ""
