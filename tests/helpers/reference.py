"""A second reader of usbmon traces: slow, obvious, and written from the documents alone.

Its records are plain dicts with the field names of `usbmon.Event`, holding what a trace says and
nothing else: compare each key that is there (`differences`). It reads clean input only. Sources:
Documentation/usb/usbmon.txt of 2009 and usbmon.rst of today, drivers/usb/mon/mon_bin.c, the pcap
and pcapng drafts of the IETF.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

Record = dict[str, Any]

XFER = {"Z": "iso", "I": "interrupt", "C": "control", "B": "bulk"}
XFER_NUMBERS = ("iso", "interrupt", "control", "bulk")
_ADDRESS = re.compile(r"([CZIB])([io]):(?:(\d+):)?(\d+):(\d+)")


def differences(records: Iterable[Record], events: Iterable[Any]) -> list[str]:
    """What two readers disagree about, in words; empty where they agree."""
    records, events = list(records), list(events)
    if len(records) != len(events):
        return [f"{len(records)} records, {len(events)} events"]
    return [
        f"event {n}: {key} is {value!r}, read as {getattr(event, key)!r}"
        for n, (record, event) in enumerate(zip(records, events, strict=True))
        for key, value in record.items()
        if getattr(event, key) != value
    ]


def text(data: bytes) -> list[Record]:
    """Both text formats. `ts` is that of a trace whose 32-bit stamps do not wrap."""
    return [text_line(line) for line in data.decode("ascii").splitlines()]


def text_line(line: str) -> Record:
    words = line.split()
    tag, stamp, kind, address = words[:4]
    rest = words[4:]
    letter, direction, bus, device, endpoint = _ADDRESS.fullmatch(address).groups()
    out: Record = {
        "id": int(tag, 16),
        "ts": int(stamp) * 1000,
        "type": kind,
        "xfer_type": XFER[letter],
        "epnum": int(endpoint) | (0x80 if direction == "i" else 0),
        "devnum": int(device),
        "busnum": int(bus) if bus else None,
        "xfer_flags": None,
        "len_cap": None,
        "setup": None,
    }
    if re.match(r"-?\d", rest[0]):
        numbers = [int(number) for number in rest.pop(0).split(":")]
        out |= _statuses(letter, kind, numbers, new=bool(bus))
    elif rest[0] == "s":
        request = [int(word, 16) for word in rest[1:6]]
        out |= {"setup": struct.pack("<BBHHH", *request), "flag_setup": None}
        rest = rest[6:]
    else:
        out |= {"flag_setup": rest[0]}
        rest = rest[6:]
    if letter == "Z" and bus and kind != "E":
        out["numdesc"] = int(rest.pop(0))
        shown = [rest.pop(0) for _ in range(min(out["numdesc"], 5))]
        out["descriptors"] = tuple(tuple(map(int, word.split(":"))) for word in shown)
    out["length"] = int(rest.pop(0)) & 0xFFFFFFFF
    out["data"] = b""
    if rest and rest[0] == "=":
        out |= {"flag_data": None, "data": bytes.fromhex("".join(rest[1:]))}
    elif rest:
        assert len(rest) == 1
        out["flag_data"] = rest[0]
    return out


def _statuses(letter: str, kind: str, numbers: list[int], *, new: bool) -> Record:
    names = ["status"]
    if new and kind != "E":
        names += {
            "I": ["interval"],
            "Z": ["interval", "start_frame"] + (["error_count"] if kind == "C" else []),
        }.get(letter, [])
    out: Record = dict(zip(names, numbers, strict=True))
    if not new and letter in "IZ" and kind != "E":
        out["interval"] = None
    if not new and letter == "Z" and kind != "E":
        out |= dict.fromkeys(("start_frame", "error_count", "numdesc", "ndesc"))
    return out


def packet(raw: bytes, size: int, order: str = "<", cut: int | None = None) -> Record:
    """One record of the binary API: a header of `size` bytes, and what follows, of which `len_cap`
    bytes belong to it (or `cut`, where a GETX had a smaller buffer)."""
    names = ["id", "type", "xfer_type", "epnum", "devnum", "busnum", "flag_setup", "flag_data"]
    names += ["ts_sec", "ts_usec", "status", "length", "len_cap"]
    out: Record = dict(zip(names, struct.unpack_from(order + "QBBBBHBBqiiII", raw), strict=True))
    out["ts"] = out.pop("ts_sec") * 10**9 + out.pop("ts_usec") * 1000
    iso = out["xfer_type"] == 0
    out["type"] = chr(out["type"])
    out["xfer_type"] = XFER_NUMBERS[out["xfer_type"]]
    for flag in ("flag_setup", "flag_data"):
        out[flag] = chr(out[flag]) if out[flag] else None
    out["setup"] = None if out["flag_setup"] else raw[40:48]
    out["error_count"] = out["numdesc"] = None
    if iso:
        out["error_count"], out["numdesc"] = struct.unpack_from(order + "ii", raw, 40)
    if size == 64:
        more = struct.unpack_from(order + "iiII", raw, 48)
        out |= dict(zip(("interval", "start_frame", "xfer_flags", "ndesc"), more, strict=True))
        ndesc = out["ndesc"]
    else:
        out |= dict.fromkeys(("interval", "start_frame", "xfer_flags"))
        # mon_bin.c writes at most 128 of the descriptors, before the data.
        ndesc = min(out["numdesc"], 128) if iso and out["type"] != "E" else 0
    payload = raw[size : size + (out["len_cap"] if cut is None else min(cut, out["len_cap"]))]
    out["descriptors"] = tuple(
        struct.unpack_from(order + "iII", payload, at) for at in range(0, ndesc * 16, 16)
    )
    out["data"] = payload[ndesc * 16 :]
    out["clock"] = "wall"
    return out


def binary(data: bytes, size: int, cut: int | None = None) -> list[Record]:
    """A stream of the binary API; fillers ('@') are a header alone."""
    out, at = [], 0
    while at < len(data):
        if data[at + 8] == ord("@"):
            at += size
            continue
        (length,) = struct.unpack_from("<I", data, at + 36)
        out.append(packet(data[at:], size, cut=cut))
        at += size + (length if cut is None else min(cut, length))
    assert at == len(data)
    return out


def pcap(data: bytes) -> list[Record]:
    """A pcap file of link type 189 or 220; `ts` is the container's."""
    order = "<" if data[0] in (0xD4, 0x4D) else ">"
    nano = struct.unpack_from(order + "I", data)[0] == 0xA1B23C4D
    link_type = struct.unpack_from(order + "I", data, 20)[0]
    out, at = [], 24
    while at < len(data):
        sec, fraction, size, _ = struct.unpack_from(order + "IIII", data, at)
        raw = data[at + 16 : at + 16 + size]
        record = packet(raw, {189: 48, 220: 64}[link_type], order)
        record["ts"] = sec * 10**9 + fraction * (1 if nano else 1000)
        out.append(record)
        at += 16 + size
    return out


def pcapng_blocks(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Byte order, type and body of each block."""
    at, order = 0, "<"
    while at < len(data):
        if data[at : at + 4] == b"\n\r\r\n":
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
        kind, size = struct.unpack_from(order + "II", data, at)
        assert data[at + 4 : at + 8] == data[at + size - 4 : at + size]
        yield order, kind, data[at + 8 : at + size - 4]
        at += size


def pcapng_options(order: str, data: bytes) -> dict[int, bytes]:
    out, at = {}, 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            break
        out[code] = data[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return out


def pcapng(data: bytes) -> list[Record]:
    """Enhanced packets of link type 189 or 220 with decimal time resolutions."""
    out: list[Record] = []
    interfaces: list[tuple[int, int]] = []
    for order, kind, body in pcapng_blocks(data):
        if kind == 0x0A0D0D0A:
            interfaces = []
        elif kind == 1:
            resolution = pcapng_options(order, body[8:]).get(9, b"\x06")[0]
            interfaces.append((struct.unpack_from(order + "H", body)[0], 10 ** (9 - resolution)))
        elif kind == 6:
            number, high, low, size, _ = struct.unpack_from(order + "5I", body)
            link_type, unit = interfaces[number]
            if link_type in (189, 220):
                record = packet(body[20 : 20 + size], 48 if link_type == 189 else 64, order)
                out.append(record | {"ts": (high << 32 | low) * unit})
    return out
