"""Virtual devices served over USB/IP from this process, with our monitor listening."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from usbmon.apps.usbip import Server
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.events import Events
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor

if TYPE_CHECKING:
    from usbmon.bus.device import Device


class Served:
    """A context: the device can be attached at `port` inside it, and `call` does something with it
    in step with its bus."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.log: list[str] = []
        host = Host(Loop(paced=True), drivers=(HubDriver,))
        host.add_controller(Speed.HIGH)
        host.add_controller(Speed.SUPER)
        host.plug(device)
        host.settle()
        known = host.find(device)
        assert known is not None
        self.busid = known.name
        self._collector = Collector(Monitor(host.controllers).buses[0])
        self._clients: list[Events] = []
        self._server = Server(host, self._report)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.port = await self._server.start("127.0.0.1", 0)
        running = asyncio.create_task(self._server.run())
        self._ready.set()
        await self._stop.wait()
        running.cancel()
        await self._server.stop()

    def call(self, function, *args):
        """Call a method of the device where its bus runs."""

        async def inside():
            return function(*args)

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(30)

    def _report(self, line: str) -> None:
        """Events are the clients' from an import until the device is given back."""
        self.log.append(line)
        if " has " in line:
            self._collector.take()
        elif " back, " in line:
            self._clients.append(self._collector.take())

    def events(self) -> Events:
        """What our monitor has seen of clients that have given the device back."""
        return self.call(Events.concat, self._clients)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
