"""`Urb`: one request to move data, from a driver to a host controller and back.

Here: the fields of the kernel's ``struct urb`` (include/linux/usb.h), with its names where it has
them. Not here: who carries it out (`hcd`), or who asked (`driver`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.host import HostDevice


class TransferType(IntEnum):
    """The types of transfer, numbered as in an endpoint's bmAttributes (USB 2.0 table 9-13)."""

    CONTROL = 0
    ISOCHRONOUS = 1
    BULK = 2
    INTERRUPT = 3


CONTROL, ISOCHRONOUS, BULK, INTERRUPT = TransferType

# Flags of a driver (include/linux/usb.h), and the direction, which the core adds.
URB_SHORT_NOT_OK: Final = 0x0001
URB_ISO_ASAP: Final = 0x0002
URB_NO_TRANSFER_DMA_MAP: Final = 0x0004
URB_ZERO_PACKET: Final = 0x0040
URB_NO_INTERRUPT: Final = 0x0080
URB_FREE_BUFFER: Final = 0x0100
URB_DIR_IN: Final = 0x0200


class IsoPacket:
    """One packet of an isochronous URB (``struct usb_iso_packet_descriptor``): its place in the
    buffer, and what became of it."""

    __slots__ = ("actual_length", "length", "offset", "status")

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length
        self.actual_length = 0
        self.status = 0

    def __repr__(self) -> str:
        return f"<IsoPacket {self.status}:{self.offset}:{self.length} actual {self.actual_length}>"


class Urb:
    """A request. `buffer` holds the data to send, or takes the data that come; a driver may submit
    an Urb again once it has completed.

    `endpoint` is an address with the direction in bit 7; that of a control URB follows its setup.
    `interval` is in frames or microframes, as the kernel has it, not in the units of bInterval.
    """

    __slots__ = (
        "actual_length",
        "buffer",
        "complete",
        "device",
        "endpoint",
        "error_count",
        "id",
        "interval",
        "packets",
        "setup",
        "start_frame",
        "status",
        "stream_id",
        "transfer_flags",
        "type",
        "unlinked",
    )

    def __init__(
        self,
        device: HostDevice,
        endpoint: int,
        type: TransferType,
        buffer: bytes | bytearray | int = b"",
        *,
        setup: bytes | None = None,
        interval: int = 0,
        packets: list[IsoPacket] | None = None,
        transfer_flags: int = 0,
        stream_id: int = 0,
    ) -> None:
        """`buffer`: the bytes to send, or how many to receive."""
        self.device = device
        self.endpoint = endpoint
        self.type = type
        self.buffer = bytearray(buffer)
        self.setup = setup
        self.interval = interval
        self.packets = packets or []
        self.start_frame = 0
        self.transfer_flags = transfer_flags
        self.stream_id = stream_id
        self.status = 0
        self.actual_length = 0
        self.error_count = 0
        self.id = 0
        self.unlinked = 0
        self.complete: Callable[[Urb], None] | None = None

    @property
    def is_in(self) -> bool:
        """Whether data goes from the device to the host."""
        if self.setup is not None:
            return self.setup[0] & 0x80 != 0 and self.setup[6:8] != b"\0\0"
        return self.endpoint & 0x80 != 0

    @property
    def transfer_buffer_length(self) -> int:
        return len(self.buffer)

    @property
    def data(self) -> bytes:
        """What was transferred; for an isochronous URB, the bytes of its packets, joined."""
        if self.packets:
            view = memoryview(self.buffer)
            return b"".join(view[p.offset : p.offset + p.actual_length] for p in self.packets)
        return bytes(self.buffer[: self.actual_length])

    def __repr__(self) -> str:
        what = f" {self.setup.hex(' ')}" if self.setup is not None else ""
        return (
            f"<Urb {self.type.name} {self.device.devnum}:{self.endpoint:02x}{what} "
            f"status {self.status}, {self.actual_length} of {len(self.buffer)} bytes>"
        )
