"""The facility as files: what `usbmon mount` publishes, readable by ``cat``.

Here: the file system (FUSE, by way of mfusepy), and the thread that keeps the bus going beside it.
Not here: what the files hold (`usbmon.monitor`, `usbmon.devices.listing`), and the command.

    usbmon/0s 0u 1s 1t 1u 2s 2t 2u …    as the kernel's files of these names
    devices                             who is on the buses
    do                                  write a step of a scenario to it, and it is done

Theory: the bus knows no threads, so one lock stands around it. A read that has to wait does so in
slices of 100 ms, and looks in between whether its reader was killed or the file system is going:
FUSE tells nobody, and a reader that waits on would keep the mount busy for ever.

The bus waits for who reads. A device of metal takes its time, in which a reader is woken; ours does
what is due all at once, and would fill the 93 events of a reader's queue before that has begun. So
time stands still while a reader that reads has a third of them before it; for one that does not
read it goes on, and events are lost to that one as the kernel loses them.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import shlex
import stat
import threading
import time
from ctypes import CDLL, CFUNCTYPE, c_char_p, c_int, c_void_p, create_string_buffer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usbmon.devices import listing, virtual
from usbmon.errors import SourceError
from usbmon.monitor.main import Monitor
from usbmon.monitor.stat import statistics
from usbmon.monitor.text import EVENT_MAX, TextReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.sources.scenario import Stage

_SLICE: Final = 0.1
_NONBLOCK: Final = 0o4000
# The bus is looked after so often even when it says that nothing will happen: somebody may have
# written to `do`.
_IDLE: Final = 0.05
# Who has read so long ago, in seconds, reads no more; how long the bus waits before it looks again.
_PATIENCE: Final = 0.5
_BREATH: Final = 0.001
# Every reader that waits holds one of libfuse's threads.
_THREADS: Final = 512
# fuse_log_func_t: level, format, va_list.
_Log: Final = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
# libfuse has an upper limit for threads, to be raised, since 3.12.
_HAS_LIMIT: Final = 312


def _mfusepy() -> Any:
    # Where libfuse 2 is there too, mfusepy would take that.
    os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")
    try:
        import mfusepy
    except ImportError:
        raise SourceError("FUSE is missing: install usbmon[fuse]") from None
    except OSError:
        raise SourceError("libfuse is missing: install it (on Debian: libfuse3-3 fuse3)") from None
    return mfusepy


class Facility:
    """The operations of the file system over a running stage; see mfusepy's Operations."""

    use_ns = True

    def __init__(
        self, stage: Stage, report: Callable[[str], None], ready: Callable[[], None]
    ) -> None:
        self._stage = stage
        self._report = report
        self._ready = ready
        self._monitor = Monitor(stage.host.controllers)
        self._fuse = _mfusepy()
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._open: dict[int, TextReader | bytes] = {}
        # Until when the bus waits for the reader of each open file.
        self._awaited: dict[int, float] = {}
        self.mounted = False
        self._gone = False
        self._begun = time.time_ns()
        self._here = Path.cwd()
        names = [f"{number}{kind}" for number in self._monitor.buses for kind in "stu"]
        self._names = [name for name in names if name != "0t"]
        self._thread = threading.Thread(target=self._keep_going, name="bus", daemon=True)

    # The bus.

    def _keep_going(self) -> None:
        told = None
        while not self._gone:
            with self._changed:
                delay = self._stage.loop.catch_up(stop=self._is_too_fast)
                self._changed.notify_all()
                if self._is_too_fast():
                    delay = _BREATH
                if self._stage.error is not told:
                    told = self._stage.error
                    self._report(str(told))
            time.sleep(min(_IDLE, delay if delay is not None else _IDLE))

    def _is_too_fast(self) -> bool:
        """Whether somebody who reads has much to read."""
        for number, until in self._awaited.items():
            content = self._open.get(number)
            if (
                isinstance(content, TextReader)
                and content.waiting > EVENT_MAX // 3
                and time.monotonic() < until
            ):
                return True
        return False

    def init(self, _path: str) -> None:
        """Mounted: from here on there may be threads."""
        # libfuse has gone to /, while files of steps are looked for where we began.
        os.chdir(self._here)
        self.mounted = True
        self._ready()
        self._thread.start()

    def destroy(self, _path: str) -> None:
        self._gone = True
        self._thread.join()

    # Names.

    def getattr(self, path: str, _file: Any = None) -> dict[str, Any]:
        folder = stat.S_IFDIR | 0o555
        modes = {"/": folder, "/usbmon": folder, "/do": stat.S_IFREG | 0o222}
        modes["/devices"] = stat.S_IFREG | 0o444
        modes |= {f"/usbmon/{name}": stat.S_IFREG | 0o400 for name in self._names}
        if path not in modes:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        stamps = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._begun)
        uid, gid, _ = self._fuse.fuse_get_context()
        links = 2 if modes[path] == folder else 1
        return {"st_mode": modes[path], "st_nlink": links, "st_uid": uid, "st_gid": gid, **stamps}

    def readdir(self, path: str, _file: Any) -> list[str]:
        names = {"/": ["devices", "do", "usbmon"], "/usbmon": self._names}.get(path, [])
        return [".", "..", *names]

    # Files.

    def open(self, path: str, file: Any) -> int:
        if file.flags & os.O_ACCMODE != (os.O_WRONLY if path == "/do" else os.O_RDONLY):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        file.direct_io = 1
        file.nonseekable = 1
        with self._changed:
            content = self._content(path)
            file.fh = next(self._numbers)
            self._open[file.fh] = content
            self._awaited[file.fh] = time.monotonic() + _PATIENCE
        return 0

    def _content(self, path: str) -> TextReader | bytes:
        if path == "/devices":
            return listing.write(virtual.devices(self._stage.host)).encode()
        if path == "/do":
            return b""
        name = path.rpartition("/")[2]
        bus = self._monitor.buses[int(name[:-1])]
        return statistics(bus) if name[-1] == "s" else TextReader(bus, old=name[-1] == "t")

    def read(self, _path: str, size: int, offset: int, file: Any) -> bytes:
        content = self._open[file.fh]
        if isinstance(content, bytes):
            return content[offset : offset + size]
        with self._changed:
            self._awaited[file.fh] = math.inf
            try:
                self._wait(content, file)
                return content.read(size)
            finally:
                self._awaited[file.fh] = time.monotonic() + _PATIENCE

    def _wait(self, content: TextReader, file: Any) -> None:
        """Until there is something to read, unless the reader does not wait or was interrupted."""
        while not content.is_ready and not file.flags & _NONBLOCK:
            self._changed.wait(_SLICE)
            if self._is_interrupted():
                raise OSError(errno.EINTR, os.strerror(errno.EINTR))

    def _is_interrupted(self) -> bool:
        """Whether the reader was killed, or the file system is about to go."""
        library = self._fuse._libfuse  # noqa: SLF001 (there is no other way to these two)
        context = library.fuse_get_context().contents
        session = library.fuse_get_session(context.fuse)
        return bool(library.fuse_interrupted() or library.fuse_session_exited(session))

    def truncate(self, path: str, _length: int, _file: Any = None) -> None:
        """What a shell's > does first."""
        if path != "/do":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def write(self, _path: str, data: bytes, _offset: int, _file: Any) -> int:
        with self._changed:
            for line in data.decode("utf-8", "replace").splitlines():
                self._do(line)
        return len(data)

    def _do(self, line: str) -> None:
        try:
            verb, *words = shlex.split(line, comments=True) or [""]
            if verb:
                self._stage.do(verb, words)
        except (ValueError, RecursionError, SourceError) as error:
            self._report(f"do: {error}")
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None

    def release(self, _path: str, file: Any) -> int:
        with self._changed:
            self._awaited.pop(file.fh, None)
            content = self._open.pop(file.fh, b"")
            if isinstance(content, TextReader):
                content.close()
        return 0


def _log(_level: int, form: bytes, arguments: int) -> None:
    """What libfuse has to say, but for its complaint of 3.14 about a number that it made itself."""
    if b"max threads" not in form:
        text = create_string_buffer(1024)
        CDLL(None).vsnprintf(text, len(text), form, c_void_p(arguments))
        os.write(2, text.value)


def _check(folder: str) -> None:
    """Only an empty folder is mounted on: what is in another would be hidden."""
    try:
        is_empty = next(Path(folder).iterdir(), None) is None
    except OSError as error:
        message = error.strerror or str(error)
        if error.errno == errno.ENOTCONN:
            message = f"left behind by a mount that was killed: fusermount3 -u {folder}"
        raise SourceError(message, file=folder) from None
    if not is_empty:
        raise SourceError("not empty, or mounted on already: take an empty folder", file=folder)


def mount(
    folder: str, stage: Stage, report: Callable[[str], None], ready: Callable[[], None]
) -> None:
    """Publish the stage's buses in this folder, until it is unmounted or a signal comes. `report`
    is told what was wrong with a step, `ready` called once the folder is mounted. Raises
    `SourceError` where that cannot be."""
    fuse = _mfusepy()
    _check(folder)
    library = fuse._libfuse  # noqa: SLF001 (as above)
    library.fuse_get_session.argtypes = library.fuse_session_exited.argtypes = [c_void_p]
    library.fuse_get_session.restype = c_void_p
    options: dict[str, Any] = {"fsname": "usbmon", "subtype": "usbmon"}
    log = _Log(_log)  # to be kept as long as libfuse may call it
    if library.fuse_version() >= _HAS_LIMIT:
        options["max_threads"] = _THREADS
        library.fuse_set_log_func(log)
    facility = Facility(stage, report, ready)
    try:
        fuse.FUSE(facility, folder, foreground=True, raw_fi=True, **options)
    except RuntimeError:
        if facility.mounted:  # ended by a signal, which libfuse takes for an error
            return
        raise SourceError(
            "cannot be mounted: /dev/fuse and fusermount3 are needed (on Debian: fuse3), and a "
            "folder that you may write to",
            file=folder,
        ) from None
