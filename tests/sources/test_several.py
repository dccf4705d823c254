"""Several live sources as one: all of what they give, in the order of time."""

import threading

import pytest

import usbmon
from tests.helpers import wire
from usbmon import Events, SourceError, decode, layout, sources
from usbmon.formats.base import Interface
from usbmon.sources import Remark, Source
from usbmon.sources.several import Several


class Played(Source):
    """Gives these batches, one behind the other; an error at the end if there is one. `turn` lets
    another go on when this one has given all."""

    def __init__(self, name, batches, *, error=None, drops=()):
        self.interfaces = [Interface(220, name)]
        self._batches, self._error, self._drops = list(batches), error, list(drops)
        self.ended = threading.Event()
        self.closed = False
        self.said = [Remark(5, 0, name)]

    elapsed = 7.0

    def remarks(self):
        said, self.said = self.said, []
        return said

    def __iter__(self):
        for batch in self._batches:
            yield batch
            if self._drops:
                self.interfaces[0].dropped = self._drops.pop(0)
        if self._error is not None:
            raise self._error
        self.ended.wait(self.patience)

    patience = 0.0

    def stop(self):
        self.ended.set()

    def close(self):
        self.closed = True


class Endless(Played):
    patience = 30.0


def events(*times, tag=1, clock=layout.WALL):
    made = decode(
        b"".join(wire.packet(order="<", id=tag, ts_sec=0, ts_usec=us) for us in times), format="bin"
    )
    rows = made.rows.copy()
    rows["clock"] = clock
    return Events(rows.view("u1").data, made.buffers[1])


@pytest.fixture
def played(monkeypatch):
    """Sources by their names, to be captured together."""
    there = {}
    monkeypatch.setattr(sources, "open", lambda spec, **_: there[spec])

    def several(**named):
        there.update(named)
        return Several(list(named), {})

    return several


def test_events_come_in_the_order_of_time_whoever_saw_them(played):
    one = Played("one", [events(10, 40), events(50, 90)])
    two = Played("two", [events(20, 30, 60, tag=2)])
    several = played(one=one, two=two)
    got = Events.concat(several)
    assert (got.ts // 1000).tolist() == [10, 20, 30, 40, 50, 60, 90]
    assert got.interface.tolist() == [0, 1, 1, 0, 0, 1, 0]
    assert [interface.name for interface in several.interfaces] == ["one", "two"]
    assert len({*got.urb.tolist()}) > 1


def test_an_urb_stays_one_of_its_source(played):
    got = Events.concat(played(one=Played("", [events(1, 2)]), two=Played("", [events(1, 2)])))
    by_source = [set(got[got.interface == n].urb.tolist()) for n in (0, 1)]
    assert not by_source[0] & by_source[1]


def test_text_and_binary_records_have_one_clock(played):
    """The wall clock's: text has the monotonic clock, whose 0 is when the machine started."""
    text = Played("", [events(1, clock=layout.MONOTONIC)])
    got = Events.concat(played(text=text, one=Played("", [events(2)])))
    assert set(got.clock.tolist()) == {layout.WALL}
    assert min(got.ts.tolist()) == 2000
    assert max(got.ts.tolist()) > 1_500_000_000_000_000_000


def test_drops_are_told_behind_the_batch_that_was_before_them(played):
    one = Played("one", [events(10), events(20)], drops=[3, 3])
    several = played(one=one, two=Played("two", []))
    assert [len(batch) for batch in several if len(batch)] == [2]
    assert [interface.dropped for interface in several.interfaces] == [3, None]


def test_remarks_are_those_of_their_interface(played):
    several = played(one=Played("one", []), two=Played("two", []))
    assert several.remarks() == [Remark(5, 0, "one"), Remark(5, 1, "two")]
    assert several.remarks() == []


def test_one_that_fails_ends_with_all_events_given_and_the_others_go_on_until_they_end(played):
    bad = Played("bad", [events(1, 2)], error=SourceError("gone", file="bad"))
    several = played(bad=bad, good=Played("good", [events(3), events(4)]))
    got = []
    with pytest.raises(SourceError, match="bad: gone"):
        got.extend(several)
    assert sum(map(len, got)) == 4


def test_stop_stops_all_and_close_closes_all(played):
    both = Endless("one", [events(1)]), Endless("two", [events(2)])
    with played(one=both[0], two=both[1]) as several:
        batches = iter(several)
        several.stop()
        assert sum(map(len, batches)) == 2
    assert all(source.closed for source in both)


def test_what_is_open_is_closed_when_another_cannot_be_opened(monkeypatch):
    there = {"one": Played("one", [])}

    def opened(spec, **_):
        if spec not in there:
            raise SourceError("no")
        return there[spec]

    monkeypatch.setattr(sources, "open", opened)
    with pytest.raises(SourceError, match="no"):
        Several(["one", "two"], {})
    assert there["one"].closed


def test_a_virtual_bus_and_a_real_one_have_no_common_time():
    with pytest.raises(SourceError, match="a time of its own"):
        usbmon.capture("virtual:mouse", "1")


def test_two_virtual_buses():
    with usbmon.capture("virtual:mouse", "virtual:keyboard") as capture:
        got = Events.concat(capture)
    assert set(got.interface.tolist()) == {0, 1}
    assert (got.ts[1:] >= got.ts[:-1]).all()
