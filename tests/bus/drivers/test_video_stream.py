"""Frames out of descriptors, parameters, and pictures out of payloads as the kernel finds them."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.drivers.video_stream import Assembler, StreamControl, frames_of
from usbmon.bus.host import HostDevice
from usbmon.bus.timing import Speed
from usbmon.bus.urb import ISOCHRONOUS, IsoPacket, Urb

DEVICE = HostDevice(Bench().bus, Speed.HIGH)
FID, EOF, ERR = 1, 2, 0x40
FORMAT = b"\x1b\x24\x04\x03\x01" + b"YUY2".ljust(16, b"\0") + b"\x10\x01\0\0\0\0"


def urb(*packets: bytes | int) -> Urb:
    """One with these payloads, or statuses in the place of them."""
    size = 200
    made = Urb(DEVICE, 0x81, ISOCHRONOUS, size * len(packets))
    for n, content in enumerate(packets):
        packet = IsoPacket(n * size, size)
        if isinstance(content, int):
            packet.status = content
        else:
            packet.actual_length = len(content)
            made.buffer[n * size : n * size + len(content)] = content
        made.packets.append(packet)
    return made


def payload(bits: int, data: bytes, *, header: int = 2) -> bytes:
    return bytes((header, bits)).ljust(header, b"\0") + data


# Descriptors and parameters


def frame(number: int, count: int, *intervals: int) -> bytes:
    fields = (number, 0, 64, 48, 1, 2, 6144, 333_333, count, *intervals)
    return bytes((26 + 4 * len(intervals), 0x24, 5)) + struct.pack(
        f"<BBHHIIIIB{len(intervals)}I", *fields
    )


def test_frames_are_read_with_their_format() -> None:
    (made,) = frames_of(b"\x06\x24\x0d\1\1\4" + FORMAT + frame(2, 2, 333_333, 666_666))
    assert (made.bFormatIndex, made.bFrameIndex, made.width, made.height) == (3, 2, 64, 48)
    assert (made.size, made.dwDefaultFrameInterval) == (6144, 333_333)
    assert made.intervals == (333_333, 666_666)


def test_a_range_of_intervals_is_its_ends() -> None:
    (made,) = frames_of(FORMAT + frame(1, 0, 333_333, 2_000_000, 1))
    assert made.intervals == (333_333, 2_000_000)


@given(raw=st.binary(max_size=100))
@pytest.mark.parametrize("before", [b"", FORMAT, FORMAT + b"\x2a\x24\x05"])
def test_any_descriptors_are_frames_or_refused(before: bytes, raw: bytes) -> None:
    try:
        frames = frames_of(before + raw)
    except LookupError:
        return
    assert all(made.intervals for made in frames)


@given(raw=st.binary(min_size=34, max_size=34))
def test_parameters_are_the_same_there_and_back(raw: bytes) -> None:
    assert StreamControl.decode(raw).encode() == raw
    assert StreamControl.decode(raw[:26]).encode() == raw[:26] + bytes(8)


# Payloads


@given(
    pictures=st.lists(st.binary(min_size=60, max_size=60), max_size=5),
    cut=st.integers(1, 70),
    header=st.sampled_from([2, 6, 12]),
    has_eof=st.booleans(),
)
def test_pictures_come_out_whole(
    pictures: list[bytes], cut: int, header: int, has_eof: bool
) -> None:
    packets = []
    for number, data in enumerate(pictures):
        parts = [data[at : at + cut] for at in range(0, 60, cut)]
        for n, part in enumerate(parts):
            ends = EOF * (has_eof and n == len(parts) - 1)
            packets += [payload(number & 1 | ends, part, header=header), b""]
    packets.append(payload(len(pictures) & 1, b"next", header=header))
    assembler = Assembler(60)
    found = [picture for packet in packets for picture in assembler.feed(urb(packet))]
    assert found == pictures
    assert assembler.dropped == 0


A, B = bytes(range(60)), bytes(range(60, 120))


@pytest.mark.parametrize(
    ("first", "dropped"),
    [
        ((payload(0, A[:30]), -18, payload(EOF, A[30:])), 1),  # a packet was lost
        ((payload(0, A[:30]), -71, payload(EOF, b"")), 1),
        ((payload(0, A[:30]), payload(EOF | ERR, A[30:])), 1),  # the device says so
        ((payload(0, A[:30]), payload(EOF, A[31:])), 1),  # too short
        ((payload(0, A), payload(EOF, b"more")), 1),  # too long, and the rest is no picture
        ((payload(0, A[:30]),), 1),  # the end is missing
        ((payload(0, b""),), 0),
        ((b"\x0c\0", b"\x01\0", b"\x05"), 0),  # no headers
    ],
)
def test_a_picture_that_is_not_whole_is_dropped_and_the_next_is_not(
    first: tuple[bytes | int, ...], dropped: int
) -> None:
    assembler = Assembler(60)
    assert assembler.feed(urb(*first)) == []
    assert assembler.feed(urb(payload(FID, B[:10]), payload(FID | EOF, B[10:]))) == [B]
    assert assembler.dropped == dropped


def test_two_pictures_may_end_in_one_urb() -> None:
    packets = (payload(0, A), payload(FID | EOF, B))
    assert Assembler(60).feed(urb(*packets)) == [A, B]


@given(seed=st.integers(0, 1 << 32))
def test_any_payloads_are_pictures_of_the_size_or_none(seed: int) -> None:
    chance = random.Random(seed)
    assembler = Assembler(60)
    for _ in range(20):
        packets = [chance.randbytes(chance.choice((0, 1, 2, 40, 200))) for _ in range(4)]
        assert all(len(picture) == 60 for picture in assembler.feed(urb(*packets)))
