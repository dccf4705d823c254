"""The source ``text:``: usbmon's text as it comes.

Here: a file of the kernel's (debugfs, ``1u``) or of a monitor that is mounted, a FIFO or standard
input, a file that grows; what the kernel says is lost, and the end of each. Not here: what the text
means (`usbmon.formats.text`), and reading the kernel's files in time (`drain`).

What comes is looked at first: records of the binary API, pcap and pcapng through a FIFO do as well.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from usbmon import layout
from usbmon.errors import FormatError, SourceError
from usbmon.events import Events
from usbmon.formats.base import Interface
from usbmon.formats.stat import parse
from usbmon.sources import Source, drain
from usbmon.sources.stream import CHUNK, WAIT_SECONDS, Pipe, Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Report = Callable[[str], None]

_KERNELS_FOLDER: Final = "/sys/kernel/debug/"
_GROWS_SECONDS: Final = 0.05
_PIPE_SIZE: Final = 1 << 20
_OF_A_BUS: Final = re.compile(r"(.*/|)([0-9]+)[tu]")
_REASONS: Final = {
    errno.ENOENT: "no such file",
    errno.EACCES: "no permission to read it (usbmon's text is for root)",
    errno.EPERM: "no permission to read it (the kernel may be locked down)",
    errno.EISDIR: "is a directory; name a file in it, as 1u",
}
_GONE: Final = "the bus has gone: its host controller was removed, or its monitor has ended"
# What a read of a file says whose bus is no more: debugfs, the monitor.
_BUS_GONE: Final = (errno.EIO, errno.ENODEV, errno.ENOENT, errno.ENXIO)


def _reason(number: int | None) -> str:
    return _REASONS.get(number or 0) or os.strerror(number or errno.EIO)


class _Input(Protocol):
    """`take` as of `stream.Pipe`; it raises OSError, or SourceError where that says more."""

    def take(self) -> bytes | None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class _Open:
    """A FIFO, a pipe, a terminal or a device. It ends when all who wrote to it have gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pipe = Pipe(fd)
        self.take = self._pipe.take
        self.stop = self._pipe.stop

    def close(self) -> None:
        if self._fd:  # standard input is not ours
            os.close(self._fd)


class _Growing:
    """A file that grows, from its start on. It ends only when it is stopped, or the file is no
    more what it was."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._position = os.lseek(fd, 0, os.SEEK_CUR)
        self._end: int | None = None

    def take(self) -> bytes | None:
        data = self._read()
        if data or self._end is not None:
            return data or None
        changed = self._changed()
        if changed:  # what was written before that is given first
            data = self._read()
            if not data:
                raise SourceError(changed, file=self._name)
            return data
        time.sleep(_GROWS_SECONDS)
        return b""

    def _read(self) -> bytes:
        size = CHUNK if self._end is None else min(CHUNK, max(self._end - self._position, 0))
        data = os.read(self._fd, size)
        self._position += len(data)
        return data

    def _changed(self) -> str:
        """What became of the file, in words, if it is no more what it was."""
        now = os.fstat(self._fd)
        if now.st_size < self._position:
            return f"was cut short to {now.st_size:,} bytes while it was read"
        if not now.st_nlink:
            return "was removed or replaced while it was read; what follows is not here"
        return (
            "" if self._is_there(now) else "was moved while it was read; what follows is not here"
        )

    def _is_there(self, now: os.stat_result) -> bool:
        """Under its name; standard input has none."""
        try:
            return not self._fd or os.path.samestat(now, os.stat(self._name))  # noqa: PTH116
        except OSError:
            return False

    def stop(self) -> None:
        self._end = os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd:
            os.close(self._fd)


class _Drained:
    """A file of the kernel's, by way of a process that does nothing else (`drain`)."""

    def __init__(self, path: str) -> None:
        """Waits until it is open. Raises SourceError."""
        self._name = path
        self._stopping = self._closed = False
        self._process = subprocess.Popen(  # noqa: S603 (this Python, a file of ours)
            [sys.executable, "-I", "-S", drain.__file__, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        with contextlib.suppress(OSError):  # a small one will do: the process holds more
            fcntl.fcntl(self._out.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        try:
            is_open = self._out.read(1)
        except BaseException:
            self.close()
            raise
        if not is_open:
            code = self._process.wait()
            self.close()
            raise SourceError(_reason(code), file=path)
        self._pipe = Pipe(self._out.fileno())

    def take(self) -> bytes | None:
        data = self._pipe.take()
        if data is not None:
            return data
        code = self._process.wait()
        if self._stopping:
            return None
        if code < 0:
            words = f"the process that read it was ended by {signal.Signals(-code).name}"
        elif code == 0 or code in _BUS_GONE:
            words = _GONE
        else:
            words = f"cannot be read: {_reason(code)}"
        raise SourceError(words, file=self._name)

    def stop(self) -> None:
        self._stopping = True
        self._process.terminate()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._out.close()


class Losses:
    """What the kernel counts as lost, beside a file of its text: `count` is None where it does not
    tell. It counts what any reader of the bus lost, of which there may be others."""

    def __init__(self, path: str, report: _Report) -> None:
        match = _OF_A_BUS.fullmatch(path)
        self._path = f"{match[1]}{match[2]}s" if match is not None else ""
        self._report = report
        self._alone = True
        self._due = 0.0
        self.count: int | None = None
        self._before = 0
        lost = self._read()
        if lost is not None:
            self.count, self._before = 0, lost

    def look(self, *, now: bool = False) -> None:
        """Unless it has just been looked."""
        if self.count is None or (time.monotonic() < self._due and not now):
            return
        self._due = time.monotonic() + WAIT_SECONDS
        lost = self._read()
        if lost is not None:
            self.count = (lost - self._before) % (1 << 32)

    def _read(self) -> int | None:
        if not self._path:
            return None
        try:
            with builtins.open(self._path, "rb", buffering=0) as file:  # noqa: PTH123
                found = parse(file.read(256), file=self._path)
        except (OSError, FormatError):
            return None
        if self._alone and found.nreaders > 1:
            self._alone = False
            self._report(
                f"{self._path}: {found.nreaders} readers of this bus, whose drops are counted too"
            )
        return found.text_lost


class TextSource(Source):
    """See `usbmon.sources.Source`."""

    clock = layout.MONOTONIC

    def __init__(self, path: str, report: _Report | None = None) -> None:
        """`path`: "-" for standard input. Raises `SourceError`."""
        self._report = report or (lambda _line: None)
        self._name = "standard input" if path == "-" else path
        self._input, words = _open_input(path)
        self._losses = Losses(path, self._report)
        self._unpacker = Unpacker(self._name, words.format)
        self.interfaces = [Interface(220, os.path.basename(self._name), words.description)]  # noqa: PTH119
        self.interfaces[0].dropped = self._losses.count
        self._begun = time.monotonic()
        self._closed = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._begun

    def __iter__(self) -> Iterator[Events]:
        failed: SourceError | None = None
        while not self._closed:
            try:
                data = self._input.take()
            except SourceError as error:
                failed, data = error, None
            except OSError as error:
                words = f"cannot be read: {_reason(error.errno)}"
                failed, data = SourceError(words, file=self._name), None
            self._look(now=data is None)
            if data is None:
                break
            yield self._unpacker.feed(data) if data else Events.empty()
        if self._closed:
            return
        yield from self._unpacker.finish()
        for line in self._unpacker.notes():
            self._report(line)
        if failed is not None:
            raise failed

    def _look(self, *, now: bool) -> None:
        """For what is missing."""
        self._losses.look(now=now)
        lost = self._losses.count
        self.interfaces[0].dropped = self._unpacker.dropped if lost is None else lost

    def stop(self) -> None:
        self._input.stop()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._input.close()


class _Words(NamedTuple):
    """What an input is, and its format where that is known."""

    description: str
    format: str = ""


def _open_input(path: str) -> tuple[_Input, _Words]:
    """Raises SourceError."""
    name = "standard input" if path == "-" else path
    try:
        fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        kind = os.fstat(fd).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte
        raise SourceError(_reason(getattr(error, "errno", errno.ENOENT)), file=name) from None
    if stat.S_ISDIR(kind):
        os.close(fd)
        raise SourceError(_reason(errno.EISDIR), file=path)
    if not stat.S_ISREG(kind):
        return _Open(fd), _Words(f"usbmon text, from {name}")
    if fd and _is_kernels(fd):
        os.close(fd)
        return _Drained(path), _Words(f"Linux usbmon, text, {path}", "u")
    return _Growing(fd, name), _Words(f"usbmon text, from {name}")


def _is_kernels(fd: int) -> bool:
    """Whether events come out of a file that has no size: one of the kernel's, or of a monitor. It
    loses none, as it is opened anew to be read."""
    try:
        came = os.read(fd, 1)
    except OSError:
        came = b"?"  # nothing is there now, or the bus has gone
    if came and os.fstat(fd).st_size == 0:
        return True
    os.lseek(fd, 0, os.SEEK_SET)
    return False


def open(rest: str, *, report: _Report | None = None) -> TextSource:
    """``text:`` with a path behind it, or ``-``. Raises `SourceError`."""
    if not rest:
        raise SourceError(
            "no file; name one, as text:/sys/kernel/debug/usb/usbmon/1u", file="text:"
        )
    try:
        return TextSource(rest, report)
    except SourceError as error:
        if not rest.startswith(_KERNELS_FOLDER):
            raise
        from usbmon.sources import doctor

        raise SourceError(f"{error.message}; {doctor.advice(None, rest)}", file=rest) from None
