"""The bulk-only transport, wrapper by wrapper, and the key behind it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import NAK, Stall
from usbmon.bus.devices.storage import IN, MIB, OUT, FlashKey
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.errors import SourceError

READ = "28 00 00001000 00 0001 00"
WRITE = "2a 00 00000100 00 0001 00"
TEST_UNIT_READY = "00" * 6
PASSED, FAILED, PHASE_ERROR = 0, 1, 2


class Wire:
    """The bus to a key, packet by packet: halted endpoints stall."""

    def __init__(self, key: FlashKey) -> None:
        self.key = key
        key.power_on(Loop(), Speed.HIGH)
        key.request(bytes.fromhex("00 09 0100 0000 0000"), b"")
        self.command(TEST_UNIT_READY, 0)  # which hears of the reset
        self.status()

    def out(self, data: bytes) -> object:
        if OUT in self.key.halted:
            raise Stall
        return self.key.bulk_out(data)

    def take(self, size: int) -> object:
        if IN in self.key.halted:
            raise Stall
        try:
            return self.key.bulk_in(size)
        except Stall:
            self.key.halted.add(IN)
            raise

    def clear(self, address: int) -> None:
        self.key.request(bytes((0x02, 1, 0, 0, address, 0, 0, 0)), b"")

    def command(self, cdb: str, length: int, *, is_in: bool = True, tag: int = 7) -> None:
        raw = bytes.fromhex(cdb)
        assert self.out(wrapper(raw, length, is_in=is_in, tag=tag)) is None

    def status(self) -> tuple[int, int]:
        """Status and residue; clears the endpoint first where it is halted."""
        if IN in self.key.halted:
            self.clear(IN)
        raw = self.take(13)
        assert isinstance(raw, bytes)
        signature, tag, residue, status = struct.unpack("<4sIIB", raw)
        assert (signature, tag) == (b"USBS", 7)
        return status, residue


def wrapper(cdb: bytes, length: int, *, is_in: bool = True, tag: int = 7) -> bytes:
    return struct.pack("<4sIIBBB16s", b"USBC", tag, length, is_in << 7, 0, len(cdb), cdb)


@pytest.fixture
def wire():
    return Wire(FlashKey(size=4 * MIB))


def stalls(wire: Wire, address: int) -> bool:
    return address in wire.key.halted


# The thirteen cases (§6.7): what the host expects, what the device intends.


def test_case_1_no_data(wire):
    wire.command(TEST_UNIT_READY, 0)
    assert wire.status() == (PASSED, 0)


@pytest.mark.parametrize("cdb", [READ, WRITE])
def test_cases_2_and_3_host_expects_none(wire, cdb):
    wire.command(cdb, 0)
    assert wire.status() == (PHASE_ERROR, 0)


@pytest.mark.parametrize("is_in", [True, False])
def test_cases_4_and_9_device_has_none(wire, is_in):
    wire.command(TEST_UNIT_READY, 512, is_in=is_in)
    assert stalls(wire, IN if is_in else OUT)
    wire.clear(IN if is_in else OUT)
    assert wire.status() == (PASSED, 512)


def test_case_5_device_has_less_and_fills_up(wire):
    wire.command("12 00 00 0024 00", 100)
    reply = wire.take(512)
    assert reply[36:] == bytes(64)
    assert wire.status() == (PASSED, 64)


def test_case_6_both_agree(wire):
    wire.key.disk.image.write(0x1000 * 512, b"data")
    wire.command(READ, 512)
    assert wire.take(512) == b"data" + bytes(508)
    assert wire.status() == (PASSED, 0)


def test_case_7_device_has_more(wire):
    wire.command(READ, 100)
    assert len(wire.take(512)) == 100
    assert wire.status() == (PHASE_ERROR, 0)


@pytest.mark.parametrize(("cdb", "is_in"), [(WRITE, True), (READ, False)])
def test_cases_8_and_10_other_direction(wire, cdb, is_in):
    wire.command(cdb, 512, is_in=is_in)
    assert stalls(wire, IN if is_in else OUT)
    wire.clear(IN if is_in else OUT)
    assert wire.status() == (PHASE_ERROR, 512)
    assert wire.key.disk.image.read(0x100 * 512, 512) == bytes(512)


def test_case_11_host_has_more(wire):
    wire.command(WRITE, 1024, is_in=False)
    wire.out(b"a" * 512)
    wire.out(b"b" * 512)
    assert wire.status() == (PASSED, 512)
    assert wire.key.disk.image.read(0x100 * 512, 1024) == b"a" * 512 + bytes(512)


def test_case_12_both_agree(wire):
    wire.command(WRITE, 512, is_in=False)
    assert wire.take(13) is NAK  # not before the data
    wire.out(b"a" * 512)
    assert wire.status() == (PASSED, 0)
    assert wire.key.disk.image.read(0x100 * 512, 512) == b"a" * 512


def test_case_13_host_has_less(wire):
    wire.command(WRITE, 100, is_in=False)
    wire.out(b"a" * 100)
    assert wire.status() == (PHASE_ERROR, 0)


# Failing, halting, recovering.


def test_command_that_fails_stalls_its_data(wire):
    wire.command("28 00 7fffffff 00 0001 00", 512)
    assert stalls(wire, IN)
    assert wire.status() == (FAILED, 512)
    wire.command("03 00 00 00 12 00", 18)
    assert wire.take(18)[2:14:10] == b"\x05\x21"
    assert wire.status() == (PASSED, 0)


def test_protected_key_takes_no_data():
    wire = Wire(FlashKey(size=4 * MIB, write_protected=True))
    wire.command(WRITE, 512, is_in=False)
    assert stalls(wire, OUT)
    wire.clear(OUT)
    assert wire.status() == (FAILED, 512)


def test_data_end_where_the_host_clears_a_halt(wire):
    wire.command(READ, 512)
    wire.key.halted.add(IN)
    assert wire.status() == (PASSED, 512)


def test_data_end_with_a_short_packet(wire):
    wire.command(WRITE, 512, is_in=False)
    wire.out(b"a" * 100)
    assert wire.status() == (PASSED, 412)


def test_medium_that_breaks_in_the_middle(wire, monkeypatch):
    wire.command("28 00 00000000 00 0002 00", 1024)
    assert len(wire.take(512)) == 512
    monkeypatch.setattr(wire.key.disk.image, "read", lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(Stall):
        wire.take(512)
    assert wire.status() == (FAILED, 512)


def test_nothing_to_say_without_a_command(wire):
    assert wire.take(13) is NAK


def test_next_command_waits_for_the_status(wire):
    wire.command(TEST_UNIT_READY, 0)
    assert wire.out(wrapper(bytes(6), 0)) is NAK
    wire.status()
    assert wire.out(wrapper(bytes(6), 0)) is None


GOOD = wrapper(bytes(6), 0)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        GOOD[:30],
        GOOD + b"\0",
        b"USBS" + GOOD[4:],
        GOOD[:12] + b"\x01" + GOOD[13:],  # a reserved flag
        GOOD[:13] + b"\x01" + GOOD[14:],  # logical unit 1
        GOOD[:14] + b"\x00" + GOOD[15:],  # no command
        GOOD[:14] + b"\x11" + GOOD[15:],  # 17 bytes of command
    ],
)
def test_bad_wrapper_asks_for_reset_recovery(wire, bad):
    wire.out(bad)
    for address in (IN, OUT):
        assert stalls(wire, address)
        wire.clear(address)
        assert stalls(wire, address)
    wire.key.request(bytes.fromhex("21 ff 0000 0000 0000"), b"")
    wire.clear(IN)
    wire.clear(OUT)
    wire.command(TEST_UNIT_READY, 0)
    assert wire.status() == (PASSED, 0)


def test_reset_in_the_middle_forgets_the_command(wire):
    wire.command(READ, 512)
    wire.key.request(bytes.fromhex("21 ff 0000 0000 0000"), b"")
    assert wire.take(512) is NAK
    wire.command(TEST_UNIT_READY, 0)
    assert wire.status() == (PASSED, 0)


def test_one_logical_unit(wire):
    assert wire.key.request(bytes.fromhex("a1 fe 0000 0000 0100"), b"") == b"\0"


@pytest.mark.parametrize(
    "setup", ["a1 fe 0000 0100 0100", "a1 fe 0100 0000 0100", "21 00 0000 0000 0000"]
)
def test_other_class_requests_stall(wire, setup):
    with pytest.raises(Stall):
        wire.key.request(bytes.fromhex(setup), b"")


def test_bus_reset_is_told_of(wire):
    wire.key.bus_reset()
    wire.key.request(bytes.fromhex("00 09 0100 0000 0000"), b"")
    wire.command(TEST_UNIT_READY, 0)
    assert wire.status() == (FAILED, 0)


@given(st.lists(st.one_of(st.binary(max_size=600), st.integers(0, 600)), max_size=12), st.data())
def test_any_traffic_is_answered(traffic, data):
    """Bytes go out, integers ask for data; wrappers that make sense come in between."""
    wire = Wire(FlashKey(size=4 * MIB))
    for item in traffic:
        try:
            if isinstance(item, int):
                back = wire.take(item)
                assert back is NAK or len(back) <= max(item, 13)
            else:
                cdb = item[:16] or b"\0"
                length = data.draw(st.integers(0, 2**32 - 1))
                wire.out(item)
                wire.out(wrapper(cdb, length, is_in=len(item) % 2 == 0))
        except Stall:
            wire.clear(IN)
            wire.clear(OUT)


# The key.


def test_new_file_is_made_and_an_old_one_kept(tmp_path):
    path = tmp_path / "key.img"
    FlashKey(path, size=4 * MIB).close()
    assert path.stat().st_size == 4 * MIB
    made = path.read_bytes()
    assert made[510:512] == b"\x55\xaa"
    FlashKey(path, size=8 * MIB).close()
    assert path.read_bytes() == made


def test_protected_key_opens_its_file_for_reading(tmp_path):
    path = tmp_path / "key.img"
    FlashKey(path, size=4 * MIB).close()
    path.chmod(0o444)
    key = FlashKey(path, write_protected=True)
    assert key.disk.write_protected
    key.close()


def test_file_that_cannot_be_used_is_reported(tmp_path):
    with pytest.raises(SourceError):
        FlashKey(tmp_path)


@pytest.mark.parametrize(
    ("speed", "size"), [(Speed.FULL, 64), (Speed.HIGH, 512), (Speed.SUPER, 1024)]
)
def test_descriptors_at_each_speed(speed, size):
    key = FlashKey(size=4 * MIB, speed=speed)
    key.power_on(Loop(), speed)
    raw = key.request(bytes.fromhex("80 06 0002 0000 ff00"), b"")
    assert raw[14:17] == bytes((8, 6, 0x50))
    assert int.from_bytes(raw[22:24], "little") == size
