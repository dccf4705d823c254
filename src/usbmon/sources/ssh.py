"""The source ``ssh:``: a bus of another machine, on which nothing needs to be installed.

Here: the command that is run there, and the end of it. Not here: what the bytes mean
(`usbmon.sources.stream`), hosts, keys and passwords, which are ssh's own.

The machine needs a POSIX shell and `cat`. Its `tcpdump` is used where it has one that can open the
device; else records are read from the device as they are (read() gives one, with its header of 48
bytes), else the text file. The first line tells which it is. The command ends when its standard
input does: then it ends the reader, and what that had is received to the end.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Final

from usbmon import layout
from usbmon.errors import SourceError
from usbmon.events import Events
from usbmon.formats.base import Interface
from usbmon.sources import Source
from usbmon.sources.stream import Pipe, Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The command to run instead of ssh, as `ssh -F FILE`.
VARIABLE: Final = "USBMON_SSH"
_SSH_FAILED: Final = 255
_NOTHING_THERE: Final = 3
_PLACE: Final = re.compile(r"(?:([^@/\s]+)@)?(\[[^]/\s]+\]|[^:/@\s]+)(?::([0-9]+))?/(.+)")
_FORMATS: Final = {"tcpdump": "pcap", "records": "bin48", "text": "u"}

# Ctrl-C is for us: the other side ends in order when we say so.
_WITHOUT_INTERRUPT: Final = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")

# $r: a folder that stands for /, in tests. Descriptor 3 keeps standard input for the watcher, as a
# shell gives a command in the background none.
_SCRIPT: Final = """
r=${USBMON_ROOT-}; b=BUS; d=$r/dev/usbmon$b; t=$r/sys/kernel/debug/usb/usbmon/${b}u
PATH=$PATH:/usr/sbin:/sbin
exec 3<&0
run() {
    "$@" <&4 & p=$!
    { cat <&3 >/dev/null 2>&1; kill -INT $p 2>/dev/null || kill $p 2>/dev/null
      sleep 1; kill $p 2>/dev/null; } >/dev/null 2>&1 & w=$!
    wait $p 2>/dev/null; c=$?
    kill $w 2>/dev/null
    exit 0
}
exec 4</dev/null
if [ -r "$d" ] && [ -z "$r" ] && command -v tcpdump >/dev/null 2>&1; then
    echo "usbmon tcpdump $(uname -sr)"
    run tcpdump -i usbmon$b -s 0 -U -B 16384 -w -
elif [ -r "$d" ]; then
    echo "usbmon records $(uname -sr)"
    exec 4<"$d"; run cat
elif [ -r "$t" ]; then
    echo "usbmon text $(uname -sr)"
    exec 4<"$t"; run cat
fi
echo "usbmon nothing $(ls -d "$d" "$t" 2>/dev/null | tr '\\n' ' ')"
exit 3
"""


class SshSource(Source):
    """See `usbmon.sources.Source`. It ends with `SourceError` where the connection does."""

    def __init__(self, host: str, port: str, bus: int, report: Callable[[str], None]) -> None:
        """Waits until the other side has begun. Raises `SourceError`."""
        self._host = host
        self._name = f"ssh:{host}"
        self._report = report
        self._stopping = self._closed = False
        command = [*shlex.split(os.environ.get(VARIABLE, "ssh")), "-T"]
        command += ["-p", port] if port else []
        script = _SCRIPT.replace("BUS", str(bus))
        if shutil.which(command[0]) is None:
            raise SourceError(f"cannot run {command[0]}: it is not there", file=host)
        self._ssh = subprocess.Popen(  # noqa: S603 (ssh, or what the user says in its place)
            [*_WITHOUT_INTERRUPT, *command, host, f"sh -c {shlex.quote(script)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            way, system = self._first_line()
        except BaseException:
            self.close()
            raise
        self._unpacker = Unpacker(self._name, _FORMATS[way])
        self.clock = layout.MONOTONIC if way == "text" else layout.WALL
        self.interfaces = [Interface(220, f"usbmon{bus}", f"{host}, {system}, by {way}")]
        self._begun = time.monotonic()
        report(f"{host}: {system}, usbmon{bus} by {way}")

    def _first_line(self) -> tuple[str, str]:
        assert self._ssh.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = self._ssh.stdout.read(1)
            if not byte:
                break
            line += byte
            if line == b"\n" or (line.endswith(b"\n") and not line.startswith(b"usbmon ")):
                line = b""  # what the shell's own start-up files say
        words = line.decode(errors="replace").split(maxsplit=2)
        if len(words) >= 2 and words[1] in _FORMATS:
            return words[1], words[2].strip() if len(words) > 2 else ""
        code = self._ssh.wait()
        if code == _NOTHING_THERE and len(words) > 2:
            raise SourceError(f"no permission there to read {words[2].strip()}", file=self._name)
        if code == _NOTHING_THERE:
            raise SourceError(
                "no usbmon there, or no such bus; there, as root: modprobe usbmon", file=self._name
            )
        raise SourceError(f"no connection ({self._words(code)}, see above)", file=self._name)

    @staticmethod
    def _words(code: int) -> str:
        return "ssh failed" if code == _SSH_FAILED else f"ssh ended with exit code {code}"

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._begun

    def __iter__(self) -> Iterator[Events]:
        assert self._ssh.stdout is not None
        pipe = Pipe(self._ssh.stdout.fileno())
        while not self._closed:
            data = pipe.take()
            if data is None:
                break
            yield self._unpacker.feed(data) if data else Events.empty()
        if self._closed:
            return
        yield from self._unpacker.finish()
        for line in self._unpacker.notes():
            self._report(line)
        code = self._ssh.wait()
        if not self._stopping:
            why = "the reader there has ended" if code == 0 else self._words(code)
            raise SourceError(f"the connection has ended: {why}", file=self._name)

    def stop(self) -> None:
        self._stopping = True
        assert self._ssh.stdin is not None
        self._ssh.stdin.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        assert self._ssh.stdin is not None
        assert self._ssh.stdout is not None
        self._ssh.stdin.close()
        self._ssh.stdout.close()
        try:
            self._ssh.wait(2)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()


def open(rest: str, *, report: Callable[[str], None] | None = None) -> SshSource:
    """``ssh:`` with ``[USER@]HOST[:PORT]/BUS`` behind it. Raises `SourceError`."""
    match = _PLACE.fullmatch(rest)
    bus = match[4] if match is not None else ""
    number = "0" if bus == "all" else bus.removeprefix("kernel:")
    if match is None or match[2].startswith("-") or not (number.isascii() and number.isdigit()):
        raise SourceError("write it as ssh:[USER@]HOST[:PORT]/BUS, BUS a number or all", file=rest)
    host = f"{match[1]}@{match[2]}" if match[1] else match[2]
    return SshSource(host, match[3] or "", int(number), report or (lambda _line: None))
