"""Microphone and loudspeaker by themselves: descriptors, controls, and samples by the clock."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bus.devices.test_sound import wav
from usbmon.bus.device import Stall
from usbmon.bus.devices.audio import AudioDevice, Loudspeaker, Microphone
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.usb.descriptors import walk


def powered(model: AudioDevice) -> AudioDevice:
    """Configured, with its stream on."""
    model.power_on(Loop(), model.wanted_speed)
    model.request(bytes.fromhex("0009010000000000"), b"")
    model.request(bytes.fromhex("010b010001000000"), b"")
    return model


def ask(model: AudioDevice, setup: str, data: bytes = b"") -> bytes:
    answer = model.request(bytes.fromhex(setup), data)
    assert isinstance(answer, bytes)
    return answer


def test_the_descriptors_are_those_of_audio_1_0() -> None:
    """The microphone's, byte by byte: header, terminals and unit of audio 1.0 §4.3, stream §4.5."""
    model = Microphone()
    raw = model.get_descriptor(2, 0)
    assert raw is not None
    assert raw == bytes.fromhex(
        "09026d000201008032 090400000001010000 092401000127000101 0c2402010102000100000000"
        " 092406020101010200 092403030101000200 090401000001020000 090401010101020000"
        " 07240103010100 0b24020101021001 80bb00 0905810d6000010000 07250101000000"
    )
    assert int.from_bytes(raw[2:4], "little") == len(raw)


@pytest.mark.parametrize(("speed", "interval"), [(Speed.FULL, 1), (Speed.HIGH, 4)])
def test_a_packet_a_millisecond_at_either_speed(speed: Speed, interval: int) -> None:
    model = Loudspeaker(speed=speed)
    raw = model.get_descriptor(2, 0)
    assert raw is not None
    endpoints = [d for d in walk(raw) if d[1] == 5]
    assert [(d[2], d[3], d[4] | d[5] << 8, d[6]) for d in endpoints] == [(1, 0x0D, 192, interval)]


@pytest.mark.parametrize(
    ("rate", "channels"), [(999, 1), (48000, 0), (48000, 9), (192000, 8), (512000, 1)]
)
def test_what_does_not_fit_into_a_frame_is_refused(rate: int, channels: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Microphone(rate=rate, channels=channels)


# Controls


def test_mute_and_volume_and_rate_are_what_was_set() -> None:
    model = powered(Loudspeaker(rate=44100))
    ask(model, "2101000100020100", b"\1")
    ask(model, "2101020200020200", struct.pack("<h", -2560))
    ask(model, "2201000101000300", (44100).to_bytes(3, "little"))
    assert ask(model, "a181000100020100") == b"\1"
    assert ask(model, "a181020200020200") == struct.pack("<h", -2560)
    assert ask(model, "a281000101000300") == (44100).to_bytes(3, "little")
    assert (model.muted, model.volumes) == (True, [0, -2560])
    model.bus_reset()
    assert (model.muted, model.volumes) == (False, [0, 0])


@given(value=st.integers(-0x8000, 0x7FFF))
def test_any_volume_becomes_one_within_the_range_and_on_a_step(value: int) -> None:
    model = powered(Microphone())
    ask(model, "2101010200020200", struct.pack("<h", value))
    low, high, step, now = (
        struct.unpack("<h", ask(model, f"a1{request}010200020200"))[0]
        for request in ("82", "83", "84", "81")
    )
    assert low <= now <= high
    assert (now - low) % step == 0
    assert low - value > 0 or value - high > 0 or abs(now - value) <= step // 2


SETUPS = st.builds(
    lambda kind, request, value, index, length: struct.pack(
        "<BBHHH", kind, request, value, index, length
    ),
    st.sampled_from([0x21, 0xA1, 0x22, 0xA2, 0x41, 0xC0]) | st.integers(0, 255),
    st.sampled_from([1, 4, 0x81, 0x82, 0x83, 0x84]) | st.integers(0, 255),
    st.sampled_from([0x0100, 0x0200, 0x0201, 0x0203]) | st.integers(0, 0xFFFF),
    st.sampled_from([0x0200, 0x0001, 0x0081]) | st.integers(0, 0xFFFF),
    st.integers(0, 64),
)


@pytest.mark.parametrize("kind", [Microphone, Loudspeaker])
@given(setup=SETUPS, data=st.binary(max_size=8))
def test_any_request_is_answered_or_stalled(kind, setup: bytes, data: bytes) -> None:
    model = powered(kind())
    try:
        answer = model.request(setup, data)
    except Stall:
        return
    assert isinstance(answer, bytes)
    assert len(answer) <= int.from_bytes(setup[6:8], "little")


# Samples


@pytest.mark.parametrize(("speed", "step"), [(Speed.FULL, 1), (Speed.HIGH, 8)])
def test_44100_is_44_and_every_tenth_time_45_for_ever(speed: Speed, step: int) -> None:
    model = powered(Microphone(rate=44100, speed=speed))
    first = 12345 * step
    sizes = [len(model.give(96, first + n * step)) // 2 for n in range(3000)]
    assert set(sizes) == {44, 45}
    assert all(sum(sizes[: n * 10]) == n * 441 for n in range(301))


def test_what_was_not_fetched_is_lost() -> None:
    model = powered(Microphone())
    sound = model.samples(0, 96)
    assert model.give(96, 100) == sound[:96]
    assert model.give(96, 103) == model.samples(144, 48) != sound[96:]


def test_a_new_stream_starts_at_the_beginning() -> None:
    model = powered(Microphone())
    first = model.give(96, 100)
    assert model.give(96, 105) != first
    model.request(bytes.fromhex("010b010001000000"), b"")
    assert model.give(96, 777) == first


def test_a_microphone_hears_a_file() -> None:
    data = bytes(range(256)) * 2
    model = powered(Microphone.of_wave(wav(data)))
    assert (model.rate, model.channels) == (8000, 2)
    assert b"".join(model.give(32, n) for n in range(20)) == (data * 2)[: 20 * 32]


def test_mute_is_silence_and_volume_is_by_channel() -> None:
    model = powered(
        Microphone(lambda first, count: struct.pack("<hh", 1000, -1000) * count, channels=2)
    )
    model.volumes = [0, -5120]
    left, right = np.frombuffer(model.give(192, 0), "<i2").reshape(-1, 2).T
    assert set(left) == {1000}
    assert set(right) == {-100}  # 20 dB
    model.muted = True
    assert model.give(192, 1) == bytes(192)


def test_a_loudspeaker_hands_on_whole_samples() -> None:
    taken: list[bytes] = []
    model = powered(Loudspeaker(taken.append))
    model.play(b"\1\0\2\0\3\0\4\0\5", 10)
    assert taken == [b"\1\0\2\0\3\0\4\0"]


def test_a_loudspeaker_keeps_the_last_that_it_played() -> None:
    model = powered(Loudspeaker())
    for n in range(6000):
        model.play(struct.pack("<hh", n, n) * 48, n)
    assert len(model.played) == 1 << 20
    assert bytes(model.played[-192:]) == struct.pack("<hh", 5999, 5999) * 48


def test_milliseconds_without_sound_are_underruns() -> None:
    model = powered(Loudspeaker())
    for frame in (50, 51, 54):
        model.play(bytes(192), frame)
    assert model.underruns == 2
    model.play(b"", 55)
    assert model.underruns == 3
    model.request(bytes.fromhex("010b010001000000"), b"")
    model.play(bytes(192), 999)
    assert model.underruns == 3
