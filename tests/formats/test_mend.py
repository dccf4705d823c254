"""Text that has been through mail, editors, consoles and grep.

Each case is one kind of dirt on lines that the kernel printed. What it was shows in the notes, with
line numbers; what it was made of shows in the events, marked where they had to be changed.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from usbmon import Events, FormatError, decode
from usbmon.formats.text import TextDecoder

SUBMIT = b"d5ea89a0 3575914555 S Ci:001:00 s a3 00 0000 0003 0004 4 <"
COMPLETE = b"d5ea89a0 3575914560 C Ci:001:00 0 4 = 01050000"
COMMAND = (
    b"dd65f0e8 4128379752 S Bo:005:02 -115 31 = "
    b"55534243 5e000000 00000000 00000600 00000000 00000000 00000000 000000"
)
DONE = b"dd65f0e8 4128379808 C Bo:005:02 0 31 >"
TRACE = (SUBMIT, COMPLETE, COMMAND, DONE)
LOG = b"[   12.345678] usb 1-1: new high-speed USB device number 2 using ehci-pci"


def mended(data: bytes, *, chunk: int = 1 << 20):
    """The events and what was noted: count and lines of each kind."""
    decoder = TextDecoder()
    parts = [decoder.feed(data[at : at + chunk]) for at in range(0, len(data), chunk)]
    events = Events.concat([*parts, decoder.close()])
    return events, {kind: (note.count, note.places) for kind, note in decoder.notes.items()}


def said(events: Events):
    """All of the events but their marks, and the numbers that depend on what came before."""
    return [event._replace(marks=(), urb=0) for event in events]


CLEAN = said(decode(b"\n".join(TRACE) + b"\n"))


def wrap(line: bytes, width: int = 72) -> bytes:
    """As mail programs wrap: at the last blank before the width."""
    out = b""
    while len(line) > width:
        at = line.rindex(b" ", 0, width)
        out, line = out + line[:at] + b"\n", line[at + 1 :]
    return out + line


CASES = {
    "mail quoting": (b"".join(b"> " + line + b"\n" for line in TRACE), {"quoting": 4}),
    "quoting twice": (b"".join(b">> > " + line + b"\n" for line in TRACE), {"quoting": 4}),
    "bars": (b"".join(b"| " + line + b"\n" for line in TRACE), {"quoting": 4}),
    "CR LF": (b"".join(line + b"\r\n" for line in TRACE), {"crlf": 4}),
    "byte order mark": (b"\xef\xbb\xbf" + b"\n".join(TRACE) + b"\n", {"bom": 1}),
    "grep's file names": (b"".join(b"1.mon:" + line + b"\n" for line in TRACE), {"prefix": 4}),
    "grep -n": (
        b"".join(b"1.mon:%d:" % n + line + b"\n" for n, line in enumerate(TRACE)),
        {"prefix": 4},
    ),
    "a word in front": (b"".join(b"usbmon: " + line + b"\n" for line in TRACE), {"prefix": 4}),
    "time in front": (b"".join(b"12:00:01 " + line + b"\n" for line in TRACE), {"prefix": 4}),
    "tabs": (b"".join(line.replace(b" ", b"\t") + b"\n" for line in TRACE), {"spacing": 4}),
    "indented": (b"".join(b"    " + line + b"\n" for line in TRACE), {"prefix": 4}),
    "blanks at the end": (b"".join(line + b"  \n" for line in TRACE), {"spacing": 4}),
    "blank lines": (b"".join(line + b"\n\n" for line in TRACE), {"blank": 4}),
    "wrapped by mail": (b"".join(wrap(line) + b"\n" for line in TRACE), {"wrapped": 1}),
    "wrapped narrowly": (b"".join(wrap(line, 48) + b"\n" for line in TRACE), {"wrapped": 3}),
    "wrapped and quoted": (
        b"".join(b"> " + part + b"\n" for line in TRACE for part in wrap(line).split(b"\n")),
        {"quoting": 5, "wrapped": 1},
    ),
    "wrapped with CR LF": (
        b"".join(part + b"\r\n" for line in TRACE for part in wrap(line).split(b"\n")),
        {"crlf": 5, "wrapped": 1},
    ),
    "kernel log between": (
        b"".join(LOG + b"\n" + line + b"\n" for line in TRACE),
        {"kernel log": 4},
    ),
    "kernel log with a level": (
        b"".join(b"<6>" + LOG + b"\n" + line + b"\n" for line in TRACE),
        {"kernel log": 4},
    ),
    "words in between": (
        b"I plug it in:\n" + b"\n".join(TRACE) + b"\nand nothing happens.\n",
        {"unreadable": 2},
    ),
    "statistics in between": (
        SUBMIT + b"\nnreaders 6 events 368 text_lost 0\n" + b"\n".join(TRACE[1:]) + b"\n",
        {"statistics": 1},
    ),
    "leading zeros of tags": (b"".join(b"00000000" + x + b"\n" for x in TRACE), {"tag": 4}),
    "capitals in tags": (
        b"".join(line[:8].upper() + line[8:] + b"\n" for line in TRACE),
        {"tag": 4},
    ),
    "0x in tags": (b"".join(b"0x" + line + b"\n" for line in TRACE), {"tag": 4}),
}


class TestDirt:
    @pytest.mark.parametrize("case", CASES)
    def test_it_is_repaired_and_counted(self, case):
        data, counts = CASES[case]
        events, notes = mended(data)
        assert said(events) == CLEAN
        assert {kind: count for kind, (count, _) in notes.items()} == counts

    @pytest.mark.parametrize("case", CASES)
    def test_strict_refuses_the_first_repair_with_file_and_line(self, case):
        data, counts = CASES[case]
        decoder = TextDecoder(file="a.mon", strict=True)
        if set(counts) <= {"blank", "statistics"}:
            assert said(Events.concat([decoder.feed(data), decoder.close()])) == CLEAN
            return
        _, notes = mended(data)
        with pytest.raises(FormatError) as caught:
            decoder.feed(data)
        assert caught.value.file == "a.mon"
        lines = [
            int(place.split(":")[0].removeprefix("line "))
            for kind, (_, places) in notes.items()
            if kind not in {"blank", "statistics"}
            for place in places[:1]
        ]
        assert caught.value.line == min(lines)

    @pytest.mark.parametrize("case", CASES)
    def test_only_what_was_changed_is_marked(self, case):
        data, counts = CASES[case]
        events, _ = mended(data)
        untouched = {"kernel log", "unreadable", "statistics", "blank", "bom", "wrapped"}
        if not set(counts) <= untouched:
            assert all("repaired" in event.marks for event in events)
        elif not set(counts) & {"bom", "wrapped"}:
            assert not any("repaired" in event.marks for event in events)
        else:
            assert 0 < sum("repaired" in event.marks for event in events) <= 4

    @pytest.mark.parametrize("case", CASES)
    def test_chunks_change_nothing(self, case):
        data, _ = CASES[case]
        whole = mended(data)
        for chunk in (1, 7, 40, 80):
            assert mended(data, chunk=chunk) == whole

    def test_places_are_line_numbers_of_the_file(self):
        data = b"\n".join([SUBMIT, COMPLETE, b"> " + COMMAND, b"noise", DONE]) + b"\n"
        _, notes = mended(data)
        assert notes["quoting"] == (1, ["line 3"])
        assert notes["unreadable"] == (1, ["line 4: noise"])

    def test_all_at_once(self):
        lines = [b"> " + part for line in TRACE for part in wrap(line).split(b"\n")]
        lines.insert(2, b"> " + LOG)
        data = b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n"
        events, notes = mended(data)
        assert said(events) == CLEAN
        assert notes["quoting"][0] == notes["crlf"][0] == len(lines)
        assert notes["bom"] == (1, ["line 1"])
        assert notes["kernel log"] == (1, ["line 3"])


class TestKernelLog:
    def test_a_line_broken_by_the_log_is_joined(self):
        """As on a console: the log's line cuts a trace's line, whose rest follows."""
        data = COMMAND[:60] + LOG + b"\n" + COMMAND[60:] + b"\n" + DONE + b"\n"
        events, notes = mended(data)
        assert said(events) == CLEAN[2:]
        assert notes == {"kernel log": (1, ["line 1"])}

    @pytest.mark.parametrize("at", [8, 9, 15, 20, 22, 25, 33, 42, 51, 60])
    def test_wherever_it_was_broken(self, at):
        data = SUBMIT + b"\n" + COMMAND[:at] + LOG + b"\n" + COMMAND[at:] + b"\n" + DONE + b"\n"
        events, _ = mended(data)
        assert said(events) == [CLEAN[0], *CLEAN[2:]]

    def test_a_stamp_that_stands_in_front_is_a_prefix(self):
        """dmesg stamps on lines of a trace that was sent to the console."""
        data = b"".join(b"[   12.345678] " + line + b"\n" for line in TRACE)
        events, notes = mended(data)
        assert said(events) == CLEAN
        assert notes["prefix"][0] == 4


class TestWrapped:
    @pytest.mark.parametrize("width", range(34, 110, 4))
    def test_at_any_width(self, width):
        data = b"".join(wrap(line, width) + b"\n" for line in TRACE)
        events, notes = mended(data)
        assert said(events) == CLEAN
        assert set(notes) <= {"wrapped"}

    def test_a_recording_of_a_wide_trace_on_a_narrow_terminal(self):
        """Every line of a recorded trace wrapped at 72 columns gives the same events."""
        data = (CAPTURES / "hid-gadget-refused" / "1u.txt").read_bytes()
        folded = b"".join(wrap(line) + b"\n" for line in data.splitlines())
        assert folded != data
        assert said(mended(folded)[0]) == said(decode(data))

    def test_short_data_followed_by_an_event_are_short_data(self):
        """A cut capture: less than the kernel prints, and nothing of it on the next line."""
        lines = [b"a 1 C Bi:1:002:1 0 31 = 55534243", b"b 2 C Bi:1:002:1 0 31 = 55534243"]
        events, notes = mended(b"\n".join(lines) + b"\n")
        assert [event.data for event in events] == [b"USBC", b"USBC"]
        assert notes == {}
        assert not any("repaired" in event.marks for event in events)

    def test_the_start_of_an_event_before_another_is_given_up(self):
        events, notes = mended(COMMAND[:30] + b"\n" + SUBMIT + b"\n" + COMPLETE + b"\n")
        assert said(events) == CLEAN[:2]
        assert notes == {"unreadable": (1, [f"line 1: {COMMAND[:30].decode()}"])}

    def test_no_more_lines_are_joined_than_an_event_can_have(self):
        data = b"a 1 C Bi:1:002:1 0 9000 =\n" + b"00112233\n" * 40
        events, notes = mended(data)
        assert [event.data for event in events] == [bytes.fromhex("00112233") * 8]
        assert notes["unreadable"][1][0].startswith("line 10: 00112233 00112233 ")


class TestCutEnd:
    @pytest.mark.parametrize("size", range(1, len(COMMAND)))
    def test_a_cut_last_line_is_noted_wherever_it_is_cut(self, size):
        data = SUBMIT + b"\n" + COMMAND[:size]
        events, notes = mended(data)
        assert said(events)[:1] == CLEAN[:1]
        assert len(events) <= 2
        assert "cut line" in notes
        assert notes["cut line"][1][0].startswith("line 2")
        for event in events[1:]:
            assert COMMAND.split(b" = ")[1].replace(b" ", b"").startswith(event.data.hex().encode())

    def test_the_data_so_far_are_kept(self):
        events, _ = mended(COMMAND[:-4])
        assert events[0].data == CLEAN[2].data[:-2]
        events, _ = mended(COMMAND[:-5])
        assert events[0].data == CLEAN[2].data[:-3]
        assert events[0].marks == ("repaired",)

    def test_strict_refuses_it(self):
        decoder = TextDecoder(file="x", strict=True)
        decoder.feed(SUBMIT + b"\n" + COMPLETE[:30])
        with pytest.raises(FormatError, match=r"^x: line 2: last line cut short"):
            decoder.close()

    def test_only_the_last_newline_missing_is_no_cut(self):
        events, notes = mended(b"\n".join(TRACE))
        assert said(events) == CLEAN
        assert notes == {}


class TestTags:
    def test_any_unique_string_is_a_tag(self):
        """usbmon.txt of 2009: "normally a kernel mode address"; a sequence number will do."""
        lines = (
            b"urb#1 1 S Bo:1:002:1 -115 0\nurb#2 2 S Bo:1:002:1 -115 0\nurb#1 3 C Bo:1:002:1 0 0\n"
        )
        events, notes = mended(lines)
        assert events[0].id == events[2].id != events[1].id
        assert [event.urb for event in events] == [1, 2, 1]
        assert notes["tag"][0] == 3

    def test_a_tag_of_more_digits_than_an_address_has_is_a_string(self):
        events, notes = mended(b"10000000000000000 1 S Bo:1:002:1 -115 0\n")
        assert len(events) == 1
        assert notes["tag"] == (1, ["line 1"])


LINES = st.sampled_from(
    [
        *TRACE,
        LOG,
        b"",
        b"> ",
        b"noise",
        b"00000000",
        b"\xef\xbb\xbf",
        b"nreaders 1 events 2 text_lost 3",
    ]
)


@given(
    lines=st.lists(st.tuples(LINES, st.integers(0, 80), st.integers(0, 80)), max_size=8),
    ends=st.sampled_from([b"\n", b"\r\n", b" "]),
    cuts=st.lists(st.integers(0, 600), max_size=4),
)
def test_scraps_of_lines_in_any_order_are_read_the_same_in_any_chunks(lines, ends, cuts):
    data = b"".join(line[a : a + b] + ends for line, a, b in lines)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = mended(data)
    decoder = TextDecoder()
    parts = [decoder.feed(data[a:b]) for a, b in pairwise(edges)]
    assert said(Events.concat([*parts, decoder.close()])) == said(whole[0])
    assert {kind: note.count for kind, note in decoder.notes.items()} == {
        kind: count for kind, (count, _) in whole[1].items()
    }


def test_a_prefix_of_statistics_can_be_any_bytes():
    line = b"caf\xe9: nreaders 1 events 2 text_lost 3"
    _, notes = mended(SUBMIT + b"\n" + line + b"\n")
    assert notes["statistics"][0] == 1
