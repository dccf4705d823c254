"""Text readers: the kernel's lines to the byte, its queue, and reading in pieces."""

import pytest

from tests.helpers.corpus import CAPTURES
from tests.helpers.records import of_stream
from usbmon.monitor.main import MonitoredBus
from usbmon.monitor.record import Record
from usbmon.monitor.text import EVENT_MAX, TextReader, line

# Runs whose binary reader cut nothing, so that all a line shows can be known.
WHOLE = ("audio-xhci", "hid-gadget-refused", "hid-xhci", "iso-packets-usbip", "microphone-usbip")


def records(run="hid-xhci"):
    return list(of_stream((CAPTURES / run / "usbmon1.getx.bin").read_bytes()))


@pytest.mark.parametrize(("name", "old"), [("1u.txt", False), ("1t.txt", True)])
@pytest.mark.parametrize("run", WHOLE)
def test_lines_are_the_kernels_but_for_the_stamp(run, name, old):
    expected = (CAPTURES / run / name).read_bytes().splitlines(keepends=True)
    found = [line(record, old=old) for record in records(run)]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        tag, _, rest = theirs.split(b" ", 2)
        our_tag, _, our_rest = ours.split(b" ", 2)
        if rest.startswith(b"C Zi") and rest.startswith(our_rest[:-1]):
            continue  # behind the packets the kernel shows stale bytes, which a recording has not
        assert (our_tag, our_rest) == (tag, rest)


def test_the_stamp_is_that_of_the_monotonic_clock_modulo_4096_seconds():
    record = records()[0]._replace(monotonic=5000_123_456_789)
    assert line(record, old=False).split()[1] == b"904123456"


@pytest.fixture
def bus():
    return MonitoredBus(1, lambda: None)


def test_a_line_a_read_and_the_rest_of_it_first(bus):
    reader = TextReader(bus)
    for record in records()[:2]:
        reader.put(record)
    first, second = (line(record, old=False) for record in records()[:2])
    assert reader.read(10) == first[:10]
    assert reader.read(4096) == first[10:]
    assert reader.read(4096) == second
    with pytest.raises(BlockingIOError):
        reader.read(4096)


def test_the_queue_keeps_93_and_counts_what_is_lost(bus):
    reader = TextReader(bus)
    all_records = records()
    for record in all_records[:100]:
        reader.put(record)
    assert EVENT_MAX == 93
    assert bus.text_lost == 7
    lines = [reader.read(4096) for _ in range(93)]
    assert lines == [line(record, old=False) for record in all_records[:93]]
    assert not reader.is_ready


def test_the_queue_is_small_however_large_the_urbs_are(bus):
    reader = TextReader(bus)
    header = records()[0].packet[:64]
    reader.put(Record(header + bytes(16 * 1000 + (1 << 20)), 1000, 0, None, {}))
    assert len(reader._queue[0]) < 256


def test_a_line_is_made_once_for_all_readers_of_its_format(bus):
    readers = [TextReader(bus), TextReader(bus), TextReader(bus, old=True)]
    record = records()[0]
    for reader in readers:
        reader.put(record)
    one, two, old = (reader.read(4096) for reader in readers)
    assert one is two
    assert old == record.lines[True] != one


def test_it_tells_how_many_events_wait(bus):
    reader = TextReader(bus)
    for record in records()[:3]:
        reader.put(record)
    reader.read(10)
    assert reader.waiting == 2


def test_who_waits_is_told(bus):
    reader = TextReader(bus, old=True)
    told = []
    reader.on_event = lambda: told.append(reader.read(4096))
    reader.put(records()[0])
    assert told == [line(records()[0], old=True)]


def test_closed_it_reads_no_more(bus):
    reader = TextReader(bus)
    reader.put(records()[0])
    reader.close()
    assert bus.readers == []
    assert not reader.is_ready
