"""The source ``virtual:``: a virtual bus with devices at work, and a monitor that listens.

Here: running a `Stage` and handing on what its monitor sees. Not here: scenarios (`scenario`), the
bus, the monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.bus.loop import MS, SECOND
from usbmon.formats.base import Interface
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor
from usbmon.sources import Source, scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.events import Events

# How much virtual time goes by between two batches, and how much there may be in one.
_SLICE: Final = 50 * MS
_BATCH: Final = 4 << 20
# What is still in flight when the last step is done is waited for so long.
_SETTLE: Final = 100 * MS


class VirtualSource(Source):
    """See `usbmon.sources.Source`. `stage` is the bus with all that is on it.

    Raises `SourceError` at the end of the iteration if a step failed: the events up to there have
    been given.
    """

    def __init__(
        self,
        chosen: scenario.Scenario,
        *,
        paced: bool = False,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.stage = scenario.Stage(chosen, paced=paced, report=report)
        self.interfaces = [Interface(220, "usbmon0", f"virtual bus, {chosen.name}")]
        self.interfaces[0].dropped = 0
        # The stage has run nothing yet that a bus would show: all of it is captured.
        self._collector = Collector(Monitor(self.stage.host.controllers).buses[0])
        self._closed = False

    @property
    def elapsed(self) -> float:
        return self.stage.loop.now / SECOND

    @property
    def dropped(self) -> int:
        return self._collector.dropped

    def __iter__(self) -> Iterator[Events]:
        loop = self.stage.loop
        end: int | None = None
        while not self._closed and (end is None or loop.now < end):
            if end is None and self.stage.done:
                end = loop.now + _SETTLE
            until = min(loop.now + _SLICE, end if end is not None else loop.now + _SLICE)
            loop.run(until, stop=self._is_full)
            dropped = self._collector.dropped
            yield self._collector.take()
            self.interfaces[0].dropped = dropped
        if self.stage.error is not None:
            raise self.stage.error

    def _is_full(self) -> bool:
        return self._closed or self._collector.waiting > _BATCH

    def stop(self) -> None:
        self._closed = True

    def close(self) -> None:
        self._closed = True
        self._collector.close()
        self.stage.close()


def open(
    rest: str,
    *,
    seed: int | None = None,
    paced: bool = False,
    report: Callable[[str], None] | None = None,
) -> VirtualSource:
    """``virtual:`` with names of devices or a scenario behind it."""
    return VirtualSource(choose(rest.split(","), seed), paced=paced, report=report)


def choose(what: list[str], seed: int | None = None, *, unplug: bool = True) -> scenario.Scenario:
    """The scenario in this file, if it is one that ends in .toml, or of these models (`unplug`:
    pulled out at the end). Raises `SourceError`."""
    if len(what) == 1 and what[0].endswith(".toml"):
        chosen = scenario.load(what[0])
    else:
        chosen = scenario.of_devices(what, unplug=unplug)
    if seed is not None:
        chosen.seed = seed
    return chosen
