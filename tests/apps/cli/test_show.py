"""`usbmon show`: which events, in which order. How they look is in test_views.py."""

import json
import tempfile

import pytest

import usbmon as library
from tests.helpers import corpus, synthetic
from tests.helpers.command import process
from usbmon import files, filters
from usbmon.apps.cli import show

TEXT = corpus.CAPTURES / "storage-ehci" / "1u.txt"
PCAP = corpus.CAPTURES / "hid-xhci" / "usbmon1.pcap"


@pytest.fixture(scope="module")
def whole() -> list[str]:
    return process("show", TEXT).stdout.decode().splitlines()


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
def test_an_event_is_a_line(usbmon, path):
    said = usbmon("show", path)
    assert len(said.lines) == len(library.read(path))
    assert said.err == ""


def test_events_is_the_only_view_so_far(usbmon, whole):
    assert usbmon("show", "--events", TEXT).lines == whole


@pytest.mark.parametrize("limit", [0, 1, 7, 10**6])
def test_a_limit_shows_the_first(usbmon, whole, limit):
    assert usbmon("show", "-n", limit, TEXT).lines == whole[:limit]


@pytest.mark.parametrize("block", [1 << 19, 2000])
def test_reverse_shows_the_last_first(usbmon, whole, block, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", block)
    monkeypatch.setattr(files.formats, "HEAD_SIZE", 1000)
    times = [event.ts for event in library.read(TEXT)]
    reverse = usbmon("show", "--reverse", "--time", "absolute", TEXT).lines
    assert reverse == usbmon("show", "--time", "absolute", TEXT).lines[::-1]
    assert [round(float(line.split()[0]) * 1e9) for line in reverse] == times[::-1]


@pytest.mark.parametrize("limit", [0, 1, 7, 50, 10**6])
@pytest.mark.parametrize("block", [1 << 19, 2000])
def test_reverse_with_a_limit_shows_the_last_only(usbmon, limit, block, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", block)
    monkeypatch.setattr(files.formats, "HEAD_SIZE", 1000)
    ids = [f"{event.id:x}" for event in library.read(TEXT)]
    said = usbmon("show", "--reverse", "-n", limit, "--format", "ndjson", TEXT)
    assert [json.loads(line)["id"] for line in said.lines] == ids[::-1][:limit]


def test_the_first_and_the_last_need_no_more_than_they_show():
    taken = []

    def batches():
        for start in range(0, 100, 10):
            taken.append(start)
            yield library.read(TEXT)[start : start + 10]

    assert [len(batch) for batch in show.first(batches(), 15)] == [10, 5]
    assert taken == [0, 10]
    assert [len(batch) for batch in show.backwards(batches(), 15)] == [10, 5]


def test_several_files_are_named_as_by_head(usbmon, whole):
    said = usbmon("show", "-n", 2, TEXT, PCAP).lines
    assert said[:3] == [f"==> {TEXT} <==", *whole[:2]]
    assert said[3:5] == ["", f"==> {PCAP} <=="]
    assert len(said) == 7


def test_an_error_in_one_file_does_not_hide_the_others(usbmon, whole, tmp_path):
    said = usbmon("show", "-n", 1, tmp_path / "nope", TEXT, tmp_path, code=1)
    assert said.lines == [f"==> {TEXT} <==", whole[0]]
    assert said.err.splitlines() == [
        f"usbmon: {tmp_path / 'nope'}: no such file",
        f"usbmon: {tmp_path}: is a directory; name a file in it",
    ]


def test_events_before_damage_are_shown(usbmon, tmp_path):
    damaged = tmp_path / "damaged.pcap"
    data = PCAP.read_bytes()
    damaged.write_bytes(data[:20_000] + b"\xff" * 200 + data[20_200:])
    said = usbmon("show", damaged, code=3)
    shown = usbmon("show", PCAP).lines
    assert len(said.lines) > 200
    assert said.lines[:200] == shown[:200]
    assert f"usbmon: {damaged}: byte " in said.err


def test_what_was_mended_is_told_at_the_end(usbmon, tmp_path):
    dirty = tmp_path / "dirty.txt"
    lines = TEXT.read_bytes().splitlines(keepends=True)
    dirty.write_bytes(b"".join([lines[0], b"what is this\n", b"> " + lines[1]]))
    said = usbmon("show", dirty)
    assert len(said.lines) == 2
    assert said.lines[1].endswith("[mended]")
    assert said.err == (
        f"usbmon: {dirty}: 1 lines that are no event, left out (line 2: what is this); "
        "1 lines with mail quoting removed (line 3)\n"
    )


def test_an_empty_trace_is_no_error(usbmon, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert usbmon("show", empty).out == ""
    assert json.loads(usbmon("show", "--format", "json", empty).out) == []


def test_a_growing_file_is_followed_until_interrupted(usbmon, whole, tmp_path, monkeypatch):
    trace, lines = tmp_path / "grows.txt", TEXT.read_bytes().splitlines(keepends=True)
    trace.write_bytes(b"".join(lines[:30]))
    more = iter([b"".join(lines[30:40]), b"", lines[40]])

    def wait(_seconds: float) -> None:
        part = next(more, None)
        if part is None:
            raise KeyboardInterrupt
        with trace.open("ab") as stream:
            stream.write(part)

    monkeypatch.setattr(files.time, "sleep", wait)
    said = usbmon("show", "-f", trace, code=130).lines
    assert said == whole[: len(said)]
    assert len(said) >= 40


def test_no_room_for_a_temporary_file_is_a_line(usbmon, monkeypatch):
    def full() -> None:
        raise OSError(28, "No space left on device", "/some/folder")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    said = usbmon("show", "--reverse", TEXT, code=1)
    assert said.err == "usbmon: /some/folder: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-f", "--reverse", TEXT], "--follow takes one file, and no --reverse"),
        (["-f", TEXT, TEXT], "--follow takes one file"),
        (["-x", "--format", "csv", TEXT], "--hex goes with --format lines"),
        (["-n", "-1", TEXT], "-1 is not in the range x>=0"),
        ([], "Missing argument 'FILE...'"),
    ],
)
def test_wrong_usage_says_what_is_wrong(usbmon, words, says):
    assert says in usbmon("show", *words, code=2).err


def test_a_format_that_is_given_is_taken(usbmon):
    assert "not a pcap file" in usbmon("show", "--from", "pcap", TEXT, code=3).err


def test_standard_input_is_a_dash(whole):
    said = process("show", "-", input=TEXT.read_bytes())
    assert said.stdout.decode().splitlines() == whole


@pytest.mark.parametrize("words", [(), ("--reverse",), ("--reverse", "-n", "4")])
def test_comments_and_what_is_from_sysfs_are_marked(usbmon, words, tmp_path):
    told = synthetic.events(5, "1-4: a key\x1b[board\nof two lines")
    with library.Writer(tmp_path / "x.pcapng") as writer:
        writer.write(told)
    lines = usbmon("show", *words, tmp_path / "x.pcapng").lines
    at = 3 if words else 0
    assert lines[at : at + 2] == ["# 1-4: a key?[board", "# of two lines"]
    assert sum(line.endswith("  [sysfs]") for line in lines) == 4
    assert len(lines) == 6


def test_the_kernels_own_formats_show_what_was_on_the_bus(usbmon, tmp_path):
    with library.Writer(tmp_path / "x.pcapng") as writer:
        writer.write(synthetic.events(5, "a keyboard"))
    assert usbmon("show", "--format", "u", tmp_path / "x.pcapng").out == ""
    record = json.loads(usbmon("show", "--format", "ndjson", "-n", "1", tmp_path / "x.pcapng").out)
    assert (record["marks"], record["comments"]) == (["synthetic"], ["a keyboard"])


BULK = "dev == 1:2 and type == bulk and ep.in and event == C"


def test_a_filter_shows_the_events_that_it_lets_through(usbmon, whole):
    mask = filters.compile(BULK).mask(library.read(TEXT)).tolist()
    wanted = [line for line, chosen in zip(whole, mask, strict=True) if chosen]
    assert wanted
    assert usbmon("show", "-F", BULK, TEXT).lines == wanted
    assert usbmon("show", "-F", BULK, "-n", 1, TEXT).lines == wanted[:1]


@pytest.mark.parametrize("options", [(), ("--reverse",)])
def test_times_count_from_the_start_of_the_trace_whatever_is_shown(usbmon, whole, options):
    late = [line for line in whole if 1.2 <= float(line.split()[0]) <= 2.65]
    shown = usbmon("show", "-F", "time in 1.2s..2650ms", *options, TEXT).lines
    assert late
    assert shown == (late[::-1] if options else late)
