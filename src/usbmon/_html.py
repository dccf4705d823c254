"""`Events` as an HTML table, for notebooks. Standard library only."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from usbmon.events import Event, Events

_ROWS_SHOWN: Final = 20
_BYTES_SHOWN: Final = 16
_HEADINGS: Final = ("", "time (s)", "address", "type", "event", "status", "length", "setup, data")


def table(events: Events) -> str:
    """The first and last rows of the batch, and how many there are."""
    count = len(events)
    half = _ROWS_SHOWN // 2
    if count <= _ROWS_SHOWN:
        body = "".join(_row(n, events[n]) for n in range(count))
    else:
        gap = f"<tr><td colspan='{len(_HEADINGS)}'>… {count - 2 * half:,} more …</td></tr>"
        first = "".join(_row(n, events[n]) for n in range(half))
        body = first + gap + "".join(_row(n, events[n]) for n in range(count - half, count))
    head = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    caption = f"<caption>{count:,} USB events</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(number: int, event: Event) -> str:
    bus = "?" if event.busnum is None else event.busnum
    detail = event.setup.hex(" ") if event.setup is not None else ""
    if event.data:
        more = " …" if len(event.data) > _BYTES_SHOWN else ""
        detail = f"{detail} {event.data[:_BYTES_SHOWN].hex(' ', 4)}{more}".strip()
    cells = (
        str(number),
        "" if event.ts is None else f"{event.ts / 1e9:.6f}",
        f"{bus}.{event.devnum:03}.{event.epnum & 0x7F}",
        f"{event.xfer_type} {'in' if event.is_in else 'out'}",
        event.type,
        str(event.status),
        "" if event.length is None else str(event.length),
        detail,
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
