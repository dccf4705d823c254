"""``usbmon mount``: the facility as files, over a virtual bus.

Here: the options. Not here: the file system (`usbmon.apps.fuse`).
"""

from __future__ import annotations

import click

from usbmon.apps.cli import _common


@click.command("mount")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--with",
    "devices",
    metavar="DEVICE",
    multiple=True,
    help="Put this device on the bus, at work; may be given several times (see `usbmon bus "
    "--list`). A scenario in TOML will do too. Without it: keyboard and flash.",
)
@click.option("--seed", type=int, metavar="N", help="What chance starts from.")
@click.option("-v", "--verbose", is_flag=True, help="Say what happens on the bus.")
def command(folder: str, *, devices: tuple[str, ...], seed: int | None, verbose: bool) -> None:
    """Publish a virtual bus in DIR as Linux publishes its own.

    DIR/usbmon has the files 0s 0u 1s 1t 1u …, a set for each bus and 0 for all of them, and
    DIR/devices lists who is on which bus. What is written to DIR/do is done on the bus, as a step
    of a scenario. Ctrl-C, or `fusermount3 -u DIR`, ends it.

    \b
    Examples:
      usbmon mount /tmp/usb --with keyboard &
      ls /tmp/usb/usbmon
      cat /tmp/usb/devices
      cat /tmp/usb/usbmon/1u > trace.txt
      echo 'type keyboard text=hello' > /tmp/usb/do
    """
    from usbmon.apps.fuse import mount
    from usbmon.sources.scenario import Stage
    from usbmon.sources.virtual import choose

    def report(line: str) -> None:
        if verbose:
            click.echo(line, err=True)

    names = [name for text in devices or ("keyboard,flash",) for name in text.split(",")]
    stage = Stage(choose(names, seed, unplug=False), paced=True, forever=True, report=report)
    mount(
        folder,
        stage,
        _common.complain,
        lambda: click.echo(f"{folder}: mounted; Ctrl-C unmounts it", err=True),
    )
