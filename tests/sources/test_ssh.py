"""The source `ssh:`, with a shell of this machine in place of ssh, and a folder in place of its
root: the command that is run there is the real one."""

import os

import pytest

from tests.helpers.corpus import CAPTURES
from usbmon import Events, SourceError, read, sources

RUN = CAPTURES / "hid-xhci"


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The other machine: a folder for its files, reached by a fake ssh."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (root / "sys/kernel/debug/usb/usbmon").mkdir(parents=True)
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nfor last; do :; done\nexport USBMON_ROOT={root}\nexec sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("USBMON_SSH", str(ssh))
    return root


def fifo(path, data):
    """A file that gives these bytes, then waits for more; returns what keeps it open."""
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)
    os.write(keep, data)
    return keep


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("usbmon1.read.bin", "dev/usbmon1", "by records"),
        ("1u.txt", "sys/kernel/debug/usb/usbmon/1u", "by text"),
    ],
)
def test_what_is_read_there_comes_here_and_nothing_is_lost_at_the_end(there, name, place, words):
    data = (RUN / name).read_bytes()
    keep = fifo(there / place, data[:60_000])
    said = []
    with sources.open("ssh:me@board/1", report=said.append) as source:
        batches = iter(source)
        got = [next(batches)]
        while not sum(map(len, got)):
            got.append(next(batches))
        source.stop()
        got += batches
    os.close(keep)
    events = Events.concat(got)
    whole = read(RUN / name)
    assert len(events) > 50
    assert events[: len(events) - 1] == whole[: len(events) - 1]
    assert said[0].startswith("me@board: Linux ")
    assert said[0].endswith(words)
    assert source.interfaces[0].description.startswith("me@board, Linux ")


def test_a_reader_that_ends_there_is_told_when_all_events_were_given(there):
    keep = fifo(there / "dev/usbmon1", (RUN / "usbmon1.read.bin").read_bytes()[:48000])
    with sources.open("ssh:board/1") as source:
        batches = iter(source)
        got = [next(batches)]
        while not sum(map(len, got)):
            got.append(next(batches))
        os.close(keep)
        with pytest.raises(SourceError, match="ssh:board: the connection has ended"):
            got.extend(batches)
    assert sum(map(len, got)) > 50


def test_a_machine_without_usbmon_is_told_what_to_do_there(there):
    with pytest.raises(SourceError, match="no usbmon there, or no such bus; there, as root"):
        sources.open("ssh:board/7")


def test_no_connection_is_one_line(tmp_path, monkeypatch):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho no route >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("USBMON_SSH", str(ssh))
    with pytest.raises(SourceError, match=r"ssh:board: no connection \(ssh failed, see above\)"):
        sources.open("ssh:board/1")


def test_no_ssh_at_all(monkeypatch):
    monkeypatch.setenv("USBMON_SSH", "/no/such/ssh")
    with pytest.raises(SourceError, match="cannot run /no/such/ssh: it is not there"):
        sources.open("ssh:board/1")


@pytest.mark.parametrize("rest", ["", "board", "board/", "board/x", "/1", "-oProxy=x/1", "a b/1"])
def test_what_is_no_place_is_refused(rest):
    with pytest.raises(SourceError, match=r"write it as ssh:\[USER@\]HOST"):
        sources.open(f"ssh:{rest}")
