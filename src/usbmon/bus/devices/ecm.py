"""An Ethernet adapter (CDC-ECM) with one host on its wire.

Here: alternate settings, packet filter, notifications, and frames as transfers (USB CDC ECM
Subclass 1.2; sections and tables are of that). Not here: the host at the far end (`far`), multicast
lists, statistics and power filters, which are not offered.

A frame is a transfer, and ends with a short packet, or an empty one after a full one. With
alternate setting 1 of the data interface the adapter begins, and says so: connected, and how fast.
Frames for the host wait in a queue of `QUEUE`; what comes when it is full is lost, as on any wire.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.devices import cdc
from usbmon.bus.devices.far import FarHost
from usbmon.bus.urb import BULK, INTERRUPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.descriptors import Strings
    from usbmon.bus.timing import Speed
    from usbmon.usb.setup import Setup

# The longest frame, without its checksum, which stays on the wire; and frames that wait.
MAX_FRAME: Final = 1514
QUEUE: Final = 256

# The address that the host is to use; a local one.
MAC: Final = b"\x02\x55\x53\x42\x00\x02"

_ECM: Final = 0x06
_CONTROL, _DATA = 0, 1
_IN, _OUT, _NOTIFY = 0x81, 0x02, 0x83
_BIT_RATE: Final = 100_000_000

# Class request (table 6) and its bits (table 8).
_SET_ETHERNET_PACKET_FILTER: Final = (0x21, 0x43)
PROMISCUOUS, ALL_MULTICAST, DIRECTED, BROADCAST = 1, 2, 4, 8


def _functions(strings: Strings) -> bytes:
    """Ethernet networking (table 3): address, statistics, longest frame, filters."""
    ethernet = struct.pack("<BIHHB", strings.number(MAC.hex().upper()), 0, MAX_FRAME, 0, 0)
    return cdc.header_and_union(_CONTROL, _DATA) + cdc.functional(cdc.ETHERNET, ethernet)


class EthernetAdapter(Device):
    """See the module. `far` is the host at the other end; None where `received` takes its place.
    `packet_filter` is what the host has set, `lost` counts frames that the host did not fetch."""

    descriptor = DeviceDescriptor(
        0x1209,
        0x0021,
        iManufacturer="usbmon",
        iProduct="Ethernet adapter",
        iSerialNumber="0001",
        bDeviceClass=cdc.COMMUNICATIONS,
    )
    configurations = (
        Configuration(
            (
                Interface(
                    cdc.COMMUNICATIONS,
                    _ECM,
                    endpoints=(Endpoint(_NOTIFY, INTERRUPT, 16, 9),),
                    bInterfaceNumber=_CONTROL,
                    iInterface="Ethernet control",
                    extra=_functions,
                ),
                Interface(cdc.DATA, bInterfaceNumber=_DATA, iInterface="Ethernet data"),
                Interface(
                    cdc.DATA,
                    endpoints=(Endpoint(_IN, BULK), Endpoint(_OUT, BULK)),
                    bInterfaceNumber=_DATA,
                    bAlternateSetting=1,
                    iInterface="Ethernet data",
                ),
            )
        ),
    )

    def __init__(
        self,
        received: Callable[[bytes], object] | None = None,
        *,
        address: str = "10.55.0.1",
        speed: Speed | None = None,
    ) -> None:
        """`received` is called with each frame that the host sends; without it, there is a host
        with this `address`."""
        super().__init__(speed=speed)
        self.far: FarHost | None = None
        if received is None:
            self.far = FarHost(self.send, address=address)
            received = self.far.receive
        self.lost = 0
        self._received = received
        self._for_host: deque[bytes] = deque()
        self._notifications: deque[bytes] = deque()
        self._sending = b""
        self._owes_empty = False
        self._coming = bytearray()
        self.packet_filter = DIRECTED | BROADCAST

    def reset(self) -> None:
        self.packet_filter = DIRECTED | BROADCAST
        self._empty()

    def _empty(self) -> None:
        self._for_host.clear()
        self._notifications.clear()
        self._coming.clear()
        self._sending, self._owes_empty = b"", False

    def send(self, frame: bytes) -> None:
        """A frame comes from the wire, for the host to fetch. Raises ValueError for one that no
        wire carries."""
        if not 14 <= len(frame) <= MAX_FRAME:
            raise ValueError(f"an Ethernet frame has 14 to {MAX_FRAME} bytes, not {len(frame)}")
        if self.alternates.get(_DATA) != 1 or not self._passes(frame[:6]):
            return
        if len(self._for_host) == QUEUE:
            self.lost += 1
            return
        self._for_host.append(frame)
        self.ready(_IN)

    def _passes(self, destination: bytes) -> bool:
        """Whether the packet filter lets it through."""
        if destination == b"\xff" * 6:
            wanted = BROADCAST
        elif destination[0] & 1:
            wanted = ALL_MULTICAST
        else:
            wanted = DIRECTED if destination == MAC else 0
        return self.packet_filter & (wanted | PROMISCUOUS) != 0

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if (setup.bmRequestType, setup.bRequest) != _SET_ETHERNET_PACKET_FILTER:
            raise Stall
        self.packet_filter = setup.wValue
        return None

    def interface_set(self, number: int, alternate: int) -> None:
        if number != _DATA:
            return
        self._empty()
        if alternate == 1:
            rates = struct.pack("<II", _BIT_RATE, _BIT_RATE)
            self._notifications += (
                cdc.notification(cdc.NETWORK_CONNECTION, 1, _CONTROL),
                cdc.notification(cdc.CONNECTION_SPEED_CHANGE, 0, _CONTROL, rates),
            )
            self.ready(_NOTIFY)

    @endpoint(_NOTIFY)
    def notify(self, _size: int) -> bytes | Nak:
        return self._notifications.popleft() if self._notifications else NAK

    @endpoint(_OUT)
    def take(self, data: bytes) -> None:
        """Of a frame that is too long, only that it was is kept."""
        if len(self._coming) <= MAX_FRAME:
            self._coming += data
        if data and len(data) % self.speed.bulk_size == 0:
            return
        frame = bytes(self._coming)
        self._coming.clear()
        if 14 <= len(frame) <= MAX_FRAME:
            self._received(frame)

    @endpoint(_IN)
    def give(self, size: int) -> bytes | Nak:
        if self._owes_empty:
            self._owes_empty = False
            return b""
        if not self._sending and not self._for_host:
            return NAK
        frame = self._sending or self._for_host.popleft()
        data, self._sending = frame[:size], frame[size:]
        self._owes_empty = not self._sending and len(data) % self.speed.bulk_size == 0
        return data
