"""A microphone and a loudspeaker of audio class 1.0: 16-bit PCM over isochronous endpoints.

Here: the two models, their mute and volume (audio 1.0 §5.2.2.4) and sampling frequency (§5.2.3.2.3)
controls, and what becomes of sound that is played. Not here: where sound comes from (`sound`).

Theory: both take their time from the bus (synchronous endpoints, USB 2.0 §5.12.4.1), a packet a
millisecond. The packet of a millisecond holds the samples that are due in it, so that 44100 Hz are
44 samples and every tenth time 45, and never drift. What the host does not fetch in its millisecond
is lost, as it is with a real microphone; the loudspeaker counts the milliseconds without a packet.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from usbmon.bus.descriptors import (
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
    Strings,
)
from usbmon.bus.device import Device, Stall, endpoint
from usbmon.bus.devices.sound import Samples, looped, tone
from usbmon.bus.timing import Speed
from usbmon.bus.urb import ISOCHRONOUS

if TYPE_CHECKING:
    import wave
    from collections.abc import Callable

    from usbmon.usb.setup import Setup

# Requests (audio 1.0 table A-9), descriptors and controls.
SET_CUR, GET_CUR, GET_MIN, GET_MAX, GET_RES = 0x01, 0x81, 0x82, 0x83, 0x84
_CS_INTERFACE, _CS_ENDPOINT = 0x24, 0x25
_HEADER, _INPUT_TERMINAL, _OUTPUT_TERMINAL, _FEATURE_UNIT = 1, 2, 3, 6
_AS_GENERAL, _FORMAT_TYPE, _EP_GENERAL = 1, 2, 1
_MUTE, _VOLUME, _SAMPLING_FREQ = 1, 2, 1
# Terminal types (USB Audio Terminal Types, tables 2-1 to 2-3).
_USB_STREAMING, _MICROPHONE, _SPEAKER = 0x0101, 0x0201, 0x0301
# The units of both models.
_INPUT, _UNIT, _OUTPUT = 1, 2, 3

# Volume in 1/256 dB: from -60 dB in steps of 1 dB to 0 dB, where samples are left as they are.
_VOLUMES: Final = {GET_MIN: -60 * 256, GET_MAX: 0, GET_RES: 256}

_SAMPLE: Final = 2
# What a loudspeaker keeps of what it played, in bytes.
_KEPT: Final = 1 << 20


def _class_specific(type: int, subtype: int, layout: str, *fields: int) -> bytes:
    body = struct.pack(f"<BB{layout}", type, subtype, *fields)
    return bytes((1 + len(body),)) + body


class _Stream(Endpoint):
    """An endpoint with a packet a millisecond, in whatever its speed counts (USB 2.0 §9.6.6)."""

    def encode(self, speed: Speed, strings: Strings) -> bytes:
        interval = 1 if speed in (Speed.LOW, Speed.FULL) else 4
        return Endpoint.encode(replace(self, bInterval=interval), speed, strings)


class AudioDevice(Device):
    """What both models are: one stream, behind a unit with mute and volume.

    `rate` in Hz; `volumes`, by channel, in 1/256 dB. Raises ValueError for a rate or a number of
    channels whose packets do not fit into a full-speed frame.
    """

    max_speed = Speed.HIGH
    _address: ClassVar[int]
    _terminals: ClassVar[tuple[int, int]]

    def __init__(self, rate: int, channels: int, speed: Speed) -> None:
        super().__init__(speed=speed)
        self.rate = rate
        self.channels = channels
        self.stride = channels * _SAMPLE
        self.packet = -(-rate // 1000) * self.stride
        if rate < 1000 or not 1 <= channels <= 8 or self.packet > 1023:
            raise ValueError(
                f"{channels} channels of {rate} Hz do not fit: a packet has up to 1023 bytes, a "
                "rate is 1000 Hz or more, and there are 1 to 8 channels"
            )
        self.configurations = (Configuration((self._control(), *self._streaming())),)
        self.reset()

    def reset(self) -> None:
        self.muted = False
        self.volumes = [0] * self.channels
        self._start: int | None = None

    def interface_set(self, number: int, alternate: int) -> None:
        self._start = None

    # Descriptors (audio 1.0 §4).

    def _control(self) -> Interface:
        """AudioControl: from the input terminal through the feature unit to the output terminal."""
        source, sink = self._terminals
        spread = (1 << self.channels) - 1 if self.channels > 1 else 0
        controls = [1 << _MUTE - 1] + [1 << _VOLUME - 1] * self.channels
        units = (
            _class_specific(
                _CS_INTERFACE, _INPUT_TERMINAL, "BHBBHBB",
                _INPUT, source, 0, self.channels, spread, 0, 0,
            ),
            _class_specific(
                _CS_INTERFACE, _FEATURE_UNIT, f"BBB{len(controls)}BB",
                _UNIT, _INPUT, 1, *controls, 0,
            ),
            _class_specific(
                _CS_INTERFACE, _OUTPUT_TERMINAL, "BHBBB", _OUTPUT, sink, 0, _UNIT, 0
            ),
        )  # fmt: skip
        body = b"".join(units)
        header = _class_specific(_CS_INTERFACE, _HEADER, "HHBB", 0x0100, 9 + len(body), 1, 1)
        return Interface(1, 1, extra=header + body)

    def _streaming(self) -> tuple[Interface, Interface]:
        """AudioStreaming: without bandwidth, and with the stream."""
        link = _INPUT if self._terminals[0] == _USB_STREAMING else _OUTPUT
        general = _class_specific(_CS_INTERFACE, _AS_GENERAL, "BBH", link, 1, 1)
        format = _class_specific(
            _CS_INTERFACE, _FORMAT_TYPE, "BBBBBHB",
            1, self.channels, _SAMPLE, 16, 1, self.rate & 0xFFFF, self.rate >> 16,
        )  # fmt: skip
        stream = _Stream(
            self._address,
            ISOCHRONOUS,
            self.packet,
            attributes=0x0C,  # synchronous
            audio=(0, 0),
            extra=_class_specific(_CS_ENDPOINT, _EP_GENERAL, "BBH", 1, 0, 0),
        )
        return (
            Interface(1, 2, bInterfaceNumber=1),
            Interface(
                1, 2, endpoints=(stream,), bInterfaceNumber=1, bAlternateSetting=1,
                extra=general + format,
            ),
        )  # fmt: skip

    # Requests (audio 1.0 §5.2).

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        selector, channel = divmod(setup.wValue, 256)
        if setup.type != "class" or setup.is_in is not bool(setup.bRequest & 0x80):
            raise Stall
        if setup.recipient == "Interface" and setup.wIndex == _UNIT << 8:
            if selector == _MUTE and channel == 0:
                return self._mute(setup.bRequest, data)
            if selector == _VOLUME and 1 <= channel <= self.channels:
                return self._volume(setup.bRequest, channel - 1, data)
        is_ours = setup.recipient == "Endpoint" and setup.wIndex == self._address
        if is_ours and setup.wValue == _SAMPLING_FREQ << 8:
            return self._frequency(setup.bRequest, data)
        raise Stall

    def _mute(self, request: int, data: bytes) -> bytes | None:
        if request == SET_CUR and len(data) == 1:
            self.muted = data != b"\0"
        elif request == GET_CUR:
            return bytes((self.muted,))
        else:
            raise Stall
        return None

    def _volume(self, request: int, channel: int, data: bytes) -> bytes | None:
        """§5.2.2.4.3.2: what is set becomes the next step that there is."""
        if request == SET_CUR and len(data) == 2:
            wanted = int.from_bytes(data, "little", signed=True)
            step = _VOLUMES[GET_RES]
            nearest = (wanted + step // 2) // step * step
            self.volumes[channel] = min(max(nearest, _VOLUMES[GET_MIN]), _VOLUMES[GET_MAX])
        elif request == GET_CUR:
            return self.volumes[channel].to_bytes(2, "little", signed=True)
        elif request in _VOLUMES:
            return _VOLUMES[request].to_bytes(2, "little", signed=True)
        else:
            raise Stall
        return None

    def _frequency(self, request: int, data: bytes) -> bytes | None:
        """§5.2.3.2.3.1: there is one frequency, which is the nearest to all that may be set."""
        if request == GET_CUR:
            return self.rate.to_bytes(3, "little")
        if request != SET_CUR or len(data) != 3:
            raise Stall
        return None

    # Samples.

    def _millisecond(self, frame: int) -> int:
        """Milliseconds from the first packet of the stream to that of this (micro)frame."""
        if self._start is None:
            self._start = frame
        return (frame - self._start) // (1 if self.speed is Speed.FULL else 8)

    def _due(self, millisecond: int) -> tuple[int, int]:
        """Number of the first sample frame of a millisecond, and how many it has."""
        first = millisecond * self.rate // 1000
        return first, (millisecond + 1) * self.rate // 1000 - first

    def _unit(self, data: bytes) -> bytes:
        """What the feature unit makes of samples."""
        if self.muted:
            return bytes(len(data))
        if not any(self.volumes):
            return data
        gains = 10 ** (np.array(self.volumes) / (20 * 256))
        samples = np.frombuffer(data, "<i2").reshape(-1, self.channels)
        return (samples * gains).astype("<i2").tobytes()


class Microphone(AudioDevice):
    """Gives the sound of `samples`; of none, a tone of 440 Hz on all channels."""

    descriptor = DeviceDescriptor(
        0x1209, 0x0010, iManufacturer="usbmon", iProduct="Microphone", iSerialNumber="0001"
    )
    _address = 0x81
    _terminals = (_MICROPHONE, _USB_STREAMING)

    def __init__(
        self,
        samples: Samples | None = None,
        *,
        rate: int = 48000,
        channels: int = 1,
        speed: Speed = Speed.FULL,
    ) -> None:
        super().__init__(rate, channels, speed)
        self.samples = samples or tone(rate, channels)

    @classmethod
    def of_wave(cls, file: wave.Wave_read, *, speed: Speed = Speed.FULL) -> Microphone:
        """One that hears this WAV file, again and again. Raises FormatError for one without
        samples, or of other than 16 bits."""
        return cls(
            looped(file), rate=file.getframerate(), channels=file.getnchannels(), speed=speed
        )

    @endpoint(0x81)
    def give(self, size: int, frame: int) -> bytes:
        first, count = self._due(self._millisecond(frame))
        return self._unit(self.samples(first, count))


class Loudspeaker(AudioDevice):
    """Hands what it plays to `take`, as ``Wave_write.writeframes``; without one, `played` has the
    last MiB. `underruns`: the milliseconds of a stream for which nothing came."""

    descriptor = DeviceDescriptor(
        0x1209, 0x0011, iManufacturer="usbmon", iProduct="Loudspeaker", iSerialNumber="0001"
    )
    _address = 0x01
    _terminals = (_USB_STREAMING, _SPEAKER)

    def __init__(
        self,
        take: Callable[[bytes], object] | None = None,
        *,
        rate: int = 48000,
        channels: int = 2,
        speed: Speed = Speed.FULL,
    ) -> None:
        super().__init__(rate, channels, speed)
        self.played = bytearray()
        self.underruns = 0
        self._take = take or self._keep
        self._next = 0

    def interface_set(self, number: int, alternate: int) -> None:
        super().interface_set(number, alternate)
        self._next = 0

    @endpoint(0x01)
    def play(self, data: bytes, frame: int) -> None:
        now = self._millisecond(frame)
        whole = data[: len(data) - len(data) % self.stride]
        self.underruns += now - self._next + (not whole)
        self._next = now + 1
        self._take(self._unit(whole))

    def _keep(self, data: bytes) -> None:
        self.played += data
        del self.played[:-_KEPT]
