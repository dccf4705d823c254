"""pcapng files (IETF draft-ietf-opsawg-pcapng): sections of either byte order, several interfaces,
packets of link types 189, 220 and 249 among any others.

Enhanced Packet Blocks go through the kernel; the other blocks, few of them, are read here: section
headers, interface descriptions, statistics, simple and obsolete packets, and those with comments or
of an interface of synthetic events (docs/pcapng.md says how these are told). What is of another
type is counted and passed over. Not here: records (`_kernel.records`).
"""

from __future__ import annotations

import struct
from itertools import islice, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from usbmon import layout
from usbmon._kernel import pairs, records
from usbmon.errors import FormatError
from usbmon.events import Events
from usbmon.formats.base import COMMENTS_KEPT, Decoder, Drop, Encoder, Interface, Report
from usbmon.formats.binary import packed_size
from usbmon.formats.pcap import ERRNOS, LINK_TYPES, is_foreign, room_for, written_snaplen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
_SECTION_WORDS: Final = {2: "hardware", 3: "os", 4: "application"}
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_FILTER, _IF_TSOFFSET = 2, 3, 9, 11, 14
_INTERFACE_WORDS: Final = {12: "os", 15: "hardware"}
# What a report says, and what stands in its options: times, and counts.
_REPORT_TIMES: Final = {2: "start", 3: "end"}
_REPORT_COUNTS: Final = {4: "received", 5: "dropped", 7: "os_dropped"}
_DROPS_KEPT: Final = 100


class PcapngDecoder(Decoder):
    """`interfaces` has those of all sections, `about` the words of their headers."""

    format: ClassVar[str] = "pcapng"

    def __init__(self, *, file: str = "", strict: bool = False) -> None:
        super().__init__(file=file, strict=strict)
        self.sections = 0
        self._told: dict[int, int] = {}  # when an interface's drops were last told
        self._whole = self._arena = memoryview(b"")
        self._synthetic = pairs.Pairing(first=layout.SYNTHETIC_URB)
        self._order = ""
        self._orders: set[str] = set()
        # The open section: number of its first interface, the kernel's table of them, and whether
        # there is one of USBPcap.
        self._base = 0
        self._is_windows = False
        self._room = bytearray()
        self._table = memoryview(bytearray()).cast("q")

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

    def _is_for_later(self, block: memoryview, at: int, batches: list[Events]) -> bool:
        """Whether what stands here is a report to somebody, who is to have the events before it."""
        if self.on_report is None or not batches or at + 4 > len(block):
            return False
        return self._number(block, at) == _STATISTICS

    def _number(self, block: memoryview, at: int) -> int:
        return int.from_bytes(block[at : at + 4], "big" if self._order == ">" else "little")

    def _decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        batches: list[Events] = []
        at = 0
        # One object for all batches of the block: then they share it when they are joined.
        self._whole, self._arena = block, block.toreadonly()
        while not self._is_for_later(block, at, batches):
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
        else:
            return Events.concat(batches), at
        if final and at < len(block):
            self.notes.add("cut record", count=len(block) - at, offset=self.position + at)
            at = len(block)
        return (batches[0] if len(batches) == 1 else Events.concat(batches)), at

    def _packets(self, block: memoryview, at: int, batches: list[Events]) -> int:
        """Packets in a row, by the kernel."""
        if not len(self._table) or at + 32 > len(block):
            return at
        if self._number(block, at) != _PACKET:
            return at
        most = (len(block) - at) // (32 + layout.PACKET_SIZE_OLD) + 1
        rows = self.buffers.take(most * layout.ROW_SIZE)
        big = self._order == ">"
        begun = 0
        if self._is_windows:  # their payloads are copied, and no more than need be
            block, begun, at = block[at:], at, 0
        count, end = records.walk_pcapng(block, at, rows, big, self._table, self._base, False)
        if count * 8 < most:  # the large buffer can serve again
            rows = memoryview(bytearray(rows[: count * layout.ROW_SIZE]))
        if events := self._unpack(block, end, rows, count, self.pairing.number):
            batches.append(events)
        return begun + end

    def _unpack(
        self,
        block: memoryview,
        end: int,
        rows: memoryview,
        count: int,
        number: Callable[[memoryview, int], None],
    ) -> Events:
        """Events of the records in `rows`; `number` gives them their ingest numbers."""
        if not count:
            return Events.empty()
        unpacked, spare = room_for(block, end, LINK_TYPES[249] if self._is_windows else 0)
        count, short, others = records.unpack(
            unpacked,
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
        view = rows[: count * layout.ROW_SIZE]
        number(view, count)
        return Events(view, self._arena if unpacked is self._whole else unpacked)

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
        if kind == _PACKET and self._alone(block, at, size, batches):
            return at + size
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
        self._table = memoryview(bytearray()).cast("q")
        comments = []
        for code, value in self._options(body[16:]):
            if code in _SECTION_WORDS:
                self.about[_SECTION_WORDS[code]] = _words(value)
            comments += self._comment(code, value)
        if self.sections == 1:
            self.own_comments += comments
        elif comments and self.on_report is not None:
            self.on_report(Report(0, 0, comments=tuple(comments)))

    def _interface(self, body: memoryview, at: int) -> None:
        if len(body) < 8:
            raise self.fail("a pcapng interface description is too short", at)
        if len(self.interfaces) >= _MOST_INTERFACES:
            raise self.fail(f"more than {_MOST_INTERFACES} pcapng interfaces", at)
        link_type, snaplen = struct.unpack_from(self._order + "H2xI", body)
        interface = Interface(link_type)
        interface.snaplen = snaplen
        self._is_windows |= link_type == 249
        resolution, offset = 6, 0
        for code, value in self._options(body[8:]):
            if code == _IF_TSRESOL and len(value) == 1:
                resolution = value[0]
            elif code == _IF_TSOFFSET and len(value) == 8:
                (offset,) = struct.unpack(self._order + "q", value)
            else:
                self._describe(interface, code, value)
        if (resolution & 0x7F) > (63 if resolution & 0x80 else 18):
            raise self.fail(f"a time resolution (if_tsresol) of {resolution:#x}", at)
        power = resolution & 0x7F
        binary = power if resolution & 0x80 else 0
        entry = struct.pack(
            f"={records.INTERFACE_WORDS}q",
            LINK_TYPES.get(link_type, 0),
            10 ** max(0, 9 - power) if not binary else 1,
            10 ** max(0, power - 9) if not binary else 1,
            # 2**-0, whole seconds, is 10**-0 as well.
            binary,
            max(-(2**32), min(2**32, offset)),
            0,
            interface.is_synthetic,
        )
        self.interfaces.append(interface)
        self._add_to_table(entry)

    def _describe(self, interface: Interface, code: int, value: bytes) -> None:
        if code == _IF_NAME:
            interface.name = _words(value)
        elif code == _IF_DESCRIPTION:
            interface.description = _words(value)
        elif code == _IF_FILTER and value[:1] == b"\0":  # in the words of libpcap
            interface.about["filter"] = _words(value[1:])
        elif code in _INTERFACE_WORDS:
            interface.about[_INTERFACE_WORDS[code]] = _words(value)
        interface.comments += self._comment(code, value)

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
        said: dict[str, int] = {}
        comments = []
        for code, value in self._options(body[12:]):
            if code in _REPORT_COUNTS and len(value) == 8:
                (said[_REPORT_COUNTS[code]],) = struct.unpack(self._order + "Q", value)
            elif code in _REPORT_TIMES and len(value) == 8:
                said[_REPORT_TIMES[code]] = self._time(number, value)
            comments += self._comment(code, value)
        ts = self._time(number, bytes(body[4:12]))
        report = Report(self._base + number, ts, **said, comments=tuple(comments))
        self._count_drops(self.interfaces[report.interface], report)
        if self.on_report is not None:
            self.on_report(report)

    def _time(self, number: int, stamp: bytes) -> int:
        """The time (ns) of two words, as of a packet of the section's interface `number`."""
        packet = struct.pack(self._order + "III", _PACKET, 32, 0) + stamp + bytes(12)
        words = records.INTERFACE_WORDS
        table = memoryview(bytearray(self._table[number * words : (number + 1) * words])).cast("q")
        table[0] = layout.PACKET_SIZE  # of whatever link type
        row = memoryview(bytearray(layout.ROW_SIZE))
        records.walk_pcapng(packet, 0, row, self._order == ">", table, 0, True)
        at = layout.OFFSET["ts"]
        return int.from_bytes(row[at : at + 8], _ORDER, signed=True)

    def _count_drops(self, interface: Interface, report: Report) -> None:
        told = [count for count in (report.dropped, report.os_dropped) if count is not None]
        if not told:
            return
        more = max(told) - (interface.dropped or 0)
        interface.dropped = max(*told, interface.dropped or 0)
        since = self._told.get(report.interface, report.start)
        self._told[report.interface] = report.ts
        if more <= 0:
            return
        self.notes.add("dropped", count=more, text=interface.name)
        if len(interface.drops) < _DROPS_KEPT:
            interface.drops.append(Drop(since, report.ts, more))

    def _alone(self, block: memoryview, at: int, total: int, batches: list[Events]) -> bool:
        """A packet that the walk has left to us; False if it is malformed."""
        if self._is_windows:
            block, at = block[at : at + total], 0
        rows = memoryview(bytearray(layout.ROW_SIZE))
        big = self._order == ">"
        count, end = records.walk_pcapng(block, at, rows, big, self._table, self._base, True)
        if end == at:
            return False
        size = int.from_bytes(block[at + 20 : at + 24], "big" if big else "little")
        number = self._base + self._number(block, at + 8)
        comments: list[str] = []
        for code, value in self._options(block[at + 28 + (size + 3) // 4 * 4 : end - 4]):
            comments += self._comment(code, value)
        if events := self._unpack(block, end, rows, count, self._numbering(number)):
            batches.append(events.commented({0: tuple(comments)}) if comments else events)
        return True

    def _numbering(self, number: int) -> Callable[[memoryview, int], None]:
        """How events of this interface get their ingest numbers."""
        return self._mark if self.interfaces[number].is_synthetic else self.pairing.number

    def _mark(self, rows: memoryview, count: int) -> None:
        """Number synthetic events, apart from all others, and mark them."""
        self._synthetic.number(rows, count)
        for at in range(layout.OFFSET["marks"], count * layout.ROW_SIZE, layout.ROW_SIZE):
            rows[at] |= layout.SYNTHETIC

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
        big = self._order == ">"
        count, end = records.walk_pcapng(view, 0, rows, big, self._table, self._base, True)
        events = self._unpack(view, end, rows, count, self._numbering(self._base + number))
        if events:
            batches.append(events)
        if kind == _SIMPLE_PACKET and count:
            place = layout.OFFSET["absent"]
            rows[place : place + 2] = (
                int.from_bytes(rows[place : place + 2], _ORDER) | layout.ABSENT_BIT["ts"]
            ).to_bytes(2, _ORDER)

    def _options(self, data: memoryview) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at + 4 <= len(data):
            code, size = struct.unpack_from(self._order + "HH", data, at)
            if code == _END or at + 4 + size > len(data):
                return
            yield code, bytes(data[at + 4 : at + 4 + size])
            at += 4 + (size + 3) // 4 * 4

    def _comment(self, code: int, value: bytes) -> list[str]:
        """The text, if this option is a comment; it is noted."""
        if code != _COMMENT:
            return []
        text = _words(value)
        self.notes.add("comment", text=text)
        if len(self.comments) < COMMENTS_KEPT:
            self.comments.append(text)
        return [text]


_ORDER: Final = __import__("sys").byteorder


def _words(value: bytes) -> str:
    return value.split(b"\x00")[0].decode("utf-8", "replace")


class _Run(NamedTuple):
    """Events that are written in one go: on their own interfaces or those for synthetic events."""

    events: Events
    is_synthetic: bool


class PcapngEncoder(Encoder):
    """pcapng with link type 220, nanoseconds, of the byte order `order`; an interface for each that
    `begin` is given, or one, and one more for the synthetic events of each."""

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

    def __init__(self, *, order: str = "<") -> None:
        super().__init__()
        self._order = order
        self._interfaces: Iterable[Interface] = ()
        self._written: list[Interface] = []
        # The number in the file of each interface of the rows: of real events, of synthetic ones.
        self._numbers: list[int] = []
        self._synthetic: dict[int, int] = {}
        self._told: dict[int, int] = {}  # the drops that were told of an interface last
        self._first: int | None = None
        self._last = 0

    def begin(
        self,
        interfaces: Iterable[Interface] = (),
        about: Mapping[str, str] = MappingProxyType({}),
        comments: Iterable[str] = (),
    ) -> bytes:
        options = self._comments(comments)
        for code, name in _SECTION_WORDS.items():
            options += self._option(code, about.get(name, ""))
        out = self._block(
            _SECTION,
            struct.pack(self._order + "IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1) + self._ended(options),
        )
        self._interfaces = interfaces
        out += self._describe_new()
        return out if self._written else out + self._describe(Interface(220))

    def _describe_new(self) -> bytes:
        """The interfaces that have come since. Those of other link types have no packets here; they
        are left out."""
        out = b""
        for interface in islice(self._interfaces, len(self._numbers), None):
            is_there = interface.link_type in LINK_TYPES
            self._numbers.append(len(self._written) if is_there else 0)
            if is_there:
                out += self._describe(interface)
        return out

    def write(self, events: Events) -> bytes | memoryview:
        new = self._describe_new()
        packets = self._pack(_Run(events, is_synthetic=False))
        return b"".join((new, packets)) if new else packets

    def write_marked(self, events: Events) -> bytes:
        # All descriptions come first: `fitting` counts on it.
        beside = sorted(set(events.interface[events.synthetic].tolist()))
        out = [self._describe_new(), *map(self._beside, beside)]
        for run in _runs(events):
            packets = self._pack(run)
            texts = run.events.comments.get(0)
            out.append(self._with_comments(bytes(packets), texts) if texts else bytes(packets))
        return b"".join(out)

    def _beside(self, number: int) -> bytes:
        """Find the interface for synthetic events of one; what describes it, if it is new."""
        if number in self._synthetic:
            return b""
        own = self._numbers[number] if number < len(self._numbers) else 0
        if own < len(self._written) and self._written[own].is_synthetic:
            self._synthetic[number] = own
            return b""
        self._synthetic[number] = len(self._written)
        name = self._written[own].name if own < len(self._written) else ""
        return self._describe(Interface.synthetic(name))

    def _pack(self, run: _Run) -> memoryview:
        rows, arena = run.events.buffers
        count = len(run.events)
        header = layout.PACKET_SIZE
        out = self.buffers.take(packed_size(run.events, header))
        numbers = self._numbers
        if run.is_synthetic:
            numbers = [self._synthetic.get(n, 0) for n in range(max(self._synthetic) + 1)]
        table = memoryview(struct.pack(f"{len(numbers)}q", *numbers)).cast("q")
        big = self._order == ">"
        size = records.pack(rows, count, arena, out, header, records.PCAPNG, big, True, table)
        if count and not run.is_synthetic:
            if self._first is None:
                self._first = run.events[0].ts or 0
            self._last = run.events[-1].ts or 0
        return out[:size]

    def _with_comments(self, packet: bytes, texts: Iterable[str]) -> bytes:
        """The block of one packet, with these comments behind its data."""
        return self._block(_PACKET, packet[8:-4] + self._ended(self._comments(texts)))

    def report(self, report: Report) -> bytes:
        new = self._describe_new()
        number = report.interface
        if number < len(self._numbers):
            number = self._numbers[number]
        elif number >= max(1, len(self._written)):
            number = 0
        if report.dropped is not None:
            self._told[number] = max(report.dropped, self._told.get(number, 0))
        return new + self._statistics(report._replace(interface=number))

    def end(self) -> bytes:
        """The drops of interfaces that have not been told yet."""
        return b"".join(
            self._statistics(
                Report(
                    number,
                    self._last,
                    dropped=interface.dropped,
                    start=self._first,
                    end=self._last,
                )
            )
            for number, interface in enumerate(self._written)
            if interface.dropped is not None and interface.dropped > self._told.get(number, -1)
        )

    def _statistics(self, report: Report) -> bytes:
        options = self._comments(report.comments)
        for code, name in _REPORT_TIMES.items():
            if (ts := getattr(report, name)) is not None:
                options += struct.pack(self._order + "HH", code, 8) + self._stamp(ts)
        for code, name in _REPORT_COUNTS.items():
            if (count := getattr(report, name)) is not None:
                options += struct.pack(self._order + "HHQ", code, 8, count)
        body = struct.pack(self._order + "I", report.interface) + self._stamp(report.ts)
        return self._block(_STATISTICS, body + self._ended(options))

    def _stamp(self, ts: int) -> bytes:
        return struct.pack(self._order + "II", ts >> 32 & 0xFFFF_FFFF, ts & 0xFFFF_FFFF)

    def _describe(self, interface: Interface) -> bytes:
        self._written.append(interface)
        options = self._comments(interface.comments)
        options += self._option(_IF_NAME, interface.name)
        options += self._option(_IF_DESCRIPTION, interface.description)
        for code, name in _INTERFACE_WORDS.items():
            options += self._option(code, interface.about.get(name, ""))
        if "filter" in interface.about:
            options += self._option(_IF_FILTER, "\0" + interface.about["filter"])
        options += struct.pack(self._order + "HHB3x", _IF_TSRESOL, 1, 9)
        snaplen = written_snaplen(interface)
        body = struct.pack(self._order + "HHI", 220, 0, snaplen)
        return self._block(_INTERFACE, body + self._ended(options))

    def _comments(self, texts: Iterable[str]) -> bytes:
        return b"".join(self._option(_COMMENT, text) for text in texts)

    def _option(self, code: int, value: str) -> bytes:
        """An option; nothing, if there is nothing to say."""
        data = value.encode("utf-8", "replace")[:65535]
        if not data:
            return b""
        return struct.pack(self._order + "HH", code, len(data)) + data + bytes(-len(data) % 4)

    def _ended(self, options: bytes) -> bytes:
        return options + struct.pack(self._order + "HH", _END, 0) if options else b""

    def _block(self, kind: int, body: bytes) -> bytes:
        size = struct.pack(self._order + "I", 12 + len(body))
        return struct.pack(self._order + "I", kind) + size + body + size


def _runs(events: Events) -> Iterator[_Run]:
    """Events in their order, in runs; one that has comments is alone."""
    import numpy as np

    synthetic = events.synthetic
    edges = {0, len(events), *(np.flatnonzero(synthetic[1:] != synthetic[:-1]) + 1).tolist()}
    for at in events.comments:
        edges |= {at, at + 1}
    for begun, end in pairwise(sorted(edges)):
        yield _Run(events[begun:end], bool(synthetic[begun]))
