"""The source `kernel:`, over the monitor's own reader in place of a device: it answers each call
as Linux does (tests/monitor/test_binary.py)."""

import errno
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from tests.helpers.records import of_stream
from usbmon import Events, SourceError, read
from usbmon.monitor.binary import BinaryReader
from usbmon.monitor.main import MonitoredBus
from usbmon.monitor.record import Record
from usbmon.sources import kernel
from usbmon.sources.kernel import KernelSource

RUN = CAPTURES / "hid-xhci"
PATH = "/nowhere/usbmon1"


class FakeDevice(BinaryReader):
    """`can`: the calls that its kernel has; `largest`: the largest ring, and what a larger one is
    refused with."""

    identity = (0, 0)

    def __init__(self, bus, *, can=("mflush", "map", "getx"), largest=(64 << 20, errno.EINVAL)):
        self.can, self.largest = can, (64 << 20, 0)
        super().__init__(bus)
        self.largest = largest
        self.is_open = True

    def _check(self, call):
        if call not in self.can:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    def map(self):
        self._check("map")
        return super().map()

    def mflush(self, count):
        self._check("mflush")
        return super().mflush(count)

    def getx(self, alloc):
        self._check("getx")
        return super().getx(alloc)

    def set_ring_size(self, size):
        if size > self.largest[0]:
            raise OSError(self.largest[1], os.strerror(self.largest[1]))
        super().set_ring_size(size)

    def wait(self, seconds):
        return self.is_ready

    def close(self):
        super().close()
        self.is_open = False


class Bus:
    """A bus with events to give, and the devices that were opened on it."""

    def __init__(self, **options):
        self.bus = MonitoredBus(1, lambda: None)
        self.options = options
        self.devices = []

    def open(self, _path):
        self.devices.append(FakeDevice(self.bus, **self.options))
        return self.devices[-1]

    def source(self, **options):
        return KernelSource(PATH, device=self.open, **options)

    def give(self, records):
        for record in records:
            for reader in list(self.bus.readers):
                reader.put(record)


@pytest.fixture(autouse=True)
def gone(monkeypatch):
    """Whether the bus has gone: a list that is not empty."""
    gone = []
    monkeypatch.setattr(KernelSource, "_is_gone", lambda _self: bool(gone))
    return gone


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second at each look."""
    clock = itertools.count()
    monkeypatch.setattr(kernel.time, "monotonic", lambda: next(clock))


def recorded():
    return list(of_stream((RUN / "usbmon1.getx.bin").read_bytes()))


def record(number, size=0, type="S"):
    header = number.to_bytes(8, "little") + type.encode() + b"\x03\x01\x02\x01\x00-\x00"
    header += (number // 1000).to_bytes(8, "little") + (number % 1000).to_bytes(4, "little")
    header += bytes(4) + size.to_bytes(4, "little") * 2 + bytes(24)
    return Record(header + bytes(size), 0, 0, None, {})


def ids(batches):
    return [int(number) for batch in batches for number in batch.id]


def drained(source):
    """All that is there, without waiting."""
    source.stop()
    return list(source)


@pytest.mark.parametrize(
    ("can", "way"),
    [
        (("mflush", "map", "getx"), "mmap"),
        (("mflush", "getx"), "getx"),
        (("getx",), "getx"),
        ((), "read"),
    ],
)
def test_events_come_by_the_best_way_that_the_kernel_has(can, way):
    said = []
    bus = Bus(can=can)
    source = bus.source(report=said.append)
    bus.give(recorded())
    events = Events.concat(drained(source))
    wanted = read(RUN / ("usbmon1.read.bin" if way == "read" else "usbmon1.getx.bin"))
    assert source.way.startswith(f"{way}, ring of ")
    assert [(e.id, e.type, e.data, e.urb) for e in events] == [
        (e.id, e.type, e.data, e.urb) for e in wanted
    ]
    assert bool(said) == (way != "mmap")
    assert not said or said[-1] == f"usbmon1: events are taken by {way} instead"


def test_a_way_that_was_asked_for_is_the_only_one():
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        Bus(can=("mflush", "getx")).source(way="mmap")
    assert Bus().source(way="read").way.startswith("read")


def test_the_ring_goes_round_and_nothing_is_lost_or_doubled():
    bus = Bus()
    source = bus.source(ring=8 << 10)
    batches = iter(source)
    got = []
    numbers = iter(range(10_000))
    for size in itertools.cycle([0, 100, 700, 1, 64]):
        some = list(itertools.islice(numbers, 7))
        if not some:
            break
        bus.give([record(number, size) for number in some])
        while len(got) <= some[-1]:
            got += ids([next(batches)])
    assert got == list(range(10_000))
    assert source.dropped == 0


def test_an_event_larger_than_a_piece_comes_whole():
    bus = Bus()
    source = bus.source(ring=64 << 20)
    bus.give([record(1, 3 << 20), record(2, 5), record(3, 3 << 20)])
    assert [event.length for batch in drained(source) for event in batch] == [3 << 20, 5, 3 << 20]


@pytest.mark.parametrize("way", ["mmap", "getx", "read"])
def test_drops_are_told_where_they_happened(way):
    """They are known at once, and told behind the events that the ring held when it was full."""
    bus = Bus()
    source = bus.source(ring=8 << 10, way=way)
    batches = iter(source)
    bus.give([record(number) for number in range(200)])  # 128 fit
    seen, told = ids([next(batches)]), [source.interfaces[0].dropped]
    assert source.dropped == 72
    bus.give([record(number) for number in range(200, 210)])
    while len(seen) < 138:
        seen += ids([next(batches)])
        told.append(source.interfaces[0].dropped)
    assert seen == [*range(128), *range(200, 210)]
    # With the batch that follows the missing events, and not before.
    assert told[-1] == 72
    assert told[0] == 0


def test_what_is_queued_when_it_is_stopped_is_still_given_and_what_comes_later_is_not():
    bus = Bus()
    source = bus.source()
    bus.give([record(number) for number in range(9000)])
    batches = iter(source)
    seen = ids([next(batches)])
    assert len(seen) < 9000
    source.stop()
    for batch in batches:
        seen += ids([batch])
        bus.give([record(10_000)])
    assert seen[:9000] == list(range(9000))
    assert len(seen) <= 9001


class TestRing:
    def test_a_size_that_this_kernel_never_gives_is_not_asked_for_again(self):
        bus = Bus(largest=(1200 << 10, errno.EINVAL))
        source = bus.source(ring=16 << 20)
        assert bus.devices[0].ring_size == 1200 << 10
        assert source._target == 1200 << 10

    @pytest.mark.parametrize("wanted", [1, 8 << 10, 10_000, 1_000_000])
    def test_it_is_as_large_as_asked_for_in_whole_pages(self, wanted):
        bus = Bus()
        bus.source(ring=wanted)
        assert max(wanted, 8192) <= bus.devices[0].ring_size < max(wanted, 8192) + 4096

    def test_no_memory_at_all_is_an_error(self):
        with pytest.raises(OSError, match="Cannot allocate") as caught:
            Bus(largest=(0, errno.ENOMEM)).source()
        assert caught.value.errno == errno.ENOMEM

    @pytest.mark.usefixtures("ticking")
    def test_it_grows_when_the_kernel_has_memory_again(self):
        """One larger ring after the other, while events go on."""
        said = []
        bus = Bus(largest=(20_000, errno.ENOMEM))
        source = bus.source(ring=1 << 20, report=said.append)
        sizes = {bus.devices[-1].ring_size}
        numbers = itertools.count()
        batches = iter(source)
        got = []
        for largest in (20_000, 100_000, 500_000, 2 << 20):
            bus.options["largest"] = (largest, errno.ENOMEM)
            for _ in range(40):
                bus.give([record(next(numbers), 30) for _ in range(5)])
                got += ids([next(batches)])
                sizes.add(bus.devices[-1].ring_size)
        source.stop()
        got += ids(batches)
        assert got == list(range(next(numbers)))
        assert source.dropped == 0
        assert max(sizes) == 1 << 20
        assert len(sizes) >= 3
        assert [device.is_open for device in bus.devices].count(True) == 1
        assert said[-1].startswith("usbmon1: ring of 1,048,576 bytes, before ")


@pytest.mark.usefixtures("ticking")
def test_a_bus_that_has_gone_ends_it_when_all_events_were_given(gone):
    bus = Bus()
    source = bus.source()
    gone.append(True)
    bus.give([record(number) for number in range(3)])
    seen = []
    with pytest.raises(SourceError, match="/nowhere/usbmon1: the bus has gone"):
        seen.extend(batch for batch in source)
    assert ids(seen) == [0, 1, 2]


class TestOverlap:
    """Two readers of one bus: the older one stamps first, and no event comes between."""

    @given(
        st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2)), max_size=30),
        st.data(),
    )
    def test_the_first_event_of_the_new_one_is_found_in_the_old_one(self, kinds, data):
        first = data.draw(st.integers(0, len(kinds)))
        last = data.draw(st.integers(first, len(kinds)))
        old, new, now = [], [], 10
        flies, latest = {}, {}
        for number, (tag, step, gap) in enumerate(kinds):
            type = "C" if flies.get(tag) else "S"  # a tag is not submitted again while it flies
            flies[tag] = type == "S"
            now += latest.get(tag) == now  # and no URB comes and goes within a microsecond
            if number < last:
                old.append(stamped(tag, type, now))
            now += step
            if number >= first:
                new.append(stamped(tag, type, now))
            latest[tag] = now
            now += gap
        decoder = FakeTaker.decoder()
        at = kernel.overlap(decoder, bytearray().join(old), bytearray().join(new))
        assert at == 64 * min(first, last)

    def test_an_event_that_the_old_one_dropped_is_not_found_but_placed(self):
        old = [stamped(1, "S", 10), stamped(2, "S", 20), stamped(3, "S", 40)]
        new = [stamped(9, "S", 30), stamped(3, "S", 41)]
        assert (
            kernel.overlap(FakeTaker.decoder(), bytearray().join(old), bytearray().join(new)) == 128
        )


class FakeTaker:
    @staticmethod
    def decoder():
        from usbmon.sources.binary import RingDecoder

        return RingDecoder()


def stamped(tag, type, usec):
    header = tag.to_bytes(8, "little") + type.encode() + b"\x03\x01\x02\x01\x00-\x00"
    return header + bytes(8) + usec.to_bytes(4, "little") + bytes(36)


@pytest.mark.parametrize("rest", ["", "x", "-1", "1x", "²"])
def test_what_is_no_bus_is_refused(rest):
    with pytest.raises(SourceError, match="no bus; write its number"):
        kernel.open(rest)
