"""The driver of Ethernet adapters (drivers/net/usb/usbnet.c, cdc_ether.c).

Here: probing, and an interface that is brought up, sends and receives frames; and `ping`, which
makes its packets itself. Not here: an IP stack.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Receive, Sleep, Spawn, Steps, Submit, Task, UrbFailed, Wait
from usbmon.bus.drivers.acm import union_slave
from usbmon.bus.drivers.reads import Reads
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.status import EILSEQ, EPROTO, ETIME, GONE
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, INTERRUPT, URB_ZERO_PACKET

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface

# usbnet: a frame, and as many URBs as its memory for them has room for (usbnet_update_max_qlen).
_FRAME: Final = 1514
_RX_URBS: Final = {Speed.FULL: 4, Speed.HIGH: 60, Speed.SUPER: 300}
_HEADER: Final = 14
_KEPT: Final = 256
# EPROTO, ETIME, EILSEQ: the URB rests for THROTTLE_JIFFIES, HZ / 8.
_ERRORS: Final = (EPROTO, ETIME, EILSEQ)
_REST: Final = SECOND // 8
_TX_TIMEOUT: Final = 5 * SECOND
_LOOK_EVERY: Final = MS // 10
# Directed and broadcast, then all multicast too (ECM 1.2 table 8): usbnet_cdc_update_filter, when
# it is bound, and when it is up and has joined groups.
_BOUND, _UP = 0x0C, 0x0E
_ECHO_DATA: Final = bytes(range(56))


class EcmDriver(Driver):
    """Serves the control interface, and the data interface that its union names. `mac` is its own
    address, `is_connected` what the adapter told of its wire."""

    name = "cdc_ether"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return (interface.cls, interface.subclass) == (2, 6)

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.mac = bytes(6)
        self.is_connected = False
        self.received: deque[bytes] = deque(maxlen=_KEPT)
        self._neighbours: dict[str, bytes] = {}
        self._tasks: list[Task] = []

    def probe(self) -> Steps[None]:
        """usbnet_cdc_bind. Raises LookupError for descriptors that are not complete."""
        device = self.device
        number = union_slave(self.interface.extra)
        self.data = yield from device.set_interface(number, 1)
        device.drivers[number] = self
        self.pipes = (
            self.data.endpoint(BULK, is_in=True),
            self.data.endpoint(BULK, is_in=False),
            self.interface.endpoint(INTERRUPT, is_in=True),
        )
        yield from self._set_filter(_BOUND)
        text = yield from device.read_string(_mac_string(self.interface.extra))
        try:
            self.mac = bytes.fromhex(text)
        except ValueError:
            raise LookupError(f"{text!r} is no Ethernet address") from None

    def _set_filter(self, bits: int) -> Steps[None]:
        return self.device.control_out(0x21, 0x43, bits, self.interface.number)

    def up(self) -> Steps[None]:
        """Bring the interface up (usbnet_open)."""
        if not self._tasks:
            self._tasks.append((yield Spawn(self._notifications(), self)))
            self._tasks.append((yield Spawn(self._receives().steps(), self)))
            yield from self._set_filter(_UP)

    def down(self) -> Steps[None]:
        """Take it down: what is in flight is killed."""
        while self._tasks:
            self._tasks.pop(0).cancel()
        yield from ()

    def send(self, frame: bytes) -> Steps[None]:
        """Send a frame. Raises `UrbFailed`."""
        pipe = self.pipes[1]
        urb = self.device.urb(pipe, frame, transfer_flags=URB_ZERO_PACKET)
        urb = yield Wait(urb, _TX_TIMEOUT)
        if urb.status:
            raise UrbFailed(urb.status, f"{self.device.name}: send")

    def receive(self, timeout: int = SECOND) -> Steps[bytes | None]:
        """The next frame; None if there is none after `timeout` nanoseconds."""
        end = self.host.loop.now + timeout
        while not self.received and self.host.loop.now < end:
            yield Sleep(min(_LOOK_EVERY, end - self.host.loop.now))
        return self.received.popleft() if self.received else None

    def ping(self, address: str, source: str = "10.55.0.2", *, sequence: int = 1) -> Steps[int]:
        """Ask who has an address, and send it an echo request: nanoseconds until the reply. Raises
        TimeoutError if there is none."""
        there = self._neighbours.get(address) or (yield from self._resolve(address, source))
        begun = self.host.loop.now
        yield from self.send(self._echo(there, address, source, sequence))
        for _ in range(_KEPT):
            frame = yield from self.receive()
            if frame is None:
                break
            if frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] == 0:
                (got,) = struct.unpack_from("!H", frame, 40)
                if got == sequence:
                    return self.host.loop.now - begun
        raise TimeoutError(f"{address} does not answer")

    def _resolve(self, address: str, source: str) -> Steps[bytes]:
        ask = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + self.mac + socket.inet_aton(source)
        ask += bytes(6) + socket.inet_aton(address)
        yield from self.send(b"\xff" * 6 + self.mac + b"\x08\x06" + ask)
        for _ in range(_KEPT):
            frame = yield from self.receive()
            if frame is None:
                break
            if frame[12:14] == b"\x08\x06" and frame[28:32] == socket.inet_aton(address):
                self._neighbours[address] = bytes(frame[22:28])
                return self._neighbours[address]
        raise TimeoutError(f"nobody has {address}")

    def _echo(self, there: bytes, address: str, source: str, sequence: int) -> bytes:
        icmp = struct.pack("!BBHHH", 8, 0, 0, 0x7573, sequence) + _ECHO_DATA
        icmp = struct.pack("!BBHHH", 8, 0, _internet_sum(icmp), 0x7573, sequence) + _ECHO_DATA
        ends = socket.inet_aton(source) + socket.inet_aton(address)
        length = 20 + len(icmp)
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, sequence, 0x4000, 64, 1, 0) + ends
        total = _internet_sum(head)
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, sequence, 0x4000, 64, 1, total) + ends
        return there + self.mac + b"\x08\0" + head + icmp

    def _receives(self) -> Reads:
        """rx_complete and usbnet_bh."""
        count = _RX_URBS.get(self.device.speed, 4)
        take = self._take
        return Reads(self.device, self.pipes[0], count, _FRAME, take, tiring=_ERRORS, rest=_REST)

    def _take(self, frame: bytes) -> None:
        if len(frame) >= _HEADER:
            self.received.append(frame)

    def _notifications(self) -> Steps[None]:
        """usbnet_cdc_status."""
        pipe = self.pipes[2]
        urb = self.device.urb(pipe, pipe.max_packet)
        while not (yield Submit(urb)):
            done = yield Receive()
            if done.status in GONE:
                return
            if done.data[:2] == b"\xa1\0" and len(done.data) >= 8:
                self.is_connected = done.data[2] == 1


def _mac_string(extra: bytes) -> int:
    """The number of the string with the address (ECM 1.2 §5.4). Raises LookupError."""
    from usbmon.usb.descriptors import walk

    for descriptor in walk(extra):
        if len(descriptor) >= 13 and descriptor[1:3] == b"\x24\x0f":
            return descriptor[3]
    raise LookupError("the interface has no Ethernet networking descriptor")


def _internet_sum(data: bytes) -> int:
    """The checksum of RFC 1071, of an even number of bytes."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2], "big")
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


DRIVER = EcmDriver
