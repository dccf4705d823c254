"""``usbmon proxy``: between a USB/IP client and its server, passing on and listening.

Here: the options. Not here: the proxy (`usbmon.sources.usbip`); to keep what passes is ``usbmon
capture usbip:HOST``.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import click


@click.command("proxy")
@click.argument("server", metavar="HOST[:PORT]")
@click.option(
    "--listen",
    metavar="ADDRESS[:PORT]",
    help="Where clients are to connect; by default 127.0.0.1, at the port above the server's. "
    "Port 0: any that is free.",
)
@click.option("--text", is_flag=True, help="Print each event as usbmon text.")
def command(server: str, *, listen: str | None, text: bool) -> None:
    """Stand between USB/IP clients and a server, pass on what they say, and listen.

    Clients connect here instead of to the server: `usbip --tcp-port PORT attach -r 127.0.0.1 -b
    BUSID`. All bytes are passed on untouched. Who comes and goes is told; with --text, each event
    on the bus too. To keep those in a file: `usbmon capture usbip:HOST -o FILE`. Ctrl-C ends it.

    \b
    Examples:
      usbmon proxy 192.0.2.7
      usbmon proxy localhost:3240 --listen 127.0.0.1:3241 --text
    """
    from usbmon import files, sources
    from usbmon.apps.cli._common import stopped_by_signals

    count = 0
    with (
        sources.open(f"usbip:{server}", listen=listen, report=_say) as source,
        suppress(KeyboardInterrupt),
        stopped_by_signals(source.stop),
        files.Writer("-", format="u") as writer,
    ):
        for batch in source:
            count += len(batch)
            if text and len(batch):
                writer.write(batch)
                sys.stdout.flush()
    _say(f"passed on: {count:,} events")


def _say(line: str) -> None:
    click.echo(line, err=True)
