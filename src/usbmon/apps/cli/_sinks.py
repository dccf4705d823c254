"""Where a capture goes: files, rows of files, standard output as text or as `usbmon show` has it.

Here: one sink for each output. Not here: the loop that feeds them (`capture`), writing itself
(`usbmon.files.Writer`).
"""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbmon.apps.cli._views import View
    from usbmon.events import Events
    from usbmon.files import Writer
    from usbmon.formats.base import Encoder, Report
    from usbmon.sources import Source

# What a record takes beside its payload, at the most, in any format.
_ROUND_A_RECORD: Final = 400


class Rotation(NamedTuple):
    """When a new file is begun, by bytes or by seconds, and how many are kept (0: all)."""

    size: int | None
    seconds: float | None
    keep: int

    @property
    def is_wanted(self) -> bool:
        return self.size is not None or self.seconds is not None


NO_ROTATION: Final = Rotation(None, None, 0)


class Sink(Protocol):
    """Takes events until it is closed. `path` names it, "-" for standard output."""

    path: str

    def write(self, events: Events) -> None: ...
    def report(self, report: Report) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class FileSink:
    """A file, or a row of them. `written` has what was: paths, each with its encoder."""

    def __init__(
        self,
        source: Source,
        path: str,
        format: str,
        rotation: Rotation,
        *,
        force: bool,
        about: Mapping[str, str],
        comments: tuple[str, ...],
    ) -> None:
        self.path = path
        self.written: deque[tuple[str, Encoder]] = deque()
        self.removed = 0
        self._source = source
        self._rotation = rotation
        self._options: dict[str, Any] = {
            "format": format, "force": force, "about": about, "live": True
        }  # fmt: skip
        self._comments = comments
        self._since = source.elapsed
        self._writer = self._open()

    def _open(self) -> Writer:
        from usbmon import files

        path = self.path
        if self._rotation.is_wanted:
            stem, dot, suffix = os.path.basename(path).partition(".")  # noqa: PTH119
            number = self.removed + len(self.written) + 1
            name = f"{stem}-{number:04}{dot}{suffix}"
            path = os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120
        comments = list(self._comments)
        writer = files.Writer(
            path, interfaces=self._source.interfaces, comments=comments, **self._options
        )
        if "comments" in writer.encoder.cannot_hold:
            comments.clear()  # ours are no loss
        self.written.append((path, writer.encoder))
        if self._rotation.keep and len(self.written) > self._rotation.keep:
            os.unlink(self.written.popleft()[0])  # noqa: PTH108
            self.removed += 1
        return writer

    def write(self, events: Events) -> None:
        while len(events):
            if self._is_full():
                self._next()
            part = events[: self._fitting(events)]
            self._writer.write(part)
            events = events[len(part) :]
        if self.path == "-":
            sys.stdout.flush()

    def report(self, report: Report) -> None:
        self._writer.report(report)

    def _is_full(self) -> bool:
        size, seconds, _ = self._rotation
        if size is not None and self._writer.size >= size:
            return True
        return seconds is not None and self._source.elapsed - self._since >= seconds

    def _fitting(self, events: Events) -> int:
        """How many events can be written before the size of the file is to be looked at again."""
        import numpy as np

        if self._rotation.size is None:
            return len(events)
        # Text has two letters and more for a byte.
        sizes = np.cumsum(events.captured.astype(np.int64) * 3 + _ROUND_A_RECORD)
        room = self._rotation.size - self._writer.size
        return max(1, int(np.searchsorted(sizes, room, "right")))

    def _next(self) -> None:
        self.close()
        self._since = self._source.elapsed
        self._writer = self._open()

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        """Bring the file to its end."""
        self._writer.__exit__(None, None, None)

    def abandon(self) -> None:
        """Leave no file behind."""
        self._writer.__exit__(RuntimeError, RuntimeError(), None)
        if self.path != "-":
            with suppress(OSError):
                os.unlink(self.written[0][0])  # noqa: PTH108


class ViewSink:
    """Standard output, as `usbmon show` has it."""

    path = "-"

    def __init__(self, view: View) -> None:
        self._view = view
        self._put(view.begin())
        self._put(view.begin_trace(""))

    def _put(self, data: bytes | memoryview) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def write(self, events: Events) -> None:
        for piece in self._view.show(events):
            self._put(piece)

    def report(self, report: Report) -> None:
        pass  # what a person needs of it is told beside

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._put(self._view.end())

    def abandon(self) -> None:
        pass
