"""What of an URB goes into a record, by type of transfer, direction and event."""

import struct

import pytest

from usbmon import decode
from usbmon.bus.hcd import HostController
from usbmon.bus.host import HostDevice
from usbmon.bus.hub import RootHub
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS, IsoPacket, Urb
from usbmon.monitor.record import COMPLETE, ERROR, SUBMIT, make


@pytest.fixture
def device():
    loop = Loop(epoch=1_000_000_000_123_456_789)
    controller = HostController(loop, 7, RootHub(2, speed=Speed.HIGH, serial=""))
    known = HostDevice(controller, Speed.HIGH)
    known.devnum = 5
    return known


def event(urb, type, status=0):
    record = make(urb, type, status, urb.device.controller.loop)
    (only,) = decode(record.packet, format="bin")
    return only


def done(urb, data=b""):
    urb.buffer[: len(data)] = data
    urb.actual_length = len(data)
    return urb


def test_fields_that_all_have(device):
    urb = Urb(device, 0x81, BULK, 10, transfer_flags=0x201)
    urb.id = 0xFFFF_8880_0000_0040
    got = event(urb, SUBMIT, -115)
    assert (got.id, got.type, got.xfer_type, got.epnum) == (urb.id, "S", "bulk", 0x81)
    assert (got.busnum, got.devnum, got.status, got.xfer_flags) == (7, 5, -115, 0x201)
    assert got.ts == 1_000_000_000_123_456_000  # microseconds, as the kernel
    assert (got.length, got.len_cap, got.flag_setup) == (10, 0, "-")


@pytest.mark.parametrize(
    ("endpoint", "type", "flag", "data", "length"),
    [
        (0x81, SUBMIT, "<", b"", 8),
        (0x81, COMPLETE, None, b"abc", 3),
        (0x01, SUBMIT, None, b"abcdefgh", 8),
        (0x01, COMPLETE, ">", b"", 3),
    ],
)
def test_data_on_the_side_that_has_them(device, endpoint, type, flag, data, length):
    urb = Urb(device, endpoint, BULK, b"abcdefgh" if endpoint == 1 else 8)
    if type == COMPLETE:
        done(urb, b"abc")
    got = event(urb, type)
    assert (got.flag_data, got.data, got.length) == (flag, data, length)


def test_setup_in_the_submission_only(device):
    setup = bytes.fromhex("8006000100001200")
    urb = Urb(device, 0, CONTROL, 18, setup=setup)
    assert event(urb, SUBMIT).setup == setup
    assert event(urb, SUBMIT).epnum == 0x80
    assert event(urb, COMPLETE).setup is None


def test_an_interval_where_there_is_one(device):
    assert event(Urb(device, 0x82, INTERRUPT, 8, interval=64), SUBMIT).interval == 64
    assert event(Urb(device, 0x81, BULK, 8, interval=64), SUBMIT).interval == 0


def iso(device, endpoint=0x83, count=3):
    urb = Urb(
        device,
        endpoint,
        ISOCHRONOUS,
        64 * count,
        interval=8,
        packets=[IsoPacket(64 * n, 64) for n in range(count)],
    )
    urb.start_frame = 100
    return urb


def test_packets_as_they_were_asked_for_and_as_they_came(device):
    urb = iso(device)
    got = event(urb, SUBMIT, -115)
    assert [(d.offset, d.length) for d in got.descriptors] == [(0, 64), (64, 64), (128, 64)]
    assert (got.interval, got.start_frame, got.numdesc, got.error_count) == (8, 100, 3, 0)
    for packet, moved, status in zip(urb.packets, (64, 0, 10), (0, -71, 0), strict=True):
        packet.actual_length, packet.status = moved, status
    urb.buffer[:] = bytes(range(192))
    urb.actual_length, urb.error_count = 74, 1
    got = event(urb, COMPLETE)
    assert [tuple(d) for d in got.descriptors] == [(0, 0, 64), (-71, 64, 0), (0, 128, 10)]
    assert (got.error_count, got.length) == (1, 74)
    assert got.data == bytes(range(138))  # up to the last byte that a packet reaches


def test_no_data_where_no_packet_came(device):
    urb = iso(device)
    assert event(urb, COMPLETE).data == b""


def test_a_refusal_has_nothing_but_its_status(device):
    urb = Urb(device, 0, CONTROL, 18, setup=bytes.fromhex("8006000100001200"), transfer_flags=1)
    got = event(urb, ERROR, -19)
    assert (got.type, got.status, got.flag_data, got.length, got.xfer_flags) == (
        "E",
        -19,
        "E",
        0,
        0,
    )
    assert got.setup is None


def test_what_text_shows_of_a_sparse_buffer(device):
    urb = iso(device)
    urb.buffer[:] = b"\xaa" * 192
    record = make(urb, COMPLETE, 0, device.controller.loop)
    assert record.sparse == (192, b"\xaa" * 32)
    assert struct.unpack_from("=I", record.packet, 32) == (0,)
