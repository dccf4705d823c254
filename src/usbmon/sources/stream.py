"""Bytes that come from somewhere else to batches of events: what ``text:`` and ``ssh:`` share.

Here: waiting for bytes of a pipe, a FIFO or the like, and finding out what they are. Not here:
where they come from (`usbmon.sources.text`, `usbmon.sources.ssh`), their formats
(`usbmon.formats`).
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
from typing import TYPE_CHECKING, Final

from usbmon import formats
from usbmon.errors import FormatError
from usbmon.events import Events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.formats.base import Decoder

WAIT_SECONDS: Final = 0.1
CHUNK: Final = 1 << 20


class Pipe:
    """A file descriptor that can be waited for. `take` gives bytes, b"" where none came for a
    while, and None at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._stopping = False
        self._left: int | None = None  # bytes to end with

    def take(self) -> bytes | None:
        """Raises OSError."""
        if self._stopping and self._left is None:
            self._left = waiting(self._fd)
        if self._left == 0:
            return None
        if not self._poll.poll(WAIT_SECONDS * 1000):
            return b""
        try:
            data = os.read(self._fd, CHUNK if self._left is None else min(CHUNK, self._left))
        except BlockingIOError:
            return b""
        if self._left is not None:
            self._left -= len(data)
        return data or None

    def stop(self) -> None:
        """End with what is there now."""
        self._stopping = True


def waiting(fd: int) -> int:
    """How many bytes can be read now, of something that can tell; else 0."""
    count = bytearray(4)
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return 0
    return int.from_bytes(count, sys.byteorder)


class Unpacker:
    """`feed` it bytes and it gives events; `finish`, and it gives those that waited for more.

    Which format they have is found out, unless it is known. All are of one interface. Raises
    `FormatError`, at the next call if there are events before what is wrong.
    """

    def __init__(self, name: str, format: str = "") -> None:
        """`name`: of the stream, in errors."""
        self._name = name
        self._head = b""
        self.decoder: Decoder | None = None
        if format:
            self.decoder = formats.by_name(format).new_decoder(file=name)

    @property
    def dropped(self) -> int | None:
        """What the stream itself says of events that are missing."""
        interfaces = self.decoder.interfaces if self.decoder is not None else []
        known = [interface.dropped for interface in interfaces if interface.dropped is not None]
        return sum(known) if known else None

    def feed(self, data: bytes) -> Events:
        if self.decoder is None:
            self._head += data
            if len(self._head) < formats.HEAD_SIZE and not formats.is_clear(self._head):
                return Events.empty()
            data = self._begin()
        assert self.decoder is not None
        return self._flat(self.decoder.feed(data))

    def finish(self) -> Iterator[Events]:
        if self.decoder is None and self._head:
            head = self._begin()
            yield self.feed(head)
        if self.decoder is not None:
            yield self._flat(self.decoder.close())

    def _begin(self) -> bytes:
        try:
            self.decoder = formats.detect(self._head).new_decoder(file=self._name)
        except FormatError as error:
            raise FormatError(error.message, file=self._name) from None
        head, self._head = self._head, b""
        return head

    def _flat(self, events: Events) -> Events:
        """As of one interface, however many the stream has."""
        if self.decoder is None or len(self.decoder.interfaces) < 2 or not len(events):
            return events
        rows = events.rows.copy()
        rows["interface"] = 0
        return Events(rows.view("u1").data, events.buffers[1])

    def notes(self) -> list[str]:
        """What was mended or left out, in words."""
        if self.decoder is None:
            return []
        return [
            f"{self._name}: {note.words}: {note.count:,}"
            for note in self.decoder.notes.values()
            if note.is_repair
        ]
