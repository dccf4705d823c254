"""Following devices through addresses that come and go."""

import pytest

from tests.helpers import wire
from usbmon import Events, decode
from usbmon.devices.model import Device
from usbmon.sources import follow
from usbmon.sources.follow import Follower, matcher
from usbmon.usb.descriptors import device_descriptor

SECOND = 1_000_000


def device(devnum, vendor=0x0557, number=0x2004, *, bus=1, parent=1, level=1, **known):
    raw = bytes((18, 1, 0, 2, 0, 0, 0, 64)) + vendor.to_bytes(2, "little")
    raw += number.to_bytes(2, "little") + bytes((0, 1, 1, 2, 3, 1))
    assert device_descriptor(raw) is not None
    return Device(busnum=bus, devnum=devnum, descriptor=raw, parent=parent, level=level, **known)


ROOT = device(1, 0x1D6B, 2, parent=0, level=0, sysname="usb1")


def events(*places, at=0):
    """An event of each bus and device, or of the device on bus 1; the tag says which it was."""
    packets = []
    for number, place in enumerate(places):
        bus, dev = place if isinstance(place, tuple) else (1, place)
        seconds, usec = divmod(at + number, SECOND)
        packets.append(
            wire.packet(
                order="<",
                id=bus << 8 | dev,
                busnum=bus,
                devnum=dev,
                ts_sec=seconds,
                ts_usec=usec,
                payload=bytes((dev,)),
            )
        )
    return decode(b"".join(packets), format="bin")


def seen(batch):
    assert [e.data[0] for e in batch] == [e.devnum for e in batch]
    return [e.devnum for e in batch]


@pytest.mark.parametrize(
    ("spec", "is_meant"),
    [
        ("0557:2004", True), ("0557:", True), ("0557:2005", False), ("1557:2004", False),
        ("serial:A1", True), ("serial:A", False), ("1-4.2", True), ("1-4", False),
        ("maker", True), ("THING 5", True), ("er thing", True), ("another", False),
    ],
)  # fmt: skip
def test_what_names_a_device(spec, is_meant):
    it = device(5, sysname="1-4.2", serial="A1", manufacturer="Maker", product="Thing 5000")
    assert matcher(spec)(it) is is_meant


def test_only_its_events_are_kept():
    follower = Follower(matcher("0557:2004"))
    follower.appeared(ROOT, [])
    follower.appeared(device(4, 0x1234), [])
    assert len(follower.appeared(device(5), [])) == 0
    assert seen(follower.feed(events(4, 5, 1, (2, 5), 5))) == [5, 5]


def test_its_enumeration_came_before_the_system_told_of_it():
    follower = Follower(matcher("0557:2004"))
    follower.appeared(ROOT, [])
    assert seen(follower.feed(events(1, 0, 0, 6, 6, 1))) == []
    assert seen(follower.feed(events(6, (2, 0), at=10))) == []
    assert seen(follower.appeared(device(6), [])) == [0, 0, 6, 6, 6]
    assert seen(follower.feed(events(6, 1, 0, at=20))) == [6]


def test_address_0_is_that_of_the_next_device_of_its_bus():
    follower = Follower(matcher("0557:2004"))
    follower.feed(events(0, 7))
    assert len(follower.appeared(device(7, 0x9999), [])) == 0  # another one
    follower.feed(events(0, 8, at=10))
    held = follower.appeared(device(8), [])
    assert seen(held) == [0, 8]
    assert held.ts.tolist() == [10_000, 11_000]


def test_of_two_new_devices_each_has_its_own_enumeration():
    follower = Follower(matcher("0557:2004"))
    follower.feed(events(0, 0, 7, 0, 8, 7))
    assert len(follower.appeared(device(7, 0x9999), [])) == 0
    assert follower.appeared(device(8), []).ts.tolist() == [3000, 4000]


def test_it_is_followed_to_another_address_and_its_last_events_are_kept():
    follower = Follower(matcher("0557:2004"))
    follower.appeared(device(5), [])
    follower.gone(device(5), 1_000_000_000)
    assert seen(follower.feed(events(5, at=2 * SECOND))) == [5]  # what was still in flight
    assert seen(follower.feed(events(5, at=4 * SECOND))) == []
    follower.appeared(device(9, bus=2), [])
    assert seen(follower.feed(events(5, (2, 9), at=5 * SECOND))) == [9]


def test_an_address_that_another_device_has_now_is_followed_no_more():
    follower = Follower(matcher("0557:2004"))
    follower.appeared(device(5), [])
    follower.gone(device(5), 0)
    follower.appeared(device(5, 0x4321), [])
    assert seen(follower.feed(events(5))) == []


def test_hubs_on_the_way_on_request():
    hub, other = device(2, 0x05E3), device(3, 0x05E3)
    it = device(5, parent=2, level=2)
    follower = Follower(matcher("0557:2004"), hubs=True)
    for one in (ROOT, hub, other):
        follower.appeared(one, [ROOT, hub, other])
    follower.appeared(it, [ROOT, hub, other, it])
    assert seen(follower.feed(events(1, 2, 3, 5))) == [1, 2, 5]
    assert follower.is_followed(hub)


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr(follow, "HOLD_BYTES", 1000)
    follower = Follower(matcher("0557:2004"))
    for number in range(100):
        follower.feed(events(7, at=number))
    held = follower.appeared(device(7), [])
    assert 0 < len(held) < 10
    assert held.ts[-1] == 99_000


def test_what_is_held_for_too_long_is_let_go():
    follower = Follower(matcher("0557:2004"))
    follower.feed(events(7))
    follower.feed(events(7, at=11 * SECOND))
    assert len(follower.appeared(device(7), [])) == 1


def test_nothing_comes_of_nothing():
    assert len(Follower(matcher("x")).feed(Events.empty())) == 0
