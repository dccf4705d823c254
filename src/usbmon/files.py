"""Trace files: open any, write any. The one place that opens a file for a format.

Here: reading in blocks (a file, standard input, or a file that still grows), finding out what it
is, decompressing; writing to a temporary name that takes the real one when all is well. Not here:
formats and their detection (`usbmon.formats`), live devices (`usbmon.sources`).

What passes on is `Iterator[Events]`; memory does not depend on the size of the trace. Text of some
size is scanned on two threads.
"""

from __future__ import annotations

import builtins
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from usbmon import formats
from usbmon._kernel import KERNEL
from usbmon.compression import PIECE, Decompressor, detect, new_compressor, split_suffix
from usbmon.errors import FormatError, SourceError
from usbmon.events import Events
from usbmon.formats.text import TextDecoder, cut, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from usbmon.formats.base import Decoder, Encoder, Interface

BLOCK: Final = PIECE
_PARALLEL_FROM: Final = 16 << 20
_FOLLOW_SECONDS: Final = 0.1


def _reason(error: OSError) -> str:
    reasons: dict[type[OSError], str] = {
        FileNotFoundError: "no such file",
        IsADirectoryError: "is a directory; name a file in it",
        PermissionError: "no permission to read it (try it as root, or copy it)",
    }
    return reasons.get(type(error), error.strerror or str(error))


def _open_input(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer.raw if hasattr(sys.stdin.buffer, "raw") else sys.stdin.buffer
    try:
        stream = builtins.open(path, "rb", buffering=0)  # noqa: SIM115 (the Trace closes it)
    except OSError as error:
        raise SourceError(_reason(error), file=path) from None
    return stream


class Trace:
    """A trace being read: iterate over it for `Events`, batch by batch, once; then it is closed.

    `decoder` has what was noted on the way (`notes`, `pairing`, `interfaces`), `format` what the
    trace is, `compression` what is around it. Raises `SourceError` where it cannot be read and
    `FormatError` where it is no trace, or no more from some place on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "",
        strict: bool = False,
        follow: bool = False,
    ) -> None:
        """`path`: "-" for standard input. `format`: a name in `formats.FORMATS`, found out if "".
        `follow`: at the end of the file, wait for more."""
        self.name = "standard input" if path == "-" else os.fspath(path)
        self._follow = follow
        self._stream = _open_input(os.fspath(path))
        self.position = 0
        status = os.fstat(self._stream.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._ended = False
        self._decompressor: Decompressor | None = None
        try:
            head = self._head()
            self.compression = detect(head)
            if self.compression:
                self._decompressor = Decompressor(self.compression, self.name)
                head = self._inflated_head(head)
            path_inside, _ = split_suffix("" if path == "-" else self.name)
            self.format = formats.by_name(format) if format else self._detect(head, path_inside)
            self.decoder: Decoder = self.format.new_decoder(file=self.name, strict=strict)
        except BaseException:
            self.close()
            raise
        self._start = head

    def _detect(self, head: bytes, path: str) -> formats.Format:
        try:
            return formats.detect(head, path)
        except FormatError as error:
            raise FormatError(error.message, file=self.name) from None

    def _head(self) -> bytes:
        """The first bytes: all of them up to 64 KiB, or what a pipe has had so far, if it tells."""
        head = b""
        while len(head) < formats.HEAD_SIZE:
            more = self._read_raw(formats.HEAD_SIZE - len(head))
            head += more
            if not more or (self.size is None and formats.is_clear(head)):
                break
        return head

    def _inflated_head(self, head: bytes) -> bytes:
        assert self._decompressor is not None
        out = self._inflate(head)
        while len(out) < formats.HEAD_SIZE and not self._ended:
            more = self._read_inflated()
            if not more:
                break
            out += more
        return out

    def _read_raw(self, size: int) -> bytes:
        try:
            data = self._stream.read(size) or b""
        except OSError as error:
            raise SourceError(_reason(error), file=self.name) from None
        self.position += len(data)
        return data

    def _inflate(self, data: bytes) -> bytes:
        assert self._decompressor is not None
        return self._decompressor.decompress(data)

    def _read_inflated(self) -> bytes:
        """Some bytes more, or b"" at the end."""
        assert self._decompressor is not None
        out = b""
        while not out and not self._ended:
            data = b""
            if self._decompressor.needs_input:
                data = self._read_raw(1 << 16)
                self._ended = not data
                if self._ended:
                    break
            out = self._inflate(data)
        return out

    def _fill(self, buffer: memoryview) -> int:
        """Bytes into `buffer`; 0 at the end."""
        if self._decompressor is not None:
            data = self._read_inflated()
            # A piece at the most, and the buffer has room for a block, which is the same.
            buffer[: len(data)] = data
            return len(data)
        try:
            count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        except OSError as error:
            raise SourceError(_reason(error), file=self.name) from None
        self.position += count
        return count

    def _blocks(self, rest: bytearray) -> Iterator[tuple[memoryview, bool]]:
        """Blocks that start with `rest`, what the consumer left of the one before; the last one is
        marked, and may be empty."""
        start, self._start = self._start, b""
        if start:
            block = bytearray(start)
            yield memoryview(block), False
        while True:
            buffer = self.decoder.buffers.take(len(rest) + max(BLOCK, len(rest)))
            buffer[: len(rest)] = rest
            count = self._fill(buffer[len(rest) :])
            while not count and self._follow:
                time.sleep(_FOLLOW_SECONDS)
                count = self._fill(buffer[len(rest) :])
            yield buffer[: len(rest) + count], not count
            if not count:
                return

    def __iter__(self) -> Iterator[Events]:
        try:
            yield from self._scan_parallel() if self._is_worth_threads() else self._read_serial()
        finally:
            self.close()

    def _read_serial(self) -> Iterator[Events]:
        rest = bytearray()
        for block, final in self._blocks(rest):
            at = 0
            while True:
                events, used = self.decoder.advance(block[at:], final)
                at += used
                if len(events):
                    yield events
                # One turn takes all but the end of a block; the end of the last one needs more.
                if not (final and used and at < len(block)):
                    break
            rest[:] = block[at:]
            if final:
                self._check_end()

    def _check_end(self) -> None:
        if self._decompressor is not None and not self._decompressor.is_complete:
            self.decoder.notes.add("cut stream", text=self.compression)

    def _is_worth_threads(self) -> bool:
        return (
            KERNEL == "compiled"
            and isinstance(self.decoder, TextDecoder)
            and not self._follow
            and self._decompressor is None
            and (self.size or 0) >= _PARALLEL_FROM
            and len(os.sched_getaffinity(0)) > 1
        )

    def _scan_parallel(self) -> Iterator[Events]:
        """Scan blocks ahead on another thread (the scan lets go of the interpreter), and settle
        them here in their order."""
        from collections import deque
        from concurrent.futures import Future, ThreadPoolExecutor

        from usbmon.formats.text import Scanned

        decoder = self.decoder
        assert isinstance(decoder, TextDecoder)
        ahead: deque[Future[Scanned]] = deque()
        rest = bytearray()
        tail: tuple[memoryview, bool] = (memoryview(b""), False)
        with ThreadPoolExecutor(1) as pool:
            for block, final in self._blocks(rest):
                if final:
                    tail = (block, True)
                    break
                used = cut(block, False)
                if not used:  # a long line; the decoder says when it is too long
                    yield from (decoder.settle(job.result()) for job in ahead)
                    ahead.clear()
                    decoder.decode(block, False)
                ahead.append(pool.submit(scan, block[:used], decoder.buffers))
                rest[:] = block[used:]
                if len(ahead) > 3:
                    yield decoder.settle(ahead.popleft().result())
            while ahead:
                yield decoder.settle(ahead.popleft().result())
        events, _ = decoder.decode(*tail)
        yield events

    def read(self) -> Events:
        """All events in one batch (which takes memory as the trace is large)."""
        return Events.concat(self)

    def close(self) -> None:
        if self._stream is not sys.stdin.buffer and self.name != "standard input":
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        around = f", {self.compression}" if self.compression else ""
        return f"<Trace {self.name}: {self.format.name}{around}>"


class Writer:
    """A trace being written, as a context: what it is given stands under `path` when the block ends
    well, and nothing does when it does not.

    `encoder` counts what the format cannot hold (`lost`) and has to make up (`made_up`), `size` is
    the bytes written so far.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "",
        force: bool = False,
        encoder: Encoder | None = None,
        interfaces: Iterable[Interface] = (),
    ) -> None:
        """`path`: "-" for standard output. `format`: a name in `formats.FORMATS`; "": as the suffix
        says. `encoder`: one with options of its own. `force`: replace an existing file. Raises
        `SourceError` where the file exists or cannot be made."""
        self.path = os.fspath(path)
        inside, self.compression = split_suffix(self.path)
        chosen = formats.by_name(format) if format else formats.by_suffix(inside)
        if encoder is None and chosen is None:
            names = ", ".join(f.name for f in formats.FORMATS if f.encoder)
            raise SourceError(
                f"the name does not say which format; choose one of {names}", file=self.path
            )
        self.encoder = encoder or chosen.new_encoder()  # type: ignore[union-attr]
        self._compressor = new_compressor(self.compression) if self.compression else None
        self._interfaces = interfaces
        self._begun = False
        self.size = 0
        self._temporary = ""
        self._stream = self._open(force)

    def _open(self, force: bool) -> BinaryIO:
        if self.path == "-":
            return sys.stdout.buffer
        try:
            special = not stat.S_ISREG(os.stat(self.path).st_mode)
        except FileNotFoundError:
            special = False
        except OSError as error:
            raise SourceError(_reason(error), file=self.path) from None
        else:
            if not special and not force:
                raise SourceError("exists already; --force replaces it", file=self.path)
        try:
            if special:  # a pipe or a device cannot be renamed to
                return builtins.open(self.path, "wb", buffering=0)
            self._temporary = f"{self.path}.{os.getpid()}.part"
            return builtins.open(self._temporary, "xb", buffering=0)
        except OSError as error:
            self._temporary = ""
            raise SourceError(f"cannot be written: {error.strerror}", file=self.path) from None

    def write(self, events: Events) -> None:
        """Append a batch."""
        if not self._begun:
            self._begun = True
            self._put(self.encoder.begin(self._interfaces))
        self._put(self.encoder.encode(events))

    def _put(self, data: bytes | memoryview) -> None:
        if self._compressor is not None:
            data = self._compressor.compress(data)
        self._put_raw(data)

    def _put_raw(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self.size += len(view)
        try:
            while view:
                view = view[self._stream.write(view) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SourceError(f"cannot be written: {error.strerror}", file=self.path) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._stream is not sys.stdout.buffer:
                self._stream.close()
            if self._temporary:
                os.unlink(self._temporary)

    def _finish(self) -> None:
        if not self._begun:
            self._put(self.encoder.begin(self._interfaces))
        self._put(self.encoder.end())
        if self._compressor is not None:
            self._put_raw(self._compressor.flush())
        if self._stream is sys.stdout.buffer:
            self._stream.flush()
        elif self._temporary:
            try:
                self._stream.close()
                os.replace(self._temporary, self.path)
            except OSError as error:
                raise SourceError(f"cannot be written: {error.strerror}", file=self.path) from None
            self._temporary = ""


def open(
    path: str | os.PathLike[str], *, format: str = "", strict: bool = False, follow: bool = False
) -> Trace:
    """A trace of any kind, to be iterated over for `Events` (see `Trace`)."""
    return Trace(path, format=format, strict=strict, follow=follow)


def read(path: str | os.PathLike[str], *, format: str = "", strict: bool = False) -> Events:
    """All events of a trace, in memory."""
    with Trace(path, format=format, strict=strict) as trace:
        return trace.read()


def decode(data: bytes, *, format: str = "", strict: bool = False) -> Events:
    """The events in these bytes, of any format. Raises `FormatError`."""
    chosen = formats.by_name(format) if format else formats.detect(data[: formats.HEAD_SIZE])
    decoder = chosen.new_decoder(strict=strict)
    return Events.concat([decoder.feed(data), decoder.close()])


def write(
    path: str | os.PathLike[str],
    events: Events | Iterable[Events],
    *,
    format: str = "",
    force: bool = False,
) -> Encoder:
    """Write a trace; returns the encoder, whose `lost` tells what the format could not hold."""
    batches = (events,) if isinstance(events, Events) else events
    with Writer(path, format=format, force=force) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.encoder
