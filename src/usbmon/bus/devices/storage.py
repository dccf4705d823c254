"""A flash key: mass storage, bulk-only transport, a SCSI disk with a FAT file system.

Here: command block wrapper, data, command status wrapper (USB Mass Storage Class Bulk-Only
Transport 1.0; sections are of that). Not here: what the commands do (`scsi`), and the file system
of a new image (`bus.fat`).

A command has three phases after the wrapper has come: data in or out, status, and back to commands.
Host and device may not agree on the data (§6.7, the thirteen cases): the device fills up what it
has too little of, and stalls the data endpoint where it has, or wants, none at all. A wrapper that
makes no sense stalls both endpoints until the reset recovery of §5.3.4.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final

from usbmon.bus import fat
from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.devices.scsi import Disk
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK

if TYPE_CHECKING:
    from pathlib import Path

    from usbmon.bus.devices.scsi_job import Job
    from usbmon.usb.setup import Setup

IN: Final = 0x81
OUT: Final = 0x02

MASS_STORAGE: Final = 0x08
SCSI: Final = 0x06
BULK_ONLY: Final = 0x50

# Class requests (§3.1, §3.2).
_RESET: Final = (0x21, 0xFF)
_GET_MAX_LUN: Final = (0xA1, 0xFE)

_CBW: Final = struct.Struct("<4sIIBBB16s")
_CSW: Final = struct.Struct("<4sIIB")
_PASSED, _FAILED, _PHASE_ERROR = 0, 1, 2

MIB: Final = 1 << 20


class _Phase(Enum):
    COMMAND = 0
    DATA_IN = 1
    DATA_OUT = 2
    STATUS = 3


class BulkOnly(Device):
    """The transport, for any disk: bulk endpoints `IN` and `OUT`, interface 0."""

    max_speed = Speed.SUPER

    def __init__(self, disk: Disk, *, speed: Speed = Speed.HIGH) -> None:
        super().__init__(speed=speed)
        self.disk = disk
        self._start_over()

    def _start_over(self) -> None:
        self._phase = _Phase.COMMAND
        self._is_wedged = False
        self._job: Job | None = None
        self._tag = 0
        self._left = 0  # of the data that the host wants to move
        self._residue = 0
        self._disagrees = False

    def close(self) -> None:
        """Let go of the image."""
        self.disk.image.close()

    def plugged(self) -> None:
        self.disk.power_on()

    def reset(self) -> None:
        self.disk.reset()

    def configured(self) -> None:
        self._start_over()

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        kind = (setup.bmRequestType, setup.bRequest)
        if kind == _GET_MAX_LUN and setup[2:] == (0, 0, 1):
            return b"\0"
        if kind == _RESET and setup[2:] == (0, 0, 0):
            self._start_over()
            self.ready(OUT)
            return None
        raise Stall

    def unhalted(self, address: int) -> None:
        """A halt in the middle of the data was their end (§6.7.2, §6.7.3)."""
        if self._is_wedged:
            self.halted.add(address)
        elif (address, self._phase) in ((IN, _Phase.DATA_IN), (OUT, _Phase.DATA_OUT)):
            self._phase = _Phase.STATUS
            self.ready(IN)

    @endpoint(OUT)
    def bulk_out(self, data: bytes) -> Nak | None:
        if self._phase is _Phase.DATA_OUT:
            self._take(data)
        elif self._phase is _Phase.COMMAND:
            self._command(data)
        else:
            return NAK
        self.ready(IN)
        return None

    @endpoint(IN)
    def bulk_in(self, size: int) -> bytes | Nak:
        if self._phase is _Phase.DATA_IN:
            return self._give(size)
        if self._phase is _Phase.STATUS:
            return self._status()
        return NAK

    def _command(self, wrapper: bytes) -> None:
        """§5.1, and which of the thirteen cases it is."""
        if len(wrapper) != _CBW.size:
            self._wedge()
            return
        signature, self._tag, length, flags, lun, cdb_size, cdb = _CBW.unpack(wrapper)
        if signature != b"USBC" or lun or flags & 0x7F or not 1 <= cdb_size <= 16:
            self._wedge()
            return
        self._job = job = self.disk.start(cdb[:cdb_size])
        self._left = self._residue = length
        is_in = flags & 0x80 != 0
        is_opposed = job.size > 0 and job.is_in is not is_in
        self._disagrees = length < job.size or (length > 0 and is_opposed)
        if length == 0:
            self._phase = _Phase.STATUS
        elif job.size == 0 or is_opposed:
            self._phase = _Phase.STATUS
            self.halted.add(IN if is_in else OUT)
        else:
            self._phase = _Phase.DATA_IN if is_in else _Phase.DATA_OUT

    def _wedge(self) -> None:
        """§6.6.1: stalled until reset recovery."""
        self._is_wedged = True
        self.halted |= {IN, OUT}

    def _give(self, size: int) -> bytes:
        assert self._job is not None
        count = min(size, self._left)
        data = self._job.read(count)
        self._residue -= len(data)
        self._left -= count
        if not self._left or self._job.sense:
            self._phase = _Phase.STATUS
        if self._job.sense:
            raise Stall
        return data.ljust(count, b"\0")

    def _take(self, data: bytes) -> None:
        assert self._job is not None
        data = data[: self._left]
        self._left -= len(data)
        self._residue -= min(len(data), self._job.left)
        self._job.write(data)
        if not self._left or len(data) % self.speed.bulk_size:
            self._phase = _Phase.STATUS

    def _status(self) -> bytes:
        """§5.2."""
        failed = self._job is not None and self._job.sense
        status = _PHASE_ERROR if self._disagrees else _FAILED if failed else _PASSED
        self._phase = _Phase.COMMAND
        self.ready(OUT)
        return _CSW.pack(b"USBS", self._tag, self._residue, status)


class FlashKey(BulkOnly):
    """A key with a FAT file system of 32 MiB, in memory or in the file `path`.

    A file that is there is used as it is; a new one is made, sparse, with `size` bytes. `disk` is
    the SCSI side, `disk.image` its bytes.
    """

    descriptor = DeviceDescriptor(
        0x1209,
        0x0002,
        iManufacturer="usbmon",
        iProduct="Flash Key",
        iSerialNumber="0123456789AB",
    )
    configurations = (
        Configuration(
            (
                Interface(
                    MASS_STORAGE,
                    SCSI,
                    BULK_ONLY,
                    endpoints=(Endpoint(IN, BULK), Endpoint(OUT, BULK)),
                ),
            )
        ),
    )

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        size: int = 32 * MIB,
        label: str = "USBMON",
        write_protected: bool = False,
        speed: Speed = Speed.HIGH,
    ) -> None:
        """`label`: of a new file system. Raises SourceError for a file that cannot be used, and
        ValueError for a size that FAT16 cannot have."""
        image = fat.open_disk(path, size, label, read_only=write_protected)
        super().__init__(
            Disk(
                image,
                product="Flash Key",
                serial=self.descriptor.iSerialNumber,
                is_removable=True,
                write_protected=write_protected,
            ),
            speed=speed,
        )
