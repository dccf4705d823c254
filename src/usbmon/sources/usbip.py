"""The source ``usbip:``: a proxy to a USB/IP server, and a monitor on the way.

Here: the proxy (asyncio), and the source that runs it. Not here: what the bytes mean
(`usbmon.bus.usbip`, `usbmon.bus.link`).

Bytes are passed on untouched and at once, whatever becomes of listening to them. A side that is
slow makes the other wait, as it would without a proxy: no more than a buffer of each is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final

from usbmon.bus.link import Link, Passage
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.usbip import PORT
from usbmon.errors import SourceError
from usbmon.formats.base import Interface
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.events import Events

_CHUNK: Final = 1 << 16
_SLICE: Final = 0.05
_CONNECT_SECONDS: Final = 10.0
LOOPBACK: Final = "127.0.0.1"


def address(text: str, default: int = PORT) -> tuple[str, int]:
    """The host and port of ``HOST[:PORT]``; an IPv6 address stands in brackets. Raises
    `SourceError`."""
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.endswith("]")):
        host, port = text, str(default)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SourceError("no address; write HOST or HOST:PORT", file=text)
    return host.strip("[]"), int(port)


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice a peer that has gone without a word, and let small messages go at once."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def peer_name(writer: asyncio.StreamWriter) -> str:
    """The address of the other side, in words."""
    name = writer.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else "somebody"


class Proxy:
    """Listens, and passes what comes to a server and back. `link` is the bus that a monitor
    listens to; `report` is told who comes and goes."""

    def __init__(self, server: tuple[str, int], report: Callable[[str], None]) -> None:
        self.link = Link(Loop(paced=True))
        self._server = server
        self._report = report
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Begin to listen; the port (a free one for 0). Raises `SourceError`."""
        try:
            self._listener = await asyncio.start_server(self._serve, host, port)
        except OSError as error:
            raise SourceError(
                f"cannot listen: {error.strerror or error}", file=f"{host}:{port}"
            ) from None
        chosen: int = self._listener.sockets[0].getsockname()[1]
        return chosen

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = peer_name(writer)
        self._report(f"{peer}: connected")
        try:
            await self._pass(reader, writer, peer)
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
    ) -> None:
        host, port = self._server
        try:
            there, back = await asyncio.wait_for(
                asyncio.open_connection(host, port), _CONNECT_SECONDS
            )
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", "") or "no answer"
            self._report(f"{peer}: {host}:{port} cannot be reached: {reason}")
            return
        for one in (writer, back):
            keep_alive(one)
        passage = Passage(self.link, peer, self._report)
        try:
            both = [
                asyncio.create_task(self._pump(reader, back, passage.from_client)),
                asyncio.create_task(self._pump(there, writer, passage.from_server)),
            ]
            try:
                # A half-closed connection is of no use to USB/IP: the end of one is that of both.
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
        finally:
            back.close()
            self.link.loop.catch_up()
            passage.close()
            self._report(f"{peer}: gone, after {passage.urbs:,} URBs")

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        look: Callable[[bytes], None],
    ) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                self.link.loop.catch_up()
                look(data)
                await writer.drain()

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class UsbipSource:
    """See `usbmon.sources.Source`. It ends when it is closed: clients come and go."""

    def __init__(
        self,
        server: tuple[str, int],
        listen: tuple[str, int],
        report: Callable[[str], None],
    ) -> None:
        self.interfaces = [
            Interface(220, "usbmon0", "USB/IP, server {}:{}".format(*server)),
        ]
        self._runner = asyncio.Runner()
        self._proxy = Proxy(server, report)
        self._closed = False
        try:
            port = self._runner.run(self._proxy.start(*listen))
        except BaseException:
            self._runner.close()
            raise
        self._collector = Collector(Monitor([self._proxy.link]).buses[0])
        report(f"listening on {listen[0]}:{port}, for {server[0]}:{server[1]}")

    @property
    def elapsed(self) -> float:
        return self._proxy.link.loop.real_now() / SECOND

    @property
    def dropped(self) -> int:
        return self._collector.dropped

    def __iter__(self) -> Iterator[Events]:
        while not self._closed:
            self._runner.run(asyncio.sleep(_SLICE))
            yield self._collector.take()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._runner.run(self._proxy.stop())
            self._runner.close()
            self._collector.close()


def open(
    rest: str,
    *,
    listen: str | None = None,
    report: Callable[[str], None] | None = None,
) -> UsbipSource:
    """``usbip:`` with the address of a server behind it. `listen`: where clients are to connect;
    on the loopback address by default, at the port above the server's."""
    server = address(rest)
    where = address(listen) if listen else (LOOPBACK, server[1] + 1)
    return UsbipSource(server, where, report or (lambda _line: None))
