"""The controls of uvcvideo (drivers/media/usb/uvc/uvc_ctrl.c of Linux 6.1), of which a person can
work the brightness.

Here: which controls a camera terminal and a processing unit say they have, and the requests for
them. Not here: the stream's own controls (`video`), and extension units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Steps, UrbFailed, control
from usbmon.bus.status import EIO, EPIPE

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface


# UVC 1.1: descriptor subtypes (table A-5), requests, controls.
_INPUT, _OUTPUT, _PROCESSING = 2, 3, 5
_SET_CUR, _GET_CUR, _GET_MIN, _GET_MAX = 0x01, 0x81, 0x82, 0x83
_GET_RES, _GET_INFO, _GET_DEF = 0x84, 0x86, 0x87
_ERROR_CODE, _BRIGHTNESS = 2, 2
_CAMERA: Final = 0x0201
# The selector of each bit of bmControls (tables 3-6 and 3-8), 0 for bits without a control.
_OF_CAMERA: Final = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0, 8, 17)
_OF_PROCESSING: Final = (2, 3, 6, 7, 8, 9, 10, 12, 1, 4, 5, 16, 11, 13)


class Controls:
    """Those of a VideoControl interface."""

    def __init__(self, host: Host, interface: HostInterface) -> None:
        self._host = host
        self._device = interface.device
        self._number = interface.number
        self._bright: int | None = None
        self._range: tuple[int, int, int] | None = None

    def build(self, units: list[bytes]) -> Steps[None]:
        """uvc_ctrl_init_device: ask of each what it can do; a device that will not say is believed
        to do what all do."""
        for unit in units:
            for selector in _selectors(unit):
                try:
                    yield from self._query(_GET_INFO, unit[3], selector, 1)
                except UrbFailed as error:
                    self._host.report(str(error))
                if (unit[2], selector) == (_PROCESSING, _BRIGHTNESS):
                    self._bright = unit[3]

    def set_brightness(self, value: int) -> Steps[None]:
        """VIDIOC_S_CTRL. Raises `UrbFailed`, and LookupError where there is none."""
        if self._bright is None:
            raise LookupError(f"{self._device.name} has no brightness to set")
        if self._range is None:
            yield from self._read_range(self._bright)
        assert self._range is not None
        low, high, step = self._range
        value = min(max(low + round((value - low) / step) * step, low), high)
        data = value.to_bytes(2, "little", signed=True)
        yield from self._query(_SET_CUR, self._bright, _BRIGHTNESS, data)

    def _read_range(self, unit: int) -> Steps[None]:
        """uvc_ctrl_populate_cache, once."""
        values = {}
        for request in (_GET_DEF, _GET_MIN, _GET_MAX, _GET_RES):
            data = yield from self._query(request, unit, _BRIGHTNESS, 2)
            values[request] = int.from_bytes(data, "little", signed=True)
        self._range = (values[_GET_MIN], values[_GET_MAX], max(values[_GET_RES], 1))

    def _query(self, request: int, unit: int, selector: int, buffer: int | bytes) -> Steps[bytes]:
        """uvc_query_ctrl, which asks for the reason of a STALL. Raises `UrbFailed`."""
        size, kind = (buffer, 0xA1) if isinstance(buffer, int) else (len(buffer), 0x21)
        index = unit << 8 | self._number
        urb = yield from control(self._device, kind, request, selector << 8, index, buffer)
        if not urb.status and urb.actual_length == size:
            return urb.data
        reason = ""
        if urb.status == EPIPE:
            asked = yield from control(
                self._device, 0xA1, _GET_CUR, _ERROR_CODE << 8, self._number, 1
            )
            reason = f", error code {asked.data.hex()}" if not asked.status else ""
        what = f"{self._device.name}: control {selector} of unit {unit}{reason}"
        raise UrbFailed(urb.status or EIO, what)


def _selectors(unit: bytes) -> list[int]:
    """The controls of a unit or terminal, by its bmControls."""
    known: tuple[int, ...]
    if unit[2] == _PROCESSING:
        known, bits = _OF_PROCESSING, unit[8 : 8 + unit[7]]
    elif unit[2] == _INPUT and int.from_bytes(unit[4:6], "little") == _CAMERA:
        known, bits = _OF_CAMERA, unit[15 : 15 + unit[14]]
    else:
        return []
    mask = int.from_bytes(bits, "little")
    return [selector for bit, selector in enumerate(known) if selector and mask >> bit & 1]


def string_of(unit: bytes) -> int:
    """The number of the string of a unit or terminal; 0 for none."""
    if unit[2] == _INPUT:
        return unit[7]
    if unit[2] == _OUTPUT:
        return unit[8]
    return unit[8 + unit[7]] if unit[2] == _PROCESSING else 0
