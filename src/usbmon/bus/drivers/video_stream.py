"""What uvcvideo knows of a stream: its frames, its parameters, and pictures out of its payloads.

Here: frame descriptors of uncompressed formats (UVC 1.1, payload uncompressed, table 3-2), the
parameters of probe and commit (§4.3.1.1), and the reassembly of uvc_video_decode_isoc
(drivers/media/usb/uvc/uvc_video.c). Not here: requests and URBs (`video`).
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

from usbmon.usb.descriptors import walk

if TYPE_CHECKING:
    from usbmon.bus.urb import Urb

# Descriptor subtypes (UVC 1.1 table A-6), bits of the payload header (table 2-5).
_FORMAT_UNCOMPRESSED, _FRAME_UNCOMPRESSED = 4, 5
_FID, _EOF, _ERR = 0x01, 0x02, 0x40


@dataclass(frozen=True, slots=True)
class Frame:
    """A size that pictures may have. `size`: of a picture in bytes; `intervals`, in 100 ns, are the
    shortest and the longest where all between are there."""

    bFormatIndex: int
    bFrameIndex: int
    width: int
    height: int
    size: int
    dwDefaultFrameInterval: int
    intervals: tuple[int, ...]


def frames_of(extra: bytes) -> list[Frame]:
    """The frames of all uncompressed formats. Raises LookupError for a descriptor cut short."""
    frames = []
    format, bits = 0, 0
    for descriptor in walk(extra):
        if descriptor[2] == _FORMAT_UNCOMPRESSED:
            format, bits = descriptor[3], descriptor[21]
        elif descriptor[2] == _FRAME_UNCOMPRESSED:
            frames.append(_frame(descriptor, format, bits))
    return frames


def _frame(raw: bytes, format: int, bits: int) -> Frame:
    count = raw[25] or 2
    if len(raw) < 26 + 4 * count:
        raise LookupError("a frame descriptor lacks intervals")
    _, index, _, width, height, _, _, _, default, _ = struct.unpack("<HBBHHIIIIB", raw[1:26])
    intervals = struct.unpack_from(f"<{count}I", raw, 26)
    return Frame(format, index, width, height, width * height * bits // 8, default, intervals)


@dataclass(frozen=True, slots=True)
class StreamControl:
    """``struct uvc_streaming_control``, whose first 26 bytes are those of UVC 1.0."""

    bmHint: int = 0
    bFormatIndex: int = 0
    bFrameIndex: int = 0
    dwFrameInterval: int = 0
    wKeyFrameRate: int = 0
    wPFrameRate: int = 0
    wCompQuality: int = 0
    wCompWindowSize: int = 0
    wDelay: int = 0
    dwMaxVideoFrameSize: int = 0
    dwMaxPayloadTransferSize: int = 0
    dwClockFrequency: int = 0
    bmFramingInfo: int = 0
    bPreferedVersion: int = 0
    bMinVersion: int = 0
    bMaxVersion: int = 0

    def encode(self) -> bytes:
        return _CONTROL.pack(*astuple(self))

    @classmethod
    def decode(cls, data: bytes) -> StreamControl:
        """From 26 or 34 bytes."""
        return cls(*_CONTROL.unpack(data.ljust(_CONTROL.size, b"\0")))


_CONTROL: Final = struct.Struct("<HBBIHHHHHIIIBBBB")


class Assembler:
    """Pictures of `size` bytes. Those with a lost or faulty packet, or of another size, are
    `dropped`, as the kernel does by default (the module's parameter nodrop)."""

    def __init__(self, size: int) -> None:
        self.dropped = 0
        self._size = size
        self._data = bytearray()
        self._fid = -1
        self._is_active = False
        self._is_bad = False

    def feed(self, urb: Urb) -> list[bytes]:
        """The pictures that are complete with this URB."""
        pictures: list[bytes] = []
        for packet in urb.packets:
            if packet.status:
                self._is_bad = True
            else:
                end = packet.offset + packet.actual_length
                self._payload(urb.buffer[packet.offset : end], pictures)
        return pictures

    def _payload(self, data: bytearray, pictures: list[bytes]) -> None:
        if len(data) < 2 or not 2 <= data[0] <= len(data):
            return
        fid = data[1] & _FID
        self._is_bad |= bool(data[1] & _ERR)
        if fid == self._fid and not self._is_active:
            return  # the rest of a picture that is over
        if fid != self._fid and self._data:
            self._finish(pictures)  # its end was lost
        self._is_active = True
        self._fid = fid
        self._data += data[data[0] :]
        if len(self._data) > self._size or (data[1] & _EOF and self._data):
            self._finish(pictures)

    def _finish(self, pictures: list[bytes]) -> None:
        if self._is_bad or len(self._data) != self._size:
            self.dropped += 1
        else:
            pictures.append(bytes(self._data))
        self._data.clear()
        self._is_active = self._is_bad = False
