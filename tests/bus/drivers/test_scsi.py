"""What a disk is asked, and which answers are tried again: a played dialogue, without a bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.drivers.scsi import Answer, CommandFailed, ScsiDriver, read_or_write
from usbmon.bus.status import EIO, ENOMEDIUM

if TYPE_CHECKING:
    from usbmon.bus.driver import Steps
    from usbmon.bus.host import Host, HostInterface

INQUIRY = bytes.fromhex("00 80 06 02 1f 00 00 02") + b"vendor  product         1.00"
CAPACITY = bytes.fromhex("0000ffff 00000200")
LONG_CAPACITY = bytes.fromhex("000000000000ffff 00000200") + bytes(20)
ATTENTION, NOT_THERE, ILLEGAL, ABORTED = (
    Answer(2, sense=bytes.fromhex(f"70 00 {key} 00000000 0a 00000000 {code} 00000000"))
    for key, code in (("06", "2900"), ("02", "3a00"), ("05", "2000"), ("0b", "0000"))
)
LOST = Answer(None)


class Played(ScsiDriver):
    """Takes its answers from `plays`, by operation code; what is not there passes with zeros."""

    name = "played"

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.plays: dict[int, list[Answer]] = {}
        self.asked: list[str] = []

    def start(self, cdb: bytes, size: int, data: bytes) -> Steps[Any]:
        yield from ()
        self.asked.append(cdb.hex())
        return cdb, size, data

    def finish(self, request: Any) -> Steps[Answer]:
        yield from ()
        cdb, size, data = request
        left = self.plays.get(cdb[0], [])
        answer = left.pop(0) if left else Answer(0, bytes(size))
        return answer._replace(moved=answer.moved or len(answer.data) or len(data))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def driver(bench: Bench) -> Played:
    device = bench.plug(Loopback())
    made = Played(bench.host, device.active[0])
    made.plays = {0x12: [Answer(0, INQUIRY)], 0x25: [Answer(0, CAPACITY)] * 2}
    return made


def test_careful_scan_asks_as_usb_storage_does(bench, driver):
    bench.host.run_task(driver.scan())
    again = [
        "000000000000",
        "25" + "00" * 9,
        "28" + "00" * 7 + "0100",
        "1a003f00c000",
        "1a003f00c000",
    ]
    assert driver.asked == [
        "120000002400",
        *again,
        "000000000000",
        *again,
        "1e0000000100",
        "28" + "00" * 7 + "0800",
        "1e0000000000",
        "000000000000",
    ]
    assert (driver.blocks, driver.size, driver.version) == (0x10000, 1 << 25, 6)
    assert bench.log[-4:] == [
        "scsi 0:0:0:0: Direct-Access     vendor   product          1.00 PQ: 0 ANSI: 6",
        "sd 0:0:0:0: [sda] 65536 512-byte logical blocks: (33.6 MB/32.0 MiB)",
        "sd 0:0:0:0: [sda] Write Protect is off",
        "sd 0:0:0:0: [sda] Attached SCSI removable disk",
    ]


def test_scan_of_a_fixed_disk_locks_nothing(bench, driver):
    driver.plays[0x12] = [Answer(0, INQUIRY[:1] + b"\0" + INQUIRY[2:])]
    bench.host.run_task(driver.scan())
    assert not [cdb for cdb in driver.asked if cdb.startswith("1e")]


def test_curious_scan_asks_for_pages_and_units(bench, driver):
    driver.is_careful = False
    driver._knows_opcodes = True
    page = Answer(0, bytes.fromhex("00 00 0003 00 80 b0"))
    driver.plays = {
        0x12: [Answer(0, INQUIRY), page, page, page, page, page],
        0x9E: [Answer(0, LONG_CAPACITY)] * 2,
        0xA3: [ILLEGAL],
    }
    bench.host.run_task(driver.scan())
    pages = [cdb[4:6] + cdb[8:10] for cdb in driver.asked if cdb.startswith("1201")]
    # The list of pages, itself as one of its pages, and before each page once more.
    assert pages[:9] == ["0004", "0007", "0004", "0007", "0024", "8004", "8004", "0024", "0024"]
    assert "a0" + "00" * 5 + "00001000" + "0000" in driver.asked
    assert [cdb[:4] for cdb in driver.asked].count("a30c") == 1
    assert driver.blocks == 0x10000


def test_protected_disk(bench, driver):
    driver.plays[0x1A] = [Answer(0, b"\x17\0\x80\0")] * 4
    bench.host.run_task(driver.scan())
    assert driver.write_protected
    assert bench.log[-2].endswith("Write Protect is on")


def test_disk_without_a_medium(bench, driver):
    driver.plays[0] = [NOT_THERE]
    bench.host.run_task(driver.scan())
    assert driver.asked == ["120000002400", "000000000000"]
    assert driver.size == 0


def test_large_disk_is_asked_with_sixteen_bytes(bench, driver):
    driver.plays[0x25] = [Answer(0, bytes.fromhex("ffffffff 00000200"))] * 2
    driver.plays[0x9E] = [Answer(0, bytes.fromhex("00000001ffffffff 00000200"))] * 2
    bench.host.run_task(driver.scan())
    assert driver.blocks == 1 << 33


@pytest.mark.parametrize("reply", [b"", b"\0\0\xff\xff", CAPACITY[:4] + b"\0\0\0\1"])
def test_capacity_that_makes_no_sense_is_none(bench, driver, reply):
    driver.plays[0x25] = [Answer(0, reply)]
    bench.host.run_task(driver.scan())
    assert driver.blocks == 0


def test_what_is_no_disk_is_left_alone(bench, driver):
    driver.plays[0x12] = [Answer(0, b"\x05" + INQUIRY[1:])]
    bench.host.run_task(driver.scan())
    assert driver.asked == ["120000002400"]


@pytest.mark.parametrize("first", [ATTENTION, ABORTED, LOST])
def test_passing_trouble_is_tried_again(bench, driver, first):
    driver.plays[0] = [first, first]
    bench.host.run_task(driver.command(bytes(6)))
    assert len(driver.asked) == 3


@pytest.mark.parametrize(
    ("answer", "tries", "status"),
    [(ATTENTION, 6, EIO), (LOST, 6, EIO), (ILLEGAL, 1, EIO), (NOT_THERE, 1, ENOMEDIUM)],
)
def test_lasting_trouble_is_not(bench, driver, answer, tries, status):
    driver.plays[0] = [answer] * 10
    with pytest.raises(CommandFailed) as caught:
        bench.host.run_task(driver.command(bytes(6)))
    assert (caught.value.status, caught.value.answer) == (status, answer)
    assert len(driver.asked) == tries


def test_part_of_a_block_is_none(bench, driver):
    driver.plays[0x28] = [Answer(0, b"short")]
    assert bench.host.run_task(driver.command(read_or_write(0x28, 0, 1), 512)) == bytes(512)
    assert len(driver.asked) == 2


@pytest.mark.parametrize(
    ("lba", "cdb"),
    [(0xFFFF_FFFE, "2800fffffffe00000100"), (0xFFFF_FFFF, "880000000000ffffffff000000010000")],
)
def test_addresses_choose_the_command(lba, cdb):
    assert read_or_write(0x28, lba, 1).hex() == cdb
