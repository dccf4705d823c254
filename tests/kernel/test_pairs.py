"""Ingest numbers: one for a submission and its completion, in the order of the events."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import rows as r
from usbmon._kernel import pairs

DOUBLED, ORPHAN = 1, 2
WINDOW = 20_000_000


def event(kind: str, tag: int, ms: float = 0, **fields: Any) -> r.Fields:
    """An event of the bulk endpoint 1, so many milliseconds on."""
    submitted = {"status": -115, "length": 64} if kind == "S" else {"length": 13}
    return {"type": kind, "id": tag, "ts": int(ms * 1e6), **submitted, **fields}


def number(*events: r.Fields, pairing: pairs.Pairing | None = None) -> list[tuple[int, int]]:
    """The number and the marks of each event."""
    rows, _ = r.lay(*events)
    (pairing or pairs.Pairing()).number(memoryview(rows), len(events))
    return [(row["urb"], row["marks"]) for row in r.unpack(rows)]


def counts(pairing: pairs.Pairing) -> dict[str, int]:
    names = ("in_flight", "doubled", "orphan_completions", "lost_completions", "forgotten")
    return {name: value for name in names if (value := getattr(pairing, name))}


A, B = 0xFFFF9F6B5D2E6300, 0xFFFF9F6B5D2E63C0
ONCE = (event("S", A), event("C", A, 1))
TWICE = (event("S", A), event("S", A, 0.1), event("C", A, 1), event("C", A, 1.1))


def test_numbers_start_where_they_are_to():
    assert number(*ONCE, event("S", B, 2), pairing=pairs.Pairing(first=7)) == [
        (7, 0),
        (7, 0),
        (8, 0),
    ]


# Events, their numbers and marks, and what is counted.
CASES = {
    "a submission and its completion": (ONCE, [(1, 0), (1, 0)], {}),
    "a submission error": (
        (event("S", A), event("E", A, 1, status=-28)),
        [(1, 0), (1, 0)],
        {},
    ),
    "two in flight": (
        (event("S", A), event("S", B), event("C", B), event("C", A)),
        [(1, 0), (2, 0), (2, 0), (1, 0)],
        {},
    ),
    "a tag used again is another URB": (
        (*ONCE, event("S", A, 1), event("C", A, 2)),
        [(1, 0), (1, 0), (2, 0), (2, 0)],
        {},
    ),
    "in flight at the end": ((event("S", A),), [(1, 0)], {"in_flight": 1}),
    "a completion of what was submitted before the trace": (
        (event("C", A), *ONCE),
        [(1, ORPHAN), (2, 0), (2, 0)],
        {"orphan_completions": 1},
    ),
    "orphans of one tag are different URBs": (
        (event("C", A), event("C", A, 5)),
        [(1, ORPHAN), (2, ORPHAN)],
        {"orphan_completions": 2},
    ),
    "an error without a submission": (
        (event("E", A, status=-28),),
        [(1, ORPHAN)],
        {"orphan_completions": 1},
    ),
    # One `0u` with two buses: tags are of one kernel, but a merged trace's are not.
    "a tag on two buses": (
        (
            event("S", A),
            event("S", A, busnum=2),
            event("C", A, busnum=2),
            event("C", A),
        ),
        [(1, 0), (2, 0), (2, 0), (1, 0)],
        {},
    ),
    "a completion of another endpoint is not this one's": (
        (event("S", A), event("C", A, epnum=0x82)),
        [(1, 0), (2, ORPHAN)],
        {"orphan_completions": 1, "lost_completions": 1},
    ),
    # mon_bin.c sets the direction of a control URB by its setup packet, and only there.
    "the direction alone makes no other endpoint": (
        (event("S", A, xfer_type=2, epnum=0x80), event("C", A, xfer_type=2, epnum=0)),
        [(1, 0), (1, 0)],
        {},
    ),
    "a completion that the reader was too slow for": (
        (event("S", A), event("S", A, 30), event("C", A, 31)),
        [(1, 0), (2, 0), (2, 0)],
        {"lost_completions": 1},
    ),
    "two readers in one file": (
        TWICE,
        [(1, 0), (1, DOUBLED), (1, 0), (1, DOUBLED)],
        {"doubled": 2},
    ),
    "the second reader is late": (
        (event("S", A), event("C", A, 1), event("S", A, 0.1), event("C", A, 1.1)),
        [(1, 0), (1, 0), (1, DOUBLED), (1, DOUBLED)],
        {"doubled": 2},
    ),
    "doubled completions are known as such once one has confirmed it": (
        (*TWICE, event("S", B, 102), event("C", B, 103), event("C", B, 103.1)),
        [(1, 0), (1, 1), (1, 0), (1, 1), (2, 0), (2, 0), (2, DOUBLED)],
        {"doubled": 3},
    ),
    "a completion too late to be the same": (
        (*TWICE, event("S", B, 102), event("C", B, 103), event("C", B, 124)),
        [(1, 0), (1, 1), (1, 0), (1, 1), (2, 0), (2, 0), (3, ORPHAN)],
        {"doubled": 2, "orphan_completions": 1},
    ),
    "an orphan among doubled events": (
        (*TWICE, event("C", B, 2, length=0)),
        [(1, 0), (1, 1), (1, 0), (1, 1), (2, ORPHAN)],
        {"doubled": 2, "orphan_completions": 1},
    ),
    "what was confirmed is not refuted by the next use of its tag": (
        (*TWICE, event("S", A, 30), event("C", A, 31), event("C", A, 31.1)),
        [(1, 0), (1, 1), (1, 0), (1, 1), (2, 0), (2, 0), (2, DOUBLED)],
        {"doubled": 3},
    ),
    "a submission too late to be the same": (
        (event("S", A), event("S", A, 21), event("C", A, 22)),
        [(1, 0), (2, 0), (2, 0)],
        {"lost_completions": 1},
    ),
    "a submission of another length is not the same": (
        (event("S", A), event("S", A, 0.1, length=65), event("C", A, 1)),
        [(1, 0), (2, 0), (2, 0)],
        {"lost_completions": 1},
    ),
    "a submission of another setup packet is not the same": (
        (
            event("S", A, xfer_type=2, flag_setup=0, setup=b"\x80\x06\x00\x01\x00\x00\x40\x00"),
            event(
                "S", A, 0.1, xfer_type=2, flag_setup=0, setup=b"\x80\x06\x00\x02\x00\x00\x40\x00"
            ),
            event("C", A, 1, xfer_type=2),
        ),
        [(1, 0), (2, 0), (2, 0)],
        {"lost_completions": 1},
    ),
    "a second completion of another status is an orphan": (
        (event("S", A), event("S", A, 0.1), event("C", A, 1), event("C", A, 1.1, status=-71)),
        [(1, 0), (1, DOUBLED), (1, 0), (2, ORPHAN)],
        {"doubled": 1, "orphan_completions": 1},
    ),
    # The suspect was a submission of its own, whose completion was lost.
    "a third submission refutes": (
        (
            event("S", A),
            event("S", A, 5),
            event("C", A, 6),
            event("S", A, 30),
            event("C", A, 31),
        ),
        [(1, 0), (1, DOUBLED), (1, 0), (2, 0), (2, 0)],
        {"lost_completions": 1},
    ),
    "what was refuted is not suspected again": (
        (
            *(event("S", A), event("S", A, 5), event("C", A, 6), event("S", A, 30)),
            *(event("S", A, 35), event("C", A, 36)),
        ),
        [(1, 0), (1, DOUBLED), (1, 0), (2, 0), (3, 0), (3, 0)],
        {"lost_completions": 2},
    ),
    "stages of a USBPcap control transfer": (
        tuple(
            event(kind, A, ms, xfer_type=2, epnum=0x80, absent=0)
            for kind, ms in (("S", 0), ("C", 1), ("C", 2), ("S", 30), ("C", 31))
        ),
        [(1, 0), (1, 0), (1, 0), (2, 0), (2, 0)],
        {},
    ),
}


@pytest.mark.parametrize(("events", "numbers", "counted"), list(CASES.values()), ids=list(CASES))
def test_numbers_and_marks(events, numbers, counted):
    whole, one_by_one = pairs.Pairing(), pairs.Pairing()
    assert number(*events, pairing=whole) == numbers
    assert counts(whole) == counted
    # It remembers from batch to batch.
    assert [number(e, pairing=one_by_one)[0] for e in events] == numbers
    assert counts(one_by_one) == counted


@pytest.mark.parametrize(("window", "mark"), [(99_999, 0), (100_000, DOUBLED)])
def test_the_window_is_how_far_apart_two_stamps_of_one_event_are(window, mark):
    assert number(*TWICE, pairing=pairs.Pairing(window))[1][1] == mark


@pytest.mark.parametrize(
    ("first", "second", "mark"),
    [
        (-5, 5, DOUBLED),
        (5, -5, DOUBLED),
        (-WINDOW, 1, 0),
        (1, -WINDOW, 0),
        (-(2**63), 2**63 - 1, 0),
        (2**63 - 1, -(2**63), 0),
        (-1, 2**63 - 1, 0),
        (0, -(2**63), 0),
        (1, -(2**63) + 1, 0),
    ],
)
def test_times_of_any_size_are_near_or_not(first, second, mark):
    events = [event("S", A) | {"ts": ts} for ts in (first, second)]
    assert number(*events, pairing=pairs.Pairing(WINDOW))[1][1] == mark


def test_other_marks_stay():
    assert number(event("C", A, marks=4)) == [(1, 4 | ORPHAN)]
    events = [{**e, "marks": 4} for e in TWICE]
    assert [marks for _, marks in number(*events)] == [4, 4 | DOUBLED, 4, 4 | DOUBLED]


def test_no_events_are_no_work():
    pairing = pairs.Pairing()
    assert number(pairing=pairing) == []
    assert counts(pairing) == {}


@pytest.fixture
def small_table(monkeypatch):
    """A table that begins with 16 entries and grows to 64: it is full with a quarter of them."""
    monkeypatch.setattr(pairs, "_SMALLEST", 16)
    monkeypatch.setattr(pairs, "_LARGEST", 64)


def _addresses(count: int) -> list[int]:
    """Tags as a kernel's slab allocator gives them."""
    return [A + 192 * n for n in range(count)]


@pytest.mark.usefixtures("small_table")
def test_tags_that_landed_make_room_for_others():
    pairing = pairs.Pairing()
    events = [event(kind, tag) for tag in _addresses(200) for kind in "SC"]
    expected = [(n, 0) for n in range(1, 201) for _ in "SC"]
    assert number(*events, pairing=pairing) == expected
    assert counts(pairing) == {}


@pytest.mark.usefixtures("small_table")
def test_the_table_grows_with_what_is_in_flight():
    pairing = pairs.Pairing()
    tags = _addresses(12)
    number(*(event("S", tag) for tag in tags), pairing=pairing)
    assert pairing.in_flight == 12
    landed = number(*(event("C", tag, 1) for tag in reversed(tags)), pairing=pairing)
    assert landed == [(n, 0) for n in range(12, 0, -1)]
    assert counts(pairing) == {}


@pytest.mark.usefixtures("small_table")
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_memory_is_bounded_where_nothing_ever_completes(size):
    pairing = pairs.Pairing()
    tags = _addresses(1000)
    seen = []
    for at in range(0, 1000, size):
        seen += number(*(event("S", tag) for tag in tags[at : at + size]), pairing=pairing)
    assert seen == [(n, 0) for n in range(1, 1001)]
    assert len(pairing._table) == 64 * 8
    assert pairing.in_flight <= 16
    assert pairing.forgotten == 1000 - pairing.in_flight
    # The latest are those still known.
    late = number(*(event("C", tag) for tag in tags[-8:]), pairing=pairing)
    assert late == [(n, 0) for n in range(993, 1001)]
    assert number(event("C", tags[0]), pairing=pairing) == [(1001, ORPHAN)]


def test_the_table_as_it_is_holds_thousands_in_flight():
    pairing = pairs.Pairing()
    tags = _addresses(5000)
    number(*(event("S", tag) for tag in tags), pairing=pairing)
    assert counts(pairing) == {"in_flight": 5000}
    assert number(*(event("C", t) for t in tags), pairing=pairing) == [
        (n, 0) for n in range(1, 5001)
    ]


@given(st.lists(st.tuples(st.sampled_from("SSCCE"), st.integers(0, 5), st.integers(0, 50))))
def test_books_balance(steps):
    """Each submission that is no double is in flight, has landed or was lost."""
    pairing = pairs.Pairing()
    events = [event(kind, tag, ms) for kind, tag, ms in steps]
    seen = list(zip((e["type"] for e in events), number(*events, pairing=pairing), strict=True))
    marked = [marks for _, (_, marks) in seen]
    assert marked.count(ORPHAN) == pairing.orphan_completions
    urbs = {urb for _, (urb, _) in seen}
    assert urbs == set(range(1, len(urbs) + 1))
    submitted = {urb for kind, (urb, marks) in seen if kind == "S"}
    landed = {urb for kind, (urb, marks) in seen if kind != "S" and not marks} & submitted
    orphans = {urb for _, (urb, marks) in seen if marks == ORPHAN}
    assert not orphans & submitted
    assert orphans | submitted == urbs
    assert pairing.in_flight <= len(submitted - landed)


STEP = st.tuples(
    st.sampled_from("SSSCCE"),
    st.integers(0, 40),
    st.integers(1, 2),
    st.sampled_from([1, 0x81, 2]),
    st.integers(-3, 9),
)


def _stream(steps: list[tuple[str, int, int, int, int]], *, alike: bool) -> list[r.Fields]:
    """Events of a few tags on two buses. Where they are not alike, none can be the double of
    another: each has a length of its own."""
    out, ms = [], 1000
    for number_, (kind, tag, bus, epnum, step) in enumerate(steps):
        ms += step
        length = 5 if alike else number_
        out.append(event(kind, tag, ms, busnum=bus, epnum=epnum, length=length))
    return out


def _in_batches(events: list[r.Fields], cuts: list[int]) -> tuple[list[tuple[int, int]], list[int]]:
    pairing = pairs.Pairing()
    edges = [0, *sorted(cut % (len(events) + 1) for cut in cuts), len(events)]
    numbers = []
    for start, end in pairwise(edges):
        numbers += number(*events[start:end], pairing=pairing)
    return numbers, [*counts(pairing).values()]


def _by_dictionary(events: list[r.Fields]) -> list[tuple[int, int]]:
    """The numbers and marks, as a dictionary of what is in flight gives them."""
    flying: dict[tuple[int, int], tuple[int, int]] = {}
    out = []
    last = 0
    for e in events:
        tag, place = (e["id"], e["busnum"]), e["epnum"] & 0x7F
        if e["type"] == "S":
            last += 1
            flying[tag] = place, last
            out.append((last, 0))
        elif flying.get(tag, (None, 0))[0] == place:
            out.append((flying.pop(tag)[1], 0))
        else:
            flying.pop(tag, None)
            last += 1
            out.append((last, ORPHAN))
    return out


@given(st.lists(STEP, max_size=150), st.lists(st.integers(0, 150), max_size=6), st.booleans())
def test_it_does_what_a_dictionary_would(steps, cuts, small):
    events = _stream(steps, alike=False)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(pairs, "_SMALLEST", 16)
        assert _in_batches(events, cuts)[0] == _by_dictionary(events)


@given(st.lists(STEP, max_size=150), st.lists(st.integers(0, 150), max_size=6))
def test_batches_of_any_size_give_the_same(steps, cuts):
    events = _stream(steps, alike=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_SMALLEST", 16)
        patch.setattr(pairs, "_LARGEST", 64)
        assert _in_batches(events, cuts) == _in_batches(events, [])
