"""UAS, information unit by information unit, with streams and without."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import NAK, Nak
from usbmon.bus.devices.uas import UasDisk
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.timing import Speed

DATA_IN, DATA_OUT = 0x81, 0x02
INQUIRY = "12 00 00 0024 00"
READ = "28 00 00001000 00 0002 00"
WRITE = "2a 00 00001000 00 0002 00"


def command(tag: int, cdb: str, lun: int = 0) -> bytes:
    return struct.pack(">BxH4xQ16s", 1, tag, lun, bytes.fromhex(cdb))


def manage(tag: int, function: int, managed: int = 0) -> bytes:
    return struct.pack(">BxHBxH8x", 5, tag, function, managed)


def sense(tag: int, code: str = "") -> bytes:
    """SENSE IU: that of a command that passed, or failed with this key, code and qualifier."""
    if not code:
        return struct.pack(">BxH12x", 3, tag)
    key, additional = bytes.fromhex(code[:2]), bytes.fromhex(code[2:])
    data = b"\x70\0" + key + bytes(4) + b"\x0a" + bytes(4) + additional + bytes(4)
    return struct.pack(">BxHHB7xH", 3, tag, 0, 2, 18) + data


def response(tag: int, code: int) -> bytes:
    return struct.pack(">BxH3xB", 4, tag, code)


def ready(kind: int, tag: int) -> bytes:
    return struct.pack(">BxH", kind, tag)


READ_READY, WRITE_READY = 6, 7


def disk(speed: Speed = Speed.HIGH) -> UasDisk:
    """One at its alternate setting 1 that has told of its reset."""
    made = UasDisk(size=4 << 20, speed=speed)
    made.power_on(Loop(), speed)
    made.request(bytes.fromhex("00 09 0100 0000 0000"), b"")
    made.request(bytes.fromhex("01 0b 0100 0000 0000"), b"")
    made.disk.attention = None
    return made


@pytest.fixture
def slow() -> UasDisk:
    """Without streams."""
    return disk()


@pytest.fixture
def fast() -> UasDisk:
    """With streams."""
    return disk(Speed.SUPER)


def news(model: UasDisk) -> list[bytes]:
    """The information units that it has to say."""
    said = []
    while not isinstance(iu := model.status(112), Nak):
        said.append(iu)
    return said


def test_command_without_data(slow):
    slow.command(command(9, "00" * 6))
    assert news(slow) == [sense(9)]


def test_device_calls_for_its_data(slow):
    slow.command(command(3, INQUIRY))
    assert news(slow) == [ready(READ_READY, 3)]
    assert slow.data_in(512)[8:14] == b"usbmon"
    assert news(slow) == [sense(3)]


def test_device_calls_for_the_hosts_data(slow):
    slow.command(command(4, WRITE))
    assert news(slow) == [ready(WRITE_READY, 4)]
    slow.data_out(b"a" * 512)
    assert news(slow) == []
    slow.data_out(b"b" * 512)
    assert news(slow) == [sense(4)]
    assert slow.disk.image.read(0x1000 * 512, 1024) == b"a" * 512 + b"b" * 512


def test_with_streams_nobody_is_called(fast):
    fast.command(command(1, READ))
    assert news(fast) == []
    assert fast.data_in(4096) == bytes(1024)
    assert fast.data_in(4096) == b""  # whole packets, so one of none says that this was all
    assert news(fast) == [sense(1)]


def test_commands_are_done_in_their_order(slow):
    for tag in (5, 2, 7):
        slow.command(command(tag, INQUIRY))
    for tag in (5, 2, 7):
        assert ready(READ_READY, tag) in news(slow)
        slow.data_in(512)
    assert news(slow) == [sense(7)]


def test_no_data_without_a_command(slow):
    assert slow.data_in(512) is NAK
    assert slow.data_out(bytes(512)) is NAK
    slow.command(command(1, INQUIRY))
    assert slow.data_out(bytes(512)) is NAK


def test_command_that_fails_has_its_sense_with_it(slow):
    slow.command(command(1, "28 00 7fffffff 00 0001 00"))
    assert news(slow) == [sense(1, "05 2100")]
    slow.command(command(2, "00" * 6, lun=1 << 48))
    assert news(slow) == [sense(2, "05 2500")]


def test_after_a_failure_the_host_has_time_for_its_buffers(fast):
    fast.command(command(1, "28 00 7fffffff 00 0001 00"))
    fast.command(command(2, READ))
    assert news(fast) == [sense(1, "05 2100")]
    assert fast.data_in(1024) is NAK
    fast.loop.run(SECOND)
    assert fast.data_in(1024) == bytes(1024)


def test_data_end_with_a_short_packet(slow):
    slow.command(command(1, WRITE))
    slow.data_out(b"a" * 100)
    assert news(slow)[-1] == sense(1)


def test_tag_may_be_used_once_at_a_time(slow):
    slow.command(command(1, INQUIRY))
    slow.command(command(2, INQUIRY))
    news(slow)
    slow.command(command(1, INQUIRY))
    slow.command(command(2, INQUIRY))
    assert news(slow) == [response(1, 0x0A), response(2, 0x0A)]


@pytest.mark.parametrize("iu", [b"", b"\x01", command(1, INQUIRY)[:31], b"\x09" + bytes(31)])
def test_unit_that_is_none_is_refused(slow, iu):
    slow.command(iu)
    (said,) = news(slow)
    assert (said[0], said[7]) == (4, 2)


def test_queue_has_an_end(slow):
    for tag in range(1, 100):
        slow.command(command(tag, INQUIRY))
    assert response(99, 2) in news(slow)


def test_abort_of_one(slow):
    slow.command(command(1, INQUIRY))
    slow.command(command(2, "00" * 6))
    slow.command(manage(3, 0x01, 1))
    assert news(slow) == [ready(READ_READY, 1), sense(2), response(3, 0)]
    assert slow.data_in(512) is NAK


@pytest.mark.parametrize(("function", "is_reset"), [(0x02, False), (0x04, False), (0x08, True)])
def test_abort_of_all(slow, function, is_reset):
    slow.command(command(1, INQUIRY))
    slow.command(command(2, INQUIRY))
    slow.command(manage(3, function))
    assert news(slow) == [ready(READ_READY, 1), response(3, 0)]
    slow.command(command(4, "00" * 6))
    assert news(slow) == [sense(4, "06 2900") if is_reset else sense(4)]


def test_other_task_management_is_not_had(slow):
    slow.command(manage(3, 0x80))
    assert news(slow) == [response(3, 4)]


def test_setting_an_interface_forgets_all(slow):
    slow.command(command(1, INQUIRY))
    slow.request(bytes.fromhex("01 0b 0100 0000 0000"), b"")
    assert news(slow) == []
    assert slow.data_in(512) is NAK


def test_setting_0_is_bulk_only(slow):
    slow.request(bytes.fromhex("01 0b 0000 0000 0000"), b"")
    slow.data_out(b"USBC" + struct.pack("<IIBBB16s", 1, 36, 0x80, 0, 6, bytes.fromhex(INQUIRY)))
    assert slow.data_in(36)[8:14] == b"usbmon"
    assert slow.data_in(13) == b"USBS" + struct.pack("<IIB", 1, 0, 0)


@pytest.mark.parametrize(("speed", "streams"), [(Speed.HIGH, None), (Speed.SUPER, [0, 4, 4, 4])])
def test_pipes_have_their_usage(speed, streams):
    raw = disk(speed).request(bytes.fromhex("80 06 0002 0000 ff00"), b"")
    parts = []
    while raw:
        parts.append(raw[: raw[0]])
        raw = raw[raw[0] :]
    assert [part[2] for part in parts if part[1] == 0x24] == [1, 2, 3, 4]
    pipes = [part[2] for part in parts if part[1] == 5][2:]
    assert pipes == [0x04, 0x83, 0x81, 0x02]
    if streams:
        assert [part[3] for part in parts if part[1] == 0x30][2:] == streams


@given(
    st.sampled_from([Speed.HIGH, Speed.SUPER]),
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([DATA_IN, DATA_OUT])), max_size=20),
)
def test_any_traffic_is_answered(speed, traffic):
    model = disk(speed)
    for item in traffic:
        if item == DATA_IN:
            back = model.data_in(2048)
            assert back is NAK or len(back) <= 2048
        elif item == DATA_OUT:
            model.data_out(bytes(1024))
        else:
            model.command(item)
            model.command(b"\1\0\0\1".ljust(16, b"\0") + item[:16].ljust(16, b"\0"))
        assert all(iu[0] in {3, 4, 6, 7} for iu in news(model))
