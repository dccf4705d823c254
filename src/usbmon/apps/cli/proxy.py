"""``usbmon proxy``: between a USB/IP client and its server, passing on and listening.

Here: the options. Not here: the proxy (`usbmon.sources.usbip`); to keep what passes is ``usbmon
capture usbip:HOST``.
"""

from __future__ import annotations

import sys

import click

from usbmon.apps.cli import _common


@click.command("proxy", short_help="Listen between a USB/IP client and its server.")
@click.argument("server", metavar="HOST[:PORT]")
@click.option(
    "--listen",
    metavar="ADDRESS[:PORT]",
    help="Where clients are to connect instead; 127.0.0.1, at the port above the server's, by "
    "default.",
)
@click.option("--text", is_flag=True, help="Print each event as usbmon text.")
def command(server: str, *, listen: str | None, text: bool) -> None:
    """Stand between USB/IP clients and a server.

    All bytes are passed on untouched. Who comes and goes is told; with --text, each URB too. To
    keep them in a file: `usbmon capture usbip:HOST -o FILE`. Ctrl-C ends it.

    \b
    Examples:
      usbmon proxy 192.0.2.7
      usbmon proxy localhost:3240 --listen 127.0.0.1:3241 --text
    """
    from usbmon import files, sources

    source = sources.open(f"usbip:{server}", listen=listen, report=_say)
    count = 0
    try:
        with files.Writer("-", format="u") as writer:
            for batch in source:
                count += len(batch)
                if text and len(batch):
                    writer.write(batch)
                    sys.stdout.flush()
    except KeyboardInterrupt:
        _common.complain(f"ended; {count:,} events passed")
    finally:
        source.close()


def _say(line: str) -> None:
    click.echo(line, err=True)
