"""Devices come and go in a sysfs of ours."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.helpers.corpus import CAPTURES
from tests.helpers.sysfs import Sysfs, recorded
from usbmon.devices import sysfs
from usbmon.sources.hotplug import Watcher

FOLDER = CAPTURES / "devices"


@pytest.fixture
def tree(tmp_path):
    made = Sysfs(tmp_path / "sys")
    made.add(*recorded(FOLDER, "hid-xhci-1-1"))
    return made


def changes(watcher):
    return [(change.kind, change.device.sysname) for change in watcher.poll()]


def test_what_is_there_already_is_no_change(tree):
    watcher = Watcher(tree.root)
    assert [device.sysname for device in watcher.devices] == ["1-1"]
    assert changes(watcher) == []
    assert watcher.fileno() is None


def test_plug_and_unplug(tree):
    watcher = Watcher(tree.root)
    tree.add(*recorded(FOLDER, "hid-xhci-1-2"))
    (change,) = watcher.poll()
    assert (change.kind, change.device.product) == ("added", "QEMU USB Mouse")
    assert changes(watcher) == []
    tree.remove("1-1")
    (change,) = watcher.poll()
    assert (change.kind, change.device.product) == ("removed", "QEMU USB Keyboard")
    assert [device.sysname for device in watcher.devices] == ["1-2"]


def test_removals_come_first(tree):
    watcher = Watcher(tree.root)
    tree.add(*recorded(FOLDER, "hid-xhci-1-2"))
    tree.add(*recorded(FOLDER, "hid-xhci-1-3"))
    tree.remove("1-1")
    assert changes(watcher) == [("removed", "1-1"), ("added", "1-2"), ("added", "1-3")]


def test_another_device_at_the_same_place_between_two_looks(tree):
    watcher = Watcher(tree.root)
    told, raw = recorded(FOLDER, "hid-xhci-1-2")
    # Beside the old one, so that the folder's number is another one for sure.
    tree.add(replace(told, sysname="1-9"), raw)
    tree.remove("1-1")
    for end in ("", ":1.0"):
        (tree.place / f"1-9{end}").rename(tree.place / f"1-1{end}")
    removed, added = watcher.poll()
    assert (removed.kind, removed.device.product) == ("removed", "QEMU USB Keyboard")
    assert (added.kind, added.device.product) == ("added", "QEMU USB Mouse")


def test_another_number(tree):
    watcher = Watcher(tree.root)
    tree.write("1-1/devnum", 9)
    (change,) = watcher.poll()
    assert (change.kind, change.device.devnum) == ("changed", 9)


def test_another_driver_or_none(tree):
    watcher = Watcher(tree.root)
    tree.bind("1-1:1.0", "usbfs")
    (change,) = watcher.poll()
    assert (change.kind, change.device.drivers) == ("changed", {0: "usbfs"})
    tree.bind("1-1:1.0", "")
    (change,) = watcher.poll()
    assert (change.kind, change.device.drivers) == ("changed", {})


def test_another_configuration(tree):
    watcher = Watcher(tree.root)
    tree.write("1-1/bConfigurationValue", "")
    (tree.place / "1-1:1.0").unlink()
    (change,) = watcher.poll()
    assert (change.kind, change.device.configuration) == ("changed", 0)


def test_what_is_as_it_was_is_not_read_again(tree, monkeypatch):
    tree.add(*recorded(FOLDER, "hid-xhci-1-2"))
    watcher = Watcher(tree.root)
    read = []
    of_sysfs = sysfs.device

    def counted(place, name, names):
        read.append(name)
        return of_sysfs(place, name, names)

    monkeypatch.setattr(sysfs, "device", counted)
    watcher.poll()
    tree.bind("1-2:1.0", "usbfs")
    watcher.poll()
    assert read == ["1-2"]


def test_a_device_that_is_not_ready_is_told_when_it_is(tree):
    watcher = Watcher(tree.root)
    told, raw = recorded(FOLDER, "hid-xhci-1-2")
    tree.add(told, raw)
    (tree.place / "1-2/devnum").unlink()
    assert changes(watcher) == []
    tree.write("1-2/devnum", 3)
    assert changes(watcher) == [("added", "1-2")]


def test_usb_goes_and_comes(tree):
    watcher = Watcher(tree.root)
    tree.place.rename(tree.root / "away")
    assert changes(watcher) == [("removed", "1-1")]
    assert changes(watcher) == []
    (tree.root / "away").rename(tree.place)
    assert changes(watcher) == [("added", "1-1")]


def test_hubs_are_told_with_their_numbers(tree):
    watcher = Watcher(tree.root)
    told, raw = recorded(FOLDER, "hid-xhci-1-2")
    tree.add(replace(told, sysname="1-1.4", level=2, devnum=7), raw)
    (change,) = watcher.poll()
    assert (change.device.parent, change.device.level, change.device.port) == (2, 2, 4)


class FakeMonitor:
    """pyudev's, with two messages waiting."""

    def __init__(self):
        self.waiting = ["add", "bind"]
        self.asked = []

    def filter_by(self, subsystem):
        self.asked.append(subsystem)

    def start(self):
        self.asked.append("start")

    def fileno(self):
        return 42

    def poll(self, timeout):
        assert timeout == 0
        return self.waiting.pop() if self.waiting else None


def test_pyudev_wakes_whoever_waits(tree, monkeypatch):
    monitor = FakeMonitor()
    listening = SimpleNamespace(from_netlink=lambda _context, source: monitor)
    monkeypatch.setitem(sys.modules, "pyudev", SimpleNamespace(Monitor=listening, Context=list))
    monkeypatch.setattr(sysfs, "folder", lambda _root: tree.place)
    watcher = Watcher()
    assert watcher.fileno() == 42
    assert monitor.asked == ["usb", "start"]
    assert changes(watcher) == []
    assert monitor.waiting == []


@pytest.mark.parametrize("error", [ImportError("no libudev"), OSError("no netlink")])
def test_without_pyudev_a_timer_has_to_do(tree, monkeypatch, error):
    def refuse():
        raise error

    listening = SimpleNamespace(from_netlink=lambda _context, source: FakeMonitor())
    monkeypatch.setitem(sys.modules, "pyudev", SimpleNamespace(Monitor=listening, Context=refuse))
    monkeypatch.setattr(sysfs, "folder", lambda _root: tree.place)
    assert Watcher().fileno() is None
