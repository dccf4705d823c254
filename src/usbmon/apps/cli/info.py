"""``usbmon info``: what is in a trace, and how far it can be trusted.

Here: the report of one trace, as a panel and as JSON. Not here: the counting (`usbmon.summary`).
"""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from usbmon.apps.cli import _common
from usbmon.apps.cli._common import clock_words, note_words, size_words
from usbmon.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from usbmon.events import Events
    from usbmon.files import Trace
    from usbmon.filters import Filter
    from usbmon.formats.base import Decoder, Interface
    from usbmon.summary import Endpoint, Summary

_LABEL: Final = 13
_WIDTH: Final = 77
_TYPE_WORDS: Final = {"control": "Ctrl", "bulk": "Bulk", "interrupt": "Intr", "iso": "Isoc"}
_COMMENTS_SHOWN: Final = 5
_DROPS_SHOWN: Final = 3


@click.command("info")
@_common.files_argument
@click.option(
    "--json", "as_json", is_flag=True, help="As JSON: one object; of several files, an array."
)
@_common.filter_option
@_common.input_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    *,
    as_json: bool,
    filter_: Filter | None,
    strict: bool,
    source_format: str | None,
) -> None:
    """Say what is in traces: format, times, devices, endpoints, statuses.

    The last part, "trust", tells what the trace lacks: data cut short, submissions without a
    completion, events recorded twice, steps of the clock, lines mended, events dropped.

    \b
    Examples:
      usbmon info trace.pcapng
      usbmon info --json 1u.txt.gz | jq .honesty
      usbmon info --strict *.txt && echo all clean
    """
    reports: list[dict[str, Any]] = []

    def work(file: str) -> None:
        from usbmon import files as traces
        from usbmon.summary import Summary

        with traces.open(file, format=source_format or "", strict=strict) as trace:
            batches = _common.tracked(trace)
            chosen = _Chosen(filter_, batches) if filter_ else None
            summary = Summary.of(chosen or batches)
        if as_json:
            reports.append(report(trace, summary, chosen))
        else:
            if work_done:
                click.echo()
            work_done.append(file)
            colour = _common.use_colour(sys.stdout)
            for line in panel(trace, summary, chosen, colour=colour):
                click.echo(line, color=colour)

    work_done: list[str] = []
    code = _common.for_each(files, work)
    if as_json and (reports or len(files) > 1):
        import json

        click.echo(json.dumps(reports if len(files) > 1 else reports[0], indent=2))
    ctx.exit(code)


class _Chosen:
    """What a filter lets through of some batches; `read` counts the events that it was shown."""

    def __init__(self, chosen: Filter, batches: Iterator[Events]) -> None:
        self.filter = chosen
        self.read = 0
        self._batches = batches

    def _counted(self) -> Iterator[Events]:
        for events in self._batches:
            self.read += len(events)
            yield events

    def __iter__(self) -> Iterator[Events]:
        return self.filter.apply(self._counted())


def report(trace: Trace, summary: Summary, chosen: _Chosen | None) -> dict[str, Any]:
    """All that is known of a trace that was read to its end, for JSON."""
    decoder = trace.decoder
    return {
        "file": trace.name,
        "format": trace.format.name,
        "variant": decoder.variant,
        "compression": trace.compression,
        "size": trace.size,
        "interfaces": [interface.as_dict() for interface in decoder.interfaces],
        "about": decoder.about,
        "comments": decoder.comments,
        "filter": chosen and {"text": str(chosen.filter), "events_read": chosen.read},
        **summary.as_dict(),
        "honesty": honesty(trace, summary),
    }


def honesty(trace: Trace, summary: Summary) -> dict[str, Any]:
    """The counts that tell how far the others can be trusted."""
    decoder, pairing = trace.decoder, trace.decoder.pairing
    return {
        "cut_payloads": summary["cut"],
        "cut_by_file": summary["cut_by_container"],
        "iso_descriptors_missing": summary["descriptors_missing"],
        "setup_missing": summary["setup_missing"],
        "orphan_completions": pairing.orphan_completions,
        "orphan_submissions": pairing.in_flight + pairing.lost_completions,
        "in_flight_at_end": pairing.in_flight,
        "tag_submitted_again": pairing.lost_completions,
        "forgotten": pairing.forgotten,
        "doubled": pairing.doubled,
        "clock_steps_back": summary["steps_back"],
        "largest_step_back_ns": summary["largest_step"],
        "without_time": summary["no_time"],
        "repairs": decoder.notes.repairs,
        "dropped": dropped(decoder.interfaces),
        "notes": [
            {
                "kind": note.kind,
                "count": note.count,
                "repair": note.is_repair,
                "words": note.words,
                "places": note.places,
            }
            for note in decoder.notes.values()
        ],
    }


def dropped(interfaces: Iterable[Interface]) -> int | None:
    """Events dropped while capturing, or None where the trace does not tell."""
    told = [interface.dropped for interface in interfaces if interface.dropped is not None]
    return sum(told) if told else None


def panel(trace: Trace, summary: Summary, chosen: _Chosen | None, *, colour: bool) -> Iterator[str]:
    """The report for a person, line by line."""
    yield click.style(trace.name, bold=True) if colour else trace.name
    if chosen:
        yield _line("filter", str(chosen.filter))
        yield _line("", f"only these are counted: {summary.events:,} of {chosen.read:,} events")
    for label, text in _facts(trace, summary):
        yield _line(label, text)
    if summary.events:
        yield ""
        yield from _table(_ENDPOINT_HEADS, map(_endpoint_row, summary.endpoints))
        if summary.statuses:
            yield ""
            rows = _status_rows(summary.statuses)
            yield from _table(("status", "completions", ""), rows, last_is_words=True)
        if summary.packet_statuses:
            yield ""
            rows = _status_rows(summary.packet_statuses)
            yield from _table(("status", "iso packets", ""), rows, last_is_words=True)
    yield ""
    whole = " (orphans, doubled events, drops and repairs: of the whole trace)"
    yield f"  trust{whole if chosen else ''}"
    for good, label, text in _trust(trace, summary):
        line = _line(label, text, width=22)
        yield line if good or not colour else click.style(line, fg="yellow")


def _line(label: str, text: str, width: int = _LABEL) -> str:
    return f"  {label:<{width}}{text}".rstrip()


def _facts(trace: Trace, summary: Summary) -> Iterator[tuple[str, str]]:
    decoder = trace.decoder
    yield "format", _format_words(trace)
    if trace.compression:
        yield "compression", trace.compression
    if trace.size is not None:
        yield "size", size_words(trace.size)
    for number, interface in enumerate(decoder.interfaces):
        label = f"interface {number}"
        for line in textwrap.wrap(_interface_words(interface), _WIDTH - _LABEL):
            yield label, line
            label = ""
    yield from _said(decoder)
    yield "clock", _CLOCKS[summary.clock]
    if summary.start is not None and summary.end is not None:
        yield "start", clock_words(summary.clock, summary.start)
        yield "end", clock_words(summary.clock, summary.end)
        yield "duration", f"{(summary.end - summary.start) / 1e9:.6f} s"
    kinds = summary.kinds
    yield (
        "events",
        (
            f"{summary.events:,}: {kinds['S']:,} submissions, {kinds['C']:,} completions, "
            f"{kinds['E']:,} submission errors"
        ),
    )
    if summary.events:
        yield "buses", ", ".join(map(str, summary.buses)) or "not told"
        devices = (f"{bus or '?'}.{device:03}" for bus, device in summary.devices)
        yield "devices", ", ".join(devices)
    if summary["synthetic"]:
        yield "descriptors", _described_words(summary)


def _said(decoder: Decoder) -> Iterator[tuple[str, str]]:
    """What the trace says of itself, in words."""
    for label, text in decoder.about.items():
        yield label, text.strip()
    comments = decoder.comments
    for comment in comments[:_COMMENTS_SHOWN]:
        yield "comment", " ".join(comment.split())
    if len(comments) > _COMMENTS_SHOWN:
        yield "", f"and {len(comments) - _COMMENTS_SHOWN} more comments (see --json)"
    for statistics in getattr(decoder, "statistics", []):
        yield "statistics", statistics.decode().strip()


def _described_words(summary: Summary) -> str:
    devices = _counted(len(summary.described), "device")
    transfers = _counted(summary.synthetic_transfers, "transfer")
    return f"{devices}, {transfers} read from sysfs, not seen on the bus"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _format_words(trace: Trace) -> str:
    variant = trace.decoder.variant
    for format in FORMATS:
        if format.name == variant:  # text tells only when it is read which of the two it is
            return format.words
    return f"{trace.format.words} ({variant})" if variant else trace.format.words


_CLOCKS: Final = {
    "wall": "wall clock",
    "monotonic": "monotonic (the 32-bit stamps of usbmon text, unwrapped)",
    "unknown": "unknown",
    "mixed": "several clocks: times do not compare",
}


def _interface_words(interface: Interface) -> str:
    from usbmon.formats.pcap import LINK_TYPE_WORDS

    kind = LINK_TYPE_WORDS.get(interface.link_type, "not of USB")
    parts = [f"link type {interface.link_type} {kind}", f"{interface.packets:,} packets"]
    if interface.dropped is not None:
        parts.append(f"{interface.dropped:,} dropped")
    parts.append(" ".join(part for part in (interface.name, interface.description) if part))
    parts += (f"{name} {text}" for name, text in interface.about.items())
    return ", ".join(part for part in parts if part)


_ENDPOINT_HEADS: Final = (
    "endpoint",
    "type",
    "S",
    "C",
    "E",
    "errors",
    "bytes asked",
    "bytes moved",
)


def _endpoint_row(endpoint: Endpoint) -> tuple[str, ...]:
    bus = "?" if endpoint.busnum is None else endpoint.busnum
    direction = "in" if endpoint.is_in else "out"
    return (
        f"{bus}.{endpoint.devnum:03}.{endpoint.epnum & 0x7F}",
        f"{_TYPE_WORDS[endpoint.xfer_type]} {direction}",
        *(f"{n:,}" for n in (endpoint.S, endpoint.C, endpoint.E, endpoint.errors)),
        f"{endpoint.requested:,}",
        # Without all of its packets, an isochronous URB's length is the most it can have moved.
        f"{'≤ ' if endpoint.partial else ''}{endpoint.moved:,}",
    )


def _status_rows(statuses: dict[int | None, int]) -> Iterator[tuple[str, ...]]:
    from usbmon.usb.errno import ERRNO, status_meaning

    for status, count in statuses.items():
        if status is None:
            yield "other", f"{count:,}", "no errno of Linux"
            continue
        name = ERRNO.get(-status, "")
        yield f"{name} {status}".strip(), f"{count:,}", status_meaning(status)


def _table(
    heads: Sequence[str], rows: Iterable[tuple[str, ...]], *, last_is_words: bool = False
) -> Iterator[str]:
    """Rows below their heads: words to the left (the first column, and the second or the last),
    numbers to the right."""
    lines = [tuple(heads), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = {0, len(heads) - 1} if last_is_words else {0, 1}
    for line in lines:
        cells = (
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield ("  " + "  ".join(cells)).rstrip()


def _drop_words(trace: Trace, summary: Summary) -> Iterator[str]:
    """Where events were dropped: the first few places, in the time of `usbmon show`."""
    zero = summary.start or 0
    drops = [drop for interface in trace.decoder.interfaces for drop in interface.drops]
    for drop in sorted(drops, key=lambda drop: drop.end)[:_DROPS_SHOWN]:
        since = "before" if drop.start is None else f"from {(drop.start - zero) / 1e9:.6f} s to"
        yield f"{drop.lost:,} {since} {(drop.end - zero) / 1e9:.6f} s"
    if len(drops) > _DROPS_SHOWN:
        yield f"and at {len(drops) - _DROPS_SHOWN} more places (see --json)"


def _trust(trace: Trace, summary: Summary) -> Iterator[tuple[bool, str, str]]:
    """The counts of `honesty` in words: whether all is well, what, and how many."""
    told = honesty(trace, summary)

    def row(name: str, label: str, words: str, *, always: bool = True) -> None:
        count = told[name]
        if count or always:
            rows.append((not count, label, f"{count:,}{f' {words}' if count else ''}"))

    rows: list[tuple[bool, str, str]] = []
    by_file = told["cut_by_file"]
    why = f" ({by_file:,} by the program that wrote the file)" if by_file else ""
    row("cut_payloads", "cut payloads", f"events have less data than was moved{why}")
    row("iso_descriptors_missing", "cut iso packets", "events lack some packets", always=False)
    row("setup_missing", "setup missing", "control submissions", always=False)
    row("orphan_completions", "orphan completions", "have no submission before them")
    flying, again = told["in_flight_at_end"], told["tag_submitted_again"]
    words = f"have no completion: {flying:,} in flight at the end, {again:,} before that"
    row("orphan_submissions", "orphan submissions", words)
    row("forgotten", "forgotten", "submissions: too many in flight to pair", always=False)
    row("doubled", "doubled events", "were recorded twice (two readers in one file)")
    largest = f"{told['largest_step_back_ns'] / 1e9:.6f}"
    row("clock_steps_back", "clock steps back", f"times, {largest} s the largest")
    row("without_time", "without time", "events", always=False)
    if told["dropped"] is None:
        rows.append((True, "drops", "not told by this trace"))
    else:
        row("dropped", "drops", "events were dropped while capturing")
        rows += ((False, "", words) for words in _drop_words(trace, summary))
    row("repairs", "repairs", "")
    yield from rows
    for note in trace.decoder.notes.values():
        if note.kind not in ("comment", "statistics", "dropped"):
            yield not note.is_repair, "", note_words(note)
