"""gz, bz2, xz and zst around a stream: bytes in, bytes out, in bounded memory.

Here: which compression some bytes have, and one decompressor and one compressor for all. Not here:
files. zstd comes with Python 3.14 and from the package backports.zstd before.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from usbmon.errors import FormatError

_MAGICS: Final = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
SUFFIXES: Final = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
# The most that decompressing makes at a time, whatever the input claims.
PIECE: Final = 1 << 19


def detect(head: bytes) -> str:
    """The name of the compression of a stream that starts so; "" for none."""
    for magic, name in _MAGICS.items():
        if head.startswith(magic):
            return name
    return ""


def split_suffix(path: str) -> tuple[str, str]:
    """The path without the suffix of a compression, and that compression or ""."""
    for suffix, name in SUFFIXES.items():
        if path.lower().endswith(suffix):
            return path[: -len(suffix)], name
    return path, ""


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    else:
        from backports import zstd
    return zstd


def _new_decompressor(name: str) -> Any:
    if name == "gz":
        import zlib

        return zlib.decompressobj(wbits=31)
    if name == "bz2":
        import bz2

        return bz2.BZ2Decompressor()
    if name == "xz":
        import lzma

        return lzma.LZMADecompressor()
    return _zstd().ZstdDecompressor()


class Decompressor:
    """Decompresses a stream of one or more members, one behind the other."""

    def __init__(self, name: str, file: str = "") -> None:
        self.name = name
        self._file = file
        self._member = _new_decompressor(name)
        self._input = b""
        self._read = 0

    @property
    def needs_input(self) -> bool:
        """Whether `decompress` can give nothing more before it gets more."""
        return not self._input and (self._member.eof or getattr(self._member, "needs_input", True))

    @property
    def is_complete(self) -> bool:
        """Whether the bytes so far end where a member ends."""
        return bool(self._member.eof) and not self._input

    def decompress(self, data: bytes = b"") -> bytes:
        """The next bytes, at most `PIECE`; b"" where more input is needed. Raises `FormatError`."""
        data = self._input + data if self._input else data
        self._input = b""
        if self._member.eof:
            # Some tools pad with zero bytes behind the last member.
            data = data.lstrip(b"\x00")
            if not data:
                return b""
            if detect(data) != self.name and len(data) >= 6:
                raise self._error("bytes behind the end of the compressed data")
            self._member = _new_decompressor(self.name)
        try:
            out: bytes = self._member.decompress(data, PIECE)
        except Exception as error:  # noqa: BLE001  each library has an error class of its own
            raise self._error(f"damaged {self.name} data ({error})") from None
        self._read += len(data)
        if self._member.eof:
            self._input = self._member.unused_data
        else:
            self._input = getattr(self._member, "unconsumed_tail", b"")
        self._read -= len(self._input)
        return out

    def _error(self, message: str) -> FormatError:
        return FormatError(
            f"{message}; try to copy the file again", file=self._file, offset=self._read
        )


def new_compressor(name: str) -> Any:
    """An object with ``compress(data)`` and ``flush()``."""
    if name == "gz":
        import zlib

        return zlib.compressobj(6, wbits=31)
    if name == "bz2":
        import bz2

        return bz2.BZ2Compressor()
    if name == "xz":
        import lzma

        return lzma.LZMACompressor(preset=1)
    return _zstd().ZstdCompressor()
