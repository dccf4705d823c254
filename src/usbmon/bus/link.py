"""URBs that pass through a USB/IP connection, as a bus that can be listened to.

Here: the messages of both directions put together into URBs, and told to a tap. Not here: the
bytes' way from one side to the other, which does not wait for this and is not changed by it.

USB/IP does not say which type of transfer an URB is. Endpoint 0 is control; with packets it is
isochronous; of the rest, Linux gives an interval to interrupt URBs only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from usbmon.bus import usbip
from usbmon.bus.status import EINPROGRESS, ESHUTDOWN, EXDEV
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, IsoPacket, TransferType, Urb
from usbmon.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.hcd import Tap
    from usbmon.bus.loop import Loop

# Tags of URBs: unique among all connections, and like no kernel's.
_TAG_STEP: Final = 64


class RemoteDevice:
    """A device that is somewhere else: its numbers there."""

    def __init__(self, busnum: int, devnum: int) -> None:
        self.busnum = busnum
        self.devnum = devnum


class Link:
    """All connections through one proxy, as one bus. `busnum` only tells it from others: an event
    has the number of the bus where its device is."""

    busnum = 1

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.tap: Tap | None = None
        self._next_tag = _TAG_STEP

    def tag(self) -> int:
        """A new tag."""
        self._next_tag += _TAG_STEP
        return self._next_tag


class Passage:
    """One connection, from both sides. What is not USB/IP ends the listening, not the passing:
    `report` is told, once."""

    def __init__(self, link: Link, peer: str, report: Callable[[str], None]) -> None:
        self.urbs = 0
        self._link = link
        self._peer = peer
        self._report = report
        self._client = usbip.ServerParser()
        self._server = usbip.ClientParser()
        self._flying: dict[int, Urb] = {}
        self._unlinks: dict[int, int] = {}
        self._device = RemoteDevice(0, 0)
        self._blind = False

    def from_client(self, data: bytes) -> None:
        """These bytes go to the server."""
        self._listen(self._client, data)

    def from_server(self, data: bytes) -> None:
        """These bytes go to the client."""
        self._listen(self._server, data)

    def _listen(self, parser: usbip.Parser, data: bytes) -> None:
        if self._blind:
            return
        try:
            for message in parser.feed(data):
                self._heard(message)
        except FormatError as error:
            self._blind = True
            self._report(f"{self._peer}: passed on, but no longer understood: {error}")

    def _heard(self, message: usbip.Message) -> None:
        if isinstance(message, usbip.CmdSubmit):
            self._submitted(message)
        elif isinstance(message, usbip.RetSubmit):
            self._completed(message)
        elif isinstance(message, usbip.CmdUnlink):
            self._unlinks[message.seqnum] = message.unlink_seqnum
        elif isinstance(message, usbip.RetUnlink):
            self._unlinked(message)
        elif isinstance(message, usbip.RepImport):
            self._imported(message)

    def _imported(self, reply: usbip.RepImport) -> None:
        if reply.device is None:
            self._client.refuse()
            return
        info = reply.device
        self._device = RemoteDevice(info.busnum, info.devnum)
        self._report(
            f"{self._peer}: has {info.busid}, {info.idVendor:04x}:{info.idProduct:04x}, "
            f"bus {info.busnum} device {info.devnum}"
        )

    def _submitted(self, command: usbip.CmdSubmit) -> None:
        self._server.expect(command)
        self.urbs += 1
        is_out = command.direction == usbip.OUT
        urb = Urb(
            cast("Any", self._device),  # a tap asks for the numbers of a device, and no more
            command.ep | (0 if is_out else 0x80),
            _type(command),
            command.data if is_out else command.transfer_buffer_length,
            setup=command.setup if command.ep == 0 else None,
            interval=command.interval,
            packets=[IsoPacket(p.offset, p.length) for p in command.iso],
            transfer_flags=command.transfer_flags,
        )
        urb.id = self._link.tag()
        urb.status = EINPROGRESS
        urb.start_frame = _signed(command.start_frame)
        for packet in urb.packets:
            packet.status = EXDEV
        self._flying[command.seqnum] = urb
        if self._link.tap is not None:
            self._link.tap.submit(urb)

    def _completed(self, result: usbip.RetSubmit) -> None:
        urb = self._flying.pop(result.seqnum)
        urb.actual_length = result.actual_length
        urb.start_frame = _signed(result.start_frame)
        urb.error_count = result.error_count
        for packet, told in zip(urb.packets, result.iso, strict=False):
            packet.actual_length, packet.status = told.actual_length, told.status
        if urb.is_in:
            data = result.data
            if result.iso:
                data = usbip.unpack_iso(data, result.iso, len(urb.buffer))
            urb.buffer[: len(data)] = data
        self._give_back(urb, result.status)

    def _unlinked(self, answer: usbip.RetUnlink) -> None:
        """If the completion has not come before, it is this (vhci_recv_ret_unlink of vhci_rx.c)."""
        target = self._unlinks.pop(answer.seqnum, None)
        if target is None:
            return
        self._server.forget(target)
        urb = self._flying.pop(target, None)
        if urb is not None:
            self._give_back(urb, answer.status)

    def _give_back(self, urb: Urb, status: int) -> None:
        urb.status = status
        if self._link.tap is not None:
            self._link.tap.complete(urb, status)

    def close(self) -> None:
        """The connection has gone, and with it the device: as the client's kernel will see it."""
        self._blind = True
        for urb in self._flying.values():
            self._give_back(urb, ESHUTDOWN)
        self._flying.clear()


def _type(command: usbip.CmdSubmit) -> TransferType:
    if command.ep == 0:
        return CONTROL
    if command.iso:
        return ISOCHRONOUS
    return INTERRUPT if command.interval else BULK


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number
