"""A request: its direction, its buffer, its data."""

from __future__ import annotations

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, IsoPacket, Urb


@pytest.fixture
def root():
    return Bench().host.root_hubs[0]


def test_types_are_numbered_as_in_bm_attributes() -> None:
    assert (CONTROL, ISOCHRONOUS, BULK, INTERRUPT) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("setup", "is_in"),
    [
        ("8006000100004000", True),
        ("8000000000000000", False),  # IN, but without data: the status stage is all there is
        ("0009010000000000", False),
        ("2109000200000100", False),
    ],
)
def test_a_control_transfer_goes_where_its_setup_says(root, setup: str, is_in: bool) -> None:
    assert Urb(root, 0, CONTROL, 64, setup=bytes.fromhex(setup)).is_in is is_in


@pytest.mark.parametrize("address", [0x01, 0x81])
def test_others_go_where_their_endpoint_does(root, address: int) -> None:
    assert Urb(root, address, BULK, 1).is_in is (address == 0x81)


def test_the_buffer_is_what_to_send_or_room_for_what_comes(root) -> None:
    source = bytearray(b"abc")
    urb = Urb(root, 1, BULK, source)
    source[0] = 0
    assert bytes(urb.buffer) == b"abc"
    assert Urb(root, 0x81, BULK, 5).transfer_buffer_length == 5


def test_data_are_what_was_transferred(root) -> None:
    urb = Urb(root, 0x81, BULK, b"abcdef")
    urb.actual_length = 2
    assert urb.data == b"ab"


def test_data_of_isochronous_packets_are_joined_without_the_gaps(root) -> None:
    packets = [IsoPacket(0, 3), IsoPacket(3, 3), IsoPacket(6, 3)]
    packets[0].actual_length, packets[2].actual_length = 2, 3
    assert Urb(root, 0x81, ISOCHRONOUS, b"abcdefghi", packets=packets).data == b"abghi"


def test_one_can_be_shown(root) -> None:
    urb = Urb(root, 0, CONTROL, 18, setup=bytes.fromhex("8006000100001200"))
    assert repr(urb) == ("<Urb CONTROL 1:00 80 06 00 01 00 00 12 00 status 0, 0 of 18 bytes>")
    assert repr(IsoPacket(192, 96)) == "<IsoPacket 0:192:96 actual 0>"
