"""What is known of a device as events, which others take for a host's own."""

import pytest

import usbmon
from tests.helpers import tshark
from tests.helpers.corpus import CAPTURES
from tests.helpers.sysfs import Sysfs, recorded
from usbmon import layout
from usbmon.devices import synthetic, sysfs
from usbmon.devices.model import Device
from usbmon.usb.descriptors import string_text
from usbmon.usb.setup import setup_words

FOLDER = CAPTURES / "devices"
REPORT = bytes.fromhex("05010906a101c0")
WHEN = 1_700_000_000_123_456_789


@pytest.fixture
def keyboard(tmp_path):
    tree = Sysfs(tmp_path / "sys")
    tree.add(*recorded(FOLDER, "hid-xhci-1-1"), {0: REPORT})
    (device,) = sysfs.snapshot(tmp_path / "sys")
    return device


def pairs(device):
    events = list(synthetic.events(device, WHEN, layout.WALL))
    return list(zip(events[::2], events[1::2], strict=True))


def test_requests_in_the_order_of_a_host(keyboard):
    asked = [setup_words(submission.setup) for submission, _ in pairs(keyboard)]
    assert asked == [
        "GET_DESCRIPTOR Device",
        "GET_DESCRIPTOR Configuration 0",
        "GET_DESCRIPTOR String 1 lang 0x0409",
        "GET_DESCRIPTOR String 4 lang 0x0409",
        "GET_DESCRIPTOR String 11 lang 0x0409",
        "GET_DESCRIPTOR HID_Report Interface 0",
        "GET_CONFIGURATION",
    ]


def test_answers_are_what_is_known(keyboard):
    answers = [completion.data for _, completion in pairs(keyboard)]
    raw = (FOLDER / "hid-xhci-1-1.bin").read_bytes()
    assert answers[0] + answers[1] == raw
    assert [string_text(answer) for answer in answers[2:5]] == [
        "QEMU",
        "QEMU USB Keyboard",
        "68284-0000:00:05.0-1",
    ]
    assert answers[5:] == [REPORT, b"\x01"]


def test_each_is_a_completed_control_transfer_of_the_device(keyboard):
    tags = set()
    for submission, completion in pairs(keyboard):
        for event in (submission, completion):
            assert (event.xfer_type, event.epnum, event.busnum, event.devnum) == (
                "control",
                0x80,
                1,
                2,
            )
            assert (event.ts, event.clock, event.marks) == (WHEN, "wall", ("synthetic",))
            assert (event.id, event.urb, event.xfer_flags) == (submission.id,) * 2 + (0x200,)
        assert (submission.type, submission.status, submission.flag_data) == ("S", -115, "<")
        assert (completion.type, completion.status, completion.setup) == ("C", 0, None)
        assert completion.length == completion.len_cap == len(completion.data)
        assert submission.length == int.from_bytes(submission.setup[6:], "little")
        tags.add(submission.id)
    assert len(tags) == 7
    assert 0 not in tags


def test_tags_of_other_devices_and_moments_are_others(keyboard):
    tags = [
        event.id
        for device, when in (
            (keyboard, WHEN),
            (keyboard, WHEN + 1_000_000),
            (Device(busnum=1, devnum=3, configuration=1), WHEN),
            (Device(busnum=2, devnum=2, configuration=1), WHEN),
        )
        for event in synthetic.events(device, when, layout.WALL)
        if event.type == "S"
    ]
    assert len(tags) == len(set(tags)) == 16


def test_alternate_settings_bos_and_a_second_configuration():
    told, raw = recorded(FOLDER, "serial-net-2-2")
    device = Device(
        busnum=2,
        devnum=3,
        descriptor=raw[:18],
        configurations=(raw[18:85], raw[85:]),
        bos=b"\x05\x0f\x05\x00\x00",
        configuration=1,
        alternates=told.alternates,
    )
    asked = [(setup_words(s.setup), c.data) for s, c in pairs(device)]
    assert asked[2:] == [
        ("GET_DESCRIPTOR Configuration 1", raw[85:]),
        ("GET_DESCRIPTOR BOS", b"\x05\x0f\x05\x00\x00"),
        ("GET_CONFIGURATION", b"\x01"),
        ("GET_INTERFACE 1", b"\x01"),
    ]


def test_nothing_known_is_no_event():
    assert len(synthetic.events(Device(busnum=1, devnum=2), WHEN, layout.WALL)) == 0


def test_what_is_too_large_is_cut():
    device = Device(busnum=300, devnum=300, reports={300: bytes(70_000)}, configuration=300)
    (_, report), (_, configuration) = pairs(device)
    assert (len(report.data), configuration.data) == (0xFFFF, b"\x2c")


def test_tshark_takes_them_for_a_hosts_own(keyboard, tmp_path):
    path = tmp_path / "x.pcapng"
    usbmon.write(path, synthetic.events(keyboard, WHEN, layout.WALL))
    rows = tshark.shown(path, "_ws.col.Info", "usb.idVendor", "usb.bString", "_ws.malformed")
    assert [row[0] for row in rows[1::2]] == [
        "GET DESCRIPTOR Response DEVICE",
        "GET DESCRIPTOR Response CONFIGURATION",
        "GET DESCRIPTOR Response STRING",
        "GET DESCRIPTOR Response STRING",
        "GET DESCRIPTOR Response STRING",
        "GET DESCRIPTOR Response HID Report",
        "GET CONFIGURATION Response",
    ]
    assert rows[1][1] == "0x0627"
    assert rows[7][2] == "QEMU USB Keyboard"
    assert {row[3] for row in rows} == {""}


def test_a_line_for_people(keyboard):
    assert synthetic.comment(keyboard) == (
        "1-1 (1.002): 0627:0001 QEMU USB Keyboard, 480 Mb/s, usbhid"
    )
    assert synthetic.comment(Device(busnum=1, devnum=5)) == "1.005: ????:????"
