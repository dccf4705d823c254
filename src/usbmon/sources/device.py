"""The source of one device, wherever it is plugged: ``0557:2004``, ``serial:…``, a port, or a name.

Here: finding it, and waiting for it. Not here: following it (`usbmon.sources.follow`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usbmon.errors import SourceError
from usbmon.sources import kernel
from usbmon.sources.follow import Follower, matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.devices.model import Device
    from usbmon.sources import Source

_SHOWN = 12


def open(
    rest: str,
    *,
    wait: bool = False,
    hubs: bool = False,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> Source:
    """The devices that the words name. `wait`: there need be none yet. `hubs`: with the hubs that
    they are plugged into. Raises `SourceError`."""
    from usbmon.devices import sysfs

    matches = matcher(rest)
    there = sysfs.snapshot()
    if not any(map(matches, there)):
        if not wait:
            raise SourceError(f"no such device; --wait waits for it.{_list(there)}", file=rest)
        if report is not None:
            report(f"waiting for {rest} to be plugged in")
    return kernel.open(
        "all", report=report, follower=Follower(matches, hubs=hubs), **options
    )


def _list(devices: list[Device]) -> str:
    from usbmon.devices.synthetic import comment

    shown = [f"\n  {comment(device)}" for device in devices if not device.is_root]
    if not shown:
        return " There is no device now."
    more = f"\n  and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f" There are{''.join(shown[:_SHOWN])}{more}"
