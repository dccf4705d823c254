"""`usbmon capture`: files that hold what happened, whole, however the capture ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

import usbmon as library
from tests.helpers.command import on_terminal, process
from tests.helpers.corpus import CAPTURES
from usbmon.apps.cli.capture import _Ending
from usbmon.bus.devices import MODELS

FAILS = """
[devices.keyboard]
[[step]]
do = "type"
device = "keyboard"
text = "typed"
[[step]]
do = "fetch"
device = "keyboard"
name = "x"
"""


def same(events) -> list[tuple]:
    """Events without what a format may leave out."""
    return [(e.type, e.devnum, e.epnum, e.status, e.setup, e.length) for e in events]


@pytest.mark.parametrize("model", [model.name for model in MODELS])
def test_every_device_at_work_is_captured_whole(usbmon, model, tmp_path):
    path = tmp_path / "trace.pcapng"
    said = usbmon("capture", f"virtual:{model}", "-o", path)
    with library.open(path) as trace:
        events = library.Events.concat(list(trace))
        assert set(trace.decoder.notes) == {"comment"}  # the command
        assert trace.decoder.interfaces[0].dropped == 0
    first, second = said.err.splitlines()
    assert re.fullmatch(rf"captured: {len(events):,} events  .*  0 dropped", first)
    assert second.startswith(f"  {path}: pcapng, ")
    assert said.out == ""
    pairing = trace.decoder.pairing
    assert pairing.orphan_completions == 0
    in_flight = len(set(events.urb.tolist())) - int((events.type != ord("S")).sum())
    assert in_flight == 2  # the status endpoints of two root hubs


def test_with_no_output_events_are_printed_as_text(usbmon):
    said = usbmon("capture", "virtual:mouse")
    assert len(library.decode(said.out.encode())) > 100
    assert said.err.startswith("captured: ")
    assert said.out == usbmon("capture", "virtual:mouse", "--text").out
    assert said.out == usbmon("capture", "virtual:mouse", "-o", "-", "--to", "u").out


@pytest.mark.parametrize(
    "suffix", ["pcapng", "pcap", "txt", "t", "bin", "bin48", "pcap.gz", "txt.zst", "pcapng.xz"]
)
def test_the_suffix_says_the_format(usbmon, suffix, tmp_path):
    whole, path = tmp_path / "whole.pcapng", tmp_path / f"trace.{suffix}"
    usbmon("capture", "virtual:mouse", "-o", whole, "-o", path)
    assert same(library.read(path)) == same(library.read(whole))


def test_another_format_than_the_suffix_says(usbmon, tmp_path):
    usbmon("capture", "virtual:mouse", "-o", tmp_path / "trace.log", "--to", "pcap")
    assert (tmp_path / "trace.log").read_bytes()[:4] == bytes.fromhex("d4c3b2a1")


def test_what_a_format_cannot_hold_is_told(usbmon, tmp_path):
    said = usbmon("capture", "virtual:flash", "-o", tmp_path / "key.txt", "--text")
    lost = [line for line in said.err.splitlines() if "lost: data past the format's limit" in line]
    assert len(lost) == 1  # of the file; who reads text on the screen knows its form


@pytest.mark.parametrize("count", [1, 2, 7, 150])
def test_count_is_exact(usbmon, count, tmp_path):
    whole, path = tmp_path / "whole.pcap", tmp_path / "trace.pcap"
    usbmon("capture", "virtual:mouse", "-o", whole)
    said = usbmon("capture", "virtual:mouse", "-o", path, "-c", count)
    assert same(library.read(path)) == same(library.read(whole)[:count])
    assert said.err.startswith(f"captured: {count} events")


def test_duration_is_that_of_the_bus(usbmon, tmp_path):
    whole, path = tmp_path / "whole.pcap", tmp_path / "trace.pcap"
    usbmon("capture", "virtual:keyboard", "-o", whole)
    usbmon("capture", "virtual:keyboard", "-o", path, "-d", "500ms")
    events = library.read(whole)
    begin = int(events.ts[0]) // 10**9 * 10**9
    assert same(library.read(path)) == same(events[events.ts <= begin + 500_000_000])


@pytest.mark.parametrize(
    "option", [("--rotate-size", "4k"), ("--rotate-time", "300ms"), ("--rotate-size", "1")]
)
def test_rotated_no_event_is_lost_and_none_is_there_twice(usbmon, option, tmp_path):
    whole = tmp_path / "whole.pcapng"
    usbmon("capture", "virtual:keyboard", "-o", whole)
    said = usbmon("capture", "virtual:keyboard", "-o", tmp_path / "trace.pcapng", *option)
    parts = sorted(tmp_path.glob("trace-*.pcapng"))
    assert len(parts) > 2
    assert [path.name for path in parts] == [
        f"trace-{n:04}.pcapng" for n in range(1, len(parts) + 1)
    ]
    together = [event for path in parts for event in same(library.read(path))]
    assert together == same(library.read(whole))
    assert all(f"  {path}: pcapng, " in said.err for path in parts)


def test_a_file_is_no_larger_than_it_may_be_but_for_its_last_event(usbmon, tmp_path):
    path = tmp_path / "trace.bin"
    usbmon("capture", "virtual:keyboard", "-o", path, "--rotate-size", "2k")
    sizes = [part.stat().st_size for part in sorted(tmp_path.iterdir())]
    assert len(sizes) > 5
    assert all(2000 <= size < 2000 + 64 + 255 for size in sizes[:-1])


def test_the_same_seed_gives_the_same_bytes(usbmon, tmp_path):
    paths = [tmp_path / f"{n}.pcapng" for n in range(3)]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        usbmon("capture", "virtual:uas", "-o", path, "--seed", seed)
    one, again, other = (path.read_bytes() for path in paths)
    assert one == again != other


def test_verbose_says_what_happens_on_the_bus(usbmon):
    said = usbmon("capture", "virtual:keyboard", "-v", "-c", 1000)
    assert "new full-speed USB device number 2" in said.err


def test_quiet_is_quiet(usbmon, tmp_path):
    said = usbmon("capture", "virtual:mouse", "-q", "-o", tmp_path / "trace.pcap")
    assert (said.out, said.err) == ("", "")


# Ends that come early.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number, tmp_path):
    path = tmp_path / "trace.pcapng"
    words = ["capture", "virtual:keyboard", "--paced", "-v", "-o", str(path)]
    child = subprocess.Popen(
        [sys.executable, "-m", "usbmon", *words], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "SerialNumber: 0001" in line:
            break
    child.send_signal(number)
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(30) == 0
    events = library.read(path)
    assert re.search(rf"^captured: {len(events):,} events .*, ended by you$", said, re.MULTILINE)
    assert len(events) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["trace.pcapng"]


def test_a_step_that_fails_leaves_what_was_before_it(usbmon, tmp_path):
    (tmp_path / "fails.toml").write_text(FAILS)
    path = tmp_path / "trace.pcap"
    said = usbmon("capture", f"virtual:{tmp_path}/fails.toml", "-o", path, code=1)
    keys = [e.data for e in library.read(path) if e.xfer_type == "interrupt" and len(e.data) == 8]
    assert len([key for key in keys if key[2]]) == len("typed")
    assert said.err.splitlines()[-1].startswith(f"usbmon: {tmp_path}/fails.toml: step 2: fetch: ")


def test_who_stops_reading_is_not_written_to(tmp_path):
    command = f"{sys.executable} -m usbmon capture virtual:flash | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, check=False, timeout=60)
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1


def test_a_full_disk_is_one_line_and_the_other_file_is_whole(usbmon, tmp_path):
    path = tmp_path / "trace.pcapng"
    said = usbmon(
        "capture", "virtual:mouse", "-o", path, "-o", "/dev/full", "--to", "pcapng", code=1
    )
    assert said.err.splitlines()[-1] == (
        "usbmon: /dev/full: cannot be written: No space left on device"
    )
    assert len(library.read(path)) > 10


# Mistakes.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["virtual:nothing"], "no device is called 'nothing'; there are flash, uas, "),
        (["virtual:missing.toml"], "missing.toml: No such file or directory"),
        (["kernel:nonsense"], "no bus; write its number as `lsusb` shows it"),
        (["virtual:mouse", "-o", "{}/no/such.pcap"], "cannot be written: No such file"),
        (["virtual:mouse", "-o", "{}"], "the name does not say which format"),
        (["virtual:mouse", "-o", "{}/x.unknown"], "the name does not say which format"),
        (["virtual:mouse", "-o", "{}/there.pcap"], "exists already; --force replaces it"),
        (["usbip:host:0"], "no address; write HOST, HOST:PORT"),
    ],
)
def test_what_cannot_be_is_one_line(usbmon, words, message, tmp_path):
    (tmp_path / "there.pcap").write_bytes(b"mine")
    said = usbmon("capture", *(word.format(tmp_path) for word in words), code=1)
    (line,) = said.err.splitlines()
    assert line.startswith("usbmon: ")
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["there.pcap"]
    assert (tmp_path / "there.pcap").read_bytes() == b"mine"


def test_an_output_that_cannot_be_leaves_nothing_of_the_others(usbmon, tmp_path):
    usbmon(
        "capture", "virtual:mouse", "-o", tmp_path / "a.pcap", "-o", tmp_path / "no/b.pcap", code=1
    )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_by_force(usbmon, tmp_path):
    path = tmp_path / "there.pcap"
    path.write_bytes(b"mine")
    usbmon("capture", "virtual:mouse", "-o", path, "--force")
    assert len(library.read(path)) > 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rotate-size", "1k"], "need a file: say -o FILE"),
        (["--rotate-size", "1k", "-o", "-"], "standard output cannot be rotated"),
        (["-o", "a.pcap", "-o", "a.pcap"], "an output is named twice"),
        (["-o", "-", "--text"], "only one of --text, --show and -o - can"),
        (["--listen", "127.0.0.1"], "--listen is for usbip sources only"),
        (["--rotate-size", "0"], "'0' is no size; write one as 500k or 10MB"),
        (["-d", "soon"], "'soon' is no time; write one as 5, 500ms or 2m"),
        (["-d", "0"], "'0' is no time"),
        (["-c", "0"], "0 is not in the range x>=1"),
        (["--to", "nonsense"], "'nonsense' is not one of"),
    ],
)
def test_wrong_usage(usbmon, words, message):
    said = usbmon("capture", "virtual:mouse", *words, code=2)
    assert message in said.err
    assert said.out == ""


def test_what_is_no_source_is_told_which_there_are(usbmon):
    said = usbmon("capture", "nonsense:1", code=1)
    assert said.err.startswith("usbmon: nonsense:1: no such source; there are\n  kernel:BUS")
    assert max(map(len, said.err.splitlines())) <= 115


def test_options_of_another_source(usbmon):
    said = usbmon("capture", "usbip:localhost", "--paced", code=2)
    assert "--paced is for virtual sources only" in said.err


# On a terminal.


def test_on_a_terminal_counts_are_shown_as_it_goes(tmp_path):
    code, got = on_terminal("capture", "virtual:keyboard", "-o", str(tmp_path / "a.pcap"))
    assert code == 0
    assert re.search(r"\r\x1b\[K[\d,]+ events  .* dropped  \(Ctrl-C ends\)", got)
    assert got.rstrip().splitlines()[-1].startswith(f"  {tmp_path}/a.pcap: pcap, ")


def test_in_a_pipe_there_are_none(tmp_path):
    done = process("capture", "virtual:keyboard", "-o", tmp_path / "a.pcap")
    assert b"\r" not in done.stderr
    assert b"\x1b" not in done.stderr


# What is kept.


def test_a_trigger_begins_and_ends_it(usbmon, tmp_path):
    whole, part = tmp_path / "whole.pcapng", tmp_path / "part.pcapng"
    usbmon("capture", "virtual:keyboard", "-o", whole)
    usbmon(
        "capture", "virtual:keyboard", "-o", part,
        "--start-on", "setup.bRequest == SET_CONFIGURATION and dev == 1:2",
        "--stop-on", "ep == 1 and dev == 1:2", "--after", "1s",
    )  # fmt: skip
    every, some = library.read(whole), library.read(part)
    assert some[0].setup is not None
    assert some[0].setup[1] == 9
    start = [(e.setup, e.devnum) for e in every].index((some[0].setup, 2))
    assert 0 < len(some) < len(every) - start
    assert same(some) == same(every[start : start + len(some)])


def test_a_trigger_that_does_not_come_is_told(usbmon, tmp_path):
    path = tmp_path / "a.pcapng"
    said = usbmon("capture", "virtual:mouse", "-o", path, "--start-on", "status == EPROTO")
    assert "  the event of --start-on did not come" in said.err.splitlines()
    assert len(library.read(path)) == 0


def test_a_filter_and_a_snap_length(usbmon, tmp_path):
    path = tmp_path / "a.pcapng"
    usbmon("capture", "virtual:flash", "-o", path, "-F", "type == bulk", "-s", "4")
    events = library.read(path)
    assert set(events.xfer_type.tolist()) == {3}
    assert max(len(event.data) for event in events) == 4
    assert max(event.length for event in events) > 4


def test_of_rotated_files_the_last_are_kept(usbmon, tmp_path):
    path = tmp_path / "a.pcapng"
    usbmon("capture", "virtual:flash", "-o", path, "--rotate-size", "20k", "--keep", "2")
    assert len(list(tmp_path.iterdir())) == 2


def test_counts_and_summary_for_programs(usbmon, tmp_path):
    path = tmp_path / "a.pcapng"
    said = usbmon("capture", "virtual:mouse", "-o", path, "--json")
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert [line["type"] for line in lines][-1] == "summary"
    assert {line["type"] for line in lines[:-1]} == {"progress"}
    assert lines[-1]["ended"] == "source"
    assert lines[-1]["events"] == len(library.read(path))
    assert lines[-1]["files"][0]["path"] == str(path)


def test_events_as_show_has_them(usbmon):
    said = usbmon("capture", "virtual:mouse", "--show", "-c", "3", "-q")
    assert len(said.out.splitlines()) == 3
    assert "GET_DESCRIPTOR Device" in said.out
    assert said.err == ""


@pytest.mark.parametrize("suffix", ["pcapng", "txt", "pcapng.zst"])
def test_what_was_captured_before_a_kill_is_a_valid_file(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "usbmon", "capture", "virtual:keyboard", "--paced"),
            *("--json", "-o", str(path)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if json.loads(line)["events"] > 50:
            break
    child.kill()
    child.wait(30)
    child.stderr.close()
    events = library.read(path)
    assert len(events) > (0 if suffix.endswith("zst") else 50)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--before", "1s"], "--before goes with --start-on"),
        (["--keep", "3"], "--keep goes with --rotate-size"),
        (["--start-on", "nope == 1"], "no field 'nope'"),
        (["--ring", "1M"], "--ring is for kernel and device sources only"),
        (["--by", "getx"], "--by is for kernel and device sources only"),
    ],
)
def test_what_does_not_go_together(usbmon, words, message):
    assert message in usbmon("capture", "virtual:mouse", *words, code=2).err


def test_where_losses_are_not_known_none_is_claimed(usbmon, tmp_path):
    """A file that grows tells nothing of them."""
    fifo, path = tmp_path / "fifo", tmp_path / "a.pcapng"
    os.mkfifo(fifo)
    keep = os.open(fifo, os.O_RDWR)
    lines = (CAPTURES / "hid-xhci/1u.txt").read_bytes().splitlines(keepends=True)[:20]
    os.write(keep, b"".join(lines))
    said = usbmon("capture", f"text:{fifo}", "-o", path, "-c", "5")
    assert "  drops not known" in said.err.splitlines()[0]
    assert "0 dropped" not in said.err
    os.write(keep, b"".join(lines))
    said = usbmon("capture", f"text:{fifo}", "-o", path, "-c", "5", "--force", "--json")
    assert json.loads(said.err.splitlines()[-1])["dropped"] is None
    os.close(keep)


def test_a_signal_while_a_source_is_being_opened_ends_that():
    ending = _Ending()
    with pytest.raises(KeyboardInterrupt):
        ending()


def test_a_signal_after_that_stops_the_source():
    stopped = []

    class Opened:
        def stop(self):
            stopped.append(True)

    ending = _Ending()
    ending.source = Opened()
    ending()
    assert (ending.came, stopped) == (True, [True])
