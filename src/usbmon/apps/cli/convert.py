"""``usbmon convert``: any trace to any format, several to one.

Here: the options and the report of what the target cannot hold. Not here: writing
(`usbmon.files.Writer`) and merging (`usbmon.merge`).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from usbmon._kernel import tally
from usbmon.apps.cli import _common

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usbmon.events import Events
    from usbmon.files import Trace, Writer
    from usbmon.filters import Filter
    from usbmon.formats.base import Decoder, Encoder, Interface, Report


# What `Encoder.lost` counts beside events.
_NO_EVENTS: Final = (tally.CENSUS["comments"], tally.CENSUS["drops"])


def targets() -> list[str]:
    """The names of the formats that can be written."""
    from usbmon.formats import FORMATS

    return [format.name for format in FORMATS if format.encoder]


@click.command("convert")
@click.argument(
    "inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(allow_dash=True)
)
@click.argument("output", metavar="OUT", type=click.Path(allow_dash=True))
@click.option(
    "--to",
    "target_format",
    type=click.Choice(targets()),
    metavar="FORMAT",
    help="Write this format; without it, the suffix of OUT decides (see `usbmon formats`).",
)
@_common.filter_option
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report what was written and lost.")
@_common.input_options
def command(
    inputs: tuple[str, ...],
    output: str,
    *,
    target_format: str | None,
    filter_: Filter | None,
    force: bool,
    quiet: bool,
    strict: bool,
    source_format: str | None,
) -> None:
    """Write traces in another format; several inputs are merged by time.

    Formats differ in what they hold: a report on standard error says what was lost, and what had
    to be written as 0. OUT appears only when all went well. A suffix .gz, .bz2, .xz or .zst
    compresses it.

    \b
    Examples:
      usbmon convert 1u.txt trace.pcapng
      usbmon convert -F 'dev == 1:5' trace.pcapng key.pcapng
      usbmon convert --to u trace.pcapng - | less
      usbmon convert bus1.pcap bus2.pcap both.pcapng.zst
      tcpdump -i usbmon1 -w - | usbmon convert - trace.txt
    """
    from usbmon import files

    with ExitStack() as stack:
        traces = [
            stack.enter_context(files.open(path, format=source_format or "", strict=strict))
            for path in inputs
        ]
        first = traces[0].decoder
        writer = files.Writer(
            output,
            format=target_format or "",
            force=force,
            interfaces=_Interfaces(traces),
            about=first.about if len(traces) == 1 else {},
            comments=(text for trace in traces for text in trace.decoder.own_comments),
        )
        with writer:
            _pass_reports(traces, writer)
            count = 0
            for batch in _chosen(_joined(traces), filter_):
                count += len(batch)
                writer.write(batch)
    for trace in traces:
        _common.warn_of(trace.decoder.notes, trace.name)
    if not quiet:
        _report(output, count, writer.encoder, traces)


def _joined(traces: Sequence[Trace]) -> Iterator[Events]:
    batches = [_common.tracked(trace) for trace in traces]
    if len(batches) == 1:
        return batches[0]
    from usbmon.merge import merge

    return merge(batches, [trace.name for trace in traces])


def _pass_reports(traces: Sequence[Trace], writer: Writer) -> None:
    """Let what the inputs say between their events be said in the output too. A merged input is one
    interface there, which has dropped what all of its own have."""
    if len(traces) == 1:
        traces[0].decoder.on_report = writer.report
        return
    for number, trace in enumerate(traces):
        trace.decoder.on_report = partial(_pass_merged, writer, trace.decoder, number)


def _pass_merged(writer: Writer, decoder: Decoder, number: int, report: Report) -> None:
    told = [interface.dropped for interface in decoder.interfaces if interface.dropped is not None]
    dropped = None if report.dropped is None else sum(told)
    writer.report(report._replace(interface=number, dropped=dropped, received=None))


def _chosen(batches: Iterator[Events], filter_: Filter | None) -> Iterator[Events]:
    return batches if filter_ is None else filter_.apply(batches, keep_synthetic=True)


class _Interfaces:
    """The interfaces of the inputs, looked at when the first event is written: by then the
    decoders know them. A merged input is one interface, named after its file."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._traces = traces

    def __iter__(self) -> Iterator[Interface]:
        if len(self._traces) == 1:
            return iter(self._traces[0].decoder.interfaces)
        return map(self._of_all, self._traces)

    @staticmethod
    def _of_all(trace: Trace) -> Interface:
        from usbmon.formats.base import Interface

        interface = Interface(220, os.path.basename(trace.name))  # noqa: PTH119
        interface.comments = [text for one in trace.decoder.interfaces for text in one.comments]
        return interface


def _report(output: str, count: int, encoder: Encoder, traces: Sequence[Trace]) -> None:
    written = "standard output" if output == "-" else output
    size = "" if output == "-" else f", {_common.size_words(os.stat(output).st_size)}"  # noqa: PTH116
    click.echo(f"{written}: {count:,} events as {encoder.format}{size}", err=True)
    for what, told in (("lost", encoder.lost), ("written as 0", encoder.made_up)):
        for words, number in told.items():
            unit = "" if words in _NO_EVENTS else " events"
            click.echo(f"  {what}: {words} ({number:,}{unit})", err=True)
    for words, number in _passed_over(traces).items():
        if number:
            click.echo(f"  lost: {words} ({number:,})", err=True)


def _passed_over(traces: Sequence[Trace]) -> dict[str, int]:
    """What the inputs have that is nothing of usbmon."""
    from usbmon.formats.pcap import LINK_TYPES

    interfaces = [i for trace in traces for i in trace.decoder.interfaces]
    unknown = [n for trace in traces if (n := trace.decoder.notes.get("unknown block"))]
    return {
        "packets that are not of USB": sum(
            i.packets for i in interfaces if i.link_type not in LINK_TYPES
        ),
        "blocks of other types": sum(note.count for note in unknown),
    }
