"""``usbmon formats``: the table of formats."""

from __future__ import annotations

import click

from usbmon.compression import SUFFIXES
from usbmon.formats import FORMATS


@click.command("formats")
def command() -> None:
    """List the formats that can be read and written, their names and suffixes.

    The content of a file decides how it is read; --from decides otherwise. The suffix of a file
    decides how it is written; --to decides otherwise.
    """
    click.echo(f"{'name':<9} {'':<11} {'suffixes':<35} what it is")
    for format in FORMATS:
        ways = ", ".join(
            way for way, there in (("read", format.decoder), ("write", format.encoder)) if there
        )
        click.echo(f"{format.name:<9} {ways:<11} {' '.join(format.suffixes):<35} {format.words}")
    click.echo(f"\nany of them compressed: {' '.join(SUFFIXES)}")
