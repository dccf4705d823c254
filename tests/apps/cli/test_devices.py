"""``usbmon devices``, of trees and texts that were recorded."""

import json

import pytest

from tests.helpers.command import on_terminal, process
from tests.helpers.corpus import CAPTURES
from tests.helpers.sysfs import Sysfs, recorded
from usbmon.apps.cli import _common

FOLDER = CAPTURES / "devices"
HUB = FOLDER / "hub-uhci.devices"

TABLE = """\
bus.dev  id         speed    class    driver       name
1.001    1d6b:0001  12 Mb/s  hub      hub          Linux 6.1 uhci_hcd UHCI Host Controller
1.002    0409:55aa  12 Mb/s  hub      hub          QEMU USB Hub
1.003    0627:0001  12 Mb/s  HID      usbhid       QEMU USB Keyboard
1.004    0403:6001  12 Mb/s  vendor   ftdi_sio     QEMU USB SERIAL
1.005    46f4:0001  12 Mb/s  storage  usb-storage  QEMU USB HARDDRIVE
"""
TREE = """\
bus 1: 1.001 1d6b:0001 Linux 6.1 uhci_hcd UHCI Host Controller, 12 Mb/s, 2 ports
`- port 1: 1.002 0409:55aa QEMU USB Hub, 12 Mb/s, 8 ports
   |- port 1: 1.003 0627:0001 QEMU USB Keyboard, 12 Mb/s
   |     0: Human Interface Device, Boot Interface Subclass, Keyboard (usbhid)
   |- port 2: 1.004 0403:6001 QEMU USB SERIAL, 12 Mb/s
   |     0: Vendor Specific Class (ftdi_sio)
   `- port 3: 1.005 46f4:0001 QEMU USB HARDDRIVE, 12 Mb/s
         0: Mass Storage, SCSI, Bulk-Only (usb-storage)
"""


def shortened(text):
    return text.replace("Linux 6.1.0-56-amd64", "Linux 6.1")


@pytest.fixture
def tree(tmp_path):
    made = Sysfs(tmp_path / "sys")
    for name in ("hid-xhci-1-1", "hid-xhci-1-2"):
        made.add(*recorded(FOLDER, name), {0: b"\x05\x01"})
    return made


def test_a_table(usbmon):
    assert shortened(usbmon("devices", HUB).out) == TABLE


def test_a_tree(usbmon):
    assert shortened(usbmon("devices", HUB, "--tree").out) == TREE


def test_the_kernels_list_of_the_kernels_list_is_the_same(usbmon):
    assert usbmon("devices", HUB, "--text").out == HUB.read_text()


def test_sysfs_or_a_copy_of_it(usbmon, tree):
    table = usbmon("devices", "--sysfs", tree.root).out
    assert table.splitlines()[1:] == [
        "1.002    0627:0001  480 Mb/s  HID    usbhid  QEMU USB Keyboard",
        "1.003    0627:0001  480 Mb/s  HID    usbhid  QEMU USB Mouse",
    ]
    assert usbmon("devices", tree.root).out == table
    assert usbmon("devices", tree.place).out == table


def test_lsusb(usbmon):
    lines = usbmon("devices", FOLDER / "uas-xhci.lsusb").lines
    assert lines[-1] == "2.002    46f4:0003  ?      storage  -       QEMU USB Attached SCSI HBA"
    lines = usbmon("devices", "--tree", FOLDER / "uas-xhci.lsusb").lines
    assert lines[-1] == "   0: Mass Storage, SCSI"


def test_json_has_all_that_is_known(usbmon, tree):
    keyboard, _ = json.loads(usbmon("devices", "--json", tree.root).out)
    raw = (FOLDER / "hid-xhci-1-1.bin").read_bytes()
    assert (keyboard["busnum"], keyboard["devnum"], keyboard["sysname"]) == (1, 2, "1-1")
    assert (keyboard["parent"], keyboard["level"], keyboard["port"]) == (None, 1, 1)
    assert (keyboard["speed"], keyboard["maxchild"]) == ("480", 0)
    assert (keyboard["idVendor"], keyboard["idProduct"], keyboard["bcdUSB"]) == (0x0627, 1, 0x0200)
    assert keyboard["vendor_name"] == "Adomax Technology Co., Ltd"
    assert keyboard["product"] == keyboard["strings"]["4"] == "QEMU USB Keyboard"
    assert (keyboard["descriptors"], keyboard["reports"]) == (raw.hex(), {"0": "0501"})
    (configuration,) = keyboard["configurations"]
    assert (configuration["active"], keyboard["active_configuration"]) == (True, 1)
    (interface,) = configuration["interfaces"]
    assert (interface["active"], interface["driver"]) == (True, "usbhid")
    assert interface["endpoints"] == [
        {
            "bEndpointAddress": 0x81,
            "direction": "in",
            "type": "interrupt",
            "bmAttributes": 3,
            "wMaxPacketSize": 8,
            "bInterval": 7,
        }
    ]


def test_json_of_all_sources_has_the_same_fields(usbmon, tree):
    sources = (tree.root, HUB, FOLDER / "hid-xhci.lsusb")
    fields = {
        tuple(device)
        for source in sources
        for device in json.loads(usbmon("devices", "--json", source).out)
    }
    assert len(fields) == 1


def test_buses_with_nothing_on_them(usbmon, tmp_path):
    Sysfs(tmp_path)
    assert usbmon("devices", tmp_path).out == "no USB devices\n"
    assert usbmon("devices", "--json", tmp_path).out == "[]\n"
    assert usbmon("devices", "--text", tmp_path).out == ""


def test_no_usb_is_one_line(usbmon, tmp_path):
    said = usbmon("devices", "--sysfs", tmp_path, code=1)
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert "no devices of sysfs here" in said.err


def test_what_is_no_list_says_what_to_do(usbmon, tmp_path):
    said = usbmon("devices", CAPTURES / "hid-xhci/1u.txt", code=3)
    assert "neither a list of devices nor the output of lsusb -v" in said.err
    assert "usbmon info FILE" in said.err
    said = usbmon("devices", tmp_path / "nope", code=1)
    assert said.err == f"usbmon: {tmp_path / 'nope'}: No such file or directory\n"


def test_standard_input():
    said = process("devices", "-", input=HUB.read_bytes())
    assert shortened(said.stdout.decode()) == TABLE
    said = process("devices", "-", input=b"\xff" * 1000)
    assert (said.returncode, said.stderr[:32]) == (3, b"usbmon: standard input: neither ")


def test_lines_fit_the_terminal(usbmon, monkeypatch):
    monkeypatch.setattr(_common, "width", lambda _stream: 60)
    for form in ((), ("--tree",)):
        lines = usbmon("devices", HUB, *form).lines
        assert max(map(len, lines)) == 60
        assert any(line.endswith("…") for line in lines)


def test_a_tree_is_drawn_where_the_terminal_can():
    code, out = on_terminal("devices", HUB, "--tree", PYTHONIOENCODING="utf-8")
    lines = out.splitlines()
    assert code == 0
    assert lines[1].startswith("└─ port 1: 1.002 0409:55aa QEMU USB Hub")
    code, out = on_terminal("devices", HUB, "--tree", PYTHONIOENCODING="ascii")
    assert out.splitlines()[1].startswith("`- port 1")


def test_colours_only_where_wanted():
    assert "\x1b[2mbus.dev" in on_terminal("devices", HUB)[1]
    assert "\x1b" not in on_terminal("devices", HUB, NO_COLOR="1")[1]


def test_what_a_device_says_commands_no_terminal(usbmon, tmp_path):
    evil = tmp_path / "evil"
    evil.write_text(HUB.read_text().replace("QEMU USB Hub", "\x1b[2Jx\x07"))
    out = usbmon("devices", evil).out + usbmon("devices", "--tree", evil).out
    assert "\x1b" not in out
    assert "\x07" not in out
