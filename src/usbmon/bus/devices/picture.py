"""The test picture of the webcam model, the same for the same number.

Here: one function from a number to a picture in YUY2 (Y0 U Y1 V for two pixels). Not here: how it
travels (`video`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

# Y, U, V of white, yellow, cyan, green, magenta, red, blue and black at 75 % (ITU-R BT.801).
_BARS: Final = (
    (180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58),
    (84, 184, 198), (65, 100, 212), (35, 212, 114), (16, 128, 128),
)  # fmt: skip
_WHITE, _BLACK = bytes((235, 128)), bytes((16, 128))
_BITS: Final = 16


def picture(width: int, height: int, number: int, brightness: int = 0) -> bytes:
    """A test picture in YUY2: colour bars, a white line that moves down a line a picture, and in
    the last eighth `number` in 16 blocks, the highest bit first, white for 1."""
    row = _bars(width)
    tall = height - height // 8
    line = number % tall
    bits = b"".join(
        (_WHITE if number >> bit & 1 else _BLACK) * (width // _BITS)
        for bit in reversed(range(_BITS))
    )
    whole = row * line + _WHITE * width + row * (tall - line - 1) + bits * (height // 8)
    if not brightness:
        return whole
    lit = bytearray(whole)
    lit[::2] = lit[::2].translate(bytes(min(max(y + brightness, 16), 235) for y in range(256)))
    return bytes(lit)


@lru_cache(maxsize=8)
def _bars(width: int) -> bytes:
    pairs = (_BARS[x * len(_BARS) // width] for x in range(0, width, 2))
    return b"".join(bytes((y, u, y, v)) for y, u, v in pairs)
