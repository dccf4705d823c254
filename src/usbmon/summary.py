"""`Summary`: what a stream of events amounts to, in one pass and bounded memory.

Here: events, times, endpoints, statuses, and the counts that tell how far they can be trusted. Not
here: the counting loop (`_kernel.tally`), what a decoder noted or paired (`Decoder.notes`,
`Decoder.pairing`), or how it is shown (`usbmon.apps`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usbmon import layout
from usbmon._kernel import tally
from usbmon.usb.errno import status_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from usbmon.events import Events

_WORDS: Final = tally.ENDPOINT_WORDS
_FEWEST: Final = 1 << 10
_MOST: Final = 1 << 16
_OTHER_STATUS: Final = tally.STATUSES - 1


class Endpoint(NamedTuple):
    """What one endpoint did, by one type of transfer in one direction.

    `S`, `C`, `E`: events of each kind. `requested`: bytes asked for in submissions; `moved`: bytes
    of completions, of isochronous ones the sum of their packets. `errors`: completions and
    submission errors with a status other than 0. `cut`: events whose data the trace does not hold
    in full. `partial`: isochronous events with descriptors missing. Their bytes are the URB's
    length, which text gives as the size of the buffer: `moved` is the most it can have been.
    `repeated`: doubled events, whose bytes are counted once.
    """

    busnum: int | None
    devnum: int
    epnum: int
    xfer_type: str
    S: int
    C: int
    E: int
    requested: int
    moved: int
    errors: int
    cut: int
    partial: int
    repeated: int

    @property
    def is_in(self) -> bool:
        return self.epnum & 0x80 != 0


class Summary:
    """Counts over the events that `add` is given.

    `summary["cut"]` and so on gives the counters of `usbmon._kernel.tally.TOTALS`. Synthetic events
    were not seen on a bus: `described` and `synthetic_transfers` tell of them, nothing else does.
    """

    def __init__(self) -> None:
        self._totals = _counters(tally.TOTAL_WORDS)
        self._endpoints = _counters(_FEWEST * _WORDS)
        self._statuses = _counters(tally.STATUSES)
        self._packet_statuses = _counters(tally.STATUSES)
        self._described: set[tuple[int, int]] = set()
        self.synthetic_transfers = 0

    @classmethod
    def of(cls, batches: Iterable[Events]) -> Summary:
        """The summary of a whole trace: ``Summary.of(usbmon.open(path))``."""
        summary = cls()
        for batch in batches:
            summary.add(batch)
        return summary

    def add(self, events: Events) -> None:
        """Count a batch more; batches come in the order of the trace."""
        self._make_room(self["endpoints"] + len(events))
        rows, arena = events.buffers
        before = self["synthetic"]
        tally.tally(
            rows,
            len(events),
            arena or b"\x00",
            self._totals,
            self._endpoints,
            self._statuses,
            self._packet_statuses,
        )
        if self["synthetic"] > before:
            self._add_synthetic(events)

    def _add_synthetic(self, events: Events) -> None:
        """What stands for descriptors is no traffic; it is counted by devices."""
        told = events[events.synthetic]
        self.synthetic_transfers += int((told.type == ord("C")).sum())
        places = set(zip(told.busnum.tolist(), told.devnum.tolist(), strict=True))
        if len(self._described) < _MOST:
            self._described |= places

    def _make_room(self, endpoints: int) -> None:
        """Let the table, which takes three quarters of its size, take so many, up to a limit."""
        old = self._endpoints
        size = len(old) // _WORDS
        while size // 4 * 3 < endpoints and size < _MOST:
            size *= 2
        if size * _WORDS > len(old):
            self._endpoints = _counters(size * _WORDS)
            tally.move(old, self._endpoints)

    def __getitem__(self, name: str) -> int:
        return self._totals[tally.TOTALS.index(name)]

    @property
    def events(self) -> int:
        return self["events"]

    @property
    def start(self) -> int | None:
        """The earliest time, in nanoseconds of `clock`; None if no event has one."""
        return self["first"] if self.events > self["no_time"] else None

    @property
    def end(self) -> int | None:
        """The latest time."""
        return self["last"] if self.events > self["no_time"] else None

    @property
    def duration(self) -> int | None:
        """From the earliest to the latest time, in nanoseconds."""
        return None if self.start is None or self.end is None else self.end - self.start

    @property
    def clock(self) -> str:
        """The clock of the times: one of `layout.CLOCKS`, or "mixed"."""
        seen = [name for bit, name in enumerate(layout.CLOCKS) if self["clocks"] >> bit & 1]
        return "mixed" if len(seen) > 1 else (seen or ["unknown"])[0]

    @property
    def endpoints(self) -> list[Endpoint]:
        """By bus, device, number, direction (out first) and type."""
        entries = (
            _endpoint(self._endpoints[at : at + _WORDS].tolist())
            for at in range(0, len(self._endpoints), _WORDS)
            if self._endpoints[at]
        )
        return sorted(entries, key=_place)

    @property
    def buses(self) -> list[int]:
        """Bus numbers, where the trace says them."""
        return sorted({e.busnum for e in self.endpoints if e.busnum is not None})

    @property
    def devices(self) -> list[tuple[int | None, int]]:
        """Bus and device numbers. Address 0 is a device that has not been given one yet."""
        found = {(e.busnum, e.devnum) for e in self.endpoints}
        return sorted(found, key=lambda place: (place[0] or 0, place[1]))

    @property
    def described(self) -> list[tuple[int, int]]:
        """Bus and device numbers of what synthetic events tell of."""
        return sorted(self._described)

    @property
    def kinds(self) -> dict[str, int]:
        """How many events of each type, S, C and E."""
        endpoints = self.endpoints
        return {kind: sum(getattr(e, kind) for e in endpoints) for kind in "SCE"}

    @property
    def statuses(self) -> dict[int | None, int]:
        """Completions and submission errors by status, the most frequent first; None stands for
        all statuses that are no errno."""
        return _by_status(self._statuses)

    @property
    def packet_statuses(self) -> dict[int | None, int]:
        """The same for the isochronous packets of completions."""
        return _by_status(self._packet_statuses)

    def as_dict(self) -> dict[str, Any]:
        """All of it as values that JSON knows; times in nanoseconds, statuses by name."""
        return {
            "events": self.events,
            "kinds": self.kinds,
            "clock": self.clock,
            "start_ns": self.start,
            "end_ns": self.end,
            "duration_ns": self.duration,
            "buses": self.buses,
            "devices": [{"busnum": bus, "devnum": device} for bus, device in self.devices],
            "endpoints": [endpoint._asdict() for endpoint in self.endpoints],
            "statuses": _named(self.statuses),
            "iso_packet_statuses": _named(self.packet_statuses),
            "captured_bytes": self["captured"],
            "descriptors": {
                "devices": [{"busnum": b, "devnum": d} for b, d in self.described],
                "transfers": self.synthetic_transfers,
            },
        }

    def __repr__(self) -> str:
        seconds = "" if self.duration is None else f" in {self.duration / 1e9:.6f} s"
        return f"<Summary: {self.events} events{seconds}, {self['endpoints']} endpoints>"


def _counters(size: int) -> memoryview[int]:
    return memoryview(bytearray(8 * size)).cast("q")


def _endpoint(entry: Sequence[int]) -> Endpoint:
    key = entry[0]
    # The kernel numbers buses from 1: 0 is what a trace without bus numbers has.
    return Endpoint(
        key >> 24 or None,
        key >> 16 & 0xFF,
        key >> 8 & 0xFF,
        layout.XFER_TYPES[(key & 0xFF) - 1],
        *entry[1:],
    )


def _place(endpoint: Endpoint) -> tuple[int, int, int, bool, str]:
    number = endpoint.epnum & 0x7F
    return endpoint.busnum or 0, endpoint.devnum, number, endpoint.is_in, endpoint.xfer_type


def _by_status(counts: Sequence[int]) -> dict[int | None, int]:
    seen = [(n, None if place == _OTHER_STATUS else -place) for place, n in enumerate(counts) if n]
    return {status: n for n, status in sorted(seen, key=lambda pair: -pair[0])}


def _named(statuses: dict[int | None, int]) -> dict[str, int]:
    return {
        "other" if status is None else status_name(status) if status else "0": n
        for status, n in statuses.items()
    }
