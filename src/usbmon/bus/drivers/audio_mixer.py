"""The mixer of snd-usb-audio: mute and volume of feature units (sound/usb/mixer.c of Linux 6.1).

Here: which controls there are, and what Linux asks to find their ranges and steps. Not here: mixer,
selector, processing and extension units, through which only the way to the feature units leads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Steps, UrbFailed, control
from usbmon.bus.status import EINVAL, ETIMEDOUT

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface

# A request that fails is made ten times.
_TRIES: Final = 10

# Audio 1.0: descriptor subtypes (table A-5), requests, controls.
_HEADER, _OUTPUT, _MIXER, _SELECTOR, _FEATURE = 1, 3, 4, 5, 6
_SET_CUR, _SET_RES = 0x01, 0x04
_GET_CUR, _GET_MIN, _GET_MAX, _GET_RES = 0x81, 0x82, 0x83, 0x84
_MUTE, _VOLUME = 1, 2


@dataclass(slots=True)
class Volume:
    """A volume control: its range in 1/256 dB, and what its channels (0: all at once) are at."""

    unit: int
    channels: tuple[int, ...]
    min: int = 0
    max: int = 1
    res: int = 1
    values: dict[int, int] = field(default_factory=dict)


class Mixer:
    """The controls of an AudioControl interface. `mutes`: unit and channel of each."""

    def __init__(self, host: Host, interface: HostInterface) -> None:
        self._host = host
        self._device = interface.device
        self._number = interface.number
        self.volumes: list[Volume] = []
        self.mutes: list[tuple[int, int]] = []

    def build(self, descriptors: list[bytes]) -> Steps[None]:
        """Find them, going back from each output terminal (snd_usb_mixer_controls)."""
        units = {d[3]: d for d in descriptors if d[2] != _HEADER}
        for terminal in [unit for unit in units.values() if unit[2] == _OUTPUT]:
            yield from self._unit(units, terminal[7])

    def set_volume(self, decibels: float) -> Steps[None]:
        """Of all channels, as near as they can. Raises `UrbFailed`."""
        for volume in self.volumes:
            steps = round((decibels * 256 - volume.min) / volume.res)
            value = min(max(volume.min + steps * volume.res, volume.min), volume.max)
            for channel in volume.channels:
                yield from self._set_cur(volume, channel, value)

    def set_mute(self, *, on: bool) -> Steps[None]:
        """Of all that can. Raises `UrbFailed`."""
        for unit, channel in self.mutes:
            yield from self._set(_SET_CUR, unit, _MUTE << 8 | channel, bytes((on,)))

    def _unit(self, units: dict[int, bytes], number: int) -> Steps[None]:
        """parse_audio_unit: what is before it first, and each once."""
        unit = units.pop(number, b"")
        if not unit:
            return
        if unit[2] in (_MIXER, _SELECTOR):
            for source in unit[5 : 5 + unit[4]]:
                yield from self._unit(units, source)
        elif unit[2] == _FEATURE:
            yield from self._unit(units, unit[4])
            yield from self._feature(unit)

    def _feature(self, unit: bytes) -> Steps[None]:
        """parse_audio_feature_unit: of each control the channels, then the master."""
        masks = unit[6 : -1 : max(1, unit[5])]
        for selector, build in ((_MUTE, self._mute), (_VOLUME, self._volume)):
            has = [n for n, mask in enumerate(masks) if mask >> selector - 1 & 1]
            for channels in (tuple(n for n in has if n), tuple(n for n in has if not n)):
                if channels:
                    yield from self._name(unit[-1])
                    yield from build(unit[3], channels)

    def _name(self, string: int) -> Steps[None]:
        """usb_string, which the kernel does not remember."""
        if string:
            langid = self._device.langid
            yield from control(self._device, 0x80, 6, 0x300 | string, langid, 255)

    def _mute(self, unit: int, channels: tuple[int, ...]) -> Steps[None]:
        for channel in channels:
            try:
                yield from self._get(_GET_CUR, unit, _MUTE << 8 | channel, 1)
            except UrbFailed as error:
                self._host.report(str(error))
            self.mutes.append((unit, channel))

    def _volume(self, unit: int, channels: tuple[int, ...]) -> Steps[None]:
        """get_min_max_with_quirks; a control without a range is none."""
        volume = Volume(unit, channels)
        first = _VOLUME << 8 | channels[0]
        try:
            volume.max = yield from self._get(_GET_MAX, unit, first, 2)
            volume.min = yield from self._get(_GET_MIN, unit, first, 2)
            yield from self._resolve(volume, first)
            for channel in channels:
                if channel not in volume.values:
                    selector = _VOLUME << 8 | channel
                    volume.values[channel] = yield from self._get(_GET_CUR, unit, selector, 2)
        except UrbFailed as error:
            self._host.report(str(error))
        else:
            self.volumes.append(volume)

    def _resolve(self, volume: Volume, first: int) -> Steps[None]:
        """Its step: the smallest that it may be set to, and that then does something."""
        try:
            volume.res = yield from self._get(_GET_RES, volume.unit, first, 2)
        except UrbFailed:
            return
        yield from self._refine(volume, first)
        volume.res = max(volume.res, 1)
        if volume.min + volume.res < volume.max:
            yield from self._coarsen(volume, first)

    def _refine(self, volume: Volume, first: int) -> Steps[None]:
        given = finest = volume.res
        try:
            while finest > 1:
                half = (finest // 2).to_bytes(2, "little")
                yield from self._set(_SET_RES, volume.unit, first, half)
                finest //= 2
        except UrbFailed:
            pass
        try:
            volume.res = yield from self._get(_GET_RES, volume.unit, first, 2)
        except UrbFailed:
            volume.res = given

    def _coarsen(self, volume: Volume, first: int) -> Steps[None]:
        """Some devices have coarser steps than they say: try, then put it back as it was."""
        channel = first & 0xFF
        saved = yield from self._get(_GET_CUR, volume.unit, first, 2)
        step, done = volume.res, False
        while not done:
            test = saved + step if saved < volume.max else saved - step
            if not volume.min <= test <= volume.max:
                break
            yield from self._set_cur(volume, channel, test)
            check = yield from self._get(_GET_CUR, volume.unit, first, 2)
            done = check == test
            volume.res, step = (step, step) if done else (volume.res, step * 2)
        yield from self._set_cur(volume, channel, saved)

    # Requests (audio 1.0 §5.2.2.4).

    def _set_cur(self, volume: Volume, channel: int, value: int) -> Steps[None]:
        data = value.to_bytes(2, "little", signed=True)
        yield from self._set(_SET_CUR, volume.unit, _VOLUME << 8 | channel, data)
        volume.values[channel] = value

    def _get(self, request: int, unit: int, selector: int, size: int) -> Steps[int]:
        """get_ctl_value_v1. Raises `UrbFailed`."""
        status = EINVAL
        for _ in range(_TRIES):
            index = unit << 8 | self._number
            urb = yield from control(self._device, 0xA1, request, selector, index, size)
            if not urb.status and len(urb.data) == size:
                return int.from_bytes(urb.data, "little", signed=True)
            status = urb.status or EINVAL
            if status == ETIMEDOUT:
                break
        raise UrbFailed(status, f"{self._device.name}: cannot get control {selector:#06x}")

    def _set(self, request: int, unit: int, selector: int, data: bytes) -> Steps[None]:
        """snd_usb_mixer_set_ctl_value. Raises `UrbFailed`."""
        status = EINVAL
        for _ in range(_TRIES):
            index = unit << 8 | self._number
            urb = yield from control(self._device, 0x21, request, selector, index, data)
            status = urb.status
            if not status or status == ETIMEDOUT:
                break
        if status:
            raise UrbFailed(status, f"{self._device.name}: cannot set control {selector:#06x}")
