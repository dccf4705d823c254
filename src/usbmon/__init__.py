"""usbmon: the USB monitor of Linux, and everything a person needs around it.

Here: the public names, each loaded when it is first used. ``usbmon.open("trace.pcapng")`` gives a
`Trace` to iterate over; what comes out of it are `Events`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from usbmon.errors import FormatError, SourceError, UsbmonError
    from usbmon.events import Event, Events
    from usbmon.files import Trace, Writer, decode, open, read, write
    from usbmon.sources import Source, capture
    from usbmon.summary import Summary

_HOME: Final = {
    "Event": "events",
    "Events": "events",
    "FormatError": "errors",
    "SourceError": "errors",
    "Source": "sources",
    "Summary": "summary",
    "Trace": "files",
    "UsbmonError": "errors",
    "Writer": "files",
    "capture": "sources",
    "decode": "files",
    "open": "files",
    "read": "files",
    "write": "files",
}

__all__ = [
    "Event",
    "Events",
    "FormatError",
    "Source",
    "SourceError",
    "Summary",
    "Trace",
    "UsbmonError",
    "Writer",
    "capture",
    "decode",
    "open",
    "read",
    "write",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'usbmon' has no attribute {name!r}")
    value = getattr(import_module(f"usbmon.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
