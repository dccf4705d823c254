"""The loopback device by itself: what it keeps, and when it says "not now"."""

from __future__ import annotations

import pytest

from usbmon.bus.device import NAK, Stall
from usbmon.bus.devices.loopback import ROOM, Loopback
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed


@pytest.fixture
def model() -> Loopback:
    model = Loopback()
    model.power_on(Loop(), Speed.HIGH)
    model.request(bytes.fromhex("0009010000000000"), b"")
    return model


@pytest.mark.parametrize("pair", [1, 2])
def test_a_pair_gives_back_in_order_what_it_took(model: Loopback, pair: int) -> None:
    take, give = model.handler(pair), model.handler(0x80 | pair)
    assert give(10) is NAK
    for data in (b"abc", b"def"):
        assert take(data) is None
    assert [give(4), give(4), give(4)] == [b"abcd", b"ef", NAK]


@pytest.mark.parametrize("pair", [1, 2])
def test_it_says_when_there_is_data_and_when_there_is_room(model: Loopback, pair: int) -> None:
    take, give = model.handler(pair), model.handler(0x80 | pair)
    woken: list[str] = []
    model.wait(0x80 | pair, lambda: woken.append("data"))
    take(bytes(ROOM))
    assert take(b"x") is NAK
    model.wait(pair, lambda: woken.append("room"))
    give(1)
    assert woken == ["data", "room"]
    assert take(b"x") is None


def test_a_stream_is_silent_when_there_is_nothing_and_loses_what_is_too_much(
    model: Loopback,
) -> None:
    model.request(bytes.fromhex("010b010000000000"), b"")
    take, give = model.handler(0x03), model.handler(0x83)
    assert give(192, 0) == b""
    take(bytes(ROOM), 1)
    take(b"lost", 2)
    assert len(model.kept[3]) == ROOM


def test_vendor_requests_write_and_read(model: Loopback) -> None:
    model.request(bytes.fromhex("4001000000000300"), b"abc")
    assert model.request(bytes.fromhex("c002000000000200"), b"") == b"ab"
    for other in ("4002000000000000", "c001000000000100", "a101000000000100"):
        with pytest.raises(Stall):
            model.request(bytes.fromhex(other), b"")


def test_a_reset_empties_it(model: Loopback) -> None:
    model.handler(1)(b"abc")
    model.bus_reset()
    model.request(bytes.fromhex("0009010000000000"), b"")
    assert model.handler(0x81)(10) is NAK
