"""Records of the monitor, made of what a kernel recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon import layout
from usbmon.monitor.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator


def of_stream(raw: bytes) -> Iterator[Record]:
    """The records of a stream with 64-byte headers that is not cut."""
    at = 0
    buffers: dict[bytes, int] = {}
    while at < len(raw):
        header = raw[at : at + 64]
        size = int.from_bytes(header[36:40], "little")
        ndesc = int.from_bytes(header[60:64], "little") * layout.DESCRIPTOR_SIZE
        body = raw[at + 64 : at + 64 + size]
        seconds = int.from_bytes(header[16:24], "little")
        micro = int.from_bytes(header[24:28], "little")
        data, sparse = body[ndesc:], None
        if header[8:9] == b"S":
            buffers[header[:8]] = int.from_bytes(header[32:36], "little")
        elif header[9] == layout.ISO_XFER and header[:8] in buffers:
            sparse = (buffers[header[:8]], data)
        stamp = (seconds * 1_000_000 + micro) * 1000
        yield Record(header + body, ndesc // layout.DESCRIPTOR_SIZE, stamp, sparse, {})
        at += 64 + size
