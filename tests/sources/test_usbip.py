"""The proxy over real sockets: bytes untouched, events as on the server's own bus."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import re
import socket
from contextlib import closing
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.usbip import Client, Log, Proxied, Served, in_flight, request, run
from usbmon import sources
from usbmon.apps import usbip as app
from usbmon.bus import export
from usbmon.bus.devices.loopback import Loopback
from usbmon.errors import SourceError
from usbmon.sources.usbip import address, place

# Addresses.


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.7", "192.0.2.7", 3240),
        ("192.0.2.7:3241", "192.0.2.7", 3241),
        ("localhost:1", "localhost", 1),
        ("[::1]", "::1", 3240),
        ("[::1]:65535", "::1", 65535),
        ("::1", "::1", 3240),
        ("fe80::1%eth0", "fe80::1%eth0", 3240),
    ],
)
def test_addresses_people_write(text, host, port):
    assert address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":3240", "[]", "[::1", "::1]", "[::1]3240", "a b", "a\0b"),
        *("host:", "host:0", "host:65536", "host:-1", "host:http", "host:٣", "host:" + "9" * 5000),
        *("..", "x" * 64, "a\udcffb"),  # what no name server can be asked
    ],
)
def test_what_is_no_address_says_how_to_write_one(text):
    with pytest.raises(SourceError, match=re.escape("write HOST, HOST:PORT or [IPV6]:PORT")):
        address(text)


def test_port_0_is_an_address_only_to_listen_at():
    assert address("localhost:0", lowest=0) == ("localhost", 0)


@given(st.text() | st.from_regex(r"[a-f:.\[\]%]{0,12}(:[0-9]{1,6})?", fullmatch=True))
def test_any_text_is_an_address_or_an_error(text):
    with contextlib.suppress(SourceError):
        host, port = address(text)
        assert address(place(host, port)) == (host, port)


# Bytes.


async def talk(client: Client) -> None:
    """Control, bulk, an error, an URB that waits and is taken back."""
    await client.attach("1-1")
    await client.write(b"control")
    await client.read(100)
    await client.transfer(1, bytes(range(250)) * 102)
    await client.transfer(1, 30_000)
    await client.transfer(0, 8, request(0xC0, 77, 8))  # stalls
    waiting = client.submit(1, 512)
    await client.write(b"it has arrived")
    client.unlink(waiting)
    await client.message()


class Recorded(export.Session):
    """A session of the server that remembers its bytes."""

    def __init__(self, exports, peer, send) -> None:
        self.heard, self.said = bytearray(), bytearray()
        exports.session = self

        def say(data: bytes) -> None:
            self.said += data
            send(data)

        super().__init__(exports, peer, say)

    def feed(self, data: bytes) -> None:
        self.heard += data
        super().feed(data)


def test_the_bytes_of_a_conversation_are_untouched(monkeypatch):
    monkeypatch.setattr(app, "Session", Recorded)

    async def test():
        async with Served() as served, Proxied(served.port) as proxied:
            async with await proxied.connect() as client:
                await talk(client)
            session = served.server.exports.session
            assert client.sent == session.heard
            assert client.got == session.said
            assert len(client.got) > 25_000

    run(test())


class Plain:
    """A server at work inside the context that sends some bytes and keeps what it gets."""

    def __init__(self, says: bytes = b"") -> None:
        self.got = asyncio.Queue[bytes]()
        self._says = says

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader, writer) -> None:
        writer.write(self._says)
        with contextlib.suppress(ConnectionError):
            await self.got.put(await reader.read())
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def test_what_is_not_understood_is_passed_on_untouched_and_told_once():
    noise = random.Random(3240)
    there, back = noise.randbytes(3_000_000), noise.randbytes(2_000_000)

    async def test():
        async with Plain(back) as server, Proxied(server.port) as proxied:
            async with await proxied.connect() as client:
                at = 0
                while at < len(there):
                    size = noise.randrange(1, 200_000)
                    client.send(there[at : at + size])
                    at += size
                assert await client.reader.readexactly(len(back)) == back
                await client.writer.drain()
            assert await server.got.get() == there
            assert sum("no longer understood" in line for line in proxied.log) == 1
            assert len(proxied.events()) == 0

    run(test())


def test_what_a_server_said_before_it_left_arrives():
    async def test():
        async with Served() as served, Proxied(served.port) as proxied:
            async with await proxied.connect() as client:
                assert len(await client.devices()) == 1
                assert await client.rest() == client.got
            line = await proxied.log.find("ended")
            assert line == f"{client.name}: ended by the server, after 0 URBs"

    run(test())


# Events.


def seen(events) -> list[tuple]:
    """All of them but for tags and times."""
    return [
        (e.type, e.xfer_type, e.busnum, e.devnum, e.epnum, e.setup, e.status, e.length, e.data)
        for e in events
    ]


def test_events_are_those_that_the_server_sees_on_its_bus():
    async def test():
        async with Served() as served, Proxied(served.port) as proxied:
            served.events()
            async with await proxied.connect() as client:
                await talk(client)
                passed, own = proxied.events(), served.events()
        assert seen(passed) == seen(own)
        assert [e.type for e in passed].count("S") == 7
        assert {-104, -32, 0} <= set(passed.status.tolist())
        assert len(set(passed.id.tolist())) == 7
        assert not in_flight(passed)

    run(test())


def test_many_clients_at_once_are_told_apart():
    async def use(proxied: Proxied, number: int) -> None:
        async with await proxied.connect() as client:
            reply = await client.attach(f"1-{number}")
            data = bytes([reply.device.devnum]) * 100
            for _ in range(5):
                assert await client.write(data) == 0
                assert await client.read(100) == data

    async def test():
        models = [Loopback() for _ in range(4)]
        async with Served(*models) as served, Proxied(served.port) as proxied:
            await asyncio.gather(*(use(proxied, number) for number in range(1, 5)))
            events = proxied.events()
            assert len(events) == 4 * 20
            assert all(set(e.data) <= {e.devnum} for e in events)
            assert len(set(events.id.tolist())) == 40

    run(test())


# Ends.


def test_a_server_that_cannot_be_reached_is_told_and_the_client_let_go():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def test():
        async with Proxied(port) as proxied, await proxied.connect() as client:
            assert await client.rest() == b""
            assert proxied.log == [
                f"{client.name}: connected",
                f"{client.name}: 127.0.0.1:{port} cannot be reached: Connection refused",
            ]

    run(test())


@pytest.mark.parametrize("abruptly", [False, True])
def test_a_client_gone_in_the_middle_is_gone_for_the_server_too(abruptly):
    async def test():
        async with Served() as served, Proxied(served.port) as proxied:
            async with await proxied.connect() as client:
                await client.attach("1-1")
                client.submit(1, 500)
                await client.write(b"it has arrived")
                if abruptly:
                    client.reset()
            await served.log.find("gave 1-1 back, after 2 URBs")
            line = await proxied.log.find("ended")
            assert line == f"{client.name}: ended by the client, after 2 URBs"
            assert not in_flight(proxied.events())

    run(test())


def test_a_server_gone_in_the_middle_is_gone_for_the_client_too():
    async def test():
        async with contextlib.AsyncExitStack() as stack:
            served = await stack.enter_async_context(Served())
            async with Proxied(served.port) as proxied, await proxied.connect() as client:
                await client.attach("1-1")
                client.submit(1, 500)
                await client.write(b"it has arrived")
                await stack.aclose()
                assert await client.rest() == client.got
                line = await proxied.log.find("ended")
                assert line == f"{client.name}: ended by the server, after 2 URBs"
                events = proxied.events()
                assert not in_flight(events)
                assert events[-1].status == -108

    run(test())


def test_that_there_is_no_file_for_a_client_is_told_once_and_not_as_a_traceback(caplog):
    async def main():
        async with Proxied(1) as proxied:
            loop = asyncio.get_running_loop()
            for _ in range(3):  # what asyncio does of EMFILE
                error = OSError(errno.EMFILE, "Too many open files")
                message = "socket.accept() out of system resource"
                loop.call_exception_handler({"message": message, "exception": error})
            assert proxied.log == ["clients have to wait: Too many open files"]
            assert not caplog.records
            loop.call_exception_handler({"message": "another thing", "exception": error})
            assert "another thing" in caplog.text

    run(main())


def test_stopping_ends_connections():
    async def test():
        async with Served() as served:
            async with Proxied(served.port) as proxied:
                client = await proxied.connect()
                await client.attach("1-1")
            assert proxied.log[-1] == f"{client.name}: ended by this proxy, after 0 URBs"
            await served.log.find("gave 1-1 back")
            await client.rest()
            client.writer.close()

    run(test())


# The source.


def test_a_source_gives_batches_until_it_is_closed():
    log: list[str] = []
    source = sources.open("usbip:[2001:db8::1]", listen="127.0.0.1:0", report=log.append)
    assert [interface.description for interface in source.interfaces] == [
        "USB/IP, server [2001:db8::1]:3240"
    ]
    batches = iter(source)
    assert len(next(batches)) == 0
    assert log == [f"listening on {source.address}, for the server [2001:db8::1]:3240"]
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", source.address)
    assert (source.dropped, source.elapsed > 0) == (0, True)
    source.stop()
    assert [len(events) for events in batches] == [0]
    source.close()
    source.close()


def test_a_source_whose_port_is_taken_is_a_source_error_of_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SourceError) as caught:
            sources.open("usbip:localhost", listen=f"127.0.0.1:{port}")
    assert str(caught.value) == f"127.0.0.1:{port}: cannot listen: Address already in use"


@pytest.mark.parametrize("listen", ["", "nobody.invalid:1:2", ".."])
def test_a_source_that_cannot_listen_there_is_a_source_error(listen):
    with pytest.raises(SourceError):
        sources.open("usbip:localhost", listen=listen)


def test_it_listens_beside_the_server_by_default(monkeypatch):
    places = []

    class Opened:
        def __init__(self, _server, listen, _report) -> None:
            places.append(listen)

    monkeypatch.setattr("usbmon.sources.usbip.UsbipSource", Opened)
    for server in ("192.0.2.7", "192.0.2.7:65535"):
        sources.open(f"usbip:{server}")
    sources.open("usbip:192.0.2.7", listen="::1")
    assert places == [("127.0.0.1", 3241), ("127.0.0.1", 65535), ("::1", 3241)]


def test_what_passed_before_it_is_stopped_is_given():
    log = Log()

    async def conversation() -> None:
        async with Served() as served:
            where = f"usbip:127.0.0.1:{served.port}"
            with closing(sources.open(where, listen="127.0.0.1:0", report=log)) as source:
                port = int(source.address.rpartition(":")[2])
                async with await Client.connect(port) as client:
                    await talk(client)
                source.stop()
                assert [len(events) for events in source] == [14]

    asyncio.run(conversation())
