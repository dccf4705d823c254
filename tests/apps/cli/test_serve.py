"""`usbmon serve`: who may reach it, what it says, and what is left when it ends."""

from __future__ import annotations

import re
import signal
import socket

import pytest

import usbmon as library
from tests.helpers.command import process
from tests.helpers.usbip import Client, Program, run

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def listening(where: str, address: str, port: int) -> str:
    return (
        f"listening on {where}:{port}; "
        f"attach with: usbip --tcp-port {port} attach -r {address} -b BUSID"
    )


@pytest.mark.parametrize("number", SIGNALS)
def test_it_serves_until_a_signal_and_keeps_what_it_captured(number, tmp_path):
    out = tmp_path / "out.pcapng"

    async def test():
        async with Program("serve", "loopback", "--listen", "127.0.0.1:0", "-o", out) as program:
            assert await program.line("1-1") == "  1-1: 1209:0001 Loopback"
            async with await Client.connect(program.port) as client:
                await client.attach("1-1")
                await client.write(b"to be found in the file")
                assert await client.read(100) == b"to be found in the file"
                code, said, err = await program.end(number)
        events = library.read(out)
        assert (code, said) == (0, b"")
        assert err.splitlines() == [
            listening("127.0.0.1", "127.0.0.1", program.port),
            "  1-1: 1209:0001 Loopback",
            f"{client.name}: has 1-1",
            f"{client.name}: gave 1-1 back, after 2 URBs",
            f"captured: {len(events)} events in {out}",
        ]
        assert [e.type for e in events if e.data == b"to be found in the file"] == ["S", "C"]
        assert [path.name for path in tmp_path.iterdir()] == [out.name]

    run(test())


@pytest.mark.parametrize("number", SIGNALS)
def test_it_ends_in_order_without_clients(number):
    async def test():
        async with Program("serve", "flash", "keyboard", "--listen", "[::1]:0") as program:
            await program.line("Keyboard")
            code, out, err = await program.end(number)
        assert (code, out) == (0, b"")
        assert err.splitlines() == [
            listening("[::1]", "::1", program.port),
            "  1-1: 1209:0002 Flash Key",
            "  1-2: 1209:0030 Keyboard",
        ]

    run(test())


def test_devices_of_a_scenario_are_served_without_its_steps(tmp_path):
    scenario = tmp_path / "desk.toml"
    scenario.write_text(
        '[devices.mine]\nmodel = "loopback"\n[[step]]\ndo = "unplug"\ndevice = "mine"\n'
    )

    async def test():
        async with Program("serve", scenario, "--listen", "127.0.0.1:0") as program:
            async with await Client.connect(program.port) as client:
                assert [device.busid for device in await client.devices()] == ["1-1"]
            assert (await program.end())[0] == 0

    run(test())


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7:3240", "::", "[2001:db8::1]:1"])
def test_an_address_for_others_is_refused_unless_that_is_meant(usbmon, address):
    said = usbmon("serve", "flash", "--listen", address, code=2).err
    assert "can be reached by others" in said
    assert "say --anyone if that is meant" in said


def test_an_address_for_others_is_warned_of():
    async def test():
        words = ("serve", "loopback", "--listen", "0.0.0.0:0", "--anyone")
        async with Program(*words) as program:
            _, _, err = await program.end()
        assert err.splitlines()[:2] == [
            "usbmon: warning: anyone who reaches this address has these devices",
            listening("0.0.0.0", "ADDRESS", program.port),
        ]

    run(test())


def test_the_loopback_address_needs_no_warning_even_with_anyone():
    async def test():
        words = ("serve", "loopback", "--listen", "127.0.0.2:0", "--anyone")
        async with Program(*words) as program:
            assert "warning" not in (await program.end())[2]

    run(test())


def test_a_port_that_is_taken_is_one_line_and_leaves_no_file(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        out = tmp_path / "out.pcap"
        said = process("serve", "loopback", "--listen", f"127.0.0.1:{port}", "-o", out)
    assert said.returncode == 1
    assert said.stderr.decode() == (
        f"usbmon: 127.0.0.1:{port}: cannot listen: Address already in use\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nothing"], r"no device is called 'nothing'; there are flash, .*"),
        (["loopback", "-o", "out.what"], r"out\.what: the name does not say which format; .*"),
        (["loopback", "--listen", "host:0x10"], r"host:0x10: no address; write HOST, .*"),
        (["hub"], r"virtual:hub: nothing to export: USB/IP carries devices, but no hubs"),
        (["missing.toml"], r"missing\.toml: No such file or directory"),
    ],
)
def test_what_cannot_be_served_is_one_line(usbmon, words, problem):
    listen = [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
    said = usbmon("serve", *words, *listen, code=1).err
    assert re.fullmatch(rf"usbmon: .*{problem}\n", said)


def test_an_unknown_host_is_one_line(usbmon, monkeypatch):
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = usbmon("serve", "loopback", "--listen", "nobody.invalid", code=1).err
    assert said == "usbmon: nobody.invalid: cannot listen: Name or service not known\n"


def test_a_capture_that_exists_is_kept_without_force(usbmon, tmp_path):
    out = tmp_path / "out.pcap"
    out.write_text("mine")
    said = usbmon("serve", "loopback", "--listen", "127.0.0.1:0", "-o", out, code=1).err
    assert said == f"usbmon: {out}: exists already; --force replaces it\n"
    assert out.read_text() == "mine"
