"""The driver of the loopback device: write, read back, by every type of transfer.

As drivers/usb/misc/usbtest.c, it does nothing on its own; the steps below are for whoever runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon.bus.driver import Driver, Receive, Steps, Submit, UrbFailed
from usbmon.bus.urb import BULK, INTERRUPT, ISOCHRONOUS, IsoPacket, TransferType, Urb

if TYPE_CHECKING:
    from usbmon.bus.host import HostInterface


class LoopbackDriver(Driver):
    name = "usbtest"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return interface.device.id == (0x1209, 0x0001)

    def bulk(self, data: bytes) -> Steps[bytes]:
        """Write by bulk and read as much back. Raises `UrbFailed`."""
        return self._both(BULK, data)

    def interrupt(self, data: bytes) -> Steps[bytes]:
        """The same by interrupt."""
        return self._both(INTERRUPT, data)

    def control(self, data: bytes) -> Steps[bytes]:
        """The same by vendor requests."""
        yield from self.device.control_out(0x40, 1, 0, 0, data)
        back = yield from self.device.control_in(0xC0, 2, 0, 0, len(data))
        return back

    def isochronous(self, data: bytes) -> Steps[bytes]:
        """The same by isochronous transfers, in packets of 192 bytes; what was lost is missing."""
        setting = yield from self.device.set_interface(self.interface.number, 1)
        out, back = (setting.endpoint(ISOCHRONOUS, is_in=is_in) for is_in in (False, True))
        count = -(-len(data) // 192)
        padded = data.ljust(count * 192, b"\0")
        yield from self._checked(self.device.urb(out, padded, packets=_packets(count)))
        urb = yield from self._checked(self.device.urb(back, count * 192, packets=_packets(count)))
        return bytes(urb.data[: len(data)])

    def _both(self, type: TransferType, data: bytes) -> Steps[bytes]:
        out = self.interface.endpoint(type, is_in=False)
        back = self.interface.endpoint(type, is_in=True)
        received = self.device.urb(back, len(data))
        error = yield Submit(received)
        if error:
            raise UrbFailed(error, f"{self.device.name}: read")
        yield from self._checked(self.device.urb(out, data))
        urb = yield Receive()
        if urb.status:
            raise UrbFailed(urb.status, f"{self.device.name}: read")
        return bytes(urb.data)

    def _checked(self, urb: Urb) -> Steps[Urb]:
        urb = yield urb
        if urb.status:
            raise UrbFailed(urb.status, f"{self.device.name}: endpoint {urb.endpoint:02x}")
        return urb


def _packets(count: int) -> list[IsoPacket]:
    return [IsoPacket(n * 192, 192) for n in range(count)]


DRIVER = LoopbackDriver
