"""Drivers as generators: what a driver may ask for, and the task that does it.

Here: the steps, `Driver`, and `Task`. A driver is sans-IO: it yields a step, and is resumed with
what came of it, on whatever bus it runs. The steps:

    urb = yield urb                   submit it and wait until it has completed
    urb = yield Wait(urb, timeout)    the same, but kill it after so many nanoseconds
    error = yield Submit(urb)         submit it and go on; 0, or a negative errno
    item = yield Receive(timeout)     the next completed URB of `Submit`, or what was `Task.send`t;
                                      None after the time
    error = yield Unlink(urb)         take it back (usb_unlink_urb; `kill=True`: usb_kill_urb)
    yield Sleep(nanoseconds)
    task = yield Spawn(steps, owner)  run other steps beside these
    yield from lock.acquire()         take a `Lock`; `lock.release()` lets go of it

Not here: any class of device (`drivers`).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from usbmon.bus.loop import SECOND, Timer
from usbmon.bus.status import EBUSY, ECONNRESET, EINPROGRESS, ENOENT, ETIMEDOUT
from usbmon.bus.urb import CONTROL, Urb
from usbmon.usb.errno import status_name

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostDevice, HostInterface

_T = TypeVar("_T")
Steps = Generator[Any, Any, _T]


# USB_CTRL_GET_TIMEOUT and USB_CTRL_SET_TIMEOUT of include/linux/usb.h.
CONTROL_TIMEOUT: Final = 5 * SECOND


class UrbFailed(Exception):  # noqa: N818 (it is the URB that failed)
    """A transfer ended with the negative errno `status`."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(f"{what}: {status_name(status)}")
        self.status = status


@dataclass(slots=True)
class Wait:
    urb: Urb
    timeout: int | None = None


@dataclass(slots=True)
class Submit:
    urb: Urb


@dataclass(slots=True)
class Receive:
    timeout: int | None = None


@dataclass(slots=True)
class Unlink:
    urb: Urb
    kill: bool = False


@dataclass(slots=True)
class Sleep:
    time: int


@dataclass(slots=True)
class Spawn:
    steps: Steps[Any]
    owner: object = None


class Lock:
    """One task at a time."""

    def __init__(self) -> None:
        self._holder: object = None
        self._line: deque[Task] = deque()

    def acquire(self) -> Steps[None]:
        task = yield _Me()
        while self._holder is not None:
            self._line.append(task)
            try:
                yield _Park()
            except GeneratorExit:
                self._leave(task)
                raise
        self._holder = task

    def release(self) -> None:
        self._holder = None
        self._wake_next()

    def _leave(self, task: Task) -> None:
        """A task that is cancelled in line or, just woken, before it took the lock."""
        if task in self._line:
            self._line.remove(task)
        elif self._holder is None:
            self._wake_next()

    def _wake_next(self) -> None:
        if self._line:
            self._line.popleft().wake()


class _Me:
    """The step that asks for the task itself."""


class _Park:
    """The step that waits for `Task.wake`."""


class Task:
    """A generator of steps at work. `result` and `error` are there when it is `done`."""

    def __init__(self, host: Host, steps: Steps[Any], owner: object = None) -> None:
        self.host = host
        self.owner = owner
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None
        self._steps = steps
        self._mail: deque[Any] = deque()
        self._out: dict[Urb, None] = {}  # in their order
        self._receiving = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Take the first step."""
        self._resume(None)

    def send(self, item: Any) -> None:
        """Put something into its mailbox, for `Receive`."""
        self._mail.append(item)
        if self._receiving:
            self._deliver()

    def wake(self) -> None:
        """Resume it from its wait for a lock."""
        self.host.loop.call_later(0, self._resume, None)

    def cancel(self) -> None:
        """Stop it here; the URBs it has out are killed."""
        if self.done:
            return
        self._end()
        self._steps.close()
        for urb in list(self._out):
            urb.complete = None
            urb.device.controller.unlink(urb, ENOENT)

    def _end(self) -> None:
        self.done = True
        self.host.loop.cancel(self._timer)
        self.host.tasks.pop(self, None)

    def _resume(self, value: Any) -> None:
        """Go on until a step has to wait."""
        while not self.done:
            try:
                step = self._steps.send(value)
            except StopIteration as stop:
                self.result = stop.value
                self._end()
                return
            except UrbFailed as error:
                self.error = error
                self._end()
                return
            waits, value = self._do(step)
            if waits:
                return

    def _do(self, step: Any) -> tuple[bool, Any]:
        """Whether the step has to wait, and else what it gives."""
        if isinstance(step, Urb):
            return self._transfer(step, None)
        perform = _STEPS.get(type(step))
        if perform is None:
            raise TypeError(f"{step!r} is no step of a driver")
        done: tuple[bool, Any] = perform(self, step)
        return done

    def do_wait(self, step: Wait) -> tuple[bool, Any]:
        return self._transfer(step.urb, step.timeout)

    def do_submit(self, step: Submit) -> tuple[bool, Any]:
        return False, self._submit(step.urb, self._mailed)

    def do_receive(self, step: Receive) -> tuple[bool, Any]:
        if self._mail:
            return False, self._mail.popleft()
        self._receiving = True
        if step.timeout is not None:
            self._timer = self.host.loop.call_later(step.timeout, self._nothing_came)
        return True, None

    def do_unlink(self, step: Unlink) -> tuple[bool, Any]:
        status = ENOENT if step.kill else ECONNRESET
        return False, step.urb.device.controller.unlink(step.urb, status)

    def do_sleep(self, step: Sleep) -> tuple[bool, Any]:
        self._timer = self.host.loop.call_later(step.time, self._resume, None)
        return True, None

    def do_spawn(self, step: Spawn) -> tuple[bool, Any]:
        return False, self.host.spawn(step.steps, step.owner)

    def do_me(self, _step: _Me) -> tuple[bool, Any]:
        return False, self

    def do_park(self, _step: _Park) -> tuple[bool, Any]:
        return True, None

    def _transfer(self, urb: Urb, timeout: int | None) -> tuple[bool, Any]:
        error = self._submit(urb, self._completed)
        if error:
            if error != EBUSY:  # then it is still what it was
                urb.status = error
            return False, urb
        if timeout is not None:
            unlink = urb.device.controller.unlink
            self._timer = self.host.loop.call_later(timeout, unlink, urb, ENOENT)
        return True, None

    def _submit(self, urb: Urb, complete: Callable[[Urb], None]) -> int:
        if urb.status == EINPROGRESS:
            return EBUSY
        urb.complete = complete
        error = urb.device.controller.submit(urb)
        if not error:
            self._out[urb] = None
        return error

    def _completed(self, urb: Urb) -> None:
        self._out.pop(urb, None)
        self.host.loop.cancel(self._timer)
        self._resume(urb)

    def _mailed(self, urb: Urb) -> None:
        self._out.pop(urb, None)
        self.send(urb)

    def _deliver(self) -> None:
        self._receiving = False
        self.host.loop.cancel(self._timer)
        self._resume(self._mail.popleft())

    def _nothing_came(self) -> None:
        self._receiving = False
        self._resume(None)


_STEPS: Final[dict[type, Any]] = {
    Wait: Task.do_wait,
    Submit: Task.do_submit,
    Receive: Task.do_receive,
    Unlink: Task.do_unlink,
    Sleep: Task.do_sleep,
    Spawn: Task.do_spawn,
    _Me: Task.do_me,
    _Park: Task.do_park,
}


class Driver:
    """The driver of an interface. `name` is what the kernel's driver is called.

    A subclass says what it `matches`, and does in `probe` what the kernel's driver does first;
    tasks that go on afterwards are `Spawn`ed with the driver as their owner, and end with it.
    """

    name: ClassVar[str]

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        """Whether it can drive this interface."""
        raise NotImplementedError

    def __init__(self, host: Host, interface: HostInterface) -> None:
        self.host = host
        self.interface = interface
        self.device = interface.device
        self.probed = False

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked for something."""
        return self.probed

    def probe(self) -> Steps[None]:
        """The first steps."""
        yield from ()

    def disconnect(self) -> None:
        """The device has gone."""


def control(
    device: HostDevice,
    request_type: int,
    request: int,
    value: int,
    index: int,
    buffer: bytes | int,
    *,
    timeout: int = CONTROL_TIMEOUT,
) -> Steps[Urb]:
    """usb_control_msg: a control transfer, killed after `timeout` nanoseconds; the completed URB,
    whose status is then -ETIMEDOUT."""
    length = buffer if isinstance(buffer, int) else len(buffer)
    setup = struct.pack("<BBHHH", request_type, request, value, index, length)
    urb = yield Wait(Urb(device, 0, CONTROL, buffer, setup=setup), timeout)
    if urb.status == ENOENT and urb.unlinked:
        urb.status = ETIMEDOUT
    result: Urb = urb
    return result


def control_in(
    device: HostDevice,
    request_type: int,
    request: int,
    value: int,
    index: int,
    length: int,
    *,
    timeout: int = CONTROL_TIMEOUT,
) -> Steps[bytes]:
    """A control transfer that reads. Raises `UrbFailed`."""
    urb = yield from control(device, request_type, request, value, index, length, timeout=timeout)
    if urb.status:
        raise UrbFailed(urb.status, f"{device.name}: control request {request}")
    return urb.data


def control_out(
    device: HostDevice,
    request_type: int,
    request: int,
    value: int,
    index: int,
    data: bytes = b"",
    *,
    timeout: int = CONTROL_TIMEOUT,
) -> Steps[None]:
    """A control transfer that writes, or only asks for something. Raises `UrbFailed`."""
    urb = yield from control(device, request_type, request, value, index, data, timeout=timeout)
    if urb.status:
        raise UrbFailed(urb.status, f"{device.name}: control request {request}")
