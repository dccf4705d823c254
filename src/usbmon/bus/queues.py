"""The queue of an endpoint: how its URBs are carried out, by type of transfer.

Here: control and bulk, which share the wire in turns; interrupt, polled at its interval;
isochronous, a packet an interval; the root hub, which has no wire. Not here: what a transaction
costs (`timing`), who may submit (`hcd`).

Theory: nothing ticks. A control or bulk endpoint with work stands in line for its `Wire`; its turn
is a slice, a (micro)frame's worth at most. An endpoint that answers NAK leaves the line until its
device says `ready`; what the standard would poll in between is left out, being seen by nobody. An
isochronous URB is settled when its last packet's frame is over, each packet under the number of
its own frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from usbmon.bus import faults
from usbmon.bus.device import NAK, Nak, Stall
from usbmon.bus.loop import MS, US
from usbmon.bus.status import EOVERFLOW, EPIPE, EPROTO, EXDEV
from usbmon.bus.timing import FRAME, interval_of, slice_size, wire_time
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, URB_ZERO_PACKET, IsoPacket, Urb

if TYPE_CHECKING:
    from usbmon.bus.device import Device
    from usbmon.bus.hcd import HostController
    from usbmon.bus.host import HostDevice, HostEndpoint
    from usbmon.bus.loop import Loop, Timer


# A controller tries three times before it gives up (USB 2.0 §4.5.2).
_TRIES: Final = 3
# A device that is not there is waited for so long a try (USB 2.0 §7.1.19: 18 bit times, and the
# rest of the transaction).
_SILENCE: Final = 10 * US
# The root hub answers as fast as a register is read.
_ROOT_DELAY: Final = 2 * US
_ROOT_POLL: Final = 250 * MS
# First frame of an isochronous stream, counted from now.
_ISO_LEAD: Final = 2


class Wire:
    """One line of endpoints whose slices go over the same wire, in turns.

    `debt` is what periodic transfers, which go first, have taken since the last slice, `reserved`
    the part of the time that their endpoints may take.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._line: deque[AsyncQueue] = deque()
        self._is_busy = False
        self.debt = 0
        self.reserved = 0.0

    def enlist(self, queue: AsyncQueue) -> None:
        if not queue.is_listed:
            queue.is_listed = True
            self._line.append(queue)
            if not self._is_busy:
                # Not at once: who enlists may be in the middle of a model's method.
                self._is_busy = True
                self.debt = 0  # of the time when nobody wanted the wire
                self._loop.call_later(0, self._next)

    def _next(self) -> None:
        while self._line:
            queue = self._line.popleft()
            queue.is_listed = False
            cost = queue.serve()
            if cost is not None:
                self._loop.call_later(cost + self.debt, self._done, queue)
                self.debt = 0
                return
        self._is_busy = False

    def _done(self, queue: AsyncQueue) -> None:
        queue.settle()
        self._next()


class Queue(ABC):
    """URBs of one endpoint, in their order; the first one is being worked on."""

    def __init__(
        self, controller: HostController, device: HostDevice, endpoint: HostEndpoint
    ) -> None:
        self.controller = controller
        self.loop = controller.loop
        self.device = device
        self.endpoint = endpoint
        self.urbs: deque[Urb] = deque()

    def add(self, urb: Urb) -> None:
        self.urbs.append(urb)
        if len(self.urbs) == 1:
            self.start()

    @abstractmethod
    def start(self) -> None:
        """There is a new first URB, or the device is ready to go on with it."""

    def interrupted(self) -> None:  # noqa: B027 (most have nothing to do)
        """The first URB was taken away in the midst of its work."""

    def finish(self, status: int) -> None:
        """The first URB is done."""
        urb = self.urbs.popleft()
        more = bool(self.urbs)
        self.controller.give_back(urb, status)
        if more and self.urbs:
            self.start()

    def unlink(self, urb: Urb) -> None:
        """Let it go at the end of this (micro)frame, when the controller has let go of it."""
        frame = self.device.speed.frame
        self.loop.call_at((self.loop.now // frame + 1) * frame, self._unlinked, urb)

    def _unlinked(self, urb: Urb) -> None:
        if urb.unlinked and urb in self.urbs:
            self.remove(urb)

    def remove(self, urb: Urb) -> None:
        """Give it back now, with the status it was unlinked with."""
        was_first = self.urbs[0] is urb
        self.urbs.remove(urb)
        if was_first:
            self.interrupted()
        self.controller.give_back(urb, 0)
        if was_first and self.urbs:
            self.start()


class _Transacting(Queue):
    """What control, bulk and interrupt have in common: a transaction with the device model."""

    def __init__(
        self, controller: HostController, device: HostDevice, endpoint: HostEndpoint
    ) -> None:
        super().__init__(controller, device, endpoint)
        self._begun: Urb | None = None
        self._result: tuple[Urb, int, int | None] | None = None
        self._short = False
        self._held = False

    def interrupted(self) -> None:
        self._begun = self._result = None

    def woken(self) -> None:
        """The device that had answered NAK is ready."""
        self.start()

    def transact(self, size: int) -> int | None:
        """Do at most `size` bytes of the first URB: nanoseconds that it takes, and the result for
        `settle`. None for a NAK: `start` is called when there is more to say."""
        urb = self.urbs[0]
        if urb.unlinked:  # the queue goes on when it has been given back
            return None
        model = self.controller.model(self.device)
        if model is None:
            return self._failed(urb, EPROTO, _TRIES * _SILENCE)
        if self._begun is not urb:
            self._begun = urb
            self._short = self._held = False
            cost = self._fault(urb, model)
            if cost != 0:
                return cost
        if self._held:
            self._wait(urb, model)
            return None
        try:
            answer = self._ask(urb, model, size)
        except Stall:
            if urb.type is not CONTROL:
                model.halted.add(urb.endpoint)
            return self._failed(urb, EPIPE, self._cost(0))
        if answer is None:
            return self._failed(urb, EPROTO, _TRIES * _SILENCE)
        if isinstance(answer, Nak):
            self._wait(urb, model)
            return None
        return self._moved(urb, answer, size)

    def _wait(self, urb: Urb, model: Device) -> None:
        """NAK: until the model says that it is ready, or is reset or gone."""
        model.wait(0 if urb.type is CONTROL else urb.endpoint, self.woken)

    def _fault(self, urb: Urb, model: Device) -> int | None:
        """0 if nothing goes wrong here; else as `transact`."""
        if not model.faults:
            return 0
        address = 0 if urb.type is CONTROL else urb.endpoint
        fault = faults.pick(model.faults, address, self.loop.random, packet=False)
        if fault is None:
            return 0
        if fault.kind in faults.STATUS:
            if fault.kind == "stall" and address:
                model.halted.add(address)
            return self._failed(urb, faults.STATUS[fault.kind], self._cost(0))
        if fault.kind == "short":
            self._short = True
            return 0
        if fault.kind == "disconnect":
            self.controller.pull(model)
            return self._failed(urb, EPROTO, _TRIES * _SILENCE)
        self._held = True
        if fault.kind == "nak":
            self.loop.call_later(fault.duration, self._release, urb)
        return 0

    def _release(self, urb: Urb) -> None:
        """The time of a fault "nak" is over."""
        if self._begun is urb and self.urbs and self.urbs[0] is urb:
            self._held = False
            self.start()

    def _ask(self, urb: Urb, model: Device, size: int) -> bytes | int | Nak | None:
        """Bytes from the device, or how many went to it; None if it does not answer at all."""
        if urb.type is CONTROL:
            assert urb.setup is not None
            data = b"" if urb.is_in else bytes(urb.buffer)
            back = model.request(urb.setup, data)
            if isinstance(back, Nak) or urb.is_in:
                return back
            return len(urb.buffer)
        if urb.endpoint in model.halted:
            raise Stall
        handler = model.handler(urb.endpoint)
        if handler is None:
            return None
        at = urb.actual_length
        if urb.is_in:
            answer: bytes | Nak = handler(size)
            return answer
        return NAK if handler(bytes(urb.buffer[at : at + size])) is NAK else size

    def _moved(self, urb: Urb, answer: bytes | int, size: int) -> int:
        status: int | None = None
        at = urb.actual_length
        if isinstance(answer, int):
            moved = answer
            wants_empty = (
                urb.transfer_flags & URB_ZERO_PACKET
                and urb.type is BULK
                and moved
                and len(urb.buffer) % self.endpoint.max_packet == 0
            )
            if at + moved == len(urb.buffer) and not wants_empty:
                status = 0
        else:
            moved, status = self._received(urb, answer, size)
        self._result = (urb, moved, status)
        return self._cost(moved)

    def _received(self, urb: Urb, answer: bytes, size: int) -> tuple[int, int | None]:
        if self._short:
            answer = answer[: len(answer) // 2]
        at = urb.actual_length
        moved = min(len(answer), size)
        urb.buffer[at : at + moved] = answer[:moved]
        if len(answer) > size:
            return moved, EOVERFLOW
        ended = self._short or moved == 0 or moved % self.endpoint.max_packet != 0
        if ended or urb.type is CONTROL or at + moved == len(urb.buffer):
            return moved, 0
        return moved, None

    def _failed(self, urb: Urb, status: int, cost: int) -> int:
        self._result = (urb, 0, status)
        return cost

    def _cost(self, size: int) -> int:
        packets = max(1, -(-size // self.endpoint.max_packet))
        return wire_time(self.device.speed, self.endpoint.type, size, packets)

    def settle(self) -> None:
        """The transaction is over: the URB is done, or goes on."""
        result, self._result = self._result, None
        if result is None or not self.urbs or self.urbs[0] is not result[0]:
            return  # unlinked meanwhile
        urb, moved, status = result
        if status in (0, None) and not self.controller.is_linked(self.device):
            moved, status = 0, EPROTO  # unplugged meanwhile
        urb.actual_length += moved
        if status is None:
            self.start()
        else:
            self._begun = None
            self.finish(status)


class AsyncQueue(_Transacting):
    """Control and bulk."""

    def __init__(
        self, controller: HostController, device: HostDevice, endpoint: HostEndpoint
    ) -> None:
        super().__init__(controller, device, endpoint)
        self.is_listed = False
        self._wire = controller.wire(device)
        self._slice = slice_size(device.speed, endpoint.max_packet)

    def start(self) -> None:
        if self._result is None:
            self._wire.enlist(self)

    def serve(self) -> int | None:
        """The wire's turn: as `transact`."""
        if not self.urbs:
            return None
        urb = self.urbs[0]
        left = len(urb.buffer) - urb.actual_length
        return self.transact(left if urb.type is CONTROL else min(left, self._slice))

    def settle(self) -> None:
        super().settle()
        if self.urbs and self._result is None:
            self._wire.enlist(self)


class InterruptQueue(_Transacting):
    """One transaction of at most a packet at each slot of the interval."""

    def __init__(
        self, controller: HostController, device: HostDevice, endpoint: HostEndpoint
    ) -> None:
        super().__init__(controller, device, endpoint)
        frame = device.speed.frame
        self._period = frame * interval_of(device.speed, INTERRUPT, endpoint.b_interval)
        self._phase = controller.loop.now // frame * frame % self._period
        self._last = -1
        self._timer: Timer | None = None
        self._wire = controller.wire(device)

    def start(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_at(self._slot(), self._poll)

    def _slot(self) -> int:
        """The first slot from now on that was not used yet."""
        count = -(-(self.loop.now - self._phase) // self._period)
        slot = count * self._period + self._phase
        return slot if slot > self._last else slot + self._period

    def _poll(self) -> None:
        self._timer = None
        if not self.urbs:
            return
        self._last = self.loop.now
        urb = self.urbs[0]
        left = len(urb.buffer) - urb.actual_length
        cost = self.transact(min(self.endpoint.per_interval, left))
        if cost is not None:
            self._wire.debt += cost
            self._timer = self.loop.call_later(cost, self._over)

    def _over(self) -> None:
        self._timer = None
        self.settle()
        if self.urbs:
            self.start()


class IsoQueue(Queue):
    """A packet an interval, each in its frame.

    `start_frame` of an URB is the number of its first frame as controllers count: in 11 bits, or
    14 bits of microframes.
    """

    def __init__(
        self, controller: HostController, device: HostDevice, endpoint: HostEndpoint
    ) -> None:
        super().__init__(controller, device, endpoint)
        self._frame = device.speed.frame
        self._mask = 0x7FF if self._frame == FRAME else 0x3FFF
        self._next = 0
        self._starts: dict[Urb, int] = {}
        self._timer: Timer | None = None
        self._wire = controller.wire(device)

    def add(self, urb: Urb) -> None:
        frame = self.loop.now // self._frame + _ISO_LEAD
        interval = urb.interval
        if not self.urbs or self._next < frame:
            self._next = -(-frame // interval) * interval
        self._starts[urb] = self._next
        urb.start_frame = self._next & self._mask
        self._next += interval * len(urb.packets)
        super().add(urb)

    def start(self) -> None:
        urb = self.urbs[0]
        end = self._starts[urb] + urb.interval * len(urb.packets)
        self.loop.cancel(self._timer)
        self._timer = self.loop.call_at(end * self._frame, self._over)

    def _over(self) -> None:
        urb = self.urbs[0]
        self._settle(urb, len(urb.packets))
        del self._starts[urb]
        self.finish(0)

    def remove(self, urb: Urb) -> None:
        """The packets whose frames are over have been carried out."""
        start = self._starts.pop(urb)
        if self.urbs[0] is urb:
            self.loop.cancel(self._timer)
            passed = (self.loop.now // self._frame - start) // urb.interval
            self._starts[urb] = start
            self._settle(urb, max(0, min(passed, len(urb.packets))))
            del self._starts[urb]
        super().remove(urb)

    def _settle(self, urb: Urb, count: int) -> None:
        model = self.controller.model(self.device)
        handler = model.handler(urb.endpoint) if model is not None else None
        start = self._starts[urb]
        moved = 0
        for number, packet in enumerate(urb.packets[:count]):
            frame = start + number * urb.interval
            self._packet(urb, packet, frame, model, handler)
            moved += packet.actual_length
        urb.actual_length = moved
        urb.error_count = sum(packet.status not in (0, EXDEV) for packet in urb.packets)
        self._wire.debt += wire_time(self.device.speed, ISOCHRONOUS, moved, max(count, 1))

    def _packet(
        self, urb: Urb, packet: IsoPacket, frame: int, model: Device | None, handler: Any
    ) -> None:
        if model is None or model.loop is None or handler is None:
            packet.status = EPROTO
            return
        fault = self._fault(urb, model)
        packet.status = faults.STATUS.get(fault, 0) if fault else 0
        room = packet.length // 2 if fault == "short" else packet.length
        if packet.status:
            return
        if urb.is_in:
            data = handler(packet.length, frame)
            moved = min(len(data), room)
            urb.buffer[packet.offset : packet.offset + moved] = data[:moved]
            packet.actual_length = moved
            packet.status = EOVERFLOW if len(data) > packet.length else 0
        else:
            handler(bytes(urb.buffer[packet.offset : packet.offset + packet.length]), frame)
            packet.actual_length = packet.length

    def _fault(self, urb: Urb, model: Device) -> str:
        if not model.faults:
            return ""
        fault = faults.pick(model.faults, urb.endpoint, self.loop.random, packet=True)
        if fault is not None and fault.kind == "disconnect":
            self.controller.pull(model)
            return "no-response"
        return fault.kind if fault is not None else ""


class RootQueue(_Transacting):
    """The root hub's: no wire, no frame (rh_call_control and rh_queue_status of
    drivers/usb/core/hcd.c).

    A change is told at once; what had changed before the URB was submitted is found when the
    controller looks, four times a second.
    """

    def __init__(
        self, controller: HostController, device: HostDevice, endpoint: HostEndpoint
    ) -> None:
        super().__init__(controller, device, endpoint)
        self._timer: Timer | None = None

    def start(self) -> None:
        if self.endpoint.type is CONTROL:
            self._schedule(_ROOT_DELAY)
        else:
            self.controller.root.wait(self.endpoint.address, self.woken)
            self._schedule(_ROOT_POLL)

    def woken(self) -> None:
        self._schedule(_ROOT_DELAY)

    def _schedule(self, delay: int) -> None:
        self.loop.cancel(self._timer)
        self._timer = self.loop.call_later(delay, self._serve)

    def _serve(self) -> None:
        if self.urbs and self.transact(len(self.urbs[0].buffer)) is not None:
            self.settle()

    def unlink(self, urb: Urb) -> None:
        self.loop.call_later(_ROOT_DELAY, self._unlinked, urb)
