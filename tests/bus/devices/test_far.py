"""The host at the far end: who has its address, and echo; all else is passed over."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.devices.far import KEPT, FarHost, checksum

# Made by hand: 02:..:02 asks who has 10.55.0.1; and pings it with four bytes, "ping".
ARP = bytes.fromhex(
    "ffffffffffff 025553420002 0806 0001 0800 06 04 0001025553420002 0a370002 000000000000 0a370001"
)
ARP_REPLY = bytes.fromhex(
    "025553420002 025553420001 0806 0001 0800 06 04 0002025553420001 0a370001 025553420002 0a370002"
)
PING = bytes.fromhex(
    "025553420001 025553420002 0800 45 00 0020 0007 4000 40 01 2666 0a370002 0a370001"
    "08 00 192c 0001 0002 70696e67"
)


class Wire:
    """A far host and what it sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.host = FarHost(self.sent.append)

    def ask(self, frame: bytes) -> list[bytes]:
        self.host.receive(frame)
        return self.sent


def folded(data: bytes) -> int:
    """RFC 1071 as it is written there."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def changed(frame: bytes, at: int, value: int) -> bytes:
    return frame[:at] + bytes((value,)) + frame[at + 1 :]


@given(st.binary(max_size=100))
def test_the_checksum_is_that_of_the_internet(data):
    assert checksum(data) == 0xFFFF - folded(data)


def test_the_frames_here_are_right():
    assert folded(PING[14:34]) == folded(PING[34:]) == 0xFFFF


def test_it_says_that_it_has_its_address():
    assert Wire().ask(ARP) == [ARP_REPLY]


def test_it_answers_an_echo():
    (reply,) = Wire().ask(PING)
    assert reply[:14].hex(" ", 6) == (PING[6:12] + PING[:6] + PING[12:14]).hex(" ", 6)
    assert struct.unpack_from("!4s4s", reply, 26) == (PING[30:34], PING[26:30])
    assert folded(reply[14:34]) == folded(reply[34:]) == 0xFFFF
    assert reply[34:36] == b"\0\0"
    assert reply[38:] == PING[38:]


def test_padding_of_a_short_frame_does_not_matter():
    assert Wire().ask(ARP.ljust(60, b"\0")) == [ARP_REPLY]
    assert len(Wire().ask(PING.ljust(60, b"\0"))[0]) == len(PING)


@pytest.mark.parametrize(
    "frame",
    [
        changed(ARP, 41, 9),  # somebody else's address
        changed(ARP, 21, 2),  # a reply
        changed(ARP, 15, 6),  # not of Ethernet
        ARP[:40],
        changed(PING, 5, 9),  # to somebody else on the wire
        changed(PING, 33, 9),  # to another address
        changed(PING, 23, 17),  # UDP
        changed(PING, 20, 0x20),  # a fragment
        changed(PING, 14, 0x46),  # with options
        changed(PING, 22, 63),  # the header's checksum is wrong
        changed(PING, 45, 0),  # the message's
        changed(PING, 34, 0),  # an echo reply
        PING[:-1],
        PING[:20],
        b"",
        bytes(14),
    ],
)
def test_what_is_not_for_it_or_makes_no_sense_is_passed_over(frame):
    wire = Wire()
    assert wire.ask(frame) == []
    assert wire.host.received[-1] == frame


@given(st.binary(max_size=80), st.sampled_from([b"", ARP[:14], PING[:14], PING[:24]]))
def test_any_bytes_do_no_harm(data, head):
    Wire().ask(head + data)


def test_it_remembers_the_last_frames_only():
    wire = Wire()
    for _ in range(KEPT + 10):
        wire.ask(ARP)
    assert len(wire.host.received) == KEPT


def test_its_address_is_to_be_one():
    with pytest.raises(ValueError, match=r"10\.55"):
        FarHost(lambda _: None, address="10.55")
