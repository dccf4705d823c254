"""gz, bz2, xz and zst around a stream: bytes in, bytes out, in bounded memory.

Here: which compression some bytes have, and one decompressor and one compressor for all. Not here:
files. zstd comes with Python 3.14 and from the package backports.zstd before.
"""

from __future__ import annotations

import struct
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


# What ends a zstd frame behind a flushed block: a last block, raw and empty (RFC 8878, 3.1.1.2).
_ZST_LAST: Final = b"\x01\x00\x00"
# The same in DEFLATE: a last block of fixed codes and nothing in it (RFC 1951, 3.2.3).
_GZ_LAST: Final = b"\x03\x00"


class Compressor:
    """Compresses a stream that can be cut off: `sync` brings out all that was given so far, so that
    it can be decompressed, and `ending` makes a whole stream of what was brought out.

    bz2 and xz cannot do that within a stream: there a new one begins behind each `sync`, which
    costs size; all tools read the one behind the other.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._stream = _new_compressor(name)
        self._is_waiting = False  # for the next sync: something was given since the last
        self._is_begun = False
        self._sum = self._size = 0
        self.ending = b""

    def compress(self, data: bytes | memoryview) -> bytes:
        if not len(data):
            return b""  # of some compressions, the head of a new stream would come
        self._is_waiting = True
        if self.name == "gz":
            import zlib

            self._sum = zlib.crc32(data, self._sum)
            self._size += len(data)
        out: bytes = self._stream.compress(data)
        return out

    def sync(self) -> bytes:
        """What is to be written before all given so far can be read."""
        if not self._is_waiting:
            return b""
        self._is_waiting, self._is_begun = False, True
        if self.name == "gz":
            import zlib

            self.ending = _GZ_LAST + struct.pack("<II", self._sum, self._size & 0xFFFF_FFFF)
            synced: bytes = self._stream.flush(zlib.Z_SYNC_FLUSH)
            return synced
        if self.name == "zst":
            self.ending = _ZST_LAST
            flushed: bytes = self._stream.flush(mode=self._stream.FLUSH_BLOCK)
            return flushed
        ended: bytes = self._stream.flush()
        self._stream = _new_compressor(self.name)
        return ended

    def end(self) -> bytes:
        """What is left, and the end of the stream."""
        if self._is_begun and not self._is_waiting and not self.ending:
            return b""  # the last stream has ended, and the one after it has nothing in it
        out: bytes = self._stream.flush()
        return out


def _new_compressor(name: str) -> Any:
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
