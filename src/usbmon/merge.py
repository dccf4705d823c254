"""Several traces to one, by time.

`merge` takes iterators of `Events` and gives one, holding a batch of each at a time. Not here:
whether two inputs have seen the same event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon import layout
from usbmon.errors import UsbmonError
from usbmon.events import Events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt


class _Input:
    """One input: what is left of the batch at hand, and the times it is merged by.

    Events stay in the order of their file. One that is out of order is merged by the latest time
    before it, which is when its reader saw it.
    """

    def __init__(self, batches: Iterable[Events]) -> None:
        self._batches = iter(batches)
        self._latest: int | None = None
        self.clock = ""
        self.events = Events.empty()
        self.times: npt.NDArray[np.int64]
        self.advance()

    def advance(self) -> None:
        """Take the next batch; with none left, `events` is empty."""
        import numpy as np

        batch = self.events = next((b for b in self._batches if len(b)), Events.empty())
        if not len(batch):
            return
        self.clock = layout.CLOCKS[int(batch.clock[0])]
        times = np.where(batch.present("ts"), batch.ts, np.iinfo(np.int64).min)
        if self._latest is not None:
            times[0] = max(times[0], self._latest)
        self.times = np.maximum.accumulate(times)
        self._latest = int(self.times[-1])

    def take(self, count: int) -> tuple[Events, npt.NDArray[np.int64]]:
        """The next events, and their times."""
        taken = self.events[:count], self.times[:count]
        self.events, self.times = self.events[count:], self.times[count:]
        return taken


def merge(inputs: Sequence[Iterable[Events]], names: Sequence[str] = ()) -> Iterator[Events]:
    """The events of all inputs, by time; of the same time, in the order of the inputs.

    `interface` is the number of the input, and `urb` stays a number of one URB of one input: it
    becomes ``urb * len(inputs) + input``. `names` are for the error: raises `UsbmonError` where the
    inputs tell the time by different clocks, which have no common order.
    """
    cursors = [_Input(batches) for batches in inputs]
    _check_clocks(cursors, names)
    while any(len(cursor.events) for cursor in cursors):
        yield _next(cursors)
        for cursor in cursors:
            if not len(cursor.events):
                cursor.advance()


def _check_clocks(cursors: Sequence[_Input], names: Sequence[str]) -> None:
    told = [(c.clock, names[n] if names else f"input {n + 1}") for n, c in enumerate(cursors)]
    told = [(clock, name) for clock, name in told if clock]
    for clock, name in told[1:]:
        if clock != told[0][0]:
            raise UsbmonError(
                f"{told[0][1]} tells the time by the clock {told[0][0]!r}, {name} by {clock!r}: "
                "they have no common order; merge text with text, and pcap with pcap"
            )


def _next(cursors: Sequence[_Input]) -> Events:
    """The events that no batch to come can stand before."""
    import numpy as np

    waiting = [number for number, cursor in enumerate(cursors) if len(cursor.events)]
    # The input whose batch ends first. At the time of its end itself, only inputs before it go on.
    first = min(waiting, key=lambda number: cursors[number].times[-1])
    horizon = cursors[first].times[-1]
    parts, times = [], []
    for number in waiting:
        cursor = cursors[number]
        count = np.searchsorted(cursor.times, horizon, "right" if number <= first else "left")
        taken, when = cursor.take(int(count))
        parts.append(of_input(taken, number, len(cursors), number))
        times.append(when)
    return interleave(parts, np.concatenate(times))


def of_input(
    events: Events, number: int, inputs: int, interface: int | npt.NDArray[np.int64]
) -> Events:
    """The events as those of one of several inputs, whose `urb` numbers no other has."""
    rows = events.rows.copy()
    # Those of synthetic events are made of the time and the address: no other has them.
    numbered = (rows["urb"] != 0) & (rows["urb"] < layout.SYNTHETIC_URB)
    rows["urb"][numbered] = rows["urb"][numbered] * inputs + number
    rows["interface"] = interface
    return Events(rows.view("u1").data, events.buffers[1], events.comments)


def interleave(parts: Iterable[Events], times: npt.NDArray[np.int64]) -> Events:
    """All of these in the order of `times`, which has one for each event; of the same time, in
    their own order."""
    import numpy as np

    return Events.concat(parts)[np.argsort(times, kind="stable")]
