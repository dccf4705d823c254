"""`usbmon proxy`, and `usbmon capture usbip:`, which is the same with a file: programs of their
own between a client and a server."""

from __future__ import annotations

import signal
import socket

import pytest

import usbmon as library
from tests.helpers.usbip import Client, Program, Served, run

HERE = ("--listen", "127.0.0.1:0")
SIGNALS = [signal.SIGINT, signal.SIGTERM]


async def talk(client: Client) -> None:
    await client.attach("1-1")
    await client.write(b"to be seen")
    assert await client.read(100) == b"to be seen"


@pytest.mark.parametrize("number", SIGNALS)
def test_it_tells_who_comes_and_goes_until_a_signal(number):
    async def test():
        async with Served() as served:
            server = f"127.0.0.1:{served.port}"
            async with Program("proxy", server, *HERE) as program:
                async with await Client.connect(program.port) as client:
                    await talk(client)
                await program.line("ended")
                code, out, err = await program.end(number)
        assert (code, out) == (0, b"")
        assert err.splitlines() == [
            f"listening on 127.0.0.1:{program.port}, for the server {server}",
            f"{client.name}: connected",
            f"{client.name}: has 1-1, 1209:0001, bus 1 device 2",
            f"{client.name}: ended by the client, after 2 URBs",
            "passed on: 4 events",
        ]

    run(test())


@pytest.mark.parametrize("number", SIGNALS)
def test_text_is_usbmon_text_of_each_event(number):
    async def test():
        async with (
            Served() as served,
            Program("proxy", f"127.0.0.1:{served.port}", "--text", *HERE) as program,
        ):
            async with await Client.connect(program.port) as client:
                await talk(client)
            await program.line("ended")
            code, out, _ = await program.end(number)
        events = library.decode(out)
        assert code == 0
        assert [(e.type, e.busnum, e.devnum) for e in events] == [("S", 1, 2), ("C", 1, 2)] * 2
        assert [e.data for e in events] == [b"to be seen", b"", b"", b"to be seen"]

    run(test())


@pytest.mark.parametrize("number", SIGNALS)
def test_a_capture_is_a_valid_file_with_a_summary(number, tmp_path):
    out = tmp_path / "f.pcapng"

    async def test():
        async with Served() as served:
            words = ("capture", f"usbip:127.0.0.1:{served.port}", "-o", out)
            async with Program(*words, *HERE) as program:
                async with await Client.connect(program.port) as client:
                    await talk(client)
                await program.line("ended")
                code, said, err = await program.end(number)
        assert (code, said) == (0, b"")
        assert "\ncaptured: 4 events  " in err
        assert err.splitlines()[-1].startswith(f"  {out}: pcapng, ")
        assert [e.data for e in library.read(out)] == [b"to be seen", b"", b"", b"to be seen"]
        assert [path.name for path in tmp_path.iterdir()] == [out.name]

    run(test())


def test_a_signal_amid_a_conversation_ends_it_for_both_sides():
    async def test():
        async with Served() as served:
            server = f"127.0.0.1:{served.port}"
            async with (
                Program("proxy", server, *HERE) as program,
                await Client.connect(program.port) as client,
            ):
                await talk(client)
                client.submit(1, 500)
                code, _, err = await program.end()
                await client.rest()
            await served.log.find("gave 1-1 back")
        assert code == 0
        assert err.splitlines()[-2].startswith(f"{client.name}: ended by this proxy, after ")

    run(test())


def test_a_server_that_cannot_be_reached_is_told_and_the_proxy_goes_on():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def test():
        async with Program("proxy", f"127.0.0.1:{port}", *HERE) as program:
            for _ in range(2):
                async with await Client.connect(program.port) as client:
                    await client.rest()
                line = await program.line("cannot be reached")
                assert line == (
                    f"{client.name}: 127.0.0.1:{port} cannot be reached: Connection refused"
                )
            assert (await program.end())[0] == 0

    run(test())


def test_a_port_that_is_taken_is_one_line(usbmon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = usbmon("proxy", "localhost", "--listen", f"127.0.0.1:{port}", code=1).err
    assert said == f"usbmon: 127.0.0.1:{port}: cannot listen: Address already in use\n"


@pytest.mark.parametrize("words", [["host:0"], ["localhost", "--listen", "[::1"]])
def test_what_is_no_address_is_one_line(usbmon, words):
    said = usbmon("proxy", *words, code=1).err
    assert said == f"usbmon: {words[-1]}: no address; write HOST, HOST:PORT or [IPV6]:PORT\n"
