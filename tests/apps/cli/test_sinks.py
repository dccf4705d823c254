"""Where a capture goes: rows of files, and what is left behind when nothing came of it."""

import stat

import pytest

import usbmon
from tests.helpers.corpus import CAPTURES
from usbmon import SourceError
from usbmon.apps.cli._sinks import NO_ROTATION, FileSink, Rotation
from usbmon.formats.base import Interface, Report

EVENTS = usbmon.read(CAPTURES / "hid-xhci/usbmon1.pcap")


class Source:
    """What a sink asks of one."""

    elapsed = 0.0

    def __init__(self):
        self.interfaces = [Interface(220, "usbmon1")]


def sink(path, rotation=NO_ROTATION, source=None, **options):
    known = {"force": False, "about": {"os": "Linux"}, "comments": ("a command",)} | options
    return FileSink(source or Source(), str(path), "", rotation, **known)


def test_a_file_is_its_owners_alone_and_says_how_it_was_made(tmp_path):
    one = sink(tmp_path / "a.pcapng")
    one.write(EVENTS)
    one.close()
    assert stat.S_IMODE((tmp_path / "a.pcapng").stat().st_mode) == 0o600
    with usbmon.open(tmp_path / "a.pcapng") as trace:
        assert trace.read() == EVENTS
        assert trace.decoder.own_comments == ["a command"]
        assert trace.decoder.about["os"] == "Linux"


def test_our_own_comment_is_no_loss_where_there_is_no_place_for_it(tmp_path):
    one = sink(tmp_path / "a.pcap")
    one.write(EVENTS)
    one.close()
    assert one.written[0][1].lost == {}


@pytest.mark.parametrize("suffix", ["pcapng", "pcap", "txt"])
def test_files_are_as_large_as_said_but_for_an_event_and_hold_all_of_it(tmp_path, suffix):
    one = sink(tmp_path / f"a.{suffix}", Rotation(4000, None, 0))
    one.write(EVENTS[:100])
    one.write(EVENTS[100:])
    one.close()
    paths = [path for path, _ in one.written]
    assert len(paths) > 5
    assert sum(len(usbmon.read(path)) for path in paths) == len(EVENTS)
    sizes = [(tmp_path / path).stat().st_size for path in paths]
    assert all(4000 <= size < 4700 for size in sizes[:-1])


def test_of_many_files_the_last_are_kept(tmp_path):
    one = sink(tmp_path / "a.pcapng", Rotation(4000, None, 2))
    one.write(EVENTS)
    one.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"a-{one.removed + n:04}.pcapng" for n in (1, 2)]


def test_files_change_with_time(tmp_path):
    source = Source()
    one = sink(tmp_path / "a.pcapng", Rotation(None, 1.0, 0), source)
    one.write(EVENTS[:10])
    source.elapsed = 1.5
    one.write(EVENTS[10:20])
    one.close()
    assert [len(usbmon.read(path)) for path, _ in one.written] == [10, 10]


def test_drops_stand_where_they_happened(tmp_path):
    one = sink(tmp_path / "a.pcapng")
    one.write(EVENTS[:10])
    one.report(Report(0, int(EVENTS.ts[9]), dropped=7))
    one.write(EVENTS[10:])
    one.close()
    with usbmon.open(tmp_path / "a.pcapng") as trace:
        trace.read()
        (drop,) = trace.decoder.interfaces[0].drops
    assert (drop.lost, drop.end) == (7, int(EVENTS.ts[9]))


def test_nothing_is_left_of_what_is_abandoned(tmp_path):
    sink(tmp_path / "a.pcapng").abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_replaced_unless_said(tmp_path):
    (tmp_path / "a.pcapng").write_bytes(b"mine")
    with pytest.raises(SourceError, match="exists already"):
        sink(tmp_path / "a.pcapng")
    one = sink(tmp_path / "a.pcapng", force=True)
    one.write(EVENTS)
    one.close()
    assert usbmon.read(tmp_path / "a.pcapng") == EVENTS
