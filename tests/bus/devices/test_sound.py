"""Sound for microphones: the same for the same number, in any pieces."""

from __future__ import annotations

import io
import struct
import wave
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.devices.sound import looped, tone
from usbmon.errors import FormatError


def wav(data: bytes, *, width: int = 2, channels: int = 2) -> wave.Wave_read:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(8000)
        writer.writeframes(data)
    file.seek(0)
    return wave.open(file, "rb")


SOURCES = [tone(48000, 1), tone(44100, 2), tone(8000, 2, 4000), looped(wav(bytes(range(200))))]


@pytest.mark.parametrize("samples", SOURCES)
@given(first=st.integers(0, 10**7), sizes=st.lists(st.integers(0, 5000), max_size=4))
def test_pieces_are_the_whole(samples, first: int, sizes: list[int]) -> None:
    whole = samples(first, sum(sizes))
    pieces = [samples(first + sum(sizes[:n]), size) for n, size in enumerate(sizes)]
    assert b"".join(pieces) == whole


def test_a_tone_has_its_frequency_and_is_on_all_channels() -> None:
    samples = struct.unpack("<96000h", tone(48000, 2)(0, 48000))
    assert samples[::2] == samples[1::2]
    left = samples[::2]
    rising = sum(a < 0 <= b for a, b in pairwise(left))
    assert rising in {439, 440}
    assert max(left) == -min(left) == 16383


def test_a_file_is_heard_from_its_start_and_again() -> None:
    data = bytes(range(40))
    assert looped(wav(data))(0, 25) == data * 2 + data[:20]


@pytest.mark.parametrize("file", [wav(b""), wav(bytes(12), width=1), wav(bytes(12), width=3)])
def test_what_is_not_16_bit_sound_is_refused(file: wave.Wave_read) -> None:
    with pytest.raises(FormatError, match="convert it to 16-bit PCM"):
        looped(file)
