"""A USB/IP server over a virtual host (asyncio), as `usbmon serve` runs it.

Here: connections, and the bus that goes on between them. Not here: what is said on a connection
(`usbmon.bus.export`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from usbmon.bus.export import Exports, Session
from usbmon.errors import FormatError
from usbmon.sources.usbip import Listener, peer_name, reason

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
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
        self._listener = Listener(self._serve, report)
        self.start = self._listener.start
        self.stop = self._listener.stop

    async def run(self) -> None:
        """Keep the bus going, until it is cancelled."""
        while True:
            self._moved.clear()
            delay = self._host.loop.catch_up()
            wait = min(_IDLE_SECONDS, delay if delay is not None else _IDLE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), wait)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        peer = peer_name(writer)
        session = Session(self.exports, peer, lambda data: self._send(writer, peer, data))
        try:
            while not session.is_over and (data := await reader.read(_CHUNK)):
                self._host.loop.catch_up()
                session.feed(data)
                self._moved.set()
        except FormatError as error:
            self._report(f"{peer}: let go, that is no USB/IP: {error}")
        except OSError as error:
            self._report(f"{peer}: lost: {reason(error)}")
        finally:
            session.close()
            self._moved.set()

    def _send(self, writer: StreamWriter, peer: str, data: bytes) -> None:
        if writer.is_closing():
            return  # the session will hear of it
        writer.write(data)
        if writer.transport.get_write_buffer_size() > _BACKLOG:
            self._report(f"{peer}: let go, it does not read what it asked for")
            writer.transport.abort()
