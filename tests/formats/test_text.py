"""usbmon text, clean: what the kernel prints is read as it means it, and written back to the byte.

The lines are the kernel's own, from our recordings, the document of 2009 and mon_text.c.
"""

import lzma
import tracemalloc
from pathlib import Path

import pytest

from tests.helpers import reference
from tests.helpers.corpus import CAPTURES, name, text_t, text_u
from tests.helpers.generated import batch
from usbmon import Events, FormatError, decode
from usbmon.formats import by_name
from usbmon.formats.base import Buffers
from usbmon.formats.text import TextDecoder, cut, scan


def one(line: str):
    """The event of a line that is in order as it stands."""
    decoder = TextDecoder()
    events = Events.concat([decoder.feed(line.encode() + b"\n"), decoder.close()])
    assert not decoder.notes
    (event,) = events
    return event


def written(events: Events, format: str) -> bytes:
    return bytes(by_name(format).new_encoder().encode(events))


def bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


class TestRecordedTraces:
    @pytest.mark.parametrize("path", text_u(ours=True) + text_t(ours=True), ids=name)
    def test_another_reader_reads_the_same(self, path):
        data = path.read_bytes()
        assert reference.differences(reference.text(data), decode(data)) == []

    @pytest.mark.parametrize("path", text_u(), ids=name)
    def test_format_u_is_written_back_to_the_byte(self, path):
        data = bytes_of(path)
        decoder = TextDecoder()
        events = Events.concat([decoder.feed(data), decoder.close()])
        assert decoder.variant == "u"
        if not decoder.notes:
            assert written(events, "u") == data.removesuffix(b"\n") + b"\n"
        assert len(decode(written(events, "u"), strict=True)) == len(events)

    @pytest.mark.parametrize("path", text_t(), ids=name)
    def test_format_t_is_written_back_to_the_byte(self, path):
        data = path.read_bytes()
        decoder = TextDecoder()
        events = Events.concat([decoder.feed(data), decoder.close()])
        assert decoder.variant == "t"
        assert not decoder.notes
        assert written(events, "t") == data

    @pytest.mark.parametrize("path", text_u(ours=True) + text_t(ours=True), ids=name)
    def test_our_recordings_need_no_mending(self, path):
        decoder = TextDecoder(strict=True)
        events = Events.concat([decoder.feed(path.read_bytes()), decoder.close()])
        assert len(events) == path.read_bytes().count(b"\n")
        assert not decoder.notes
        assert (decoder.pairing.doubled, decoder.statistics) == (0, [])

    def test_u_of_a_run_is_t_of_that_run_with_more(self):
        """Every reader stamps for itself; all else that `t` has, `u` has too."""
        for old in text_t(ours=True):
            new = old.with_name(old.name.replace("t.txt", "u.txt"))
            events = decode(new.read_bytes())[: old.read_bytes().count(b"\n")]
            lines = [line.split(b" ") for line in written(events, "t").splitlines()]
            theirs = [line.split(b" ") for line in old.read_bytes().splitlines()]
            assert [words[:1] + words[2:] for words in lines] == [
                words[:1] + words[2:] for words in theirs
            ]


# The document of 2009, with what its words say.
PORT_STATUS = "d5ea89a0 3575914555 S Ci:001:00 s a3 00 0000 0003 0004 4 <"
SCSI_5E = (
    "dd65f0e8 4128379752 S Bo:005:02 -115 31 = "
    "55534243 5e000000 00000000 00000600 00000000 00000000 00000000 000000"
)


class TestLines:
    def test_a_control_submission_of_2009(self):
        event = one(PORT_STATUS)
        assert (event.id, event.type, event.xfer_type) == (0xD5EA89A0, "S", "control")
        assert (event.epnum, event.devnum, event.is_in) == (0x80, 1, True)
        # The words of a setup packet are values; on the wire they are little-endian.
        assert event.setup == bytes.fromhex("a3 00 0000 0300 0400")
        assert (event.status, event.length, event.flag_data, event.data) == (-115, 4, "<", b"")

    def test_a_scsi_command_of_2009(self):
        event = one(SCSI_5E)
        assert (event.xfer_type, event.epnum, event.devnum) == ("bulk", 2, 5)
        assert (event.status, event.length) == (-115, 31)
        assert event.data == b"USBC\x5e" + bytes(9) + b"\x06" + bytes(16)
        assert (event.setup, event.flag_setup, event.flag_data) == (None, "-", None)

    def test_data_are_bytes_in_the_order_they_stand_in(self):
        assert one("a 1 C Ii:1:002:1 0:8 7 = 01020304 0a0b0c").data == bytes.fromhex(
            "01020304 0a0b0c"
        )

    def test_a_setup_that_was_not_captured_is_none(self):
        line = "a 1 S Co:1:002:0 Z __ __ ____ ____ ____ 0"
        event = one(line)
        assert (event.setup, event.flag_setup, event.status) == (None, "Z", -115)
        assert written(decode(line.encode()), "u") == line.encode() + b"\n"

    @pytest.mark.parametrize(
        ("word", "status", "interval", "start_frame", "error_count"),
        [
            ("S Ii:1:002:1 -115:16 8 <", -115, 16, 0, None),
            ("C Ii:1:002:1 -2:2048 0", -2, 2048, 0, None),
            ("S Zo:1:002:1 -115:8:1250 0 3 Z", -115, 8, 1250, None),
            ("C Zi:1:002:1 -18:1:-5:2 0 0", -18, 1, -5, 2),
        ],
    )
    def test_periodic_events_have_more_behind_the_status(
        self, word, status, interval, start_frame, error_count
    ):
        event = one(f"ffff8cc704d36500 22374186 {word}")
        assert (event.status, event.interval) == (status, interval)
        assert (event.start_frame, event.error_count) == (start_frame, error_count)

    def test_a_refused_submission_has_the_bare_status(self):
        event = one("ffff8ef82f2a4900 26699572 E Ii:1:001:1 -22 0")
        assert (event.type, event.status, event.interval, event.length) == ("E", -22, 0, 0)
        assert event.flag_data == "E"

    def test_of_many_descriptors_five_are_shown(self):
        event = one(
            "ffff8cc702f0bc00 27048298 C Zi:1:002:5 0:1:2118:1 24 0:0:33 0:64:40 -71:128:47 "
            "0:192:0 0:256:61 1536 = 5f60"
        )
        assert (event.numdesc, event.ndesc, event.error_count) == (24, 5, 1)
        assert event.descriptors[2] == (-71, 128, 47)
        assert event.data == b"\x5f\x60"

    def test_fewer_than_five_are_all_shown(self):
        event = one("a 1 S Zo:1:002:1 -115:8:0 2 -18:0:192 -18:192:192 384 Z")
        assert event.descriptors == ((-18, 0, 192), (-18, 192, 192))
        assert (event.numdesc, event.flag_data) == (2, "Z")

    @pytest.mark.parametrize("flag", ["<", ">", "Z", "D", "?"])
    def test_without_data_a_letter_says_why(self, flag):
        event = one(f"a 1 S Bo:1:002:1 -115 512 {flag}")
        assert (event.flag_data, event.data, event.length) == (flag, b"", 512)

    @pytest.mark.parametrize(
        ("kind", "direction", "flag"),
        [("S", "i", "<"), ("S", "o", None), ("C", "i", None), ("C", "o", ">"), ("E", "i", "E")],
    )
    def test_a_line_that_ends_at_length_0_has_the_flag_of_the_binary_interface(
        self, kind, direction, flag
    ):
        assert one(f"a 1 {kind} B{direction}:1:002:1 0 0").flag_data == flag

    @pytest.mark.parametrize("digits", range(1, 17))
    def test_a_tag_has_any_number_of_digits(self, digits):
        """A blank at any place behind it must not be taken for its end."""
        tag = "f" * digits
        for stamp in ("1", "12345", "123456", "1234567", "12345678", "123456789", "1234567890"):
            assert one(f"{tag} {stamp} S Bo:1:002:1 -115 0").id == int(tag, 16)

    def test_a_negative_length_ends_the_line_too(self):
        line = b"a 1 C Bi:1:002:1 -71 -1\n"
        assert written(decode(line), "u") == line

    @pytest.mark.parametrize(
        "line",
        [
            "0 0 S Bo:0:000:0 0 0",
            "ffffffffffffffff 4294967295 S Bi:65535:255:127 -2147483648 2147483647 <",
            "1 1 C Zi:1:127:15 2147483647:-2147483648:2147483647:-1 1 -2147483648:4294967295:0 0",
        ],
        ids=["smallest", "largest", "largest isochronous"],
    )
    def test_extreme_numbers_are_kept(self, line):
        assert reference.differences([reference.text_line(line)], decode(line.encode())) == []
        assert written(decode(line.encode()), "u") == line.encode() + b"\n"

    @pytest.mark.parametrize(
        "line",
        [
            "a 4294967296 S Bo:1:002:1 0 0",
            "a -1 S Bo:1:002:1 0 0",
            "a 1 X Bo:1:002:1 0 0",
            "a 1 S Qo:1:002:1 0 0",
            "a 1 S Bx:1:002:1 0 0",
            "a 1 S Bo:65536:002:1 0 0",
            "a 1 S Bo:1:256:1 0 0",
            "a 1 S Bo:1:002:128 0 0",
            "a 1 S Bo:1:002:1 2147483648 0",
            "a 1 S Bo:1:002:1 0 2147483648",
            "a 1 S Bo:1:002:1 s 80 06 0100 0000 0012 18 <",
            "a 1 S Ci:1:002:0 s 80 06 0100 0000 001 18 <",
            "a 1 S Ci:1:002:0 s 80 0g 0100 0000 0012 18 <",
            "a 1 S Ci:1:002:0 Z __ __ ____ ____ ___ 18 <",
            "a 1 C Zi:1:002:1 0:1:2:0 1 0:0 0",
            "a 1 C Zi:1:002:1 0:1:2:0 1 0:-1:0 0",
            "a 1 C Bi:1:002:1 0 4 = 0102030",
            "a 1 C Bi:1:002:1 0 4 = 01 02",
            "a 1 C Bi:1:002:1 0 4 = 0g",
            "a 1 C Bi:1:002:1 0 4",
            "a 1 C Bi:1:002:1 0 4 < more",
        ],
    )
    def test_what_no_kernel_prints_is_no_event(self, line):
        decoder = TextDecoder()
        good = b"a 1 S Bo:1:002:1 0 0\n"
        data = good + line.encode() + b"\n" + good
        events = Events.concat([decoder.feed(data), decoder.close()])
        assert len(events) == 2
        assert decoder.notes["unreadable"].places[0].startswith("line 2: ")


class TestAbsent:
    """What a trace cannot say is absent, and not zero."""

    def test_t_has_neither_bus_nor_interval_nor_descriptors(self):
        interrupt, iso, bulk = decode(
            b"a 1 C Ii:002:01 0 0\nb 1 C Zi:002:01 0 0\nc 1 C Bi:002:01 0 0\n"
        )
        assert interrupt.busnum is iso.busnum is bulk.busnum is None
        assert interrupt.interval is iso.interval is None
        assert iso.start_frame is iso.error_count is iso.numdesc is iso.ndesc is None
        assert bulk.interval == 0

    @pytest.mark.parametrize("address", ["Bi:1:002:1", "Bi:002:01"])
    def test_no_text_has_flags_or_captured_lengths(self, address):
        event = one(f"a 1 C {address} 0 0")
        assert event.xfer_flags is event.len_cap is None
        assert event.usbd_status is event.usbd_function is None

    def test_u_has_bus_0(self):
        assert one("a 1 C Bi:0:002:1 0 0").busnum == 0

    def test_t_is_not_made_into_more_than_it_is(self):
        """As `u`, an interval that is not known is not written as one of 0."""
        events = decode(b"a 1 C Ii:002:01 -2 0\n")
        assert written(events, "u") == b"a 1 C Ii:0:002:1 -2 0\n"


class TestStamps:
    """FORMATS: 32 bits of microseconds; today's kernel turns at 4096 s, older ones at 2^32 µs."""

    def times(self, *stamps: int, kind: str = "S") -> list[int | None]:
        lines = "".join(f"{n:x} {stamp} {kind} Bo:1:002:1 0 0\n" for n, stamp in enumerate(stamps))
        return [event.ts and event.ts // 1000 for event in decode(lines.encode())]

    def test_todays_kernel_turns_at_4096_seconds(self):
        assert self.times(4095999990, 10, 20) == [4095999990, 4096000010, 4096000020]

    def test_an_older_kernel_turns_at_32_bits(self):
        assert self.times(4294967290, 4) == [4294967290, 4294967300]

    def test_it_turns_as_often_as_it_does(self):
        assert self.times(4000000000, 2000000001, 4000000000, 1, 2000000000, 4000000000, 7)[-1] == (
            2 * 4096000000 + 7
        )

    def test_a_small_step_back_is_two_processors_racing(self):
        assert self.times(1000, 990, 1010) == [1000, 990, 1010]

    def test_a_straggler_of_before_the_turn_stays_before_it(self):
        assert self.times(4095999990, 5, 4095999995, 6) == [
            4095999990,
            4096000005,
            4095999995,
            4096000006,
        ]

    def test_the_turn_is_known_from_block_to_block(self):
        decoder = TextDecoder()
        first = decoder.feed(b"a 4095999990 S Bo:1:002:1 0 0\n")
        second = decoder.feed(b"b 10 S Bo:1:002:1 0 0\n")
        assert (first[0].ts, second[0].ts) == (4095999990000, 4096000010000)

    def test_a_zero_stamp_of_a_refused_submission_is_none(self):
        """The 2.6.18 kernel prints 0 in E events."""
        lines = b"a 700 S Bo:002:01 -115 0\na 0 E Bo:002:01 -19 0\nb 800 S Bo:002:01 -115 0\n"
        before, refused, after = decode(lines)
        assert (before.ts, refused.ts, after.ts) == (700000, None, 800000)
        assert written(decode(lines), "t") == lines

    def test_a_zero_stamp_of_another_event_is_one(self):
        assert self.times(0, 5) == [0, 5]

    def test_the_clock_is_monotonic_unless_an_older_kernel_shows_itself(self):
        first, second, third = decode(
            b"a 5 S Bo:1:002:1 0 0\nb 4294967295 S Bo:1:002:1 0 0\nc 7 S Bo:1:002:1 0 0\n"
        )
        assert [first.clock, second.clock, third.clock] == ["monotonic", "unknown", "unknown"]

    def test_the_wall_clock_is_written_as_the_kernel_stamps(self):
        events = batch([{"type": 83, "ts_sec": 4096 * 3 + 7, "ts_usec": 250, "clock": 1}])
        assert written(events, "u").split()[1] == b"7000250"

    def test_the_order_of_the_file_is_kept(self):
        lines = b"a 9 S Bo:1:002:1 0 0\nb 7 S Bo:1:002:1 0 0\nc 8 S Bo:1:002:1 0 0\n"
        assert written(decode(lines), "u") == lines


class TestWriting:
    def test_data_end_at_32_bytes(self):
        events = batch(
            [{"type": 67, "xfer_type": 3, "epnum": 129, "length": 64, "payload": bytes(range(64))}]
        )
        encoder = by_name("u").new_encoder()
        line = bytes(encoder.encode(events))
        assert line.split(b" = ")[1] == (
            b"00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f\n"
        )
        assert encoder.lost == {"data past the format's limit": 1}

    def test_data_past_the_length_are_not_data(self):
        events = batch([{"type": 67, "xfer_type": 3, "length": 2, "payload": b"abcdef"}])
        assert written(events, "u").endswith(b" 2 = 6162\n")

    def test_five_descriptors_of_more_are_written(self):
        rows = [(-18, n * 10, 10) for n in range(7)]
        payload = b"".join(
            (n & 0xFFFFFFFF).to_bytes(4, "little") for row in rows for n in (*row, 0)
        )
        events = batch([{"type": 83, "setup": b"\0\0\0\0\7\0\0\0", "ndesc": 7, "payload": payload}])
        encoder = by_name("u").new_encoder()
        words = bytes(encoder.encode(events)).split()
        assert words[5:11] == [
            b"7",
            b"-18:0:10",
            b"-18:10:10",
            b"-18:20:10",
            b"-18:30:10",
            b"-18:40:10",
        ]
        assert encoder.lost["isochronous descriptors past the format's limit"] == 1

    def test_a_number_of_descriptors_that_are_not_there_is_not_promised(self):
        """A capture cut within them; who reads the line counts on as many words."""
        events = batch([{"type": 83, "setup": b"\0\0\0\0\7\0\0\0", "length": 3, "flag_data": 90}])
        line = written(events, "u")
        assert line == b"0 0 S Zo:0:000:0 0:0:0 0 3 Z\n"
        assert len(decode(line)) == 1

    def test_descriptors_of_an_unknown_interval_are_kept(self):
        """The old binary header has no interval; without one, no descriptors could be printed."""
        from usbmon.layout import ABSENT_BIT

        events = batch(
            [
                {
                    "type": 83,
                    "setup": b"\0\0\0\0\1\0\0\0",
                    "ndesc": 1,
                    "payload": bytes(8) + b"\4" + bytes(7),
                    "absent": ABSENT_BIT["interval"] | ABSENT_BIT["start_frame"],
                }
            ]
        )
        encoder = by_name("u").new_encoder()
        assert bytes(encoder.encode(events)) == b"0 0 S Zo:0:000:0 0:0:0 1 0:0:4 0\n"
        assert encoder.made_up == {"interval and start frame of isochronous URBs": 1}

    def test_a_batch_larger_than_any_buffer_is_written_whole(self):
        line = b"ffffffffffffffff 4294967295 S Bo:65535:255:127 -2147483648 32 = " + b" ".join(
            [b"ffffffff"] * 8
        )
        lines = (line + b"\n") * 500
        assert written(decode(lines), "u") == lines


class TestStream:
    def test_a_trace_of_both_formats_is_read_and_said_to_be_both(self):
        decoder = TextDecoder()
        decoder.feed(b"a 1 S Bo:1:002:1 0 0\n")
        assert decoder.variant == "u"
        decoder.feed(b"a 1 S Bo:002:01 0 0\n")
        assert decoder.variant == "t and u"

    def test_two_readers_in_one_file_are_noticed_and_kept(self):
        """`cat 0u 1u`: every event comes twice, microseconds apart."""
        line = "{:x} {} {} Bi:1:002:1 {} 0"
        lines = []
        for n in range(4):
            at = 1000 + n * 100
            lines += [line.format(n + 1, at, "S", -115), line.format(n + 1, at + 2, "S", -115)]
            lines += [line.format(n + 1, at + 50, "C", 0), line.format(n + 1, at + 53, "C", 0)]
        decoder = TextDecoder()
        events = decoder.feed("\n".join(lines).encode() + b"\n")
        assert len(events) == 16
        assert ["doubled" in event.marks for event in events] == [False, True] * 8
        assert [event.urb for event in events] == [n for n in (1, 2, 3, 4) for _ in range(4)]

    def test_two_readers_of_a_recorded_run_are_told_apart(self):
        """`0u` has bus 2 beside all that `1u` has, each with stamps of its own."""
        folder = CAPTURES / "hid-xhci"
        lines = [
            (int(line.split()[1]), line)
            for path in ("0u.txt", "1u.txt")
            for line in (folder / path).read_bytes().splitlines(keepends=True)
        ]
        decoder = TextDecoder()
        events = decoder.feed(b"".join(line for _, line in sorted(lines)))
        assert len(events) == 404 + 368
        assert decoder.pairing.doubled == 368
        assert sum("doubled" in event.marks for event in events) == 368

    def test_a_completion_without_its_submission_is_marked(self):
        assert one("a 1 C Bi:1:002:1 0 0").marks == ("orphan",)

    def test_a_block_of_many_short_lines_takes_two_turns(self):
        lines = b"0 0 S Bo:0:000:0 0 0\n" * 5000
        scanned = scan(lines, Buffers())
        assert sum(piece.number for piece in scanned.pieces) == 5000
        assert len(decode(lines)) == 5000

    def test_more_bad_lines_than_a_list_holds(self):
        lines = b"no event\n" * 700 + b"0 0 S Bo:0:000:0 0 0\n"
        decoder = TextDecoder()
        assert len(decoder.feed(lines)) == 1
        assert decoder.notes["unreadable"].count == 700

    def test_a_kernel_with_a_higher_data_limit_is_read(self):
        """DATA_MAX is a constant that some have raised."""
        words = " ".join(["00112233"] * 2000)
        event = one(f"a 1 C Bi:1:002:1 0 9000 = {words}")
        assert event.data == bytes.fromhex("00112233") * 2000

    def test_a_long_line_is_left_out_and_only_its_start_is_shown(self):
        decoder = TextDecoder()
        decoder.feed(b"x" * 100_000 + b"\n")
        assert decoder.notes["unreadable"].count == 1
        assert len(decoder.notes["unreadable"].places[0]) < 200

    def test_a_line_without_end_is_given_up_in_bounded_memory(self):
        decoder = TextDecoder(file="zeros")
        decoder.feed(b"a 1 S Bo:1:002:1 0 0\n")
        chunk = b"\x00" * 100_000
        tracemalloc.start()
        try:
            for _ in range(10):
                decoder.feed(chunk)
            with pytest.raises(FormatError, match=r"^zeros: line 2: a line of more than a MiB"):
                decoder.feed(chunk)
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


class TestCut:
    @pytest.mark.parametrize(
        ("block", "final", "used"),
        [
            (b"", False, 0),
            (b"", True, 0),
            (b"abc", False, 0),
            (b"abc", True, 4),
            (b"ab\n", True, 3),
            (b"ab\ncd", False, 3),
            (b"ab\ncd", True, 6),
            (b"ab\n" + b"x" * 5000, False, 3),
        ],
    )
    def test_only_whole_lines_are_used(self, block, final, used):
        assert cut(memoryview(block), final) == used


def test_a_word_as_long_as_an_address_but_no_number_is_a_tag_of_its_own():
    decoder = TextDecoder()
    events = decoder.feed(b"sixteen-letters! 1 S Bo:1:002:1 0 0\n")
    assert len(events) == 1
    assert decoder.notes["tag"].count == 1


def test_a_submission_does_not_say_how_many_packets_failed():
    event = one("ffff88 1 S Zi:1:002:1 -115:1:7 1 -18:0:34 34 <")
    assert (event.numdesc, event.error_count) == (1, None)
