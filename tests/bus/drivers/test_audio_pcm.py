"""The arithmetic of streams: what Linux works out, and sound cut up without loss."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.drivers.audio_pcm import Capture, Playback, Stream
from usbmon.bus.host import HostDevice, HostInterface
from usbmon.bus.timing import Speed
from usbmon.usb.descriptors import configuration


def stream(
    rate: int = 48000, stride: int = 4, *, exponent: int = 0, full: bool = True, **more
) -> Stream:
    fields = {"number": 1, "alternate": 1, "address": 1, "max_packet": 1023, "has_rate": True}
    return Stream(
        **(fields | more), exponent=exponent, is_full_speed=full, stride=stride, rate=rate
    )


@pytest.fixture(scope="module")
def device() -> HostDevice:
    return HostDevice(Bench().bus, Speed.FULL)


STREAMS = st.builds(
    stream,
    st.integers(1000, 192_000),
    st.sampled_from([2, 4, 6, 12]),
    exponent=st.integers(0, 3),
    full=st.just(False),
    max_packet=st.just(3072),
) | st.builds(stream, st.integers(1000, 96_000), st.sampled_from([2, 4]))


@pytest.mark.parametrize(
    ("made", "capture", "playback"),
    [
        # As recorded of Linux 6.1: 16000 Hz mono with packets of 34 bytes; 48000 Hz stereo.
        (stream(16000, 2, max_packet=34), (12, 1, 34), (3, 6, 96)),
        (stream(48000, 4, max_packet=192), (12, 1, 192), (3, 6, 286)),
        (stream(48000, 4, exponent=3, full=False, max_packet=192), (12, 1, 192), (3, 6, 286)),
        (stream(48000, 4, full=False), (12, 8, 36), (3, 48, 286)),
    ],
)
def test_sizes_are_those_of_linux(made: Stream, capture, playback) -> None:
    assert made.capture_sizes() == capture
    assert made.playback_sizes() == playback


@given(made=STREAMS, sound=st.binary(max_size=20_000))
def test_playback_is_the_sound_cut_at_packets_then_silence(
    device: HostDevice, made: Stream, sound: bytes
) -> None:
    work = Playback(made, io.BytesIO(sound).read)
    urbs = list(work.urbs(device))
    played, packets = b"", []
    while urbs:
        urb = urbs.pop(0)
        assert sum(packet.length for packet in urb.packets) == len(urb.buffer)
        packets += [packet.length for packet in urb.packets]
        played += urb.buffer
        if work.again(urb):
            urbs.append(urb)
    assert played[: len(sound)] == sound
    assert not any(played[len(sound) :])
    nominal = made.rate * made.stride / made.packets_a_second
    assert all(abs(size - nominal) < made.stride for size in packets)
    assert abs(sum(packets) - nominal * len(packets)) < made.stride


@given(made=STREAMS, frames=st.integers(1, 3000), seed=st.randoms(use_true_random=False))
def test_capture_takes_exactly_what_was_asked_for(
    device: HostDevice, made: Stream, frames: int, seed
) -> None:
    taken: list[bytes] = []
    work = Capture(made, frames, taken.append)
    urbs = list(work.urbs(device))
    sent, lost, number = b"", 0, 0
    for urb in urbs * 10_000:
        for packet in urb.packets:
            size = min(made.due(number), packet.length // made.stride) * made.stride
            number += 1
            packet.status, packet.actual_length = seed.choice([(0, size), (0, size), (-18, 0)])
            data = bytes([number & 0xFF]) * size
            urb.buffer[packet.offset : packet.offset + size] = data
            sent += bytes(made.due(number - 1) * made.stride) if packet.status else data
            lost += packet.status != 0
        if not work.again(urb):
            break
    assert b"".join(taken) == sent[: frames * made.stride]
    assert work.lost == lost


FORMAT = "0b24020101021001803e00"
ENDPOINT = "09058105220001000007250101000000"


def setting(device: HostDevice, extra: str, endpoint: str = ENDPOINT) -> HostInterface:
    raw = bytes.fromhex("0902 0000 01 01 00 80 32 090401010101020000" + extra + endpoint)
    read = configuration(raw)
    assert read is not None
    return HostInterface(device, read.interfaces[0])


def test_a_stream_is_read_from_descriptors(device: HostDevice) -> None:
    made = Stream.read(setting(device, "07240103010100" + FORMAT))
    assert made == stream(16000, 2, address=0x81, max_packet=34)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "0724010301",
        "0b24020100021001803e00",
        "0824020101021001",
        "0b24020101021001000000",
        "0324",
    ],
)
def test_a_stream_without_sound_is_none(device: HostDevice, extra: str) -> None:
    with pytest.raises(LookupError):
        Stream.read(setting(device, extra))


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
@given(format=st.binary(max_size=12), size=st.integers(0, 0xFFFF), interval=st.integers(0, 255))
def test_any_descriptors_are_a_stream_that_can_be_run_or_none(
    speed: Speed, format: bytes, size: int, interval: int
) -> None:
    device = HostDevice(Bench().bus, speed)
    extra = bytes((3 + len(format), 0x24, 2)) + format
    endpoint = b"\x09\x05\x01\x01" + size.to_bytes(2, "little") + bytes((interval, 0, 0))
    try:
        made = Stream.read(setting(device, extra.hex(), endpoint.hex()))
    except LookupError:
        return
    urbs = [*Capture(made, 1, bytes).urbs(device), *Playback(made, bytes).urbs(device)]
    assert len(urbs) >= 13
    limit = made.max_packet
    assert all(packet.length <= limit for urb in urbs for packet in urb.packets)
