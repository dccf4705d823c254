"""``usbmon filter``: the language of filters, explained; and a filter looked at before it is used.

Here: the tables of fields and operators, from those of the language itself (`usbmon.filters`).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import click

from usbmon.apps.cli import _common

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbmon.filters import Filter
    from usbmon.filters.fields import Field

_WIDTH: Final = 78
# Of many names: so many of the first, and of the last.
_FIRST_NAMES: Final = 4
_LAST_NAMES: Final = 8

OPERATORS: Final = (
    ("FIELD", "the event has it; of a yes/no field: and it is so"),
    ("== != < <= > >=", "eq ne lt le gt ge"),
    ("in 1..5", "in a range, both ends included"),
    ("in {1, 4, 7..9}", "one of several values or ranges"),
    ("& 0x80", "one of these bits is set; also: x & 0x60 == 0x20"),
    ("contains 55:53", "these bytes are somewhere in it"),
    ('matches "^USB[CS]"', "a regular expression of Python finds something; also ~"),
    ("not and or ( )", "! && ||; not binds before and, and before or"),
)
EXAMPLES: Final = (
    ("dev == 1:5 and status != 0", "what failed at one device"),
    ("type in {bulk, interrupt} and ep.in", "data to the host"),
    ("event == C and ep == 2 and len > 4k", "large transfers of endpoint 2"),
    ("status == EPIPE", "endpoint stalled (also: stall)"),
    ("setup.bRequest == GET_DESCRIPTOR", "submissions that ask for a descriptor"),
    ("setup.type == class", "requests of a class"),
    ("setup.bmRequestType & 0x80", "requests whose data go to the host"),
    ("time in 1.5s..2s", "half a second of the trace"),
    ("data contains 55:53:42:43", 'also: data contains "USBC"'),
    ('data matches "^\\x00\\x00[\\x04-\\x1d]"', "a boot keyboard's letters"),
    ("event == C and ep.in and captured < len", "data that the trace lacks"),
)


def _rows(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Lines in columns, the last one wrapped under itself."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    for *cells, last in lines:
        head = "  " + "".join(f"{c:<{w}}  " for c, w in zip(cells, widths, strict=True))
        yield from textwrap.wrap(
            last, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head)
        ) or [head.rstrip()]


def _field_row(field: Field) -> tuple[str, str, str]:
    return field.name, field.kind.name, field.doc


def _names_of(fields: Iterable[Field]) -> Iterator[tuple[str, str]]:
    """The names of values, once where several fields have the same."""
    told: dict[tuple[str, ...], list[str]] = {}
    for field in fields:
        if field.symbols:
            told.setdefault(tuple(field.symbols), []).append(field.name)
    for symbols, names in told.items():
        shown = list(symbols)
        shown[_FIRST_NAMES:-_LAST_NAMES] = ["…"] if len(shown) > _FIRST_NAMES + _LAST_NAMES else []
        for name in names[:-1]:
            yield name, "as the next"
        yield names[-1], ", ".join(shown)


def reference() -> str:
    """The language on a page."""
    from usbmon.filters.fields import listed
    from usbmon.filters.values import KINDS

    fields = list(listed())
    parts: list[tuple[str, Iterable[tuple[str, ...]]]] = [
        ("Examples:", EXAMPLES),
        ("Operators:", OPERATORS),
        ("Values:", ((kind.name, kind.doc) for kind in KINDS)),
        ("Fields:", map(_field_row, fields)),
        ("Names of values, in capitals or not:", _names_of(fields)),
        ("Other names of fields:", ((f.name, " ".join(f.aliases)) for f in fields if f.aliases)),
    ]
    return "\n\n".join("\n".join(("\b", title, *_rows(rows))) for title, rows in parts)


class _Explained(click.Command):
    """Its help has the tables of the language, which take a moment to load."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(reference())


@click.command("filter", cls=_Explained)
@click.argument("expr", type=_common.Expression(), required=False)
@click.pass_context
def command(ctx: click.Context, expr: Filter | None) -> None:
    """Explain filters; of EXPR, say how it is understood.

    A filter says which events are meant: `show`, `info` and `convert` take one with -F, in quotes:
    -F 'dev == 1:5 and ep.in'. It is made of conditions on fields. A field that an event does not
    have makes every condition on it false: a submission has no status, most events no setup packet.
    """
    click.echo(ctx.get_help() if expr is None else str(expr))
