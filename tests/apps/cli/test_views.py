"""How events look. Whole lines were read by eye; what they say is compared with the events."""

import csv
import io
import json
import subprocess

import pytest

import usbmon as library
from tests.helpers import corpus, synthetic
from tests.helpers.generated import batch
from usbmon import layout
from usbmon.apps.cli._views import VIEWS, new_view
from usbmon.formats import by_name

STORAGE = corpus.CAPTURES / "storage-ehci" / "1u.txt"
AUDIO = corpus.CAPTURES / "audio-xhci" / "usbmon1.getx.bin"
ANSI = ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[36m")


def shown(form: str, events: library.Events, **options) -> str:
    view = new_view(form, several=False, **options)
    parts = [view.begin(), view.begin_trace("a trace"), *view.show(events), view.end()]
    return b"".join(map(bytes, parts)).decode()


def plain(text: str) -> str:
    for code in ANSI:
        text = text.replace(code, "")
    return text


class TestLines:
    def test_a_trace_as_it_is_shown(self):
        lines = shown("lines", library.read(STORAGE)).splitlines()
        assert lines[:6] == [
            "      0.000000  1.001.0   Ctrl in  S -                        4  GET_STATUS Port 1",
            "      0.005839  1.001.0   Ctrl in  C 0                        4  00010000",
            "      0.007169  1.001.0   Ctrl in  S -                        4  GET_STATUS Port 2",
            "      0.007726  1.001.0   Ctrl in  C 0                        4  00010000",
            "      0.008513  1.001.0   Ctrl in  S -                        4  GET_STATUS Port 3",
            "      0.009001  1.001.0   Ctrl in  C 0                        4  00010000",
        ]

    @pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
    def test_columns_stay_where_they_are(self, path):
        for line in shown("lines", library.read(path)).splitlines():
            assert line[14:16] == "  "
            assert line[25] == " "
            assert line[26:34] in {
                f"{kind} {way}"
                for kind in ("Ctrl", "Bulk", "Intr", "Isoc")
                for way in ("in ", "out")
            }
            assert line[35] in "SCE"
            assert line[36] == " "
            assert line[62].isdigit() or line[62] == "?"
            assert line[63:65] in {"", "  "}

    def test_a_line_shows_the_first_bytes_of_more_data(self):
        (line,) = shown(
            "lines", batch([EVENT | {"payload": bytes(range(17)), "length": 17}])
        ).splitlines()
        assert line.endswith("00010203 04050607 08090a0b 0c0d0e0f ..")

    def test_marks_are_words(self):
        marks = layout.DOUBLED | layout.ORPHAN | layout.REPAIRED
        (line,) = shown("lines", batch([EVENT | {"marks": marks}])).splitlines()
        assert line.endswith("  [doubled]  [no submission]  [mended]")

    @pytest.mark.parametrize(
        ("time", "expected"),
        [
            ("relative", ["0.000000", "1.500000", "1.250000"]),
            ("absolute", ["2023-11-14T22:13:20.000001", *["2023-11-14T22:13:21.500001"]]),
            ("delta", ["0.000000", "1.500000", "-0.250000"]),
        ],
    )
    def test_the_time_is_told_in_three_ways(self, time, expected):
        start = 1_700_000_000_000_001_000
        events = batch([EVENT | {"ts": start + ns} for ns in (0, 1_500_000_000, 1_250_000_000)])
        lines = shown("lines", events, time=time).splitlines()
        assert [line.split()[0] for line in lines][: len(expected)] == expected

    def test_a_clock_that_is_not_the_walls_is_told_in_seconds(self):
        event = EVENT | {"ts": 12_345_678_000, "clock": layout.MONOTONIC}
        assert shown("lines", batch([event]), time="absolute").split()[0] == "12.345678"

    def test_relative_time_counts_from_the_first_that_is_known(self):
        lost = EVENT | {"ts": 0, "absent": layout.ABSENT_BIT["ts"] | layout.ABSENT_BIT["busnum"]}
        lines = shown("lines", batch([lost, EVENT | {"ts": 7_000_000_000}])).splitlines()
        assert lines[0].startswith("             ?  ?.002.1")
        assert lines[1].startswith("      0.000000  1.002.1")

    def test_colours_add_nothing_else(self):
        events = library.read(STORAGE)
        coloured = shown("lines", events, colour=True)
        assert "\x1b[" in coloured
        assert plain(coloured) == shown("lines", events)

    @pytest.mark.parametrize("width", [10, 70, 80])
    @pytest.mark.parametrize("colour", [True, False])
    def test_data_for_a_terminal_are_no_wider_and_words_are_whole(self, width, colour):
        events = library.read(STORAGE)
        whole = shown("lines", events).splitlines()
        fitted = plain(shown("lines", events, colour=colour, width=width)).splitlines()
        assert len(fitted) == len(whole)
        for line, short, event in zip(whole, fitted, events, strict=True):
            if event.setup is not None or len(line) <= width:
                assert short == line
            else:
                assert short == line[: max(width - 1, 64)] + "…"

    def test_an_error_is_red_and_a_success_is_not(self):
        rows = [EVENT | {"status": status} for status in (0, -32)]
        good, bad = shown("lines", batch(rows), colour=True).splitlines()
        assert "\x1b[31mEPIPE -32" in bad
        assert "\x1b[31m" not in good


EVENT = {
    "type": ord("C"),
    "xfer_type": 3,
    "epnum": 0x81,
    "devnum": 2,
    "busnum": 1,
    "flag_setup": ord("-"),
    "clock": layout.WALL,
    "ts": 1,
}


class TestHex:
    def test_data_are_as_od_shows_them(self):
        data = bytes(range(256)) + b"the end"
        lines = shown("lines", batch([EVENT | {"payload": data}]), hexdump=True).splitlines()
        theirs = (
            subprocess.run(
                ["od", "-An", "-v", "-tx1", "-w16"],
                input=data,
                capture_output=True,
                check=True,
            )
            .stdout.decode()
            .splitlines()
        )
        assert [" ".join(line[10:58].split()) for line in lines[1:]] == [
            " ".join(line.split()) for line in theirs
        ]
        assert lines[1] == f"    0000  {data[:8].hex(' ')}  {data[8:16].hex(' ')}  ................"
        assert lines[4].endswith("  0123456789:;<=>?")

    def test_the_packets_of_an_isochronous_event_stand_before_its_data(self):
        events = library.read(AUDIO)
        event = next(e for e in events if e.descriptors and e.type == "S")
        place = list(events).index(event)
        lines = shown("lines", events[place : place + 1], hexdump=True).splitlines()
        assert lines[1].split() == ["packet", "0", "EXDEV", "-18", "offset", "0", "length", "192"]
        assert sum(line.startswith("    packet ") for line in lines) == len(event.descriptors)

    def test_what_the_trace_lacks_is_told(self):
        event = EVENT | {"payload": bytes(32), "length": 512}
        iso = EVENT | {"xfer_type": 0, "setup": b"\0\0\0\0\x08\0\0\0"}
        assert shown("lines", batch([event]), hexdump=True).endswith(
            "    480 more bytes are not in the trace\n"
        )
        assert shown("lines", batch([iso]), hexdump=True).endswith(
            "    8 more packets are not in the trace\n"
        )


class TestKernels:
    @pytest.mark.parametrize("path", corpus.text_u(ours=True), ids=corpus.name)
    def test_u_is_the_kernels_own_text(self, path):
        assert shown("u", library.read(path)).encode() == path.read_bytes()

    @pytest.mark.parametrize("path", corpus.text_t(ours=True), ids=corpus.name)
    def test_t_is_the_kernels_own_text(self, path):
        assert shown("t", library.read(path)).encode() == path.read_bytes()


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
class TestRecords:
    def test_json_and_ndjson_say_the_same_as_the_events(self, path):
        events = library.read(path)
        records = json.loads(shown("json", events))
        assert records == [json.loads(line) for line in shown("ndjson", events).splitlines()]
        for number, (record, event) in enumerate(zip(records, events, strict=True), 1):
            assert record["number"] == number
            assert record["id"] == f"{event.id:x}"
            assert record["ts_ns"] == event.ts
            assert record["epnum"] | (128 * (record["direction"] == "in")) == event.epnum
            assert bytes.fromhex(record["data"]) == event.data
            assert record["setup"] == (event.setup.hex() if event.setup else None)
            assert [tuple(d.values()) for d in record["descriptors"]] == list(event.descriptors)
            for name in ("type", "xfer_type", "devnum", "busnum", "status", "length", "urb"):
                assert record[name] == getattr(event, name)

    def test_csv_says_the_same_as_json(self, path):
        events = library.read(path)
        rows = list(csv.DictReader(io.StringIO(shown("csv", events), newline="")))
        records = json.loads(shown("json", events))
        for row, record in zip(rows, records, strict=True):
            for name, value in record.items():
                if name == "descriptors":
                    value = " ".join(":".join(map(str, d.values())) for d in value)  # noqa: PLW2901
                elif name in ("marks", "comments"):
                    value = " ".join(value)  # noqa: PLW2901
                assert row[name] == ("" if value is None else str(value)), name


def test_batches_make_one_array():
    events = library.read(STORAGE)
    view = new_view("json", several=False)
    parts = [view.begin(), view.begin_trace("x")]
    for start in range(0, len(events), 7):
        parts += view.show(events[start : start + 7])
    parts += [*view.show(events[:0]), view.end()]
    assert json.loads(b"".join(map(bytes, parts))) == json.loads(shown("json", events))


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
def test_with_several_traces_each_record_names_its_own(form):
    view = new_view(form, several=True)
    text = view.begin()
    for name in ("a", "b"):
        text += view.begin_trace(name)
        text += b"".join(map(bytes, view.show(batch([EVENT]))))
    text = (text + view.end()).decode()
    if form == "csv":
        records = list(csv.DictReader(io.StringIO(text, newline="")))
    else:
        records = json.loads(text) if form == "json" else list(map(json.loads, text.splitlines()))
    assert [record["file"] for record in records] == ["a", "b"]
    assert [int(record["number"]) for record in records] == [1, 1]


def test_each_view_begins_and_ends():
    for form in VIEWS:
        assert isinstance(shown(form, library.Events.empty()), str)
    assert by_name("u").name in VIEWS


def test_marks_stay_where_data_are_cut_to_the_screen():
    lines = shown("lines", synthetic.events(5, "a keyboard"), width=80).splitlines()
    assert lines[0] == "# a keyboard"
    assert lines[2].endswith("18  12010…  [sysfs]")
    assert len(lines[2]) == 80


def test_comments_are_dim_where_there_are_colours():
    text = shown("lines", synthetic.events(5, "a keyboard"), colour=True)
    assert text.startswith("\x1b[2m# a keyboard\x1b[0m\n")
