"""uvcvideo: the driver of the video class (drivers/media/usb/uvc of Linux 6.1), with what a program
does to take pictures.

Here: what Linux asks at probe, to choose a format and to run a stream. Not here: pictures out of
payloads (`video_stream`), brightness (`video_control`), bulk streams, compressed formats and the
status endpoint.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Steps, UrbFailed, control
from usbmon.bus.drivers.isochronous import Flight
from usbmon.bus.drivers.video_control import Controls, string_of
from usbmon.bus.drivers.video_stream import Assembler, Frame, StreamControl, frames_of
from usbmon.bus.loop import SECOND
from usbmon.bus.status import EIO, ETIMEDOUT
from usbmon.bus.urb import ISOCHRONOUS, URB_ISO_ASAP, URB_NO_TRANSFER_DMA_MAP, IsoPacket
from usbmon.usb.descriptors import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.host import Host, HostEndpoint, HostInterface
    from usbmon.bus.urb import Urb

# drivers/media/usb/uvc/uvcvideo.h.
_URBS: Final = 5
_MAX_PACKETS: Final = 32
# How long a program waits for a picture.
_PATIENCE: Final = 2 * SECOND

# UVC 1.1: descriptor subtype (table A-5), requests, controls.
_HEADER: Final = 1
_SET_CUR, _GET_CUR, _GET_MIN, _GET_MAX, _GET_DEF = 0x01, 0x81, 0x82, 0x83, 0x87
_PROBE, _COMMIT = 1, 2


class VideoDriver(Driver):
    """See the module. `dropped`: pictures that came incomplete, which no program sees."""

    name = "uvcvideo"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return (interface.cls, interface.subclass) == (14, 1) and interface.protocol in (0, 1)

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.frames_known: list[Frame] = []
        self.negotiated = StreamControl()
        self.controls = Controls(host, interface)
        self.dropped = 0
        self._version = 0
        self._stream = 0

    # What a person does.

    def frames(
        self, count: int, *, size: tuple[int, int] | None = None, rate: float | None = None
    ) -> Steps[list[bytes]]:
        """Take so many pictures; of this width and height and so many a second, or as near as
        there is. Raises `UrbFailed`."""
        pictures: list[bytes] = []
        yield from self.stream(count, pictures.append, size=size, rate=rate)
        return pictures

    def stream(
        self,
        count: int,
        take: Callable[[bytes], object],
        *,
        size: tuple[int, int] | None = None,
        rate: float | None = None,
    ) -> Steps[None]:
        """The same, handed over one by one."""
        if size is not None:
            yield from self._set_format(size)
        if rate is not None:
            yield from self._set_rate(rate)
        assembler = Assembler(self._frame.size)
        try:
            yield from self._run(assembler, count, take)
        finally:
            self.dropped += assembler.dropped

    def set_brightness(self, value: int) -> Steps[None]:
        """Make it lighter or darker. Raises `UrbFailed`, and LookupError where there is none."""
        return self.controls.set_brightness(value)

    # Probe (uvc_driver.c).

    def probe(self) -> Steps[None]:
        yield from self._string(self._function())
        units = list(walk(self.interface.extra))
        for unit in units:
            if unit[2] == _HEADER:
                self._version = int.from_bytes(unit[3:5], "little")
                self._stream = unit[12]
            yield from self._string(string_of(unit))
        self._read_formats()
        yield from self.controls.build(units)
        yield from self._init_video()

    def _function(self) -> int:
        """The string of the function: of its association or, without one, of the interface."""
        configuration = self.device.active_configuration
        for association in configuration.associations if configuration is not None else ():
            if association.bFirstInterface == self.interface.number and association.iFunction:
                return association.iFunction
        return self.interface.descriptor[8]

    def _string(self, number: int) -> Steps[None]:
        """usb_string, which the kernel does not remember."""
        if number:
            yield from control(self.device, 0x80, 6, 0x300 | number, self.device.langid, 255)

    def _read_formats(self) -> None:
        """uvc_parse_streaming. Raises LookupError where there is nothing we can show."""
        self.frames_known = frames_of(self._settings()[0].extra)
        if not self.frames_known:
            raise LookupError(f"{self.device.name} has no uncompressed format")
        self.device.drivers.setdefault(self._stream, self)

    def _settings(self) -> list[HostInterface]:
        configuration = self.device.active_configuration
        assert configuration is not None
        return [s for s in configuration.settings if s.number == self._stream]

    def _init_video(self) -> Steps[None]:
        """uvc_video_init: the device's own choice."""
        yield from self.device.set_interface(self._stream, 0)
        try:
            self.negotiated = yield from self._get_stream(_GET_DEF)
            yield from self._set_stream(_PROBE)
        except UrbFailed:
            self.host.report(f"usb {self.device.name}: UVC non compliance - no GET_DEF on probe")
        self.negotiated = yield from self._get_stream(_GET_CUR)

    # Negotiation (uvc_video.c, uvc_v4l2.c).

    @property
    def _frame(self) -> Frame:
        """That which was negotiated; the first, if the device speaks of one it has not got."""
        wanted = (self.negotiated.bFormatIndex, self.negotiated.bFrameIndex)
        found = [f for f in self.frames_known if (f.bFormatIndex, f.bFrameIndex) == wanted]
        return (found or self.frames_known)[0]

    def _set_format(self, size: tuple[int, int]) -> Steps[None]:
        """VIDIOC_S_FMT: the frame that differs least in area."""

        def difference(frame: Frame) -> int:
            common = min(frame.width, size[0]) * min(frame.height, size[1])
            return frame.width * frame.height + size[0] * size[1] - 2 * common

        frame = min(self.frames_known, key=difference)
        self.negotiated = StreamControl(
            bmHint=1,
            bFormatIndex=frame.bFormatIndex,
            bFrameIndex=frame.bFrameIndex,
            dwFrameInterval=frame.dwDefaultFrameInterval,
        )
        yield from self._probe_video()

    def _set_rate(self, rate: float) -> Steps[None]:
        """VIDIOC_S_PARM."""
        wanted = 10_000_000 / rate
        interval = min(self._frame.intervals, key=lambda interval: abs(interval - wanted))
        self.negotiated = replace(self.negotiated, dwFrameInterval=interval)
        yield from self._probe_video()

    def _probe_video(self) -> Steps[None]:
        """uvc_probe_video: ask, see the limits, ask again, take what is offered."""
        yield from self._set_stream(_PROBE)
        yield from self._get_stream(_GET_MIN)
        most = yield from self._get_stream(_GET_MAX)
        self.negotiated = replace(self.negotiated, wCompQuality=most.wCompQuality)
        yield from self._set_stream(_PROBE)
        self.negotiated = yield from self._get_stream(_GET_CUR)

    @property
    def _size(self) -> int:
        """uvc_video_ctrl_size."""
        return 26 if self._version < 0x0110 else 34

    def _get_stream(self, request: int) -> Steps[StreamControl]:
        urb = yield from control(self.device, 0xA1, request, _PROBE << 8, self._stream, self._size)
        if urb.status or len(urb.data) != self._size:
            raise UrbFailed(urb.status or EIO, f"{self.device.name}: request {request:#04x}")
        return StreamControl.decode(urb.data)

    def _set_stream(self, selector: int) -> Steps[None]:
        data = self.negotiated.encode()[: self._size]
        yield from self.device.control_out(0x21, _SET_CUR, selector << 8, self._stream, data)

    # Streaming (uvc_video.c).

    def _run(
        self, assembler: Assembler, count: int, take: Callable[[bytes], object]
    ) -> Steps[None]:
        yield from self._set_stream(_COMMIT)
        setting = self._choose()
        yield from self.device.set_interface(setting.number, setting.alternate)
        endpoint = setting.endpoint(ISOCHRONOUS, is_in=True)
        flight = Flight(f"{self.device.name}: video stream")
        failed: UrbFailed | None = None
        try:
            for urb in self._urbs(endpoint):
                yield from flight.submit(urb)
            yield from self._receive(assembler, flight, count, take)
        except UrbFailed as error:
            failed = error
        yield from flight.kill()
        if self.device.is_there:
            yield from self.device.set_interface(setting.number, 0)
        if failed is not None:
            raise failed

    def _choose(self) -> HostInterface:
        """uvc_video_start_transfer: the narrowest setting that is wide enough."""
        bandwidth = max(1, self.negotiated.dwMaxPayloadTransferSize)
        wide = [
            (endpoint.per_interval, -setting.alternate, setting)
            for setting in self._settings()
            for endpoint in setting.endpoints
            if endpoint.type is ISOCHRONOUS
            and endpoint.is_in
            and endpoint.per_interval >= bandwidth
        ]
        if not wide:
            raise UrbFailed(EIO, f"{self.device.name}: no setting for {bandwidth} bytes a packet")
        return min(wide, key=lambda found: found[:2])[2]

    def _urbs(self, endpoint: HostEndpoint) -> list[Urb]:
        """uvc_init_video_isoc."""
        size = endpoint.per_interval
        packets = min(_MAX_PACKETS, -(-self._frame.size // size))
        return [
            self.device.urb(
                endpoint,
                packets * size,
                interval=endpoint.b_interval,
                packets=[IsoPacket(n * size, size) for n in range(packets)],
                transfer_flags=URB_ISO_ASAP | URB_NO_TRANSFER_DMA_MAP,
            )
            for _ in range(_URBS)
        ]

    def _receive(
        self, assembler: Assembler, flight: Flight, count: int, take: Callable[[bytes], object]
    ) -> Steps[None]:
        loop = self.host.loop
        until = loop.now + _PATIENCE
        while count:
            urb = yield from flight.receive()
            for picture in assembler.feed(urb)[:count]:
                take(picture)
                count -= 1
                until = loop.now + _PATIENCE
            if loop.now > until:
                raise UrbFailed(ETIMEDOUT, f"{self.device.name}: no picture comes")
            yield from flight.submit(urb)


DRIVER = VideoDriver
