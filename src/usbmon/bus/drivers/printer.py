"""The driver of printers (drivers/usb/class/usblp.c).

Here: the device ID, and printing as a program does that opens the printer, writes and closes it.
Not here: what a printer says, which is read and dropped.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Sleep, Spawn, Steps, UrbFailed, Wait
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.status import ENOENT
from usbmon.bus.urb import BULK

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostEndpoint, HostInterface

# USBLP_DEVICE_ID_SIZE, USBLP_BUF_SIZE, USBLP_BUF_SIZE_IN.
_ID_SIZE: Final = 1024
_WRITE: Final = 8192
_READ: Final = 1024
# usblp_wwait asks a printer that takes its time for its status, so often; Linux's has no end.
_PROD_EVERY: Final = 1500 * MS
_WRITE_TIMEOUT: Final = 5 * SECOND

_UNIDIRECTIONAL: Final = 1
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
        self._back: HostEndpoint | None = None

    def probe(self) -> Steps[None]:
        number, alternate = self.interface.number, self.interface.alternate
        self.pipe = self.interface.endpoint(BULK, is_in=False)
        if self.interface.protocol != _UNIDIRECTIONAL:
            self._back = self.interface.endpoint(BULK, is_in=True)
        with suppress(UrbFailed):  # it need not know who it is
            raw = yield from self.device.control_in(
                0xA1, 0, 0, number << 8 | alternate, _ID_SIZE - 1
            )
            self.device_id = raw[2 : int.from_bytes(raw[:2], "big")].decode("latin-1")
        self.host.report(f"usblp {self.device.name}: {self.device_id}")

    def status(self) -> Steps[int]:
        """GET_PORT_STATUS: its bits. Raises `UrbFailed`."""
        raw = yield from self.device.control_in(0xA1, 1, 0, self.interface.number, 1)
        return raw[0] if raw else 0

    def print(self, data: bytes) -> Steps[None]:
        """Open, print, close. Raises `UrbFailed`, with words for a printer that is out of paper."""
        listening = yield Spawn(self._listen(), self)
        try:
            for at in range(0, len(data), _WRITE):
                yield from self._write(data[at : at + _WRITE])
        finally:
            listening.cancel()

    def _listen(self) -> Steps[None]:
        """What a bidirectional printer says while it is open; nobody asks for it."""
        if self._back is not None:
            yield self.device.urb(self._back, _READ)

    def _write(self, data: bytes) -> Steps[None]:
        prodding = yield Spawn(self._prod(), self)
        try:
            urb = yield Wait(self.device.urb(self.pipe, data), _WRITE_TIMEOUT)
        finally:
            prodding.cancel()
        if not urb.status:
            return
        status = (yield from self.status()) if urb.status == ENOENT else 0
        words = "out of paper" if status & _PAPER_EMPTY else "write"
        raise UrbFailed(urb.status, f"{self.device.name}: {words}")

    def _prod(self) -> Steps[None]:
        """usblp_wwait: there are printers that go on when they are asked how they are."""
        while True:
            yield Sleep(_PROD_EVERY)
            with suppress(UrbFailed):
                yield from self.status()


DRIVER = PrinterDriver
