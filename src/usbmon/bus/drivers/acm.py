"""The driver of serial adapters (drivers/usb/class/cdc-acm.c).

Here: probing, and a port that is opened, read, written and closed as a tty is: sixteen reads in
flight, the notification endpoint served all the while.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Receive, Sleep, Spawn, Steps, Submit, Task, UrbFailed, Wait
from usbmon.bus.drivers.reads import Reads
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.status import EOVERFLOW, EPROTO, GONE
from usbmon.bus.urb import BULK, INTERRUPT

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface

# ACM_NR; EOVERFLOW and EPROTO, after which a read rests for HZ / 2; and what a write may take.
_READS: Final = 16
_BABBLING: Final = (EOVERFLOW, EPROTO)
_COOLING: Final = SECOND // 2
_WRITE_TIMEOUT: Final = 10 * SECOND
_LOOK_EVERY: Final = MS
_UNION: Final = 6
_DTR_RTS: Final = 3


class AcmDriver(Driver):
    """Serves the control interface, and the data interface that its union names."""

    name = "cdc_acm"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return (interface.cls, interface.subclass) == (2, 2)

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.data: HostInterface | None = None
        self.state = 0
        self._received = bytearray()
        self._tasks: list[Task] = []

    def probe(self) -> Steps[None]:
        """Raises LookupError for descriptors without a data interface."""
        number = union_slave(self.interface.extra)
        self.data = self.device.active[number]
        self.device.drivers[number] = self
        self.pipes = (
            self.data.endpoint(BULK, is_in=True),
            self.data.endpoint(BULK, is_in=False),
            self.interface.endpoint(INTERRUPT, is_in=True),
        )
        yield from self._line_coding(9600)

    def _line_state(self, lines: int) -> Steps[None]:
        return self.device.control_out(0x21, 0x22, lines, self.interface.number)

    def _line_coding(self, baud: int) -> Steps[None]:
        coding = struct.pack("<IBBB", baud, 0, 0, 8)
        return self.device.control_out(0x21, 0x20, 0, self.interface.number, coding)

    def open(self, baud: int = 9600) -> Steps[None]:
        """Open the port, with 8 data bits, no parity and one stop bit. Raises `UrbFailed`."""
        self._received.clear()
        self._tasks.append((yield Spawn(self._notifications(), self)))
        self._tasks.append((yield Spawn(self._reads().steps(), self)))
        yield from self._line_state(_DTR_RTS)
        yield from self._line_coding(baud)

    def close(self) -> Steps[None]:
        """Close the port: what is in flight is killed."""
        yield from self._line_state(0)
        while self._tasks:
            self._tasks.pop(0).cancel()

    def write(self, data: bytes) -> Steps[None]:
        """Write; on a port that is open. Raises `UrbFailed`."""
        pipe = self.pipes[1]
        room = pipe.max_packet * 20
        for at in range(0, len(data), room):
            urb = yield Wait(self.device.urb(pipe, data[at : at + room]), _WRITE_TIMEOUT)
            if urb.status:
                raise UrbFailed(urb.status, f"{self.device.name}: write")

    def read(self, size: int, timeout: int = SECOND) -> Steps[bytes]:
        """At most `size` bytes, or what has come after `timeout` nanoseconds."""
        end = self.host.loop.now + timeout
        while len(self._received) < size and self.host.loop.now < end and self.is_open:
            yield Sleep(min(end - self.host.loop.now, _LOOK_EVERY))
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    @property
    def is_open(self) -> bool:
        """Whether the port is open, and the device there."""
        return any(not task.done for task in self._tasks)

    def _reads(self) -> Reads:
        """acm_read_bulk_callback and acm_softint."""
        pipe = self.pipes[0]
        size = pipe.max_packet * 2
        take = self._received.extend
        return Reads(self.device, pipe, _READS, size, take, tiring=_BABBLING, rest=_COOLING)

    def _notifications(self) -> Steps[None]:
        pipe = self.pipes[2]
        urb = self.device.urb(pipe, pipe.max_packet)
        while not (yield Submit(urb)):
            done = yield Receive()
            if done.status in GONE:
                return
            if done.data[:2] == b"\xa1\x20" and len(done.data) >= 10:
                self.state = int.from_bytes(done.data[8:10], "little")


def union_slave(extra: bytes) -> int:
    """The number of the data interface, out of the union descriptor (CDC 1.2 §5.2.3.2). Raises
    LookupError if there is none."""
    from usbmon.usb.descriptors import walk

    for descriptor in walk(extra):
        if len(descriptor) >= 5 and descriptor[1:3] == bytes((0x24, _UNION)):
            return descriptor[4]
    raise LookupError("the interface has no union descriptor")


DRIVER = AcmDriver
