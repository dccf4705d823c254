"""Reads that always wait: what they bring, and how they go on after errors."""

from __future__ import annotations

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.drivers.reads import Reads
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS

CLEAR_HALT = "0201000081000000"
ENOENT, EPIPE, EPROTO, EILSEQ = -2, -32, -71, -84


class Set:
    """Three reads of 512 bytes that wait on a loopback device. `got` is what they brought."""

    def __init__(self, *faults: Fault) -> None:
        self.bench = Bench()
        self.model = Loopback()
        self.device = self.bench.plug(self.model)
        self.before = len(self.bench.tape.events)
        self.model.faults.extend(faults)
        self.got: list[bytes] = []
        pipe = self.device.endpoints[0x81]
        take = self.got.append
        reads = Reads(self.device, pipe, 3, 512, take, tiring=(EPROTO,), rest=100 * MS)
        self.task = self.bench.host.spawn(reads.steps())

    def say(self, *pieces: bytes) -> None:
        """The device has these to say, one after the other."""
        for piece in pieces:
            self.bench.submit(self.device, 0x01, piece)
            self.bench.run(MS)

    @property
    def events(self) -> list[tuple[str, int, str]]:
        """Letter, status and setup of all but what the device was sent."""
        events = self.bench.tape.events[self.before :]
        return [(e[0], e[5], e[4]) for e in events if e[3] in (0x81, 0x00) and e[2] == 2]


SUBMIT = ("S", -115, "")


def test_they_wait_and_each_goes_out_again():
    made = Set()
    made.say(b"one", b"two")
    assert made.got == [b"one", b"two"]
    assert made.events == [SUBMIT] * 3 + [("C", 0, ""), SUBMIT] * 2


def test_after_a_stall_all_are_killed_and_the_halt_is_cleared():
    made = Set(Fault("stall", 0x81))
    made.bench.run(MS)
    assert made.events == [
        *[SUBMIT] * 3,
        ("C", EPIPE, ""),
        *[("C", ENOENT, "")] * 2,
        ("S", -115, CLEAR_HALT),
        ("C", 0, CLEAR_HALT),
        *[SUBMIT] * 3,
    ]
    made.say(b"well again")
    assert made.got == [b"well again"]


def test_after_an_error_that_tires_an_urb_rests_and_the_others_go_on():
    made = Set(Fault("protocol", 0x81))
    made.say(b"one", b"two")
    assert made.got == [b"one", b"two"]
    assert made.events.count(SUBMIT) == 3 + 2
    made.bench.run(100 * MS)
    assert made.events.count(SUBMIT) == 3 + 2 + 1


def test_after_another_error_it_goes_out_at_once():
    made = Set(Fault("crc", 0x81))
    made.say(b"one")
    assert ("C", EILSEQ, "") in made.events
    assert made.events.count(SUBMIT) == 3 + 2


def test_all_may_rest_at_a_time():
    made = Set(Fault("protocol", 0x81, count=3))
    made.bench.run(50 * MS)
    assert made.events == [SUBMIT] * 3 + [("C", EPROTO, "")] * 3
    made.bench.run(100 * MS)
    assert made.events[6:] == [SUBMIT] * 3
    assert not made.task.done


@pytest.mark.parametrize("faults", [(), (Fault("protocol", 0x81),)])
def test_it_ends_when_the_device_goes(faults):
    made = Set(*faults)
    made.bench.run(MS)
    made.bench.host.unplug(made.model)
    made.bench.run()
    assert made.task.done
    assert made.bench.bus.urbs == 1  # the root hub's
