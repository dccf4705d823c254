"""The statistics of a bus: the file ``Ns`` of drivers/usb/mon/mon_stat.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon.formats.stat import Statistics, format

if TYPE_CHECKING:
    from usbmon.monitor.main import MonitoredBus


def statistics(bus: MonitoredBus) -> bytes:
    """The line, as it is when the file is opened."""
    return format(Statistics(len(bus.readers), bus.events, bus.text_lost))
