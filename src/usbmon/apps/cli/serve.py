"""``usbmon serve``: virtual devices for a real kernel, over USB/IP.

Here: the options. Not here: the server (`usbmon.apps.usbip`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from typing import TYPE_CHECKING, Final

import click

from usbmon.apps.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.apps.usbip import Server
    from usbmon.bus.host import Host

_SLICE: Final = 0.1


@click.command("serve")
@click.argument("what", metavar="DEVICE... | SCENARIO.toml", nargs=-1, required=True)
@click.option(
    "--listen",
    metavar="ADDRESS[:PORT]",
    default="127.0.0.1:3240",
    show_default=True,
    help="Where clients are to connect. Port 0: any that is free.",
)
@click.option(
    "--anyone",
    is_flag=True,
    help="Allow an address that others can reach: USB/IP has no password and no encryption.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="Capture what happens on the bus, in the format of the suffix.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--seed", type=int, metavar="N", help="What chance starts from.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing, not even what is exported.")
def command(
    what: tuple[str, ...],
    *,
    listen: str,
    anyone: bool,
    output: str | None,
    force: bool,
    seed: int | None,
    quiet: bool,
) -> int:
    """Export virtual devices over USB/IP, so that a real kernel can attach them.

    DEVICEs are those of `usbmon bus --list`; of a scenario, the devices and their options are
    taken. On the machine that is to have them: `modprobe vhci-hcd`, then `usbip attach -r ADDRESS
    -b BUSID`, with a BUSID of the list that is printed. Ctrl-C ends it.

    \b
    Examples:
      usbmon serve flash keyboard
      usbmon serve microphone -o mic.pcapng
      usbmon serve webcam --listen 192.0.2.7 --anyone
    """
    from usbmon.sources.usbip import address

    host, port = address(listen, lowest=0)
    is_open = not _is_loopback(host)
    if is_open and not anyone:
        raise click.UsageError(
            f"{host} can be reached by others, and USB/IP asks nobody for a password: "
            "say --anyone if that is meant"
        )
    if is_open:
        _common.complain("warning: anyone who reaches this address has these devices")
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serve(what, host, port, output, force=force, seed=seed, quiet=quiet))
    return 0


def _is_loopback(host: str) -> bool:
    """Whether only this machine can connect to it. Raises `SourceError` for no known host."""
    from usbmon.errors import SourceError

    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise SourceError(f"cannot listen: {error.strerror}", file=host) from None
    return all(ipaddress.ip_address(one.split("%")[0]).is_loopback for one in found)


async def _serve(
    what: tuple[str, ...],
    address: str,
    port: int,
    output: str | None,
    *,
    force: bool,
    seed: int | None,
    quiet: bool,
) -> None:
    from usbmon.apps.usbip import Server
    from usbmon.bus.drivers.hub import HubDriver
    from usbmon.errors import SourceError
    from usbmon.sources.scenario import Stage
    from usbmon.sources.virtual import choose

    def report(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    scenario = choose(list(what), seed, unplug=False)
    scenario.steps.clear()
    stage = Stage(scenario, paced=True, drivers=(HubDriver,))
    stage.host.settle()
    server = Server(stage.host, report)
    if not server.exports.devices():
        raise SourceError(
            "nothing to export: USB/IP carries devices, but no hubs", file=scenario.name
        )
    with contextlib.ExitStack() as stack:
        capture = _Capture(stage.host, output, force=force, stack=stack) if output else None
        _tell(server, address, await server.start(address, port), report)
        await _run(server, capture)
    if capture is not None:
        report(f"captured: {capture.events:,} events in {output}")


def _tell(server: Server, address: str, port: int, report: Callable[[str], None]) -> None:
    """What there is, and how to get it."""
    from usbmon.bus.usbip import PORT
    from usbmon.sources.usbip import place

    option = f"--tcp-port {port} " if port != PORT else ""
    where = address if address.strip("0.:") else "ADDRESS"  # 0.0.0.0 and :: are all of ours
    report(
        f"listening on {place(address, port)}; "
        f"attach with: usbip {option}attach -r {where} -b BUSID"
    )
    for device in server.exports.devices():
        vendor, product = device.id
        name = device.string(device.descriptor[15])
        report(f"  {device.name}: {vendor:04x}:{product:04x} {name}")


async def _run(server: Server, capture: _Capture | None) -> None:
    """Until Ctrl-C or SIGTERM."""
    running = asyncio.create_task(server.run())
    try:
        while not running.done():
            await asyncio.wait([running], timeout=_SLICE)
            if capture is not None:
                capture.write()
        running.result()
    except asyncio.CancelledError:
        pass  # in order, so that the file is kept
    finally:
        running.cancel()
        await server.stop()
    if capture is not None:
        capture.write()


class _Capture:
    """What a monitor on the server's bus sees, into a file."""

    def __init__(self, host: Host, path: str, *, force: bool, stack: contextlib.ExitStack) -> None:
        from usbmon import files
        from usbmon.formats.base import Interface
        from usbmon.monitor.collector import Collector
        from usbmon.monitor.main import Monitor

        interface = Interface(220, "usbmon0", "virtual devices, exported over USB/IP")
        self.events = 0
        self._collector = Collector(Monitor(host.controllers).buses[0])
        self._writer = stack.enter_context(files.Writer(path, force=force, interfaces=[interface]))

    def write(self) -> None:
        events = self._collector.take()
        self.events += len(events)
        self._writer.write(events)
