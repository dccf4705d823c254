"""Trace files: open any, write any. The one place that opens a file for a format.

Here: reading in blocks (a file, standard input, or a file that still grows), finding out what it
is, decompressing; writing, to a temporary name that takes the real one when all is well, or so that
what cannot be had again survives. Not here: formats and their detection (`usbmon.formats`), live
devices (`usbmon.sources`).

What passes on is `Iterator[Events]`; memory does not depend on the size of the trace. Text of some
size is scanned on two threads.
"""

from __future__ import annotations

import builtins
import errno
import os
import stat
import sys
import time
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from usbmon import formats
from usbmon._kernel import KERNEL
from usbmon.compression import PIECE, Compressor, Decompressor, detect, split_suffix
from usbmon.errors import FormatError, SourceError
from usbmon.events import Events
from usbmon.formats.base import Report
from usbmon.formats.text import TextDecoder, cut, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
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
                # One turn takes all but the end of a block, mostly: reports end one, too.
                if not used or at == len(block):
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


class _Target:
    """Where the bytes of a file that is written go; of a regular file, `offset` is their end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.is_standard_output = stream is sys.stdout.buffer
        self.is_regular = not self.is_standard_output and stat.S_ISREG(
            os.fstat(stream.fileno()).st_mode
        )
        self.offset = 0
        self.reached = 0  # so many bytes were written of what was put last

    def put(self, data: bytes | memoryview) -> None:
        """All of it, or none as far as `offset` goes. Raises OSError."""
        view = memoryview(data)
        self.reached = 0
        while self.reached < len(view):
            rest = view[self.reached :]
            if self.is_regular:
                at = self.offset + self.reached
                self.reached += os.pwrite(self._stream.fileno(), rest, at)
            else:
                self.reached += self._stream.write(rest)
        self.offset += len(view)

    def cut(self, offset: int) -> None:
        """Forget what is behind `offset`, of a file that can do that."""
        if self.is_regular:
            with suppress(OSError):
                os.ftruncate(self._stream.fileno(), offset)
            self.offset = offset

    def flush(self) -> None:
        if self.is_standard_output:
            self._stream.flush()

    def close(self) -> None:
        if not self.is_standard_output:
            self._stream.close()


class Writer:
    """A trace being written, as a context: what it is given stands under `path` when the block ends
    well, and nothing does when it does not.

    With `live`, for what cannot be had a second time, it stands there from the start, for its owner
    alone to read (a bus trace can hold keystrokes), and stays whatever happens: what was written
    before the last `flush` is a valid file even if the program is killed. Uncompressed, that is so
    after each `write`.

    `encoder` counts what the format cannot hold (`lost`) and has to make up (`made_up`), `size` is
    the bytes written so far, `events` how many events are safe in the file.
    """

    def __init__(  # noqa: PLR0913 (each is a choice by itself)
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "",
        force: bool = False,
        live: bool = False,
        interfaces: Iterable[Interface] = (),
        about: Mapping[str, str] = MappingProxyType({}),
        comments: Iterable[str] = (),
    ) -> None:
        """`path`: "-" for standard output. `format`: a name in `formats.FORMATS`; "": as the suffix
        says. `force`: replace an existing file. `interfaces`, `about`, `comments`: as
        `Encoder.begin` takes them, when the first event comes. Raises `SourceError` where the file
        exists or cannot be made."""
        self.path = os.fspath(path)
        inside, self.compression = split_suffix(self.path)
        chosen = formats.by_name(format) if format else formats.by_suffix(inside)
        if chosen is None:
            names = ", ".join(f.name for f in formats.FORMATS if f.encoder)
            raise SourceError(
                f"the name does not say which format; choose one of {names}", file=self.path
            )
        self.encoder = chosen.new_encoder()
        self._compressor = Compressor(self.compression) if self.compression else None
        self._head = interfaces, about, comments
        self._begun = False
        self._live = live
        self._given = 0
        self._safe = 0  # up to where the file is whole, with `events`
        # What makes a whole stream of it up to there, and what is to do so but is not written yet.
        self._ending = self._missing = b""
        self.events = 0
        self._error: SourceError | None = None
        self._temporary = ""
        self._target = _Target(self._open(force))

    @property
    def size(self) -> int:
        return self._target.offset

    def _open(self, force: bool) -> BinaryIO:
        if self.path == "-":
            return sys.stdout.buffer
        try:
            exists, special = True, not stat.S_ISREG(os.stat(self.path).st_mode)
        except FileNotFoundError:
            exists = special = False
        except OSError as error:
            raise SourceError(_reason(error), file=self.path) from None
        else:
            if not special and not force:
                raise SourceError("exists already; --force replaces it", file=self.path)
        try:
            if special:  # a pipe or a device cannot be renamed to
                return builtins.open(self.path, "wb", buffering=0)
            if self._live and not exists:
                return self._new(self.path)
            temporary = f"{self.path}.{os.getpid()}.part"
            stream = self._new(temporary)
            self._temporary = temporary
            if self._live:  # it takes the name now that it is sure to be there
                self._take_name(stream)
        except OSError as error:
            raise SourceError(f"cannot be written: {error.strerror}", file=self.path) from None
        return stream

    def _new(self, path: str) -> BinaryIO:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600 if self._live else 0o666)

        return builtins.open(path, "xb", buffering=0, opener=opener)

    def _take_name(self, stream: BinaryIO) -> None:
        try:
            os.replace(self._temporary, self.path)
            self._temporary = ""
        except BaseException:
            stream.close()
            self._remove()
            raise

    def _remove(self) -> None:
        """Leave no file of a temporary name behind."""
        if self._temporary:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)
            self._temporary = ""

    def write(self, events: Events) -> None:
        """Append a batch."""
        self._begin()
        self._given += len(events)
        self._put(self.encoder.encode(events), events)

    def report(self, report: Report) -> None:
        """Append what is to be said of an interface at a time."""
        self._begin()
        self._put(self.encoder.report(report))

    def drops(self, interface: int, total: int, ts: int) -> None:
        """Say that up to a time (ns) so many events were dropped."""
        self.report(Report(interface, ts, dropped=total, end=ts))

    def note(self, text: str, ts: int, interface: int = 0) -> None:
        """Say something of a time (ns)."""
        self.report(Report(interface, ts, comments=(text,)))

    def flush(self) -> None:
        """Bring out what was written so far: from now on it can be read, whatever happens."""
        self._begin()
        if self._compressor is not None:
            self._guarded(self._compressor.sync)
        self._target.flush()
        self._is_safe()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._put(self.encoder.begin(*self._head))
            if self._live and self._compressor is not None:
                self.flush()  # so that there is a file that says what it is

    def _put(self, data: bytes | memoryview, events: Events | None = None) -> None:
        compressor = self._compressor
        if compressor is not None:
            self._guarded(lambda: compressor.compress(data))
        else:
            self._guarded(lambda: data, events)
            self._is_safe()

    def _is_safe(self) -> None:
        self._safe, self.events = self._target.offset, self._given
        if self._compressor is not None:
            self._ending = self._compressor.ending

    def _guarded(
        self, make: Callable[[], bytes | memoryview], events: Events | None = None
    ) -> None:
        """Put what `make` gives. What cannot be written whole is cut off, so that the file ends
        where something ends."""
        if self._error is not None:
            raise self._error
        data: bytes | memoryview = b""
        try:
            if self._missing:
                self._end_what_is_cut()
            data = make()
            self._target.put(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            if events is not None and self._target.is_regular:
                count, size = self.encoder.fitting(events, self._target.reached, len(data))
                self.events += count
                self._safe += size
            self._cut_back()
            self._error = SourceError(self._words(error), file=self.path)
            raise self._error from None
        except BaseException:
            self._cut_back()  # interrupted; what may follow follows something whole
            raise

    def _cut_back(self) -> None:
        if not self._target.is_regular:
            return
        self._target.cut(self._safe)
        if self._compressor is not None:
            self._compressor = Compressor(self.compression)
            self._missing, self._ending = self._ending, b""
            with suppress(OSError):
                self._end_what_is_cut()

    def _end_what_is_cut(self) -> None:
        """Make a whole stream of what has been cut, with a few bytes."""
        self._target.put(self._missing)
        self._safe, self._missing = self._target.offset, b""

    def _words(self, error: OSError) -> str:
        if not self._live or not self._target.is_regular:
            return f"cannot be written: {error.strerror}"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        lost = self._given - self.events
        return (
            f"{'disk full' if full else f'cannot be written: {error.strerror}'}; "
            f"{self.events:,} events are in it, {lost:,} that came after them are lost"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if (kind is None or self._live) and self._error is None:
                self._finish()
        finally:
            self._target.close()
            self._remove()

    def _finish(self) -> None:
        self._begin()
        self._put(self.encoder.end())
        if self._compressor is not None:
            self._guarded(self._compressor.end)
        self._target.flush()
        self._is_safe()
        if self._temporary:
            try:
                self._target.close()
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
