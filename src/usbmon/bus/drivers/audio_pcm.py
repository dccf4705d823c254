"""Sound in isochronous URBs: the arithmetic of snd-usb-audio (sound/usb/endpoint.c and pcm.c).

Here: how a stream is cut into URBs and packets, as Linux 6.1 does it for aplay and arecord, which
ask for half a second of buffer in four periods; sound out of URBs and into them. Not here: who
submits them (`audio`).

It differs from Linux in what a person wants of a recording: packets that were lost leave silence of
their length, not a gap, and are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import UrbFailed
from usbmon.bus.status import EIO
from usbmon.bus.timing import Speed
from usbmon.bus.urb import ISOCHRONOUS, URB_NO_TRANSFER_DMA_MAP, IsoPacket, Urb
from usbmon.usb.descriptors import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.bus.host import HostDevice, HostInterface

# sound/usb/card.h: URBs, packets in one at full and high speed, milliseconds queued for playback.
_MAX_URBS: Final = 12
_MAX_PACKS: Final = 6
_MAX_PACKS_HS: Final = 48
_MAX_QUEUE: Final = 18
_PERIODS: Final = 4
_PERIODS_A_SECOND: Final = 8
# Seconds of silence that end a recording (wait_for_avail of sound/core/pcm_lib.c), with this.
_PATIENCE: Final = 10

# Audio 1.0 table A-6.
_FORMAT_TYPE: Final = 2


@dataclass(frozen=True, slots=True)
class Stream:
    """One alternate setting with an endpoint (``struct audioformat``). `stride`: bytes of a sample
    frame; `exponent`: a packet every 2 to the power of it (micro)frames."""

    number: int
    alternate: int
    address: int
    max_packet: int
    exponent: int
    is_full_speed: bool
    stride: int
    rate: int
    has_rate: bool

    @classmethod
    def read(cls, setting: HostInterface) -> Stream:
        """From its descriptors. Raises LookupError where there is no sound in them."""
        endpoint = setting.endpoint(ISOCHRONOUS, is_in=setting.endpoints[0].is_in)
        format = next((d for d in walk(setting.extra) if d[2] == _FORMAT_TYPE), b"")
        rates = [int.from_bytes(format[at : at + 3], "little") for at in range(8, len(format), 3)]
        stride = format[4] * format[5]
        if not 1 <= stride <= endpoint.per_interval or max(rates, default=0) < _PERIODS_A_SECOND:
            raise LookupError(f"interface {setting.number} has a format without sound")
        is_full_speed = setting.device.speed is Speed.FULL
        # snd_usb_parse_datainterval
        is_slow = not is_full_speed and 1 <= endpoint.b_interval <= 4
        general = endpoint.descriptor[endpoint.descriptor[0] :]
        return cls(
            setting.number,
            setting.alternate,
            endpoint.address,
            endpoint.per_interval,
            endpoint.b_interval - 1 if is_slow else 0,
            is_full_speed,
            stride,
            max(rates),
            len(general) > 3 and bool(general[3] & 1),
        )

    @property
    def is_in(self) -> bool:
        return self.address & 0x80 != 0

    @property
    def packets_a_second(self) -> int:
        return (1000 if self.is_full_speed else 8000) >> self.exponent

    def due(self, packet: int) -> int:
        """Sample frames in the packet of this number, as far as they fit (next_packet_size)."""
        pps = self.packets_a_second
        frames = (packet + 1) * self.rate // pps - packet * self.rate // pps
        return min(frames, self.max_packet // self.stride)

    # data_ep_set_params.

    @property
    def _packs(self) -> tuple[int, int]:
        """Packets a millisecond, and how many an URB may have."""
        if self.is_full_speed:
            return 1, _MAX_PACKS
        return 8 >> self.exponent, _MAX_PACKS_HS >> self.exponent

    def capture_sizes(self) -> tuple[int, int, int]:
        """URBs, packets in each, and bytes of a packet: half as much again as the rate asks."""
        frames = -(-self.rate * 3 // (2 * self.packets_a_second))
        size = min(frames * self.stride, self.max_packet)
        packs = min(self._packs)
        while packs > 1 and packs * size >= self.period * self.stride:
            packs >>= 1
        return _MAX_URBS, packs, size

    def playback_sizes(self) -> tuple[int, int, int]:
        """URBs, packets in each, and the sample frames at which one is full."""
        per_ms, most = self._packs
        packets = -(-self.period // max(1, self.rate // self.packets_a_second))
        urbs = -(-packets // most)
        packs = -(-packets // urbs)
        count = min(_MAX_URBS, _MAX_QUEUE * per_ms // packs, urbs * _PERIODS)
        return max(1, count), packs, -(-self.period // urbs)

    @property
    def period(self) -> int:
        """Sample frames of a period."""
        return self.rate // _PERIODS_A_SECOND


class Capture:
    """Sound from URBs, until there is enough."""

    def __init__(self, stream: Stream, frames: int, take: Callable[[bytes], object]) -> None:
        self.lost = 0
        self._stream = stream
        self._left = frames * stream.stride
        self._take = take
        self._packet = 0
        self._quiet = 0

    def urbs(self, device: HostDevice) -> Iterator[Urb]:
        count, packs, size = self._stream.capture_sizes()
        for _ in range(count):
            packets = [IsoPacket(n * size, size) for n in range(packs)]
            yield _urb(device, self._stream, packs * size, packets)

    def again(self, urb: Urb) -> bool:
        """Take what came; whether more is wanted. Raises UrbFailed for one that stays silent."""
        data = b"".join(self._sound(urb, packet) for packet in urb.packets)[: self._left]
        self._left -= len(data)
        self._quiet = 0 if data else self._quiet + len(urb.packets)
        if self._quiet > _PATIENCE * self._stream.packets_a_second:
            raise UrbFailed(EIO, f"{urb.device.name}: no sound comes")
        if data:
            self._take(data)
        return self._left > 0

    def _sound(self, urb: Urb, packet: IsoPacket) -> bytes:
        stride = self._stream.stride
        due = self._stream.due(self._packet)
        self._packet += 1
        if packet.status:
            self.lost += 1
            return bytes(due * stride)
        length = packet.actual_length // stride * stride
        return bytes(urb.buffer[packet.offset : packet.offset + length])


class Playback:
    """URBs from sound (prepare_playback_urb of sound/usb/pcm.c)."""

    def __init__(self, stream: Stream, read: Callable[[int], bytes]) -> None:
        self._stream = stream
        self._read = read
        self._count, self._packs, self._full = stream.playback_sizes()
        self._packet = 0
        self._done = self._limit = 0
        self._is_dry = self._is_over = False

    def urbs(self, device: HostDevice) -> Iterator[Urb]:
        for _ in range(self._count):
            urb = _urb(device, self._stream, 0, [])
            if self.again(urb):
                yield urb

    def again(self, urb: Urb) -> bool:
        """Fill it; False once all is played, and silence to the end of the period."""
        if self._is_over:
            return False
        urb.packets = self._packets()
        size = sum(packet.length for packet in urb.packets)
        data = self._read(size)
        self._is_dry = self._is_dry or len(data) < size
        self._is_over = self._is_dry and self._limit == 0
        urb.buffer = bytearray(data.ljust(size, b"\0"))
        return True

    def _packets(self) -> list[IsoPacket]:
        """Up to the end of the period, or until there are enough frames."""
        packets: list[IsoPacket] = []
        self._limit += self._full
        at = 0
        while len(packets) < self._packs and self._done < self._limit:
            frames = self._stream.due(self._packet)
            packets.append(IsoPacket(at, frames * self._stream.stride))
            at += frames * self._stream.stride
            self._packet += 1
            self._done += frames
            if self._done >= self._stream.period:
                self._done -= self._stream.period
                self._limit = 0
                break
        return packets


def _urb(device: HostDevice, stream: Stream, size: int, packets: list[IsoPacket]) -> Urb:
    return Urb(
        device,
        stream.address,
        ISOCHRONOUS,
        size,
        interval=1 << stream.exponent,
        packets=packets,
        transfer_flags=URB_NO_TRANSFER_DMA_MAP,
    )
