"""`Loop`: virtual time, and what is to happen in it.

Here: the clock of a bus in nanoseconds, its timers and its source of chance. Not here: anything of
USB. No threads: whoever owns the loop runs it, and all happens inside that call.

Two ways to run: as fast as it goes, where time jumps from one timer to the next, the same for the
same seed; or paced, where virtual time is held to the real clock.
"""

from __future__ import annotations

import heapq
import random
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000

# The wall clock at time 0, where nobody says otherwise: 2009-06-05 14:01:20 UTC.
EPOCH: Final = 1_244_210_480 * SECOND

# Cancelled timers are swept out when they are more than the live ones, and more than this.
_SWEEP_FROM: Final = 1024


class Timer:
    """Something that will happen at `when`, unless it is cancelled."""

    __slots__ = ("args", "function", "when")

    def __init__(self, when: int, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.function: Callable[..., object] | None = function
        self.args = args


class Loop:
    """The time of one or more buses, `now`, in nanoseconds since the loop was made.

    `random` is the only source of chance of all that runs here. `epoch` is the wall clock at time
    0, in nanoseconds since 1970.
    """

    def __init__(self, *, seed: int = 0, paced: bool = False, epoch: int | None = None) -> None:
        """`paced`: hold virtual time to the real clock; `epoch` is then the real one by default."""
        self.now = 0
        self.random = random.Random(seed)  # noqa: S311 (repeatable on purpose)
        self.paced = paced
        self.epoch = epoch if epoch is not None else time.time_ns() if paced else EPOCH
        self._real_start = time.monotonic_ns()
        self._timers: list[tuple[int, int, Timer]] = []
        self._count = 0
        self._cancelled = 0

    def call_at(self, when: int, function: Callable[..., object], *args: Any) -> Timer:
        """Call the function at `when`, or at once if that is past; equal times keep their order."""
        timer = Timer(when, function, args)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def call_later(self, delay: int, function: Callable[..., object], *args: Any) -> Timer:
        """Call the function in so many nanoseconds."""
        return self.call_at(self.now + delay, function, *args)

    def cancel(self, timer: Timer | None) -> None:
        """Let it not happen; nothing if it has, or there is none."""
        if timer is None or timer.function is None:
            return
        timer.function = None
        self._cancelled += 1
        if self._cancelled > max(_SWEEP_FROM, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if entry[2].function is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    @property
    def next_at(self) -> int | None:
        """When something happens next; None if nothing ever will."""
        timers = self._timers
        while timers and timers[0][2].function is None:
            heapq.heappop(timers)
            self._cancelled -= 1
        return timers[0][0] if timers else None

    def step(self) -> bool:
        """Let the next thing happen, at its time; False if there is none."""
        timers = self._timers
        while timers:
            when, _, timer = heapq.heappop(timers)
            function, timer.function = timer.function, None
            if function is None:
                self._cancelled -= 1
                continue
            self.now = max(self.now, when)
            function(*timer.args)
            return True
        return False

    def run(self, until: int | None = None, *, stop: Callable[[], bool] | None = None) -> None:
        """Run until the time `until`, until `stop` says so, or until nothing is left to happen.

        Paced, this sleeps in between.
        """
        while stop is None or not stop():
            when = self.next_at
            if when is None or (until is not None and when > until):
                if until is not None:
                    self._wait(until)
                    self.now = max(self.now, until)
                return
            self._wait(when)
            self.step()

    def _wait(self, when: int) -> None:
        if self.paced:
            delay = when - self.real_now()
            if delay > 0:
                time.sleep(delay / SECOND)

    def rebase(self) -> None:
        """Virtual time has gone ahead of the real clock, which counts from here again."""
        self._real_start = time.monotonic_ns() - self.now

    def real_now(self) -> int:
        """The real clock on the scale of this loop."""
        return time.monotonic_ns() - self._real_start

    def catch_up(self, *, stop: Callable[[], bool] | None = None) -> float | None:
        """For those with an event loop of their own: let all happen that is due by the real clock,
        or until `stop` says so; returns the seconds until the next thing, None if there is none."""
        real = self.real_now()
        while (when := self.next_at) is not None and when <= real:
            if stop is not None and stop():
                return 0.0
            self.step()
        self.now = max(self.now, real)
        return None if when is None else max(0.0, (when - self.real_now()) / SECOND)
