"""What a disk answers to each command, byte by byte where SPC-4 and SBC-3 have the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.devices.scsi import Disk
from usbmon.bus.devices.scsi_job import Job, Sense, sense_data
from usbmon.bus.image import MemoryImage

BLOCKS = 2048


def disk(*, is_removable: bool = True, write_protected: bool = False) -> Disk:
    """One that has told of its reset."""
    made = Disk(
        MemoryImage(BLOCKS * 512),
        product="Flash Key",
        serial="0123456789AB",
        is_removable=is_removable,
        write_protected=write_protected,
    )
    made.start(bytes(6))
    return made


def ask(target: Disk, cdb: str) -> bytes:
    """What the command returns; it must not fail."""
    job = target.start(bytes.fromhex(cdb))
    assert job.sense == b""
    return job.read(job.size)


def why(job: Job) -> Sense:
    """What it failed for."""
    return next(code for code in Sense if sense_data(code) == job.sense)


def refused(target: Disk, cdb: str) -> Sense:
    return why(target.start(bytes.fromhex(cdb)))


READ_FIRST = "28 00 00000000 00 0001 00"


def test_inquiry():
    reply = ask(disk(), "12 00 00 0024 00")
    assert reply == bytes.fromhex("00 80 06 02 1f 00 00 02") + b"usbmon  Flash Key       1.00"
    assert ask(disk(is_removable=False), "12 00 00 0002 00") == b"\0\0"


@pytest.mark.parametrize(
    ("page", "reply"),
    [
        ("00", "00 00 0005 00 80 83 b0 b1"),
        ("80", "00 80 000c" + b"0123456789AB".hex()),
        ("83", "00 83 0018 02 01 00 14" + b"usbmon  0123456789AB".hex()),
        ("b0", "00 b0 003c" + "00" * 60),
        ("b1", "00 b1 003c 0001" + "00" * 58),
    ],
)
def test_vital_product_data(page, reply):
    assert ask(disk(), f"12 01 {page} 00ff 00") == bytes.fromhex(reply)


@pytest.mark.parametrize("cdb", ["12 01 c0 0024 00", "12 00 80 0024 00"])
def test_page_that_is_not_there(cdb):
    assert refused(disk(), cdb) is Sense.INVALID_FIELD_IN_CDB


def test_first_command_hears_of_the_reset():
    target = disk()
    target.reset()
    ask(target, "12 00 00 0024 00")  # which does not count
    assert refused(target, READ_FIRST) is Sense.POWER_ON_OR_RESET
    assert len(ask(target, READ_FIRST)) == 512


def test_request_sense_tells_once():
    target = disk()
    target.start(b"\xff" * 6)
    assert ask(target, "03 00 00 00 12 00") == sense_data(Sense.INVALID_OPERATION_CODE)
    assert ask(target, "03 00 00 00 12 00") == sense_data(Sense.NO_SENSE)


def test_request_sense_takes_the_reset_for_told():
    target = disk()
    target.reset()
    assert ask(target, "03 00 00 00 60 00") == sense_data(Sense.POWER_ON_OR_RESET)
    ask(target, "00" * 6)


def test_command_that_passes_clears_the_sense():
    target = disk()
    target.start(b"\xff" * 6)
    ask(target, "00" * 6)
    assert ask(target, "03 00 00 00 04 00") == b"\x70\0\0\0"


def test_descriptor_sense_is_not_had():
    assert refused(disk(), "03 01 00 00 12 00") is Sense.INVALID_FIELD_IN_CDB


def test_capacity():
    target = disk()
    assert ask(target, "25" + "00" * 9) == bytes.fromhex("000007ff 00000200")
    long = ask(target, "9e 10" + "00" * 8 + "00000020 0000")
    assert long == bytes.fromhex("00000000000007ff 00000200") + bytes(20)
    assert refused(target, "9e 11" + "00" * 14) is Sense.INVALID_FIELD_IN_CDB
    formats = ask(target, "23" + "00" * 6 + "00ff 00")
    assert formats == bytes.fromhex("00000008 00000800 02 000200")


@pytest.mark.parametrize(
    ("cdb", "reply"),
    [
        ("1a 00 08 00 ff 00", "17 00 00 00 08 12" + "00" * 18),
        ("1a 00 1c 00 ff 00", "0f 00 00 00 1c 0a" + "00" * 10),
        ("1a 00 3f 00 04 00", "23 00 00 00"),
        ("5a 00 3f 00 000000 0008 00", "0026 00 00 0000 0000"),
    ],
)
def test_mode_sense(cdb, reply):
    assert ask(disk(), cdb) == bytes.fromhex(reply)


def test_mode_sense_tells_of_cache_and_protection():
    target = disk(write_protected=True)
    assert ask(target, "1a 00 3f 00 ff 00")[2] == 0x80
    target.write_cache = True
    assert ask(target, "1a 00 08 00 ff 00")[6] == 4
    assert ask(target, "1a 00 48 00 ff 00")[6] == 0  # changeable values


@pytest.mark.parametrize(
    ("cdb", "sense"),
    [
        ("1a 00 01 00 ff 00", Sense.INVALID_FIELD_IN_CDB),
        ("1a 00 08 01 ff 00", Sense.INVALID_FIELD_IN_CDB),
        ("1a 00 c8 00 ff 00", Sense.SAVING_NOT_SUPPORTED),
    ],
)
def test_mode_page_that_is_not_there(cdb, sense):
    assert refused(disk(), cdb) is sense


@pytest.mark.parametrize(
    ("read", "write"),
    [
        ("08 000003 02 00", "0a 000003 02 00"),
        ("28 00 00000003 00 0002 00", "2a 00 00000003 00 0002 00"),
        ("a8 00 00000003 00000002 00 00", "aa 00 00000003 00000002 00 00"),
        ("88 00 0000000000000003 00000002 00 00", "8a 00 0000000000000003 00000002 00 00"),
    ],
)
def test_what_is_written_is_read(read, write):
    target = disk()
    data = bytes(range(256)) * 4
    job = target.start(bytes.fromhex(write))
    assert (job.size, job.is_in) == (1024, False)
    job.write(data)
    assert target.image.read(3 * 512, 1024) == data
    assert ask(target, read) == data


def test_six_bytes_and_no_length_are_256_blocks():
    assert disk().start(bytes.fromhex("08 000000 00 00")).size == 256 * 512


@pytest.mark.parametrize("opcode", ["28", "2a", "2f", "35"])
def test_no_block_is_beyond_the_end(opcode):
    target = disk()
    assert target.start(bytes.fromhex(f"{opcode} 00 000007ff 00 0001 00")).sense == b""
    assert refused(target, f"{opcode} 00 000007ff 00 0002 00") is Sense.LBA_OUT_OF_RANGE
    assert refused(target, f"{opcode} 00 00000801 00 0000 00") is Sense.LBA_OUT_OF_RANGE


def test_protection_information_is_not_had():
    assert refused(disk(), "28 20 00000000 00 0001 00") is Sense.INVALID_FIELD_IN_CDB


def test_verify_compares_with_nothing():
    assert refused(disk(), "2f 02 00000000 00 0001 00") is Sense.INVALID_FIELD_IN_CDB


def test_protected_disk_is_not_written():
    target = disk(write_protected=True)
    assert refused(target, "2a 00 00000000 00 0001 00") is Sense.WRITE_PROTECTED
    ask(target, READ_FIRST)


def test_eject_and_load():
    target = disk()
    ask(target, "1b 00 00 00 02 00")
    assert refused(target, "00" * 6) is Sense.MEDIUM_NOT_PRESENT
    assert refused(target, READ_FIRST) is Sense.MEDIUM_NOT_PRESENT
    assert ask(target, "23" + "00" * 6 + "00ff 00")[8] == 3
    ask(target, "1b 00 00 00 03 00")
    ask(target, READ_FIRST)


def test_medium_is_back_with_the_power():
    target = disk()
    ask(target, "1b 00 00 00 02 00")
    target.power_on()
    assert refused(target, "00" * 6) is Sense.POWER_ON_OR_RESET
    ask(target, "00" * 6)


def test_locked_medium_stays():
    target = disk()
    ask(target, "1e 00 00 00 01 00")
    assert refused(target, "1b 00 00 00 02 00") is Sense.MEDIUM_REMOVAL_PREVENTED
    ask(target, "1e 00 00 00 00 00")
    ask(target, "1b 00 00 00 02 00")


def test_stopped_disk_is_not_ready():
    target = disk()
    ask(target, "1b 00 00 00 00 00")
    assert refused(target, READ_FIRST) is Sense.NOT_READY_STOPPED
    ask(target, "1b 00 00 00 01 00")
    ask(target, READ_FIRST)


def test_fixed_disk_has_nothing_to_lock_or_eject():
    target = disk(is_removable=False)
    assert refused(target, "1e 00 00 00 01 00") is Sense.INVALID_OPERATION_CODE
    ask(target, "1b 00 00 00 03 00")
    assert target.has_medium


def test_one_logical_unit():
    target = disk()
    assert ask(target, "a0 00 00 000000 00001000 00 00") == bytes.fromhex(
        "00000008 00000000"
    ) + bytes(8)
    assert refused(target, "a0 00 00 000000 0000000f 00 00") is Sense.INVALID_FIELD_IN_CDB
    assert why(target.start(bytes(6), lun=1)) is Sense.LUN_NOT_SUPPORTED
    assert target.start(bytes.fromhex("12 00 00 0024 00"), lun=1).read(1) == b"\x7f"


@given(st.binary(max_size=20), st.integers(0, 2**64 - 1))
def test_any_bytes_are_a_command(cdb, lun):
    target = disk()
    job = target.start(cdb, lun)
    assert job.size == job.left <= BLOCKS * 512
    assert not (job.sense and job.size)
    if job.is_in:
        assert len(job.read(job.size)) == job.size
