"""The test picture: what a person, and a program, can read off it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.devices.picture import picture

SIZES = [(160, 120), (320, 240)]


def number_of(raw: bytes, width: int) -> int:
    """The number that the blocks of the last line show."""
    luma = raw[-2 * width :: 2]
    bits = [luma[width // 16 * n + 3] > 128 for n in range(16)]
    return int("".join(str(int(bit)) for bit in bits), 2)


@pytest.mark.parametrize(("width", "height"), SIZES)
@given(number=st.integers(0, 1 << 20))
def test_it_says_its_number(width: int, height: int, number: int) -> None:
    raw = picture(width, height, number)
    assert len(raw) == width * height * 2
    assert number_of(raw, width) == number % 65536


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_eight_bars_and_one_white_line_that_moves(width: int, height: int) -> None:
    for number in (0, 1, 50, height):
        raw = picture(width, height, number)
        lines = [raw[y * width * 2 : (y + 1) * width * 2] for y in range(height - height // 8)]
        white = [y for y, line in enumerate(lines) if line == bytes((235, 128)) * width]
        assert white == [number % len(lines)]
        assert len({line for y, line in enumerate(lines) if y not in white}) == 1
        bars = lines[white[0] - 1]
        assert len({bars[x : x + 4] for x in range(0, len(bars), 4)}) == 8
        assert list(bars[::2]) == sorted(bars[::2], reverse=True)


def test_brightness_is_luma_alone_and_stays_in_range() -> None:
    plain, lit = picture(160, 120, 7), picture(160, 120, 7, 64)
    assert lit[1::2] == plain[1::2]
    assert list(lit[::2]) == [min(y + 64, 235) for y in plain[::2]]
    assert min(picture(160, 120, 7, -64)[::2]) == 16
