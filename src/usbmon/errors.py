"""The three errors of the package. Each message says what was wrong, where, and what to do."""

from __future__ import annotations


class UsbmonError(Exception):
    """Any error that usbmon reports on purpose."""


class FormatError(UsbmonError, ValueError):
    """Bytes that are not what their format says.

    `file` is the input's name; `line` (from 1, text) or `offset` (in bytes, binary) the place, of
    the decompressed stream. Each is None where it is not known. `mendable`: the bytes would have
    been mended, had the reader not been asked to be strict.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        offset: int | None = None,
        mendable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.offset = offset
        self.mendable = mendable

    def __str__(self) -> str:
        if self.line is not None:
            place = f"line {self.line}"
        elif self.offset is not None:
            place = f"byte {self.offset}"
        else:
            place = ""
        return ": ".join(part for part in (self.file or "", place, self.message) if part)


class SourceError(UsbmonError, OSError):
    """A file, device or connection that cannot be opened, read or written."""

    def __init__(self, message: str, *, file: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message
