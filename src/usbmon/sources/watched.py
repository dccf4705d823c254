"""A kernel's source, and what the system tells of the devices beside it.

Here: descriptors as synthetic events at the start and when something is plugged, remarks on what
comes and goes, and keeping only the events of devices that are followed. Not here: reading sysfs
(`usbmon.devices.sysfs`), watching it (`usbmon.sources.hotplug`), which events are whose (`follow`).
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Final, Protocol

from usbmon import layout
from usbmon.devices import synthetic
from usbmon.devices.synthetic import comment
from usbmon.sources import Remark, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.devices.model import Device
    from usbmon.events import Events
    from usbmon.sources.follow import Follower
    from usbmon.sources.hotplug import Change

_LOOK_SECONDS: Final = 0.25
_KEYBOARD: Final = (3, 1, 1)  # HID, boot interface, keyboard (HID 1.11 §4.2, 4.3)


class Watching(Protocol):
    """As `usbmon.sources.hotplug.Watcher`."""

    @property
    def devices(self) -> list[Device]: ...
    def poll(self) -> list[Change]: ...
    def fileno(self) -> int | None: ...


class Watched(Source):
    """See `usbmon.sources.Source`. `follower`: which devices alone are captured, if any."""

    def __init__(
        self,
        inner: Source,
        watcher: Watching,
        bus: int,
        *,
        describe: bool = True,
        follower: Follower | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """`bus`: that of `inner`, 0 for all. `describe`: give synthetic events."""
        self.inner = inner
        self.interfaces = inner.interfaces
        self.clock = inner.clock
        self._watcher = watcher
        self._bus = bus
        self._describe = describe
        self._follower = follower
        self._report = report or (lambda _line: None)
        self._remarks: list[Remark] = []
        self._due = 0.0

    @property
    def elapsed(self) -> float:
        return self.inner.elapsed

    @property
    def dropped(self) -> int:
        return self.inner.dropped

    def remarks(self) -> list[Remark]:
        taken, self._remarks = self._remarks, []
        return taken + self.inner.remarks()

    def __iter__(self) -> Iterator[Events]:
        for device in self._watcher.devices:
            yield from self._there(device, starting=True)
        self._due = time.monotonic() + _LOOK_SECONDS
        for batch in self.inner:
            yield self._follower.feed(batch) if self._follower is not None else batch
            if self._is_due():
                self._due = time.monotonic() + _LOOK_SECONDS
                for change in self._watcher.poll():
                    yield from self._changed(change)

    def _is_due(self) -> bool:
        """Whether it is time to look for changes, or the system tells of one."""
        if time.monotonic() >= self._due:
            return True
        wakes = self._watcher.fileno()
        return wakes is not None and bool(select.select([wakes], [], [], 0)[0])

    def _changed(self, change: Change) -> Iterator[Events]:
        device = change.device
        if change.kind != "removed":
            yield from self._there(device, words=f"{change.kind}: ")
        elif self._is_captured(device):
            self._remark(f"removed: {comment(device)}")
        if change.kind == "removed" and self._follower is not None:
            self._follower.gone(device, self._now())

    def _there(
        self, device: Device, *, words: str = "", starting: bool = False
    ) -> Iterator[Events]:
        """A device that is there: events that were held for it, and what is known of it."""
        if self._follower is not None:
            yield self._follower.appeared(device, self._watcher.devices)
        if not self._is_captured(device):
            return
        line = comment(device)
        if not starting:
            self._remark(words + line)
        if _is_keyboard(device):
            self._report(f"{line}: what is typed on it will be in the capture")
        if self._describe:
            known = synthetic.events(device, self._now(), self.clock)
            yield known.commented({0: (line,)} if len(known) else {})

    def _is_captured(self, device: Device) -> bool:
        if self._follower is not None:
            return self._follower.is_followed(device)
        return self._bus in (0, device.busnum)

    def _remark(self, text: str) -> None:
        self._remarks.append(Remark(self._now(), 0, text))
        self._report(text)

    def _now(self) -> int:
        """By the clock of the stamps."""
        return time.time_ns() if self.clock == layout.WALL else time.monotonic_ns()

    def stop(self) -> None:
        self.inner.stop()

    def close(self) -> None:
        self.inner.close()


def _is_keyboard(device: Device) -> bool:
    return any(
        (i.bInterfaceClass, i.bInterfaceSubClass, i.bInterfaceProtocol) == _KEYBOARD
        for i in device.interfaces
    )
