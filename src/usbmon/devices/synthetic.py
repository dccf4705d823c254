"""What is known of a device, as the control transfers by which a host would have learnt it.

Here: `events`, so that a trace decodes although the device was plugged in long before it began, and
`comment`, the same for people. Not here: where the knowledge comes from (`sysfs`), and where the
events go.

Each transfer is a submission and its completion with status 0, at one time, of the device's own
numbers and endpoint 0, marked as synthetic (`layout.SYNTHETIC`): nobody saw them on the bus. In
this order: GET_DESCRIPTOR Device, Configuration (each whole), String (language 0x0409), HID_Report
and BOS, GET_CONFIGURATION, and GET_INTERFACE where the alternate setting is not 0. Only what is
known is asked for; a request has the length that Linux asks with.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usbmon import layout
from usbmon.bus.status import EINPROGRESS
from usbmon.devices import names
from usbmon.events import Events
from usbmon.formats.binary import BinaryDecoder
from usbmon.usb import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.devices.model import Device

_LANGID: Final = 0x0409
_FROM_DEVICE, _FROM_INTERFACE = 0x80, 0x81
_GET_DESCRIPTOR, _GET_CONFIGURATION, _GET_INTERFACE = 6, 8, 10
_STRING_LENGTH: Final = 255  # usb_string_sub of drivers/usb/core/message.c
_URB_DIR_IN: Final = 0x0200
_SETUP: Final = struct.Struct("<BBHHH")
_PACKET: Final = struct.Struct("=" + "".join(field.code for field in layout.PACKET))


class _Transfer(NamedTuple):
    """The five fields of its setup packet, and what comes back."""

    bmRequestType: int  # noqa: N815 (the standard's names)
    bRequest: int  # noqa: N815
    wValue: int  # noqa: N815
    wIndex: int  # noqa: N815
    wLength: int  # noqa: N815
    answer: bytes


def events(device: Device, when_ns: int, clock: int) -> Events:
    """What is known of the device, as events of this time of `clock` (an index of `layout.CLOCKS`).

    Their tags, which are their ingest numbers too, are made of the time and the address. They are
    too small for a kernel address and too large for a count: no URB has them.
    """
    raw = bytearray()
    first = _first_tag(device, when_ns)
    for number, transfer in enumerate(_transfers(device)):
        raw += _pair(device, first + number, when_ns, transfer)
    decoder = BinaryDecoder(header=layout.PACKET_SIZE)
    decoded = Events.concat([decoder.feed(raw), decoder.close()])
    return _marked(decoded, when_ns, clock)


def _first_tag(device: Device, when_ns: int) -> int:
    return (
        1 << 62
        | (when_ns // 1000 & 0x3FFFFFFF) << 32
        | (device.busnum & 0xFF) << 24
        | (device.devnum & 0xFF) << 16
    )


def _transfers(device: Device) -> Iterator[_Transfer]:
    if device.descriptor:
        yield _descriptor(descriptors.DEVICE, 0, device.descriptor)
    for number, raw in enumerate(device.configurations):
        yield _descriptor(descriptors.CONFIGURATION, number, raw)
    for number, text in sorted(device.strings.items()):
        raw = descriptors.string_descriptor(text)
        yield _descriptor(descriptors.STRING, number, raw, _LANGID, _STRING_LENGTH)
    for number, raw in sorted(device.reports.items()):
        report = _descriptor(descriptors.HID_REPORT, 0, raw, number)
        yield report._replace(bmRequestType=_FROM_INTERFACE)
    if device.bos:
        yield _descriptor(descriptors.BOS, 0, device.bos)
    if device.configuration is not None:
        answer = bytes((device.configuration & 0xFF,))
        yield _Transfer(_FROM_DEVICE, _GET_CONFIGURATION, 0, 0, 1, answer)
    for number, alternate in sorted(device.alternates.items()):
        if alternate:
            answer = bytes((alternate & 0xFF,))
            yield _Transfer(_FROM_INTERFACE, _GET_INTERFACE, 0, number, 1, answer)


def _descriptor(kind: int, number: int, raw: bytes, index: int = 0, length: int = 0) -> _Transfer:
    answer = raw[:0xFFFF]
    value = kind << 8 | number & 0xFF
    return _Transfer(_FROM_DEVICE, _GET_DESCRIPTOR, value, index, length or len(answer), answer)


def _pair(device: Device, tag: int, when_ns: int, transfer: _Transfer) -> bytes:
    """The submission and its completion, as records of the binary API."""
    both = {
        "id": tag,
        "xfer_type": layout.CONTROL,
        "epnum": _FROM_DEVICE,
        "devnum": device.devnum & 0xFF,
        "busnum": device.busnum & 0xFFFF,
        "ts_sec": when_ns // 1_000_000_000,
        "ts_usec": when_ns // 1000 % 1_000_000,
        "xfer_flags": _URB_DIR_IN,
    }
    asked = {
        "type": ord("S"),
        "flag_data": ord("<"),
        "status": EINPROGRESS,
        "length": transfer.wLength,
        "setup": _SETUP.pack(*transfer[:5]),
    }
    size = len(transfer.answer)
    answered = {"type": ord("C"), "flag_setup": ord("-"), "length": size, "len_cap": size}
    return _record(both | asked) + _record(both | answered) + transfer.answer


def _record(fields: dict[str, Any]) -> bytes:
    known = {"setup": bytes(8)} | fields
    return _PACKET.pack(*(known.get(field.name, 0) for field in layout.PACKET))


def _marked(decoded: Events, when_ns: int, clock: int) -> Events:
    """The same with their mark, their time to the nanosecond, its clock, and the tag as ingest
    number."""
    rows, arena = decoded.buffers
    made = bytearray(rows)
    at = layout.OFFSET
    for row in range(0, len(made), layout.ROW_SIZE):
        made[row + at["marks"]] = layout.SYNTHETIC
        made[row + at["clock"]] = clock
        struct.pack_into("=q", made, row + at["ts"], when_ns)
        made[row + at["urb"] : row + at["urb"] + 8] = made[row + at["id"] : row + at["id"] + 8]
    return Events(memoryview(made), arena)


def comment(device: Device) -> str:
    """The device in a line: ``1-4.2 (1.005): 0557:2004 ATEN UC100KM, 1.5 Mb/s, usbhid``."""
    place = f"{device.sysname} ({device.address})" if device.sysname else device.address
    named = f"{device.id} {names.device_name(device)}".rstrip()
    parts = (named, device.speed_words, " ".join(device.driver_names))
    return f"{place}: {', '.join(filter(None, parts))}"
