"""sysfs, as it stands, as it changes under the reader, and as it must not be."""

import os
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from tests.helpers.sysfs import Sysfs, recorded
from usbmon.devices import listing, sysfs
from usbmon.errors import SourceError

FOLDER = CAPTURES / "devices"
REPORT = bytes.fromhex("05010906a101c0")


def test_what_is_read(tmp_path):
    tree = Sysfs(tmp_path)
    told, raw = recorded(FOLDER, "hid-xhci-1-1")
    tree.add(told, raw, {0: REPORT})
    tree.write("1-1/configuration", "HID Keyboard")
    tree.write("1-1/bos_descriptors", "")
    (device,) = sysfs.snapshot(tmp_path)
    assert (device.busnum, device.devnum, device.sysname) == (1, 2, "1-1")
    assert (device.level, device.port, device.parent) == (1, 1, None)
    assert (device.speed, device.maxchild, device.configuration) == ("480", 0, 1)
    assert device.descriptor + b"".join(device.configurations) == raw
    assert device.strings == {
        1: "QEMU",
        4: "QEMU USB Keyboard",
        8: "HID Keyboard",
        11: "68284-0000:00:05.0-1",
    }
    assert (device.alternates, device.drivers) == ({0: 0}, {0: "usbhid"})
    assert device.reports == {0: REPORT}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.bin")), ids=lambda path: path.stem)
def test_a_device_of_sysfs_is_listed_as_the_kernel_listed_it(tmp_path, path):
    told, raw = recorded(FOLDER, path.stem)
    Sysfs(tmp_path).add(told, raw)
    listed = listing.write(sysfs.snapshot(tmp_path)).strip("\n").splitlines()
    assert listed[1:] == path.with_suffix(".txt").read_text().strip("\n").splitlines()[1:]


def test_hubs_and_what_is_behind_them(tmp_path):
    tree = Sysfs(tmp_path)
    told, raw = recorded(FOLDER, "hid-xhci-1-1")
    places = (("usb1", 1, 0), ("1-1", 1, 1), ("1-1.3", 1, 2), ("2-4.1", 2, 2))
    for number, (name, bus, level) in enumerate(places, 5):
        place = {"sysname": name, "busnum": bus, "level": level}
        tree.add(replace(told, devnum=number, **place), raw)
    devices = sysfs.snapshot(tmp_path)
    assert [(d.sysname, d.parent, d.level, d.port) for d in devices] == [
        ("usb1", 0, 0, 0),
        ("1-1", 5, 1, 1),
        ("1-1.3", 6, 2, 3),
        ("2-4.1", None, 2, 1),
    ]
    assert devices[0].drivers == {0: "usbhid"}  # its interface is 1-0:1.0


def test_alternate_settings_and_their_strings(tmp_path):
    tree = Sysfs(tmp_path)
    tree.add(*recorded(FOLDER, "audio-xhci-1-1"))
    tree.write("1-1:1.1/bAlternateSetting", " 1")
    tree.write("1-1:1.1/interface", "Audio Output - 48 kHz Stereo")
    (device,) = sysfs.snapshot(tmp_path)
    assert device.alternates == {0: 0, 1: 1}
    assert device.strings[10] == "Audio Output - 48 kHz Stereo"
    assert device.drivers == {0: "snd-usb-audio", 1: "snd-usb-audio"}


def test_a_device_that_is_not_configured(tree):
    tree.write("1-1/bConfigurationValue", "")
    device = sysfs.snapshot(tree.root)[0]
    assert (device.configuration, device.active) == (0, None)


def test_a_copy_of_the_tree_or_of_its_folder_alone(tree, tmp_path):
    expected = sysfs.snapshot(tree.root)
    shutil.copytree(tree.place, tmp_path / "copy", symlinks=False)
    ours = sysfs.snapshot(tmp_path / "copy")
    assert [replace(device, drivers={}) for device in expected] == [
        replace(device, drivers={}) for device in ours
    ]


def test_buses_with_nothing_on_them(tmp_path):
    Sysfs(tmp_path)
    assert sysfs.snapshot(tmp_path) == []


def test_no_usb_is_said_in_a_line(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=f"^{tmp_path}: no devices of sysfs here"):
        sysfs.snapshot(tmp_path)
    monkeypatch.setattr(sysfs, "entries", lambda _place: [])
    monkeypatch.setattr(sysfs.Path, "is_dir", lambda _path: False)
    with pytest.raises(SourceError, match=r"^/sys/bus/usb/devices: this machine has no USB"):
        sysfs.snapshot()


FILES = (
    "busnum",
    "devnum",
    "speed",
    "maxchild",
    "bConfigurationValue",
    "manufacturer",
    "descriptors",
)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_costs_only_what_it_held(tree, name):
    (tree.place / "1-1" / name).unlink()
    devices = sysfs.snapshot(tree.root)
    needed = name in ("busnum", "devnum")
    names = [device.sysname for device in devices]
    assert names == ["1-2", "1-3"] if needed else ["1-1", "1-2", "1-3"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"-1\n", b"9" * 5000, b"\0" * 70000, b"\x12\x01\n\n"]
)
def test_a_file_that_holds_something_else(tree, name, content):
    (tree.place / "1-1" / name).write_bytes(content)
    devices = sysfs.snapshot(tree.root)
    assert [device.sysname for device in devices][-2:] == ["1-2", "1-3"]
    listing.write(devices)


def test_folders_for_files_and_links_to_nowhere(tree):
    for name in ("speed", "descriptors"):
        (tree.place / "1-1" / name).unlink()
        (tree.place / "1-1" / name).mkdir()
    (tree.place / "1-9").symlink_to(tree.root / "gone")
    (tree.place / "1-2:1.0" / "driver").unlink()
    (tree.place / "1-2:1.0" / "driver").write_text("no link")
    (tree.place / "1-3:1.0" / "bInterfaceNumber").write_text("zz")
    devices = sysfs.snapshot(tree.root)
    assert [(d.sysname, d.speed, d.drivers) for d in devices] == [
        ("1-1", "", {0: "usbhid"}),
        ("1-2", "480", {}),
        ("1-3", "480", {}),
    ]


def test_a_device_that_goes_while_it_is_read(tree, monkeypatch):
    """At each of the files in turn."""
    opened = sysfs._bytes
    counts = set()
    for number in range(30):
        left = [number]

        def read(at, left=left):
            if left[0] == 0 and (tree.place / "1-1").exists():
                os.rename(tree.place / "1-1", tree.root / "away")  # noqa: PTH104
            left[0] -= 1
            return opened(at)

        monkeypatch.setattr(sysfs, "_bytes", read)
        counts.add(len(sysfs.snapshot(tree.root)))
        if (tree.root / "away").is_symlink():
            os.rename(tree.root / "away", tree.place / "1-1")  # noqa: PTH104
    assert counts == {2, 3}


@given(st.binary(max_size=60))
def test_any_descriptors(raw):
    text = sysfs._strings(sysfs.Device(busnum=1, devnum=1, descriptor=raw[:18]), "x", {})
    assert all(text.values())


def test_what_may_not_be_read_is_left_out(tree, monkeypatch):
    def refuse(path, *_args, **_more):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sysfs.Path, "open", refuse)
    assert sysfs.snapshot(tree.root) == []
