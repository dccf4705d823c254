"""Sound for a microphone model to hear: a tone, or a WAV file.

Here: functions from the number of a sample to samples of 16 bits, the same for the same number. Not
here: opening files, which whoever has the microphone does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from usbmon.errors import FormatError

if TYPE_CHECKING:
    import wave

_SAMPLE: Final = 2

Samples = Callable[[int, int], bytes]
"""Where sound comes from: called with the number of a first sample frame, and how many; gives that
many frames of little-endian 16-bit samples, channel by channel."""


def tone(rate: int, channels: int, frequency: int = 440) -> Samples:
    """A sine at half of full scale."""
    period = rate // math.gcd(rate, frequency)
    one = [round(16383 * math.sin(2 * math.pi * frequency * n / rate)) for n in range(period)]
    wave = np.array(one, "<i2").repeat(channels).tobytes()
    stride = channels * _SAMPLE

    def samples(first: int, count: int) -> bytes:
        at = first % period * stride
        size = count * stride
        return (wave[at : at + size] + wave * (size // len(wave) + 1))[:size]

    return samples


def looped(file: wave.Wave_read) -> Samples:
    """A WAV file again and again. Raises FormatError for one without samples, or of other than 16
    bits."""
    length = file.getnframes()
    if not length or file.getsampwidth() != _SAMPLE:
        raise FormatError("a WAV file of 16-bit samples is needed: convert it to 16-bit PCM")

    def samples(first: int, count: int) -> bytes:
        data = b""
        while count:
            file.setpos(first % length)
            part = min(count, length - first % length)
            data += file.readframes(part)
            first, count = first + part, count - part
        return data

    return samples
