"""Live sources: what gives events as they happen.

Here: the table of sources and the one string that names any of them, ``KIND:REST``. Not here: files
that have ended (`usbmon.files`). To add one: a module with a `Source`, and a row in `SOURCES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from usbmon.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.events import Events
    from usbmon.formats.base import Interface


class Source(Protocol):
    """Iterate over it for batches of `Events`, which may be empty: then nothing came for a while.

    `interfaces` is what the capture is of, `elapsed` the seconds since its start on the clock of
    its stamps, `dropped` how many events were lost on the way here. `close` ends it; the iteration
    ends by itself where the source does.
    """

    interfaces: list[Interface]

    @property
    def elapsed(self) -> float: ...

    @property
    def dropped(self) -> int: ...

    def __iter__(self) -> Iterator[Events]: ...

    def close(self) -> None: ...


class Kind(NamedTuple):
    """A row of `SOURCES`."""

    name: str
    form: str
    words: str
    module: str


SOURCES: Final = (
    Kind(
        "virtual",
        "virtual:DEVICE[,DEVICE…] or virtual:FILE.toml",
        "a virtual bus with these devices at work, or a scenario",
        "usbmon.sources.virtual",
    ),
    Kind(
        "usbip",
        "usbip:HOST[:PORT]",
        "what passes through a proxy to a USB/IP server (see `usbmon proxy`)",
        "usbmon.sources.usbip",
    ),
)


def open(spec: str, **options: Any) -> Source:
    """The source that the string names. Raises `SourceError` that says which there are."""
    kind, colon, rest = spec.partition(":")
    for row in SOURCES:
        if row.name == kind and colon:
            source: Source = import_module(row.module).open(rest, **options)
            return source
    forms = "; ".join(f"{row.form}: {row.words}" for row in SOURCES)
    raise SourceError(f"no such source; there are {forms}", file=spec)
