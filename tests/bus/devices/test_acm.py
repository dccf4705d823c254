"""The serial adapter: descriptors, line coding and lines, notifications, and what it echoes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import NAK, Stall
from usbmon.bus.devices.acm import ROOM, SerialAdapter
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed

GET_LINE_CODING = "a121000000000700"


def powered(adapter: SerialAdapter) -> SerialAdapter:
    adapter.power_on(adapter.loop or Loop(), Speed.HIGH)
    adapter.request(bytes.fromhex("0009010000000000"), b"")
    return adapter


def ask(adapter: SerialAdapter, setup: str, data: bytes = b""):
    return adapter.request(bytes.fromhex(setup), data)


def received(adapter: SerialAdapter, size: int = 512) -> list[bytes]:
    """What the IN endpoint gives, asked for `size` bytes a time."""
    out = []
    while (data := adapter.handler(0x81)(size)) is not NAK:
        out.append(data)
    return out


def test_descriptors():
    raw = ask(powered(SerialAdapter()), "800600020000ff00")
    assert raw[9:] == bytes.fromhex(
        "080b000202020000"  # association: two interfaces, communications, ACM
        "090400000102020000"
        "0524001001 0524060001 0524010001 04240206"
        "070582030a0009"
        "09040100020a000000"
        "07050102000200 07058102000200"
    )


def test_line_coding():
    adapter = powered(SerialAdapter())
    assert ask(adapter, GET_LINE_CODING).hex() == "80250000" + "000008"  # 9600 8N1
    ask(adapter, "2120000000000700", bytes.fromhex("00c20100" + "020107"))
    assert (adapter.baud, adapter.stop, adapter.parity, adapter.bits) == (115200, 2, 1, 7)
    assert ask(adapter, GET_LINE_CODING).hex() == "00c20100020107"


def test_lines_that_the_host_raises_are_answered_by_carrier_and_ready():
    adapter = powered(SerialAdapter())
    notify = adapter.handler(0x82)
    assert notify(10) is NAK
    ask(adapter, "2122030000000000")
    assert (adapter.dtr, adapter.rts) == (True, True)
    assert notify(10).hex() == "a120000000000200" + "0300"
    ask(adapter, "2122000000000000")
    assert (adapter.dtr, adapter.rts) == (False, False)
    assert notify(10).hex() == "a120000000000200" + "0000"
    assert notify(10) is NAK


def test_breaks_are_counted():
    adapter = powered(SerialAdapter())
    ask(adapter, "2123ffff00000000")
    ask(adapter, "2123000000000000")  # ends it
    assert adapter.breaks == 1


@pytest.mark.parametrize(
    ("setup", "data"),
    [
        ("2120000000000600", bytes(6)),  # a line coding that is too short
        ("2122000001000000", b""),  # of another interface
        ("2105000000000000", b""),
        ("a105000000000700", b""),
        ("4022000000000000", b""),  # a vendor's request
    ],
)
def test_what_it_does_not_know_it_stalls(setup, data):
    with pytest.raises(Stall):
        ask(powered(SerialAdapter()), setup, data)


def test_a_transfer_of_full_packets_ends_with_an_empty_one():
    adapter = powered(SerialAdapter())
    adapter.send(bytes(1024))
    assert list(map(len, received(adapter))) == [512, 512, 0]
    adapter.send(bytes(1024))
    assert list(map(len, received(adapter, 4096))) == [1024, 0]
    adapter.send(bytes(700))
    assert list(map(len, received(adapter))) == [512, 188]


@given(st.lists(st.binary(min_size=1, max_size=700), max_size=20))
def test_what_is_sent_comes_back_in_order(pieces):
    adapter = powered(SerialAdapter())
    for piece in pieces:
        assert adapter.handler(0x01)(piece) is None
    assert b"".join(received(adapter)) == b"".join(pieces)


def test_it_takes_no_more_than_there_is_room_for():
    adapter = powered(SerialAdapter())
    take = adapter.handler(0x01)
    while take(bytes(4096)) is not NAK:
        pass
    woken: list[int] = []
    adapter.wait(0x01, lambda: woken.append(1))
    assert ROOM < len(b"".join(received(adapter))) <= ROOM + 4096
    assert woken == [1]
    with pytest.raises(BufferError, match="does not read"):
        adapter.send(bytes(3 * ROOM))


def test_whoever_takes_over_received_gets_it():
    class Upper(SerialAdapter):
        def received(self, data: bytes) -> None:
            self.send(data.upper())

    adapter = powered(Upper())
    adapter.handler(0x01)(b"shout")
    assert received(adapter) == [b"SHOUT"]


def test_a_reset_forgets_all():
    adapter = powered(SerialAdapter())
    ask(adapter, "2120000000000700", bytes.fromhex("00c20100020107"))
    ask(adapter, "2122030000000000")
    adapter.send(b"left")
    powered(adapter)
    assert (adapter.baud, adapter.dtr) == (9600, False)
    assert received(adapter) == []
    assert adapter.handler(0x82)(10) is NAK
