"""A filter's tree over the columns of a batch: which events it lets through.

Here: each kind of node as operations on NumPy arrays, and the search for bytes in the payload. Not
here: how a field is read from a batch (`usbmon.filters.fields`).

Payload lies anywhere in the arena, and most of the arena is payload. So bytes are looked for in the
whole of it at once, and each event is then asked whether it holds one of the places found.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from usbmon.filters.fields import Column, Context, Spans
from usbmon.filters.tree import (
    And,
    Compare,
    Contains,
    Has,
    Matches,
    Node,
    Not,
    Operand,
    Or,
    Within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.events import Events
    from usbmon.filters.fields import Mask

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Below one event in so many, the rest of an ``and`` looks at those alone.
_FEW: Final = 2
_SAMPLE: Final = 1 << 14
# One byte in so many: below that, single places are looked at.
_SPARSE: Final = 64


def evaluate(node: Node, events: Events, context: Context) -> Mask:
    """One bool an event."""
    mask: Mask = _EVALUATE[type(node)](node, events, context)
    return mask


def _column(operand: Operand, events: Events, context: Context) -> Column:
    column = operand.field.column(events, context)
    assert isinstance(column, Column)
    if operand.mask is None:
        return column
    unsigned = np.dtype(f"u{column.values.dtype.itemsize}")
    bits = operand.mask & int(np.iinfo(unsigned).max)
    return column._replace(values=column.values.view(unsigned) & unsigned.type(bits))


def _spans(operand: Operand, events: Events, context: Context) -> Spans:
    spans = operand.field.column(events, context)
    assert isinstance(spans, Spans)
    return spans


def _present(mask: Mask, column: Column) -> Mask:
    return mask if column.present is None else mask & column.present


def _has(node: Has, events: Events, context: Context) -> Mask:
    column = node.operand.field.column(events, context)
    if isinstance(column, Spans):
        return np.asarray(column.end > column.start)
    column = _column(node.operand, events, context)
    if column.values.dtype == np.bool_ or node.operand.mask is not None:
        return _present(column.values != 0, column)
    return _present(np.ones(len(events), np.bool_), column)


def _compare(node: Compare, events: Events, context: Context) -> Mask:
    if isinstance(node.value, bytes):
        spans = _spans(node.operand, events, context)
        same = _equal(spans, node.value)
        return same if node.op == "==" else ~same & (spans.end > spans.start)
    column = _column(node.operand, events, context)
    compare = _COMPARE[node.op]
    if isinstance(node.value, Operand):
        other = _column(node.value, events, context)
        return _present(_present(compare(column.values, other.values), column), other)
    return _present(_with_number(compare, column.values, node.value), column)


def _with_number(compare: Callable[[Any, Any], Any], values: Any, number: int) -> Mask:
    """A number that no value of the column's type can reach compares with all as with 0."""
    if values.dtype != np.bool_:
        limits = np.iinfo(values.dtype)
        if not limits.min <= number <= limits.max:
            return np.full(len(values), compare(0, number), np.bool_)
    return np.asarray(compare(values, number))


def _within(node: Within, events: Events, context: Context) -> Mask:
    column = _column(node.operand, events, context)
    mask = np.zeros(len(events), np.bool_)
    for low, high in node.ranges:
        if low == high:
            mask |= _with_number(operator.eq, column.values, low)
        else:
            above = _with_number(operator.ge, column.values, low)
            mask |= above & _with_number(operator.le, column.values, high)
    return _present(mask, column)


def _not(node: Not, events: Events, context: Context) -> Mask:
    return ~evaluate(node.part, events, context)


def _and(node: And, events: Events, context: Context) -> Mask:
    mask = evaluate(node.parts[0], events, context)
    for part in node.parts[1:]:
        count = int(np.count_nonzero(mask))
        if not count:
            break
        if count * _FEW < len(mask):
            places = np.flatnonzero(mask)
            mask = np.zeros(len(events), np.bool_)
            mask[places] = evaluate(part, events[places], context)
        else:
            mask = mask & evaluate(part, events, context)
    return mask


def _or(node: Or, events: Events, context: Context) -> Mask:
    mask = evaluate(node.parts[0], events, context)
    for part in node.parts[1:]:
        mask = mask | evaluate(part, events, context)
    return mask


def _contains(node: Contains, events: Events, context: Context) -> Mask:
    return holding(_spans(node.operand, events, context), node.needle)


def _matches(node: Matches, events: Events, context: Context) -> Mask:
    """An expression has anchors and looks around, so each payload is a text of its own."""
    spans = _spans(node.operand, events, context)
    search = node.compiled().search  # Python keeps the last ones it compiled
    mask = np.zeros(len(events), np.bool_)
    places = np.flatnonzero(spans.end > spans.start)
    starts, ends = spans.start[places].tolist(), spans.end[places].tolist()
    arena = spans.arena
    mask[places] = [
        search(arena[start:end]) is not None for start, end in zip(starts, ends, strict=True)
    ]
    return mask


def holding(spans: Spans, needle: bytes) -> Mask:
    """Which spans hold these bytes."""
    size = len(needle)
    mask = np.zeros(len(spans.start), np.bool_)
    able = np.flatnonzero(spans.end - spans.start >= size)
    if not len(able):
        return mask
    start, end = spans.start[able], spans.end[able]
    low, high = int(start.min()), int(end.max())
    found = _places(np.frombuffer(spans.arena, np.uint8)[low:high], needle) + low
    if len(found):
        # The first place found at or behind the start of each span.
        after = np.searchsorted(found, start)
        first = found[np.minimum(after, len(found) - 1)]
        mask[able] = (first >= start) & (first + size <= end)
    return mask


def _places(arena: Any, needle: bytes) -> Any:
    """Where the needle stands in the arena, overlaps included. Its bytes are looked for one by one,
    the rarest, by a sample, first; in all of the arena until few places are left, then at those."""
    sample = np.bincount(arena[:_SAMPLE], minlength=256)
    order = sorted(range(len(needle)), key=lambda at: int(sample[needle[at]]))
    reach = len(arena) - len(needle) + 1
    match = arena[order[0] : order[0] + reach] == needle[order[0]]
    done = 1
    while done < len(order) and np.count_nonzero(match) * _SPARSE > reach:
        at = order[done]
        match &= arena[at : at + reach] == needle[at]
        done += 1
    found = np.flatnonzero(match)
    for at in order[done:]:
        found = found[arena[found + at] == needle[at]]
    return found


def _equal(spans: Spans, value: bytes) -> Mask:
    """Which spans are these bytes."""
    mask = np.zeros(len(spans.start), np.bool_)
    able = np.flatnonzero(spans.end - spans.start == len(value))
    arena = np.frombuffer(spans.arena, np.uint8)
    for at, byte in enumerate(value):
        if not len(able):
            break
        able = able[arena[spans.start[able] + at] == byte]
    mask[able] = True
    return mask


_EVALUATE: Final[dict[type, Callable[[Any, Events, Context], Mask]]] = {
    Has: _has,
    Compare: _compare,
    Within: _within,
    Contains: _contains,
    Matches: _matches,
    Not: _not,
    And: _and,
    Or: _or,
}
