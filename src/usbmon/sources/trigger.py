"""Triggers: which part of a live stream is kept, from one event to another.

Here: waiting for an event to start with, what came shortly before it, and the event to stop at. Not
here: which events these are (a condition tells), and stopping the source.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon.events import Events

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    Condition = Callable[[Events], npt.NDArray[np.bool_]]

_NEVER: Final = (1 << 63) - 1
# What may wait for a trigger, in bytes of rows and payload.
LIMIT: Final = 256 << 20


class Trigger:
    """`feed` it batches, and it gives what is to be kept of them.

    `started` tells whether the event to start with has come, `done` whether all has been given.
    `shortened`: the time before the start that was asked for did not fit into `limit` bytes.
    Events made of what the system knows (`layout.SYNTHETIC`) are kept in any case.
    """

    def __init__(
        self,
        start: Condition | None = None,
        stop: Condition | None = None,
        *,
        before: int = 0,
        after: int = 0,
        limit: int = LIMIT,
    ) -> None:
        """`start`, `stop`: which events do it; None: at once, and never. `before`, `after`: so many
        ns before the start and after the stop are kept."""
        self.started = start is None
        self.done = False
        self.shortened = False
        self._start, self._stop = start, stop
        self._before, self._after = before, after
        self._limit = limit
        self._waiting: deque[Events] = deque()
        self._size = 0
        self._end: int | None = None

    def feed(self, events: Events) -> Events:
        """Those to be kept now: of the batch, and of what came before it."""
        if not len(events) or self.done:
            return Events.empty()
        if self.started:
            return self._to_stop(events)
        assert self._start is not None
        mask = self._start(events) & ~events.synthetic
        if not mask.any():
            synthetic = events.synthetic
            self._keep(events[~synthetic])
            known: Events = events[synthetic]
            return known
        self.started = True
        first = int(mask.argmax())
        return Events.concat([self._until(events, first), self._to_stop(events[first:])])

    def _until(self, events: Events, first: int) -> Events:
        """What is kept of the time before the event that starts, this one of the batch."""
        begin = int(events.ts[first]) - self._before if self._before else _NEVER
        parts = [part for part in (*self._waiting, events[:first]) if len(part)]
        self._waiting.clear()
        # Told only where the time that was asked for reaches back to what had to go.
        self.shortened = self.shortened and not (parts and int(parts[0].ts[0]) <= begin)
        return Events.concat(part[(part.ts >= begin) | part.synthetic] for part in parts)

    def _keep(self, events: Events) -> None:
        """For the time before the start."""
        if not self._before or not len(events):
            return
        self._waiting.append(events)
        self._size += _size(events)
        begin = int(events.ts[-1]) - self._before
        while self._waiting and int(self._waiting[0].ts[-1]) < begin:
            self._size -= _size(self._waiting.popleft())
        while self._size > self._limit:
            self.shortened = True
            self._size -= _size(self._waiting.popleft())

    def _to_stop(self, events: Events) -> Events:
        if self._end is None and self._stop is not None:
            mask = self._stop(events) & ~events.synthetic
            if mask.any():
                last = int(mask.argmax())
                self._end = int(events.ts[last]) + self._after
                if not self._after:
                    self.done = True
                    return events[: last + 1]
        if self._end is not None:
            late = events.ts > self._end
            if late.any():
                self.done = True
                return events[: int(late.argmax())]
        return events


def _size(events: Events) -> int:
    rows, arena = events.buffers
    return len(rows) + len(arena)
