"""Triggers: where a stream begins and ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import wire
from usbmon import Events, decode, layout
from usbmon.sources.trigger import Trigger

MS = 1_000_000


def events(*times, first=0):
    """An event at each of these milliseconds; the tag is its number from `first` on."""
    return decode(
        b"".join(
            wire.packet(order="<", id=first + number, ts_sec=ms // 1000, ts_usec=ms % 1000 * 1000)
            for number, ms in enumerate(times)
        ),
        format="bin",
    )


def tag(*numbers):
    return lambda batch: (batch.id[:, None] == numbers).any(axis=1)


def run(trigger, batches):
    return [int(i) for batch in batches for i in trigger.feed(batch).id]


def test_without_conditions_all_passes():
    trigger = Trigger()
    assert run(trigger, [events(1, 2), events(3, first=2)]) == [0, 1, 2]
    assert (trigger.started, trigger.done) == (True, False)


def test_it_starts_with_the_event_and_stops_with_the_other():
    trigger = Trigger(tag(2), tag(4))
    assert run(trigger, [events(1, 1, 1, 1), events(1, 1, 1, first=4), events(9, first=7)]) == [
        2, 3, 4
    ]  # fmt: skip
    assert trigger.done


def test_before_and_after_are_times():
    trigger = Trigger(tag(6), tag(8), before=20 * MS, after=15 * MS)
    batches = [events(n * 10, n * 10 + 5, first=2 * n) for n in range(10)]
    assert run(trigger, batches) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_what_does_not_fit_into_memory_is_told_only_if_it_was_asked_for():
    small = Trigger(tag(9), before=5 * MS, limit=4 * layout.ROW_SIZE)
    batches = [events(n, first=n) for n in range(10)]
    assert run(small, batches)[-1] == 9
    assert small.shortened
    enough = Trigger(tag(9), before=1 * MS, limit=400 * layout.ROW_SIZE)
    assert run(enough, batches) == [8, 9]
    assert not enough.shortened


def test_what_the_system_told_is_kept_though_it_came_before_the_start():
    known = events(1, 2)
    rows = known.rows.copy()
    rows["marks"] = layout.SYNTHETIC, 0
    known = Events(rows.view("u1").data, known.buffers[1])
    trigger = Trigger(tag(7))
    assert run(trigger, [known, events(3, 4, first=6)]) == [0, 7]


@given(
    st.lists(st.integers(0, 30), max_size=40).map(sorted),
    st.integers(0, 40), st.integers(0, 40), st.integers(0, 9), st.integers(0, 9), st.data(),
)  # fmt: skip
def test_however_the_stream_is_cut_into_batches_the_same_is_kept(
    times, start, stop, before, after, data
):
    def kept(cuts):
        ends = [*sorted(cuts), len(times)]
        batches = [
            events(*times[a:b], first=a) for a, b in zip([0, *ends], ends, strict=False)
        ]
        trigger = Trigger(tag(start), tag(stop), before=before * MS, after=after * MS)
        return run(trigger, batches)

    cuts = data.draw(st.lists(st.integers(0, len(times)), max_size=6))
    assert kept(cuts) == kept([]) == model(times, start, stop, before, after)


def model(times, start, stop, before, after):
    if start >= len(times):
        return []
    if before:
        numbers = [n for n, t in enumerate(times) if t >= times[start] - before]
    else:
        numbers = list(range(start, len(times)))
    if stop in numbers and stop >= start:
        end = times[stop] + after
        numbers = [n for n in numbers if (n <= stop if not after else times[n] <= end)]
    return numbers


@pytest.mark.parametrize("options", [{}, {"before": MS}])
def test_nothing_comes_of_nothing(options):
    assert len(Trigger(tag(1), **options).feed(Events.empty())) == 0
