"""The command ``usbmon``: a group whose commands are modules beside this one, loaded on use.

Exit codes: 0 all is well; 1 a file cannot be read or written; 2 wrong usage; 3 a file is not what
its format says; 4 --strict refused what could have been mended; 130 interrupted; 141 whoever read
our output has gone.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from usbmon import __version__
from usbmon.errors import UsbmonError

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order of the help, with its words: to say these, no command needs to be loaded.
COMMANDS: Final = {
    "capture": "Capture what happens on a bus.",
    "doctor": "Say whether capture works here, and what to do if not.",
    "show": "Show the events of a trace, one line an event.",
    "info": "Say what is in a trace, and how far to trust it.",
    "devices": "List the USB devices that are there.",
    "convert": "Write a trace in another format, or several as one.",
    "bus": "Run a virtual bus with devices at work.",
    "mount": "Publish a virtual bus as the kernel's usbmon files.",
    "serve": "Export virtual devices over USB/IP.",
    "proxy": "Listen between a USB/IP client and its server.",
    "filter": "Explain the language of filters, and check one.",
    "formats": "List the formats that can be read and written.",
    "completion": "Print the script for completion in a shell.",
}
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141


class _Group(click.Group):
    """Commands are modules of this package, each with a `command`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"usbmon.apps.cli.{cmd_name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not os.path.exists(args[0]):  # noqa: PTH110  pathlib is slow to import
                raise
            more = f"To look at that file: usbmon show {args[0]}"
            raise click.UsageError(f"{error.message} {more}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The interpreter would try to flush once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(_BROKEN_PIPE)
        return result


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from usbmon._kernel import KERNEL

    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(f"usbmon {__version__} ({KERNEL} kernel, Python {python})")
    ctx.exit()


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`usbmon COMMAND --help` has the options of a command, and examples.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and which kernel is in use (compiled or interpreted), and exit.",
)
def cli() -> None:
    """The USB monitor: capture what happens on a bus, and read any USB trace.

    A trace is what usbmon of Linux, tcpdump, Wireshark or USBPcap recorded: usbmon text, binary
    records, pcap or pcapng, also compressed (gz, xz, zst, bz2). Its format is found out from its
    content. "-" stands for standard input or output.

    \b
    Examples:
      usbmon capture virtual:flash -o key.pcapng    a flash drive on a virtual bus
      usbmon info key.pcapng                        what is in it, and how far to trust it
      usbmon show key.pcapng                        one line an event
      usbmon convert 1u.txt out.pcapng              for Wireshark
      usbmon devices                                what is on the buses of this machine
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from usbmon.apps.cli._common import complain, exit_code

    try:
        result = cli.main(args, prog_name="usbmon", standalone_mode=False)
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UsbmonError as error:
        complain(str(error))
        return exit_code(error)
    except OSError as error:  # as no room for a temporary file
        words = (error.filename, error.strerror or str(error))
        complain(": ".join(word for word in words if word))
        return 1
    return result if isinstance(result, int) else 0
