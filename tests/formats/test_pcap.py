"""pcap files: both resolutions and byte orders, the kernel's two link types, and USBPcap's."""

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import reference
from tests.helpers.corpus import captures, name
from tests.helpers.wire import descriptors, packet, pcap, usbpcap
from usbmon import Events, FormatError, decode
from usbmon.formats.pcap import Pcap189Encoder, PcapDecoder, PcapEncoder
from usbmon.formats.text import UEncoder
from usbmon.usb.errno import USBD_ERRNO

PLAIN = [path for path in captures() if path.suffix in {".pcap", ".cap"}]
LINUX = [
    path
    for path in PLAIN
    if path.read_bytes()[:4] == b"\xd4\xc3\xb2\xa1" and path.read_bytes()[20] in {189, 220}
]


def decoded(data: bytes, **options) -> tuple[Events, PcapDecoder]:
    decoder = PcapDecoder(**options)
    return Events.concat([decoder.feed(data), decoder.close()]), decoder


def encoded(encoder: PcapEncoder, events: Events) -> bytes:
    return encoder.begin() + bytes(encoder.encode(events))


class TestRecordedFiles:
    @pytest.mark.parametrize("path", LINUX, ids=name)
    def test_another_reader_reads_the_same(self, path):
        data = path.read_bytes()
        events, decoder = decoded(data)
        assert reference.differences(reference.pcap(data), events) == []
        assert decoder.notes.repairs == 0
        assert decoder.interfaces[0].packets == len(events)

    @pytest.mark.parametrize("path", captures(ours=True), ids=name)
    def test_records_are_written_back_to_the_byte(self, path):
        """All but the original lengths, which the kernel's count of a cut record is not."""
        data = path.read_bytes()
        again = encoded(PcapEncoder(), decode(data))
        assert len(again) == len(data)
        at = 24
        while at < len(data):
            (size,) = struct.unpack_from("<I", data, at + 8)
            assert again[at : at + 12] == data[at : at + 12]
            assert again[at + 16 : at + 16 + size] == data[at + 16 : at + 16 + size]
            at += 16 + size

    @pytest.mark.parametrize("path", captures(ours=True), ids=name)
    def test_text_of_the_same_run_says_the_same(self, path):
        lines = reference.text(path.with_name(f"{path.name[6]}u.txt").read_bytes())
        events = decode(path.read_bytes())
        keys = {"id", "type", "xfer_type", "epnum", "devnum", "busnum", "status", "setup"}
        for line, event in zip(lines, events, strict=False):
            both = {key: value for key, value in line.items() if key in keys}
            assert reference.differences([both], [event]) == []


ORDERS = pytest.mark.parametrize("order", ["<", ">"])


class TestContainer:
    @ORDERS
    @pytest.mark.parametrize(("nano", "unit"), [(False, 1000), (True, 1)])
    @pytest.mark.parametrize(("link_type", "size"), [(189, 48), (220, 64)])
    def test_every_kind_is_read(self, order, nano, unit, link_type, size):
        record = packet(size, order, b"data", id=0x0102030405060708, busnum=0x0304)
        data = pcap(record, order=order, nano=nano, link_type=link_type)
        events, decoder = decoded(data)
        assert reference.differences(reference.pcap(data), events) == []
        assert events[0].ts == 1_700_000_000 * 10**9 + 7 * unit
        resolution = "nanoseconds" if nano else "microseconds"
        assert decoder.variant == f"{resolution}, {'big' if order == '>' else 'little'}-endian"

    @ORDERS
    @pytest.mark.parametrize("nano", [False, True])
    def test_every_kind_is_written(self, order, nano):
        events = decode(pcap(packet(payload=b"data"), stamp=(1, 999_999_999), nano=True))
        data = encoded(PcapEncoder(nano=nano, order=order), events)
        assert reference.differences(reference.pcap(data), decode(data)) == []
        assert decode(data)[0].data == b"data"
        assert decode(data)[0].ts == (1_999_999_999 if nano else 1_999_999_000)

    @ORDERS
    def test_isochronous_fields_and_descriptors_are_of_the_files_order(self, order):
        rows = ((-18, 0, 192), (-71, 192, 1))
        record = packet(
            64,
            order,
            descriptors(*rows, order=order) + b"abc",
            xfer_type=0,
            iso=(1, 2),
            ndesc=2,
            interval=8,
            start_frame=1000,
        )
        (event,) = decode(pcap(record, order=order))
        assert event.descriptors == rows
        assert (event.error_count, event.numdesc) == (1, 2)
        assert (event.interval, event.start_frame, event.data) == (8, 1000, b"abc")
        again = encoded(PcapEncoder(order=order), decode(pcap(record, order=order)))
        assert again[40:] == pcap(record, order=order)[40:]

    @ORDERS
    def test_a_setup_packet_is_bytes_in_any_order(self, order):
        setup = bytes.fromhex("8006000100001200")
        record = packet(64, order, type="S", xfer_type=2, flag_setup=0, setup=setup)
        assert decode(pcap(record, order=order))[0].setup == setup

    def test_the_upper_bits_of_the_link_type_are_not_it(self):
        data = bytearray(pcap(packet()))
        data[20:24] = struct.pack("<I", 0xF400_00DC)
        assert len(decode(bytes(data))) == 1

    def test_the_original_length_tells_what_is_not_there(self):
        events = decode(pcap(packet(payload=b"abcd", length=512, len_cap=512)))
        data = encoded(PcapEncoder(), events)
        assert struct.unpack_from("<II", data, 32) == (68, 64 + 512)
        assert decode(data)[0].len_cap == 512

    def test_the_old_link_type_is_written_for_tools_that_know_no_other(self):
        events = decode(pcap(packet(payload=b"abcd")))
        data = encoded(Pcap189Encoder(), events)
        assert data[20:24] == bytes((189, 0, 0, 0))
        assert reference.differences(reference.pcap(data), decode(data)) == []

    @pytest.mark.parametrize("second", [0, 2**31, 2**32 - 1])
    def test_seconds_are_unsigned(self, second):
        events = decode(pcap(packet(), nano=True, stamp=(second, 5)))
        assert events[0].ts == second * 10**9 + 5
        assert encoded(PcapEncoder(nano=True), events)[24:32] == struct.pack("<II", second, 5)


class TestOtherPackets:
    def test_of_another_link_type_all_are_counted_and_passed_over(self):
        events, decoder = decoded(pcap(b"ethernet", b"frames", link_type=1))
        assert len(events) == 0
        assert decoder.notes["other link type"].count == 2
        assert decoder.notes["other link type"].places == ["link type 1"]
        assert decoder.notes.repairs == 0
        assert decoder.interfaces[0].packets == 2

    def test_a_file_of_another_link_type_without_packets_says_nothing(self):
        _, decoder = decoded(pcap(link_type=1))
        assert not decoder.notes

    @pytest.mark.parametrize(
        "record",
        [
            b"",
            packet()[:63],
            packet(type="X"),
            packet(type="@"),
            packet(xfer_type=4),
            packet(xfer_type=255),
        ],
        ids=["empty", "short", "type", "filler", "transfer type", "far transfer type"],
    )
    def test_records_that_are_no_events_are_left_out_and_the_others_kept(self, record):
        events, decoder = decoded(pcap(packet(id=1), record, packet(id=2), record, packet(id=3)))
        assert [event.id for event in events] == [1, 2, 3]
        assert decoder.notes["short record"].count == 2

    def test_a_row_that_is_left_out_leaves_nothing_behind(self):
        rich = packet(
            payload=descriptors((-1, 2, 3)),
            xfer_type=0,
            iso=(5, 1),
            ndesc=1,
            interval=9,
            type="X",
        )
        events, _ = decoded(pcap(rich, packet(id=7), rich, packet(id=8, payload=b"x")))
        assert list(events) == list(decode(pcap(packet(id=7), packet(id=8, payload=b"x"))))


class TestDamage:
    @pytest.mark.parametrize("size", range(4, 24))
    def test_a_cut_file_header_is_an_error(self, size):
        with pytest.raises(FormatError, match=r"^x: byte 0: a pcap file header has 24 bytes"):
            decoded(pcap()[:size], file="x")

    def test_wrong_magic_is_an_error(self):
        with pytest.raises(FormatError, match=r"not a pcap file \(it starts with 00 01 02 03\)"):
            decoded(bytes(range(40)))

    def test_another_version_is_an_error(self):
        data = bytearray(pcap())
        data[4] = 3
        with pytest.raises(FormatError, match=r"byte 4: pcap version 3\.4 is not known"):
            decoded(bytes(data))

    @pytest.mark.parametrize("left", [1, 15, 16, 17, 79])
    def test_a_cut_last_record_is_noted_with_its_place(self, left):
        data = pcap(packet(), packet())
        events, decoder = decoded(data[: 24 + 80 + left])
        assert len(events) == 1
        assert decoder.notes["cut record"].count == left
        assert decoder.notes["cut record"].places == ["byte 104"]

    @ORDERS
    @pytest.mark.parametrize("size", [2**32 - 1, 2**31, (128 << 20) + 1])
    def test_a_length_that_no_capture_has_is_an_error_with_its_place(self, order, size):
        data = pcap(packet(64, order), order=order) + struct.pack(order + "IIII", 1, 1, size, size)
        decoder = PcapDecoder(file="x")
        assert len(decoder.feed(data)) == 1
        with pytest.raises(FormatError, match=r"^x: byte 104: a record claims more bytes"):
            decoder.close()

    def test_a_record_that_claims_much_is_waited_for_in_little_memory(self):
        head = pcap() + struct.pack("<IIII", 1, 1, 128 << 20, 128 << 20)
        decoder = PcapDecoder()
        tracemalloc.start()
        try:
            assert len(decoder.feed(head + bytes(1000))) == 0
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
            assert len(decoder.close()) == 0
        finally:
            tracemalloc.stop()
        assert decoder.notes["cut record"].count == 1016

    def test_more_descriptors_than_there_are_bytes_are_those_there_are(self):
        record = packet(xfer_type=0, ndesc=2**32 - 1, iso=(0, -1), payload=bytes(35), length=9)
        (event,) = decode(pcap(record))
        assert (len(event.descriptors), event.ndesc, event.numdesc) == (2, 2, -1)


def windows(*records: bytes) -> Events:
    return decode(pcap(*records, link_type=249))


class TestUsbPcap:
    """desowin.org/usbpcap/captureformat.html; a record is little-endian in any file."""

    def test_a_bulk_completion(self):
        (event,) = windows(usbpcap(b"hello", info=1, endpoint=0x82, bus=3, device=9))
        assert (event.type, event.xfer_type, event.epnum, event.is_in) == ("C", "bulk", 0x82, True)
        assert (event.busnum, event.devnum, event.id) == (3, 9, 0xFFFFFA80_12345670)
        assert (event.status, event.length, event.data) == (0, 5, b"hello")
        assert (event.setup, event.flag_setup, event.flag_data) == (None, "-", None)
        assert (event.usbd_status, event.usbd_function) == (0, 9)
        assert (event.ts, event.clock) == (1_700_000_000_000_007_000, "wall")

    def test_what_windows_does_not_tell_is_absent(self):
        (event,) = windows(usbpcap(info=0, endpoint=0x82))
        assert event.interval is event.xfer_flags is event.len_cap is None
        # Of an input's request the length is not told; 0 is no length.
        assert event.length is None

    def test_an_output_carries_its_data_when_it_is_submitted(self):
        (event,) = windows(usbpcap(b"hello", info=0, endpoint=0x02))
        assert (event.type, event.status, event.length) == ("S", -115, 5)
        assert (event.flag_data, event.data) == (None, b"hello")
        (event,) = windows(usbpcap(info=1, endpoint=0x02))
        assert (event.type, event.flag_data) == ("C", ">")

    def test_an_input_has_none_when_it_is_submitted(self):
        (event,) = windows(usbpcap(info=0, endpoint=0x81, transfer=1))
        assert (event.type, event.xfer_type, event.flag_data) == ("S", "interrupt", "<")

    def test_a_control_request_starts_with_its_setup_packet(self):
        setup = bytes.fromhex("8006000100001200")
        (event,) = windows(usbpcap(setup, b"\0", info=0, endpoint=0, transfer=2))
        assert (event.type, event.xfer_type, event.setup) == ("S", "control", setup)
        # Its endpoint does not say the direction, and its length is that of the setup packet.
        assert (event.epnum, event.length, event.data) == (0x80, 18, b"")
        assert event.flag_data == "<"

    def test_a_control_request_that_sends_has_its_data_behind(self):
        setup = bytes.fromhex("2109000200000300")
        (event,) = windows(usbpcap(setup + b"abc", b"\0", info=0, endpoint=0, transfer=2))
        assert (event.setup, event.epnum, event.length, event.data) == (setup, 0, 3, b"abc")

    @pytest.mark.parametrize("stage", [1, 2, 3])
    def test_the_other_stages_have_no_setup_packet(self, stage):
        (event,) = windows(
            usbpcap(b"0123456789", bytes([stage]), info=1, endpoint=0x80, transfer=2)
        )
        assert (event.type, event.setup, event.data) == ("C", None, b"0123456789")

    def test_isochronous_packets_become_descriptors(self):
        packets = struct.pack("<III", 0, 4, 0) + struct.pack("<III", 8, 2, 0xC0000001)
        more = struct.pack("<III", 77, 2, 1) + packets
        (event,) = windows(usbpcap(b"abcdefghij", more, info=1, endpoint=0x83, transfer=0))
        assert event.descriptors == ((0, 0, 4), (USBD_ERRNO[0xC0000001], 8, 2))
        assert (event.start_frame, event.numdesc, event.error_count) == (77, 2, 1)
        assert (event.ndesc, event.data) == (2, b"abcdefghij")

    def test_several_isochronous_records_do_not_get_in_each_others_way(self):
        records = []
        for n in range(20):
            packets = b"".join(struct.pack("<III", k * n, n, 0) for k in range(n))
            more = struct.pack("<III", n, n, 0) + packets
            records.append(usbpcap(bytes([n]) * n, more, info=1, endpoint=0x83, transfer=0))
            records.append(usbpcap(b"bulk", info=1))
        events = windows(*records)
        assert len(events) == 40
        for n, event in enumerate(events[::2]):
            assert event.descriptors == tuple((0, k * n, n) for k in range(n))
            assert event.data == bytes([n]) * n
        assert all(event.data == b"bulk" for event in events[1::2])

    def test_a_packet_count_that_is_not_that_of_the_header_gives_no_descriptors(self):
        more = struct.pack("<III", 1, 1000, 0) + bytes(12)
        (event,) = windows(usbpcap(b"abc", more, info=1, endpoint=0x83, transfer=0))
        assert (event.numdesc, event.descriptors, event.data) == (1000, (), b"abc")

    @pytest.mark.parametrize(
        ("usbd", "errno"),
        [
            (0x00000000, 0),  # USBD_STATUS_SUCCESS
            (0xC0000004, -32),  # USBD_STATUS_STALL_PID
            (0xC0000001, -84),  # USBD_STATUS_CRC
            (0xC0000008, -75),  # USBD_STATUS_DATA_OVERRUN: babble
            (0xC0000009, -121),  # USBD_STATUS_DATA_UNDERRUN: short
            (0xC00000FF, -71),  # an error that is not in any table
            (0x40000123, 0),  # and no error
        ],
    )
    def test_a_status_is_kept_and_mapped_to_the_nearest_errno(self, usbd, errno):
        (event,) = windows(usbpcap(info=1, status=usbd, function=0x0B))
        assert (event.status, event.usbd_status, event.usbd_function) == (errno, usbd, 0x0B)

    @pytest.mark.parametrize(
        "record",
        [
            usbpcap()[:26],
            usbpcap(size=26),
            usbpcap(size=28),
            usbpcap(transfer=2),
            usbpcap(transfer=0),
            usbpcap(length=2**32 - 1),
        ],
        ids=[
            "cut",
            "small header",
            "long header",
            "control",
            "iso",
            "length",
        ],
    )
    def test_records_that_do_not_hold_what_they_should_are_left_out(self, record):
        events, decoder = decoded(pcap(usbpcap(b"a"), record, usbpcap(b"b"), link_type=249))
        assert [event.data for event in events] == [b"a", b"b"]
        assert decoder.notes["short record"].count == 1

    @pytest.mark.parametrize("kind", [254, 255], ids=["IRP information", "unknown"])
    def test_requests_that_are_no_transfer_are_passed_over(self, kind):
        data = pcap(usbpcap(b"a"), usbpcap(transfer=kind), usbpcap(b"b"), link_type=249)
        events, decoder = decoded(data)
        assert [event.data for event in events] == [b"a", b"b"]
        assert decoder.notes["no transfer"].count == 1
        assert decoder.notes.repairs == 0

    ISO = usbpcap(
        b"abcdefgh",
        struct.pack("<III", 7, 2, 0) + struct.pack("<III", 0, 4, 0) + struct.pack("<III", 4, 4, 0),
        endpoint=0x83,
        transfer=0,
    )
    CONTROL = usbpcap(bytes.fromhex("8006000100001200"), b"\0", info=0, endpoint=0, transfer=2)

    @given(
        changes=st.lists(
            st.tuples(st.integers(24, 255), st.binary(min_size=1, max_size=4)), max_size=6
        ),
        cut=st.integers(0, 400),
    )
    def test_damage_gives_events_or_a_format_error(self, changes, cut):
        data = bytearray(pcap(self.ISO, self.CONTROL, self.ISO, usbpcap(b"x"), link_type=249))
        for at, value in changes:
            data[at : at + len(value)] = value
        whole = PcapDecoder()
        parts = PcapDecoder()
        try:
            events = Events.concat([whole.feed(data), whole.close()])
        except FormatError:
            return
        pieces = [parts.feed(data[:cut]), parts.feed(data[cut:]), parts.close()]
        assert Events.concat(pieces) == events
        assert all(event.type in "SC" for event in events)

    def test_writing_what_only_windows_says_is_a_loss(self):
        encoder = PcapEncoder()
        encoder.encode(windows(usbpcap(b"hello")))
        assert encoder.lost == {"USBD_STATUS and URB function of Windows": 1}


def test_function_0_of_windows_selects_a_configuration_and_is_told():
    setup = bytes.fromhex("0009010000000000")
    (event,) = windows(usbpcap(setup, b"\0", info=0, endpoint=0, transfer=2, function=0))
    assert (event.usbd_function, event.usbd_status) == (0, 0)
    assert decode(pcap(packet())).present("usbd_function").tolist() == [False]


def test_data_sent_that_windows_tells_on_the_way_back_are_data():
    (event,) = windows(usbpcap(b"coding!", b"\1", info=1, endpoint=0, transfer=2))
    assert (event.type, event.flag_data, event.data) == ("C", None, b"coding!")


def test_a_length_of_windows_too_short_for_its_setup_packet_is_none_of_the_data():
    setup = bytes.fromhex("2109000200000000")
    (event,) = windows(usbpcap(setup, b"\0", info=0, endpoint=0, transfer=2, length=3))
    assert (event.setup, event.length, event.data) == (setup, 0, b"")


def test_flags_that_no_kernel_writes_do_not_break_the_lines_of_a_text():
    flags = (10, 32, 48, 115, 200)
    records = [
        packet(xfer_type=2, flag_setup=flag, flag_data=flag, length=4, payload=b"abcd")
        for flag in flags
    ]
    # QEMU writes the sign of the text where data are present.
    records.append(packet(flag_setup=ord("Z"), flag_data=ord("="), payload=b"abcd"))
    again = decode(bytes(UEncoder().encode(decode(pcap(*records)))))
    assert [event.flag_setup for event in again] == ["Z"] * len(flags) + ["-"]
    assert again[-1].data == b"abcd"
