"""The source `ssh:`, with a shell of this machine in place of ssh, and a folder in place of its
root: the script that is run there is the real one."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.helpers.corpus import CAPTURES
from usbmon import Events, SourceError, read, sources
from usbmon.sources.ssh import Target

RUN = CAPTURES / "hid-xhci"
DEBUGFS = "sys/kernel/debug/usb/usbmon"
SHELLS = [name for name in ("sh", "dash", "bash", "busybox") if shutil.which(name)]
TCPDUMP = """#!/bin/sh
[ "$1" != -L ] || exit 0
trap 'echo "2 packets dropped by kernel" >&2; exit 0' TERM
cat {}
while :; do sleep 0.05; done
"""


class There:
    """The other machine: a folder for its files, reached by a fake ssh."""

    def __init__(self, folder) -> None:
        self.root, self.bin, self.ssh = folder / "root", folder / "bin", folder / "ssh"
        for place in ("dev", DEBUGFS, "proc", "sys/bus/usb/devices"):
            (self.root / place).mkdir(parents=True)
        self.bin.mkdir()
        self.write("proc/uptime", "5000.12 1000.00\n")
        self.program("tcpdump", "#!/bin/sh\nexit 1\n")
        self.run("exec env --default-signal sh -s")  # signals ignored here are not there
        self._kept: list[int] = []

    def write(self, name: str, content: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def program(self, name: str, content: str) -> None:
        (self.bin / name).write_text(content)
        (self.bin / name).chmod(0o755)

    def run(self, command: str) -> None:
        self.ssh.write_text(
            f"#!/bin/sh\nexport USBMON_ROOT={self.root} PATH={self.bin}:$PATH\n{command}\n"
        )
        self.ssh.chmod(0o755)

    def device(self, name: str, bus: int, number: int, product: str) -> None:
        for file, value in (("busnum", bus), ("devnum", number), ("product", product)):
            self.write(f"sys/bus/usb/devices/{name}/{file}", f"{value}\n")

    def fifo(self, name: str, data: bytes) -> None:
        """A file that gives these bytes, then waits for more."""
        os.mkfifo(self.root / name)
        self._kept.append(os.open(self.root / name, os.O_RDWR))
        os.write(self._kept[-1], data)

    def end(self) -> None:
        """Of those files."""
        while self._kept:
            os.close(self._kept.pop())


@pytest.fixture
def there(tmp_path, monkeypatch):
    machine = There(tmp_path)
    monkeypatch.setenv("USBMON_SSH", str(machine.ssh))
    yield machine
    machine.end()


def until_some(batches) -> list[Events]:
    got = [next(batches)]
    while not any((~events.synthetic).any() for events in got if len(events)):
        got.append(next(batches))
    return got


def real(batches: list[Events]) -> Events:
    events = Events.concat(batches)
    return events[~events.synthetic]


def stopped(spec: str, **options: object) -> tuple[Events, sources.Source]:
    """All that comes when it is stopped after something has."""
    with sources.open(spec, **options) as source:
        batches = iter(source)
        got = until_some(batches)
        source.stop()
        got += batches
    return real(got), source


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("usbmon1.read.bin", "dev/usbmon1", "by cat of the device"),
        ("1u.txt", f"{DEBUGFS}/1u", "by cat of the text"),
    ],
)
def test_all_that_is_there_when_it_is_stopped_comes(there, shell, name, place, words):
    there.run(f"exec {'busybox sh' if shell == 'busybox' else shell} -s")
    there.fifo(place, (RUN / name).read_bytes()[:60_000])
    said: list[str] = []
    events, _ = stopped("ssh:me@board/1", report=said.append)
    whole = read(RUN / name)
    assert len(events) > 50
    assert events[: len(events) - 1] == whole[: len(events) - 1]
    assert said[0].startswith("ssh:me@board: Linux ")
    assert said[0].endswith(words)


def test_tcpdump_is_used_where_it_can_open_the_device(there):
    there.program("tcpdump", TCPDUMP.format(RUN / "usbmon1.pcap"))
    events, source = stopped("ssh:board/1")
    assert events == read(RUN / "usbmon1.pcap")
    assert (source.interfaces[0].dropped, source.dropped) == (2, 2)


def test_what_text_lost_is_counted(there):
    there.write(f"{DEBUGFS}/1s", "nreaders 1 events 368 text_lost 3\n")
    there.fifo(f"{DEBUGFS}/1u", (RUN / "1u.txt").read_bytes()[:8000])
    with sources.open("ssh:board/1") as source:
        batches = iter(source)
        until_some(batches)
        there.write(f"{DEBUGFS}/1s", "nreaders 1 events 400 text_lost 10\n")
        source.stop()
        list(batches)
    assert source.dropped == 7


def test_a_device_is_found_by_its_name_and_only_its_events_come(there):
    there.device("usb1", 1, 1, "Host Controller")
    there.device("1-2", 1, 3, "A Keyboard")
    there.fifo("dev/usbmon1", (RUN / "usbmon1.read.bin").read_bytes()[:60_000])
    events, source = stopped("ssh:board/keyboard")
    assert source.interfaces[0].name == "usbmon1"
    assert set(events.devnum.tolist()) <= {0, 3}
    assert 3 in events.devnum


def test_a_device_that_is_plugged_in_later_is_known_by_its_descriptor(there):
    there.device("usb1", 1, 1, "Host Controller")
    there.write("sys/bus/usb/devices/1-9/busnum", "1\n")
    there.write("sys/bus/usb/devices/1-9/devnum", "99\n")
    (there.root / "sys/bus/usb/devices/1-9/descriptors").write_bytes(
        bytes.fromhex("12010002000000402706010000000102030a01")[:18]
    )
    there.fifo("dev/usbmon1", (RUN / "usbmon1.read.bin").read_bytes()[:48_000])
    with sources.open("ssh:board/0627:0001") as source:
        batches = iter(source)
        got = until_some(batches)
        source.stop()
        got += batches
    assert {1, 99}.isdisjoint(real(got).devnum.tolist())
    assert [remark.text for remark in source.remarks() if remark.text.startswith("added: 1.00")]


def test_a_device_that_is_not_there_is_told_with_those_that_are(there):
    there.device("1-2", 1, 3, "A Keyboard")
    with pytest.raises(SourceError, match=r"no such device there: mouse.*\n.*A Keyboard"):
        sources.open("ssh:board/mouse")


def test_a_reader_that_ends_there_is_told_when_all_events_were_given(there):
    there.fifo("dev/usbmon1", (RUN / "usbmon1.read.bin").read_bytes()[:48_000])
    got: list[Events] = []
    with sources.open("ssh:board/1") as source:
        batches = iter(source)
        got += until_some(batches)
        there.end()
        with pytest.raises(SourceError, match="the capture there ended by itself"):
            got.extend(batches)
    assert len(real(got)) > 50


def test_a_connection_that_is_cut_is_told_when_all_events_were_given(there):
    data = (RUN / "usbmon1.read.bin").read_bytes()[:48_000]
    (there.root / "dev/data").write_bytes(data)
    there.run(
        f"read -r mark; mark=${{mark#T=}}; eval mark=$mark; "
        f'printf "%sready\\n%sway\\nread\\n%sstream\\n" "$mark" "$mark" "$mark"; '
        f"cat {there.root}/dev/data; exit 255"
    )
    got: list[Events] = []
    with (
        sources.open("ssh:board/1") as source,
        pytest.raises(SourceError, match="the connection was cut"),
    ):
        got.extend(source)
    assert len(real(got)) > 50


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "run there, as root: modprobe usbmon"),
        (("dev/usbmon0",), "there is no bus 7, only none"),
        (("sys/module/usbmon/x",), "mount -t debugfs none /sys/kernel/debug"),
        ((f"{DEBUGFS}/7s",), "no permission for bus 7 there: log in as root, .* ssh:board/sudo:7"),
    ],
)
def test_what_keeps_it_from_capturing_there_is_told(there, files, words):
    for name in files:
        there.write(name, "x")
    with pytest.raises(SourceError, match=words):
        sources.open("ssh:board/7")


def test_what_keeps_it_is_told_also_if_it_comes_in_pieces(there, monkeypatch):
    monkeypatch.setattr("usbmon.sources.stream.CHUNK", 1)
    with pytest.raises(SourceError, match="run there, as root: modprobe usbmon"):
        sources.open("ssh:board/7")


@pytest.mark.parametrize(
    ("spec", "command", "words"),
    [
        ("ssh:board/1", "exit 255", "ssh:board: no connection; ssh has said why"),
        ("ssh:board/1", "exit 127", "no shell there: `sh -s` ended with exit code 127"),
        ("ssh:board/sudo:1", "exit 1", r"sudo did not give a shell there \(exit code 1\)"),
        ("ssh:board/1", "head -c 100 /dev/zero", "no shell there"),
    ],
)
def test_no_connection_is_one_line(there, spec, command, words):
    there.run(command)
    with pytest.raises(SourceError, match=words):
        sources.open(spec)


def test_no_ssh_at_all(monkeypatch):
    monkeypatch.setenv("USBMON_SSH", "/no/such/ssh")
    with pytest.raises(SourceError, match="there is no /no/such/ssh on this machine"):
        sources.open("ssh:board/1")


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("board/1", ["ssh", "board", "exec sh -s"]),
        ("me@board:2222/sudo:all", ["ssh", "-p", "2222", "me@board", "exec sudo -n sh -s"]),
        ("[2001:db8::1]:22/1", ["ssh", "-p", "22", "2001:db8::1", "exec sh -s"]),
    ],
)
def test_places_people_write(rest, words):
    assert Target.parse(rest).words(["ssh"]) == words


@pytest.mark.parametrize(
    "rest", ["", "board", "board/", "/1", "-oProxy=x/1", "a@-b/1", "a b/1", "x:99999/1"]
)
def test_what_is_no_place_is_refused(rest):
    with pytest.raises(SourceError, match="no machine and bus; write HOST/1"):
        sources.open(f"ssh:{rest}")
