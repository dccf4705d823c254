"""A SCSI command at work: its data, and the sense data that say what went wrong.

Here: statuses, sense codes and `Job`, which transports deal with. Not here: what each command does
(`scsi`).
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from usbmon.bus.devices.scsi import Disk

GOOD: Final = 0x00
CHECK_CONDITION: Final = 0x02

# What an image raises: ValueError once it is closed.
_BROKEN: Final = (OSError, ValueError)


class Sense(Enum):
    """Sense key, additional sense code and qualifier (SPC-4 §4.5.6, annex F.2)."""

    NO_SENSE = (0x0, 0x0000)
    NOT_READY_STOPPED = (0x2, 0x0402)
    MEDIUM_NOT_PRESENT = (0x2, 0x3A00)
    WRITE_ERROR = (0x3, 0x0C00)
    UNRECOVERED_READ_ERROR = (0x3, 0x1100)
    INVALID_OPERATION_CODE = (0x5, 0x2000)
    LBA_OUT_OF_RANGE = (0x5, 0x2100)
    INVALID_FIELD_IN_CDB = (0x5, 0x2400)
    LUN_NOT_SUPPORTED = (0x5, 0x2500)
    SAVING_NOT_SUPPORTED = (0x5, 0x3900)
    MEDIUM_REMOVAL_PREVENTED = (0x5, 0x5302)
    POWER_ON_OR_RESET = (0x6, 0x2900)
    WRITE_PROTECTED = (0x7, 0x2700)


def sense_data(code: Sense) -> bytes:
    """Fixed format, current error (SPC-4 §4.5.3)."""
    key, additional = code.value
    return struct.pack(">BBBIBIHBBH", 0x70, 0, key, 0, 10, 0, additional, 0, 0, 0)


class Job:
    """A command at work. `left` bytes of `size` have still to go."""

    def __init__(
        self,
        disk: Disk,
        reply: bytes = b"",
        *,
        offset: int = 0,
        size: int | None = None,
        is_in: bool = True,
    ) -> None:
        """`reply` goes to the host; with a `size`, so much of the image at `offset` goes."""
        self.size = self.left = len(reply) if size is None else size
        self.is_in = is_in
        self.sense = b""
        self._disk = disk
        self._reply = reply if size is None else None
        self._offset = offset

    def read(self, size: int) -> bytes:
        """The next bytes for the host, at most `size`; b"" when there are none, or it failed."""
        count = min(size, self.left)
        at = self.size - self.left
        self.left -= count
        if self._reply is not None:
            return self._reply[at : at + count]
        try:
            return self._disk.image.read(self._offset + at, count)
        except _BROKEN:
            self.fail(Sense.UNRECOVERED_READ_ERROR)
            return b""

    def write(self, data: bytes) -> None:
        """The next bytes from the host; what is too much is dropped."""
        data = data[: self.left]
        at = self.size - self.left
        self.left -= len(data)
        try:
            self._disk.image.write(self._offset + at, data)
        except _BROKEN:
            self.fail(Sense.WRITE_ERROR)

    def fail(self, code: Sense) -> None:
        self.left = 0
        self.sense = self._disk.sense = sense_data(code)
