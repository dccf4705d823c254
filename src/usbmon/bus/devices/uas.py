"""A disk that takes many commands at once: USB Attached SCSI, and bulk-only for who has not UAS.

Here: the four pipes and their information units (UAS-2, T10/2235-D; tables are of that), as
alternate setting 1; setting 0 is the bulk-only transport, as enclosures have it. Not here: that
transport (`storage`), and what the commands do (`scsi`).

Commands are queued and carried out in their order. Without streams (high speed) the device says
READ READY or WRITE READY, and the host then moves that command's data. With streams (SuperSpeed)
the data may go at once; as the host's buffers stand in line in the order of its commands, so does
the device. After a failed command it waits a little, while the host takes the buffers of that
command away.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon.bus import fat
from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import NAK, Nak, endpoint
from usbmon.bus.devices.scsi import Disk
from usbmon.bus.devices.scsi_job import CHECK_CONDITION, GOOD, Job
from usbmon.bus.devices.storage import BULK_ONLY, IN, MASS_STORAGE, MIB, OUT, SCSI, BulkOnly
from usbmon.bus.timing import MICROFRAME, Speed
from usbmon.bus.urb import BULK

if TYPE_CHECKING:
    from pathlib import Path

    from usbmon.bus.loop import Timer

COMMAND_PIPE: Final = 0x04
STATUS_PIPE: Final = 0x83

_UAS: Final = 0x62

# IU identifiers (table 10), and response codes of task management (table 20).
_COMMAND_IU, _SENSE_IU, _RESPONSE_IU, _TASK_MANAGEMENT_IU = 1, 3, 4, 5
_READ_READY, _WRITE_READY = 6, 7
_COMPLETE, _INVALID_IU, _NOT_SUPPORTED, _OVERLAPPED_TAG = 0x00, 0x02, 0x04, 0x0A

# Task management functions (table 18).
_ABORT_TASK, _ABORT_TASK_SET, _CLEAR_TASK_SET, _LOGICAL_UNIT_RESET = 0x01, 0x02, 0x04, 0x08

# 2 to the power of this is the number of streams.
_STREAMS: Final = 4
# Commands that wait: the host is told to queue no more than there are streams, or 32.
_QUEUE: Final = 64
_RECLAIM: Final = 8 * MICROFRAME


def _pipe(address: int, usage: int, streams: int = _STREAMS) -> Endpoint:
    """An endpoint with its pipe usage descriptor (table 6)."""
    return Endpoint(
        address, BULK, bMaxBurst=15, companion=streams, extra=bytes((4, 0x24, usage, 0))
    )


class _Command(NamedTuple):
    tag: int
    lun: int
    cdb: bytes


class UasDisk(BulkOnly):
    """A fixed disk with a FAT file system of 64 MiB, in memory or in the file `path`."""

    descriptor = DeviceDescriptor(
        0x1209,
        0x0003,
        iManufacturer="usbmon",
        iProduct="UAS Disk",
        iSerialNumber="0123456789AC",
    )
    configurations = (
        Configuration(
            (
                Interface(
                    MASS_STORAGE,
                    SCSI,
                    BULK_ONLY,
                    endpoints=(
                        Endpoint(IN, BULK, bMaxBurst=15),
                        Endpoint(OUT, BULK, bMaxBurst=15),
                    ),
                ),
                Interface(
                    MASS_STORAGE,
                    SCSI,
                    _UAS,
                    endpoints=(
                        _pipe(COMMAND_PIPE, 1, streams=0),
                        _pipe(STATUS_PIPE, 2),
                        _pipe(IN, 3),
                        _pipe(OUT, 4),
                    ),
                    bAlternateSetting=1,
                ),
            ),
            self_powered=True,
            power=0,
        ),
    )

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        size: int = 64 * MIB,
        label: str = "USBMON",
        speed: Speed = Speed.HIGH,
    ) -> None:
        """As of `FlashKey`."""
        image = fat.open_disk(path, size, label)
        disk = Disk(
            image,
            product="UAS Disk",
            serial=self.descriptor.iSerialNumber,
            is_removable=False,
            write_cache=True,
        )
        super().__init__(disk, speed=speed)

    def _start_over(self) -> None:
        super()._start_over()
        self._queue: deque[_Command] = deque()
        self._outbox: deque[bytes] = deque()
        self._current: tuple[int, Job] | None = None
        self._ends_empty = False
        if self.loop is not None:
            self.loop.cancel(self._pause)
        self._pause: Timer | None = None

    def interface_set(self, number: int, alternate: int) -> None:
        self._start_over()

    @property
    def _has_streams(self) -> bool:
        return self.speed is Speed.SUPER

    @endpoint(COMMAND_PIPE)
    def command(self, iu: bytes) -> None:
        """Tables 11 and 17."""
        kind = iu[0] if iu else 0
        tag = int.from_bytes(iu[2:4], "big")
        tags = {command.tag for command in self._queue}
        if kind == _TASK_MANAGEMENT_IU and len(iu) >= 16:
            self._respond(tag, self._manage(iu[4], int.from_bytes(iu[6:8], "big")))
        elif kind != _COMMAND_IU or len(iu) < 32 or len(self._queue) >= _QUEUE:
            self._respond(tag, _INVALID_IU)
        elif tag in tags or (self._current is not None and tag == self._current[0]):
            self._respond(tag, _OVERLAPPED_TAG)
        else:
            self._queue.append(_Command(tag, int.from_bytes(iu[8:16], "big"), iu[16:32]))
            self._go_on()

    @endpoint(STATUS_PIPE)
    def status(self, _size: int) -> bytes | Nak:
        if not self._outbox:
            return NAK
        return self._outbox.popleft()

    @endpoint(IN)
    def data_in(self, size: int) -> bytes | Nak:
        if not self.alternates[0]:
            return self.bulk_in(size)
        if self._ends_empty:
            self._finish()
            return b""
        if self._current is None or not self._current[1].is_in:
            return NAK
        job = self._current[1]
        data = job.read(size)
        whole = len(data) < size and len(data) % self.speed.bulk_size == 0
        if whole and data:
            self._ends_empty = True  # a packet of none has to say that this was all
        elif not job.left:
            self._finish()
        return data

    @endpoint(OUT)
    def data_out(self, data: bytes) -> Nak | None:
        if not self.alternates[0]:
            return self.bulk_out(data)
        if self._current is None or self._current[1].is_in:
            return NAK
        job = self._current[1]
        job.write(data)
        if not job.left or len(data) % self.speed.bulk_size:
            self._finish()
        return None

    def _go_on(self) -> None:
        """Begin the next command, if none is at work."""
        while self._queue and self._current is None and self._pause is None:
            tag, lun, cdb = self._queue.popleft()
            job = self.disk.start(cdb, lun)
            self._current = (tag, job)
            if job.sense or not job.size:
                self._finish()
                continue
            if not self._has_streams:
                self._say(struct.pack(">BxH", _READ_READY if job.is_in else _WRITE_READY, tag))
            self.ready(IN if job.is_in else OUT)

    def _finish(self) -> None:
        """SENSE IU (table 14), which tells the status of any command."""
        assert self._current is not None
        (tag, job), self._current = self._current, None
        self._ends_empty = False
        sense = job.sense
        status = CHECK_CONDITION if sense else GOOD
        self._say(struct.pack(">BxHHB7xH", _SENSE_IU, tag, 0, status, len(sense)) + sense)
        if sense and self._has_streams and self.loop is not None:
            self._pause = self.loop.call_later(_RECLAIM, self._resume)
        self._go_on()

    def _resume(self) -> None:
        self._pause = None
        self._go_on()

    def _manage(self, function: int, tag: int) -> int:
        """Task management (SAM-5 §7): the response code."""
        if function == _ABORT_TASK:
            gone = {tag}
        elif function in (_ABORT_TASK_SET, _CLEAR_TASK_SET, _LOGICAL_UNIT_RESET):
            gone = {command.tag for command in self._queue}
            if self._current is not None:
                gone.add(self._current[0])
        else:
            return _NOT_SUPPORTED
        self._queue = deque(command for command in self._queue if command.tag not in gone)
        if self._current is not None and self._current[0] in gone:
            self._current = None
            self._ends_empty = False
        if function == _LOGICAL_UNIT_RESET:
            self.disk.reset()
        self._go_on()
        return _COMPLETE

    def _respond(self, tag: int, code: int) -> None:
        """RESPONSE IU (table 16)."""
        self._say(struct.pack(">BxH3xB", _RESPONSE_IU, tag, code))

    def _say(self, iu: bytes) -> None:
        self._outbox.append(iu)
        self.ready(STATUS_PIPE)
