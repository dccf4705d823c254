"""snd-usb-audio: the driver of audio class 1.0 (sound/usb of Linux 6.1), with aplay and arecord.

Here: what Linux asks at probe, and how it opens, runs and stops a stream. Not here: URBs and
packets (`audio_pcm`), volume and mute (`audio_mixer`), audio class 2.0 and 3.0, feedback endpoints
and pitch control.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Steps, UrbFailed, control
from usbmon.bus.drivers.audio_mixer import Mixer
from usbmon.bus.drivers.audio_pcm import Capture, Playback, Stream
from usbmon.bus.drivers.isochronous import Flight
from usbmon.usb.descriptors import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.host import Host, HostInterface

# Audio 1.0: descriptor subtype (table A-5), requests, control of an endpoint.
_HEADER: Final = 1
_SET_CUR, _GET_CUR = 0x01, 0x81
_SAMPLING_FREQ: Final = 1


class AudioDriver(Driver):
    """See the module. `lost`: packets of recordings that did not come."""

    name = "snd-usb-audio"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return (interface.cls, interface.subclass, interface.protocol) == (1, 1, 0)

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.streams: list[Stream] = []
        self.mixer = Mixer(host, interface)
        self.lost = 0

    # What a person does.

    def record(self, seconds: float) -> Steps[bytes]:
        """arecord: so much sound. Raises `UrbFailed`."""
        sound = bytearray()
        yield from self.record_to(seconds, sound.extend)
        return bytes(sound)

    def record_to(self, seconds: float, take: Callable[[bytes], object]) -> Steps[None]:
        """The same, handed over piece by piece."""
        stream = self._stream(is_in=True)
        capture = Capture(stream, round(seconds * stream.rate), take)
        try:
            yield from self._run(stream, capture)
        finally:
            self.lost += capture.lost

    def play(self, sound: bytes) -> Steps[None]:
        """aplay: play it to its end, and silence to the end of the period. Raises `UrbFailed`."""
        return self.play_from(io.BytesIO(sound).read)

    def play_from(self, read: Callable[[int], bytes]) -> Steps[None]:
        """The same, of what ``read(size)`` gives, until that is less than `size`."""
        stream = self._stream(is_in=False)
        yield from self._run(stream, Playback(stream, read))

    def set_volume(self, decibels: float) -> Steps[None]:
        """Turn all there is to this, as near as it can. Raises `UrbFailed`."""
        return self.mixer.set_volume(decibels)

    def set_mute(self, *, on: bool) -> Steps[None]:
        """Raises `UrbFailed`."""
        return self.mixer.set_mute(on=on)

    # Streaming (sound/usb/endpoint.c).

    def _stream(self, *, is_in: bool) -> Stream:
        for stream in self.streams:
            if stream.is_in is is_in:
                return stream
        raise LookupError(f"{self.device.name} has nothing to {'record' if is_in else 'play'} with")

    def _run(self, stream: Stream, work: Capture | Playback) -> Steps[None]:
        yield from self.device.set_interface(stream.number, stream.alternate)
        flight = Flight(f"{self.device.name}: endpoint {stream.address:02x}")
        failed: UrbFailed | None = None
        try:
            yield from self._set_rate(stream)
            yield from self._flow(stream, work, flight)
        except UrbFailed as error:
            failed = error
        yield from flight.unlink()
        if self.device.is_there:
            yield from self.device.set_interface(stream.number, 0)
        if failed is not None:
            raise failed

    def _flow(self, stream: Stream, work: Capture | Playback, flight: Flight) -> Steps[None]:
        """Until enough was recorded, or all that was to be played has gone out."""
        for urb in work.urbs(self.device):
            yield from flight.submit(urb)
        while flight:
            urb = yield from flight.receive()
            if work.again(urb):
                yield from flight.submit(urb)
            elif stream.is_in:
                return

    def _set_rate(self, stream: Stream) -> Steps[None]:
        """set_sample_rate_v1: set, and look what came of it."""
        if not stream.has_rate:
            return
        rate = stream.rate.to_bytes(3, "little")
        yield from self.device.control_out(
            0x22, _SET_CUR, _SAMPLING_FREQ << 8, stream.address, rate
        )
        urb = yield from control(
            self.device, 0xA2, _GET_CUR, _SAMPLING_FREQ << 8, stream.address, 3
        )
        if not urb.status and urb.data != rate:
            now = int.from_bytes(urb.data, "little")
            self.host.report(
                f"usb {self.device.name}: current rate {now} is different from the runtime rate "
                f"{stream.rate}"
            )

    # Probe (sound/usb/card.c).

    def probe(self) -> Steps[None]:
        for at in (15, 14):  # the names of the card: product, manufacturer
            yield from self.device.read_string(self.device.descriptor[at])
        descriptors = list(walk(self.interface.extra))
        for header in descriptors:
            if header[2] == _HEADER:
                for number in header[8 : 8 + header[7]]:
                    yield from self._streams(number)
        yield from self.mixer.build(descriptors)

    def _streams(self, number: int) -> Steps[None]:
        """snd_usb_create_stream: what the settings of the interface are."""
        configuration = self.device.active_configuration
        assert configuration is not None
        self.device.drivers.setdefault(number, self)
        for setting in configuration.settings:
            if setting.number == number and setting.endpoints:
                stream = Stream.read(setting)
                self.streams.append(stream)
                yield from self.device.set_interface(number, 0)
                yield from self.device.set_interface(number, setting.alternate)
                try:
                    yield from self._set_rate(stream)
                except UrbFailed as error:
                    self.host.report(str(error))
        yield from self.device.set_interface(number, 0)


DRIVER = AudioDriver
