"""What the host of a virtual bus knows of its devices, as `Device`.

Here: the way from `usbmon.bus.host` to `usbmon.devices.model`. Not here: listing them (`listing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon.devices.model import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.bus.host import Host, HostDevice


def devices(host: Host) -> list[Device]:
    """All devices that have said what they are."""
    return [device for root in host.root_hubs for device in _below(root)]


def _below(known: HostDevice) -> Iterator[Device]:
    if not known.descriptor:
        return
    yield _device(known)
    for port in sorted(known.children):
        yield from _below(known.children[port])


def _device(known: HostDevice) -> Device:
    raw = known.descriptor
    return Device(
        busnum=known.busnum,
        devnum=known.devnum,
        sysname=known.name,
        parent=known.parent.devnum if known.parent is not None else 0,
        level=known.level,
        port=known.port,
        speed=known.speed.value,
        maxchild=max((getattr(driver, "ports", 0) for driver in known.drivers.values()), default=0),
        descriptor=raw,
        configurations=tuple(configuration.raw for configuration in known.configurations),
        strings=dict(known.strings),
        manufacturer=known.string(raw[14]),
        product=known.string(raw[15]),
        serial=known.string(raw[16]),
        configuration=known.configuration,
        alternates={number: setting.alternate for number, setting in known.active.items()},
        drivers={number: driver.name for number, driver in known.drivers.items()},
    )
