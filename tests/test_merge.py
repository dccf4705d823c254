"""Merging by time against a sort of single events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import usbmon
from tests.helpers import corpus
from tests.helpers.generated import batch
from usbmon import Events, UsbmonError, layout
from usbmon.merge import merge

HID = corpus.CAPTURES / "hid-xhci"
TIMES = st.lists(st.integers(0, 6), max_size=8)


def trace(times: list[int], name: int = 0) -> Events:
    """Events of these times, each with a payload that names it."""
    rows = [
        {
            "ts": t,
            "clock": layout.WALL,
            "type": ord("C"),
            "urb": n + 1,
            "payload": b"%d:%d" % (name, n),
        }
        for n, t in enumerate(times)
    ]
    return batch(rows) if rows else Events.empty()


@given(st.lists(TIMES, min_size=1, max_size=4), st.integers(1, 4))
def test_events_come_by_time_and_those_of_one_time_by_input(inputs, size):
    traces = [trace(times, name) for name, times in enumerate(inputs)]
    cut = [[t[n : n + size] for n in range(0, len(t), size)] for t in traces]
    merged = Events.concat(merge(cut))
    # An event that is out of order stands behind those that its reader saw before.
    expected = sorted(
        (max(times[: n + 1]), name, n)
        for name, times in enumerate(inputs)
        for n in range(len(times))
    )
    assert [event.data for event in merged] == [b"%d:%d" % (name, n) for _, name, n in expected]
    assert [event.interface for event in merged] == [name for _, name, _ in expected]


def test_numbers_of_urbs_stay_apart():
    merged = Events.concat(merge([[trace([1, 3], 0)], [trace([2, 4], 1)]]))
    assert merged.urb.tolist() == [2, 3, 4, 5]


def test_an_event_without_a_number_gets_none():
    rows = [{"ts": 1, "clock": layout.WALL, "type": ord("C")}]
    assert Events.concat(merge([[batch(rows)], [trace([2])]])).urb.tolist() == [0, 3]


def test_an_event_without_a_time_stays_behind_the_one_before_it():
    rows = [
        {"ts": t, "clock": layout.WALL, "id": t, "absent": layout.ABSENT_BIT["ts"] * (t == 0)}
        for t in (5, 0, 9)
    ]
    merged = Events.concat(merge([[trace([4, 6, 8])], [batch(rows)]]))
    assert merged.id.tolist() == [0, 5, 0, 0, 0, 9]
    assert merged.present("ts").tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    "names", [("1u.txt", "0u.txt", "1t.txt"), ("usbmon1.pcap", "usbmon1.pcap")]
)
def test_recorded_traces_keep_every_event(names):
    alone = [usbmon.read(HID / name) for name in names]
    merged = Events.concat(merge([usbmon.open(HID / name) for name in names], names))
    assert np.all(np.diff(merged.ts) >= 0)
    for number, events in enumerate(alone):
        mine = merged[merged.interface == number]
        assert [e._replace(urb=0, interface=0) for e in mine] == [
            e._replace(urb=0, interface=0) for e in events
        ]


@pytest.mark.parametrize("names", [("a.txt", "b.pcap"), ()])
def test_clocks_that_have_no_common_order_are_refused(names):
    told = "a.txt tells the time by the clock 'monotonic', b.pcap by 'wall'" if names else "input 2"
    inputs = [usbmon.open(HID / "1u.txt"), usbmon.open(HID / "usbmon1.pcap")]
    with pytest.raises(UsbmonError, match=told):
        list(merge(inputs, names))


def test_inputs_without_events_do_not_matter():
    assert Events.concat(merge([[], [trace([1])], [Events.empty()]])).ts.tolist() == [1]
    assert list(merge([[], []])) == []


def test_a_batch_of_each_input_is_taken_at_a_time():
    taken = []

    def batches(name: int):
        for n in range(100):
            taken.append(name)
            yield trace([10 * n, 10 * n + 9], name)

    first = next(merge([batches(0), batches(1)]))
    assert len(first) > 0
    assert len(taken) <= 4


@given(st.lists(TIMES, min_size=1, max_size=4), st.integers(1, 4), st.data())
def test_comments_go_with_their_events(inputs, size, data):
    traces = [trace(times, name) for name, times in enumerate(inputs)]
    commented = []
    for events in traces:
        picked = data.draw(st.sets(st.integers(0, max(0, len(events) - 1))))
        texts = {n: (events[n].data.decode(),) for n in picked if n < len(events)}
        commented.append(events.commented(texts))
    cut = [[t[n : n + size] for n in range(0, len(t), size)] for t in commented]
    merged = Events.concat(merge(cut))
    assert all(event.comments in ((), (event.data.decode(),)) for event in merged)
    assert len(merged.comments) == sum(len(events.comments) for events in commented)
