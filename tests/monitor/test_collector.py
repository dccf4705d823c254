"""The reader that gives `Events`."""

from tests.helpers.corpus import CAPTURES
from tests.helpers.records import of_stream
from usbmon import read
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import MonitoredBus

RUN = CAPTURES / "hid-xhci" / "usbmon1.getx.bin"


def test_batches_are_the_whole_with_urbs_numbered_through():
    collector = Collector(MonitoredBus(1, lambda: None))
    batches = []
    for number, record in enumerate(of_stream(RUN.read_bytes())):
        collector.put(record)
        if number % 7 == 0:
            batches.append(collector.take())
    batches.append(collector.take())
    assert [event for batch in batches for event in batch] == list(read(RUN))
    assert len(collector.take()) == 0


def test_what_waits_is_bounded_and_what_is_dropped_counted():
    collector = Collector(MonitoredBus(1, lambda: None), limit=1000)
    for record in of_stream(RUN.read_bytes()):
        collector.put(record)
    assert collector.waiting <= 1000
    assert collector.dropped == len(read(RUN)) - len(collector.take())
    collector.put(next(of_stream(RUN.read_bytes())))
    assert len(collector.take()) == 1


def test_closed_it_reads_no_more():
    bus = MonitoredBus(1, lambda: None)
    Collector(bus).close()
    assert bus.readers == []
