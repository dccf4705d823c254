"""Virtual time: what happens when, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus import loop as loop_module
from usbmon.bus.loop import MS, SECOND, Loop


@given(st.lists(st.integers(-5, 50), max_size=40))
def test_things_happen_in_order_of_time_and_then_of_asking(times: list[int]) -> None:
    loop, seen = Loop(), []
    loop.run(10)
    for number, when in enumerate(times):
        loop.call_at(when, lambda n=number: seen.append((loop.now, n)))
    loop.run()
    # What was due before now is late: it happens now, but still before what is due later.
    order = sorted(range(len(times)), key=lambda n: times[n])
    assert seen == [(max(10, times[n]), n) for n in order]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=30),
    st.integers(0, 3000),
)
def test_what_is_cancelled_does_not_happen_however_many_there_are(
    plan: list[tuple[int, bool]], ballast: int
) -> None:
    loop, seen = Loop(), []
    timers = [loop.call_later(when, seen.append, number) for number, (when, _) in enumerate(plan)]
    for _ in range(ballast):
        loop.cancel(loop.call_later(15, seen.append, "cancelled"))
    for timer, (_, is_cancelled) in zip(timers, plan, strict=True):
        if is_cancelled:
            loop.cancel(timer)
            loop.cancel(timer)
    kept = [number for number, (_, is_cancelled) in enumerate(plan) if not is_cancelled]
    assert loop.next_at == min((plan[number][0] for number in kept), default=None)
    loop.run()
    assert sorted(seen) == kept


def test_cancelled_timers_do_not_pile_up() -> None:
    loop = Loop()
    for _ in range(100_000):
        loop.cancel(loop.call_later(SECOND, print))
    assert len(loop._timers) < 10_000


def test_a_run_until_some_time_ends_there_and_keeps_the_rest() -> None:
    loop, seen = Loop(), []
    loop.call_at(5, seen.append, "at")
    loop.call_at(6, seen.append, "after")
    loop.run(5)
    assert (seen, loop.now, loop.next_at) == (["at"], 5, 6)
    loop.run(3)
    assert loop.now == 5, "time went back"


def test_a_run_ends_as_soon_as_it_is_told_to_stop() -> None:
    loop, seen = Loop(), []
    for number in range(5):
        loop.call_at(number, seen.append, number)
    loop.run(stop=lambda: len(seen) == 2)
    assert seen == [0, 1]


def test_an_error_comes_out_and_what_is_left_happens_later() -> None:
    loop, seen = Loop(), []
    loop.call_at(1, {}.__getitem__, "missing")
    loop.call_at(2, seen.append, "later")
    with pytest.raises(KeyError):
        loop.run()
    loop.run()
    assert seen == ["later"]


def test_chance_is_the_seed_s_alone() -> None:
    draws = [[Loop(seed=seed).random.random() for _ in range(3)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


class Clock:
    """A real clock that goes on only by sleeping."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    def monotonic_ns(self) -> int:
        return self.now

    def time_ns(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop_module, "time", clock)
    return clock


def test_paced_virtual_time_is_held_to_the_real_clock(clock: Clock) -> None:
    loop, seen = Loop(paced=True), []
    for when in (10 * MS, 30 * MS):
        loop.call_at(when, lambda: seen.append(loop.real_now()))
    loop.run(50 * MS)
    assert seen == [10 * MS, 30 * MS]
    assert loop.now == loop.real_now() == 50 * MS


def test_after_a_run_ahead_the_real_clock_counts_from_there(clock: Clock) -> None:
    loop = Loop()
    loop.run(10 * SECOND)
    loop.rebase()
    clock.sleep(1)
    assert loop.real_now() == 11 * SECOND


def test_not_paced_it_does_not_sleep(clock: Clock) -> None:
    loop = Loop()
    loop.run(3600 * SECOND)
    assert loop.real_now() == 0


def test_catching_up_does_what_is_due_and_says_how_long_to_wait(clock: Clock) -> None:
    loop, seen = Loop(paced=True), []
    for when in (1 * MS, 4 * MS):
        loop.call_at(when, seen.append, when)
    clock.sleep(0.003)
    assert loop.catch_up() == pytest.approx(0.001)
    assert (seen, loop.now) == ([1 * MS], 3 * MS)
    clock.sleep(0.001)
    assert loop.catch_up() is None
    assert seen == [1 * MS, 4 * MS]


def test_catching_up_stops_when_it_is_told_to(clock: Clock) -> None:
    loop, seen = Loop(paced=True), []
    for when in (1 * MS, 2 * MS, 3 * MS):
        loop.call_at(when, seen.append, when)
    clock.sleep(0.010)
    assert loop.catch_up(stop=lambda: len(seen) == 2) == 0
    assert (seen, loop.now) == ([1 * MS, 2 * MS], 2 * MS)
    assert loop.catch_up() is None
    assert (seen, loop.now) == ([1 * MS, 2 * MS, 3 * MS], 10 * MS)
