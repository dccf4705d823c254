"""One run of the bus, recorded by several readers at once: whether they agree about each event.

The kernel gives every reader the same events of a bus in the same order, so that those of two whole
recordings are pairs by their position. Each reader takes the time for itself, and microseconds pass
between them. Where one started later or lost events, tag, type and time tell the pairs.
"""

from collections import defaultdict
from typing import Any

import usbmon
from usbmon import Event

_TEXT_DESCRIPTORS = 5  # at the most (drivers/usb/mon/mon_text.c, ISODESC_MAX)

# Each reader's own: its clock, the room in its ring (len_cap), and what reading it added.
_NOT_COMPARED = {"ts", "clock", "len_cap", "urb", "marks", "interface"}
_ALIKE = 12  # events in a row that are the same: the recordings run together from there on
_LATER = 400  # events that one may have begun later
_TOGETHER = 5_000_000  # ns within which two readers look at an event, most of the time


def differences(one: usbmon.Events, other: usbmon.Events) -> list[tuple[str, Event, Event]]:
    """Fields in which they contradict each other, of each event that both have."""
    mine, theirs = _by_bus(one), _by_bus(other)
    if None in theirs:  # format t does not name the bus
        theirs = dict.fromkeys(mine, theirs[None])
    return [
        (name, a, b)
        for bus in mine.keys() & theirs.keys()
        for a, b in _pairs(mine[bus], theirs[bus])
        for name in Event._fields
        if name not in _NOT_COMPARED and _differs(name, a, b)
    ]


def _key(event: Event) -> tuple[Any, ...]:
    return event.id, event.type, event.epnum, event.devnum, event.status, event.setup


def _by_bus(events: usbmon.Events) -> dict[int | None, list[Event]]:
    """Buses have locks of their own: between them, readers of all see no common order."""
    out: dict[int | None, list[Event]] = defaultdict(list)
    for event in events:
        out[event.busnum].append(event)
    return out


def _beginning(one: list[Event], other: list[Event]) -> tuple[int, int]:
    keys, others = list(map(_key, one)), list(map(_key, other))
    size = min(_ALIKE, len(one), len(other))
    for late in range(_LATER):
        for start, begin in ((late, 0), (0, late)):
            same = keys[start : start + size] == others[begin : begin + size]
            if same and len(keys) >= start + size and len(others) >= begin + size:
                return start, begin
    raise AssertionError("no place from which on the two have the same events")


def _pairs(one: list[Event], other: list[Event]) -> list[tuple[Event, Event]]:
    if len(one) == len(other):
        return list(zip(one, other, strict=True))
    i, j = _beginning(one, other)
    offset = other[j].ts - one[i].ts
    pairs = []
    while i < len(one) and j < len(other):
        ahead = one[i].ts + offset - other[j].ts
        if _key(one[i]) == _key(other[j]) and abs(ahead) < _TOGETHER:
            pairs.append((one[i], other[j]))
            i, j = i + 1, j + 1
        elif ahead < 0:
            i += 1
        else:
            j += 1
    assert len(pairs) > 0.9 * min(len(one), len(other))
    return pairs


def _differs(name: str, one: Event, other: Event) -> bool:
    """Whether two readers contradict each other in a field that both have."""
    mine, theirs = getattr(one, name), getattr(other, name)
    if mine is None or theirs is None:
        return False
    if name in ("data", "descriptors"):
        # Text has 32 bytes and 5 descriptors at the most, binary what the reader had room for.
        size = min(len(mine), len(theirs))
        return mine[:size] != theirs[:size]
    if one.len_cap is None and name == "ndesc":
        return mine != min(theirs, _TEXT_DESCRIPTORS)
    if one.len_cap is None and name == "length" and (one.xfer_type, one.type) == ("iso", "C"):
        # Text prints the length of the buffer, the binary API what was transferred.
        return theirs > mine
    return mine != theirs
