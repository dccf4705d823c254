"""`Image`: the bytes of a disk, in a file or in memory, sparse either way.

Here: reading and writing anywhere, and nothing else. Not here: what the bytes mean (`fat`), or who
asks for them (`devices.scsi`). A hole takes no room and reads as zeros; no image is ever held in
memory as a whole unless it was written as a whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from usbmon.errors import SourceError

BLOCK: Final = 512

# A piece of an image in memory.
_PIECE: Final = 1 << 16


class Image(ABC):
    """`size` bytes, whole blocks. `is_new`: it was made just now, and is all zeros."""

    size: int
    is_new: bool
    is_read_only = False

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Bytes inside of the image. Raises OSError."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""


class MemoryImage(Image):
    """An image that is gone when the program ends."""

    is_new = True

    def __init__(self, size: int) -> None:
        self.size = size // BLOCK * BLOCK
        self._pieces: dict[int, bytearray] = {}

    def read(self, offset: int, size: int) -> bytes:
        out = bytearray(size)
        for number, inner, at, count in _spans(offset, size):
            piece = self._pieces.get(number)
            if piece is not None:
                out[at : at + count] = piece[inner : inner + count]
        return bytes(out)

    def write(self, offset: int, data: bytes) -> None:
        for number, inner, at, count in _spans(offset, len(data)):
            piece = self._pieces.setdefault(number, bytearray(_PIECE))
            piece[inner : inner + count] = data[at : at + count]

    def close(self) -> None:
        self._pieces.clear()


def _spans(offset: int, size: int) -> list[tuple[int, int, int, int]]:
    """The pieces that a range touches: number, offset in the piece, offset in the range, count."""
    spans = []
    at = 0
    while at < size:
        number, inner = divmod(offset + at, _PIECE)
        count = min(_PIECE - inner, size - at)
        spans.append((number, inner, at, count))
        at += count
    return spans


class FileImage(Image):
    """An image in a file: the one that is there, or a new one of `size` bytes."""

    def __init__(self, path: str | Path, size: int, *, read_only: bool = False) -> None:
        """`read_only`: the file is opened for reading alone. Raises SourceError."""
        self.path = Path(path)
        self.is_read_only = read_only
        try:
            self.is_new = not self.path.exists()
            mode = "w+b" if self.is_new else "rb" if read_only else "r+b"
            self._file = self.path.open(mode, buffering=0)
            if self.is_new:
                self._file.truncate(size // BLOCK * BLOCK)
            self.size = self._file.seek(0, 2) // BLOCK * BLOCK
        except OSError as error:
            raise SourceError(
                f"cannot be used as a disk image ({error.strerror}); name a file that can be "
                "read and written, or one that is not there yet",
                file=str(path),
            ) from error
        if not self.size:
            self._file.close()
            raise SourceError("is no disk image: it has less than one block", file=str(path))

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        data = b""
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        return data.ljust(size, b"\0")  # somebody has cut the file

    def write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        self._file.close()


def open_image(path: str | Path | None, size: int, *, read_only: bool = False) -> Image:
    """The image in this file, made with this size if there is none; None: one in memory. Raises
    SourceError."""
    return MemoryImage(size) if path is None else FileImage(path, size, read_only=read_only)
