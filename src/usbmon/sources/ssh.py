"""The source ``ssh:``: a bus of another machine, on which nothing needs to be installed.

Here: the connection, and a source of what comes through it. Not here: what is run there, and the
ways in which it captures (`usbmon.sources.remote`); host keys and passwords, which are ssh's own
matter: it speaks to the terminal, and nothing of what it says is kept from there.

Theory of the end. What is under way when the source is stopped is to come. So the other side is
told to end only when a later event came, or none did for a while: all that was before
has been read there by then. It then ends the reader, and says what was lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usbmon import layout
from usbmon.devices.synthetic import comment
from usbmon.errors import SourceError
from usbmon.events import Events
from usbmon.formats.base import Interface
from usbmon.sources import Remark, Source
from usbmon.sources.follow import Follower, matcher
from usbmon.sources.hotplug import Change
from usbmon.sources.remote import FORMATS, Reply, script
from usbmon.sources.stream import Pipe, Unpacker
from usbmon.sources.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.devices.model import Device

# A program to use in the place of ssh, with its options: it gets [-p PORT] HOST COMMAND.
COMMAND: Final = "USBMON_SSH"
# A connection that is dead is noticed in half a minute.
_SSH: Final = (
    "ssh", "-T", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# Ctrl-C goes to all programs of the terminal: ssh is to go on then, until what is under way came.
_IMMUNE: Final = ("sh", "-c", 'trap "" INT HUP TERM QUIT; exec "$@"', "sh")
_SPEC: Final = re.compile(
    r"((?:[^@/\s-][^@/\s]*@)?)(\[[0-9A-Fa-f:.%\w]+\]|[^:/\[\]@\s-][^:/\[\]@\s]*)(?::(\d{1,5}))?"
    r"/(sudo:)?(?:kernel:)?(\S.*)"
)
_BUS: Final = re.compile(r"all|\d{1,5}", re.ASCII)
_QUIET_SECONDS: Final = 0.3
_LATER_NS: Final = 200_000_000
_PATIENCE_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 2.0
_PIPE_SIZE: Final = 1 << 20
_NS: Final = 1_000_000_000


class Target(NamedTuple):
    """What stands behind ``ssh:``; `what` is a bus or a device."""

    host: str
    port: str
    sudo: bool
    what: str

    @classmethod
    def parse(cls, rest: str) -> Target:
        """Raises `SourceError`."""
        match = _SPEC.fullmatch(rest)
        if match is None or int(match[3] or 22) > 65535:
            raise SourceError(
                "no machine and bus; write HOST/1, USER@HOST:PORT/all or HOST/0557:2004 "
                "(with sudo there: HOST/sudo:1)",
                file=f"ssh:{rest}",
            )
        host = match[2].strip("[]") if match[2].startswith("[") else match[2]
        return cls(match[1] + host, match[3] or "", bool(match[4]), match[5])

    def words(self, command: list[str]) -> list[str]:
        """The words of the command that runs a shell there."""
        port = ["-p", self.port] if self.port else []
        return [*command, *port, self.host, "exec sudo -n sh -s" if self.sudo else "exec sh -s"]


class Connection:
    """A shell there, which has got our script. Raises `SourceError` where there is no ssh."""

    def __init__(self, target: Target) -> None:
        chosen = shlex.split(os.environ.get(COMMAND, "")) or list(_SSH)
        if shutil.which(chosen[0]) is None:
            raise SourceError(
                f"there is no {chosen[0]} on this machine: install OpenSSH's client, "
                f"or name a program like it in {COMMAND}",
                file=f"ssh:{target.host}",
            )
        mark = f"<usbmon {secrets.token_hex(12)}>"
        self.reply = Reply(mark)
        self.stream = b""  # what came of it in the same bytes as what was waited for
        self._closed = False
        self._terminal = _terminal()
        self._process = subprocess.Popen(  # noqa: S603 (the user's own ssh; words, no shell's text)
            [*_IMMUNE, *target.words(chosen)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        with contextlib.suppress(OSError):  # a small one will do
            fcntl.fcntl(self._out.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._pipe = Pipe(self._out.fileno())
        self.tell(script(mark))

    def tell(self, data: bytes) -> None:
        """Say something to the script; that it has gone is told by `take`."""
        with contextlib.suppress(OSError):
            while data:
                data = data[self._in.write(data) or 0 :]

    def take(self) -> bytes | None:
        """Bytes of the stream, as of `stream.Pipe`."""
        data = self._pipe.take()
        return self.reply.rest() or None if data is None else self.reply.feed(data)

    def until(self, *parts: str) -> bool:
        """Wait for one of these parts to begin; False if all ended before."""
        while not any(part in self.reply.parts for part in parts):
            if self._pipe_take() is None:
                return False
        return True

    def _pipe_take(self) -> bytes | None:
        data = self._pipe.take()
        if data:
            self.stream += self.reply.feed(data)
        return data

    def end(self) -> None:
        """The script is to end: so is its input."""
        with contextlib.suppress(OSError):
            self._in.close()

    def code(self) -> int:
        """The exit code, of ssh or of the shell there."""
        self.end()
        return self._process.wait()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.end()
        self._out.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            _restore(self._terminal)


def _terminal() -> list[Any] | None:
    """How the terminal is set, at which ssh may ask for a password."""
    try:
        return termios.tcgetattr(0)
    except (termios.error, OSError):
        return None


def _restore(terminal: list[Any] | None) -> None:
    """Of a program that is killed while it asks, echo stays off."""
    if terminal is not None:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(0, termios.TCSADRAIN, terminal)


class SshSource(Source):
    """See `usbmon.sources.Source`. `devices` are those that were there at the start, `bus` is what
    is captured of them all (0: all buses)."""

    def __init__(self, target: Target, report: Callable[[str], None] | None = None) -> None:
        """Raises `SourceError`."""
        self._report = report or (lambda _line: None)
        self._name = f"ssh:{target.host}"
        self._target = target
        self._connection = Connection(target)
        try:
            self._begin()
        except BaseException:
            self._connection.close()
            raise

    def _begin(self) -> None:
        reply = self._connection.reply
        if not self._connection.until("ready"):
            raise self._fail(self._no_shell())
        self.devices = snapshot(reply.files)
        self.bus = self._choose()
        self._connection.tell(b"%d\n" % self.bus)
        self._connection.until("stream", "end")  # a part is whole when the next one begins
        if "stream" not in reply.parts:
            raise self._fail(self._no_capture())
        self.way = reply.text("way")
        if self.way not in FORMATS:
            raise self._fail(f"what came from there makes no sense: {self.way[:40]!r}")
        self._unpacker = Unpacker(self._name, FORMATS[self.way])
        self.clock = layout.MONOTONIC if self.way == "text" else layout.WALL
        self._begun = time.monotonic()
        system = reply.text("uname")[:200]
        by = {"tcpdump": "tcpdump", "read": "cat of the device", "text": "cat of the text"}[
            self.way
        ]
        self.interfaces = [
            Interface(220, f"usbmon{self.bus}", f"Linux usbmon, by {by} over ssh; {system}")
        ]
        # Said when it is captured indeed: whoever ends it after that gets all that came.
        self._said = [f"{self._name}: {system}; captured by {by}"]
        if self.way == "text":
            self._said.append(f"{self._name}: of each event, the first 32 bytes of data come")
        self._received = 0
        self._offset: int | None = None  # of our monotonic clock to that of the stamps
        self._came, self._latest = self._begun, 0
        self._stop_at: float | None = None
        self._told = self._closed = False
        self._clocks_told = False
        self._sniffed: list[Device] = []

    def _fail(self, words: str) -> SourceError:
        return SourceError(words, file=self._name)

    def _choose(self) -> int:
        """The bus that has what is wanted."""
        what = self._target.what
        if _BUS.fullmatch(what):
            return 0 if what == "all" else int(what)
        matches = matcher(what)
        buses = {device.busnum for device in self.devices if matches(device)}
        if not buses:
            there = "".join(f"\n  {comment(one)}" for one in self.devices if not one.is_root)
            raise self._fail(f"no such device there: {what}. There are{there or ' none now'}")
        return buses.pop() if len(buses) == 1 else 0

    # What went wrong.

    def _no_shell(self) -> str:
        code = self._connection.code()
        if code == 255:
            return "no connection; ssh has said why"
        if self._target.sudo:
            return (
                f"sudo did not give a shell there (exit code {code}): it must need no password "
                "for `sh`, or log in as root"
            )
        return (
            f"no shell there: `sh -s` ended with exit code {code}; it needs a POSIX shell and cat"
        )

    def _no_capture(self) -> str:
        why = self._connection.reply.text("fail")
        host, bus = self._target.host, self.bus
        buses = sorted({device.busnum for device in self.devices})
        words = {
            "system": "that machine runs no Linux: usbmon is a part of the Linux kernel",
            "module": "usbmon is not loaded there, or root alone can see it; run there, as root: "
            "modprobe usbmon",
            "hidden": "usbmon is loaded there, and cannot be reached; run there, as root: "
            "mount -t debugfs none /sys/kernel/debug",
            "denied": f"no permission for bus {bus} there: log in as root, or have sudo used: "
            f"ssh:{host}/sudo:{self._target.what}",
            "bus": f"there is no bus {bus}, only {', '.join(map(str, buses)) or 'none'}",
        }
        return words.get(why, "the connection ended before the capture began")

    # The stream.

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._begun

    def remarks(self) -> list[Remark]:
        """How the clocks there and here are to one another, once."""
        wall, up = self._connection.reply.clocks
        if self._clocks_told or not wall:
            return []
        self._clocks_told = True
        text = (
            f"clocks at the start, in seconds: {wall // _NS} there, {up // _NS} since its start; "
            f"{int(time.time() - self.elapsed)} here"
        )
        return [Remark(self.start_ns, 0, text)]

    @property
    def start_ns(self) -> int:
        """The start, by the clock of the stamps, to a second."""
        wall, up = self._connection.reply.clocks
        return up if self.clock == layout.MONOTONIC else wall

    @property
    def now_ns(self) -> int:
        """By the clock of the stamps, to a second."""
        return self.start_ns + round(self.elapsed * _NS)

    def __iter__(self) -> Iterator[Events]:
        for line in self._said:
            self._report(line)
        data: bytes | None = self._connection.stream
        while data is not None and not self._closed:
            yield self._taken(self._unpacker.feed(data)) if data else Events.empty()
            self._consider_end()
            if not self._closed:
                data = self._connection.take()
        if self._closed:
            return
        for events in self._unpacker.finish():
            yield self._taken(events)
        self._finish()

    def _taken(self, events: Events) -> Events:
        """Told of these events, which it gives back."""
        if len(events):
            self._received += len(events)
            self._came = time.monotonic()
            offset = time.monotonic_ns() - int(events.ts[-1])
            self._offset = offset if self._offset is None else min(offset, self._offset)
            self._latest = int(events.ts[-1])
            self._sniffed += described(events)
        return events

    def _consider_end(self) -> None:
        """Once stopped: tell the other side, when what is under way has come."""
        if self._stop_at is None or self._told:
            return
        now = time.monotonic()
        later = (
            self._offset is not None
            and self._latest + self._offset > self._stop_at * _NS + _LATER_NS
        )
        quiet = now - max(self._came, self._stop_at) > _QUIET_SECONDS
        if later or quiet or now - self._stop_at > _PATIENCE_SECONDS:
            self._told = True
            self._connection.end()

    def _finish(self) -> None:
        """What was said there at the end. Raises SourceError if it was not, or not in order."""
        reply = self._connection.reply
        for line in self._unpacker.notes():
            self._report(line)
        if not reply.ended:
            code = self._connection.code()
            raise self._fail(
                f"the connection was cut (exit code {code} of ssh); what came before is whole, "
                "what was lost there is not known"
            )
        self.interfaces[0].dropped = reply.dropped(self._received)
        if self.interfaces[0].dropped is None:
            self._report(f"{self._name}: whether events were lost there is not known")
        if not self._told:
            words = reply.words or f"exit code {reply.code}"
            raise self._fail(f"the capture there ended by itself, as when the bus goes: {words}")

    def sniffed(self) -> list[Device]:
        """Devices whose descriptors have passed since this was asked last."""
        taken, self._sniffed = self._sniffed, []
        return taken

    def stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._connection.close()


# Devices.


def snapshot(files: dict[str, bytes]) -> list[Device]:
    """The devices of a sysfs whose files came through the connection."""
    from usbmon.devices import sysfs

    with tempfile.TemporaryDirectory(prefix="usbmon-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            with contextlib.suppress(OSError):  # one name for a file and a folder: a broken sysfs
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        try:
            return sysfs.snapshot(folder)
        except SourceError:
            return []


def described(events: Events) -> list[Device]:
    """What is known of devices whose descriptors are read in these events, as the host does when
    one was plugged in."""
    from usbmon.devices.model import Device
    from usbmon.usb.descriptors import device_descriptor

    rows = (
        (events.type == ord("C")) & (events.xfer_type == layout.CONTROL) & (events.epnum == 0x80)
        & (events.captured == 18) & (events.devnum > 0) & ~events.synthetic
    )  # fmt: skip
    found = []
    for event in events[rows]:
        if event.data[:2] == b"\x12\x01":  # USB 2.0 §9.6.1
            fields = device_descriptor(event.data)
            found.append(Device(busnum=event.busnum or 0, devnum=event.devnum, fields=fields))
    return found


class _Plugged:
    """A `usbmon.sources.watched.Watching` of what has passed in the capture itself."""

    def __init__(self, source: SshSource) -> None:
        self._source = source
        self.devices = list(source.devices)

    def fileno(self) -> None:
        """Nothing wakes it."""

    def poll(self) -> list[Change]:
        known = {(one.busnum, one.devnum): one for one in self.devices}
        changes = []
        for device in self._source.sniffed():
            before = known.get((device.busnum, device.devnum))
            if before is None or before.about != device.about:
                known[device.busnum, device.devnum] = device
                changes.append(Change("added", device))
        self.devices = list(known.values())
        return changes


class _There(Watched):
    """By the clock of the other machine."""

    inner: SshSource

    def _now(self) -> int:
        return self.inner.now_ns


def open(
    rest: str, *, describe: bool = True, report: Callable[[str], None] | None = None
) -> Source:
    """``ssh:`` with a machine and what of it behind. `describe`: with what sysfs there knows of the
    devices. Raises `SourceError`."""
    target = Target.parse(rest)
    source = SshSource(target, report)
    follower = None if _BUS.fullmatch(target.what) else Follower(matcher(target.what))
    return _There(
        source, _Plugged(source), source.bus,
        describe=describe, follower=follower, report=report,
    )  # fmt: skip
