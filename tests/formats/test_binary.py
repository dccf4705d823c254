"""Streams of the binary API: two header sizes, fillers, and data cut by GETX."""

import struct
import tracemalloc

import pytest

from tests.helpers import reference
from tests.helpers.corpus import binary, header_size, info, name
from tests.helpers.wire import descriptors, packet
from usbmon import Events, FormatError, decode
from usbmon.formats import by_name
from usbmon.formats.binary import BinaryDecoder, guess

FILLER = bytes(8) + b"@" + bytes(27) + struct.pack("<I", 448) + bytes(24)


def decoded(data: bytes, **options) -> tuple[Events, BinaryDecoder]:
    decoder = BinaryDecoder(**options)
    return Events.concat([decoder.feed(data), decoder.close()]), decoder


def written(events: Events, format: str = "bin") -> bytes:
    encoder = by_name(format).new_encoder()
    return encoder.begin() + bytes(encoder.encode(events))


class TestRecordedStreams:
    @pytest.mark.parametrize("path", binary(), ids=name)
    def test_another_reader_reads_the_same(self, path):
        data = path.read_bytes()
        events, decoder = decoded(data)
        size, cut = header_size(path), info(path).get("alloc")
        assert reference.differences(reference.binary(data, size, cut), events) == []
        assert decoder.notes.repairs == 0

    @pytest.mark.parametrize("path", binary(ours=True), ids=name)
    def test_it_is_written_back_to_the_byte(self, path):
        data = path.read_bytes()
        events, decoder = decoded(data)
        if decoder.alloc is None:
            format = "bin" if decoder.header == 64 else "bin48"
            assert written(events, format) == data.replace(FILLER[:36], b"")[: len(data)] or (
                decoder.notes["filler"].count == 1
                and len(written(events, format)) == len(data) - 64
            )

    def test_all_ways_of_reading_give_the_same_events(self):
        read, getx, mapped = (
            decode(path.read_bytes())
            for how in ("read", "getx", "mmap")
            for path in binary(ours=True)
            if path.parent.name == "hid-xhci" and how in path.name
        )
        # Each reader stamps for itself, and the old header has less.
        gone = {"ts": None, "interval": None, "start_frame": None, "xfer_flags": None}
        first, second, third = (
            [event._replace(**gone) for event in events] for events in (read, getx, mapped)
        )
        assert first == second == third

    @pytest.mark.parametrize("path", binary(ours=True), ids=name)
    def test_text_of_the_same_run_says_the_same(self, path):
        """Line by line, in all that text and the binary interface both say but the stamp."""
        text = path.with_name(f"{path.name[6]}u.txt")
        lines = reference.text(text.read_bytes())
        records = list(decode(path.read_bytes()))
        start = 430 if "mmap" in path.name and path.parent.name == "storage-ehci" else 0
        for line, event in zip(lines[start:], records, strict=False):
            not_both = {"ts", "len_cap", "xfer_flags", "data", "descriptors", "flag_data"}
            if event.xfer_flags is None:
                not_both |= {"interval", "start_frame"}
            if (event.type, event.xfer_type) == ("C", "iso"):  # text has the buffer's there
                not_both.add("length")
            both = {key: value for key, value in line.items() if key not in not_both}
            assert reference.differences([both], [event]) == []


class TestHeaders:
    @pytest.mark.parametrize("size", [48, 64])
    @pytest.mark.parametrize("count", [1, 2, 100])
    def test_the_size_is_found_from_one_record_on(self, size, count):
        events, decoder = decoded(packet(size, payload=b"0123456789abcdef") * count)
        assert (len(events), decoder.header) == (count, size)
        assert decoder.variant == f"{size}-byte headers"

    def test_it_can_be_given(self):
        events, decoder = decoded(packet(48), header=48)
        assert (len(events), decoder.header) == (1, 48)

    def test_it_waits_until_it_is_sure(self):
        decoder = BinaryDecoder()
        assert len(decoder.feed(packet())) == 0
        assert decoder.variant == ""
        assert len(decoder.feed(packet() * 100)) == 101

    @pytest.mark.parametrize("data", [b"", bytes(64), FILLER * 3, b"S" * 200, packet()[:40]])
    def test_nothing_is_made_of_other_bytes(self, data):
        assert guess(data) is None

    def test_other_bytes_are_a_format_error(self):
        with pytest.raises(FormatError, match=r"^x: byte 0: no records of the binary API"):
            decoded(bytes(200), file="x")

    def test_of_the_old_header_descriptors_are_those_that_the_count_says(self):
        rows = [(-18, n, 1) for n in range(3)]
        stream = packet(48, xfer_type=0, iso=(0, 3), payload=descriptors(*rows) + b"abc", length=3)
        events, _ = decoded(stream)
        assert events[0].descriptors == tuple(rows)
        assert (events[0].data, events[0].ndesc, events[0].numdesc) == (b"abc", 3, 3)

    @pytest.mark.parametrize(("numdesc", "ndesc"), [(-1, 0), (200, 128), (2**31 - 1, 128)])
    def test_of_the_old_header_there_are_at_most_128(self, numdesc, ndesc):
        payload = descriptors((0, 0, 0)) * 128
        events, _ = decoded(packet(48, xfer_type=0, iso=(0, numdesc), payload=payload))
        assert len(events[0].descriptors) == ndesc
        assert events[0].numdesc == numdesc

    def test_a_refused_isochronous_submission_has_none(self):
        events, _ = decoded(packet(48, type="E", xfer_type=0, iso=(0, 7), payload=bytes(32)))
        assert events[0].descriptors == ()

    def test_more_descriptors_than_there_are_bytes_are_those_there_are(self):
        stream = packet(xfer_type=0, ndesc=2**32 - 1, iso=(0, 9), payload=bytes(40), length=500)
        events, _ = decoded(stream)
        assert len(events[0].descriptors) == 2
        assert events[0].data == b""  # what is left is a piece of a descriptor


class TestFillers:
    def test_they_are_passed_over_and_counted(self):
        stream = packet(payload=b"one") + FILLER + FILLER + packet(payload=b"two") + FILLER
        events, decoder = decoded(stream)
        assert [event.data for event in events] == [b"one", b"two"]
        assert decoder.notes["filler"].count == 3
        assert decoder.notes.repairs == 0

    def test_a_stream_may_start_with_one(self):
        events, _ = decoded(FILLER + packet(payload=b"one"))
        assert [event.data for event in events] == [b"one"]


class TestCutData:
    """GETX with a small buffer: len_cap counts what is not there, and nothing says so."""

    LENGTHS = (0, 18, 0, 300, 20, 512, 512, 5)

    def stream(self, alloc: int, lengths=LENGTHS) -> bytes:
        return b"".join(
            packet(id=n + 1, payload=bytes([n]) * min(alloc, length), length=length, len_cap=length)
            for n, length in enumerate(lengths)
        )

    @pytest.mark.parametrize("alloc", [0, 1, 64, 192, 500])
    def test_where_data_were_cut_is_found(self, alloc):
        events, decoder = decoded(self.stream(alloc))
        assert decoder.alloc == alloc
        assert [event.id for event in events] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert [len(event.data) for event in events] == [min(alloc, n) for n in self.LENGTHS]
        assert [event.len_cap for event in events] == list(self.LENGTHS)
        assert decoder.variant == f"64-byte headers, data cut at {alloc} bytes"

    @pytest.mark.parametrize("chunk", [100, 1000, 14_992, 15_000, 15_248, 15_300, 100_000])
    def test_it_is_found_late_in_a_stream_too(self, chunk):
        stream = self.stream(192, (10,) * 200 + (600, 10, 600))
        decoder = BinaryDecoder()
        parts = [decoder.feed(stream[at : at + chunk]) for at in range(0, len(stream), chunk)]
        events = Events.concat([*parts, decoder.close()])
        assert len(events) == 203
        assert decoder.alloc == 192

    def test_a_stream_that_is_only_cut_at_the_end_is_not_taken_for_it(self):
        events, decoder = decoded(self.stream(10_000)[:-200])
        assert decoder.alloc is None
        assert decoder.notes["cut record"].count > 0
        assert len(events) == 6

    def test_written_again_each_record_says_its_own_length(self):
        """Else a stream of records cut at different lengths could not be read by anyone."""
        stream = self.stream(64)
        encoder = by_name("bin").new_encoder()
        again, decoder = decoded(bytes(encoder.encode(decode(stream))))
        assert decoder.alloc is None
        assert [event.data for event in again] == [event.data for event in decode(stream)]
        assert list(encoder.lost.values()) == [3]


class TestDamage:
    def test_lost_bytes_are_an_error_with_the_place(self):
        good = packet(payload=b"0123456789") * 100
        decoder = BinaryDecoder(file="x")
        # The last waits for what follows, which can show it to be cut.
        assert len(decoder.feed(good)) == 99
        assert len(decoder.feed(b"\xff" * 200)) == 1
        with pytest.raises(FormatError, match=f"^x: byte {len(good)}: no record of the binary API"):
            decoder.close()

    def test_what_stands_before_the_damage_in_the_same_bytes_is_given_first(self):
        decoder = BinaryDecoder()
        block = memoryview(bytearray(packet() * 100 + b"\xff" * 200))
        events, used = decoder.advance(block, False)
        assert (len(events), used) == (100, 6400)
        with pytest.raises(FormatError):
            decoder.advance(block[used:], False)

    def test_an_unfinished_record_is_noted_with_its_place(self):
        data = packet(payload=b"0123456789") * 2
        events, decoder = decoded(data[:-3])
        assert len(events) == 1
        assert (decoder.notes["cut record"].count, decoder.notes["cut record"].places) == (
            71,
            ["byte 74"],
        )

    @pytest.mark.parametrize("length", [2**31, 2**32 - 1, (128 << 20) + 1])
    def test_a_length_that_no_kernel_has_is_damage(self, length):
        decoder = BinaryDecoder()
        decoder.feed(packet() * 100)
        with pytest.raises(FormatError, match="byte 6400"):
            decoder.feed(packet(len_cap=length))

    @pytest.mark.parametrize(
        "field",
        [
            {"type": "X"},
            {"xfer_type": 4},
            {"epnum": 0x11},
            {"devnum": 128},
            {"flag_setup": 1},
            {"flag_data": 200},
            {"ts_usec": -1},
            {"ts_usec": 1_000_000},
            {"ts_sec": -1},
            {"ts_sec": 2**40},
        ],
    )
    def test_values_that_no_kernel_has_are_damage(self, field):
        decoder = BinaryDecoder()
        decoder.feed(packet() * 100)
        with pytest.raises(FormatError):
            decoder.feed(packet(**field))

    def test_a_record_that_claims_much_is_waited_for_in_little_memory(self):
        decoder = BinaryDecoder()
        decoder.feed(packet() * 100)
        tracemalloc.start()
        try:
            assert len(decoder.feed(packet(len_cap=128 << 20))) == 0
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
