"""pcapng files (IETF draft-ietf-opsawg-pcapng): sections of either byte order, several interfaces,
packets of link types 189, 220 and 249 among any others.

Enhanced Packet Blocks go through the kernel; the other blocks, few of them, are read here: section
headers, interface descriptions, statistics, simple and obsolete packets. What is of another type is
counted and passed over. Not here: records (`_kernel.records`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from usbmon import layout
from usbmon._kernel import records
from usbmon.errors import FormatError
from usbmon.events import Events
from usbmon.formats.base import Decoder, Encoder, Interface
from usbmon.formats.binary import packed_size
from usbmon.formats.pcap import ERRNOS, LINK_TYPES, is_foreign, room_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_STATISTICS: Final = 5
_PACKET: Final = 6
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_LARGEST_BLOCK: Final = records.LARGEST_RECORD + 65536
_MOST_INTERFACES: Final = 65535

# Options (§3.5, 4.1 and following).
_END, _COMMENT = 0, 1
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_TSOFFSET = 2, 3, 9, 14
_ISB_IFDROP, _ISB_OSDROP = 5, 7


class PcapngDecoder(Decoder):
    """`interfaces` has those of all sections; `about` the section headers' words (hardware, OS,
    application) and `comments` the texts of comment options, the first hundred of them."""

    format: ClassVar[str] = "pcapng"

    def __init__(self, *, file: str = "", strict: bool = False) -> None:
        super().__init__(file=file, strict=strict)
        self.about: dict[str, str] = {}
        self.comments: list[str] = []
        self.sections = 0
        self._order = ""
        self._orders: set[str] = set()
        # The open section: number of its first interface, the kernel's table of them, and whether
        # there is one of USBPcap.
        self._base = 0
        self._is_windows = False
        self._room = bytearray()
        self._table = memoryview(b"").cast("q")

    @property
    def variant(self) -> str:
        endian = " and ".join(sorted(self._orders))
        sections = f", {self.sections} sections" if self.sections > 1 else ""
        return f"{endian}-endian{sections}" if endian else ""

    def decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        try:
            return self._decode(block, final)
        finally:
            self._count_packets()

    def _count_packets(self) -> None:
        for number, interface in enumerate(self.interfaces[self._base :]):
            interface.packets = self._table[number * records.INTERFACE_WORDS + 5]

    def _decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        batches: list[Events] = []
        at = 0
        while True:
            try:
                end = self._packets(block, at, batches)
                if end == at:
                    end = self._block(block, at, batches)
            except FormatError:
                if not at:
                    raise
                return Events.concat(batches), at  # what came before it is given first
            if end == at:
                break
            at = end
        if final and at < len(block):
            self.notes.add("cut record", count=len(block) - at, offset=self.position + at)
            at = len(block)
        return (batches[0] if len(batches) == 1 else Events.concat(batches)), at

    def _packets(self, block: memoryview, at: int, batches: list[Events]) -> int:
        """Packets in a row, by the kernel."""
        if not len(self._table) or at + 32 > len(block):
            return at
        if int.from_bytes(block[at : at + 4], "big" if self._order == ">" else "little") != _PACKET:
            return at
        most = (len(block) - at) // (32 + layout.PACKET_SIZE_OLD) + 1
        rows = self.buffers.take(most * layout.ROW_SIZE)
        big = self._order == ">"
        count, end = records.walk_pcapng(block, at, rows, big, self._table, self._base)
        if end > at:
            self._unpack(block, end, rows, count, batches)
        return end

    def _unpack(
        self, block: memoryview, end: int, rows: memoryview, count: int, batches: list[Events]
    ) -> None:
        arena, spare = room_for(block, end, LINK_TYPES[249] if self._is_windows else 0)
        count, short, others = records.unpack(
            arena,
            rows,
            count,
            self._table,
            self._base,
            is_foreign(self._order),
            False,
            ERRNOS,
            spare,
        )
        if short:
            self.notes.add("short record", count=short)
        if others:
            self.notes.add("no transfer", count=others)
        if count:
            view = rows[: count * layout.ROW_SIZE]
            self.pairing.number(view, count)
            batches.append(Events(view, arena))

    def _measure(self, block: memoryview, at: int) -> tuple[int, int, str]:
        """Type, size and byte order of the block at `at`, which has twelve bytes or more."""
        kind = int.from_bytes(block[at : at + 4], "little")
        order = self._order
        if kind == _SECTION:
            magic = block[at + 8 : at + 12]
            order = "<" if int.from_bytes(magic, "little") == _BYTE_ORDER_MAGIC else ">"
            if order == ">" and int.from_bytes(magic, "big") != _BYTE_ORDER_MAGIC:
                raise self.fail("a pcapng section header without its byte order magic", at + 8)
        elif not order:
            raise self.fail("not a pcapng file (no section header at the start)", at)
        kind, size = struct.unpack_from(order + "II", block, at)
        if size < 12 or size % 4 or size > _LARGEST_BLOCK:
            raise self.fail(f"a pcapng block claims {size} bytes; the file is damaged here", at)
        return kind, size, order

    def _block(self, block: memoryview, at: int, batches: list[Events]) -> int:
        """One block of any type; returns where it ends, or `at` if it is not all there yet."""
        if at + 12 > len(block):
            return at
        kind, size, order = self._measure(block, at)
        if at + size > len(block):
            return at
        if struct.unpack_from(order + "I", block, at + size - 4)[0] != size:
            raise self.fail("a pcapng block's two lengths differ; the file is damaged here", at)
        body = block[at + 8 : at + size - 4]
        if kind == _SECTION:
            self._section(body, order, at)
        elif kind == _INTERFACE:
            self._interface(body, at)
        elif kind == _STATISTICS:
            self._statistics(body)
        elif kind in (_SIMPLE_PACKET, _OLD_PACKET, _PACKET):
            self._single(at, kind, body, batches)
        else:
            self.notes.add("unknown block", offset=self.position + at, text=f"type {kind:#x}")
        return at + size

    def _section(self, body: memoryview, order: str, at: int) -> None:
        if len(body) < 16:
            raise self.fail("a pcapng section header is too short", at)
        major, minor = struct.unpack_from(order + "HH", body, 4)
        if major != 1:
            raise self.fail(f"pcapng version {major}.{minor} is not known; usbmon reads 1.x", at)
        self._count_packets()
        self._is_windows = False
        self.sections += 1
        self._order = order
        self._orders.add("big" if order == ">" else "little")
        self._base = len(self.interfaces)
        self._room = bytearray()
        self._table = memoryview(b"").cast("q")
        names = {_SHB_HARDWARE: "hardware", _SHB_OS: "os", _SHB_USERAPPL: "application"}
        for code, value in self._options(body[16:]):
            if code in names:
                self.about[names[code]] = _words(value)
            self._comment(code, value)

    def _interface(self, body: memoryview, at: int) -> None:
        if len(body) < 8:
            raise self.fail("a pcapng interface description is too short", at)
        if len(self.interfaces) >= _MOST_INTERFACES:
            raise self.fail(f"more than {_MOST_INTERFACES} pcapng interfaces", at)
        (link_type,) = struct.unpack_from(self._order + "H", body)
        interface = Interface(link_type)
        self._is_windows |= link_type == 249
        resolution, offset = 6, 0
        for code, value in self._options(body[8:]):
            if code == _IF_NAME:
                interface.name = _words(value)
            elif code == _IF_DESCRIPTION:
                interface.description = _words(value)
            elif code == _IF_TSRESOL and len(value) == 1:
                resolution = value[0]
            elif code == _IF_TSOFFSET and len(value) == 8:
                (offset,) = struct.unpack(self._order + "q", value)
            self._comment(code, value)
        if (resolution & 0x7F) > (63 if resolution & 0x80 else 18):
            raise self.fail(f"a time resolution (if_tsresol) of {resolution:#x}", at)
        power = resolution & 0x7F
        binary = power if resolution & 0x80 else 0
        entry = struct.pack(
            "=6q",
            LINK_TYPES.get(link_type, 0),
            10 ** max(0, 9 - power) if not binary else 1,
            10 ** max(0, power - 9) if not binary else 1,
            # 2**-0, whole seconds, is 10**-0 as well.
            binary,
            max(-(2**32), min(2**32, offset)),
            0,
        )
        self.interfaces.append(interface)
        self._add_to_table(entry)

    def _add_to_table(self, entry: bytes) -> None:
        """Grow by doubling: a hostile file describes very many interfaces."""
        used = len(self._table) * 8
        if used + len(entry) > len(self._room):
            self._room = bytearray(self._table.tobytes() + bytes(used + len(entry)))
        self._room[used : used + len(entry)] = entry
        self._table = memoryview(self._room)[: used + len(entry)].cast("q")

    def _statistics(self, body: memoryview) -> None:
        if len(body) < 12:
            return
        (number,) = struct.unpack_from(self._order + "I", body)
        if self._base + number >= len(self.interfaces):
            return
        interface = self.interfaces[self._base + number]
        for code, value in self._options(body[12:]):
            if code in (_ISB_IFDROP, _ISB_OSDROP) and len(value) == 8:
                (dropped,) = struct.unpack(self._order + "Q", value)
                interface.dropped = max(interface.dropped or 0, dropped)
            self._comment(code, value)
        if interface.dropped:
            self.notes.add("dropped", count=interface.dropped, text=interface.name)

    def _single(self, at: int, kind: int, body: memoryview, batches: list[Events]) -> None:
        """A packet block that is not the usual one, or an unusual one of those: simple packets,
        which have no time, and obsolete packets. A malformed one is an error."""
        low = high = 0
        if kind == _SIMPLE_PACKET and len(body) >= 4:
            number, start = 0, 4
            size = min(struct.unpack_from(self._order + "I", body)[0], len(body) - 4)
        elif kind == _OLD_PACKET and len(body) >= 20:
            number, high, low, size = struct.unpack_from(self._order + "H2xIII", body)
            start = 20
        elif kind == _PACKET and len(body) >= 20:
            number, high, low, size = struct.unpack_from(self._order + "IIII", body)
            start = 20
        else:
            raise self.fail("a pcapng packet block is too short", at)
        if self._base + number >= len(self.interfaces):
            raise self.fail(f"a pcapng packet of interface {number}, which is not described", at)
        if start + size > len(body):
            raise self.fail("a pcapng packet is longer than its block", at)
        # As an enhanced packet block of its own, so that there is one reader of packets.
        total = 32 + (size + 3) // 4 * 4
        packet = bytearray(
            struct.pack(self._order + "7I", _PACKET, total, number, high, low, size, size)
        )
        packet += bytes(body[start : start + size]) + bytes(total - 28 - size)
        rows = memoryview(bytearray(layout.ROW_SIZE))
        view = memoryview(packet)
        count, end = records.walk_pcapng(view, 0, rows, self._order == ">", self._table, self._base)
        if kind == _SIMPLE_PACKET and count:
            place = layout.OFFSET["absent"]
            self._unpack(view, end, rows, count, batches)
            rows[place : place + 2] = (
                int.from_bytes(rows[place : place + 2], _ORDER) | layout.ABSENT_BIT["ts"]
            ).to_bytes(2, _ORDER)
        else:
            self._unpack(view, end, rows, count, batches)

    def _options(self, data: memoryview) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at + 4 <= len(data):
            code, size = struct.unpack_from(self._order + "HH", data, at)
            if code == _END or at + 4 + size > len(data):
                return
            yield code, bytes(data[at + 4 : at + 4 + size])
            at += 4 + (size + 3) // 4 * 4

    def _comment(self, code: int, value: bytes) -> None:
        if code == _COMMENT:
            self.notes.add("comment", text=_words(value))
            if len(self.comments) < 100:
                self.comments.append(_words(value))


_ORDER: Final = __import__("sys").byteorder


def _words(value: bytes) -> str:
    return value.split(b"\x00")[0].decode("utf-8", "replace")


class PcapngEncoder(Encoder):
    """pcapng with link type 220, nanoseconds, of the byte order `order`; an interface for each that
    `begin` is given, or one."""

    format: ClassVar[str] = "pcapng"
    cannot_hold: ClassVar[tuple[str, ...]] = ("windows",)
    must_write: ClassVar[tuple[str, ...]] = (
        "no bus",
        "no interval",
        "no iso",
        "no xfer_flags",
        "no date",
        "no time",
    )

    def __init__(self, *, order: str = "<", application: str = "") -> None:
        super().__init__()
        self._order = order
        self._application = application
        self._numbers = memoryview(b"").cast("q")
        self._written: list[Interface] = []
        self._last = 0

    def begin(self, interfaces: Iterable[Interface] = ()) -> bytes:
        options = self._option(_SHB_USERAPPL, self._application) if self._application else b""
        out = [
            self._block(
                _SECTION,
                struct.pack(self._order + "IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1) + options,
            )
        ]
        # Interfaces of other link types have no packets here; they are left out.
        numbers = []
        for interface in interfaces:
            numbers.append(len(self._written))
            if interface.link_type in LINK_TYPES:
                self._written.append(interface)
        out += map(self._describe, self._written or [Interface(220)])
        self._numbers = memoryview(struct.pack(f"{len(numbers)}q", *numbers)).cast("q")
        return b"".join(out)

    def write(self, events: Events) -> memoryview:
        rows, arena = events.buffers
        header = layout.PACKET_SIZE
        out = self.buffers.take(packed_size(events, header))
        big = self._order == ">"
        size = records.pack(
            rows, len(events), arena, out, header, records.PCAPNG, big, True, self._numbers
        )
        if len(events):
            self._last = (events[-1].ts or 0) & 0xFFFF_FFFF_FFFF_FFFF
        return out[:size]

    def end(self) -> bytes:
        """The statistics of interfaces of which it is known how many events were dropped."""
        return b"".join(
            self._statistics(number, interface.dropped)
            for number, interface in enumerate(self._written)
            if interface.dropped is not None
        )

    def _statistics(self, number: int, dropped: int) -> bytes:
        body = struct.pack(self._order + "3I", number, self._last >> 32, self._last & 0xFFFF_FFFF)
        body += struct.pack(self._order + "HHQ", _ISB_IFDROP, 8, dropped)
        return self._block(_STATISTICS, body + struct.pack(self._order + "HH", _END, 0))

    def _describe(self, interface: Interface) -> bytes:
        options = b"".join(
            self._option(code, value)
            for code, value in (
                (_IF_NAME, interface.name),
                (_IF_DESCRIPTION, interface.description),
            )
            if value
        )
        options += struct.pack(self._order + "HHB3x", _IF_TSRESOL, 1, 9)
        options += struct.pack(self._order + "HH", _END, 0)
        return self._block(_INTERFACE, struct.pack(self._order + "HHI", 220, 0, 0) + options)

    def _option(self, code: int, value: str) -> bytes:
        data = value.encode()[:65535]
        return struct.pack(self._order + "HH", code, len(data)) + data + bytes(-len(data) % 4)

    def _block(self, kind: int, body: bytes) -> bytes:
        size = struct.pack(self._order + "I", 12 + len(body))
        return struct.pack(self._order + "I", kind) + size + body + size
