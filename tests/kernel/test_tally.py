"""The counters of one pass over rows."""

from typing import Any

import pytest

from tests.helpers import rows as r
from usbmon._kernel import tally

MS = 1_000_000


class Counters:
    """A set of counters, with the words for their places."""

    def __init__(self, endpoints: int = 64) -> None:
        self.totals = r.words(tally.TOTAL_WORDS)
        self.table = r.words(endpoints * tally.ENDPOINT_WORDS)
        self.statuses = r.words(tally.STATUSES)
        self.frames = r.words(tally.STATUSES)

    def add(self, *events: r.Fields) -> "Counters":
        rows, arena = r.lay(*events)
        tally.tally(rows, len(events), arena, self.totals, self.table, self.statuses, self.frames)
        return self

    def __getitem__(self, name: str) -> int:
        return self.totals[tally.TOTALS.index(name)]

    def only(self, *names: str) -> dict[str, int]:
        return {name: self[name] for name in names}

    @property
    def endpoints(self) -> dict[tuple[int, int, int, int], dict[str, int]]:
        """By bus, device, endpoint and type; what is 0 left out."""
        return endpoints(self.table)


def endpoints(table: memoryview) -> dict[tuple[int, int, int, int], dict[str, int]]:
    out = {}
    for at in range(0, len(table), tally.ENDPOINT_WORDS):
        key, *values = table[at : at + tally.ENDPOINT_WORDS].tolist()
        if key:
            place = (key >> 24, key >> 16 & 255, key >> 8 & 255, (key & 255) - 1)
            out[place] = {n: v for n, v in zip(tally.ENDPOINT[1:], values, strict=True) if v}
    return out


def nonzero(counts: memoryview) -> dict[int, int]:
    return {place: count for place, count in enumerate(counts) if count}


def endpoint_of(*events: r.Fields) -> dict[str, int]:
    (found,) = Counters().add(*events).endpoints.values()
    return found


S: dict[str, Any] = {"type": "S", "status": -115, "flag_data": "<"}
C: dict[str, Any] = {"type": "C", "flag_data": ">"}
E: dict[str, Any] = {"type": "E", "status": -28, "flag_data": "E"}


def test_kinds_bytes_and_errors_of_an_endpoint():
    found = endpoint_of(
        {**S, "length": 512}, {**C, "length": 512}, {**S, "length": 64}, {**C, "status": -32},
        {**E, "length": 7},
    )  # fmt: skip
    assert found == {"S": 2, "C": 2, "E": 1, "requested": 576, "moved": 512, "errors": 2}


def test_bus_device_endpoint_direction_and_type_make_an_endpoint():
    places = [(1, 2, 0x81, 3), (2, 2, 0x81, 3), (1, 3, 0x81, 3), (1, 2, 1, 3), (1, 2, 0x81, 1)]
    places += [(65535, 255, 255, 3), (0, 0, 0, 0)]
    names = ("busnum", "devnum", "epnum", "xfer_type")
    counters = Counters().add(*({**C, **dict(zip(names, p, strict=True))} for p in places * 2))
    assert counters.endpoints == {place: {"C": 2} for place in places}
    assert counters.only("events", "endpoints", "unlisted") == {
        "events": 14,
        "endpoints": 7,
        "unlisted": 0,
    }


def test_statuses_of_completions_and_errors_alone_are_counted():
    statuses = [0, 0, -32, -510, -511, -(2**31), 5]
    counters = Counters().add(S, E, *({**C, "status": status} for status in statuses))
    assert nonzero(counters.statuses) == {0: 2, 28: 1, 32: 1, 510: 1, 511: 3}


@pytest.mark.parametrize("pieces", [1, 5])
def test_times(pieces):
    times = [100 * MS, 90 * MS, 200 * MS, 80 * MS, 150 * MS]
    events = [{**C, "ts": ts, "clock": r.WALL} for ts in times]
    counters = Counters()
    for k in range(pieces):
        counters.add(*events[k * 5 // pieces : (k + 1) * 5 // pieces])
    assert counters.only("first", "last", "steps_back", "largest_step", "previous") == {
        "first": 80 * MS,
        "last": 200 * MS,
        "steps_back": 2,
        "largest_step": 120 * MS,
        "previous": 150 * MS,
    }
    assert counters.only("events", "no_time", "clocks") == {
        "events": 5,
        "no_time": 0,
        "clocks": 1 << r.WALL,
    }


def test_negative_times():
    counters = Counters().add({**C, "ts": -5}, {**C, "ts": -2})
    assert counters.only("first", "last", "steps_back") == {
        "first": -5,
        "last": -2,
        "steps_back": 0,
    }


def test_a_step_of_more_than_64_bits_is_the_largest_there_is():
    counters = Counters().add(C | {"ts": 2**63 - 1}, C | {"ts": -(2**63)}, C | {"ts": -5})
    assert counters.only("first", "last", "steps_back", "largest_step") == {
        "first": -(2**63),
        "last": 2**63 - 1,
        "steps_back": 1,
        "largest_step": 2**63 - 1,
    }


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_event_without_a_time_says_nothing_of_time(at):
    events = [{**C, "ts": 7 * MS}, {**C, "ts": 8 * MS}]
    events.insert(at, {**E, "ts": 0, "absent": r.LINUX | r.absent("ts")})
    counters = Counters().add(*events)
    assert counters.only("first", "last", "steps_back", "no_time", "events") == {
        "first": 7 * MS,
        "last": 8 * MS,
        "steps_back": 0,
        "no_time": 1,
        "events": 3,
    }


def test_clocks_seen():
    counters = Counters().add(C, {**C, "clock": r.WALL}, {**C, "clock": r.MONOTONIC})
    assert counters["clocks"] == 0b111


PACKETS = r.descriptors((0, 0, 10), (-71, 95, 0), (-18, 90, 20))
ISO: dict[str, Any] = {"xfer_type": 0, "iso": (1, 3), "ndesc": 3, "payload": PACKETS}


def test_an_isochronous_completion_moved_what_its_packets_say():
    counters = Counters().add({**C, **ISO, "length": 150})
    assert list(counters.endpoints.values()) == [{"C": 1, "moved": 30}]
    assert nonzero(counters.frames) == {0: 1, 71: 1, 18: 1}
    assert counters["descriptors_missing"] == 0


def test_an_isochronous_submission_asks_for_its_length():
    counters = Counters().add({**S, **ISO, "length": 150})
    assert list(counters.endpoints.values()) == [{"S": 1, "requested": 150}]
    assert nonzero(counters.frames) == {}


@pytest.mark.parametrize(
    "lacking",
    [{"iso": (0, 4)}, {"absent": r.LINUX | r.absent("numdesc"), "ndesc": 0, "payload": b""}],
)
def test_with_descriptors_missing_the_length_of_the_urb_counts(lacking):
    counters = Counters().add({**C, **ISO, "length": 150, **lacking})
    assert list(counters.endpoints.values()) == [{"C": 1, "moved": 150, "partial": 1}]
    assert counters["descriptors_missing"] == 1


def test_an_isochronous_error_lacks_no_descriptors():
    event = {**E, "xfer_type": 0, "absent": r.LINUX | r.absent("numdesc")}
    assert Counters().add(event)["descriptors_missing"] == 0


# Of an input completion the data reach to the last byte that a packet reaches (mon_bin.c).
CUT = {
    "all there": ({**C, "length": 4, "payload": bytes(4)}, {"cut": 0, "cut_by_container": 0}),
    "the kernel kept less": (
        {**C, "length": 4, "payload": bytes(3)},
        {"cut": 1, "cut_by_container": 0},
    ),
    "the file kept less than the kernel": (
        {**C, "length": 4, "payload": bytes(3), "len_cap": 4},
        {"cut": 1, "cut_by_container": 1},
    ),
    "text does not say what the kernel kept": (
        {**C, "length": 4, "payload": b"", "len_cap": 4, "absent": r.LINUX | r.absent("len_cap")},
        {"cut": 1, "cut_by_container": 0},
    ),
    "no data for another reason": (
        {**C, "length": 4, "flag_data": ">"},
        {"cut": 0, "cut_by_container": 0},
    ),
    "sparse input": (
        {**C, **ISO, "payload": PACKETS + bytes(110), "length": 30},
        {"cut": 0, "cut_by_container": 0},
    ),
    "sparse input cut": (
        {**C, **ISO, "payload": PACKETS + bytes(109), "length": 30},
        {"cut": 1, "cut_by_container": 0},
    ),
    "sparse input whose last packet is empty": (
        {
            **C,
            **ISO,
            "ndesc": 2,
            "iso": (0, 2),
            "length": 10,
            "payload": r.descriptors((0, 0, 10), (0, 90, 0)) + bytes(10),
        },
        {"cut": 0, "cut_by_container": 0},
    ),
    "isochronous output": (
        {**S, **ISO, "epnum": 1, "payload": PACKETS + bytes(150), "length": 150},
        {"cut": 0, "cut_by_container": 0},
    ),
    "isochronous output of a completion cut": (
        {**C, **ISO, "epnum": 1, "payload": PACKETS + bytes(149), "length": 150},
        {"cut": 1, "cut_by_container": 0},
    ),
    "isochronous output cut": (
        {**S, **ISO, "epnum": 1, "payload": PACKETS + bytes(149), "length": 150},
        {"cut": 1, "cut_by_container": 0},
    ),
}


@pytest.mark.parametrize(("event", "expected"), list(CUT.values()), ids=list(CUT))
def test_cut_payloads(event, expected):
    flag = ">" if event.get("payload") is None else 0
    counters = Counters().add({**event, "flag_data": flag})
    assert counters.only("cut", "cut_by_container") == expected
    (endpoint,) = counters.endpoints.values()
    assert endpoint.get("cut", 0) == expected["cut"]


def test_batches_add_up():
    events = [{**event, "flag_data": 0} for event, _ in CUT.values()]
    events += [{**S, "xfer_type": 2, "flag_setup": "Z"}, {**E, "absent": r.LINUX | r.absent("ts")}]
    events += [{**C, "ts": ts} for ts in (9, 5, -5, 7)]
    whole, pieces = Counters().add(*events, *events), Counters()
    for event in events * 2:
        pieces.add(event)
    assert {name: pieces[name] for name in tally.TOTALS} == whole.only(*tally.TOTALS)
    assert pieces.endpoints == whole.endpoints
    assert pieces.statuses == whole.statuses
    assert pieces.frames == whole.frames
    assert all(whole[name] for name in ("cut", "cut_by_container", "setup_missing", "no_time"))


def test_bytes_captured_and_setup_packets_missing():
    control = {**S, "xfer_type": 2}
    counters = Counters().add(
        {**control, "flag_setup": 0},
        {**control, "flag_setup": "Z"},
        {**control, "flag_setup": "-"},
        {**C, "payload": bytes(9)},
        {**C, "payload": bytes(11)},
    )
    assert counters.only("setup_missing", "captured") == {"setup_missing": 1, "captured": 20}


def test_the_bytes_of_a_doubled_event_count_once():
    pair = [{**S, "length": 64}, {**C, "length": 64}]
    found = endpoint_of(*pair, *({**event, "marks": 1} for event in pair))
    assert found == {"S": 2, "C": 2, "requested": 64, "moved": 64, "repeated": 2}


def test_a_synthetic_event_is_counted_as_such_and_as_nothing_else():
    made = {**C, "marks": 8, "devnum": 9, "status": -32, "ts": 0, "payload": bytes(9)}
    with_it, without = Counters().add(made, S, made, C), Counters().add(S, C)
    assert with_it["synthetic"] == 2
    with_it.totals[tally.TOTALS.index("synthetic")] = 0
    assert with_it.totals == without.totals
    assert with_it.endpoints == without.endpoints
    assert nonzero(with_it.statuses) == nonzero(without.statuses)


def test_a_negative_length_moves_nothing():
    assert endpoint_of({**C, "length": 2**32 - 1}) == {"C": 1}


def test_endpoints_past_the_table_are_counted_alone():
    counters = Counters(endpoints=4).add(*({**C, "devnum": n, "status": -32} for n in range(9)))
    assert counters.only("events", "endpoints", "unlisted") == {
        "events": 9,
        "endpoints": 3,
        "unlisted": 6,
    }
    assert set(counters.endpoints) == {(1, n, 0x81, 3) for n in range(3)}
    # Those of the table go on counting.
    counters.add({**C, "devnum": 2}, {**C, "devnum": 8})
    assert counters.endpoints[1, 2, 0x81, 3]["C"] == 2
    assert counters["unlisted"] == 7


def test_a_larger_table_takes_all_over():
    counters = Counters(endpoints=64)
    events = [{**C, "devnum": n, "epnum": n % 16, "length": n} for n in range(48)]
    counters.add(*events)
    assert len(counters.endpoints) == 48
    larger = r.words(256 * tally.ENDPOINT_WORDS)
    tally.move(counters.table, larger)
    assert endpoints(larger) == counters.endpoints
    counters.table = larger
    counters.add(*events)
    assert counters["endpoints"] == 48
    assert all(found["C"] == 2 for found in counters.endpoints.values())


def test_no_rows_change_nothing():
    counters = Counters().add()
    assert not any(counters.totals)
    census = r.words(len(tally.CENSUS))
    tally.census(b"", 0, 32, 5, census)
    assert not any(census)


def census(*events: r.Fields, data_limit: int = -1, descriptor_limit: int = -1) -> set[str]:
    """What is counted once for each event."""
    rows, _ = r.lay(*events)
    counts = r.words(len(tally.CENSUS))
    tally.census(rows, len(events), data_limit, descriptor_limit, counts)
    assert set(counts) <= {0, len(events)}
    return {name for name, count in zip(tally.CENSUS, counts, strict=True) if count}


BULK = {"bus", "no date"}
# An event, and what a format has to have a place for. Of a type that has no interval, its absence
# is no loss.
CENSUS = {
    "bulk": ({}, BULK),
    "format t": ({"absent": r.LINUX | r.absent("busnum", "len_cap")}, {"no bus", "no date"}),
    "a date": ({"clock": r.WALL}, {"bus", "date"}),
    "monotonic": ({"clock": r.MONOTONIC}, BULK),
    "nanoseconds": ({"ts": 1001}, BULK | {"nanoseconds"}),
    "microseconds": ({"ts": -2000}, BULK),
    "transfer flags": ({"xfer_flags": 1}, BULK | {"xfer_flags"}),
    "no transfer flags": ({"absent": r.LINUX | r.absent("xfer_flags")}, BULK | {"no xfer_flags"}),
    "interrupt": ({"xfer_type": 1}, BULK | {"interval"}),
    "interrupt of format t": (
        {"xfer_type": 1, "absent": r.LINUX | r.absent("interval")},
        BULK | {"no interval"},
    ),
    "interrupt error": ({"xfer_type": 1, "type": "E"}, BULK),
    "isochronous": ({"xfer_type": 0}, BULK | {"interval", "iso"}),
    "isochronous of format t": (
        {"xfer_type": 0, "absent": r.LINUX | r.absent("interval", "numdesc")},
        BULK | {"no interval", "no iso"},
    ),
    "isochronous of the 48-byte header": (
        {"xfer_type": 0, "absent": r.LINUX | r.absent("interval")},
        BULK | {"no interval", "iso", "no iso interval"},
    ),
    "Windows": ({"absent": 0}, BULK | {"windows"}),
    "synthetic": ({"marks": 8, "xfer_flags": 1, "ts": 1, "len_cap": 9}, {"synthetic"}),
    "no time": ({"type": "E", "absent": r.LINUX | r.absent("ts")}, BULK | {"no time"}),
    "cut by the file": ({"payload": bytes(3), "len_cap": 4}, BULK | {"len_cap"}),
    "data as the kernel kept them": ({"payload": bytes(3), "length": 4}, BULK),
}


@pytest.mark.parametrize(("event", "held"), list(CENSUS.values()), ids=list(CENSUS))
def test_what_an_event_holds(event, held):
    assert census(event) == held
    assert census(event, event, event) == held


@pytest.mark.parametrize(
    ("data", "packets", "past"),
    [
        (32, 0, set()),
        (33, 0, {"data"}),
        (32, 5, set()),
        (33, 5, {"data"}),
        (0, 6, {"descriptors"}),
        (33, 6, {"data", "descriptors"}),
    ],
)
def test_what_is_past_the_limits_of_a_format(data, packets, past):
    payload = r.descriptors(*[(0, 0, 0)] * packets) + bytes(data)
    event = {"payload": payload, "ndesc": packets, "length": 1}
    assert census(event, data_limit=32, descriptor_limit=5) - BULK == past
    assert census(event) - BULK == set()
    # A format that holds none of them.
    none = {"data"} if data else set()
    none |= {"descriptors"} if packets else set()
    assert census(event, data_limit=0, descriptor_limit=0) - BULK == none


def test_every_counter_of_the_census_has_words():
    assert all(tally.CENSUS.values())
    assert len(tally.TOTALS) <= tally.TOTAL_WORDS
    assert len(tally.ENDPOINT) == tally.ENDPOINT_WORDS
