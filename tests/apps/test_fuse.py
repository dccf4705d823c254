"""The facility as files: its operations in this process, on a bus whose time is ours; and a real
mount, used as a shell would use it, for what only that can show. It needs FUSE (on Debian: fuse3),
which scripts/test installs."""

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
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

import usbmon as library
from tests.helpers.command import process
from usbmon.apps.fuse import Facility
from usbmon.bus.loop import SECOND
from usbmon.sources.scenario import Scenario, Stage
from usbmon.sources.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ["0s", "0u", "1s", "1t", "1u", "2s", "2t", "2u"]
NEW = re.compile(rb"[0-9a-f]{16} \d+ [SC] [CIB][io]:[12]:\d{3}:\d+ [^\n]+\n")
OLD = re.compile(rb"[0-9a-f]{16} \d+ [SC] [CIB][io]:\d{3}:\d{2} [^\n]+\n")
BIG = 8192
SECONDS = 30

# In this process.


class Files:
    """A facility that nothing is mounted for: a keyboard on bus 1 and a flash key on bus 2, where
    time goes on in `run` only."""

    def __init__(self, folder: Path) -> None:
        devices = {"keyboard": ("keyboard", {}), "key": ("flash", {"speed": "5000"})}
        self.stage = Stage(Scenario(devices, [], folder=folder))
        self.run(5)
        self.told: list[str] = []
        self.facility = Facility(self.stage, self.told.append, lambda: None)

    def run(self, seconds: float = 1) -> None:
        self.stage.loop.run(self.stage.loop.now + round(seconds * SECOND))

    def open(self, path: str, flags: int = os.O_RDONLY) -> SimpleNamespace:
        file = SimpleNamespace(flags=flags)
        assert self.facility.open(path, file) == 0
        return file

    def read(self, file: SimpleNamespace, size: int = BIG) -> bytes:
        return self.facility.read("", size, 0, file)

    def lines(self, file: SimpleNamespace) -> list[bytes]:
        """All that there is."""
        file.flags |= os.O_NONBLOCK
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.read(file))
        return found

    def statistics(self, name: str = "1s") -> bytes:
        return self.read(self.open(f"/usbmon/{name}"))

    def do(self, steps: str) -> None:
        data = steps.encode()
        file = self.open("/do", os.O_WRONLY)
        assert self.facility.write("/do", data, 0, file) == len(data)
        self.run()


@pytest.fixture
def files(tmp_path, monkeypatch) -> Files:
    monkeypatch.setattr("mfusepy.fuse_get_context", lambda: (1, 2, 3))
    return Files(tmp_path)


def test_there_is_what_is_listed_and_nothing_else(files):
    facility = files.facility
    assert facility.readdir("/", None) == [".", "..", "devices", "do", "usbmon"]
    assert facility.readdir("/usbmon", None) == [".", "..", *NAMES]
    modes = {name: facility.getattr(f"/usbmon/{name}")["st_mode"] for name in NAMES}
    assert {stat.filemode(mode) for mode in modes.values()} == {"-r--------"}
    assert stat.filemode(facility.getattr("/usbmon")["st_mode"]) == "dr-xr-xr-x"
    for path in ("/0s", "/usbmon/0t", "/usbmon/3u", "/usbmon/devices", "/usbmon/1u/1u", "/.."):
        with pytest.raises(FileNotFoundError):
            facility.getattr(path)


@pytest.mark.parametrize("path", ["/devices", "/usbmon/0s", "/usbmon/1t", "/usbmon/2u"])
def test_what_is_there_to_be_read_is_not_written_to(files, path):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        with pytest.raises(PermissionError):
            files.open(path, flags)
    with pytest.raises(PermissionError):
        files.facility.truncate(path, 0)
    assert files.statistics() == b"nreaders 0 events 0 text_lost 0\n"


def test_what_is_there_to_be_written_to_is_not_read(files):
    with pytest.raises(PermissionError):
        files.open("/do")


def test_no_file_can_be_sought_in_or_kept_in_a_cache(files):
    for path in ("/devices", "/usbmon/1u"):
        file = files.open(path)
        assert (file.direct_io, file.nonseekable) == (1, 1)


def test_devices_are_listed_as_they_were_at_the_opening(files):
    file = files.open("/devices")
    files.do("unplug keyboard")
    listing = files.read(file)
    assert b"S:  Product=Keyboard\n" in listing
    assert files.facility.read("", 20, 10, file) == listing[10:30]
    assert files.facility.read("", BIG, len(listing), file) == b""
    assert b"Keyboard" not in files.read(files.open("/devices"))


def test_nothing_is_counted_or_kept_while_nobody_reads(files):
    files.do("type keyboard text=a")
    assert files.statistics() == b"nreaders 0 events 0 text_lost 0\n"
    file = files.open("/usbmon/1u")
    assert files.lines(file) == []
    files.do("type keyboard text=a")
    assert files.statistics() == b"nreaders 1 events 4 text_lost 0\n"
    files.facility.release("", file)
    files.do("type keyboard text=a")
    assert files.statistics() == b"nreaders 0 events 4 text_lost 0\n"
    assert {controller.tap for controller in files.stage.host.controllers} == {None}


def test_each_reader_sees_each_event_of_its_bus_from_its_opening_on(files):
    one, every, other = (files.open(f"/usbmon/{name}") for name in ("1u", "0u", "2u"))
    files.do("type keyboard text=a")
    late = files.open("/usbmon/1u")
    files.do("type keyboard text=b")
    first = files.lines(one)
    assert len(first) == 8
    assert files.lines(late) == first[4:]
    assert files.lines(every) == first
    assert files.lines(other) == []
    files.do("copy key name=x.txt text=hi")
    second = files.lines(other)
    assert second == files.lines(every)
    assert all(NEW.fullmatch(line) for line in first + second)
    assert {line.split()[3].split(b":")[1] for line in second} == {b"2"}
    assert files.lines(one) == []


def test_the_old_format_has_the_same_events_but_no_bus(files):
    old, new = files.open("/usbmon/1t"), files.open("/usbmon/1u")
    files.do("type keyboard text=a")
    before, after = files.lines(old), files.lines(new)
    assert all(OLD.fullmatch(line) for line in before)
    assert [line.split()[:3] for line in before] == [line.split()[:3] for line in after]


def test_a_reader_that_is_too_slow_loses_events_and_is_counted(files):
    slow = files.open("/usbmon/1u")
    files.do("type keyboard text=abcdefghijklmnopqrstuvwxyz")
    files.run(5)
    assert files.statistics() == b"nreaders 1 events 104 text_lost 11\n"
    assert len(files.lines(slow)) == 93


def test_the_bus_waits_for_who_reads_and_for_nobody_else(files, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("usbmon.apps.fuse.time", clock)
    idle, reading = files.open("/usbmon/1u"), files.open("/usbmon/1u")
    clock.now = 10.0
    assert files.lines(reading) == []
    files.stage.do("type", ["keyboard", "text=abcdefghijklmnopqrstuvwxyz"])
    end = files.stage.loop.now + 10 * SECOND
    found = []
    while files.stage.loop.now < end:
        files.stage.loop.run(end, stop=files.facility._is_too_fast)
        found.append(len(files.lines(reading)))
    assert sum(found) == 104
    assert max(found) < 40
    assert len(files.lines(idle)) == 93
    assert files.statistics() == b"nreaders 2 events 104 text_lost 11\n"


def test_a_read_waits_until_an_event_comes(files, monkeypatch):
    waits = threading.Event()
    monkeypatch.setattr(files.facility, "_is_interrupted", lambda: bool(waits.set()))
    file = files.open("/usbmon/1u")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(files.read(file)))
    reader.start()
    assert waits.wait(SECONDS)
    assert got == []
    with files.facility._changed:
        files.do("type keyboard text=a")
    reader.join(SECONDS)
    assert [bool(NEW.fullmatch(line)) for line in got] == [True]


def test_a_reader_that_is_interrupted_loses_nothing(files, monkeypatch):
    monkeypatch.setattr(files.facility, "_is_interrupted", lambda: True)
    file = files.open("/usbmon/1u")
    with pytest.raises(InterruptedError):
        files.read(file)
    files.do("type keyboard text=a")
    assert len(files.lines(file)) == 4


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("nonsense", "do is to be one of plug, unplug, "),
        ("type keyboard", "type needs text"),
        ("type nobody text=a", "no device is called 'nobody'"),
        ("type 'keyboard", "No closing quotation"),
        ("type keyboard text=a x=1", "and no 'x'"),
        ("wait seconds=" + "[" * 5000, "maximum recursion depth exceeded"),
        ("\0\ufffd", "do is to be one of plug, unplug, "),
    ],
    ids=["verb", "argument", "device", "quotes", "unknown", "depth", "bytes"],
)
def test_a_step_that_makes_no_sense_is_refused_and_told(files, step, message):
    with pytest.raises(OSError, match="Invalid argument") as caught:
        files.do(step)
    assert caught.value.errno == errno.EINVAL
    assert len(files.told) == 1
    assert files.told[0].startswith("do: ")
    assert message in files.told[0]


def test_steps_may_be_several_with_comments_and_empty_lines(files):
    file = files.open("/usbmon/1u")
    files.do("# first\ntype keyboard text=a\n\ntype keyboard text='b' # and then\n")
    assert len(files.lines(file)) == 8
    assert files.told == []


VALUES = ["", "-1", "nan", "inf", "1e99", "true", "[1]", "{a=1}", "'é'", "key", "keyboard"]
KEYS = ["device", "seconds", "size", "x", "hub", "file", "name", "notches"]
WORDS = st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES))
STEPS = st.builds(
    lambda verb, words: " ".join([verb, *words]).encode(),
    st.sampled_from(list(VERBS)),
    st.lists(WORDS | st.sampled_from(["key", "keyboard", "text=é"]), max_size=3),
)


@given(st.binary(max_size=40) | STEPS)
def test_whatever_is_written_is_done_or_refused_and_the_bus_goes_on(tmp_path_factory, data):
    files = Files(tmp_path_factory.getbasetemp() / "missing")
    file = files.open("/do", os.O_WRONLY)
    refused = None
    try:
        assert files.facility.write("/do", data, 0, file) == len(data)
    except OSError as error:
        refused = error.errno
    assert (refused, len(files.told)) in {(None, 0), (errno.EINVAL, 1)}
    files.run()


# On a real mount.


def until(condition: Callable[[], object]) -> None:
    """Wait for something outside of this process; fails when it does not come."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.01)


class Mount:
    """A context: `usbmon mount usb --with …` in this folder, until it ends or is ended."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder / "usb"
        self.folder.mkdir()
        self.usbmon = self.folder / "usbmon"
        self._words = [sys.executable, "-m", "usbmon", "mount", "usb", "--with", device]
        self._log = folder / "stderr"

    @property
    def said(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(self._words, stderr=log, cwd=self.folder.parent)
        until(lambda: self.usbmon.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGINT)

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.has_ended()

    def has_ended(self) -> None:
        assert self.process.wait(SECONDS) == 0, self.said
        assert not os.path.ismount(self.folder)

    def do(self, step: str) -> None:
        (self.folder / "do").write_text(step + "\n")

    def readers(self, count: int) -> None:
        """Wait until so many read bus 1."""
        until(lambda: (self.usbmon / "1s").read_text().startswith(f"nreaders {count} "))

    @contextlib.contextmanager
    def opened(self, name: str, flags: int = 0) -> Iterator[int]:
        number = os.open(self.usbmon / name, os.O_RDONLY | flags)
        try:
            yield number
        finally:
            os.close(number)


def started(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Iterator[Mount]:
    """With devices that do nothing by themselves, and are there."""
    folder = tmp_path_factory.mktemp("mount")
    (folder / "still.toml").write_text('[devices.keyboard]\n[devices.key]\nmodel = "flash"\n')
    (folder / "notes.txt").write_text("beside the scenario")
    with Mount(folder, "still.toml") as mount:
        until(lambda: "Driver=usb-storage" in (mount.folder / "devices").read_text())
        until(lambda: "Driver=usbhid" in (mount.folder / "devices").read_text())
        yield mount


@pytest.fixture
def mount(still) -> Iterator[Mount]:
    """The one of `still`, with nobody reading before and after."""
    yield still
    still.readers(0)  # Linux tells of a file's closing some time after it


def test_the_five_steps_of_the_document(tmp_path):
    out = tmp_path / "1.mon.out"
    with Mount(tmp_path, "keyboard") as mount:
        # 1. Verify that bus sockets are present.
        listed = subprocess.run(["ls", mount.usbmon], capture_output=True, text=True, check=True)
        assert listed.stdout.split() == NAMES
        # 2. Find which bus connects to the desired device.
        until(lambda: "Product=Keyboard" in (mount.folder / "devices").read_text())
        before = (mount.folder / "devices").read_text().partition("S:  Product=Keyboard")[0]
        bus = int(re.findall(r"T:  Bus=(\d+)", before)[-1])
        # 3. Start cat.
        with out.open("wb") as file:
            cat = subprocess.Popen(["cat", mount.usbmon / f"{bus}u"], stdout=file)
        mount.readers(1)
        # 4. Perform the desired operation on the USB bus.
        mount.do("type keyboard text=hello")
        until(lambda: out.read_bytes().count(b" C Ii:") >= 10)
        # 5. Kill cat.
        cat.send_signal(signal.SIGINT)
        cat.wait(SECONDS)
    shown = process("show", "--strict", out)
    assert (shown.returncode, shown.stderr) == (0, b"")
    events = library.read(out)
    assert {event.busnum for event in events} == {bus}
    pressed = [e.data[2] for e in events if e.type == "C" and e.epnum == 0x81 and e.data[2]]
    assert len(pressed) >= 5


def test_it_belongs_to_who_asks_and_has_no_size(mount):
    for path in (mount.folder, mount.usbmon, mount.usbmon / "1u", mount.folder / "do"):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_size) == (os.getuid(), os.getgid(), 0)
    assert stat.filemode((mount.usbmon / "1u").stat().st_mode) == "-r--------"


@pytest.mark.parametrize("name", ["1u", "1t", "0u"])
def test_an_event_a_read(mount, name):
    with mount.opened(name) as file:
        mount.do("type keyboard text=a")
        lines = [os.read(file, BIG) for _ in range(4)]
    assert all((OLD if name == "1t" else NEW).fullmatch(line) for line in lines)
    assert [line.split()[2] for line in lines] == [b"C", b"S", b"C", b"S"]


def test_a_small_buffer_gets_the_line_in_pieces(mount):
    with mount.opened("1u") as file:
        mount.do("type keyboard text=a")
        for _ in range(4):
            pieces = [os.read(file, 10)]
            while not pieces[-1].endswith(b"\n"):
                pieces.append(os.read(file, 10))
            assert NEW.fullmatch(b"".join(pieces))
            assert {len(piece) for piece in pieces[:-1]} == {10}


def test_without_waiting_there_is_eagain(mount):
    with mount.opened("1u", os.O_NONBLOCK) as file, pytest.raises(BlockingIOError):
        os.read(file, BIG)
    words = ["dd", f"if={mount.usbmon}/1u", "iflag=nonblock", "count=1"]
    dd = subprocess.run(words, capture_output=True, text=True, check=False)
    assert dd.returncode == 1
    assert "Resource temporarily unavailable" in dd.stderr


def test_no_file_can_be_sought_in(mount):
    with mount.opened("1u") as file, pytest.raises(OSError, match="Illegal seek"):
        os.lseek(file, 1, os.SEEK_SET)


@pytest.mark.parametrize("words", [["head", "-n", "1"], ["tail", "-n", "+1", "-f"]])
def test_who_waits_for_a_line_gets_it_at_once(mount, words):
    with started(*words, mount.usbmon / "1u") as reader:
        mount.readers(1)
        mount.do("type keyboard text=a")
        assert NEW.fullmatch(reader.stdout.readline())
        reader.kill()


def test_readers_that_are_killed_leave_nothing_hung(mount):
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    readers = [started("cat", mount.usbmon / "1u") for _ in signals]
    mount.readers(3)
    for reader, number in zip(readers, signals, strict=True):
        reader.send_signal(number)
        reader.communicate(timeout=SECONDS)
    mount.readers(0)


def test_a_shell_does_a_step(mount):
    with mount.opened("1u") as file:
        script = "echo 'copy key file=notes.txt' > do && echo 'wait seconds=0' >> do"
        subprocess.run(["sh", "-c", script], cwd=mount.folder, check=True)
        beginning = "beside the scenario"[:4].encode().hex().encode()
        until(lambda: beginning in os.read(file, BIG))
    with pytest.raises(OSError, match="Invalid argument"):
        mount.do("nonsense")
    assert "usbmon: do: still.toml: do is to be one of plug, unplug, " in mount.said


@pytest.mark.parametrize("path", ["usbmon/1u", "usbmon/1s", "devices"])
@pytest.mark.parametrize("how", ["w", "a", "r+"])
def test_a_write_to_anything_else_is_refused(mount, path, how):
    with pytest.raises(PermissionError):
        (mount.folder / path).open(how)


def test_nothing_can_be_made_or_removed(mount):
    for change in (Path.touch, Path.mkdir):
        with pytest.raises(OSError, match="not implemented"):
            change(mount.usbmon / "3u")
    with pytest.raises(OSError, match="not implemented"):
        (mount.usbmon / "1u").unlink()
    assert sorted(path.name for path in mount.usbmon.iterdir()) == NAMES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unmounts_it_though_some_read_and_some_only_hold_files(tmp_path, number):
    with Mount(tmp_path, "keyboard") as mount, started("cat", mount.usbmon / "2u") as reader:
        until(lambda: (mount.usbmon / "2s").read_text().startswith("nreaders 1 "))
        with mount.opened("1u"), mount.opened("1s"):
            mount.end(number)
        reader.communicate(timeout=SECONDS)
    assert reader.returncode == 1


def test_unmounted_from_outside_it_ends(tmp_path):
    with Mount(tmp_path, "keyboard") as mount:
        subprocess.run(["fusermount3", "-u", mount.folder], check=True)
        mount.has_ended()


def test_a_step_of_the_scenario_that_fails_is_told_and_the_others_go_on(tmp_path):
    (tmp_path / "bad.toml").write_text(
        "[devices.keyboard]\n[devices.mouse]\n"
        '[[step]]\nat = 0\ndo = "plug"\ndevice = "mouse"\nhub = "keyboard"\n'
        '[[step]]\nat = 0\ndo = "type"\ndevice = "keyboard"\ntext = "abcdefghijklmnopqrst"\n'
    )
    with Mount(tmp_path, "bad.toml") as mount, mount.opened("1u") as file:
        until(lambda: b" C Ii:1:" in os.read(file, BIG))
        until(lambda: "usbmon: bad.toml: step 1: plug: 'keyboard' is no hub\n" in mount.said)
