"""Whether two monitors of one connection, Linux's at the client and ours at the server, agree.

What they can both know is compared: of each endpoint, its submissions in their order with length,
setup packet, interval and data, and its completions with status, length and data. What they cannot
both know is in docs/usbip.md: numbers of buses and devices, tags, stamps, frames, SET_ADDRESS
(which Linux's vhci_hcd answers itself), transfer flags that are a machine's own, and how what is in
flight ends when the device goes.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from usbmon import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbmon.events import Event, Events

SET_ADDRESS = b"\x00\x05"
GOING = (-2, -104, -108, -19)  # unlinked, and the device gone


class Linux:
    """A context: all that Linux's usbmon sees inside it, as `events`, without dropping any."""

    def __init__(self, guest) -> None:
        self._guest = guest
        self._name = "linux.bin"

    def __enter__(self):
        share = self._guest.share
        shutil.copy(Path(__file__).parent / "collect.py", share)
        self._guest.check("rm -f /tmp/linux.bin*")
        self._guest.check("setsid python3 /host/collect.py /tmp/linux.bin >/tmp/collect.log 2>&1 &")
        self._guest.wait_for("[ -e /tmp/linux.bin.ready ]")
        return self

    def __exit__(self, *_: object) -> None:
        self._guest.check("touch /tmp/linux.bin.stop")
        self._guest.wait_for("[ -e /tmp/linux.bin.stats ]")
        dropped = self._guest.check("cp /tmp/linux.bin /host/; cat /tmp/linux.bin.stats")
        assert dropped == "0", f"Linux's monitor dropped {dropped}"
        self.events = files.read(self._guest.share / self._name, format="bin")


def of_device(events: Events) -> list[Event]:
    """Those of attached devices: on Linux's side without root hubs and SET_ADDRESS."""
    answered = {e.urb for e in events if e.setup is not None and e.setup[:2] == SET_ADDRESS}
    return [e for e in events if e.devnum != 1 and e.urb not in answered]


def streams(events: Iterable[Event]) -> dict[tuple[str, str], list[tuple]]:
    """By endpoint and type of event, what can be compared, in order."""
    by_urb = {}
    out: dict[tuple[str, str], list[tuple]] = defaultdict(list)
    for event in events:
        number = event.epnum & 0x7F
        where = f"{event.xfer_type} {number}" + (" in" if number and event.is_in else "")
        if event.type == "S":
            by_urb[event.urb] = len(out[where, "S"])
            interval = event.interval if event.xfer_type in ("interrupt", "iso") else 0
            out[where, "S"].append((event.length, event.setup, interval, event.data))
        elif event.status not in GOING:
            packets = tuple((d.status, d.length) for d in event.descriptors)
            out[where, "C"].append(
                (by_urb.get(event.urb), event.status, event.length, packets, event.data)
            )
    return out


def compare(linux: Events, ours: Events) -> int:
    """Assert that they agree; how many events were compared."""
    theirs, mine = streams(of_device(linux)), streams(of_device(ours))
    assert theirs.keys() == mine.keys()
    count = 0
    for key, expected in theirs.items():
        found = mine[key]
        if key[1] == "C":  # of several in flight, a device may finish in another order
            expected, found = sorted(expected), sorted(found)
        for number, (a, b) in enumerate(zip(expected, found, strict=False)):
            assert a == b, f"{key} number {number}: Linux {a}, ours {b}"
        assert len(expected) == len(found), f"{key}: Linux {len(expected)}, ours {len(found)}"
        count += len(expected)
    return count
