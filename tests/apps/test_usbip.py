"""The USB/IP server over real sockets: what it does for a client, and what it lets no client do to
the others."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.helpers.usbip import Client, Served, in_flight, request, run
from usbmon.apps import usbip as app
from usbmon.bus import usbip
from usbmon.bus.devices.loopback import Loopback
from usbmon.errors import SourceError

GET_DEVICE_DESCRIPTOR = bytes.fromhex("80 06 00 01 00 00 12 00")


def test_a_list_names_what_can_be_had_and_ends_the_connection():
    async def test():
        async with Served(Loopback(), Loopback()) as served, await served.connect() as client:
            found = await client.devices()
            assert [(d.busid, d.idVendor, d.idProduct) for d in found] == [
                ("1-1", 0x1209, 1),
                ("1-2", 0x1209, 1),
            ]
            with pytest.raises(EOFError):
                await client.message()

    run(test())


def test_transfers_of_an_imported_device_are_carried_out():
    async def test():
        async with Served() as served, await served.connect() as client:
            reply = await client.attach("1-1")
            assert reply.device is not None
            assert reply.device.busid == "1-1"
            result = await client.transfer(0, 18, GET_DEVICE_DESCRIPTOR)
            assert result.data[8:12] == bytes.fromhex("09 12 01 00")
            data = bytes(range(256)) * 40
            out = await client.transfer(1, data)
            assert (out.status, out.actual_length) == (0, len(data))
            back = await client.transfer(1, len(data))
            assert back.data == data
            assert served.log == [f"{client.name}: has 1-1"]

    run(test())


def test_a_client_that_leaves_after_its_list_request_still_gets_the_list():
    async def test():
        async with Served() as served, await served.connect() as client:
            client.send(usbip.ReqDevlist().encode())
            client.writer.write_eof()
            assert len((await client.message()).devices) == 1

    run(test())


def test_many_clients_at_once_get_each_its_own():
    async def use(served: Served, number: int) -> None:
        async with await served.connect() as client:
            await client.attach(f"1-{number}")
            for turn in range(5):
                data = bytes([number, turn]) * 300
                assert await client.write(data) == 0
                assert await client.read(len(data)) == data
        async with await served.connect() as client:
            assert len(await client.devices()) == 4

    async def test():
        async with Served(*(Loopback() for _ in range(4))) as served:
            await asyncio.gather(*(use(served, number) for number in range(1, 5)))

    run(test())


@pytest.mark.parametrize(
    ("busid", "status", "words"),
    [
        ("1-1", usbip.ST_DEV_BUSY, "wants 1-1: somebody else has it"),
        ("7-7", usbip.ST_NA, "wants 7-7: no such device"),
    ],
)
def test_what_cannot_be_had_is_refused_and_told(busid, status, words):
    async def test():
        async with Served() as served, await served.connect() as first:
            await first.attach("1-1")
            async with await served.connect() as second:
                assert (await second.attach(busid)).status == status
                with pytest.raises(EOFError):
                    await second.message()
            assert served.log[-1] == f"{second.name}: {words}"
            assert await first.write(b"still mine") == 0

    run(test())


@pytest.mark.parametrize("abruptly", [False, True])
def test_a_client_gone_in_the_middle_leaves_nothing_behind(abruptly):
    async def test():
        async with Served() as served:
            async with await served.connect() as client:
                await client.attach("1-1")
                for _ in range(3):
                    client.submit(1, 500)  # there are no data: all wait
                await client.write(b"they have arrived")
                if abruptly:
                    client.reset()
            await served.gone(client)
            assert f"{client.name}: gave 1-1 back, after 4 URBs" in served.log
            assert not in_flight(served.events())
            async with await served.connect() as client:
                assert (await client.attach("1-1")).device.devnum == 2
                data = (await client.transfer(0, 18, GET_DEVICE_DESCRIPTOR)).data
                assert len(data) == 18

    run(test())


def test_a_client_gone_in_the_middle_of_a_message_is_a_client_gone():
    async def test():
        async with Served() as served:
            async with await served.connect() as client:
                await client.attach("1-1")
                client.send(usbip.CmdUnlink(1, 1).encode()[:20])
            await served.gone(client)
            assert served.log[1:] == [f"{client.name}: gave 1-1 back, after 0 URBs"]

    run(test())


def test_a_reset_connection_is_told_with_its_reason():
    async def test():
        async with Served() as served:
            client = await served.connect()
            await client.attach("1-1")
            client.reset()
            assert await served.log.find("lost") == f"{client.name}: lost: Connection reset by peer"

    run(test())


# Hostile clients. One line each, and the others go on.


async def others_go_on(served: Served, other: Client) -> None:
    assert await other.write(b"here I am") == 0
    async with await served.connect() as third:
        assert len(await third.devices()) == 2


@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "let go, that is no USB/IP: byte 0: "),
        (bytes.fromhex("0111 9999 00000000"), "let go, that is no USB/IP: byte 2: "),
        (usbip.ReqImport("1-1").encode() + b"\xff" * 48, "let go, that is no USB/IP: byte 40: "),
    ],
)
def test_garbage_ends_only_its_own_connection(garbage, words):
    async def test():
        async with Served(Loopback(), Loopback()) as served, await served.connect() as other:
            await other.attach("1-2")
            async with await served.connect() as client:
                client.send(garbage)
                await client.rest()
            line = await served.log.find(f"{client.name}: let go")
            assert line.startswith(f"{client.name}: {words}")
            await others_go_on(served, other)

    run(test())


def test_a_client_that_does_not_read_is_let_go_of(monkeypatch):
    monkeypatch.setattr(app, "_BACKLOG", 1 << 20)

    async def test():
        async with Served(Loopback(), Loopback()) as served, await served.connect() as other:
            await other.attach("1-2")
            small = socket.socket()
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.setblocking(False)
            await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", served.port))
            async with Client(*await asyncio.open_connection(sock=small, limit=1024)) as client:
                await client.attach("1-1")
                await client.write(bytes(60_000))
                # All at once: from here on the server hears nothing more of it.
                for _ in range(150):
                    client.submit(0, 60_000, request(0xC0, 2, 60_000))
                line = await served.log.find("let go")
                assert line == f"{client.name}: let go, it does not read what it asked for"
                await served.gone(client)
                assert not in_flight(served.events())
                client.reset()
            await others_go_on(served, other)

    run(test())


def test_clients_that_say_nothing_are_in_nobodys_way():
    async def test():
        async with Served(Loopback(), Loopback()) as served, await served.connect() as other:
            await other.attach("1-2")
            silent = [await served.connect() for _ in range(20)]
            await others_go_on(served, other)
            for client in silent:
                client.writer.close()

    run(test())


# Beginning and end.


def test_stopping_ends_connections_and_frees_the_port():
    async def test():
        async with Served() as served:
            client = await served.connect()
            await client.attach("1-1")
            client.submit(1, 500)
            await client.write(b"it has arrived")
        assert served.log[-1] == f"{client.name}: gave 1-1 back, after 2 URBs"
        assert client.got == await client.rest()
        client.writer.close()
        with pytest.raises(ConnectionRefusedError):
            await served.connect()

    run(test())


def test_a_port_that_is_taken_is_a_source_error_of_one_line():
    async def test():
        async with Served() as served, Served() as other:
            with pytest.raises(SourceError) as caught:
                await other.server.start("127.0.0.1", served.port)
            assert str(caught.value) == (
                f"127.0.0.1:{served.port}: cannot listen: Address already in use"
            )

    run(test())


def test_it_listens_on_ipv6():
    async def test():
        async with Served(address="::1") as served, await served.connect() as client:
            await client.attach("1-1")
            assert await client.write(b"six") == 0
            (_, port, *_) = client.writer.get_extra_info("sockname")
            assert served.log == [f"[::1]:{port}: has 1-1"]

    run(test())
