"""A serial adapter: communication device class, abstract control model.

Here: CDC 1.2 and its PSTN subclass as an adapter has them. Not here: a modem's commands, of which
there are none: what is sent comes back, or goes to whoever took over `received`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from usbmon.bus.descriptors import (
    Association,
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
)
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.devices import cdc
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, INTERRUPT

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

# Requests (PSTN 1.2 §6.3), and bits of the notification SERIAL_STATE (§6.5.4).
_SET_LINE_CODING, _GET_LINE_CODING, _SET_CONTROL_LINE_STATE, _SEND_BREAK = 0x20, 0x21, 0x22, 0x23
_CARRIER, _READY = 0x01, 0x02

# What waits for the host at most; then the adapter takes nothing more.
ROOM: Final = 1 << 16

_ACM: Final = 0x02
_CONTROL, _DATA = 0, 1
# No call management; line coding and break (PSTN 1.2 §5.3).
_FUNCTIONAL: Final = (
    cdc.header_and_union(_CONTROL, _DATA)
    + cdc.functional(cdc.CALL_MANAGEMENT, bytes((0, _DATA)))
    + cdc.functional(cdc.ABSTRACT_CONTROL, b"\x06")
)


class SerialAdapter(Device):
    """See the module. `baud`, `bits`, `parity` and `stop` are the line coding that the host set;
    `dtr` and `rts` its control lines; `breaks` counts the breaks it sent."""

    descriptor = DeviceDescriptor(
        0x1209,
        0x0020,
        bDeviceClass=0xEF,
        bDeviceSubClass=2,
        bDeviceProtocol=1,
        iManufacturer="usbmon",
        iProduct="Serial Adapter",
        iSerialNumber="0001",
    )
    configurations = (
        Configuration(
            (
                Association(_CONTROL, 2, cdc.COMMUNICATIONS, _ACM, 0),
                Interface(
                    cdc.COMMUNICATIONS,
                    _ACM,
                    endpoints=(Endpoint(0x82, INTERRUPT, 10, 9),),
                    bInterfaceNumber=_CONTROL,
                    extra=_FUNCTIONAL,
                ),
                Interface(
                    cdc.DATA,
                    endpoints=(Endpoint(0x01, BULK), Endpoint(0x81, BULK)),
                    bInterfaceNumber=_DATA,
                ),
            )
        ),
    )

    def __init__(self, *, speed: Speed = Speed.HIGH) -> None:
        super().__init__(speed=speed)
        self._forget()

    def _forget(self) -> None:
        self.baud, self.stop, self.parity, self.bits = 9600, 0, 0, 8
        self.dtr = self.rts = False
        self.breaks = 0
        self._out = bytearray()
        self._owes_empty = False
        self._state: int | None = None

    def reset(self) -> None:
        self._forget()

    def received(self, data: bytes) -> None:
        """The host has sent this. To be overridden: this sends it back."""
        self.send(data)

    def send(self, data: bytes) -> None:
        """Send to the host. Raises BufferError when so much waits that there is no room."""
        if len(self._out) + len(data) > 2 * ROOM:
            raise BufferError("the host does not read what it is sent")
        self._out += data
        self.ready(0x81)

    @endpoint(0x01)
    def bulk_out(self, data: bytes) -> Nak | None:
        if len(self._out) > ROOM:
            return NAK
        self.received(data)
        return None

    @endpoint(0x81)
    def bulk_in(self, size: int) -> bytes | Nak:
        if self._owes_empty:
            self._owes_empty = False
            return b""
        if not self._out:
            return NAK
        data = bytes(self._out[:size])
        del self._out[: len(data)]
        # An empty packet behind a full one, so that the host need not wait for more.
        self._owes_empty = not self._out and len(data) % self.speed.bulk_size == 0
        self.ready(0x01)
        return data

    @endpoint(0x82)
    def notify(self, _size: int) -> bytes | Nak:
        if self._state is None:
            return NAK
        state = self._state.to_bytes(2, "little")
        self._state = None
        return cdc.notification(cdc.SERIAL_STATE, 0, _CONTROL, state)

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if setup.type != "class" or setup.wIndex != _CONTROL:
            raise Stall
        if setup.bRequest == _GET_LINE_CODING and setup.is_in:
            return struct.pack("<IBBB", self.baud, self.stop, self.parity, self.bits)
        if setup.bRequest == _SET_LINE_CODING and len(data) == 7:
            self.baud, self.stop, self.parity, self.bits = struct.unpack("<IBBB", data)
        elif setup.bRequest == _SET_CONTROL_LINE_STATE:
            self.dtr, self.rts = bool(setup.wValue & 1), bool(setup.wValue & 2)
            self._state = (_CARRIER | _READY) if self.dtr else 0
            self.ready(0x82)
        elif setup.bRequest == _SEND_BREAK:
            self.breaks += setup.wValue != 0
        else:
            raise Stall
        return None
