"""Host drivers, one module a class, ordering their requests as Linux does.

To add one: a module here with a subclass of `Driver` called `DRIVER`, and its name in `MODULES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from usbmon.bus.driver import Driver

# In the order in which they are offered an interface.
MODULES: Final = (
    "hub",
    "uas",  # before storage, which serves the same disks in the older way
    "storage",
    "hid",
    "acm",
    "ecm",
    "printer",
    "audio",
    "video",
    "loopback",
)


def all_drivers() -> tuple[type[Driver], ...]:
    """The drivers, loaded."""
    return tuple(import_module(f"usbmon.bus.drivers.{name}").DRIVER for name in MODULES)
