"""Several live sources as one, merged by time.

Here: a thread for each source, and the order of what they give. Not here: any source; merging files
that have ended (`usbmon.merge`), whose order is exact.

What comes within a short while (`_LAG_SECONDS`) is put in order by its stamps; what comes later
than that, from a slow connection, is given when it comes, out of order but not lost.
"""

from __future__ import annotations

import time
from copy import copy
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usbmon import layout, sources
from usbmon.errors import SourceError, UsbmonError
from usbmon.events import Events
from usbmon.merge import interleave, mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from usbmon.sources import Remark

_LAG_SECONDS: Final = 0.3
_WAIT_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 5.0
# Batches that wait to be merged; a source that is ahead waits, and drops as it does by itself.
_WAITING: Final = 64


class _Batch(NamedTuple):
    """What a source gave at once, and what it knew of drops when it did; `events` None: its end."""

    number: int
    events: Events | None
    dropped: list[int | None]
    came: float
    error: UsbmonError | None = None


class _Waiting:
    """A batch until all of it has been given: rows of its own, and the times to merge them by."""

    def __init__(self, batch: _Batch, events: Events) -> None:
        import numpy as np

        self.batch = batch
        self.rows = events.rows.copy()
        self.arena = events.buffers[1]
        self.times: npt.NDArray[np.int64] = np.maximum.accumulate(self.rows["ts"])

    def take(self, until: int) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
        """Those that are not later."""
        import numpy as np

        count = int(np.searchsorted(self.times, until, "right"))
        taken = self.rows[:count].copy(), self.times[:count]
        self.rows, self.times = self.rows[count:], self.times[count:]
        return taken


class Several(sources.Source):
    """See `usbmon.sources.Source`. Interfaces are those of all sources, in their order."""

    def __init__(self, specs: Sequence[str], options: dict[str, Any]) -> None:
        """`options` as for `sources.open`. Raises `SourceError`."""
        kinds = {sources.kind_of(spec)[0].name for spec in specs}
        if "virtual" in kinds and len(kinds) > 1:
            raise SourceError(
                "a virtual bus has a time of its own, that of no other source: capture it alone",
                file=" ".join(specs),
            )
        self.sources: list[sources.Source] = []
        self._threads: list[Thread] = []
        self._queue: Queue[_Batch] = Queue(_WAITING)
        try:
            for spec in specs:
                self.sources.append(sources.open(spec, **options))
        except BaseException:
            self.close()
            raise
        self.interfaces = [copy(i) for source in self.sources for i in source.interfaces]
        self._bases = [0]
        for source in self.sources:
            self._bases.append(self._bases[-1] + len(source.interfaces))
        # The wall clock's time at the 0 of the monotonic clock, which text has.
        self._offset = time.time_ns() - time.monotonic_ns()

    @property
    def elapsed(self) -> float:
        return max(source.elapsed for source in self.sources)

    @property
    def dropped(self) -> int:
        return sum(source.dropped for source in self.sources)

    def remarks(self) -> list[Remark]:
        return [
            remark._replace(interface=remark.interface + base)
            for base, source in zip(self._bases, self.sources, strict=False)
            for remark in source.remarks()
        ]

    def __iter__(self) -> Iterator[Events]:
        for number in range(len(self.sources)):
            # A daemon: a source that hangs in the system is not to keep the program from its end.
            self._threads.append(Thread(target=self._pump, args=(number,), daemon=True))
            self._threads[-1].start()
        waiting: list[_Waiting] = []
        left = len(self.sources)
        error: UsbmonError | None = None
        while left or waiting:
            for batch in self._arrived():
                if batch.events is None:
                    left -= 1
                    error = error or batch.error
                elif len(batch.events):
                    waiting.append(_Waiting(batch, self._ours(batch.number, batch.events)))
            yield self._merge(waiting, everything=not left)
            waiting = [one for one in waiting if len(one.rows)]
        if error is not None:
            raise error

    def _pump(self, number: int) -> None:
        """Of a thread: from the source to the queue."""
        source = self.sources[number]
        error = None
        try:
            for events in source:
                self._queue.put(_Batch(number, events, _drops(source), time.monotonic()))
        except UsbmonError as raised:
            error = raised
        finally:
            self._queue.put(_Batch(number, None, _drops(source), time.monotonic(), error))

    def _arrived(self) -> Iterator[_Batch]:
        try:
            yield self._queue.get(timeout=_WAIT_SECONDS)
            while True:
                yield self._queue.get_nowait()
        except Empty:
            pass

    def _ours(self, number: int, events: Events) -> Events:
        """Of this source, by the wall clock."""
        rows = events.rows.copy()
        mark(rows, number, len(self.sources), rows["interface"] + self._bases[number])
        monotonic = rows["clock"] == layout.MONOTONIC
        rows["ts"][monotonic] += self._offset
        rows["clock"][monotonic] = layout.WALL
        return Events(rows.view("u1").data, events.buffers[1])

    def _merge(self, waiting: list[_Waiting], *, everything: bool) -> Events:
        """What has waited long enough, and what belongs before it, in order."""
        import numpy as np

        ripe = time.monotonic() - _LAG_SECONDS
        ends = [int(one.times[-1]) for one in waiting if everything or one.batch.came <= ripe]
        if not ends:
            return Events.empty()
        parts, times = [], []
        for one in waiting:
            rows, when = one.take(max(ends))
            parts.append((rows, one.arena))
            times.append(when)
            if not len(one.rows):
                self._tell_drops(one.batch)
        return interleave(parts, np.concatenate(times))

    def _tell_drops(self, batch: _Batch) -> None:
        for number, dropped in enumerate(batch.dropped, self._bases[batch.number]):
            self.interfaces[number].dropped = dropped

    def stop(self) -> None:
        for source in self.sources:
            source.stop()

    def close(self) -> None:
        for source in self.sources:
            source.stop()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while any(t.is_alive() for t in self._threads) and time.monotonic() < deadline:
            list(self._arrived())  # a thread may be waiting for room
        for source in self.sources:
            source.close()


def _drops(source: sources.Source) -> list[int | None]:
    return [interface.dropped for interface in source.interfaces]
