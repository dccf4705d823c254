"""A webcam of the video class, 1.0 or 1.1: uncompressed pictures over an isochronous endpoint.

Here: the model with its descriptors (UVC 1.1 §3), the negotiation of a stream (§4.3.1.1), the
brightness of its processing unit (§4.2.2.3), payloads (§2.4.3.3, and table 2-6 of the uncompressed
payload). Not here: the test picture (`picture`), still images, compression, the status endpoint.

Theory: a picture is due every dwFrameInterval; it is sent in payloads of dwMaxPayloadTransferSize,
one a (micro)frame, as soon as it is due, with empty packets after it until the next. So the host
knows from the negotiation which alternate setting is wide enough. A picture waits for a host that
is slow to fetch it, and those that were due meanwhile are never taken. Descriptors are the same at
both speeds; what a full-speed bus cannot carry, the negotiation slows down.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon.bus.descriptors import (
    Association,
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
)
from usbmon.bus.device import Device, Stall, endpoint
from usbmon.bus.devices.picture import picture
from usbmon.bus.timing import Speed
from usbmon.bus.urb import ISOCHRONOUS

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

# Requests (UVC 1.1 table A-8).
SET_CUR, GET_CUR, GET_MIN, GET_MAX = 0x01, 0x81, 0x82, 0x83
GET_RES, GET_LEN, GET_INFO, GET_DEF = 0x84, 0x85, 0x86, 0x87
# Controls, descriptors, terminal types (B-1 to B-3).
_ERROR_CODE, _BRIGHTNESS, _PROBE, _COMMIT = 2, 2, 1, 2
_CS_INTERFACE: Final = 0x24
_VC_HEADER, _INPUT_TERMINAL, _OUTPUT_TERMINAL, _PROCESSING_UNIT = 1, 2, 3, 5
_VS_INPUT_HEADER, _FORMAT_UNCOMPRESSED, _FRAME_UNCOMPRESSED, _COLOR_MATCHING = 1, 4, 5, 0x0D
_CAMERA_TERMINAL, _TT_STREAMING = 0x0201, 0x0101
_CAMERA, _PROCESSING, _STREAMING = 1, 2, 3
# VC_REQUEST_ERROR_CODE_CONTROL (§4.2.1.2).
_NONE, _OUT_OF_RANGE, _INVALID_CONTROL, _INVALID_REQUEST = 0, 4, 6, 7
# GET_INFO (table 4-3): GET and SET are supported.
_GET_SET: Final = b"\x03"

# YUY2: Y0 U Y1 V for two pixels.
_YUY2: Final = bytes.fromhex("59555932 0000 1000 8000 00aa00389b71")
_CLOCK: Final = 1_000_000  # dwClockFrequency, in Hz
_SIZES: Final = ((160, 120), (320, 240))
# dwFrameInterval in 100 ns: 30, 15 and 5 pictures a second.
_INTERVALS: Final = (333_333, 666_666, 2_000_000)
# wMaxPacketSize by alternate setting, from 1.
_BANDWIDTHS: Final = (128, 256, 512, 800)
_HEADER_SIZE: Final = 12
_FID, _EOF, _PTS, _SCR, _EOH = 0x01, 0x02, 0x04, 0x08, 0x80

_BRIGHTNESSES: Final = {GET_MIN: -64, GET_MAX: 64, GET_RES: 1, GET_DEF: 0}


def _class_specific(subtype: int, layout: str, *fields: int | bytes) -> bytes:
    body = struct.pack(f"<BB{layout}", _CS_INTERFACE, subtype, *fields)
    return bytes((1 + len(body),)) + body


class Mode(NamedTuple):
    """What is negotiated: the number of a frame descriptor (from 1), and 100 ns a picture."""

    bFrameIndex: int
    dwFrameInterval: int

    @property
    def size(self) -> int:
        """Bytes of a picture."""
        width, height = _SIZES[self.bFrameIndex - 1]
        return width * height * 2

    def payload(self, speed: Speed) -> int:
        """Bytes of a payload with which a picture is out before the next is due."""
        frames = self.dwFrameInterval * 100 // speed.frame
        return -(-self.size // frames) + _HEADER_SIZE


_DEFAULT: Final = Mode(1, _INTERVALS[0])


class Webcam(Device):
    """See the module. `bcdUVC` is 0x0100 or 0x0110; `pictures`: the number of the next picture,
    from 0 for each stream."""

    descriptor = DeviceDescriptor(
        0x1209,
        0x0012,
        iManufacturer="usbmon",
        iProduct="Webcam",
        iSerialNumber="0001",
        bDeviceClass=0xEF,
        bDeviceSubClass=2,
        bDeviceProtocol=1,
    )
    max_speed = Speed.HIGH

    def __init__(self, *, bcdUVC: int = 0x0100, speed: Speed = Speed.HIGH) -> None:
        super().__init__(speed=speed)
        if bcdUVC not in (0x0100, 0x0110):
            raise ValueError(
                f"there is video class 1.0 (0x0100) and 1.1 (0x0110), no {bcdUVC:#06x}"
            )
        self.bcdUVC = bcdUVC
        settings = (
            _streaming(number, ((Endpoint(0x81, ISOCHRONOUS, size, 1, attributes=4),)))
            for number, size in enumerate(_BANDWIDTHS, 1)
        )
        self.configurations = (
            Configuration(
                (
                    Association(0, 2, 14, 3),
                    Interface(14, 1, extra=_video_control(bcdUVC)),
                    replace(_streaming(0), extra=_video_streaming()),
                    *settings,
                ),
                power=500,
            ),
        )
        self.reset()

    def reset(self) -> None:
        self.brightness = _BRIGHTNESSES[GET_DEF]
        self.probed = self.committed = self._fit(_DEFAULT)
        self._error = _NONE
        self._restart()

    def interface_set(self, number: int, alternate: int) -> None:
        self._restart()

    # Requests (UVC 1.1 §4).

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        selector, low = divmod(setup.wValue, 256)
        entity = (setup.wIndex & 0xFF, setup.wIndex >> 8)
        is_ours = setup.type == "class" and setup.recipient == "Interface" and not low
        if not is_ours or setup.is_in is not bool(setup.bRequest & 0x80):
            raise Stall
        if (entity, selector, setup.bRequest) == ((0, 0), _ERROR_CODE, GET_CUR):
            return bytes((self._error,))
        self._error = _NONE
        if (entity, selector) == ((0, _PROCESSING), _BRIGHTNESS):
            return self._brightness(setup.bRequest, data)
        if entity == (1, 0) and selector in (_PROBE, _COMMIT):
            return self._negotiate(setup.bRequest, selector, data)
        raise self._refuse(_INVALID_CONTROL)

    def _refuse(self, error: int) -> Stall:
        self._error = error
        return Stall()

    def _brightness(self, request: int, data: bytes) -> bytes | None:
        if request == SET_CUR:
            value = int.from_bytes(data, "little", signed=True)
            if len(data) != 2 or not -64 <= value <= 64:
                raise self._refuse(_OUT_OF_RANGE)
            self.brightness = value
            return None
        if request == GET_CUR:
            return self.brightness.to_bytes(2, "little", signed=True)
        if request in _BRIGHTNESSES:
            return _BRIGHTNESSES[request].to_bytes(2, "little", signed=True)
        return self._about(request, 2)

    def _negotiate(self, request: int, selector: int, data: bytes) -> bytes | None:
        """VS_PROBE_CONTROL and VS_COMMIT_CONTROL (§4.3.1.1): what is set becomes what can be."""
        size = 26 if self.bcdUVC == 0x0100 else 34
        if request == SET_CUR:
            if len(data) != size:
                raise self._refuse(_OUT_OF_RANGE)
            self.probed = self._fit(Mode(data[3], int.from_bytes(data[4:8], "little")))
            if selector == _COMMIT:
                self.committed = self.probed
            return None
        now = self.probed if selector == _PROBE else self.committed
        modes = {GET_CUR: now}
        if selector == _PROBE:
            modes[GET_MIN] = self._fit(Mode(now.bFrameIndex, _INTERVALS[0]))
            modes[GET_MAX] = self._fit(Mode(now.bFrameIndex, _INTERVALS[-1]))
            modes[GET_DEF] = self._fit(_DEFAULT)
        if request in modes:
            return self._parameters(modes[request])[:size]
        return self._about(request, size)

    def _about(self, request: int, size: int) -> bytes:
        if request == GET_INFO:
            return _GET_SET
        if request == GET_LEN:
            return size.to_bytes(2, "little")
        raise self._refuse(_INVALID_REQUEST)

    def _fit(self, wanted: Mode) -> Mode:
        """The next slower interval that there is, and that the widest setting can carry."""
        index = wanted.bFrameIndex if 1 <= wanted.bFrameIndex <= len(_SIZES) else 1
        for interval in _INTERVALS:
            mode = Mode(index, interval)
            if interval >= wanted.dwFrameInterval and mode.payload(self.speed) <= _BANDWIDTHS[-1]:
                return mode
        return Mode(index, _INTERVALS[-1])

    def _parameters(self, mode: Mode) -> bytes:
        """Table 4-47; bmFramingInfo says that FID and EOF are used."""
        return struct.pack(
            "<HBBIHHHHHIIIBBBB",
            1, 1, mode.bFrameIndex, mode.dwFrameInterval, 0, 0, 0, 0, 0,
            mode.size, mode.payload(self.speed), _CLOCK, 3, 0, 0, 0,
        )  # fmt: skip

    # Payloads.

    def _restart(self) -> None:
        self.pictures = 0
        self._start: int | None = None
        self._fid = _FID
        self._rest = b""

    @endpoint(0x81)
    def give(self, size: int, frame: int) -> bytes:
        """The payload of this (micro)frame; nothing until the next picture is due."""
        if self._start is None:
            self._start = frame
        now = (frame - self._start) * self.speed.frame
        if not self._rest and not self._expose(now):
            return b""
        room = max(0, min(size, self.committed.payload(self.speed)) - _HEADER_SIZE)
        part, self._rest = self._rest[:room], self._rest[room:]
        return self._header(frame, now) + part

    def _expose(self, now: int) -> bool:
        """Take the next picture; False if it is not due yet."""
        number = now // (self.committed.dwFrameInterval * 100)
        if number < self.pictures:
            return False
        width, height = _SIZES[self.committed.bFrameIndex - 1]
        self._rest = picture(width, height, number, self.brightness)
        self._fid ^= _FID
        self.pictures = number + 1
        return True

    def _header(self, frame: int, now: int) -> bytes:
        """Payload header with presentation time, source time and bus time (§2.4.3.3)."""
        bits = _EOH | _SCR | _PTS | self._fid | (0 if self._rest else _EOF)
        pts = (self.pictures - 1) * self.committed.dwFrameInterval // 10
        sof = frame // (1 if self.speed is Speed.FULL else 8) & 0x7FF
        times = (pts & 0xFFFFFFFF, now // 1000 & 0xFFFFFFFF, sof)
        return struct.pack("<BBIIH", _HEADER_SIZE, bits, *times)


# Descriptors (UVC 1.1 §3).


def _video_control(bcdUVC: int) -> bytes:
    """Camera terminal, processing unit, output terminal; 1.1 knows video standards beside."""
    processing = (_PROCESSING, _CAMERA, 0, 2, 1, 0, 0, *((0,) if bcdUVC >= 0x0110 else ()))
    units = (
        _class_specific(
            _INPUT_TERMINAL, "BHBBHHHB3s", _CAMERA, _CAMERA_TERMINAL, 0, 0, 0, 0, 0, 3, b""
        )
        + _class_specific(_PROCESSING_UNIT, f"BBHB{len(processing) - 4}B", *processing)
        + _class_specific(_OUTPUT_TERMINAL, "BHBBB", _STREAMING, _TT_STREAMING, 0, _PROCESSING, 0)
    )
    header = _class_specific(_VC_HEADER, "HHIBB", bcdUVC, 13 + len(units), _CLOCK, 1, 1)
    return header + units


def _video_streaming() -> bytes:
    """One format, and a frame descriptor for each size."""
    frames = b"".join(_frame(n, width, height) for n, (width, height) in enumerate(_SIZES, 1))
    body = (
        _class_specific(
            _FORMAT_UNCOMPRESSED, "BB16sBBBBBB", 1, len(_SIZES), _YUY2, 16, 1, 0, 0, 0, 0
        )
        + frames
        + _class_specific(_COLOR_MATCHING, "BBB", 1, 1, 4)
    )
    header = _class_specific(
        _VS_INPUT_HEADER, "BHBBBBBBBB", 1, 14 + len(body), 0x81, 0, _STREAMING, 0, 0, 0, 1, 0
    )
    return header + body


def _frame(number: int, width: int, height: int) -> bytes:
    size = width * height * 2
    slow, fast = (size * 8 * 10_000_000 // interval for interval in (_INTERVALS[-1], _INTERVALS[0]))
    return _class_specific(
        _FRAME_UNCOMPRESSED,
        f"BBHHIIIIB{len(_INTERVALS)}I",
        number, 0, width, height, slow, fast, size, _INTERVALS[0], len(_INTERVALS), *_INTERVALS,
    )  # fmt: skip


def _streaming(alternate: int, endpoints: tuple[Endpoint, ...] = ()) -> Interface:
    return Interface(14, 2, 0, endpoints, bInterfaceNumber=1, bAlternateSetting=alternate)
