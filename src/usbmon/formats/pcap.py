"""pcap files (IETF draft-ietf-opsawg-pcap), microseconds and nanoseconds, either byte order, with
the link types of USB: 189, 220 (the kernel's headers) and 249 (USBPcap).

Not here: records (`_kernel.records`), and pcapng, which only shares the link types.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from usbmon import layout
from usbmon._kernel import records
from usbmon.events import Events
from usbmon.formats.base import UNMARKED, Decoder, Encoder, Interface
from usbmon.formats.binary import packed_size
from usbmon.usb.errno import USBD_ERRNO

if TYPE_CHECKING:
    from collections.abc import Iterable

# The bytes of a record's header by link type; 249 stands for USBPcap's own.
LINK_TYPES: Final = {
    189: layout.PACKET_SIZE_OLD,
    220: layout.PACKET_SIZE,
    249: 249,
}
LINK_TYPE_WORDS: Final = {189: "USB_LINUX", 220: "USB_LINUX_MMAPPED", 249: "USBPCAP"}

_MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", False),
    b"\xa1\xb2\xc3\xd4": (">", False),
    b"\x4d\x3c\xb2\xa1": ("<", True),
    b"\xa1\xb2\x3c\x4d": (">", True),
}
_FILE_HEADER: Final = 24
_SNAPLEN: Final = 0x40000
# ISODESC_MAX of drivers/usb/mon/mon_bin.c.
_DESCRIPTORS_MOST: Final = 128 * layout.DESCRIPTOR_SIZE

ERRNOS: Final = memoryview(
    struct.pack(f"{2 * len(USBD_ERRNO)}q", *(n for pair in USBD_ERRNO.items() for n in pair))
).cast("q")


def snaplen_of(size: int) -> int:
    """The snap length of a file whose events have so many bytes of data at most: the most that a
    packet has, header and isochronous descriptors included. Other tools cut what is longer."""
    return layout.PACKET_SIZE + _DESCRIPTORS_MOST + size


def written_snaplen(interface: Interface) -> int:
    """The snap length with which its packets are written; 0 for no limit. Those of other link types
    become longer than they were."""
    return interface.snaplen if interface.link_type == 220 else 0


def is_foreign(order: str) -> bool:
    """Whether the byte order ("<" or ">") is not this machine's."""
    return struct.pack("=H", 1) != struct.pack(order + "H", 1)


class PcapDecoder(Decoder):
    """`interfaces` has one entry, with the file's link type."""

    format: ClassVar[str] = "pcap"

    def __init__(self, *, file: str = "", strict: bool = False) -> None:
        super().__init__(file=file, strict=strict)
        self._order = ""
        self._nano = False
        self._table = memoryview(bytearray(8 * records.INTERFACE_WORDS)).cast("q")

    @property
    def variant(self) -> str:
        if not self._order:
            return ""
        endian = "big" if self._order == ">" else "little"
        return f"{'nanoseconds' if self._nano else 'microseconds'}, {endian}-endian"

    def decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        at = 0
        if not self._order:
            if len(block) < _FILE_HEADER:
                if final and block:
                    raise self.fail("a pcap file header has 24 bytes; this file has fewer")
                return Events.empty(), 0
            self._read_header(block)
            at = _FILE_HEADER
        most = (len(block) - at) // (16 + layout.PACKET_SIZE_OLD) + 1
        rows = self.buffers.take(most * layout.ROW_SIZE)
        big = self._order == ">"
        count, end, lost = records.walk_pcap(block, at, rows, big, self._nano)
        if lost and count == 0:
            raise self.fail(
                "a record claims more bytes than any USB capture holds; the file is damaged here",
                end,
            )
        if (
            final
            and not lost
            and end < len(block)
            and len(block) - end < 16 + _claimed(block, end, self._order)
        ):
            self.notes.add("cut record", count=len(block) - end, offset=self.position + end)
            end = len(block)
        return self._events(block, rows, count, end), end

    def _events(self, block: memoryview, rows: memoryview, count: int, end: int) -> Events:
        self.interfaces[0].packets += count
        if not self._table[0]:
            if count:
                self.notes.add(
                    "other link type", count=count, text=f"link type {self.interfaces[0].link_type}"
                )
            return Events.empty()
        block, spare = room_for(block, end, self._table[0])
        count, short, others = records.unpack(
            block, rows, count, self._table, 0, is_foreign(self._order), False, ERRNOS, spare
        )
        if short:
            self.notes.add("short record", count=short)
        if others:
            self.notes.add("no transfer", count=others)
        view = rows[: count * layout.ROW_SIZE]
        self.pairing.number(view, count)
        return Events(view, block)

    def _read_header(self, block: memoryview) -> None:
        magic = bytes(block[:4])
        if magic not in _MAGICS:
            raise self.fail(f"not a pcap file (it starts with {magic.hex(' ')})")
        self._order, self._nano = _MAGICS[magic]
        major, minor, snaplen, link_type = struct.unpack_from(self._order + "HH8xII", block, 4)
        if major != 2:
            raise self.fail(f"pcap version {major}.{minor} is not known; usbmon reads 2.x", 4)
        # The upper bits tell the length of a frame check sequence; USB has none.
        interface = Interface(link_type & 0xFFFF)
        interface.snaplen = snaplen
        self.interfaces.append(interface)
        self._table[0] = LINK_TYPES.get(interface.link_type, 0)


def _claimed(block: memoryview, at: int, order: str) -> int:
    if at + 16 > len(block):
        return 1
    size: int = struct.unpack_from(order + "I", block, at + 8)[0]
    return size


def room_for(block: memoryview, end: int, records_of: int) -> tuple[memoryview, int]:
    """A block with room behind its records for what USBPcap's isochronous payloads need, and where
    that room starts; others need none and stay where they are."""
    if records_of != LINK_TYPES[249]:
        return block, len(block)
    return memoryview(bytearray(block[:end]) + bytearray(2 * end)), end


class PcapEncoder(Encoder):
    """pcap with link type 220: microseconds unless `nano`, of the byte order `order`."""

    format: ClassVar[str] = "pcap"
    link_type: ClassVar[int] = 220
    cannot_hold: ClassVar[tuple[str, ...]] = ("nanoseconds", "windows", *UNMARKED)
    must_write: ClassVar[tuple[str, ...]] = (
        "no bus",
        "no interval",
        "no iso",
        "no xfer_flags",
        "no date",
        "no time",
    )

    def __init__(self, *, nano: bool = False, order: str = "<") -> None:
        super().__init__()
        self._nano = nano
        self._order = order

    def head(self, interfaces: Iterable[Interface]) -> bytes:
        magic = 0xA1B23C4D if self._nano else 0xA1B2C3D4
        told = [
            written_snaplen(interface) for interface in interfaces if not interface.is_synthetic
        ]
        snaplen = max(told) if told and all(told) else _SNAPLEN
        return struct.pack(self._order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, self.link_type)

    def write(self, events: Events) -> memoryview:
        rows, arena = events.buffers
        header = LINK_TYPES[self.link_type]
        out = self.buffers.take(packed_size(events, header))
        none = memoryview(b"").cast("q")
        big = self._order == ">"
        size = records.pack(
            rows, len(events), arena, out, header, records.PCAP, big, self._nano, none
        )
        return out[:size]


class Pcap189Encoder(PcapEncoder):
    """pcap with link type 189, for tools that know no other."""

    format: ClassVar[str] = "pcap189"
    link_type: ClassVar[int] = 189
    cannot_hold: ClassVar[tuple[str, ...]] = (
        "interval",
        "xfer_flags",
        "nanoseconds",
        "windows",
        *UNMARKED,
    )
    must_write: ClassVar[tuple[str, ...]] = ("no bus", "no iso", "no date", "no time")
