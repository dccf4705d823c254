"""Live sources: what gives events as they happen.

Here: the table of sources and the one string that names any of them, ``KIND:REST``; a bus alone by
its number, and a device by its id or name. Not here: files that have ended (`usbmon.files`). To add
one: a module with an ``open``, and a row in `SOURCES`.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from usbmon import layout
from usbmon.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.events import Events
    from usbmon.formats.base import Interface


class Remark(NamedTuple):
    """Words that belong to a time (ns of the source's clock) and an interface."""

    ts: int
    interface: int
    text: str


class Source:
    """Iterate over it for batches of `Events`, which may be empty: then nothing came for a while.

    `interfaces` is what the capture is of. The `dropped` of each grows between two batches, at the
    place where events are missing; None: not known. `clock` is that of the stamps. The iteration
    ends by itself where the source does, with `SourceError` if it did not end well: all events have
    been given then.
    """

    interfaces: list[Interface]
    clock: int = layout.WALL

    @property
    def elapsed(self) -> float:
        """Seconds since the start, on the clock of the stamps."""
        raise NotImplementedError

    @property
    def dropped(self) -> int:
        """How many events are known to be lost so far."""
        return sum(interface.dropped or 0 for interface in self.interfaces)

    def remarks(self) -> list[Remark]:
        """What is to be written beside the events, of which each is given once."""
        return []

    def __iter__(self) -> Iterator[Events]:
        raise NotImplementedError

    def stop(self) -> None:
        """End the iteration when all has been given that is there now. A signal handler, or another
        thread, may call it."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of all that is open."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Kind(NamedTuple):
    """A row of `SOURCES`. `options` are those that its ``open`` takes, beside `report`."""

    name: str
    form: str
    words: str
    module: str
    options: tuple[str, ...]


_KERNEL: Final = Kind(
    "kernel",
    "kernel:BUS, or a bus number alone, or all",
    "a bus of this machine, by Linux's usbmon",
    "usbmon.sources.kernel",
    ("way", "ring", "describe"),
)
_DEVICE: Final = Kind(
    "device",
    "VENDOR:PRODUCT, serial:NUMBER, or part of a product's name",
    "one device of this machine, wherever it is plugged",
    "usbmon.sources.device",
    ("way", "ring", "describe", "wait", "hubs"),
)
SOURCES: Final = (
    _KERNEL,
    _DEVICE,
    Kind(
        "text",
        "text:PATH",
        "usbmon's text as it comes: a file that grows, a FIFO, /sys/kernel/debug/usb/usbmon/1u",
        "usbmon.sources.text",
        (),
    ),
    Kind(
        "ssh",
        "ssh:[USER@]HOST[:PORT]/[sudo:]BUS or a device",
        "a bus of another machine, on which nothing needs to be installed",
        "usbmon.sources.ssh",
        ("describe",),
    ),
    Kind(
        "virtual",
        "virtual:DEVICE[,DEVICE…] or virtual:FILE.toml",
        "a virtual bus with these devices at work, or a scenario",
        "usbmon.sources.virtual",
        ("paced", "seed"),
    ),
    Kind(
        "usbip",
        "usbip:HOST[:PORT]",
        "what passes through a proxy to a USB/IP server (see `usbmon proxy`)",
        "usbmon.sources.usbip",
        ("listen",),
    ),
)

# What names a device without saying so: an id, or a serial number.
_IS_DEVICE: Final = re.compile(r"[0-9a-f]{4}:([0-9a-f]{4})?|serial:.*", re.IGNORECASE)


def kind_of(spec: str) -> tuple[Kind, str]:
    """The row of the table that the string belongs to, and what is left for it. Raises
    `SourceError` that says which there are."""
    name, colon, rest = spec.partition(":")
    for row in SOURCES:
        if row.name == name and colon:
            return row, rest
    if spec == "all" or (spec.isascii() and spec.isdigit()):
        return _KERNEL, spec
    if _IS_DEVICE.fullmatch(spec) or (spec and not colon):
        return _DEVICE, spec
    forms = "".join(f"\n  {row.form}: {row.words}" for row in SOURCES)
    raise SourceError(f"no such source; there are{forms}", file=spec or "''")


def open(spec: str, **options: Any) -> Source:
    """The source that the string names, with those of the options that are for it. Raises
    `SourceError`."""
    row, rest = kind_of(spec)
    taken = {k: v for k, v in options.items() if k in row.options or k == "report"}
    source: Source = import_module(row.module).open(rest, **taken)
    return source


def capture(*specs: str, **options: Any) -> Source:
    """One source, or several as one; `options` as for `open`. Raises `SourceError`."""
    if len(specs) == 1:
        return open(specs[0], **options)
    from usbmon.sources.several import Several

    return Several(specs, options)
