"""`usbmon convert`: what comes out is compared with what the library reads from both sides."""

import pytest

import usbmon as library
from tests.helpers import corpus, synthetic, wire
from tests.helpers.command import process

HID = corpus.CAPTURES / "hid-xhci"
TEXT = HID / "1u.txt"
PCAP = HID / "usbmon1.pcap"


@pytest.mark.parametrize("suffix", ["pcap", "pcapng", "bin", "bin48", "t", "txt.gz", "pcapng.zst"])
@pytest.mark.parametrize("source", [TEXT, PCAP, HID / "usbmon1.read.bin"], ids=corpus.name)
def test_any_format_becomes_any_other(usbmon, source, suffix, tmp_path):
    out = tmp_path / f"out.{suffix}"
    said = usbmon("convert", source, out)
    events, again = library.read(source), library.read(out)
    assert said.out == ""
    assert said.err.startswith(f"{out}: {len(events)} events as ")
    assert again.status.tolist() == events.status.tolist()
    assert [event.setup for event in again] == [event.setup for event in events]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_text_trace_survives_pcap_to_the_byte(usbmon, tmp_path):
    usbmon("convert", TEXT, tmp_path / "a.pcap")
    usbmon("convert", tmp_path / "a.pcap", tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_bytes() == TEXT.read_bytes()


def test_what_the_target_cannot_hold_is_told_and_counted(usbmon, tmp_path):
    said = usbmon("convert", PCAP, tmp_path / "out.t").err.splitlines()
    events = library.read(PCAP)
    flags = sum(event.xfer_flags != 0 for event in events)
    assert f"  lost: bus number ({len(events)} events)" in said
    assert f"  lost: transfer flags ({flags} events)" in said
    long = sum(len(event.data) > 32 for event in events)
    assert f"  lost: data past the format's limit ({long} events)" in said


def test_what_the_source_does_not_say_is_told_too(usbmon, tmp_path):
    said = usbmon("convert", TEXT, tmp_path / "out.pcap").err
    assert f"  written as 0: transfer flags ({len(library.read(TEXT))} events)" in said
    assert "written as 0: date (times count from 1970" in said


def test_quiet_is_quiet(usbmon, tmp_path):
    said = usbmon("convert", "-q", TEXT, tmp_path / "out.pcap")
    assert (said.out, said.err) == ("", "")


def test_what_was_mended_is_told_even_so(usbmon, tmp_path):
    quoted = tmp_path / "quoted.txt"
    quoted.write_bytes(b"> " + TEXT.read_bytes())
    said = usbmon("convert", "-q", quoted, tmp_path / "out.pcap").err
    assert said == f"usbmon: {quoted}: 1 lines with mail quoting removed (line 1)\n"


def test_a_file_that_exists_is_kept_without_force(usbmon, tmp_path):
    out = tmp_path / "out.txt"
    out.write_text("mine")
    said = usbmon("convert", PCAP, out, code=1).err
    assert said == f"usbmon: {out}: exists already; --force replaces it\n"
    assert out.read_text() == "mine"
    usbmon("convert", "--force", PCAP, out)
    assert len(library.read(out)) == len(library.read(PCAP))


def test_a_failure_in_the_middle_leaves_nothing(usbmon, tmp_path):
    damaged = tmp_path / "damaged.pcap"
    data = PCAP.read_bytes()
    damaged.write_bytes(data[:20_000] + b"\xff" * 200 + data[20_200:])
    said = usbmon("convert", damaged, tmp_path / "out.pcapng", code=3).err
    assert "a record claims more bytes than any USB capture holds" in said
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.pcap"]


def test_a_strict_failure_leaves_nothing(usbmon, tmp_path):
    quoted = tmp_path / "quoted.txt"
    quoted.write_bytes(TEXT.read_bytes() + b"> ")
    usbmon("convert", "--strict", quoted, tmp_path / "out.pcap", code=4)
    assert not (tmp_path / "out.pcap").exists()


def test_several_inputs_are_merged_by_time_each_an_interface(usbmon, tmp_path):
    out = tmp_path / "out.pcapng"
    usbmon("convert", HID / "1u.txt", HID / "0u.txt", out)
    with library.open(out) as trace:
        merged = trace.read()
        names = [interface.name for interface in trace.decoder.interfaces]
    assert names == ["1u.txt", "0u.txt"]
    assert len(merged) == sum(len(library.read(HID / name)) for name in names)
    assert sorted(merged.ts.tolist()) == merged.ts.tolist()
    assert set(merged.interface.tolist()) == {0, 1}


def test_inputs_of_different_clocks_are_refused(usbmon, tmp_path):
    said = usbmon("convert", TEXT, PCAP, tmp_path / "out.pcap", code=1).err
    assert "they have no common order" in said
    assert list(tmp_path.iterdir()) == []


def test_standard_input_and_output_are_dashes():
    said = process("convert", "--to", "pcap", "-", "-", input=TEXT.read_bytes())
    assert said.returncode == 0
    assert len(library.decode(said.stdout)) == len(library.read(TEXT))
    assert said.stderr.startswith(b"standard output: 368 events as pcap\n")


@pytest.mark.parametrize("out", ["-", "out.what"])
def test_a_name_that_tells_no_format_lists_them(usbmon, out, tmp_path):
    target = out if out == "-" else tmp_path / out
    said = usbmon("convert", TEXT, target, code=1).err
    assert "choose one of pcapng, pcap, u, t, bin, bin48, pcap189" in said


def test_the_source_can_be_told_what_it_is(usbmon, tmp_path):
    said = usbmon("convert", "--from", "pcap", TEXT, tmp_path / "out.txt", code=3).err
    assert "not a pcap file" in said


@pytest.mark.parametrize("words", [["--to", "s"], ["--from", "nope"]])
def test_a_format_that_cannot_be_is_wrong_usage(usbmon, words, tmp_path):
    assert "Invalid value" in usbmon("convert", *words, TEXT, tmp_path / "x", code=2).err


@pytest.mark.parametrize("suffix", ["pcapng", "pcapng.gz", "pcapng.xz"])
def test_a_pcapng_keeps_all_that_it_says(usbmon, suffix, tmp_path):
    path = synthetic.capture(tmp_path / "x.pcapng", library.read(PCAP))
    usbmon("convert", path, tmp_path / f"y.{suffix}")
    usbmon("convert", tmp_path / f"y.{suffix}", tmp_path / "z.pcapng")
    assert (tmp_path / "z.pcapng").read_bytes() == path.read_bytes()


def test_what_others_cannot_say_is_told_as_lost(usbmon, tmp_path):
    path = synthetic.capture(tmp_path / "x.pcapng", library.read(PCAP))
    said = usbmon("convert", path, tmp_path / "out.pcap").err.splitlines()
    assert said[1:] == [
        "  lost: descriptors read from sysfs, which this format cannot mark (4 events)",
        "  lost: comments (4)",
        "  lost: reports of dropped events (2)",
    ]
    assert library.read(tmp_path / "out.pcap") == library.read(PCAP)


def test_what_is_not_of_usb_is_told_as_lost(usbmon, tmp_path):
    path = tmp_path / "x.pcapng"
    other = wire.interface(1) + wire.enhanced(b"a frame", number=1) * 3
    unknown = wire.block(0x0BAD, b"what")
    path.write_bytes(wire.section() + wire.interface() + other + unknown)
    said = usbmon("convert", path, tmp_path / "out.pcapng").err.splitlines()
    assert said[1:] == [
        "  lost: packets that are not of USB (3)",
        "  lost: blocks of other types (1)",
    ]


def test_merging_keeps_what_is_known_of_devices_and_drops(usbmon, tmp_path):
    one = synthetic.capture(tmp_path / "one.pcapng", library.read(PCAP))
    usbmon("convert", one, PCAP, tmp_path / "both.pcapng")
    with library.open(tmp_path / "both.pcapng") as trace:
        events = trace.read()
        names = [(i.name, i.dropped) for i in trace.decoder.interfaces]
    assert names == [("one.pcapng", 130), ("usbmon1.pcap", None), ("one.pcapng-devices", None)]
    assert int(events.synthetic.sum()) == 4
    assert trace.decoder.own_comments == ["usbmon capture 1"]
    assert trace.decoder.interfaces[0].comments == ["a ring of 300 KiB"]
    assert [e.comments for e in events if e.comments] == [("1-4: a keyboard",), ("look here",)]


def test_a_filter_says_what_is_written(usbmon, tmp_path):
    source, target = corpus.CAPTURES / "hid-xhci" / "usbmon1.pcap", tmp_path / "out.pcapng"
    usbmon("convert", "-F", "ep.out and event == C", source, target)
    events = library.read(source)
    wanted = events[(events.epnum < 0x80) & (events.type == ord("C"))]
    assert 0 < len(wanted) < len(events)
    assert library.read(target).id.tolist() == wanted.id.tolist()
