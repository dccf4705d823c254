"""Several traces to one, by time.

`merge` takes iterators of `Events` and gives one, holding a batch of each at a time. Not here:
whether two inputs have seen the same event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon import layout
from usbmon.errors import UsbmonError
from usbmon.events import Events, row_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt


class _Input:
    """One input: the batch at hand, and the times its rows are merged by.

    Events stay in the order of their file. One that is out of order is merged by the latest time
    before it, which is when its reader saw it.
    """

    def __init__(self, batches: Iterable[Events]) -> None:
        self._batches = iter(batches)
        self._latest: int | None = None
        self.clock = ""
        self.rows: npt.NDArray[np.void]
        self.times: npt.NDArray[np.int64]
        self.advance()

    def advance(self) -> None:
        """Take the next batch; with none left, `rows` is empty."""
        import numpy as np

        batch = next((b for b in self._batches if len(b)), Events.empty())
        self.arena = batch.buffers[1]
        self.rows = batch.rows
        if not len(batch):
            return
        self.clock = layout.CLOCKS[int(batch.clock[0])]
        times = np.where(batch.present("ts"), batch.ts, np.iinfo(np.int64).min)
        if self._latest is not None:
            times[0] = max(times[0], self._latest)
        self.times = np.maximum.accumulate(times)
        self._latest = int(self.times[-1])

    def take(self, count: int) -> npt.NDArray[np.void]:
        taken, self.rows = self.rows[:count], self.rows[count:]
        self.times = self.times[count:]
        return taken


def merge(inputs: Sequence[Iterable[Events]], names: Sequence[str] = ()) -> Iterator[Events]:
    """The events of all inputs, by time; of the same time, in the order of the inputs.

    `interface` is the number of the input, and `urb` stays a number of one URB of one input: it
    becomes ``urb * len(inputs) + input``. `names` are for the error: raises `UsbmonError` where the
    inputs tell the time by different clocks, which have no common order.
    """
    cursors = [_Input(batches) for batches in inputs]
    _check_clocks(cursors, names)
    while any(len(cursor.rows) for cursor in cursors):
        yield _next(cursors)
        for cursor in cursors:
            if not len(cursor.rows):
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

    waiting = [number for number, cursor in enumerate(cursors) if len(cursor.rows)]
    # The input whose batch ends first. At the time of its end itself, only inputs before it go on.
    first = min(waiting, key=lambda number: cursors[number].times[-1])
    horizon = cursors[first].times[-1]
    parts, times = [], []
    for number in waiting:
        cursor = cursors[number]
        count = int(np.searchsorted(cursor.times, horizon, "right" if number <= first else "left"))
        times.append(cursor.times[:count])
        part = cursor.take(count).copy()
        mark(part, number, len(cursors), number)
        parts.append((part, cursor.arena))
    return interleave(parts, np.concatenate(times))


def mark(rows: npt.NDArray[np.void], number: int, inputs: int, interface: int) -> None:
    """Make these rows, a copy, those of one input among others."""
    numbered = rows["urb"] != 0
    rows["urb"][numbered] = rows["urb"][numbered] * inputs + number
    rows["interface"] = interface


def interleave(
    parts: Sequence[tuple[npt.NDArray[np.void], memoryview]], times: npt.NDArray[np.int64]
) -> Events:
    """Rows, each part with its arena, in the order of `times`, which has one for each row of all
    parts. The rows are changed: give copies."""
    import numpy as np

    base = 0
    for rows, arena in parts:
        rows["data_at"] += base
        base += len(arena)
    # Joining structured arrays by their bytes keeps the padding, and is many times faster.
    joined = np.concatenate([rows.view((np.uint8, layout.ROW_SIZE)) for rows, _ in parts])
    order = np.argsort(times, kind="stable")
    rows = joined[order].reshape(-1).view(row_dtype())
    arenas = bytearray().join(arena for _, arena in parts)
    return Events(rows.view(np.uint8).data, memoryview(arenas))
