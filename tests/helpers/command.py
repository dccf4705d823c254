"""The command `usbmon`, run in this process, and in one of its own where that matters."""

import os
import pty
import subprocess
import sys
from typing import NamedTuple

from usbmon.apps.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Command:
    """``usbmon("show", path)`` gives exit code, output and errors."""

    def __init__(self, capture) -> None:
        self._capture = capture

    def __call__(self, *words: object, code: int = 0) -> Result:
        self._capture.readouterr()
        result = main([str(word) for word in words])
        out, err = self._capture.readouterr()
        assert result == code, err.decode()
        return Result(result, out.decode(), err.decode())


def process(*words: object, **options) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "usbmon", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, **options)


def on_terminal(*words: object, **environment: str) -> tuple[int, str]:
    """The command on a terminal of its own: its exit code, and all that the terminal got."""
    master, slave = pty.openpty()
    program = [sys.executable, "-m", "usbmon", *map(str, words)]
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    env |= {"TERM": "xterm", **environment}
    child = subprocess.Popen(program, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    got = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not part:
            break
        got += part
    os.close(master)
    return child.wait(60), got.decode().replace("\r\n", "\n")
