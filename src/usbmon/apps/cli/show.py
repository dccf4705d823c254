"""``usbmon show``: the events of a trace, one a line, or in another form.

Here: the options, and what decides which events are shown in which order. Not here: how they look
(`usbmon.apps.cli._views`).
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from usbmon.apps.cli import _common

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.apps.cli._views import View
    from usbmon.events import Events
    from usbmon.filters import Filter

FORMATS: Final = ("lines", "u", "t", "json", "ndjson", "csv")


@click.command("show")
@_common.files_argument
@click.option("--events", is_flag=True, help="Show events: the only view so far, and the default.")
@click.option(
    "-t",
    "--time",
    type=click.Choice(["relative", "absolute", "delta"]),
    default="relative",
    show_default=True,
    help="Time since the first event; of the trace's clock (of the wall clock, in UTC); or since "
    "the event before.",
)
@click.option("-x", "--hex", "hexdump", is_flag=True, help="Show data in full, as hex and ASCII.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="lines",
    show_default=True,
    help="u, t: as the kernel prints them, without what is from sysfs. json: one array; ndjson: "
    "one object a line.",
)
@_common.filter_option
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="Stop after N events.")
@click.option("--reverse", is_flag=True, help="Last event first; with -n, the last N.")
@click.option("-f", "--follow", is_flag=True, help="At the end of the file, wait for more.")
@click.option(
    "--color",
    "--colour",
    "colour",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="auto: on a terminal, unless NO_COLOR is set.",
)
@_common.input_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    *,
    events: bool,  # noqa: ARG001  the default
    time: str,
    hexdump: bool,
    form: str,
    filter_: Filter | None,
    limit: int | None,
    reverse: bool,
    follow: bool,
    colour: str,
    strict: bool,
    source_format: str | None,
) -> None:
    """Show the events of traces, one line an event.

    \b
    The columns of a line:
      time       seconds since the first event (see --time)
      address    bus.device.endpoint; a "?" stands for what the trace does not say
      type       Ctrl, Bulk, Intr or Isoc, and the direction of the data
      event      S submission, C completion, E submission error
      status     errno, name and number; "-" in submissions
      length     bytes asked for (S) or transferred (C)
      then       the setup packet in words, and the first bytes of data
      marks      [no submission]: the trace starts after it; [doubled]: recorded
                 twice; [mended]: the line was damaged; [sysfs]: not seen on
                 the bus, but what was known of a device when the capture began
    A line that starts with # is a comment on the event below it.

    \b
    Examples:
      usbmon show trace.pcapng
      usbmon show -x -n 20 1u.txt
      usbmon show -F 'dev == 1:5 and status != 0' trace.pcapng
      usbmon show --format ndjson trace.pcap.gz | jq 'select(.status < 0)'
      usbmon show -f 1u.txt | grep EPIPE
      ssh root@HOST cat /sys/kernel/debug/usb/usbmon/1u | usbmon show -
    """
    if follow and (reverse or len(files) > 1):
        raise click.UsageError("--follow takes one file, and no --reverse.")
    if hexdump and form != "lines":
        raise click.UsageError(
            f"--hex goes with --format lines; {form} has the data in full anyway."
        )
    from usbmon.apps.cli import _views

    view = _views.new_view(
        form,
        time=time,
        hexdump=hexdump,
        colour=_common.use_colour(sys.stdout, colour),
        several=len(files) > 1,
        width=_common.width(sys.stdout),
    )
    work = partial(
        _show,
        view,
        chosen=filter_,
        limit=limit,
        reverse=reverse,
        follow=follow,
        strict=strict,
        source_format=source_format or "",
    )
    _put(view.begin())
    code = _common.for_each(files, work)
    _put(view.end())
    ctx.exit(code)


def _put(data: bytes | memoryview) -> None:
    """To standard output, at once: who reads a pipe does not wait for a buffer to fill."""
    if data:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _show(
    view: View,
    file: str,
    *,
    chosen: Filter | None,
    limit: int | None,
    reverse: bool,
    follow: bool,
    strict: bool,
    source_format: str,
) -> None:
    from usbmon import files

    with files.open(file, format=source_format, strict=strict, follow=follow) as trace:
        batches = _common.tracked(trace, also_on_terminal=False)
        if chosen is not None:
            batches = chosen.apply(map(view.look, batches))
        if reverse:
            batches = backwards(batches, limit)
        elif limit is not None:
            batches = first(batches, limit)
        _put(view.begin_trace(trace.name))
        try:
            for batch in batches:
                for piece in view.show(batch):
                    _put(piece)
        finally:
            sys.stdout.flush()
            _common.warn_of(trace.decoder.notes, trace.name)


def first(batches: Iterator[Events], limit: int) -> Iterator[Events]:
    """The first `limit` events; nothing is read past them."""
    while limit > 0:
        batch = next(batches, None)
        if batch is None:
            return
        yield batch[:limit]
        limit -= len(batch)


def backwards(batches: Iterator[Events], limit: int | None) -> Iterator[Events]:
    """The events, last first, and not more than `limit` of them.

    With a limit, what can no longer be among them is let go; without one, the events wait in a
    temporary file, so that memory stays bounded.
    """
    if limit is not None:
        yield from _last(batches, limit)
        return
    import tempfile

    from usbmon.events import Events

    with tempfile.TemporaryFile() as spool:
        sizes = []
        for batch in batches:
            rows, arena = batch.buffers
            spool.write(rows)
            spool.write(arena)
            sizes.append((len(rows), len(arena), batch.comments))
        end = spool.tell()
        for rows_size, arena_size, comments in reversed(sizes):
            end -= rows_size + arena_size
            spool.seek(end)
            rows, arena = (memoryview(spool.read(size)) for size in (rows_size, arena_size))
            yield Events(rows, arena, comments)[::-1]


def _last(batches: Iterator[Events], limit: int) -> Iterator[Events]:
    kept: list[Events] = []
    count = 0
    for batch in batches:
        kept.append(batch)
        count += len(batch)
        while kept and count - len(kept[0]) >= limit:
            count -= len(kept.pop(0))
    for batch in reversed(kept):
        wanted = batch[::-1][:limit]
        limit -= len(wanted)
        if len(wanted):
            yield wanted
