"""Whether two monitors of one connection, Linux's at the client and ours at the server, agree.

What they can both know is compared: of each endpoint, its submissions in their order with length,
setup packet, interval and data, and its completions with status, length and data. What they cannot
both know is in docs/usbip.md: numbers of buses and devices, tags, stamps, frames, SET_ADDRESS
(which Linux's vhci_hcd answers itself), transfer flags that are a machine's own, and how what is in
flight ends when the device goes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.live.recorders import GetX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbmon.events import Event, Events

SET_ADDRESS = b"\x00\x05"
GOING = (-2, -104, -108, -19)  # unlinked, and the device gone


class Linux:
    """A context: all that Linux's usbmon sees inside it, as `events`, without dropping any."""

    def __init__(self, guest) -> None:
        self._guest = guest
        self._reader = GetX()

    def __enter__(self):
        self._reader.start(self._guest, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.stop()
        assert self._reader.lost == 0, f"Linux's monitor dropped {self._reader.lost}"
        self._reader.read()
        self.events = self._reader.events


def of_device(events: Events) -> list[Event]:
    """Those of attached devices: on Linux's side without root hubs and SET_ADDRESS."""
    answered = {e.urb for e in events if e.setup is not None and e.setup[:2] == SET_ADDRESS}
    return [e for e in events if e.devnum != 1 and e.urb not in answered]


def by_endpoint(events: Iterable[Event]) -> dict[str, list[list[tuple | None]]]:
    """By endpoint, its URBs in the order of their submission: what can be compared of the
    submission, and of the completion (None: the URB ended with the device, or not at all)."""
    numbers: dict[int, list[tuple | None]] = {}
    out: dict[str, list[list[tuple | None]]] = defaultdict(list)
    for event in events:
        number = event.epnum & 0x7F
        where = f"{event.xfer_type} {number}" + (" in" if number and event.is_in else "")
        if event.type == "S":
            interval = event.interval if event.xfer_type in ("interrupt", "iso") else 0
            numbers[event.urb] = [(event.length, event.setup, interval, event.data), None]
            out[where].append(numbers[event.urb])
        elif event.status not in GOING and event.urb in numbers:
            packets = tuple((d.status, d.length) for d in event.descriptors)
            data = event.data
            if packets:  # between packets, a buffer holds whatever it held before
                data = b"".join(data[d.offset : d.offset + d.length] for d in event.descriptors)
            numbers[event.urb][1] = (event.status, event.length, packets, data)
    return out


def compare(linux: Events, ours: Events) -> int:
    """Assert that they agree; how many events were compared. An unlink may cross a completion on
    its way: what one side saw completed, the other may have seen unlinked."""
    theirs, mine = by_endpoint(of_device(linux)), by_endpoint(of_device(ours))
    assert theirs.keys() == mine.keys()
    count = 0
    for where, expected in theirs.items():
        assert len(expected) == len(mine[where]), f"{where}: {len(expected)}, {len(mine[where])}"
        for number, (a, b) in enumerate(zip(expected, mine[where], strict=True)):
            assert a[0] == b[0], f"{where} submission {number}: Linux {a[0]}, ours {b[0]}"
            count += 1
            if a[1] is not None and b[1] is not None:
                assert a[1] == b[1], f"{where} completion {number}: Linux {a[1]}, ours {b[1]}"
                count += 1
    return count
