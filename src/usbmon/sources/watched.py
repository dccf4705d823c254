"""A kernel's source, and what the system tells of the devices beside it.

Here: descriptors as synthetic events at the start and when something is plugged, remarks on what
comes and goes, and keeping only the events of devices that are followed. Not here: reading sysfs
(`usbmon.devices.sysfs`), watching it (`usbmon.sources.hotplug`), which events are whose (`follow`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from usbmon import layout
from usbmon.errors import SourceError
from usbmon.events import Events
from usbmon.sources import Remark, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.devices.model import Device
    from usbmon.sources.follow import Follower
    from usbmon.sources.hotplug import Change, Watcher

_LOOK_SECONDS: Final = 0.25
_KEYBOARD: Final = (3, 1, 1)  # HID, boot interface, keyboard (HID 1.11 §4.2, 4.3)


class Watched(Source):
    """See `usbmon.sources.Source`. `follower`: which devices alone are captured, if any."""

    def __init__(
        self,
        inner: Source,
        watcher: Watcher,
        bus: int,
        *,
        describe: bool = True,
        follower: Follower | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """`bus`: that of `inner`, 0 for all. `describe`: give synthetic events."""
        self.inner = inner
        self.interfaces = inner.interfaces
        self._watcher = watcher
        self._bus = bus
        self._describe = describe
        self._follower = follower
        self._report = report or (lambda _line: None)
        self._remarks: list[Remark] = []
        self._devices: dict[str, Device] = {}
        self._due = 0.0

    @property
    def elapsed(self) -> float:
        return self.inner.elapsed

    @property
    def dropped(self) -> int:
        return self.inner.dropped

    @property
    def clock(self) -> int:
        return self.inner.clock

    def remarks(self) -> list[Remark]:
        taken, self._remarks = self._remarks, []
        return taken + self.inner.remarks()

    def __iter__(self) -> Iterator[Events]:
        yield from self._look(starting=True)
        for batch in self.inner:
            yield self._follower.feed(batch) if self._follower is not None else batch
            if time.monotonic() >= self._due:
                yield from self._look()

    def _look(self, *, starting: bool = False) -> Iterator[Events]:
        """What has changed among the devices."""
        self._due = time.monotonic() + _LOOK_SECONDS
        try:
            changes = self._watcher.poll()
        except SourceError as error:
            self._report(f"what is plugged is not known: {error}")
            self._due = float("inf")
            return
        for change in changes:
            device = change.device
            if change.kind == "removed":
                self._devices.pop(device.sysname, None)
            else:
                self._devices[device.sysname] = device
        for change in changes:
            yield from self._changed(change, starting=starting)

    def _changed(self, change: Change, *, starting: bool) -> Iterator[Events]:
        from usbmon.devices.synthetic import comment

        device = change.device
        now = self._now()
        if self._follower is not None:
            if change.kind == "removed":
                was_followed = self._follower.is_followed(device)
                self._follower.gone(device, now)
                if not was_followed:
                    return
            else:
                held = self._follower.appeared(device, self._devices.values())
                if not self._follower.is_followed(device):
                    return
                yield held
        elif self._bus not in (0, device.busnum):
            return
        if not starting:
            self._remark(now, f"{change.kind}: {comment(device)}")
        elif _is_keyboard(device):
            self._report(f"{comment(device)}: what is typed on it will be in the capture")
        if self._describe and change.kind != "removed":
            from usbmon.devices import synthetic

            yield synthetic.events(device, now, self.clock)

    def _remark(self, now: int, text: str) -> None:
        self._remarks.append(Remark(now, 0, text))
        self._report(text)

    def _now(self) -> int:
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
