"""A vendor device that gives back what it got, by every type of transfer.

For tests of drivers, of timing and of this bus. Interface 0, alternate setting 0: bulk and
interrupt in pairs; alternate setting 1: isochronous as well. Vendor requests 1 (OUT) and 2 (IN)
write and read up to 64 KiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, INTERRUPT, ISOCHRONOUS

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

_BULK = (Endpoint(0x01, BULK), Endpoint(0x81, BULK))
_INTERRUPT = (Endpoint(0x02, INTERRUPT, 64, 4), Endpoint(0x82, INTERRUPT, 64, 4))
_ISO = (Endpoint(0x03, ISOCHRONOUS, 192, 1), Endpoint(0x83, ISOCHRONOUS, 192, 1))

# What an endpoint keeps at most; beyond it, OUT answers NAK.
ROOM = 1 << 20


class Loopback(Device):
    """See the module. `kept` is what each pair holds, by the number of its endpoints."""

    max_speed = Speed.SUPER
    descriptor = DeviceDescriptor(
        0x1209, 0x0001, iManufacturer="usbmon", iProduct="Loopback", iSerialNumber="0001"
    )
    configurations = (
        Configuration(
            (
                Interface(0xFF, endpoints=_BULK + _INTERRUPT),
                Interface(0xFF, endpoints=_BULK + _INTERRUPT + _ISO, bAlternateSetting=1),
            )
        ),
    )

    def __init__(self, *, speed: Speed = Speed.HIGH) -> None:
        super().__init__(speed=speed)
        self.kept: dict[int, bytearray] = {}
        self.stored = b""

    def reset(self) -> None:
        self.kept = {1: bytearray(), 2: bytearray(), 3: bytearray()}

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if setup.type == "vendor" and setup.bRequest == 1 and not setup.is_in:
            self.stored = data
            return None
        if setup.type == "vendor" and setup.bRequest == 2 and setup.is_in:
            return self.stored
        raise Stall

    @endpoint(0x01)
    def bulk_out(self, data: bytes) -> Nak | None:
        return self._put(1, data)

    @endpoint(0x81)
    def bulk_in(self, size: int) -> bytes | Nak:
        return self._get(1, size)

    @endpoint(0x02)
    def interrupt_out(self, data: bytes) -> Nak | None:
        return self._put(2, data)

    @endpoint(0x82)
    def interrupt_in(self, size: int) -> bytes | Nak:
        return self._get(2, size)

    @endpoint(0x03)
    def iso_out(self, data: bytes, _frame: int) -> None:
        if len(self.kept[3]) + len(data) <= ROOM:
            self.kept[3] += data

    @endpoint(0x83)
    def iso_in(self, size: int, _frame: int) -> bytes:
        data = bytes(self.kept[3][:size])
        del self.kept[3][:size]
        return data

    def _put(self, number: int, data: bytes) -> Nak | None:
        if len(self.kept[number]) + len(data) > ROOM:
            return NAK
        self.kept[number] += data
        self.ready(0x80 | number)
        return None

    def _get(self, number: int, size: int) -> bytes | Nak:
        data = bytes(self.kept[number][:size])
        if not data:
            return NAK
        del self.kept[number][:size]
        self.ready(number)
        return data
