"""uas: a disk behind USB Attached SCSI, as drivers/usb/storage/uas.c drives it.

Here: information units, tags and the four pipes. Not here: which commands (`scsi`).

One task serves all commands, of which as many are under way as there are tags; those who want
something done send it their command and wait. Each command has a status URB out, and a data URB: at
once with streams, when the device says READY without them, where any status URB may bring the news
of any command. A command that does not come to its end in time resets all.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Lock, Receive, Spawn, Steps, Submit, Task, Unlink, UrbFailed
from usbmon.bus.drivers.disk import DiskDriver
from usbmon.bus.drivers.scsi import Answer
from usbmon.bus.loop import SECOND
from usbmon.bus.status import ENODEV
from usbmon.bus.timing import Speed
from usbmon.bus.urb import Urb
from usbmon.usb.descriptors import walk

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostEndpoint, HostInterface

_UAS: Final = (0x08, 0x06, 0x62)


# SD_TIMEOUT.
_TIMEOUT: Final = 30 * SECOND

_PIPE_USAGE: Final = 0x24
_COMPANION: Final = 0x30
_COMMAND, _STATUS, _DATA_IN, _DATA_OUT = 1, 2, 3, 4

# struct sense_iu; MAX_CMNDS; the tags that are kept back.
_STATUS_SIZE: Final = 112
_MOST_STREAMS: Final = 256
_WITHOUT_STREAMS: Final = 32
_SPARE: Final = 2

_COMMAND_IU, _SENSE_IU, _RESPONSE_IU, _READ_READY, _WRITE_READY = 1, 3, 4, 6, 7


@dataclass(eq=False)
class _Work:
    """A command and what is known of it. `done` is held until it has come to its end."""

    cdb: bytes
    size: int
    data: bytes
    tag: int = 0
    deadline: int = 0
    urb: Urb | None = None
    is_moving: bool = False
    status: int | None = None
    sense: bytes = b""
    read: bytes = b""
    moved: int = 0
    done: Lock = field(default_factory=Lock)


class UasDriver(DiskDriver):
    name = "uas"
    is_careful = False
    most = 1024

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        """uas_use_uas_driver: some alternate setting has all four pipes, with streams where the
        bus has them."""
        setting = _setting(interface)
        if setting is None:
            return False
        fast = interface.device.speed is Speed.SUPER
        return len(_pipes(setting)) == 4 and (not fast or _streams(setting) > 0)

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        setting = _setting(interface)
        assert setting is not None
        self.interface = setting
        self.has_streams = self.device.speed is Speed.SUPER
        self._pipes = _pipes(setting)
        self._tags = _streams(setting) if self.has_streams else _WITHOUT_STREAMS
        self.depth = self._tags - _SPARE
        self._engine: Task | None = None
        self._waiting: deque[_Work] = deque()
        self._active: dict[int, _Work] = {}
        self._status_urbs: set[Urb] = set()

    def probe(self) -> Steps[None]:
        yield from self.device.set_interface(self.interface.number, self.interface.alternate)
        self.host.report(f"scsi host{self.number}: uas")
        yield from self._scanning.acquire()
        self._engine = yield Spawn(self._serve(), self)
        yield Spawn(self._scan(), self)

    def _scan(self) -> Steps[None]:
        try:
            yield from self.scan()
        finally:
            self._scanning.release()

    # Those who want something done.

    def start(self, cdb: bytes, size: int, data: bytes) -> Steps[_Work]:
        if self._engine is None or self._engine.done:
            raise UrbFailed(ENODEV, f"{self.device.name}: {self.name}")
        work = _Work(cdb, size, data)
        yield from work.done.acquire()
        self._waiting.append(work)
        self._engine.send(work)
        return work

    def finish(self, request: _Work) -> Steps[Answer]:
        yield from request.done.acquire()
        return Answer(request.status, request.read, request.sense, request.moved)

    # The task that serves them.

    def _serve(self) -> Steps[None]:
        try:
            while True:
                item = yield Receive(self._time_left())
                if item is None:
                    yield from self._reset()
                elif isinstance(item, Urb):
                    yield from self._completed(item)
                while self._waiting and len(self._active) < self.depth:
                    yield from self._issue(self._waiting.popleft())
        finally:
            for work in (*self._active.values(), *self._waiting):
                work.done.release()

    def _time_left(self) -> int | None:
        """Until the command whose time is up first."""
        if not self._active:
            return None
        return max(0, min(w.deadline for w in self._active.values()) - self.host.loop.now)

    def _issue(self, work: _Work) -> Steps[None]:
        """uas_queuecommand: status, data, command, in this order."""
        work.tag = next(tag for tag in range(1, self._tags + 1) if tag not in self._active)
        work.deadline = self.host.loop.now + _TIMEOUT
        self._active[work.tag] = work
        if work.size or work.data:
            pipe = self._pipes[_DATA_IN if work.size else _DATA_OUT]
            work.urb = self._urb(pipe, work.data or work.size, work.tag)
        yield from self._expect_status(work.tag)
        if self.has_streams:
            yield from self._move(work)
        iu = struct.pack(">BxH12x16s", _COMMAND_IU, work.tag, work.cdb)
        yield Submit(self.device.urb(self._pipes[_COMMAND], iu))

    def _urb(self, pipe: HostEndpoint, buffer: bytes | int, tag: int) -> Urb:
        return self.device.urb(pipe, buffer, stream_id=tag if self.has_streams else 0)

    def _expect_status(self, tag: int) -> Steps[None]:
        urb = self._urb(self._pipes[_STATUS], _STATUS_SIZE, tag)
        if not (yield Submit(urb)):
            self._status_urbs.add(urb)

    def _move(self, work: _Work) -> Steps[None]:
        """Let the data go."""
        if work.urb is not None and not work.is_moving:
            work.is_moving = not (yield Submit(work.urb))

    def _completed(self, urb: Urb) -> Steps[None]:
        """uas_stat_cmplt and uas_data_cmplt. What goes wrong is left to the time limit."""
        if urb in self._status_urbs:
            self._status_urbs.discard(urb)
            if not urb.status:
                yield from self._told(urb.data)
            return
        for work in list(self._active.values()):
            if work.urb is urb:
                work.is_moving = False
                if not urb.status:
                    work.read, work.moved = urb.data if work.size else b"", urb.actual_length
                self._try_complete(work)

    def _told(self, iu: bytes) -> Steps[None]:
        """An information unit came."""
        kind, tag = (iu[0], int.from_bytes(iu[2:4], "big")) if len(iu) >= 4 else (0, 0)
        work = self._active.get(tag)
        if work is None:
            return
        if kind in (_READ_READY, _WRITE_READY):
            yield from self._expect_status(tag)
            yield from self._move(work)
        elif kind == _SENSE_IU and len(iu) >= 16:
            work.status, work.sense = iu[6], iu[16 : 16 + int.from_bytes(iu[14:16], "big")]
            if work.status and work.is_moving and work.urb is not None:
                yield Unlink(work.urb)
            self._try_complete(work)
        elif kind == _RESPONSE_IU:
            self._over(work)

    def _try_complete(self, work: _Work) -> None:
        """It is over when its status is known and its data are at rest."""
        if work.status is not None and not work.is_moving:
            self._over(work)

    def _over(self, work: _Work) -> None:
        self._active.pop(work.tag, None)
        work.done.release()

    def _reset(self) -> Steps[None]:
        """Begin anew: the alternate setting, whose choice makes the device forget all commands."""
        yield from self.device.set_interface(self.interface.number, self.interface.alternate)
        self._status_urbs.clear()
        for work in list(self._active.values()):
            work.status = None
            self._over(work)


def _setting(interface: HostInterface) -> HostInterface | None:
    """uas_find_uas_alt_setting."""
    configuration = interface.device.active_configuration
    for setting in configuration.settings if configuration is not None else ():
        kind = (setting.cls, setting.subclass, setting.protocol)
        if setting.number == interface.number and kind == _UAS:
            return setting
    return None


def _pipes(setting: HostInterface) -> dict[int, HostEndpoint]:
    """By the pipe usage descriptors (uas_find_endpoints)."""
    found = {}
    for endpoint in setting.endpoints:
        for descriptor in walk(endpoint.descriptor):
            if descriptor[1] == _PIPE_USAGE and len(descriptor) >= 3 and 1 <= descriptor[2] <= 4:
                found[descriptor[2]] = endpoint
    return found


def _streams(setting: HostInterface) -> int:
    """How many all pipes but the first can have (usb_alloc_streams)."""
    pipes = _pipes(setting)
    counts = [_MOST_STREAMS]
    for usage in (_STATUS, _DATA_IN, _DATA_OUT):
        exponent = 0
        for descriptor in walk(pipes[usage].descriptor if usage in pipes else b""):
            if descriptor[1] == _COMPANION and len(descriptor) >= 4:
                exponent = descriptor[3] & 0x1F
        counts.append(1 << exponent if exponent else 0)
    return min(counts)


DRIVER = UasDriver
