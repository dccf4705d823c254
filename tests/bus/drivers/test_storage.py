"""usb-storage on the bus: what goes over it in which order, and how it recovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.device import Stall
from usbmon.bus.devices.storage import MIB, FlashKey
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.scsi import CommandFailed
from usbmon.bus.drivers.storage import StorageDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import SECOND

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

IN, OUT = 0x81, 0x02
CLEAR_IN, CLEAR_OUT = "0201000081000000", "0201000002000000"
RESET = "21ff000000000000"
GET_MAX_LUN = "a1fe000000000100"


class Set:
    """A key in a host, scanned. `events` are those since."""

    def __init__(self, key: FlashKey | None = None, *faults: Fault) -> None:
        self.bench = Bench(drivers=(HubDriver, StorageDriver))
        self.key = key or FlashKey(size=4 * MIB)
        self.key.faults.extend(faults)
        self.disk = self.bench.plug(self.key).drivers[0]
        self.before = len(self.bench.tape.events)

    def run(self, steps):
        return self.bench.host.run_task(steps)

    @property
    def events(self):
        return self.bench.tape.events[self.before :]

    def submitted(self) -> list[tuple[int, int] | str]:
        """Endpoint and length of each bulk transfer, and the setups."""
        return [e[4] or (e[3], e[6]) for e in self.events if e[0] == "S"]


@pytest.fixture
def made() -> Set:
    return Set()


COMMAND, STATUS = (OUT, 31), (IN, 13)
READ = [COMMAND, (IN, 512), STATUS]


def test_scan_starts_after_a_second():
    bench = Bench(drivers=(HubDriver, StorageDriver))
    bench.plug(FlashKey(size=4 * MIB))
    events = [e for e in bench.tape.events if e[0] == "S" and e[2] == 2]
    first = next(n for n, e in enumerate(events) if e[4] == GET_MAX_LUN)
    assert SECOND <= events[first][1] - events[first - 1][1] < SECOND + SECOND // 100
    assert "usb-storage 1-1:1.0: USB Mass Storage device detected" in bench.log
    sizes = [(e[3], e[6]) for e in events[first + 1 :]]
    # As recorded: INQUIRY; TEST UNIT READY, which fails; REQUEST SENSE; TEST UNIT READY; …
    assert sizes[:10] == [
        *(COMMAND, (IN, 36), STATUS),
        *(COMMAND, STATUS),
        *(COMMAND, (IN, 96), STATUS),
        *(COMMAND, STATUS),
    ]


def test_wrappers_share_an_urb_and_data_have_their_own(made):
    made.run(made.disk.read(0, 1))
    wrapper, data, status = (e[7] for e in made.events if e[0] == "S")
    assert wrapper == status != data


def test_large_transfers_are_cut_at_120_kib(made):
    made.run(made.disk.read(0, 500))
    lengths = [
        length
        for endpoint, length in made.submitted()
        if (endpoint, length) not in {COMMAND, STATUS}
    ]
    assert lengths == [122_880, 122_880, 10_240]


BEGIN_ANEW = [RESET, CLEAR_IN, CLEAR_OUT]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        # Data stall: the endpoint is cleared, the status says that some are missing.
        (Fault("stall", IN), [COMMAND, (IN, 512), CLEAR_IN, STATUS, *READ]),
        # The status stalls: it is asked for once more.
        (Fault("stall", IN, after=1), [*READ, CLEAR_IN, STATUS]),
        # The command is not taken, or somebody does not answer: all begin anew.
        (Fault("stall", OUT), [COMMAND, CLEAR_OUT, *BEGIN_ANEW, *READ]),
        (Fault("crc", OUT), [COMMAND, *BEGIN_ANEW, *READ]),
        (Fault("no-response", IN), [COMMAND, (IN, 512), *BEGIN_ANEW, *READ]),
        (Fault("timeout", IN), [COMMAND, (IN, 512), *BEGIN_ANEW, *READ]),
        # So they do where the status is none.
        (Fault("short", IN, after=1), [*READ, *BEGIN_ANEW, *READ]),
        (Fault("babble", IN, after=1), [*READ, *BEGIN_ANEW, *READ]),
    ],
    ids=lambda value: f"{value.kind}-{value.endpoint:02x}" if isinstance(value, Fault) else "",
)
def test_recovery(made, fault, wanted):
    made.key.disk.image.write(0, b"first")
    made.key.faults.append(fault)
    assert made.run(made.disk.read(0, 1))[:5] == b"first"
    assert made.submitted() == wanted


def test_command_that_hangs_is_taken_back_after_half_a_minute(made):
    made.key.faults.append(Fault("timeout", IN))
    start = made.bench.loop.now
    made.run(made.disk.read(0, 1))
    (taken,) = [e for e in made.events if e[5] == -104]
    assert taken[1] - start == pytest.approx(30 * SECOND, abs=SECOND // 100)


class Talkative(FlashKey):
    """Sends more than it was asked for, and then says that all is well."""

    extra = b""

    def _give(self, size: int) -> bytes:
        return super()._give(size) + self.extra


def test_too_much_of_data_is_an_illegal_request():
    made = Set(Talkative(size=4 * MIB))
    made.key.extra = b"more"
    with pytest.raises(CommandFailed) as caught:
        made.run(made.disk.read(0, 1))
    assert (caught.value.answer.key, caught.value.answer.code) == (5, 0x2400)
    assert made.submitted() == READ


def test_key_that_is_sick_for_good_is_given_up(made):
    made.key.faults.append(Fault("crc", IN, count=None))
    with pytest.raises(UrbFailed):
        made.run(made.disk.read(0, 1))
    made.key.faults.clear()
    assert len(made.run(made.disk.read(0, 1))) == 512


@pytest.mark.parametrize("endpoint", [IN, OUT])
def test_key_that_is_sick_from_the_start(endpoint):
    made = Set(None, Fault("no-response", endpoint, count=None))
    with pytest.raises(UrbFailed):
        made.run(made.disk.read(0, 1))


class Plain(FlashKey):
    """Knows no class request, as many a cheap key."""

    def control(self, setup: Setup, data: bytes) -> bytes:
        raise Stall


def test_key_that_does_not_say_how_many_units_has_one():
    made = Set(Plain(size=4 * MIB))
    answers = {(e[3], e[5]) for e in made.bench.tape.events if e[0] == "C" and e[4] == GET_MAX_LUN}
    assert answers == {(0, -32)}
    assert len(made.run(made.disk.read(0, 1))) == 512


def test_old_disk_is_asked_for_short_sense(monkeypatch):
    key = FlashKey(size=4 * MIB)
    inquiry = key.disk.inquiry

    def old(cdb, lun):
        job = inquiry(cdb, lun)
        job._reply = job._reply[:2] + b"\x02" + job._reply[3:]
        return job

    monkeypatch.setattr(key.disk, "inquiry", old)
    made = Set(key)
    lengths = [e[6] for e in made.bench.tape.events if e[0] == "S" and e[3] == IN]
    assert 18 in lengths
    assert 96 not in lengths


@pytest.mark.parametrize("change", ["signature", "tag", "status", "phase"])
def test_status_that_makes_no_sense_asks_for_recovery(made, monkeypatch, change):
    real = made.key._status
    changed = []

    def bad():
        raw = bytearray(real())
        if not changed:
            changed.append(True)
            at, value = {"signature": (0, 0), "tag": (4, 0), "status": (12, 9), "phase": (12, 2)}[
                change
            ]
            raw[at] = value
        return bytes(raw)

    monkeypatch.setattr(made.key, "_status", bad)
    assert len(made.run(made.disk.read(0, 1))) == 512
    assert made.submitted().count(RESET) == 1
