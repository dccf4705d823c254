"""The driver of printers (drivers/usb/class/usblp.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Spawn, Steps, UrbFailed, Wait
from usbmon.bus.loop import SECOND
from usbmon.bus.urb import BULK

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface

# USBLP_DEVICE_ID_SIZE, USBLP_BUF_SIZE, USBLP_BUF_SIZE_IN, USBLP_WRITE_TIMEOUT.
_ID_SIZE: Final = 1024
_WRITE: Final = 8192
_READ: Final = 1024
_WRITE_TIMEOUT: Final = 5 * SECOND
_PAPER_EMPTY: Final = 0x20


class PrinterDriver(Driver):
    """Serves one interface. `device_id` is what the printer says of itself (IEEE 1284)."""

    name = "usblp"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return (interface.cls, interface.subclass) == (7, 1)

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.device_id = ""

    def probe(self) -> Steps[None]:
        number, alternate = self.interface.number, self.interface.alternate
        self.pipe = self.interface.endpoint(BULK, is_in=False)
        raw = yield from self.device.control_in(0xA1, 0, 0, number << 8 | alternate, _ID_SIZE - 1)
        self.device_id = raw[2:].decode("latin-1")
        self.host.report(f"usblp {self.device.name}: {self.device_id}")

    def status(self) -> Steps[int]:
        """GET_PORT_STATUS: its bits. Raises `UrbFailed`."""
        raw = yield from self.device.control_in(0xA1, 1, 0, self.interface.number, 1)
        return raw[0] if raw else 0

    def print(self, data: bytes) -> Steps[None]:
        """Open, print, close. Raises `UrbFailed`, with words for a printer that is out of paper."""
        listening = yield Spawn(self._listen(), self)
        try:
            yield from self._write(data)
        finally:
            listening.cancel()

    def _listen(self) -> Steps[None]:
        """What a bidirectional printer says while it is open; nobody asks for it."""
        pipe = self.interface.endpoint(BULK, is_in=True)
        yield self.device.urb(pipe, _READ)

    def _write(self, data: bytes) -> Steps[None]:
        for at in range(0, len(data), _WRITE):
            urb = yield Wait(self.device.urb(self.pipe, data[at : at + _WRITE]), _WRITE_TIMEOUT)
            if urb.status:
                status = yield from self.status()
                words = "out of paper" if status & _PAPER_EMPTY else "write"
                raise UrbFailed(urb.status, f"{self.device.name}: {words}")


DRIVER = PrinterDriver
