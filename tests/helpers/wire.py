"""Binary records and containers made by hand, field by field, from their documents: mon_bin.c, the
pcap and pcapng drafts of the IETF, desowin.org/usbpcap/captureformat.html."""

import struct
from typing import Any


def packet(size: int = 64, order: str = "<", payload: bytes = b"", **fields: Any) -> bytes:
    """A record of the binary API; what is not given is that of an empty bulk completion."""
    f = {
        "id": 0xFFFF8CC704D42800,
        "type": "C",
        "xfer_type": 3,
        "epnum": 0x81,
        "devnum": 2,
        "busnum": 1,
        "flag_setup": ord("-"),
        "flag_data": 0,
        "ts_sec": 1_700_000_000,
        "ts_usec": 5,
        "status": 0,
        "length": len(payload),
        "len_cap": len(payload),
        "setup": bytes(8),
        "iso": None,
        "interval": 0,
        "start_frame": 0,
        "xfer_flags": 0x200,
        "ndesc": 0,
        **fields,
    }
    names = ("xfer_type", "epnum", "devnum", "busnum", "flag_setup", "flag_data")
    names += ("ts_sec", "ts_usec", "status", "length", "len_cap")
    out = struct.pack(order + "QBBBBHBBqiiII", f["id"], ord(f["type"]), *(f[n] for n in names))
    out += struct.pack(order + "ii", *f["iso"]) if f["iso"] else f["setup"]
    if size == 64:
        names = ("interval", "start_frame", "xfer_flags", "ndesc")
        out += struct.pack(order + "iiII", *(f[n] for n in names))
    return out + payload


def descriptors(*rows: tuple[int, int, int], order: str = "<") -> bytes:
    return b"".join(struct.pack(order + "iIII", *row, 0) for row in rows)


def pcap(
    *records: bytes,
    order: str = "<",
    nano: bool = False,
    link_type: int = 220,
    stamp: tuple[int, int] = (1_700_000_000, 7),
) -> bytes:
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 0x40000, link_type)
    for record in records:
        out += struct.pack(order + "IIII", *stamp, len(record), len(record)) + record
    return out


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(options: bytes = b"", order: str = "<", version: int = 1) -> bytes:
    return block(
        0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1) + options, order
    )


def interface(link_type: int = 220, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(order + "HHI", link_type, 0, 0) + options, order)


def enhanced(
    data: bytes, ts: int = 0, number: int = 0, options: bytes = b"", order: str = "<"
) -> bytes:
    head = struct.pack(order + "IIIII", number, ts >> 32, ts & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data + bytes(-len(data) % 4) + options, order)


def usbpcap(payload: bytes = b"", more: bytes = b"", **fields: Any) -> bytes:
    """A USBPcap record; `more` follows the common header of 27 bytes."""
    f = {
        "size": 27 + len(more),
        "irp": 0xFFFFFA80_12345670,
        "status": 0,
        "function": 9,
        "info": 1,
        "bus": 2,
        "device": 7,
        "endpoint": 0x81,
        "transfer": 3,
        "length": len(payload),
        **fields,
    }
    return struct.pack("<HQIHBHHBBI", *f.values()) + more + payload
