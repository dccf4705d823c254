"""usb-storage: a disk behind the bulk-only transport, as drivers/usb/storage drives it.

Here: the wrappers around a command and its recovery (transport.c), and when all starts (usb.c).
Not here: which commands (`scsi`). One command at a time; a command that fails is asked why at once
(REQUEST SENSE).
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon.bus.driver import (
    Lock,
    Receive,
    Sleep,
    Spawn,
    Steps,
    Submit,
    Unlink,
    UrbFailed,
    control,
)
from usbmon.bus.drivers.disk import DiskDriver
from usbmon.bus.drivers.scsi import Answer
from usbmon.bus.loop import SECOND
from usbmon.bus.status import EOVERFLOW, EPIPE, EREMOTEIO
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, Urb

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostEndpoint, HostInterface

_SCSI_BULK_ONLY: Final = (0x08, 0x06, 0x50)


# delay_use; SD_TIMEOUT; of clear halt; of the class's reset, and the rest after it.
_DELAY_USE: Final = 1 * SECOND
_TIMEOUT: Final = 30 * SECOND
_CLEAR_TIMEOUT: Final = 3 * SECOND
_RESET_TIMEOUT: Final = 5 * SECOND
_AFTER_RESET: Final = 6 * SECOND

_CBW: Final = struct.Struct("<4sIIBBB16s")
_CSW: Final = struct.Struct("<4sIIB")
_FAILED: Final = 1

_CHECK_CONDITION: Final = 2
# US_SENSE_SIZE, and SCSI_SENSE_BUFFERSIZE for devices of SPC-3 on.
_SENSE: Final = 18
_LONG_SENSE: Final = 96

# What Linux reports of a transfer that was too long: illegal request, invalid field.
_TOO_LONG: Final = bytes.fromhex("70 00 05 00 00 00 00 0a 00 00 00 00 24 00 00 00 00 00")


class _Moved(Enum):
    """What became of a bulk transfer (USB_STOR_XFER_…)."""

    GOOD = 0
    SHORT = 1
    STALLED = 2
    LONG = 3
    ERROR = 4


class _Request(NamedTuple):
    cdb: bytes
    size: int
    data: bytes


class StorageDriver(DiskDriver):
    name = "usb-storage"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return (interface.cls, interface.subclass, interface.protocol) == _SCSI_BULK_ONLY

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.most = 2048 if self.device.speed is Speed.SUPER else 240
        self._in = interface.endpoint(BULK, is_in=True)
        self._out = interface.endpoint(BULK, is_in=False)
        self._lock = Lock()
        self._tag = 0
        self._deadline = 0
        # One URB for all wrappers (us->current_urb); data have their own.
        self._urb = self.device.urb(self._out, b"")

    def probe(self) -> Steps[None]:
        name = f"{self.device.name}:{self.device.configuration}.{self.interface.number}"
        self.host.report(f"usb-storage {name}: USB Mass Storage device detected")
        self.host.report(f"scsi host{self.number}: usb-storage {name}")
        yield from self._scanning.acquire()
        yield Spawn(self._scan(), self)

    def _scan(self) -> Steps[None]:
        """usb_stor_scan_dwork."""
        try:
            yield Sleep(_DELAY_USE)
            yield from control(self.device, 0xA1, 0xFE, 0, self.interface.number, 1)
            yield from self.scan()
        finally:
            self._scanning.release()

    def start(self, cdb: bytes, size: int, data: bytes) -> Steps[_Request]:
        yield from ()
        return _Request(cdb, size, data)

    def finish(self, request: _Request) -> Steps[Answer]:
        """usb_stor_invoke_transport."""
        yield from self._lock.acquire()
        try:
            self._deadline = self.host.loop.now + _TIMEOUT
            answer = yield from self._transport(*request)
            if answer.status == _CHECK_CONDITION and not answer.sense:
                answer = yield from self._ask_why(answer)
            if answer.status is None:
                yield from self._recover()
        finally:
            self._lock.release()
        return answer

    def _ask_why(self, answer: Answer) -> Steps[Answer]:
        """REQUEST SENSE."""
        size = _LONG_SENSE if self.version >= 5 else _SENSE
        why = yield from self._transport(bytes((0x03, 0, 0, 0, size, 0)), size, b"")
        if why.status != 0:
            return Answer(None)
        return answer._replace(sense=why.data)

    def _transport(self, cdb: bytes, size: int, data: bytes) -> Steps[Answer]:
        """usb_stor_Bulk_transport. `sense` is what Linux makes up for a device that sends too
        much."""
        self._tag += 1
        length = size or len(data)
        wrapper = _CBW.pack(b"USBC", self._tag, length, 0x80 if size else 0, 0, len(cdb), cdb)
        moved, _ = yield from self._wrapper(self._out, wrapper)
        if moved is not _Moved.GOOD:
            return Answer(None)
        read, count, sense = b"", 0, b""
        if length:
            pipe = self._in if size else self._out
            moved, urb = yield from self._bulk(pipe, self.device.urb(pipe, data or size))
            if moved is _Moved.ERROR:
                return Answer(None)
            read, count = urb.data if size else b"", urb.actual_length
            sense = _TOO_LONG if moved is _Moved.LONG else b""
        status, residue = yield from self._status()
        if status is None:
            return Answer(None)
        count = min(count, max(0, length - residue))
        failed = status == _FAILED or sense
        return Answer(_CHECK_CONDITION if failed else 0, read[:count], sense, count)

    def _status(self) -> Steps[tuple[int | None, int]]:
        """The CSW, asked for again where the device stalls or says nothing; status and residue."""
        moved, urb = yield from self._wrapper(self._in, bytes(_CSW.size))
        if moved is _Moved.SHORT and not urb.actual_length:
            moved, urb = yield from self._wrapper(self._in, bytes(_CSW.size))
        if moved is _Moved.STALLED:
            moved, urb = yield from self._wrapper(self._in, bytes(_CSW.size))
        if moved is not _Moved.GOOD:
            return None, 0
        signature, tag, residue, status = _CSW.unpack(urb.data)
        if signature != b"USBS" or tag != self._tag or status > _FAILED:
            return None, 0
        return status, residue

    def _wrapper(self, endpoint: HostEndpoint, buffer: bytes) -> Steps[tuple[_Moved, Urb]]:
        """usb_stor_bulk_transfer_buf."""
        self._urb.endpoint = endpoint.address
        self._urb.buffer = bytearray(buffer)
        return (yield from self._bulk(endpoint, self._urb))

    def _bulk(self, endpoint: HostEndpoint, urb: Urb) -> Steps[tuple[_Moved, Urb]]:
        """A transfer, and interpret_urb_result: a stalled endpoint is cleared here. Raises
        `UrbFailed` where the device has gone."""
        error = yield Submit(urb)
        if error:
            raise UrbFailed(error, f"{self.device.name}: {self.name}")
        done = yield Receive(max(0, self._deadline - self.host.loop.now))
        if done is None:
            yield Unlink(urb)
            yield Receive()
        if not self.device.is_there:
            raise UrbFailed(urb.status, f"{self.device.name}: {self.name}")
        if urb.status == EPIPE:
            cleared = yield from self._clear_halt(endpoint)
            return (_Moved.STALLED if cleared else _Moved.ERROR), urb
        if urb.status == EOVERFLOW:
            return _Moved.LONG, urb
        if urb.status not in (0, EREMOTEIO):
            return _Moved.ERROR, urb
        return (_Moved.GOOD if urb.actual_length == len(urb.buffer) else _Moved.SHORT), urb

    def _clear_halt(self, endpoint: HostEndpoint) -> Steps[bool]:
        urb = yield from control(
            self.device, 0x02, 1, 0, endpoint.address, b"", timeout=_CLEAR_TIMEOUT
        )
        return bool(urb.status == 0)

    def _recover(self) -> Steps[None]:
        """usb_stor_Bulk_reset (Bulk-Only Transport §5.3.4)."""
        urb = yield from control(
            self.device, 0x21, 0xFF, 0, self.interface.number, b"", timeout=_RESET_TIMEOUT
        )
        if urb.status:
            return
        yield Sleep(_AFTER_RESET)
        yield from self._clear_halt(self._in)
        yield from self._clear_halt(self._out)


DRIVER = StorageDriver
