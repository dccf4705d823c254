"""`HostController`: takes URBs, carries them out on its bus, and gives them back.

Here: submit, unlink and give-back as the kernel has them (drivers/usb/core/urb.c and hcd.c), the
way from an address to the device model behind enabled ports, and the `Tap` through which others
look on. Not here: what the queue of an endpoint does (`queues`), hubs (`hub`), and who submits
(`driver`). Knows three callbacks of a tap, and no format of any trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from usbmon.bus.hub import Hub
from usbmon.bus.queues import AsyncQueue, InterruptQueue, IsoQueue, Queue, RootQueue, Wire
from usbmon.bus.status import (
    EBADR,
    EBUSY,
    ECONNRESET,
    EHOSTUNREACH,
    EIDRM,
    EINPROGRESS,
    EINVAL,
    EMSGSIZE,
    ENODEV,
    ENOENT,
    ENOEXEC,
    ENOSPC,
    EREMOTEIO,
    ESHUTDOWN,
    EXDEV,
)
from usbmon.bus.timing import Speed, interval_limit, interval_of, wire_time
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, URB_DIR_IN, URB_SHORT_NOT_OK, Urb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.bus.device import Device
    from usbmon.bus.host import HostDevice, HostEndpoint
    from usbmon.bus.hub import Port, RootHub
    from usbmon.bus.loop import Loop


# URBs carry a tag that looks like the kernel's: an address in its direct map, 192 bytes apart.
_FIRST_ID: Final = 0xFFFF_8880_0400_0000
_ID_STEP: Final = 192

# Periodic transfers may take 80 % of a microframe, 90 % of a frame (USB 2.0 §5.6.4, §5.7.4).
_PERIODIC_PART: Final = {Speed.LOW: 0.9, Speed.FULL: 0.9, Speed.HIGH: 0.8, Speed.SUPER: 0.9}

_QUEUES: Final[dict[int, type[Queue]]] = {
    CONTROL: AsyncQueue,
    BULK: AsyncQueue,
    INTERRUPT: InterruptQueue,
    ISOCHRONOUS: IsoQueue,
}


class Tap(Protocol):
    """Who looks on (``struct usb_mon_operations``, include/linux/usb/hcd.h)."""

    def submit(self, urb: Urb) -> None:
        """A driver submitted it."""

    def submit_error(self, urb: Urb, error: int) -> None:
        """After `submit`: the controller refused it, with this negative errno."""

    def complete(self, urb: Urb, status: int) -> None:
        """It goes back to its driver with this status."""


class HostController:
    """One bus: a controller with its root hub.

    `tap`, where there is one, sees each URB; None costs one comparison. `devices` are those with an
    address, by that. `urbs` are in flight, `completed` have been given back.
    """

    def __init__(self, loop: Loop, busnum: int, root: RootHub) -> None:
        self.loop = loop
        self.busnum = busnum
        self.root = root
        self.speed = root.speed
        self.tap: Tap | None = None
        self.devices: dict[int, HostDevice] = {}
        self.last_devnum = 1
        self.dead = False
        self.urbs = 0
        self.completed = 0
        self._next_id = _FIRST_ID + (busnum << 32)
        root.power_on(loop, root.speed)

    # Drivers.

    def submit(self, urb: Urb) -> int:
        """Take the URB; 0, or a negative errno. What the kernel's core refuses (usb_submit_urb) no
        tap sees; what the controller refuses (usb_hcd_submit_urb), it sees twice."""
        endpoint = urb.device.endpoints.get(urb.endpoint if urb.type is not CONTROL else 0)
        error = self._check(urb, endpoint)
        if error or endpoint is None:
            return error
        if not urb.id:
            urb.id = self._next_id
            self._next_id += _ID_STEP
        tap = self.tap
        if tap is not None:
            tap.submit(urb)
        error = self._enqueue(urb, endpoint)
        if error and tap is not None:
            tap.submit_error(urb, error)
        return error

    def _check(self, urb: Urb, endpoint: HostEndpoint | None) -> int:
        """usb_submit_urb."""
        if urb.status == EINPROGRESS:
            return EBUSY
        if not urb.device.is_there:
            return ENODEV
        if endpoint is None:
            return ENOENT
        if urb.type is CONTROL:
            if urb.setup is None or len(urb.setup) != 8:
                return ENOEXEC
            if int.from_bytes(urb.setup[6:8], "little") != len(urb.buffer):
                return EBADR
        elif urb.device.configuration == 0:
            return ENODEV
        error = _misfit(urb, endpoint)
        if error:
            return error
        urb.status = EINPROGRESS
        urb.actual_length = 0
        urb.unlinked = 0
        urb.transfer_flags &= ~URB_DIR_IN
        if urb.is_in:
            urb.transfer_flags |= URB_DIR_IN
        return 0

    def _enqueue(self, urb: Urb, endpoint: HostEndpoint) -> int:
        """usb_hcd_link_urb_to_ep, and the controller's own reasons."""
        error = 0
        if not endpoint.enabled:
            error = ENOENT
        elif urb.device.suspended:
            error = EHOSTUNREACH
        elif self.dead:
            error = ESHUTDOWN
        elif endpoint.queue is None and not self._reserve(urb.device, endpoint):
            error = ENOSPC
        if error:
            urb.status = error
            return error
        if endpoint.queue is None:
            kind = RootQueue if urb.device.parent is None else _QUEUES[endpoint.type]
            endpoint.queue = kind(self, urb.device, endpoint)
        self.urbs += 1
        endpoint.queue.add(urb)
        return 0

    def _reserve(self, device: HostDevice, endpoint: HostEndpoint) -> bool:
        """Whether the wire has room for another periodic endpoint, which then has it."""
        if endpoint.type not in (INTERRUPT, ISOCHRONOUS) or device.parent is None:
            return True
        speed = device.speed
        packets = -(-endpoint.per_interval // endpoint.max_packet)
        cost = wire_time(speed, endpoint.type, endpoint.per_interval, packets)
        share = cost / (speed.frame * interval_of(speed, endpoint.type, endpoint.b_interval))
        wire = self.wire(device)
        if wire.reserved + share > _PERIODIC_PART[speed]:
            return False
        wire.reserved += share
        endpoint.reserved = share
        return True

    def unlink(self, urb: Urb, status: int = ECONNRESET) -> int:
        """Take it back (usb_unlink_urb, with -ECONNRESET, or usb_kill_urb, with -ENOENT): it
        completes with this status soon. 0, where the kernel says -EINPROGRESS; -EIDRM if it is not
        here, -EBUSY if it is being taken back already."""
        endpoint = urb.device.endpoints.get(urb.endpoint if urb.type is not CONTROL else 0)
        queue = endpoint.queue if endpoint is not None else None
        if queue is None or urb.status != EINPROGRESS:
            return EIDRM
        if urb.unlinked:
            return EBUSY
        urb.unlinked = status
        queue.unlink(urb)
        return 0

    def flush(self, endpoint: HostEndpoint) -> None:
        """Give all its URBs back with -ESHUTDOWN, the last one first (usb_hcd_flush_endpoint)."""
        if endpoint.queue is None:
            return
        for urb in reversed(endpoint.queue.urbs.copy()):
            if not urb.unlinked:
                urb.unlinked = ESHUTDOWN
            endpoint.queue.remove(urb)
        self.wire(endpoint.queue.device).reserved -= endpoint.reserved
        endpoint.queue, endpoint.reserved = None, 0.0

    def give_back(self, urb: Urb, status: int) -> None:
        """Back to its driver (__usb_hcd_giveback_urb)."""
        if urb.unlinked:
            status = urb.unlinked
        elif (
            not status
            and urb.transfer_flags & URB_SHORT_NOT_OK
            and urb.actual_length < len(urb.buffer)
        ):
            status = EREMOTEIO
        self.urbs -= 1
        self.completed += 1
        if self.tap is not None:
            self.tap.complete(urb, status)
        urb.status = status
        if urb.complete is not None:
            urb.complete(urb)

    # The bus.

    def model(self, device: HostDevice) -> Device | None:
        """The device model that answers to this device's address now; None if none does."""
        if device.parent is None:
            return self.root
        port = self.port(device)
        if port is None or port.device is None or not port.is_open:
            return None
        return port.device if port.device.address == device.devnum else None

    def is_linked(self, device: HostDevice) -> bool:
        """Whether something hears the bus at its port, under whatever address."""
        if device.parent is None:
            return True
        port = self.port(device)
        return port is not None and port.device is not None and port.is_open

    def port(self, device: HostDevice) -> Port | None:
        """The port that this device was found at; None if its hub is gone."""
        hub = self.model(device.parent) if device.parent is not None else None
        return hub.ports[device.port - 1] if isinstance(hub, Hub) else None

    def forget(self, device: HostDevice) -> None:
        """The device has gone, and its number is free."""
        self.devices = {n: known for n, known in self.devices.items() if known is not device}

    def pull(self, model: Device) -> None:
        """Unplug this device model, wherever it is."""
        for port in list(self.all_ports()):
            if port.device is model:
                port.disconnect()

    def all_ports(self) -> Iterator[Port]:
        """The ports of the root hub and of all hubs behind it."""
        hubs: list[Hub] = [self.root]
        for hub in hubs:
            hubs += (port.device for port in hub.ports if isinstance(port.device, Hub))
            yield from hub.ports

    def wire(self, device: HostDevice) -> Wire:
        """What carries its transactions: the bus or, below a high-speed hub, the line behind that
        hub's transaction translator (USB 2.0 §11.14)."""
        holder = device
        if device.speed in (Speed.LOW, Speed.FULL):
            while holder.parent is not None and holder.speed in (Speed.LOW, Speed.FULL):
                holder = holder.parent
        else:
            while holder.parent is not None:
                holder = holder.parent
        slow = holder.parent is not None or device.speed in (Speed.LOW, Speed.FULL)
        return holder.line(self.loop, slow=slow)


def _misfit(urb: Urb, endpoint: HostEndpoint) -> int:
    """What usb_submit_urb finds wrong with a request to this endpoint; 0 for nothing."""
    if urb.type != endpoint.type:
        return EINVAL
    if urb.type is ISOCHRONOUS:
        if not urb.packets:
            return EINVAL
        limit = endpoint.per_interval
        for packet in urb.packets:
            if packet.length > limit or packet.offset + packet.length > len(urb.buffer):
                return EMSGSIZE
            packet.status, packet.actual_length = EXDEV, 0
    if urb.type in (INTERRUPT, ISOCHRONOUS):
        natural = interval_of(urb.device.speed, urb.type, endpoint.b_interval)
        interval = urb.interval or natural
        if interval <= 0:
            return EINVAL
        # usb_submit_urb: a power of two, within what controllers can do
        most = interval_limit(urb.device.speed, urb.type)
        urb.interval = min(1 << (interval.bit_length() - 1), most)
    return 0
