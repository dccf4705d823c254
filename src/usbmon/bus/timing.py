"""Speeds, frames, and what the wire takes for a transaction.

Here: numbers of USB 2.0 chapter 5 and USB 3.2 chapter 7. Not here: who takes turns (`hcd`).

A transaction costs its bytes and a fixed overhead (tokens, handshake, turn-around): the protocol
overhead of USB 2.0 tables 5-1 to 5-10, with no bit stuffing. So a high-speed bus moves 13 bulk
packets of 512 bytes a microframe, a full-speed one 19 of 64 a frame, as those tables allow.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, TransferType

FRAME: Final = 1_000_000
MICROFRAME: Final = 125_000


class Speed(Enum):
    """How fast a device is. The value is in Mbit/s, as the kernel prints it."""

    LOW = "1.5"
    FULL = "12"
    HIGH = "480"
    SUPER = "5000"

    @property
    def frame(self) -> int:
        """Nanoseconds between chances of a periodic endpoint: a frame, or a microframe."""
        return FRAME if self in (Speed.LOW, Speed.FULL) else MICROFRAME

    @property
    def bulk_size(self) -> int:
        """The wMaxPacketSize of bulk endpoints."""
        return {Speed.LOW: 8, Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024}[self]


# Picoseconds a byte. 5 Gbit/s carry 8 bits in 10.
_BYTE: Final = {Speed.LOW: 5_333_333, Speed.FULL: 666_667, Speed.HIGH: 16_667, Speed.SUPER: 2_000}

# Bytes that a transaction costs beside its data. For SuperSpeed: header packet, framing and CRC of
# the data packet, and the link commands that go with it (USB 3.2 §7.2.1).
_OVERHEAD: Final = {
    Speed.LOW: {CONTROL: 63, INTERRUPT: 19, BULK: 19, ISOCHRONOUS: 19},
    Speed.FULL: {CONTROL: 45, INTERRUPT: 13, BULK: 13, ISOCHRONOUS: 9},
    Speed.HIGH: {CONTROL: 173, INTERRUPT: 55, BULK: 55, ISOCHRONOUS: 38},
    Speed.SUPER: {CONTROL: 120, INTERRUPT: 40, BULK: 40, ISOCHRONOUS: 40},
}

# Asynchronous transfers are served for a (micro)frame at most, so that others have their turn.
_SLICE: Final = {Speed.LOW: 8, Speed.FULL: 19 * 64, Speed.HIGH: 13 * 512, Speed.SUPER: 48 * 1024}


def wire_time(speed: Speed, type: TransferType, size: int, packets: int) -> int:
    """Nanoseconds for `size` bytes in so many packets. For control, the overhead is that of the
    whole transfer, its setup and status stages with it."""
    overhead = _OVERHEAD[speed][type] * (1 if type is CONTROL else packets)
    return (size + overhead) * _BYTE[speed] // 1000


def slice_size(speed: Speed, max_packet: int) -> int:
    """Bytes of whole packets that a bulk endpoint may move before others have their turn."""
    return max(1, _SLICE[speed] // max_packet) * max_packet


def interval_limit(speed: Speed, type: TransferType) -> int:
    """The longest interval, in (micro)frames, that usb_submit_urb lets pass; longer ones become
    this."""
    if speed is Speed.SUPER:
        return 1 << 15
    if speed is Speed.HIGH:
        return 1024 * 8
    return 128 if type is INTERRUPT else 1024


def interval_of(speed: Speed, type: TransferType, b_interval: int) -> int:
    """The interval of a periodic endpoint in (micro)frames, from its bInterval.

    USB 2.0 table 9-13: 2 to the power of bInterval - 1, but for interrupt endpoints of low and
    full speed, which say frames, and which Linux rounds down to a power of two
    (drivers/usb/core/urb.c, usb_submit_urb).
    """
    if type is INTERRUPT and speed in (Speed.LOW, Speed.FULL):
        return 1 << (min(max(b_interval, 1), 255).bit_length() - 1)
    return 1 << (min(max(b_interval, 1), 16) - 1)
