"""A printer: what it is sent is its paper.

Here: the class requests and the bulk endpoints of a bidirectional printer (USB Printing Devices
1.1; sections are of that). Not here: any language of printers. It has nothing to say over its IN
endpoint, which answers NAK for ever.

Out of paper, it says so in its status and answers NAK to what it is sent, until there is paper
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.urb import BULK
from usbmon.errors import SourceError

if TYPE_CHECKING:
    from usbmon.bus.timing import Speed
    from usbmon.usb.setup import Setup

# The paper of a printer without a file, in bytes.
PAPER: Final = 16 << 20

_PRINTER: Final = 0x07
_BIDIRECTIONAL: Final = 0x02
_IN, _OUT = 0x81, 0x02

# Class requests (§4.2). Printers of release 1.0 were reset with another recipient; Linux does so.
_GET_DEVICE_ID, _GET_PORT_STATUS = (0xA1, 0), (0xA1, 1)
_SOFT_RESET: Final = ((0x21, 2), (0x23, 2))

# Bits of GET_PORT_STATUS.
NOT_ERROR, SELECT, PAPER_EMPTY = 0x08, 0x10, 0x20

# IEEE 1284: keys and values.
_DEVICE_ID: Final = b"MFG:usbmon;MDL:Printer;CMD:RAW;CLS:PRINTER;DES:usbmon printer;SN:0001;"


class Printer(Device):
    """See the module. `printed` is what came, with no file; `resets` counts SOFT_RESET."""

    descriptor = DeviceDescriptor(
        0x1209, 0x0022, iManufacturer="usbmon", iProduct="Printer", iSerialNumber="0001"
    )
    configurations = (
        Configuration(
            (
                Interface(
                    _PRINTER,
                    1,
                    _BIDIRECTIONAL,
                    endpoints=(Endpoint(_OUT, BULK), Endpoint(_IN, BULK)),
                ),
            ),
            self_powered=True,
        ),
    )

    def __init__(self, output: str | Path | None = None, *, speed: Speed | None = None) -> None:
        """`output`: a file to which all is appended. Raises SourceError."""
        super().__init__(speed=speed)
        self.printed = bytearray()
        self.resets = 0
        self._paper_out = False
        self._output = None if output is None else _writable(Path(output))

    @property
    def paper_out(self) -> bool:
        """Whether there is none. It runs out when `printed` or the disk is full."""
        return self._paper_out or len(self.printed) >= PAPER

    @paper_out.setter
    def paper_out(self, value: bool) -> None:
        self._paper_out = value
        self.ready(_OUT)

    def take_out(self) -> bytes:
        """Take what was printed out of the printer."""
        out = bytes(self.printed)
        self.printed.clear()
        self.ready(_OUT)
        return out

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        request = (setup.bmRequestType, setup.bRequest)
        if request == _GET_DEVICE_ID and setup.wValue == 0:
            return (2 + len(_DEVICE_ID)).to_bytes(2, "big") + _DEVICE_ID
        if request == _GET_PORT_STATUS:
            return bytes((PAPER_EMPTY | SELECT if self.paper_out else NOT_ERROR | SELECT,))
        if request in _SOFT_RESET:
            self.resets += 1
            self.halted.clear()
            return None
        raise Stall

    @endpoint(_OUT)
    def take(self, data: bytes) -> Nak | None:
        if self.paper_out:
            return NAK
        if self._output is None:
            self.printed += data
            return None
        try:
            with self._output.open("ab") as file:
                file.write(data)
        except OSError:  # a person has to see to it; a part of this may then be there twice
            self._paper_out = True
            return NAK
        return None

    @endpoint(_IN)
    def give(self, _size: int) -> Nak:
        return NAK


def _writable(path: Path) -> Path:
    try:
        path.open("ab").close()
    except OSError as error:
        raise SourceError(
            f"cannot be printed to ({error.strerror}); name a file that can be written",
            file=str(path),
        ) from error
    return path
