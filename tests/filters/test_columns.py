"""Masks, against the same tree asked of one `Event` after the other in plain Python."""

import operator
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import corpus, generated
from usbmon import Event, Events, filters, layout, read
from usbmon.filters import columns
from usbmon.filters.fields import Context, Spans, first_time, listed
from usbmon.filters.tree import And, Compare, Contains, Has, Matches, Not, Operand, Or, Within
from usbmon.filters.values import BYTES, HEX, INT

# What each field is of an event; None: it has none.


def setup(event: Event, start: int, end: int) -> int | None:
    return None if event.setup is None else int.from_bytes(event.setup[start:end], "little")


def bits(value: int | None, shift: int, mask: int) -> int | None:
    return None if value is None else value >> shift & mask


def is_error(event: Event) -> bool:
    return event.type != "S" and (event.status != 0 or (event.error_count or 0) > 0)


VALUES = {
    "dev": lambda e, _: None if e.busnum is None else e.busnum * 256 + e.devnum,
    "bus": lambda e, _: e.busnum,
    "addr": lambda e, _: e.devnum,
    "ep": lambda e, _: e.epnum % 128,
    "ep.address": lambda e, _: e.epnum,
    "ep.in": lambda e, _: e.is_in,
    "ep.out": lambda e, _: not e.is_in,
    "ep.direction": lambda e, _: int(e.is_in),
    "type": lambda e, _: layout.XFER_TYPES.index(e.xfer_type),
    "event": lambda e, _: ord(e.type),
    "status": lambda e, _: None if e.type == "S" else e.status,
    "urb_status": lambda e, _: e.status,
    "error": lambda e, _: is_error(e),
    "len": lambda e, _: e.length,
    "captured": lambda e, _: len(e.data),
    "len_cap": lambda e, _: e.len_cap,
    "data": lambda e, _: e.data or None,
    "time": lambda e, start: None if e.ts is None else e.ts - start,
    "ts": lambda e, _: e.ts,
    "urb": lambda e, _: e.urb or None,
    "id": lambda e, _: e.id,
    "setup": lambda e, _: e.setup is not None,
    "setup.bmRequestType": lambda e, _: setup(e, 0, 1),
    "setup.direction": lambda e, _: bits(setup(e, 0, 1), 7, 1),
    "setup.type": lambda e, _: bits(setup(e, 0, 1), 5, 3),
    "setup.recipient": lambda e, _: bits(setup(e, 0, 1), 0, 31),
    "setup.bRequest": lambda e, _: setup(e, 1, 2),
    "setup.wValue": lambda e, _: setup(e, 2, 4),
    "setup.wIndex": lambda e, _: setup(e, 4, 6),
    "setup.wLength": lambda e, _: setup(e, 6, 8),
    "iso.error_count": lambda e, _: e.error_count,
    "iso.numdesc": lambda e, _: e.numdesc,
    "interval": lambda e, _: e.interval,
    "start_frame": lambda e, _: e.start_frame,
    "xfer_flags": lambda e, _: e.xfer_flags,
    "usbd_status": lambda e, _: e.usbd_status,
    "usbd_function": lambda e, _: e.usbd_function,
    "interface": lambda e, _: e.interface,
    **{mark: lambda e, _, mark=mark: mark in e.marks for mark in layout.MARKS},
}
# Bits are those of the column: of a negative number, its complement's.
WIDTHS = {"status": 32, "urb_status": 32, "iso.error_count": 32, "iso.numdesc": 32}
WIDTHS |= {"interval": 32, "start_frame": 32}

OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def value_of(operand: Operand, event: Event, start: int):
    value = VALUES[operand.field.name](event, start)
    if operand.mask is None or value is None:
        return value
    return value % (1 << WIDTHS.get(operand.field.name, 64)) & operand.mask


def holds(node, event: Event, start: int) -> bool:
    if isinstance(node, Not):
        return not holds(node.part, event, start)
    if isinstance(node, And | Or):
        parts = [holds(part, event, start) for part in node.parts]
        return all(parts) if isinstance(node, And) else any(parts)
    value = value_of(node.operand, event, start)
    return value is not None and is_met(node, value, event, start)


def is_met(node, value, event: Event, start: int) -> bool:
    match node:
        case Has():
            return bool(value) if node.operand.mask is not None else value is not False
        case Compare(_, op, Operand() as other):
            other = value_of(other, event, start)
            return other is not None and OPERATORS[op](value, other)
        case Compare(_, op, other):
            return OPERATORS[op](value, other)
        case Within():
            return any(low <= value <= high for low, high in node.ranges)
        case Contains():
            return node.needle in value
        case Matches():
            return re.search(node.pattern.encode(), value, re.DOTALL) is not None
    raise AssertionError(node)


def test_every_field_is_known_to_this_test():
    assert list(VALUES) == [field.name for field in listed()]


# Filters by chance


NUMBER = st.one_of(
    st.integers(-130, 300),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**31, 2**32 - 1, 2**32, -(2**31), 1_000_000_000]),
)


@st.composite
def conditions(draw) -> str:
    field = draw(st.sampled_from(list(listed())))
    if field.kind is BYTES:
        needle = draw(st.binary(min_size=1, max_size=2)).hex(":")
        pattern = draw(st.sampled_from(["^.", "^\\x00", "[\\x80-\\xff]+.$", "a|b", "(?<=.)\\x01"]))
        word = st.sampled_from([f"== {needle}", f"!= {needle}", f"contains {needle}"])
        return draw(st.sampled_from(["data", f"data {draw(word)}", f'data matches "{pattern}"']))
    op = draw(st.sampled_from([o for o in field.kind.operators if o not in ("in", "&")] + [""]))
    left = field.name
    if field.kind in (INT, HEX) and draw(st.booleans()):
        left += f" & {draw(st.integers(1, 2**33))}"
    if not op:
        return left
    return f"{left} {op} {field.kind.write(draw(values(field)), field.symbols)}"


def values(field) -> st.SearchStrategy[int]:
    match field.kind.name:
        case "yes/no":
            return st.integers(0, 1)
        case "device":
            return st.one_of(st.integers(0, 2**24 - 1), st.just(0))
        case "time":
            return st.integers(-(2**62), 2**62)
    return st.one_of(NUMBER, st.sampled_from([*field.symbols.values(), 0]))


@st.composite
def ranges(draw) -> str:
    field = draw(st.sampled_from([f for f in listed() if f.kind is not BYTES]))
    pairs = draw(st.lists(st.tuples(values(field), values(field)), min_size=1, max_size=3))
    words = ("..".join(field.kind.write(bound, {}) for bound in sorted(pair)) for pair in pairs)
    return f"{field.name} in {{{', '.join(words)}}}"


TEXTS = st.recursive(
    st.one_of(
        conditions(),
        ranges(),
        st.sampled_from(["captured < len", "time <= ts", "len != len_cap", "ep.in == ep.out"]),
    ),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, inner, inner).map(" and ".join),
        st.tuples(inner, inner).map("({0[0]}) or ({0[1]})".format),
    ),
    max_leaves=5,
)


@st.composite
def batches(draw) -> Events:
    rows = draw(st.lists(generated.one(cut=True), max_size=8))
    for row in rows:
        row["marks"] = draw(st.integers(0, (1 << len(layout.MARKS)) - 1))
        row["urb"] = draw(st.integers(0, 3))
        row["interface"] = draw(st.integers(0, 3))
        row["usbd_status"] = draw(generated.U32)
        row["absent"] = draw(st.integers(0, (1 << len(layout.ABSENT)) - 1))
    return generated.batch(rows)


def told(field, events: Events, start: int) -> list:
    """A field's values as its column has them, None where it is absent."""
    column = field.column(events, Context(start))
    if isinstance(column, Spans):
        pairs = zip(column.start.tolist(), column.end.tolist(), strict=True)
        return [bytes(column.arena[start:end]) or None for start, end in pairs]
    present = np.ones(len(events), bool) if column.present is None else column.present
    pairs = zip(column.values.tolist(), present.tolist(), strict=True)
    return [value if there else None for value, there in pairs]


@given(batches(), st.integers(-(2**40), 2**40))
def test_a_column_has_the_value_of_every_event(events, start):
    for field in listed():
        wanted = [VALUES[field.name](event, start) for event in events]
        assert told(field, events, start) == wanted, field.name


@given(batches(), TEXTS)
def test_a_mask_is_what_every_event_says(events, text):
    chosen = filters.compile(text)
    start = first_time(events) or 0
    wanted = [holds(chosen.tree, event, start) for event in events]
    assert chosen.mask(events).tolist() == wanted


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
def test_also_of_recorded_events(path):
    events = read(path)[:400]
    start = first_time(events) or 0
    for text in RECORDED:
        chosen = filters.compile(text)
        wanted = [holds(chosen.tree, event, start) for event in events]
        assert chosen.mask(events).tolist() == wanted, text


RECORDED = (
    "dev == 1:2 and ep.in and status != 0",
    "type in {bulk, interrupt} and captured >= 8",
    "setup.bRequest == GET_DESCRIPTOR and setup.wLength > 18",
    "setup.type == class or error",
    "time in 500ms..2s and not urb & 1",
    "data contains 55:53:42:43 or data contains 00:00:00",
    'data matches "^.\\x01" and addr != 1',
    "event == C and ep.in and captured < len",
    "data == 01:00:00:00 or data != 00 and len < 8",
    "iso.numdesc > 1 or interval in 1..8",
)


def test_a_field_compares_with_another_only_where_there_are_both():
    lacking = [0, *(layout.ABSENT_BIT[name] for name in ("length", "len_cap"))]
    rows = [{"length": 8, "len_cap": 8, "absent": bits} for bits in lacking]
    events = generated.batch(rows)
    assert filters.compile("len == len_cap").mask(events).tolist() == [True, False, False]
    assert filters.compile("not len == len_cap").mask(events).tolist() == [False, True, True]


# The search for bytes

ARENAS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from(b"\0\0\0ab"), max_size=300).map(bytes),
    st.lists(st.sampled_from([b"\1" * 70, b"ab", b"aab", b"b"]), max_size=9).map(b"".join),
)


@given(st.data(), ARENAS)
def test_bytes_are_found_within_spans_only(data, arena):
    place = st.integers(0, len(arena))
    pairs = [sorted(pair) for pair in data.draw(st.lists(st.tuples(place, place), max_size=9))]
    spans = Spans(
        memoryview(arena),
        np.array([start for start, _ in pairs], np.int64),
        np.array([end for _, end in pairs], np.int64),
    )
    part = st.tuples(place, st.integers(1, 5)).map(lambda p: arena[p[0] : p[0] + p[1]])
    needle = data.draw(st.one_of(part, st.binary(min_size=1, max_size=3)).filter(len))
    wanted = [needle in arena[start:end] for start, end in pairs]
    assert columns.holding(spans, needle).tolist() == wanted


def test_a_part_of_a_large_batch_is_searched_where_its_own_data_lie():
    """One arena, few rows of it: what stands before and behind is not theirs."""
    rows = [{"payload": b"abc"}, {"payload": b"xabcx"}, {"payload": b"bc"}, {"payload": b"cab"}]
    events = generated.batch(rows)
    mask = filters.compile('data contains "ab"').mask
    assert mask(events).tolist() == [True, True, False, True]
    assert mask(events[2:3]).tolist() == [False]
    assert mask(events[[3, 0, 0]]).tolist() == [True, True, True]


def test_the_rest_of_an_and_is_asked_of_those_that_remain():
    rows = [{"devnum": number, "payload": b"ab"} for number in range(20)]
    asked = []
    data = filters.FIELDS["data"]

    def column(events: Events, context: Context) -> Spans:
        asked.append(len(events))
        return data.column(events, context)

    table = {**filters.FIELDS, "data": data._replace(column=column)}
    chosen = filters.compile('addr in 4..6 and data matches "b" and addr != 5', table)
    assert np.flatnonzero(chosen.mask(generated.batch(rows))).tolist() == [4, 6]
    none = filters.compile('addr == 99 and data matches "b"', table)
    assert not none.mask(generated.batch(rows)).any()
    assert asked == [3]
