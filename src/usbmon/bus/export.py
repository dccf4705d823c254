"""Devices of a virtual host given away over USB/IP: the server's side of a connection, sans-IO.

Here: what drivers/usb/usbip/stub_*.c does: listing, import, URBs of the client carried out on our
bus, unlinking, and the reset of a device whose client has gone. Not here: the messages (`usbip`),
and sockets.

The host enumerates an exported device like any other, and binds no driver of its own to it; the
client's URBs go the same way as a driver's, so that a tap on the bus sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.bus import usbip
from usbmon.bus.drivers.hub import reset_device
from usbmon.bus.status import ECONNRESET, ENODEV, ENOENT, ENOMEM, EPIPE
from usbmon.bus.timing import Speed
from usbmon.bus.urb import (
    CONTROL,
    ISOCHRONOUS,
    URB_DIR_IN,
    URB_NO_TRANSFER_DMA_MAP,
    IsoPacket,
    Urb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.driver import Steps
    from usbmon.bus.host import Host, HostDevice

# enum usb_device_speed (include/uapi/linux/usb/ch9.h).
SPEEDS: Final = {Speed.LOW: 1, Speed.FULL: 2, Speed.HIGH: 3, Speed.SUPER: 5}
# Flags that mean something on the client's machine only (masking_bogus_flags of stub_rx.c).
_LOCAL_FLAGS: Final = URB_DIR_IN | URB_NO_TRANSFER_DMA_MAP


def describe(device: HostDevice) -> usbip.DeviceInfo:
    """What a client is told of a device."""
    raw = device.descriptor
    settings = device.active_configuration.settings if device.active_configuration else []
    vendor, product = device.id
    return usbip.DeviceInfo(
        f"/sys/devices/virtual/usbmon/usb{device.controller.busnum}/{device.name}",
        device.name,
        device.controller.busnum,
        device.devnum,
        SPEEDS[device.speed],
        vendor,
        product,
        int.from_bytes(raw[12:14], "little"),
        raw[4],
        raw[5],
        raw[6],
        device.configuration,
        raw[17],
        tuple((s.cls, s.subclass, s.protocol) for s in settings if s.alternate == 0),
    )


class Exports:
    """The devices that are given away, and who has which. `report` is told of each change."""

    def __init__(self, host: Host, report: Callable[[str], None]) -> None:
        self.host = host
        self.report = report
        self.taken: dict[HostDevice, Session] = {}
        self._resetting: set[HostDevice] = set()

    def devices(self) -> list[HostDevice]:
        """All that can be had: what is on the buses and set up, but for hubs."""
        return [d for d in self.host.devices() if d.is_set_up and d.descriptor[4] != 9]

    def take(self, device: HostDevice, session: Session) -> None:
        """The session has it from now on, and is told when it can begin."""
        self.taken[device] = session
        if device not in self._resetting:
            session.begin(device)

    def give_back(self, device: HostDevice) -> None:
        """Its session has ended; the device is made as new."""
        del self.taken[device]
        if device.is_there and device not in self._resetting:
            self._resetting.add(device)
            self.host.spawn(self._reset(device))

    def _reset(self, device: HostDevice) -> Steps[None]:
        try:
            yield from reset_device(self.host, device)
        finally:
            self._resetting.discard(device)
        if device in self.taken:
            self.taken[device].begin(device)


class Session:
    """One connection. `feed` it what came; what goes back is handed to `send`.

    It `is_over` when the client has got a list, as Linux's usbipd ends it, was refused, or asks
    for more of a device that has gone.
    """

    def __init__(self, exports: Exports, peer: str, send: Callable[[bytes], None]) -> None:
        self.is_over = False
        self.urbs = 0
        self._exports = exports
        self._peer = peer
        self._send = send
        self._parser = usbip.ServerParser()
        self._wanted: HostDevice | None = None
        self._device: HostDevice | None = None
        self._flying: dict[int, Urb] = {}
        self._weight = 0
        self._unlinks: dict[Urb, int] = {}

    def feed(self, data: bytes) -> None:
        """Act on what came. Raises `FormatError` for what is not USB/IP."""
        for message in self._parser.feed(data):
            if isinstance(message, usbip.CmdSubmit):
                self._submit(message)
            elif isinstance(message, usbip.CmdUnlink):
                self._unlink(message)
            elif isinstance(message, usbip.ReqDevlist):
                infos = tuple(describe(device) for device in self._exports.devices())
                self._send(usbip.RepDevlist(infos).encode())
                self.is_over = True
            elif isinstance(message, usbip.ReqImport):
                self._import(message.busid)
            if self.is_over:
                return

    def _import(self, busid: str) -> None:
        for device in self._exports.devices():
            if device.name == busid:
                break
        else:
            self._refuse(usbip.ST_NA, f"{busid}: no such device")
            return
        if device in self._exports.taken:
            self._refuse(usbip.ST_DEV_BUSY, f"{busid}: somebody else has it")
            return
        self._wanted = device
        self._exports.take(device, self)

    def begin(self, device: HostDevice) -> None:
        """The device is there for this client."""
        if not device.is_there:
            self._refuse(usbip.ST_NA, f"{device.name}: it has gone")
            return
        self._device = device
        self._send(usbip.RepImport(describe(device)).encode())
        self._exports.report(f"{self._peer}: has {device.name}")

    def _refuse(self, status: int, words: str) -> None:
        self._exports.report(f"{self._peer}: wants {words}")
        self._send(usbip.RepImport(None, status).encode())
        self.is_over = True

    # URBs.

    def _submit(self, command: usbip.CmdSubmit) -> None:
        device = self._device
        self.urbs += 1
        if command.seqnum in self._flying:
            raise self._parser.fail(f"number {command.seqnum} is under way already")
        if device is None or not device.is_there:
            self._answer(command, ENODEV)
            self.is_over = True
            return
        if self._weight + command.weight > usbip.MAX_IN_FLIGHT:
            self._answer(command, ENOMEM)
            return
        address = command.ep | (0x80 if command.direction == usbip.IN else 0)
        endpoint = device.endpoints.get(address if command.ep else 0)
        if endpoint is None:
            self._answer(command, EPIPE)
            return
        packets = command.iso if endpoint.type is ISOCHRONOUS else ()
        urb = Urb(
            device,
            address if command.ep else 0,
            endpoint.type,
            command.data if command.direction == usbip.OUT else command.transfer_buffer_length,
            setup=command.setup if endpoint.type is CONTROL else None,
            interval=max(command.interval, 0),
            packets=[IsoPacket(p.offset, p.length) for p in packets],
            transfer_flags=command.transfer_flags & ~_LOCAL_FLAGS,
        )
        urb.complete = lambda urb: self._completed(command, urb)
        error = device.controller.submit(urb)
        if error:
            self._answer(command, error)
            return
        self._flying[command.seqnum] = urb
        self._weight += command.weight

    def _completed(self, command: usbip.CmdSubmit, urb: Urb) -> None:
        del self._flying[command.seqnum]
        self._weight -= command.weight
        if command.ep == 0 and not urb.status:
            _follow(urb)
        unlink = self._unlinks.pop(urb, None)
        if unlink is not None:
            self._send(usbip.RetUnlink(unlink, urb.status).encode())
            return
        packets = tuple(
            usbip.IsoDescriptor(p.offset, p.length, p.actual_length, p.status) for p in urb.packets
        )
        result = usbip.RetSubmit(
            command.seqnum,
            urb.status,
            urb.actual_length,
            urb.start_frame,
            len(packets),
            urb.error_count,
            urb.data if command.direction == usbip.IN else b"",
            packets,
        )
        self._send(result.encode())

    def _answer(self, command: usbip.CmdSubmit, status: int) -> None:
        """A completion for what was never carried out."""
        packets = tuple(usbip.IsoDescriptor(p.offset, p.length, 0, status) for p in command.iso)
        result = usbip.RetSubmit(
            command.seqnum, status, 0, number_of_packets=len(packets), iso=packets
        )
        self._send(result.encode())

    def _unlink(self, command: usbip.CmdUnlink) -> None:
        urb = self._flying.get(command.unlink_seqnum)
        if urb is None or urb.unlinked:
            self._send(usbip.RetUnlink(command.seqnum, 0).encode())
            return
        self._unlinks[urb] = command.seqnum
        urb.device.controller.unlink(urb, ECONNRESET)

    def close(self) -> None:
        """The connection has gone: what is in flight is killed, and the device made as new."""
        device, self._wanted, self._device = self._wanted, None, None
        for urb in list(self._flying.values()):
            urb.complete = None
            urb.device.controller.unlink(urb, ENOENT)
        self._flying.clear()
        if device is None:
            return
        self._exports.report(f"{self._peer}: gave {device.name} back, after {self.urbs:,} URBs")
        self._exports.give_back(device)


def _follow(urb: Urb) -> None:
    """What the client's SET_CONFIGURATION and SET_INTERFACE mean for our host's endpoints
    (tweak_special_requests of stub_rx.c)."""
    assert urb.setup is not None
    device = urb.device
    value, index = urb.setup[2], urb.setup[4]
    if urb.setup[:2] == b"\x00\x09":
        device.choose(value)
    elif urb.setup[:2] == b"\x01\x0b" and device.active_configuration is not None:
        setting = device.active_configuration.setting(index, value)
        device.disable(index)
        device.enable(setting)
