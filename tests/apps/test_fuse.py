"""The facility as files: on a real mount, used as a shell would use it. It needs FUSE (on Debian:
fuse3 and libfuse3-3), which scripts/test installs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

import usbmon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINE = re.compile(rb"[0-9a-f]{16} \d+ [SC] [CIB][io]:[12]:\d{3}:\d+ [^\n]+\n")
SECONDS = 30


def until(condition: Callable[[], object]) -> None:
    """Wait for something outside of this process; fails when it does not come."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.01)


class Mount:
    """A context: `usbmon mount` on `folder`, with these words, until it ends or is ended."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.usbmon = folder / "usbmon"
        self._words = words

    def __enter__(self) -> Self:
        folder = str(self.folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "usbmon", "mount", folder, *self._words],
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: self.usbmon.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.stderr.read()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGINT)
        self.process.stderr.close()

    def end(self, number: int) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        assert not os.path.ismount(self.folder)
        return code

    def do(self, step: str) -> None:
        (self.folder / "do").write_text(step + "\n")

    @contextlib.contextmanager
    def opened(self, name: str, flags: int = 0):
        number = os.open(self.usbmon / name, os.O_RDONLY | flags)
        try:
            yield number
        finally:
            os.close(number)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "usb"
    folder.mkdir()
    return folder


@pytest.fixture
def mount(folder):
    """With a device that does nothing by itself, and is there."""
    scenario = folder.parent / "still.toml"
    scenario.write_text('[devices.keyboard]\n[[step]]\nat = 3600\ndo = "wait"\nseconds = 1\n')
    with Mount(folder, "--with", str(scenario)) as mount:
        until(lambda: "Driver=usbhid" in (folder / "devices").read_text())
        yield mount


def test_the_five_steps_of_the_document(folder, tmp_path):
    out = tmp_path / "1.mon.out"
    with Mount(folder, "--with", "keyboard") as mount:
        # 1. Verify that bus sockets are present.
        listed = subprocess.run(["ls", mount.usbmon], capture_output=True, text=True, check=True)
        assert listed.stdout.split() == ["0s", "0u", "1s", "1t", "1u", "2s", "2t", "2u"]
        # 2. Find which bus connects to the desired device.
        until(lambda: "Product=Keyboard" in (folder / "devices").read_text())
        block = (folder / "devices").read_text().partition("S:  Product=Keyboard")[0]
        bus = int(re.findall(r"T:  Bus=(\d+)", block)[-1])
        # 3. Start cat.
        with out.open("wb") as file:
            cat = subprocess.Popen(["cat", mount.usbmon / f"{bus}t"], stdout=file)
        # 4. Perform the desired operation on the USB bus.
        until(lambda: "nreaders 1 " in (mount.usbmon / "1s").read_text())
        mount.do("type keyboard text=hello")
        until(lambda: out.read_bytes().count(b" C Ii:") >= 10)
        # 5. Kill cat.
        cat.send_signal(signal.SIGINT)
        cat.wait(SECONDS)
    with usbmon.open(out) as trace:
        events = usbmon.Events.concat(list(trace))
        assert not trace.decoder.notes
    assert events[0].busnum is None  # as in the format t
    reports = [e.data for e in events if e.type == "C" and e.epnum == 0x81]
    assert len([report for report in reports if report[2]]) >= 5


def test_modes_are_those_of_debugfs(mount):
    modes = {path.name: stat.filemode(path.stat().st_mode) for path in mount.usbmon.iterdir()}
    assert set(modes.values()) == {"-r--------"}
    assert stat.filemode((mount.folder / "devices").stat().st_mode) == "-r--r--r--"
    assert stat.filemode((mount.folder / "do").stat().st_mode) == "--w--w--w-"
    assert mount.usbmon.stat().st_uid == os.getuid()


def test_an_event_a_read(mount):
    with mount.opened("1u") as file:
        mount.do("type keyboard text=a")
        lines = [os.read(file, 8192) for _ in range(4)]
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line.split()[2] for line in lines] == [b"C", b"S", b"C", b"S"]


def test_a_small_buffer_gets_the_line_in_pieces(mount):
    with mount.opened("1u") as file:
        mount.do("type keyboard text=a")
        pieces = [os.read(file, 10)]
        while not pieces[-1].endswith(b"\n"):
            pieces.append(os.read(file, 10))
    assert LINE.fullmatch(b"".join(pieces))
    assert {len(piece) for piece in pieces[:-1]} == {10}


def test_the_old_format_has_no_bus(mount):
    with mount.opened("1t") as file:
        mount.do("type keyboard text=a")
        assert re.fullmatch(rb"[0-9a-f]{16} \d+ C Ii:002:01 0 8 = 00000400 00000000\n",
                            os.read(file, 8192))  # fmt: skip


def test_bus_0_sees_all_and_each_reader_sees_each_event(mount):
    with mount.opened("0u") as every, mount.opened("1u") as one, mount.opened("2u") as other:
        mount.do("type keyboard text=a")
        assert [os.read(every, 8192) for _ in range(4)] == [os.read(one, 8192) for _ in range(4)]
        os.set_blocking(other, False)
    with mount.opened("2u", os.O_NONBLOCK) as other, pytest.raises(BlockingIOError):
        os.read(other, 8192)


def test_without_waiting_there_is_eagain(mount):
    with mount.opened("1u", os.O_NONBLOCK) as file:
        with pytest.raises(OSError, match="unavailable") as caught:
            os.read(file, 8192)
        assert caught.value.errno == errno.EAGAIN
        mount.do("type keyboard text=a")

        def came() -> bool:
            with contextlib.suppress(BlockingIOError):
                return bool(LINE.fullmatch(os.read(file, 8192)))
            return False

        until(came)


def test_who_comes_later_sees_what_comes_later(mount):
    with mount.opened("1u") as early:
        mount.do("type keyboard text=a")
        first = [os.read(early, 8192) for _ in range(4)]
        with mount.opened("1u") as late:
            mount.do("type keyboard text=b")
            assert os.read(late, 8192) == os.read(early, 8192) != first[0]


def test_statistics_count_and_tell_what_text_readers_lost(mount):
    with mount.opened("1u"):
        mount.do("type keyboard text=abcdefghijklmnopqrstuvwxyz0123456789")
        pattern = re.compile(r"nreaders 1 events (\d+) text_lost (\d+)\n")

        def lost() -> bool:
            found = pattern.fullmatch((mount.usbmon / "1s").read_text())
            assert found is not None
            return int(found[2]) > 0

        until(lost)
    assert (mount.usbmon / "1s").read_text().startswith("nreaders 0 events ")


def test_a_reader_that_is_killed_leaves_nothing_hung(mount):
    readers = [subprocess.Popen(["cat", mount.usbmon / "1u"], stdout=-3) for _ in range(3)]
    until(lambda: "nreaders 3 " in (mount.usbmon / "1s").read_text())
    for reader, number in zip(
        readers, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), strict=True
    ):
        reader.send_signal(number)
        reader.wait(SECONDS)
    until(lambda: "nreaders 0 " in (mount.usbmon / "1s").read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unmounts_it_though_readers_wait(mount, number):
    with subprocess.Popen(["cat", mount.usbmon / "1u"], stdout=-3, stderr=-3) as reader:
        until(lambda: "nreaders 1 " in (mount.usbmon / "1s").read_text())
        assert mount.end(number) == 0
        reader.wait(SECONDS)


def test_unmounted_from_outside_it_ends(mount):
    subprocess.run(["fusermount3", "-u", mount.folder], check=True)
    assert mount.process.wait(SECONDS) == 0


def test_shell_tools_read_it(mount):
    first = subprocess.Popen(["head", "-n", "1", mount.usbmon / "1u"], stdout=-1)
    until(lambda: "nreaders 1 " in (mount.usbmon / "1s").read_text())
    mount.do("type keyboard text=a")
    assert LINE.fullmatch(first.communicate(timeout=SECONDS)[0])
    dd = subprocess.run(
        ["dd", f"if={mount.usbmon}/1u", "iflag=nonblock", "count=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert dd.returncode == 1
    assert "Resource temporarily unavailable" in dd.stderr


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("nonsense", "do is to be one of plug, unplug, "),
        ("type keyboard", "type needs text"),
        ("type nobody text=a", "no device is called 'nobody'"),
        ("type 'keyboard", "No closing quotation"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_and_told(mount, step, message):
    with pytest.raises(OSError, match="Invalid argument"):
        mount.do(step)
    assert mount.end(signal.SIGINT) == 0
    assert message in mount.process.stderr.read()


def test_comments_and_several_steps_at_once(mount):
    with mount.opened("1u") as file:
        mount.do("# first\ntype keyboard text=a\n\n")
        assert LINE.fullmatch(os.read(file, 8192))


def test_nothing_else_can_be_written_or_made(mount):
    for path in (mount.usbmon / "1u", mount.folder / "devices", mount.folder / "new"):
        with pytest.raises(OSError, match=r"denied|not implemented|Read-only|not permitted"):
            path.write_text("x")
    with pytest.raises(FileNotFoundError):
        (mount.usbmon / "9u").read_bytes()
