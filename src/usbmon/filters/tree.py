"""What a filter is, once read: a tree of conditions, and its one form as text.

Here: the nodes, and the way back to text. Not here: reading text (`usbmon.filters.grammar`), and
what a tree makes of a batch (`usbmon.filters.columns`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.filters.fields import Field
    from usbmon.filters.values import Value

# How strongly each binds; see `usbmon.filters.grammar`.
OR: Final = 1
AND: Final = 2
NOT: Final = 3


class Operand(NamedTuple):
    """A field, or the bits of `mask` of it."""

    field: Field
    mask: int | None = None


class Has(NamedTuple):
    """An operand alone: it is there, and not false, and of bits one is set."""

    operand: Operand


class Compare(NamedTuple):
    operand: Operand
    op: str
    value: Value | Operand


class Within(NamedTuple):
    """In one of these ranges, both ends included."""

    operand: Operand
    ranges: tuple[tuple[int, int], ...]


class Contains(NamedTuple):
    operand: Operand
    needle: bytes


class Matches(NamedTuple):
    """`pattern`: a regular expression of Python, of bytes, in which "." is any byte."""

    operand: Operand
    pattern: str

    def compiled(self) -> re.Pattern[bytes]:
        return re.compile(self.pattern.encode(errors="surrogateescape"), re.DOTALL)


class Not(NamedTuple):
    part: Node


class And(NamedTuple):
    parts: tuple[Node, ...]


class Or(NamedTuple):
    parts: tuple[Node, ...]


Node = Has | Compare | Within | Contains | Matches | Not | And | Or


def to_text(node: Node, power: int = 0) -> str:
    """The filter as text, the same for all that mean the same tree."""
    if isinstance(node, Not):
        return f"not {to_text(node.part, NOT)}"
    if isinstance(node, And | Or):
        op, own = (" and ", AND) if isinstance(node, And) else (" or ", OR)
        text = op.join(to_text(part, own) for part in node.parts)
        return f"({text})" if power >= own else text
    left = node.operand.field.name
    if node.operand.mask is not None:
        left += f" & {node.operand.mask:#x}"
    return left + _right(node)


def _right(node: Has | Compare | Within | Contains | Matches) -> str:
    field = node.operand.field
    if isinstance(node, Has):
        return ""
    if isinstance(node, Matches):
        pattern = node.pattern.replace('"', '\\"')
        return f' matches "{pattern}"'
    if isinstance(node, Contains):
        return f" contains {field.kind.write(node.needle, field.symbols)}"
    if isinstance(node, Within):
        parts = [_range_text(field, *bounds) for bounds in node.ranges]
        only = parts[0] if len(parts) == 1 and ".." in parts[0] else f"{{{', '.join(parts)}}}"
        return f" in {only}"
    if isinstance(node.value, Operand):
        return f" {node.op} {node.value.field.name}"
    return f" {node.op} {field.kind.write(node.value, field.symbols)}"


def _range_text(field: Field, low: int, high: int) -> str:
    if low == high:
        return field.kind.write(low, field.symbols)
    return "..".join(field.kind.write(value, {}) for value in (low, high))


def fields_of(node: Node) -> Iterator[Field]:
    """All that the tree asks about."""
    if isinstance(node, Not):
        yield from fields_of(node.part)
    elif isinstance(node, And | Or):
        for part in node.parts:
            yield from fields_of(part)
    else:
        yield node.operand.field
        if isinstance(node, Compare) and isinstance(node.value, Operand):
            yield node.value.field
