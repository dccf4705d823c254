"""A USB/IP server over a virtual host (asyncio), as `usbmon serve` runs it.

Here: connections, and the bus that goes on between them. Not here: what is said on a connection
(`usbmon.bus.export`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from usbmon.bus.export import Exports, Session
from usbmon.errors import FormatError, SourceError
from usbmon.sources.usbip import keep_alive, peer_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.host import Host

_CHUNK: Final = 1 << 16
# A client that does not read what it asked for is let go of when so much waits for it.
_BACKLOG: Final = 64 << 20
# The bus is looked after at least so often.
_IDLE_SECONDS: Final = 1.0


class Server:
    """Serves the devices of a paced host. `report` is told who comes and goes."""

    def __init__(self, host: Host, report: Callable[[str], None]) -> None:
        self.exports = Exports(host, report)
        self._host = host
        self._report = report
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

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

    async def run(self) -> None:
        """Keep the bus going, until it is cancelled."""
        while True:
            self._moved.clear()
            delay = self._host.loop.catch_up()
            wait = min(_IDLE_SECONDS, delay if delay is not None else _IDLE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), wait)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        keep_alive(writer)
        peer = peer_name(writer)
        session = Session(self.exports, peer, writer.write)
        try:
            await self._talk(session, reader, writer, peer)
        except FormatError as error:
            self._report(f"{peer}: no USB/IP: {error}")
        except (ConnectionError, TimeoutError) as error:
            self._report(f"{peer}: lost: {error.strerror or error}")
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            self._tasks.discard(task)
            session.close()
            self._moved.set()
            writer.close()

    async def _talk(
        self,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
    ) -> None:
        while not session.is_over and (data := await reader.read(_CHUNK)):
            self._host.loop.catch_up()
            session.feed(data)
            self._moved.set()
            if writer.transport.get_write_buffer_size() > _BACKLOG:
                self._report(f"{peer}: does not read what it asked for, let go")
                return
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
