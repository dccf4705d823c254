"""The webcam by itself: descriptors, negotiation, brightness, payloads."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import Stall
from usbmon.bus.devices.picture import picture
from usbmon.bus.devices.video import Webcam
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.usb.descriptors import walk

PROBE = struct.Struct("<HBBIHHHHHII")
SET, GET, MIN, MAX, RES, LEN, INFO, DEF = 0x01, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87


def powered(model: Webcam, *, alternate: int = 4) -> Webcam:
    model.power_on(Loop(), model.wanted_speed)
    model.request(bytes.fromhex("0009010000000000"), b"")
    model.request(struct.pack("<BBHHH", 1, 11, alternate, 1, 0), b"")
    return model


def ask(model: Webcam, request: int, selector: int, index: int, data: bytes | int) -> bytes:
    size, kind = (data, 0xA1) if isinstance(data, int) else (len(data), 0x21)
    setup = struct.pack("<BBHHH", kind, request, selector << 8, index, size)
    answer = model.request(setup, b"" if isinstance(data, int) else data)
    assert isinstance(answer, bytes)
    return answer


def probe(frame: int, interval: int) -> bytes:
    return PROBE.pack(1, 1, frame, interval, 0, 0, 0, 0, 0, 0, 0)


def negotiate(model: Webcam, frame: int, interval: int) -> tuple[int, int, int, int]:
    """Frame, interval, bytes of a picture and of a payload that the model makes of a wish, and
    commits to."""
    ask(model, SET, 1, 1, probe(frame, interval))
    answer = ask(model, GET, 1, 1, 26)
    ask(model, SET, 2, 1, answer)
    assert ask(model, GET, 2, 1, 26) == answer
    _, _, index, now, *_, size, payload = PROBE.unpack(answer)
    return index, now, size, payload


# Descriptors

DESCRIPTORS = (
    "0902110102010080fa"
    "080b00020e030000"
    "09040000000e010000"
    "0d24010001330040420f000101"
    "122402010102000000000000000003000000"
    "0b24050201000002010000"
    "092403030101000200"
    "09040100000e020000"
    "0e2401017b008100030000000100"
    "1b240401025955593200001000800000aa00389b71100100000000"
    "2624050100a00078000070170009a08c00009600001516050003151605002a2c0a0080841e00"
    "26240502004001f00000c05d0024803202005802001516050003151605002a2c0a0080841e00"
    "06240d010104"
    "09040101010e020000"
    "07058105800001"
    "09040102010e020000"
    "07058105000101"
    "09040103010e020000"
    "07058105000201"
    "09040104010e020000"
    "07058105200301"
)


def test_the_descriptors_are_those_that_linux_streamed_from() -> None:
    assert Webcam().get_descriptor(2, 0) == bytes.fromhex(DESCRIPTORS)


@pytest.mark.parametrize(("version", "unit"), [(0x0100, 11), (0x0110, 12)])
def test_class_descriptors_have_the_lengths_that_they_say(version: int, unit: int) -> None:
    raw = Webcam(bcdUVC=version).get_descriptor(2, 0)
    assert raw is not None
    ours = [d for d in walk(raw) if d[1] == 0x24]
    # Header, camera, processing unit, output; header, format, two frames, colours (UVC 1.1 §3).
    assert [len(d) for d in ours] == [13, 18, unit, 9, 14, 27, 38, 38, 6]
    control, stream = ours[:4], ours[4:]
    assert int.from_bytes(control[0][5:7], "little") == sum(map(len, control))
    assert int.from_bytes(stream[0][4:6], "little") == sum(map(len, stream))
    assert int.from_bytes(control[0][3:5], "little") == version


def test_there_is_no_other_version() -> None:
    with pytest.raises(ValueError, match=r"1\.0 .* and 1\.1"):
        Webcam(bcdUVC=0x0150)


# Negotiation


@pytest.mark.parametrize(("version", "size"), [(0x0100, 26), (0x0110, 34)])
def test_probe_has_the_size_of_its_version(version: int, size: int) -> None:
    model = powered(Webcam(bcdUVC=version))
    assert ask(model, LEN, 1, 1, 2) == struct.pack("<H", size)
    for request in (GET, MIN, MAX, DEF):
        assert len(ask(model, request, 1, 1, 100)) == size
    assert ask(model, INFO, 2, 1, 1) == b"\3"
    with pytest.raises(Stall):
        ask(model, SET, 1, 1, bytes(size - 1))


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
@given(frame=st.integers(0, 255), interval=st.integers(0, 2**32 - 1))
def test_any_wish_becomes_something_that_the_bus_can_carry(
    speed: Speed, frame: int, interval: int
) -> None:
    model = powered(Webcam(speed=speed))
    index, now, size, payload = negotiate(model, frame, interval)
    assert index == (frame if frame in {1, 2} else 1)
    assert now in {333_333, 666_666, 2_000_000}
    assert size == {1: 38400, 2: 153600}[index]
    assert payload <= 800
    packets = now * 100 // speed.frame
    assert (payload - 12) * packets >= size > (payload - 13) * packets
    assert negotiate(model, index, now) == (index, now, size, payload)


@pytest.mark.parametrize(
    ("speed", "fastest"), [(Speed.HIGH, [333_333, 333_333]), (Speed.FULL, [666_666, 2_000_000])]
)
def test_a_slow_bus_has_slow_pictures(speed: Speed, fastest: list[int]) -> None:
    model = powered(Webcam(speed=speed))
    assert [negotiate(model, frame, 1)[1] for frame in (1, 2)] == fastest


# Controls


def test_brightness_is_what_was_set_until_reset() -> None:
    model = powered(Webcam())
    low, high, step, default = (
        struct.unpack("<h", ask(model, request, 2, 0x0200, 2))[0]
        for request in (MIN, MAX, RES, DEF)
    )
    assert (low, high, step, default) == (-64, 64, 1, 0)
    for value in (64, -64):
        ask(model, SET, 2, 0x0200, struct.pack("<h", value))
        assert ask(model, GET, 2, 0x0200, 2) == struct.pack("<h", value)
    model.bus_reset()
    assert model.brightness == 0


@pytest.mark.parametrize(
    ("request_", "selector", "index", "data", "error"),
    [
        (SET, 2, 0x0200, struct.pack("<h", 65), 4),
        (GET, 3, 0x0200, 2, 6),
        (GET, 3, 0x0001, 2, 6),
        (0x85 + 3, 2, 0x0200, 2, 7),
    ],
)
def test_a_stall_has_a_reason(
    request_: int, selector: int, index: int, data: bytes | int, error: int
) -> None:
    model = powered(Webcam())
    with pytest.raises(Stall):
        ask(model, request_, selector, index, data)
    assert ask(model, GET, 2, 0, 1) == bytes((error,))


@pytest.mark.parametrize("setup", ["a101000101001a00", "2181000101001a00", "4081000101001a00"])
def test_a_request_in_the_wrong_direction_or_of_another_kind_is_stalled(setup: str) -> None:
    with pytest.raises(Stall):
        powered(Webcam()).request(bytes.fromhex(setup), probe(1, 0))


SETUPS = st.builds(
    lambda kind, request, value, index, length: struct.pack(
        "<BBHHH", kind, request, value, index, length
    ),
    st.sampled_from([0x21, 0xA1]) | st.integers(0, 255),
    st.sampled_from([1, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87]) | st.integers(0, 255),
    st.sampled_from([0x0100, 0x0200]) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 0x0200]) | st.integers(0, 0xFFFF),
    st.integers(0, 64),
)


@given(setup=SETUPS, data=st.binary(max_size=40))
def test_any_request_is_answered_or_stalled(setup: bytes, data: bytes) -> None:
    model = powered(Webcam())
    try:
        answer = model.request(setup, data)
    except Stall:
        return
    assert isinstance(answer, bytes)
    assert len(answer) <= int.from_bytes(setup[6:8], "little")


# Payloads


def payloads(model: Webcam, frames: range, size: int) -> list[bytes]:
    return [data for frame in frames if (data := model.give(size, frame))]


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
def test_pictures_go_out_in_time_with_fid_and_eof(speed: Speed) -> None:
    model = powered(Webcam(speed=speed))
    _, interval, size, payload = negotiate(model, 1, 333_333)
    frames = range(5000, 5000 + interval * 300 // speed.frame + 1)
    sent = payloads(model, frames, 800)
    ends = [n for n, data in enumerate(sent, 1) if data[1] & 2]
    assert len(ends) == 3
    starts = [0, *ends[:-1]]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = sent[start:end]
        assert b"".join(data[12:] for data in part) == picture(160, 120, number)
        assert {data[1] & 1 for data in part} == {number & 1}
        assert {int.from_bytes(data[2:6], "little") for data in part} == {number * interval // 10}
        assert {len(data) for data in part[:-1]} == {payload}
    assert {data[0] for data in sent} == {12}
    clocks = [struct.unpack_from("<IH", data, 6) for data in sent]
    assert clocks[0] == (0, 5000 // (1 if speed is Speed.FULL else 8) & 0x7FF)
    assert clocks == sorted(clocks)
    assert size == 38400


def test_a_picture_waits_for_a_slow_host_and_others_are_skipped() -> None:
    model = powered(Webcam())
    negotiate(model, 1, 333_333)
    first = payloads(model, range(100), 800)
    rest = payloads(model, range(10_000, 10_300), 800)
    end = next(n for n, data in enumerate(rest, 1) if data[1] & 2)
    assert b"".join(data[12:] for data in first + rest[:end]) == picture(160, 120, 0)
    assert rest[end][1] & 1 == 1
    assert model.pictures == 10_000 * 125_000 // 33_333_300 + 2


@given(size=st.integers(0, 1024))
def test_a_packet_of_any_size_is_answered(size: int) -> None:
    model = powered(Webcam())
    assert len(model.give(size, 0)) <= max(size, 12)
