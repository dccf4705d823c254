"""Filters: one language to say which events are meant, for every command, trigger and viewer.

    chosen = filters.compile("dev == 1:5 and ep.in and status != 0")
    for events in chosen.apply(usbmon.open("trace.pcapng")): ...

Here: what users of filters need. Not here: the language (`.grammar`, `.tree`), its fields
(`.fields`) and values (`.values`), and columns (`.columns`, with NumPy, imported on use).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from usbmon.filters.fields import FIELDS, Column, Context, Field, Needs, Spans, first_time, named
from usbmon.filters.grammar import (
    FilterError,
    Token,
    meaning,
    parse,
    tokens,
)
from usbmon.filters.tree import fields_of, to_text
from usbmon.filters.values import COMPARISONS
from usbmon.layout import SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from usbmon.events import Events
    from usbmon.filters.fields import Mask
    from usbmon.filters.tree import Node

__all__ = [
    "FIELDS",
    "Column",
    "Context",
    "Field",
    "Filter",
    "FilterError",
    "Needs",
    "Spans",
    "compile",
    "complete",
    "named",
]

_NEEDS: Final[tuple[Needs, ...]] = ("events", "transfers", "nodes")


class Filter:
    """A filter that was read: `compile` makes it. ``str(filter)`` is its one normal form.

    `needs`: what a batch must have to be asked: "events" alone, "transfers" or decoded "nodes".
    """

    def __init__(self, text: str, tree: Node) -> None:
        self.text = text
        self.tree = tree
        self.needs = max((field.needs for field in fields_of(tree)), key=_NEEDS.index)

    def mask(self, events: Events, context: Context = Context()) -> Mask:  # noqa: B008  (immutable)
        """Which events of the batch are let through."""
        from usbmon.filters.columns import evaluate

        if context.start is None:
            context = context._replace(start=first_time(events))
        return evaluate(self.tree, events, context)

    def following(self, *, keep_synthetic: bool = False) -> Callable[[Events], Mask]:
        """`mask` for the batches of one trace in their order: it remembers when the first event
        was. `keep_synthetic`: what was known of devices is let through too, as a file needs it to
        be decoded, unless the filter itself asks about it."""
        keeps = keep_synthetic and all(f.name != "synthetic" for f in fields_of(self.tree))
        start: int | None = None

        def mask(events: Events) -> Mask:
            nonlocal start
            if start is None:
                start = first_time(events)
            chosen = self.mask(events, Context(start))
            return chosen | (events.marks & SYNTHETIC != 0) if keeps else chosen

        return mask

    def apply(self, batches: Iterable[Events], *, keep_synthetic: bool = False) -> Iterator[Events]:
        """Of the batches of one trace, what is let through (see `following`)."""
        mask = self.following(keep_synthetic=keep_synthetic)
        for events in batches:
            chosen = events[mask(events)]
            if len(chosen):
                yield chosen

    def __str__(self) -> str:
        return to_text(self.tree)

    def __repr__(self) -> str:
        return f"<Filter {self}>"


def compile(text: str, fields: Mapping[str, Field] = FIELDS) -> Filter:
    """The filter that this text is. Raises `FilterError`, which tells where it is wrong.

    `fields`: by all their names; a layer that knows more hands in more of them.
    """
    return Filter(text, parse(text, fields))


# What may stand where, for completion.
_BEFORE_CONDITION: Final = ("", "(", "and", "or", "not")
_BEFORE_VALUE: Final = ("in", "{", ",", "..", "&", *COMPARISONS)
_PARTIAL: Final = re.compile(r"[\w.:]*\Z")


def complete(text: str, fields: Mapping[str, Field] = FIELDS) -> list[str]:
    """The ways to go on with the last word of an unfinished filter, each as the whole text."""
    match = _PARTIAL.search(text)
    assert match is not None
    head, partial = text[: match.start()], match[0]
    try:
        before = list(tokens(head))[:-1]
    except FilterError:  # within a string
        return []
    names = _going_on(before, partial, fields)
    return [head + name for name in names if name.startswith(partial) and name != partial]


def _going_on(before: list[Token], partial: str, fields: Mapping[str, Field]) -> list[str]:
    last = meaning(before[-1]) if before else ""
    known = [fields[token.text] for token in before if token.text in fields]
    if last in _BEFORE_CONDITION:
        return [name for name, field in fields.items() if _is_offered(name, field, partial)]
    if last in _BEFORE_VALUE and known:
        return list(known[-1].symbols)
    if before and before[-1].text in fields:
        return ["and", "or", *known[-1].kind.operators]
    return ["and", "or"] if last not in _BEFORE_VALUE else []


def _is_offered(name: str, field: Field, partial: str) -> bool:
    """Other names of a field are offered to who has begun one of Wireshark's."""
    return name == field.name or partial.startswith(("usb.", "frame."))
