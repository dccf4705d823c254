"""A program of its own that does nothing but read usbmon's text, so that nothing else keeps it from
reading: ``python drain.py PATH`` copies the file to standard output.

Here: reading in time, and holding what nobody has taken yet. Not here: who starts it
(`usbmon.sources.text`); it imports nothing of usbmon, to start at once.

The kernel queues some 93 lines for a reader and drops the rest (mon_text.c, EVENT_MAX). A read
gives one of them; poll() always says that there is one. A read that waits keeps the kernel from
taking the file away when the bus goes (debugfs waits for it): so reads do not wait, and the time
between two of them is short. When as much is held as it may hold, it stops reading and the kernel
counts what is lost.

A newline, before all else, tells that the file is open. SIGTERM: give what is there, and end. The
exit code is 0 for that and for the end of the file, and else the errno of the read that failed.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections import deque

LIMIT = 64 << 20
_CHUNK = 1 << 16
# The largest line has 189 bytes, and room for one of iso packets is more.
_LINE = 8192
# Milliseconds between two looks, from busy to quiet: 93 lines in 4 ms are 23,000 a second.
_SHORTEST, _LONGEST = 1, 4
# Lines that are still read when it is to end: more than a queue holds (pages have up to 64 KiB).
_LAST = 2048


class Drain:
    """From one file descriptor to another, neither of which blocks. `stop`: end with what is there
    now; `run` returns the exit code."""

    def __init__(self, source: int, out: int, limit: int = LIMIT) -> None:
        self._source = source
        self._out = out
        self._limit = limit
        self._held: deque[memoryview] = deque()
        self._size = 0
        self._code: int | None = None  # once there is nothing more to read
        self._left: int | None = None  # lines that are still read

    def stop(self) -> None:
        if self._left is None:
            self._left = _LAST

    def run(self) -> int:
        ready = select.poll()
        pause = _SHORTEST
        while self._code is None or self._held:
            came = self._read()
            if self._code is not None and not self._held:
                break  # nothing to write, and nothing to wait for
            pause = _SHORTEST if came else min(pause * 2, _LONGEST)
            # With nothing to write, it still tells when nobody is there to read.
            ready.register(self._out, select.POLLOUT if self._held else 0)
            wait = None if self._code is not None or self._size >= self._limit else pause
            found = ready.poll(0 if came else wait)
            if found and not self._write(found[0][1]):
                return errno.EPIPE
        return self._code or 0

    def _read(self) -> int:
        """What is there now, up to a chunk; how much it was."""
        lines, size = [], 0
        while self._code is None and size < _CHUNK and self._size < self._limit:
            try:
                line = os.read(self._source, _LINE)
            except BlockingIOError:
                if self._left is not None:
                    self._code = 0
                break
            except OSError as error:
                self._code = error.errno or errno.EIO
                break
            lines.append(line)
            size += len(line)
            if self._left is not None:
                self._left -= 1
            if not line or self._left == 0:
                self._code = 0
        if size:
            self._held.append(memoryview(b"".join(lines)))
            self._size += size
        return size

    def _write(self, event: int) -> bool:
        """As much as there is room for; False where nobody reads any more."""
        if event & (select.POLLERR | select.POLLNVAL):
            return False
        try:
            while self._held:
                count = os.write(self._out, self._held[0])
                self._size -= count
                self._held[0] = self._held[0][count:]
                if not self._held[0]:
                    self._held.popleft()
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def main(path: str) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    out = sys.stdout.fileno()
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        return error.errno or errno.EIO
    drain = Drain(source, out)
    signal.signal(signal.SIGTERM, lambda _number, _frame: drain.stop())
    os.write(out, b"\n")
    os.set_blocking(out, False)
    return drain.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
