"""The source ``usbip:``: a proxy to a USB/IP server, and a monitor on the way.

Here: the proxy (asyncio), and the source that runs it. Not here: what the bytes mean
(`usbmon.bus.usbip`, `usbmon.bus.link`).

Bytes are passed on untouched and at once, whatever becomes of listening to them. A side that is
slow makes the other wait, as it would without a proxy: no more than a buffer of each is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from usbmon.bus.link import Link, Passage
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.usbip import PORT
from usbmon.errors import SourceError
from usbmon.formats.base import Interface
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor
from usbmon.sources import Source

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from typing import Any

    from usbmon.events import Events

_T = TypeVar("_T")

_CHUNK: Final = 1 << 16
_SLICE: Final = 0.05
_CONNECT_SECONDS: Final = 10.0
# That there is no room for a client is told so often at most.
_TELL_SECONDS: Final = 10.0
# So long, what was written last may take to go out, once a connection has ended.
_LINGER_SECONDS: Final = 5.0
# A peer that says nothing is asked whether it is there: after so long, so often, so many times.
# Linux by itself would first ask after two hours, and a device is taken all the while.
_KEEP_ALIVE: Final = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)
LOOPBACK: Final = "127.0.0.1"

# HOST or [IPv6], each with a port or without; an IPv6 address alone may do without brackets.
_ADDRESS: Final = re.compile(
    r"(?:\[([^][\s\0]+)\]|([^][:\s\0]+))(?::([0-9]{1,5}))?|([^][:\s\0]*:[^][\s\0]*:[^][\s\0]*)"
)


def address(text: str, default: int = PORT, *, lowest: int = 1) -> tuple[str, int]:
    """The host and port of ``HOST[:PORT]``; an IPv6 address with a port stands in brackets.
    `lowest`: 0 where a port of 0, for any that is free, makes sense. Raises `SourceError`."""
    match = _ADDRESS.fullmatch(text)
    if match is not None:
        host, port = match[1] or match[2] or match[4], int(match[3] or default)
        if lowest <= port < 65536 and _can_be_looked_up(host):
            return host, port
    raise SourceError("no address; write HOST, HOST:PORT or [IPV6]:PORT", file=text or "''")


def _can_be_looked_up(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def place(host: str, port: int) -> str:
    """An address in words, as `address` takes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_name(writer: StreamWriter) -> str:
    """The address of the other side, in words."""
    name = writer.get_extra_info("peername")
    return place(*name[:2]) if name else "somebody"


def reason(error: OSError) -> str:
    """Why there is no connection, in the words of the system: asyncio adds its own, and gives the
    number only as text where a name has several addresses."""
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return os.strerror(int(found[1])) if found else error.strerror or "no answer"


def _keep_alive(writer: StreamWriter) -> None:
    """Notice a peer that has gone without a word, and let small messages go at once."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (*_KEEP_ALIVE, (socket.TCP_NODELAY, 1)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


@contextlib.asynccontextmanager
async def _kept(writer: StreamWriter) -> AsyncIterator[None]:
    """A connection while it is of use. What was written last still goes out, unless the other side
    does not take it or all is being stopped."""
    _keep_alive(writer)
    try:
        yield
        writer.close()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(writer.wait_closed(), _LINGER_SECONDS)
    finally:
        writer.transport.abort()


class Listener:
    """Accepts connections, and runs `serve` for each until they or all have ended."""

    def __init__(
        self,
        serve: Callable[[StreamReader, StreamWriter], Coroutine[Any, Any, None]],
        report: Callable[[str], None],
    ) -> None:
        self._serve = serve
        self._report = report
        self._told = -_TELL_SECONDS
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Begin to listen; the port (a free one for 0). Raises `SourceError`."""
        asyncio.get_running_loop().set_exception_handler(self._trouble)
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise SourceError(f"cannot listen: {reason(error)}", file=place(host, port)) from None
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    def _trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For each client that there is no file for, asyncio logs a traceback. It tries again
        after a second, and who waits is served when others have gone."""
        error = context.get("exception")
        if not isinstance(error, OSError) or "accept" not in context["message"]:
            loop.default_exception_handler(context)
        elif loop.time() >= self._told + _TELL_SECONDS:
            self._told = loop.time()
            self._report(f"clients have to wait: {reason(error)}")

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with _kept(writer):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # by `stop`
        finally:
            self._tasks.discard(task)

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Proxy:
    """Passes what comes from clients to a server, and back. `link` is the bus that a monitor
    listens to; `report` is told who comes and goes."""

    def __init__(self, server: tuple[str, int], report: Callable[[str], None]) -> None:
        self.link = Link(Loop(paced=True))
        self._server = server
        self._report = report
        self._listener = Listener(self._serve, report)
        self.start = self._listener.start
        self.stop = self._listener.stop

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        peer = peer_name(writer)
        self._report(f"{peer}: connected")
        try:
            there, back = await asyncio.wait_for(
                asyncio.open_connection(*self._server), _CONNECT_SECONDS
            )
        except OSError as error:
            self._report(f"{peer}: {place(*self._server)} cannot be reached: {reason(error)}")
            return
        passage = Passage(self.link, peer, self._report)
        ended = "by this proxy"
        async with _kept(back):
            try:
                ended = await self._pass((reader, writer), (there, back), passage)
            finally:
                self.link.loop.catch_up()
                passage.close()
                self._report(f"{peer}: ended {ended}, after {passage.urbs:,} URBs")

    async def _pass(
        self,
        client: tuple[StreamReader, StreamWriter],
        server: tuple[StreamReader, StreamWriter],
        passage: Passage,
    ) -> str:
        """Both ways until one side ends it; which. A half-closed connection is of no use to USB/IP:
        the end of one way is that of both."""
        out = asyncio.create_task(self._pump(client[0], server[1], passage.from_client))
        back = asyncio.create_task(self._pump(server[0], client[1], passage.from_server))
        try:
            await asyncio.wait((out, back), return_when=asyncio.FIRST_COMPLETED)
            return "by the client" if out.done() else "by the server"
        finally:
            out.cancel()
            back.cancel()
            await asyncio.gather(out, back, return_exceptions=True)

    async def _pump(
        self, reader: StreamReader, writer: StreamWriter, look: Callable[[bytes], None]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                self.link.loop.catch_up()
                look(data)
                await writer.drain()


class UsbipSource(Source):
    """See `usbmon.sources.Source`. It ends when it is stopped: clients come and go. They connect to
    `address`.

    The proxy has a thread of its own: whoever is slow to take events costs drops, and never makes
    a bus wait.
    """

    def __init__(
        self,
        server: tuple[str, int],
        listen: tuple[str, int],
        report: Callable[[str], None],
    ) -> None:
        self.interfaces = [Interface(220, "usbmon0", f"USB/IP, server {place(*server)}")]
        self.interfaces[0].dropped = 0
        self._loop = asyncio.new_event_loop()
        self._proxy = Proxy(server, report)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            port = self._call(self._proxy.start(*listen))
        except BaseException:
            self._end_loop()
            raise
        self._collector = Collector(Monitor([self._proxy.link]).buses[0])
        self.address = place(listen[0], port)
        self._report = report
        self._server = place(*server)

    def _call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """In the thread of the proxy."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @property
    def elapsed(self) -> float:
        return self._proxy.link.loop.real_now() / SECOND

    @property
    def dropped(self) -> int:
        return self._collector.dropped

    def __iter__(self) -> Iterator[Events]:
        self._report(f"listening on {self.address}, for the server {self._server}")
        ended = False
        while not ended:
            ended = self._ended.wait(_SLICE)
            yield self._call(self._take())
            self.interfaces[0].dropped = self._dropped

    async def _take(self) -> Events:
        # What was dropped is missing behind what was kept.
        self._dropped = self._collector.dropped
        return self._collector.take()

    def stop(self) -> None:
        self._ended.set()

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._call(self._proxy.stop())
            self._end_loop()
            self._collector.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def open(
    rest: str,
    *,
    listen: str | None = None,
    report: Callable[[str], None] | None = None,
) -> UsbipSource:
    """``usbip:`` with the address of a server behind it. `listen`: where clients are to connect;
    on the loopback address by default, at the port above the server's."""
    server = address(rest)
    where = (LOOPBACK, min(server[1] + 1, 65535))
    if listen is not None:
        where = address(listen, where[1], lowest=0)
    return UsbipSource(server, where, report if report is not None else lambda _line: None)
