"""What the system tells of devices, beside the events of a bus."""

import pytest

from tests.helpers import wire
from tests.helpers.corpus import CAPTURES
from usbmon import Events, decode, layout
from usbmon.devices import listing
from usbmon.formats.base import Interface
from usbmon.sources import Source
from usbmon.sources.follow import Follower, matcher
from usbmon.sources.hotplug import Change
from usbmon.sources.watched import Watched

DEVICES = listing.read((CAPTURES / "devices/hid-xhci.devices").read_text())
KEYBOARD = next(d for d in DEVICES if d.drivers.get(0) == "usbhid")


class Bus(Source):
    """Gives these batches."""

    def __init__(self, *batches, clock=layout.WALL):
        self.interfaces = [Interface(220, "usbmon1")]
        self.clock = clock
        self._batches = batches

    elapsed, dropped = 3.0, 4

    def __iter__(self):
        return iter(self._batches)


class Watcher:
    """Tells of these changes, one list a look."""

    def __init__(self, devices, *changes):
        self.devices = list(devices)
        self._changes = list(changes)

    def fileno(self):
        return None

    def poll(self):
        return self._changes.pop(0) if self._changes else []


@pytest.fixture(autouse=True)
def _at_each_batch(monkeypatch):
    monkeypatch.setattr("usbmon.sources.watched._LOOK_SECONDS", 0)


def events(*devnums):
    packets = (wire.packet(order="<", devnum=devnum, busnum=1) for devnum in devnums)
    return decode(b"".join(packets), format="bin")


def test_what_is_known_of_the_devices_of_the_bus_comes_first():
    said = []
    watched = Watched(Bus(events(9)), Watcher(DEVICES), 1, report=said.append)
    batches = [batch for batch in watched if len(batch)]
    known, last = Events.concat(batches[:-1]), batches[-1]
    on_bus = [device for device in DEVICES if device.busnum == 1]
    assert known.synthetic.all()
    assert not last.synthetic.any()
    assert {int(d) for d in known.devnum} <= {device.devnum for device in on_bus}
    assert all(f"{KEYBOARD.id}" not in line or "typed" in line for line in said)
    assert (watched.elapsed, watched.dropped, watched.interfaces[0].name) == (3.0, 4, "usbmon1")
    assert watched.remarks() == []


def test_a_keyboard_is_a_reason_for_a_warning():
    said = []
    list(Watched(Bus(), Watcher([KEYBOARD]), KEYBOARD.busnum, report=said.append))
    (line,) = said
    assert line.endswith(": what is typed on it will be in the capture")


def test_nothing_is_described_where_that_is_not_wanted():
    watched = Watched(Bus(events(9)), Watcher(DEVICES), 0, describe=False)
    assert [len(batch) for batch in watched] == [1]


def test_what_comes_and_goes_is_remarked_and_described():
    added, removed = [Change("added", KEYBOARD)], [Change("removed", KEYBOARD)]
    watched = Watched(Bus(events(9), events(9)), Watcher([], added, removed), 0)
    assert len(list(watched)) > 2
    first, second = watched.remarks()
    assert first.text.startswith("added: ")
    assert second.text.startswith("removed: ")
    assert KEYBOARD.id in first.text
    assert first.ts <= second.ts


def test_a_device_of_another_bus_is_not_told_of():
    change = [Change("added", KEYBOARD)]
    watched = Watched(Bus(events(9)), Watcher([], change), KEYBOARD.busnum + 1)
    assert [len(batch) for batch in watched] == [1]
    assert watched.remarks() == []


def test_of_devices_that_are_followed_alone_events_and_remarks_are_given():
    other = next(d for d in DEVICES if d.busnum == KEYBOARD.busnum and d.devnum > KEYBOARD.devnum)
    changes = [Change("added", KEYBOARD), Change("added", other)]
    batches = (events(0, KEYBOARD.devnum, other.devnum), events(KEYBOARD.devnum, other.devnum))
    watched = Watched(
        Bus(*batches), Watcher([], changes), 0,
        describe=False, follower=Follower(matcher(KEYBOARD.sysname)),
    )  # fmt: skip
    got = Events.concat(watched)
    assert got.devnum.tolist() == [0, KEYBOARD.devnum, KEYBOARD.devnum]
    assert [remark.text.split(":")[0] for remark in watched.remarks()] == ["added"]


def test_a_monotonic_bus_has_monotonic_descriptions():
    watched = Watched(Bus(clock=layout.MONOTONIC), Watcher(DEVICES), 0)
    clocks = {int(c) for batch in watched for c in batch.clock}
    assert clocks <= {layout.MONOTONIC}
