"""pcapng files: sections, interfaces, the blocks that hold packets, and those that hold none."""

import struct
import tracemalloc
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import reference, synthetic
from tests.helpers.corpus import captures, name
from tests.helpers.wire import block, enhanced, interface, option, packet, section, usbpcap
from usbmon import Events, FormatError, decode, layout
from usbmon.formats.base import Drop, Interface, Report
from usbmon.formats.pcapng import PcapngDecoder, PcapngEncoder
from usbmon.layout import OFFSET

FILES = [path for path in captures() if path.read_bytes()[:4] == b"\n\r\r\n"]
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def decoded(data: bytes, **options) -> tuple[Events, PcapngDecoder]:
    decoder = PcapngDecoder(**options)
    return Events.concat([decoder.feed(data), decoder.close()]), decoder


def encoded(events: Events, interfaces=(), about=MappingProxyType({}), **options) -> bytes:
    encoder = PcapngEncoder(**options)
    return encoder.begin(interfaces, about) + bytes(encoder.encode(events))


def one_time(ts: int, options: bytes = b"", order: str = "<") -> int:
    data = section(order=order) + interface(220, options, order)
    (event,) = decode(data + enhanced(packet(64, order), ts, order=order))
    return event.ts


def of_everything(order: str) -> bytes:
    """A file with a block of each kind."""
    record = packet(64, order, b"four")
    old = struct.pack(order + "HHIIII", 2, 0, 0, 9, len(record), len(record)) + record
    out = section(option(4, b"dumpcap", order), order)
    out += interface(220, option(2, b"usbmon1", order) + option(9, b"\x09", order), order)
    out += interface(249, b"", order) + interface(220, option(9, b"\xa0", order), order)
    out += enhanced(packet(64, order, b"one"), 5, order=order)
    out += enhanced(usbpcap(b"two"), 6, number=1, order=order)
    record = packet(64, order, b"three")
    out += block(3, struct.pack(order + "I", len(record)) + record, order)
    out += block(0xBAD, b"unknown", order) + block(2, old, order)
    drops = option(5, struct.pack(order + "Q", 2), order) + option(1, b"a comment", order)
    out += block(5, struct.pack(order + "III", 0, 0, 0) + drops, order)
    return out + section(order="<") + interface() + enhanced(packet(payload=b"one"))


def taken(*chunks: bytes) -> tuple[Events, bool]:
    """The events of these chunks, and whether the decoder said in the end that they are bad."""
    decoder, parts = PcapngDecoder(), []
    try:
        parts.extend(decoder.feed(chunk) for chunk in chunks)
        parts.append(decoder.close())
    except FormatError:
        return Events.concat(parts), True
    return Events.concat(parts), False


MADE = (
    section()
    + interface(189)
    + interface(220, option(9, b"\x09"))
    + enhanced(packet(48, payload=b"one"), 5)
    + enhanced(packet(64, payload=b"two"), 6, number=1)
)


class TestRecordedFiles:
    @pytest.mark.parametrize(
        "data",
        [pytest.param(path.read_bytes(), id=name(path)) for path in FILES]
        + [pytest.param(MADE, id="made by hand")],
    )
    def test_another_reader_reads_the_same(self, data):
        events, decoder = decoded(data)
        linux = [event for event in events if event.usbd_function is None]
        assert reference.differences(reference.pcapng(data), linux) == []
        assert decoder.notes.repairs == 0

    @pytest.mark.parametrize("path", captures(ours=True), ids=name)
    def test_what_is_written_says_the_same(self, path):
        events = decode(path.read_bytes())
        assert decode(encoded(events)) == events


class TestSections:
    @ORDERS
    def test_either_byte_order_is_read(self, order):
        data = (
            section(order=order)
            + interface(order=order)
            + enhanced(packet(64, order, b"data", busnum=0x0102), order=order)
        )
        events, decoder = decoded(data)
        assert reference.differences(reference.pcapng(data), events) == []
        assert decoder.variant == f"{'big' if order == '>' else 'little'}-endian"

    @ORDERS
    def test_either_byte_order_is_written(self, order):
        events = decode(section() + interface() + enhanced(packet(payload=b"data"), 123456))
        data = encoded(events, order=order)
        assert {byte_order for byte_order, _, _ in reference.pcapng_blocks(data)} == {order}
        assert reference.differences(reference.pcapng(data), events) == []
        assert decode(data) == events

    def test_each_has_interfaces_of_its_own(self):
        first = section() + interface(220, option(2, b"usbmon1")) + enhanced(packet(id=1))
        second = (
            section(order=">")
            + interface(1, option(2, b"eth0", ">"), ">")
            + interface(189, option(2, b"usbmon2", ">"), ">")
            + enhanced(packet(48, ">", id=2), number=1, order=">")
        )
        events, decoder = decoded(first + second + first)
        assert [event.id for event in events] == [1, 2, 1]
        assert [event.interface for event in events] == [0, 2, 3]
        assert [i.name for i in decoder.interfaces] == ["usbmon1", "eth0", "usbmon2", "usbmon1"]
        assert [i.packets for i in decoder.interfaces] == [1, 0, 1, 1]
        assert decoder.variant == "big and little-endian, 3 sections"

    def test_the_header_says_what_wrote_it(self):
        options = option(2, b"x86") + option(3, b"Linux 6.1") + option(4, b"dumpcap\0\0")
        _, decoder = decoded(section(options + option(99, b"?")))
        assert decoder.about == {
            "hardware": "x86",
            "os": "Linux 6.1",
            "application": "dumpcap",
        }

    def test_a_section_of_given_length_is_read_as_any(self):
        body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, 10_000)
        data = block(0x0A0D0D0A, body) + interface() + enhanced(packet())
        assert len(decode(data)) == 1

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (bytes(40), "not a pcapng file"),
            (block(0x0A0D0D0A, bytes(16)), "without its byte order magic"),
            (block(0x0A0D0D0A, b"\x4d\x3c\x2b\x1a\1\0\0\0"), "section header is too short"),
            (section(version=2), r"pcapng version 2\.0 is not known"),
            (section() + block(1, bytes(4)), "interface description is too short"),
        ],
    )
    def test_a_header_that_is_none_is_an_error(self, data, words):
        with pytest.raises(FormatError, match=words):
            decoded(data)


class TestInterfaces:
    def test_names_and_descriptions_are_read(self):
        options = option(2, b"usbmon1") + option(3, "Büro".encode()) + option(0, b"")
        _, decoder = decoded(section() + interface(220, options))
        (only,) = decoder.interfaces
        assert (only.name, only.description, only.link_type) == ("usbmon1", "Büro", 220)

    def test_they_are_written_and_come_back(self):
        events = decode(section() + interface() + enhanced(packet()))
        ours = [Interface(220, "usbmon1", "first"), Interface(1, "eth0"), Interface(189, "usbmon2")]
        rows = bytearray(events.buffers[0])
        rows[OFFSET["interface"]] = 2
        moved = Events(memoryview(rows), events.buffers[1])
        again, decoder = decoded(encoded(moved, ours))
        # One that has no USB packets has no place there.
        assert [(i.name, i.description) for i in decoder.interfaces] == [
            ("usbmon1", "first"),
            ("usbmon2", ""),
        ]
        assert [event.interface for event in again] == [1]

    @ORDERS
    def test_what_else_is_known_of_them_comes_back(self, order):
        mine = Interface(220, "usbmon1")
        mine.about = {"os": "Linux 6.1", "hardware": "xhci_hcd", "filter": "device 5"}
        mine.snaplen = 2200
        (only,) = decoded(encoded(Events.empty(), [mine], order=order))[1].interfaces
        assert (only.about, only.snaplen) == (mine.about, 2200)

    def test_a_filter_that_is_no_text_says_nothing(self):
        _, decoder = decoded(section() + interface(220, option(11, b"\1code") + option(11, b"")))
        assert decoder.interfaces[0].about == {}

    def test_the_snap_length_of_shorter_packets_is_none_of_ours(self):
        short = Interface(189)
        short.snaplen = 100
        (only,) = decoded(encoded(Events.empty(), [short]))[1].interfaces
        assert only.snaplen == 0

    def test_those_that_come_later_are_described_when_they_come(self):
        known, encoder = [Interface(220, "usbmon1")], PcapngEncoder()
        events = decode(
            section() + interface() * 2 + enhanced(packet()) + enhanced(packet(), number=1)
        )
        data = encoder.begin(known) + bytes(encoder.encode(events[:1]))
        known += [Interface(1, "eth0"), Interface(220, "usbmon2")]
        rows = bytearray(events.buffers[0])
        rows[104 + OFFSET["interface"]] = 2
        later = Events(memoryview(rows), events.buffers[1])[1:]
        data += bytes(encoder.encode(later)) + encoder.note("now", 9, 2)
        again, decoder = decoded(data)
        assert [i.name for i in decoder.interfaces] == ["usbmon1", "usbmon2"]
        assert [event.interface for event in again] == [0, 1]

    def test_without_any_one_is_written(self):
        _, decoder = decoded(encoded(Events.empty(), [Interface(1, "eth0")]))
        assert [i.link_type for i in decoder.interfaces] == [220]

    def test_an_interface_that_was_not_described_is_written_as_the_first(self):
        events = decode(section() + interface(1) + interface() + enhanced(packet(), number=1))
        assert [event.interface for event in decode(encoded(events))] == [0]

    def test_packets_of_other_link_types_are_passed_over(self):
        data = section() + interface(1) + interface(220)
        for n in range(5):
            data += enhanced(b"an ethernet frame", number=0) + enhanced(packet(id=n), number=1)
        events, decoder = decoded(data)
        assert [event.id for event in events] == [0, 1, 2, 3, 4]
        assert [i.packets for i in decoder.interfaces] == [5, 5]

    def test_all_three_kinds_of_usb_packets_in_one_section(self):
        data = section() + interface(189) + interface(249) + interface(220)
        data += enhanced(packet(48, payload=b"one"), number=0)
        data += enhanced(usbpcap(b"two"), number=1)
        data += enhanced(packet(64, payload=b"three"), number=2)
        assert [event.data for event in decode(data)] == [b"one", b"two", b"three"]

    def test_short_packets_are_left_out_and_counted(self):
        data = section() + interface() + enhanced(b"abc") + enhanced(packet()) + enhanced(b"")
        events, decoder = decoded(data)
        assert len(events) == 1
        assert decoder.notes["short record"].count == 2

    @pytest.mark.parametrize(
        ("statistics", "dropped"),
        [
            (option(5, struct.pack("<Q", 3)), 3),
            (option(7, struct.pack("<Q", 4)), 4),
            (option(5, struct.pack("<Q", 3)) + option(7, struct.pack("<Q", 1)), 3),
            (option(5, struct.pack("<Q", 0)), 0),
            (option(5, b"123"), None),
            (option(4, struct.pack("<Q", 9)), None),
        ],
    )
    def test_drops_are_those_of_the_statistics(self, statistics, dropped):
        body = struct.pack("<III", 0, 0, 0) + statistics
        _, decoder = decoded(section() + interface(220, option(2, b"usbmon1")) + block(5, body))
        assert decoder.interfaces[0].dropped == dropped
        assert ("dropped" in decoder.notes) == bool(dropped)
        assert decoder.notes.repairs == 0

    @ORDERS
    def test_drops_that_are_known_are_written(self, order):
        known = [Interface(220, "usbmon1"), Interface(1, "eth0"), Interface(220, "usbmon2")]
        known[2].dropped = 7
        encoder = PcapngEncoder(order=order)
        events = decode(section() + interface() + enhanced(packet(), 5_000_000))
        data = encoder.begin(known) + bytes(encoder.encode(events))
        _, decoder = decoded(data + encoder.end())
        assert [i.dropped for i in decoder.interfaces] == [None, 7]

    @pytest.mark.parametrize("body", [b"", struct.pack("<III", 7, 0, 0)])
    def test_statistics_of_no_interface_say_nothing(self, body):
        _, decoder = decoded(section() + interface() + block(5, body))
        assert decoder.interfaces[0].dropped is None


class TestTime:
    @pytest.mark.parametrize(
        ("power", "ticks", "ns"),
        [
            (0, 5, 5_000_000_000),
            (3, 1500, 1_500_000_000),
            (6, 1_700_000_000_000_001, 1_700_000_000_000_001_000),
            (9, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
            (12, 1_500, 1),
            (18, 1_999_999_999, 1),
        ],
    )
    def test_resolutions_are_powers_of_ten(self, power, ticks, ns):
        assert one_time(ticks, option(9, bytes([power]))) == ns

    @pytest.mark.parametrize(
        ("power", "ticks", "ns"),
        [
            (0, 5, 5_000_000_000),
            (1, 3, 1_500_000_000),
            (10, 1024 + 512, 1_500_000_000),
            (32, 1 << 31, 500_000_000),
            (40, (1 << 40) + (1 << 39), 1_500_000_000),
            (63, 1 << 62, 500_000_000),
        ],
    )
    def test_or_of_two(self, power, ticks, ns):
        assert one_time(ticks, option(9, bytes([0x80 | power]))) == ns

    def test_microseconds_without_saying(self):
        assert one_time(1_000_001) == 1_000_001_000

    @pytest.mark.parametrize("value", [b"", b"\x09\x09"])
    def test_a_resolution_of_another_size_says_nothing(self, value):
        assert one_time(7, option(9, value)) == 7000

    @ORDERS
    @pytest.mark.parametrize("seconds", [0, 1_600_000_000, -1])
    def test_an_offset_is_added(self, order, seconds):
        options = option(14, struct.pack(order + "q", seconds), order)
        assert one_time(2_000_000, options, order) == (2 + seconds) * 10**9

    @pytest.mark.parametrize("power", [19, 127, 0x80 | 64, 0xFF])
    def test_a_resolution_that_nothing_has_is_an_error(self, power):
        with pytest.raises(FormatError, match="byte 28: a time resolution"):
            one_time(1, option(9, bytes([power])))

    @pytest.mark.parametrize("power", [0, 6, 9, 18, 0x80, 0x81, 0xA0, 0xBF])
    @pytest.mark.parametrize("ticks", [2**64 - 1, 2**63, 2**62])
    @pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63)])
    def test_any_stamp_is_some_time(self, power, ticks, seconds):
        options = option(9, bytes([power])) + option(14, struct.pack("<q", seconds))
        assert -(2**63) <= one_time(ticks, options) < 2**63

    def test_nanoseconds_are_written(self):
        ts = 1_700_000_000_123_456_789
        data = section() + interface(220, option(9, b"\x09")) + enhanced(packet(), ts)
        assert decode(encoded(decode(data)))[0].ts == ts


class TestOtherBlocks:
    def test_unknown_blocks_are_passed_over_and_noted(self):
        unknown = block(0x40000BAD, b"something")
        data = unknown.join(
            [section(), interface(), enhanced(packet(id=1)), enhanced(packet(id=2))]
        )
        events, decoder = decoded(data + unknown)
        assert [event.id for event in events] == [1, 2]
        assert decoder.notes["unknown block"].count == 4
        assert decoder.notes["unknown block"].places[0] == "byte 28: type 0x40000bad"
        assert decoder.notes.repairs == 0

    def test_a_simple_packet_is_of_the_first_interface_and_has_no_time(self):
        record = packet(payload=b"data")
        simple = block(3, struct.pack("<I", len(record)) + record)
        (event,) = decode(section() + interface() + simple)
        assert (event.data, event.ts, event.interface) == (b"data", None, 0)

    def test_a_simple_packet_that_was_cut_is_as_long_as_its_block(self):
        record = packet(payload=b"data", length=100, len_cap=100)
        simple = block(3, struct.pack("<I", len(record) + 96) + record)
        (event,) = decode(section() + interface() + simple)
        assert (event.data, event.len_cap) == (b"data", 100)

    def test_a_simple_packet_that_is_no_event_is_left_out(self):
        events, decoder = decoded(
            section() + interface() + block(3, struct.pack("<I", 4) + b"abcd")
        )
        assert len(events) == 0
        assert decoder.notes["short record"].count == 1

    def test_a_simple_packet_of_another_link_type_is_passed_over(self):
        data = section() + interface(1) + block(3, struct.pack("<I", 4) + b"abcd")
        events, decoder = decoded(data)
        assert len(events) == 0
        assert decoder.interfaces[0].packets == 1

    @ORDERS
    def test_an_obsolete_packet_block_is_read(self, order):
        record = packet(64, order, b"data!")
        head = struct.pack(order + "HHIIII", 1, 0xFFFF, 0, 2_000_000, len(record), len(record))
        data = section(order=order) + interface(1, b"", order) + interface(220, b"", order)
        (event,) = decode(data + block(2, head + record, order))
        assert (event.data, event.ts, event.interface) == (b"data!", 2 * 10**9, 1)

    def test_comments_are_kept_the_first_hundred_of_them(self):
        data = section(option(1, b"of the section")) + interface(220, option(1, b"of it"))
        data += block(5, struct.pack("<III", 0, 0, 0) + option(1, b"in the end")) * 200
        _, decoder = decoded(data)
        assert decoder.comments[:3] == ["of the section", "of it", "in the end"]
        assert len(decoder.comments) == 100
        assert decoder.notes["comment"].count == 202


SYNTHETIC = option(2, b"usbmon1-devices") + option(3, b"synthetic: from elsewhere")


def everything(*interfaces: Interface, order: str = "<") -> tuple[bytes, PcapngEncoder]:
    """A file that says all that there is to say, and what wrote it."""
    encoder = PcapngEncoder(order=order)
    real = decode(section() + interface() + enhanced(packet(payload=b"one"), 5_000_000) * 2)
    out = encoder.begin(interfaces, {"hardware": "x86", "os": "Linux"}, ["all of it", "again"])
    out += bytes(encoder.encode(synthetic.events(5, "1-4: a keyboard")))
    out += bytes(encoder.encode(real[:1].commented({0: ("look here", "and here")})))
    out += encoder.drops(0, 7, 6_000_000) + encoder.note("plugged in", 6_000_001)
    out += bytes(encoder.encode(Events.concat([real[1:], synthetic.events(6)])))
    return out + encoder.end(), encoder


class TestSyntheticEvents:
    @ORDERS
    @pytest.mark.parametrize("cut", [False, True])
    def test_they_come_back_marked_and_numbered_apart(self, order, cut):
        data, _ = everything(Interface(220, "usbmon1"), order=order)
        decoder = PcapngDecoder()
        chunks = [data[n : n + 1] for n in range(len(data))] if cut else [data]
        events = Events.concat([*map(decoder.feed, chunks), decoder.close()])
        assert ["synthetic" in e.marks for e in events] == [True] * 4 + [False] * 2 + [True] * 4
        numbers = [e.urb - layout.SYNTHETIC_URB for e in events if "synthetic" in e.marks]
        assert numbers == [0, 0, 1, 1, 2, 2, 3, 3]
        assert [e.urb for e in events if not e.marks] == []
        assert decoder.pairing.orphan_completions == 2  # the real ones, which have no submission
        told = synthetic.events(5)
        assert [e.data for e in events[:4]] == [e.data for e in told]
        assert [e.setup for e in events[:4]] == [e.setup for e in told]

    def test_they_stand_on_an_interface_beside_that_of_their_bus(self):
        data, _ = everything(Interface(220, "usbmon1"), Interface(220, "usbmon2"))
        events, decoder = decoded(data)
        names = [interface.name for interface in decoder.interfaces]
        assert names == ["usbmon1", "usbmon2", "usbmon1-devices"]
        assert decoder.interfaces[2].description.startswith("synthetic: ")
        assert [i.is_synthetic for i in decoder.interfaces] == [False, False, True]
        assert [i.packets for i in decoder.interfaces] == [2, 0, 8]
        assert events.interface.tolist() == [2] * 4 + [0] * 2 + [2] * 4

    def test_those_of_a_file_stay_on_their_own(self):
        data, _ = everything(Interface(220, "usbmon1"))
        events, decoder = decoded(data)
        again, same = decoded(encoded(events, decoder.interfaces))
        assert [i.name for i in same.interfaces] == ["usbmon1", "usbmon1-devices"]
        assert again == events

    def test_without_an_interface_there_is_one_for_them(self):
        _, decoder = decoded(encoded(synthetic.events()))
        assert [i.name for i in decoder.interfaces] == ["", "usbmon-devices"]

    def test_the_description_alone_makes_them_so(self):
        data = section() + interface() + interface(220, SYNTHETIC)
        data += enhanced(packet(id=1)) + enhanced(packet(id=2), number=1)
        record = packet(id=3)
        data += block(2, struct.pack("<HHIIII", 1, 0, 0, 0, len(record), len(record)) + record)
        events = decode(data)
        assert ["synthetic" in e.marks for e in events] == [False, True, True]

    @ORDERS
    @pytest.mark.parametrize("record", [b"", b"abc", bytes(64)])
    def test_one_that_is_no_event_is_left_out(self, order, record):
        data = section(order=order) + interface(220, option(3, b"synthetic: ", order), order)
        events, decoder = decoded(data + enhanced(record, order=order))
        assert len(events) == 0
        assert decoder.notes["short record"].count == 1

    def test_one_of_windows_is_read_too(self):
        data = (
            section() + interface(249, SYNTHETIC) + enhanced(usbpcap(b"x"), options=option(1, b"y"))
        )
        (event,) = decode(data * 2)[:1]
        assert (event.data, event.comments, "synthetic" in event.marks) == (b"x", ("y",), True)


class TestComments:
    @ORDERS
    @pytest.mark.parametrize("kind", [220, 249, 189])
    def test_those_of_packets_stay_with_their_events(self, order, kind):
        record = usbpcap(b"x") if kind == 249 else packet(48 if kind == 189 else 64, order)
        plain = enhanced(record, order=order)
        told = option(2, bytes(4), order) + option(1, "schön".encode(), order)
        told += option(1, b"twice", order) + option(0, b"", order)
        data = section(order=order) + interface(kind, b"", order) + plain
        events, decoder = decoded(data + enhanced(record, options=told, order=order) + plain)
        assert [event.comments for event in events] == [(), ("schön", "twice"), ()]
        assert decoder.comments == ["schön", "twice"]
        assert [e.comments for e in decode(encoded(events))] == [e.comments for e in events]

    def test_many_take_memory_as_the_file_is_large(self):
        told = enhanced(packet(), options=option(1, b"c"))
        for data in (told, told + enhanced(packet()), told + block(0xBAD, b"")):
            decoder, piece = PcapngDecoder(), section() + interface() + data * 2000
            tracemalloc.start()
            try:
                events = decoder.feed(piece)
                assert tracemalloc.get_traced_memory()[1] < 40 * len(piece)
            finally:
                tracemalloc.stop()
            assert len(events.comments) == 2000

    def test_what_is_of_the_file_and_of_an_interface_is_told_apart(self):
        mine = Interface(220, "usbmon1")
        mine.comments = ["of it"]
        _, decoder = decoded(everything(mine)[0])
        assert decoder.own_comments == ["all of it", "again"]
        assert decoder.interfaces[0].comments == ["of it"]
        assert decoder.about == {"hardware": "x86", "os": "Linux"}

    def test_what_is_no_text_and_what_is_too_long_is_written_all_the_same(self):
        encoder = PcapngEncoder()
        data = encoder.begin((), {}, ["\udcff", "x" * 70_000, ""])
        assert decoded(data)[1].own_comments == ["?", "x" * 65535]


class TestReports:
    def test_they_are_told_between_the_events_that_they_stand_between(self):
        data, _ = everything(Interface(220, "usbmon1"))
        told: list[object] = []
        decoder = PcapngDecoder()
        decoder.on_report = told.append
        at = 0
        while at < len(data):
            events, used = decoder.advance(memoryview(bytearray(data[at:])), final=True)
            told += events
            at += used
        kinds = [x.xfer_type if isinstance(x, tuple) and len(x) > 10 else x for x in told]
        drops = Report(0, 6_000_000, dropped=7, end=6_000_000)
        note = Report(0, 6_000_001, comments=("plugged in",))
        assert kinds == ["control"] * 4 + ["bulk", drops, note, "bulk"] + ["control"] * 4

    @ORDERS
    def test_all_that_a_report_says_comes_back(self, order):
        report = Report(1, 1 << 60, 10, 3, 2, start=1 << 59, end=1 << 60, comments=("a", "b"))
        encoder, told = PcapngEncoder(order=order), []
        data = encoder.begin([Interface(220, "a"), Interface(189, "b")]) + encoder.report(report)
        decoder = PcapngDecoder()
        decoder.on_report = told.append
        decoder.feed(data)
        assert told == [report]
        assert decoder.interfaces[1].drops == [Drop(1 << 59, 1 << 60, 3)]

    @pytest.mark.parametrize("number", [1, 2, 65535, 2**32 - 1])
    def test_one_of_an_interface_that_is_not_there_is_of_the_first(self, number):
        encoder = PcapngEncoder()
        data = encoder.begin([Interface(220)]) + encoder.drops(number, 5, 9)
        assert decoded(data)[1].interfaces[0].dropped == 5

    def test_times_are_those_of_the_interface(self):
        options = option(9, b"\x03") + option(14, struct.pack("<q", 100))
        body = struct.pack("<III", 0, 0, 1500) + option(5, struct.pack("<Q", 1))
        _, decoder = decoded(section() + interface(1, options) + block(5, body))
        assert decoder.interfaces[0].drops == [Drop(None, 101_500_000_000, 1)]

    def test_drops_are_told_where_they_happened_and_counted_once(self):
        encoder = PcapngEncoder()
        data = encoder.begin([Interface(220, "usbmon1")])
        data += b"".join(
            encoder.drops(0, total, ts) for total, ts in ((0, 1), (3, 5), (3, 6), (9, 7))
        )
        _, decoder = decoded(data)
        (only,) = decoder.interfaces
        assert only.drops == [Drop(1, 5, 3), Drop(6, 7, 6)]
        assert (only.dropped, decoder.notes["dropped"].count) == (9, 9)
        assert only.as_dict()["drops"][0] == {"start": 1, "end": 5, "lost": 3}

    def test_only_the_first_hundred_places_are_kept(self):
        encoder = PcapngEncoder()
        data = encoder.begin([Interface(220)])
        data += b"".join(encoder.drops(0, n, n) for n in range(1, 200))
        _, decoder = decoded(data)
        assert (len(decoder.interfaces[0].drops), decoder.interfaces[0].dropped) == (100, 199)

    def test_what_was_told_is_not_told_again_at_the_end(self):
        known = Interface(220, "usbmon1")
        known.dropped = 7
        data, encoder = everything(known)
        assert encoder.end() == b""
        known.dropped = 8
        _, decoder = decoded(data + encoder.end())
        assert decoder.interfaces[0].drops[-1].lost == 1

    def test_comments_of_a_later_section_are_reports(self):
        told = []
        decoder = PcapngDecoder()
        decoder.on_report = told.append
        decoder.feed(section(option(1, b"first")) + interface() + section(option(1, b"second")))
        assert decoder.own_comments == ["first"]
        assert [report.comments for report in told] == [("second",)]


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            b"\2",
            b"\2\0\3",
            struct.pack("<HH", 2, 65535) + b"short",
            struct.pack("<HH", 0, 0) + option(2, b"behind the end"),
            option(2, b"") + struct.pack("<HH", 9, 4),
        ],
    )
    def test_damaged_options_say_nothing_and_cost_no_packet(self, options):
        events, decoder = decoded(section() + interface(220, options) + enhanced(packet()))
        assert len(events) == 1
        assert decoder.interfaces[0].name == ""

    def test_what_is_no_utf8_is_shown_all_the_same(self):
        _, decoder = decoded(section() + interface(220, option(2, b"usb\xffmon")))
        assert decoder.interfaces[0].name == "usb�mon"

    def test_options_of_a_packet_are_no_part_of_it(self):
        data = section() + interface() + enhanced(packet(payload=b"x"), options=option(2, bytes(4)))
        assert decode(data + enhanced(packet(payload=b"y")))[0].data == b"x"

    def test_the_application_is_written(self):
        _, decoder = decoded(encoded(Events.empty(), about={"application": "usbmon 1"}))
        assert decoder.about == {"application": "usbmon 1"}


class TestDamage:
    @pytest.mark.parametrize("size", [0, 8, 13, 2**32 - 4, 2**31])
    @ORDERS
    def test_a_length_that_no_block_has_is_an_error_with_its_place(self, order, size):
        bad = struct.pack(order + "II", 99, size) + bytes(64)
        data = (
            section(order=order) + interface(order=order) + enhanced(packet(64, order), order=order)
        )
        decoder = PcapngDecoder(file="x")
        events = decoder.feed(data + bad)
        assert len(events) == 1
        with pytest.raises(
            FormatError, match=f"^x: byte {len(data)}: a pcapng block claims {size}"
        ):
            decoder.close()

    def test_two_lengths_that_differ_are_an_error(self):
        bad = bytearray(block(99, b"something"))
        bad[-4] = 0
        with pytest.raises(FormatError, match="byte 28: a pcapng block's two lengths differ"):
            decoded(section() + bytes(bad))

    @pytest.mark.parametrize(
        ("kind", "body", "words"),
        [
            (6, bytes(16), "packet block is too short"),
            (2, bytes(16), "packet block is too short"),
            (3, b"", "packet block is too short"),
            (6, struct.pack("<IIIII", 1, 0, 0, 0, 0), "of interface 1, which is not described"),
            (2, struct.pack("<HHIIII", 9, 0, 0, 0, 0, 0), "of interface 9, which is not described"),
            (6, struct.pack("<IIIII", 0, 0, 0, 9999, 0), "packet is longer than its block"),
            (6, struct.pack("<IIIII", 0, 0, 0, 2**32 - 1, 0), "packet is longer than its block"),
            (2, struct.pack("<HHIIII", 0, 0, 0, 0, 5, 5), "packet is longer than its block"),
        ],
    )
    def test_a_packet_that_cannot_be_is_an_error_with_its_place(self, kind, body, words):
        good = section() + interface() + enhanced(packet())
        decoder = PcapngDecoder()
        assert len(decoder.feed(good + block(kind, body))) == 1
        with pytest.raises(FormatError, match=f"byte {len(good)}: a pcapng .*{words}"):
            decoder.close()

    def test_a_packet_before_any_interface_is_an_error(self):
        with pytest.raises(FormatError, match="interface 0, which is not described"):
            decoded(section() + enhanced(packet()))

    def test_a_cut_last_block_is_noted(self):
        good = section() + interface() + enhanced(packet())
        events, decoder = decoded(good + enhanced(packet())[:-1])
        assert len(events) == 1
        assert decoder.notes["cut record"].places == [f"byte {len(good)}"]

    def test_interfaces_are_not_without_limit(self):
        with pytest.raises(FormatError, match="more than 65535 pcapng interfaces"):
            PcapngDecoder().feed(section() + interface() * 65536)

    @given(
        order=st.sampled_from("<>"),
        changes=st.lists(
            st.tuples(st.integers(0, 1000), st.binary(min_size=1, max_size=4)), max_size=6
        ),
        cut=st.integers(0, 1000),
    )
    def test_damage_of_any_block_gives_events_or_a_format_error(self, order, changes, cut):
        data = bytearray(of_everything(order))
        for place, value in changes:
            at = place % len(data)
            data[at : at + len(value)] = value
        assert taken(bytes(data)) == taken(bytes(data[:cut]), bytes(data[cut:]))

    def test_a_file_of_everything_is_read(self):
        events, refused = taken(of_everything("<"))
        assert [event.data for event in events] == [b"one", b"two", b"three", b"four", b"one"]
        assert not refused

    @ORDERS
    def test_a_file_cut_anywhere_gives_its_first_events(self, order):
        data = of_everything(order)
        whole, _ = taken(data)
        for size in range(len(data)):
            events, _ = taken(data[:size])
            assert list(events) == list(whole[: len(events)])

    def test_a_block_that_claims_much_is_waited_for_in_little_memory(self):
        head = section() + interface() + struct.pack("<II", 6, 128 << 20) + bytes(1000)
        decoder = PcapngDecoder()
        tracemalloc.start()
        try:
            assert len(decoder.feed(head)) == 0
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
