"""The Ethernet adapter: descriptors, packet filter, notifications, and frames as transfers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import NAK, Stall
from usbmon.bus.devices.ecm import (
    ALL_MULTICAST,
    BROADCAST,
    DIRECTED,
    MAC,
    MAX_FRAME,
    PROMISCUOUS,
    QUEUE,
    EthernetAdapter,
)
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed

SET_FILTER = "2143{:02x}0000000000"
TO_US = MAC + bytes(8)


def powered(adapter: EthernetAdapter, *, begun: bool = True) -> EthernetAdapter:
    adapter.power_on(adapter.loop or Loop(), Speed.HIGH)
    ask(adapter, "0009010000000000")
    if begun:
        ask(adapter, "010b010001000000")
    return adapter


def ask(adapter: EthernetAdapter, setup: str):
    return adapter.request(bytes.fromhex(setup), b"")


def fetched(adapter: EthernetAdapter, size: int = 1536) -> list[bytes]:
    """What the IN endpoint gives, asked for `size` bytes a time."""
    out = []
    while (data := adapter.handler(0x81)(size)) is not NAK:
        out.append(data)
    return out


def sent(adapter: EthernetAdapter, frame: bytes, size: int = 512) -> None:
    """A frame as packets, with an empty one behind a full one."""
    take = adapter.handler(0x02)
    for at in range(0, len(frame) + 1, size):
        take(frame[at : at + size])


def test_descriptors():
    raw = ask(powered(EthernetAdapter()), "800600020000ff00")
    control, rest = raw[9:18], raw[18:]
    assert control.hex()[:16] == "0904000001020600"
    assert rest[:10].hex() == "0524001001" + "0524060001"
    ethernet = rest[10:23]
    assert ethernet[:3].hex() == "0d240f"
    assert struct.unpack_from("<IHHB", ethernet, 4) == (0, 1514, 0, 0)
    mac = ask(powered(EthernetAdapter()), f"8006{ethernet[3]:02x}030904ff00")
    assert mac[2:].decode("utf-16-le") == "025553420002"
    alternates = rest[30:]
    assert alternates[:5].hex() == "0904010000"
    assert alternates[9:14].hex() == "0904010102"


def test_it_is_silent_until_the_host_begins():
    adapter = powered(EthernetAdapter(), begun=False)
    assert adapter.handler(0x83)(16) is NAK
    adapter.send(TO_US)
    ask(adapter, "010b010001000000")
    assert fetched(adapter) == []


def test_then_it_is_connected_and_says_how_fast():
    notify = powered(EthernetAdapter()).handler(0x83)
    assert notify(16).hex() == "a100010000000000"
    assert notify(16).hex() == "a12a000000000800" + "00e1f505" * 2  # 100 Mbit/s both ways
    assert notify(16) is NAK


@pytest.mark.parametrize(
    ("bits", "passes"),
    [
        (0, ""),
        (DIRECTED, "us"),
        (BROADCAST, "all"),
        (ALL_MULTICAST, "group"),
        (PROMISCUOUS, "us other all group"),
        (DIRECTED | BROADCAST, "us all"),
    ],
)
def test_the_packet_filter(bits, passes):
    adapter = powered(EthernetAdapter())
    ask(adapter, SET_FILTER.format(bits))
    to = {"us": MAC, "other": b"\x02other", "all": b"\xff" * 6, "group": b"\x01\x00\x5e\0\0\1"}
    for destination in to.values():
        adapter.send(destination + bytes(8))
    wanted = [to[name] for name in to if name in passes.split()]
    assert [frame[:6] for frame in fetched(adapter)] == wanted


@given(st.integers(14, MAX_FRAME), st.sampled_from([512, 1024, 1536]))
def test_a_frame_for_the_host_ends_with_less_than_a_packet(size, room):
    adapter = powered(EthernetAdapter())
    frame = TO_US.ljust(size, b"x")
    adapter.send(frame)
    pieces = fetched(adapter, room)
    assert b"".join(pieces) == frame
    assert len(pieces[-1]) % 512 != 0 or pieces[-1] == b""
    assert b"" not in pieces[:-1]


@given(st.lists(st.integers(14, MAX_FRAME), max_size=5))
def test_frames_of_the_host_come_whole(sizes):
    frames: list[bytes] = []
    adapter = powered(EthernetAdapter(frames.append))
    expected = [bytes((size & 0xFF,)) * size for size in sizes]
    for frame in expected:
        sent(adapter, frame)
    assert frames == expected


@pytest.mark.parametrize("size", [0, 13, MAX_FRAME + 1, 100_000])
def test_what_is_no_frame_is_not_passed_on_and_does_not_pile_up(size):
    frames: list[bytes] = []
    adapter = powered(EthernetAdapter(frames.append))
    sent(adapter, bytes(size))
    assert len(adapter._coming) == 0
    sent(adapter, b"good frame".ljust(60))
    assert frames == [b"good frame".ljust(60)]


@pytest.mark.parametrize("size", [13, MAX_FRAME + 1])
def test_no_wire_carries_a_frame_that_is_too_short_or_too_long(size):
    with pytest.raises(ValueError, match="14 to 1514"):
        powered(EthernetAdapter()).send(bytes(size))


def test_what_the_host_does_not_fetch_is_lost_and_counted():
    adapter = powered(EthernetAdapter())
    for _ in range(QUEUE + 3):
        adapter.send(TO_US)
    assert adapter.lost == 3
    assert len(fetched(adapter)) == QUEUE


def test_who_begins_anew_finds_nothing_old():
    adapter = powered(EthernetAdapter())
    adapter.send(TO_US)
    sent(adapter, bytes(512)[:512], 4096)  # half a frame
    ask(adapter, "010b000001000000")
    ask(adapter, "010b010001000000")
    assert fetched(adapter) == []
    assert adapter.handler(0x83)(16).hex() == "a100010000000000"


@pytest.mark.parametrize("setup", ["2140000000000000", "a143000000000000", "4143000000000000"])
def test_what_it_does_not_know_it_stalls(setup):
    with pytest.raises(Stall):
        ask(powered(EthernetAdapter()), setup)


def test_the_far_host_has_the_address_it_is_given():
    assert EthernetAdapter(address="192.0.2.1").far.address == bytes((192, 0, 2, 1))
