"""USB/IP over real sockets: a client that plays a kernel, a server of virtual devices to play with,
and what the two are run in."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Self

from usbmon.apps.usbip import Server
from usbmon.bus import usbip
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor
from usbmon.sources.usbip import LOOPBACK, Proxy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from usbmon.bus.device import Device
    from usbmon.events import Events

# So long, a test waits for what is to come at once. It fails then, and never goes on by itself.
PATIENCE = 20


def run(test: Coroutine[Any, Any, None]) -> None:
    """A test that is a coroutine; what asyncio would only log fails it."""
    troubles: list[dict[str, Any]] = []

    async def inside() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: troubles.append(what))
        await asyncio.wait_for(test, PATIENCE)

    asyncio.run(inside())
    assert not troubles


class Log(list[str]):
    """What was reported, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self._changed.set()

    async def find(self, words: str) -> str:
        """The first line with these words, once it is there."""
        while True:
            for line in self:
                if words in line:
                    return line
            self._changed.clear()
            await self._changed.wait()


class Client:
    """One connection to a server, from the client's side. `sent` and `got` are all its bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent, self.got = b"", b""
        self.name = "{}:{}".format(*writer.get_extra_info("sockname"))
        self._parser = usbip.ClientParser()
        self._messages: list[usbip.Message] = []
        self._seqnum = 0

    @classmethod
    async def connect(cls, port: int, host: str = LOOPBACK, **more: Any) -> Self:
        return cls(*await asyncio.open_connection(host, port, **more))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Go away abruptly: with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.sent += data
        self.writer.write(data)

    async def message(self) -> Any:
        """The next message of the server. Raises EOFError at the end."""
        while not self._messages:
            data = await self.reader.read(1 << 16)
            if not data:
                raise EOFError
            self.got += data
            self._messages += self._parser.feed(data)
        return self._messages.pop(0)

    async def rest(self) -> bytes:
        """All that comes until the server ends it."""
        with contextlib.suppress(ConnectionError):
            self.got += await self.reader.read()
        return self.got

    async def devices(self) -> list[usbip.DeviceInfo]:
        self.send(usbip.ReqDevlist().encode())
        return list((await self.message()).devices)

    async def attach(self, busid: str) -> usbip.RepImport:
        self.send(usbip.ReqImport(busid).encode())
        reply: usbip.RepImport = await self.message()
        return reply

    def submit(self, ep: int, data: bytes | int, setup: bytes = bytes(8), **more: Any) -> int:
        """Bytes go out; an integer is how many are asked for. The number of the URB."""
        self._seqnum += 1
        is_in = isinstance(data, int)
        command = usbip.CmdSubmit(
            seqnum=self._seqnum,
            devid=0,
            direction=usbip.IN if is_in else usbip.OUT,
            ep=ep,
            transfer_flags=0,
            transfer_buffer_length=data if is_in else len(data),
            start_frame=0,
            number_of_packets=0,
            interval=0,
            setup=setup,
            data=b"" if is_in else data,
            **more,
        )
        self._parser.expect(command)
        self.send(command.encode())
        return self._seqnum

    async def transfer(self, ep: int, data: bytes | int, setup: bytes = bytes(8)) -> Any:
        """An URB and its completion."""
        number = self.submit(ep, data, setup)
        result = await self.message()
        assert result.seqnum == number
        return result

    def unlink(self, number: int) -> None:
        self._seqnum += 1
        self.send(usbip.CmdUnlink(self._seqnum, number).encode())
        self._parser.forget(number)

    async def write(self, data: bytes) -> int:
        """Vendor request 1 of the loopback device: its status."""
        status: int = (await self.transfer(0, data, request(0x40, 1, len(data)))).status
        return status

    async def read(self, size: int) -> bytes:
        """Vendor request 2."""
        return bytes((await self.transfer(0, size, request(0xC0, 2, size))).data)


def request(kind: int, number: int, length: int, value: int = 0) -> bytes:
    return struct.pack("<BBHHH", kind, number, value, 0, length)


def in_flight(events: Events) -> set[int]:
    """The tags of submissions to devices (not to the root hub) without a completion."""
    ours = events[events.devnum != 1]
    begun, ended = (ours[(ours.type == ord("S")) == is_begun] for is_begun in (True, False))
    return set(begun.id.tolist()) - set(ended.id.tolist())


class Served:
    """A server of these devices (one loopback device by default), at work inside the context.
    `events` is what a monitor on its bus has seen since the last time."""

    def __init__(self, *models: Device, address: str = LOOPBACK) -> None:
        self.log = Log()
        self.host = Host(Loop(paced=True), drivers=(HubDriver,))
        self.host.add_controller(Speed.HIGH)
        for model in models or (Loopback(),):
            self.host.plug(model)
        self.host.settle()
        self.server = Server(self.host, self.log)
        self._address = address
        self._idle = set(self.host.tasks)
        self._collector = Collector(Monitor(self.host.controllers).buses[0])

    def events(self) -> Events:
        return self._collector.take()

    async def __aenter__(self) -> Self:
        self.port = await self.server.start(self._address, 0)
        self._running = asyncio.create_task(self.server.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._running.done()
        self._running.cancel()
        await self.server.stop()

    def connect(self, **more: Any) -> Coroutine[Any, Any, Client]:
        return Client.connect(self.port, self._address, **more)

    async def gone(self, client: Client) -> None:
        """Once the server has noticed that the client left, and its device is as new."""
        await self.log.find(f"{client.name}: gave ")
        while self.host.tasks.keys() - self._idle:
            await asyncio.sleep(0)


class Proxied:
    """A proxy before a server's port, at work inside the context; `events` as of `Served`."""

    def __init__(self, port: int, host: str = LOOPBACK) -> None:
        self.log = Log()
        self.proxy = Proxy((host, port), self.log)
        self._collector = Collector(Monitor([self.proxy.link]).buses[0])

    def events(self) -> Events:
        return self._collector.take()

    async def __aenter__(self) -> Self:
        self.port = await self.proxy.start(LOOPBACK, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.proxy.stop()

    def connect(self) -> Coroutine[Any, Any, Client]:
        return Client.connect(self.port)


class Program:
    """The command in a process of its own, once it listens: at `port`."""

    def __init__(self, *words: object) -> None:
        self._words = [str(word) for word in words]
        self.err = ""

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "usbmon", *self._words, stdout=pipe, stderr=pipe
        )
        line = await self.line("listening on ")
        self.port = int(re.findall(r"listening on \S+:(\d+)", line)[0])
        return self

    async def line(self, words: str) -> str:
        """The next line on standard error with these words. Raises EOFError if none comes."""
        assert self._process.stderr is not None
        while True:
            line = (await self._process.stderr.readline()).decode()
            self.err += line
            if words in line:
                return line.rstrip("\n")
            if not line:
                raise EOFError(self.err)

    async def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, bytes, str]:
        """Send the signal; exit code, output, and all that went to standard error."""
        self._process.send_signal(number)
        out, err = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, out, self.err + err.decode()

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()
