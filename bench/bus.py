#!/usr/bin/env python3
"""Sends URBs over the virtual bus: how many events a second, monitored and not, and in how much
memory.

    bench/bus.py                       # with no reader, with one, with ten; a table
    bench/bus.py --urbs 50000          # of so many URBs a round
    bench/bus.py --soak 10000000       # for long, with a capture reading: memory has to stay flat
    bench/bus.py --profile             # where the time goes, with no reader

A loopback device at high speed: bulk, interrupt and isochronous transfers both ways, all in virtual
time. An URB is two events, a submission and a completion. The kinds of readers take turns, round by
round, so that a slower minute of the machine hits all; what is printed are medians. Each reader
reads all that it is given: an event lost in the bench would be one not paid for, and ends it.
The soak ends with 1 if peak memory at its end is more than a tenth above that at 10 %.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import statistics
import sys
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import Receive, Submit
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.urb import IsoPacket
from usbmon.monitor.binary import BinaryReader
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor
from usbmon.monitor.text import TextReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.driver import Steps
    from usbmon.bus.host import HostDevice
    from usbmon.monitor.main import MonitoredBus

# In flight at a time, of each endpoint.
DEPTH = 4
# Readers read after so many URBs: the queue of a text reader holds 93 events.
EVERY = 32
ROUNDS = 7
STOPS = (10, 50, 100)
EVENTS = 2  # of an URB


class Bus:
    """A host and a loopback device that never rest."""

    def __init__(self, *, monitored: bool = True) -> None:
        self.host = Host(Loop(), drivers=(HubDriver,))
        self.host.add_controller()
        self.bus = Monitor(self.host.controllers if monitored else []).buses[monitored]
        self.completed = 0
        model = Loopback()
        self.host.plug(model)
        self.host.loop.run(2 * SECOND)
        device = self.host.find(model)
        assert device is not None
        self.host.run_task(device.set_interface(0, 1))
        self.host.spawn(self._traffic(device))

    def _traffic(self, device: HostDevice) -> Steps[None]:
        for _ in range(DEPTH):
            for address, size in ((0x01, 2048), (0x81, 2048), (0x02, 64), (0x82, 64)):
                yield Submit(device.urb(device.endpoints[address], size))
            for address in (0x03, 0x83):
                packets = [IsoPacket(number * 192, 192) for number in range(8)]
                yield Submit(device.urb(device.endpoints[address], 8 * 192, packets=packets))
        while True:
            urb = yield Receive()
            if urb.status:
                raise SystemExit(f"{urb!r} failed: {urb.status}")
            self.completed += 1
            yield Submit(urb)

    def run(self, urbs: int, read: Callable[[], object]) -> None:
        """Until so many more are completed; `read` is called now and then."""
        end = self.completed + urbs
        while self.completed < end:
            stop = min(self.completed + EVERY, end)
            self.host.loop.run(stop=lambda stop=stop: self.completed >= stop)
            read()


def text(reader: TextReader) -> None:
    while reader.is_ready:
        reader.read(8192)


def ring(reader: BinaryReader) -> None:
    while reader.is_ready:
        reader.getx(8192)


class Kind:
    """A row of the table: how many readers of what kind."""

    def __init__(
        self,
        words: str,
        make: Callable[[MonitoredBus], Any] | None = None,
        read: Callable[[Any], object] | None = None,
        count: int = 0,
    ) -> None:
        self.words, self.make, self.read, self.count = words, make, read, count
        self.rates: list[float] = []

    def measure(self, bus: Bus, urbs: int) -> None:
        with ExitStack() as stack:
            readers = [stack.enter_context(closing(self.make(bus.bus))) for _ in range(self.count)]
            before, start = bus.bus.events, time.perf_counter()
            bus.run(urbs, lambda: [self.read(reader) for reader in readers])
            self.rates.append(EVENTS * urbs / (time.perf_counter() - start))
            lost = bus.bus.text_lost + sum(getattr(r, "dropped", 0) for r in readers)
        if lost or (readers and bus.bus.events - before < EVENTS * urbs - EVENTS):
            raise SystemExit(f"{self.words}: {lost} events were lost")


KINDS = (
    Kind("no monitor"),
    Kind("no reader"),
    Kind("1 text reader (u)", TextReader, text, 1),
    Kind("10 text readers", TextReader, text, 10),
    Kind("1 capture (Collector)", Collector, Collector.take, 1),
    Kind("10 captures", Collector, Collector.take, 10),
    Kind("1 reader of the ring", BinaryReader, ring, 1),
    Kind("10 readers of the ring", BinaryReader, ring, 10),
)


def main() -> int:
    options = arguments()
    bus = Bus()
    if options.profile:
        profile(bus, options.urbs)
        return 0
    if options.soak:
        return soak(bus, options.soak)
    bare = Bus(monitored=False)
    virtual = bus.host.loop.now
    for _ in range(ROUNDS):
        for kind in KINDS:
            kind.measure(bare if kind is KINDS[0] else bus, options.urbs)
    events = ROUNDS * len(KINDS[1:]) * options.urbs * EVENTS
    table((bus.host.loop.now - virtual) / SECOND / events)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--urbs", type=int, default=100_000, help="of a round")
    parser.add_argument("--soak", type=int, metavar="URBS", help="memory over so many URBs")
    parser.add_argument("--profile", action="store_true", help="profile one round")
    return parser.parse_args()


def table(spent: float) -> None:
    """`spent`: seconds of virtual time an event."""
    print(f"{'':24}  {'events/s':>9}  {'of no reader':>12}  {'× real time':>11}")
    none = statistics.median(KINDS[1].rates)
    for kind in KINDS:
        rate = statistics.median(kind.rates)
        print(f"{kind.words:24}  {rate:9,.0f}  {rate / none:12.0%}  {rate * spent:11.1f}")


def soak(bus: Bus, urbs: int) -> int:
    peaks = []
    with closing(Collector(bus.bus)) as capture:
        for stop in STOPS:
            before, start, virtual = bus.completed, time.perf_counter(), bus.host.loop.now
            bus.run(urbs * stop // 100 - bus.completed, capture.take)
            took = time.perf_counter() - start
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            print(
                f"{stop:3d} % {bus.completed:10,d} URBs {(bus.completed - before) / took:9,.0f} "
                f"URB/s {(bus.host.loop.now - virtual) / SECOND / took:6.1f} × real time "
                f"{peaks[-1] / 1024:6.1f} MiB at most",
                flush=True,
            )
        if capture.dropped:
            raise SystemExit(f"{capture.dropped} events were lost")
    return 1 if peaks[-1] > 1.1 * peaks[0] else 0


def profile(bus: Bus, urbs: int) -> None:
    with cProfile.Profile() as profiler:
        bus.run(urbs, lambda: None)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    sys.exit(main())
