"""Rows for the functions of the kernel, packed and read with a format of their own: first the
kernel's 64 bytes as usbmon.rst has them ("Raw binary format and API"), then our 40."""

import struct
from typing import Any

Fields = dict[str, Any]

_FORMAT = "=QBBBBHBBqiiII8siiII" + "qQQIIHHHBB"
SIZE = struct.calcsize(_FORMAT)
_NAMES = (
    *("id", "type", "xfer_type", "epnum", "devnum", "busnum", "flag_setup", "flag_data"),
    *("ts_sec", "ts_usec", "status", "length", "len_cap", "setup"),
    *("interval", "start_frame", "xfer_flags", "ndesc"),
    *("ts", "urb", "data_at", "captured", "usbd_status", "usbd_function"),
    *("absent", "interface", "clock", "marks"),
)
_EMPTY = dict.fromkeys(_NAMES, 0) | {"setup": bytes(8)}
# What an event without any surprise has.
_PLAIN = {"type": "C", "xfer_type": 3, "epnum": 0x81, "devnum": 2, "busnum": 1, "flag_setup": "-"}

WALL, MONOTONIC = 1, 2


def absent(*names: str) -> int:
    """The bits of `absent` for these fields, in the order that `usbmon.layout` documents."""
    order = (
        *("busnum", "interval", "start_frame", "error_count", "numdesc", "xfer_flags"),
        *("ts", "len_cap", "length", "ndesc", "usbd_status", "usbd_function"),
    )
    return sum(1 << order.index(name) for name in names)


LINUX = absent("usbd_status", "usbd_function")


def descriptors(*packets: tuple[int, int, int]) -> bytes:
    """Isochronous descriptors: status, offset, length."""
    return b"".join(struct.pack("=iIII", *packet, 0) for packet in packets)


def pack(fields: Fields) -> bytes:
    """One row: a completion of an empty bulk transfer, but for these fields. Letters may stand for
    themselves; `iso` is (error_count, numdesc)."""
    values = _EMPTY | _PLAIN | {"absent": LINUX} | fields
    if "iso" in fields:
        values["setup"] = struct.pack("=ii", *fields["iso"])
    ordered = (values[name] for name in _NAMES)
    return struct.pack(_FORMAT, *(ord(v) if isinstance(v, str) else v for v in ordered))


def lay(*events: Fields) -> tuple[bytearray, bytearray]:
    """Rows and arena of these events, each with its `payload`."""
    rows, arena = bytearray(), bytearray(b"\xee")
    for event in events:
        payload = event.get("payload", b"")
        place = {"data_at": len(arena), "captured": len(payload), "len_cap": len(payload)}
        rows += pack(place | event)
        arena += payload + b"\xee"
    return rows, arena


def unpack(rows: bytes | bytearray | memoryview) -> list[Fields]:
    """The fields of whole rows. The isochronous ones stand in `setup`, and in `iso` as numbers."""
    out = [dict(zip(_NAMES, values, strict=True)) for values in struct.iter_unpack(_FORMAT, rows)]
    return [row | {"iso": struct.unpack("=ii", row["setup"])} for row in out]


def words(count: int, value: int = 0) -> memoryview:
    """So many 64-bit counters."""
    return memoryview(bytearray(struct.pack("=q", value) * count)).cast("q")
