#!/usr/bin/env python3
"""Sends URBs over the virtual bus for a long time: how many a second, and in how much memory.

    bench/soak.py                      # 10 million URBs
    bench/soak.py 1000000 --profile    # where the time goes, over a tenth of them

A loopback device, all in virtual time, watched by a tap that counts. Peak memory is printed at
10 %, 50 % and 100 %, and has to stay what it was: exits 1 if it grew by more than a tenth.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import sys
import time
from typing import TYPE_CHECKING

from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import Receive, Submit
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.urb import IsoPacket

if TYPE_CHECKING:
    from usbmon.bus.driver import Steps
    from usbmon.bus.host import HostDevice
    from usbmon.bus.urb import Urb

# In flight at a time, of each endpoint.
DEPTH = 4
STOPS = (10, 50, 100)


class Counter:
    """A tap that counts."""

    def __init__(self) -> None:
        self.completed = 0

    def submit(self, urb: Urb) -> None:
        pass

    def submit_error(self, urb: Urb, error: int) -> None:
        raise SystemExit(f"soak: {urb!r} was refused: {error}")

    def complete(self, urb: Urb, status: int) -> None:
        self.completed += 1
        if status:
            raise SystemExit(f"soak: {urb!r} failed: {status}")


def main() -> int:
    options = arguments()
    host = Host(Loop(), drivers=(HubDriver,))
    controller = host.add_controller()
    model = Loopback()
    host.plug(model)
    host.loop.run(2 * SECOND)
    device = host.find(model)
    assert device is not None
    host.run_task(device.set_interface(0, 1))
    tap = controller.tap = Counter()
    host.spawn(traffic(device))
    if options.profile:
        profile(host, tap, options.urbs // 10)
        return 0
    peaks = measure(host, tap, options.urbs)
    return 1 if peaks[-1] > 1.1 * peaks[0] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urbs", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--profile", action="store_true", help="profile a tenth of it")
    return parser.parse_args()


def traffic(device: HostDevice) -> Steps[None]:
    """Bulk, interrupt and isochronous transfers, out and in, again and again."""
    for _ in range(DEPTH):
        for address, size in ((0x01, 2048), (0x81, 2048), (0x02, 64), (0x82, 64)):
            yield Submit(device.urb(device.endpoints[address], size))
        for address in (0x03, 0x83):
            packets = [IsoPacket(number * 192, 192) for number in range(8)]
            yield Submit(device.urb(device.endpoints[address], 8 * 192, packets=packets))
    while True:
        yield Submit((yield Receive()))


def measure(host: Host, tap: Counter, urbs: int) -> list[int]:
    """Prints a line a stop; the peaks of memory."""
    peaks = []
    for stop in STOPS:
        before, start, virtual = tap.completed, time.perf_counter(), host.loop.now
        run(host, tap, urbs * stop // 100)
        took = time.perf_counter() - start
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(
            f"{stop:3d} % {tap.completed:10,d} URBs {(tap.completed - before) / took:9,.0f} URB/s "
            f"{(host.loop.now - virtual) / SECOND / took:6.1f} × real time "
            f"{peaks[-1] / 1024:6.1f} MiB at most",
            flush=True,
        )
    return peaks


def run(host: Host, tap: Counter, urbs: int) -> None:
    host.loop.run(stop=lambda: tap.completed >= urbs)


def profile(host: Host, tap: Counter, urbs: int) -> None:
    with cProfile.Profile() as profiler:
        run(host, tap, urbs)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    sys.exit(main())
