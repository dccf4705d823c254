"""The printer: its class requests, its paper, and when there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import NAK, Stall
from usbmon.bus.devices.printer import PAPER, Printer
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.errors import SourceError

DEVICE_ID, STATUS = "a1000000000000ff", "a101000000000100"


def powered(printer: Printer) -> Printer:
    printer.power_on(Loop(), Speed.HIGH)
    printer.request(bytes.fromhex("0009010000000000"), b"")
    return printer


def ask(printer: Printer, setup: str):
    return printer.request(bytes.fromhex(setup), b"")


def test_descriptors():
    raw = ask(powered(Printer()), "800600020000ff00")
    assert raw[9:].hex() == "090400000207010200" + "07050202000200" + "07058102000200"


def test_the_device_id_is_that_of_ieee_1284():
    raw = ask(powered(Printer()), DEVICE_ID)
    assert int.from_bytes(raw[:2], "big") == len(raw)
    keys = dict(pair.split(":") for pair in raw[2:].decode().rstrip(";").split(";"))
    assert keys["MFG"] == "usbmon"
    assert keys["CLS"] == "PRINTER"
    assert {"MDL", "CMD"} <= keys.keys()


def test_what_it_is_sent_is_its_paper():
    printer = powered(Printer())
    for data in (b"one ", b"two"):
        assert printer.handler(0x02)(data) is None
    assert printer.printed == b"one two"
    assert printer.take_out() == b"one two"
    assert printer.printed == b""


def test_a_file_is_appended_to(tmp_path):
    output = tmp_path / "paper"
    output.write_bytes(b"before ")
    printer = powered(Printer(output))
    printer.handler(0x02)(b"and after")
    assert output.read_bytes() == b"before and after"
    assert printer.printed == b""


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path):
    with pytest.raises(SourceError, match="cannot be printed to"):
        Printer(tmp_path / "missing" / "paper")


def test_a_file_that_goes_is_as_no_paper(tmp_path):
    printer = powered(Printer(tmp_path / "paper"))
    (tmp_path / "paper").unlink()
    (tmp_path / "paper").mkdir()
    assert printer.handler(0x02)(b"data") is NAK
    assert ask(printer, STATUS) == b"\x30"


def test_without_paper_it_waits_and_says_so():
    printer = powered(Printer())
    assert ask(printer, STATUS) == b"\x18"  # not error, selected
    printer.paper_out = True
    assert ask(printer, STATUS) == b"\x30"  # paper empty, selected, error
    assert printer.handler(0x02)(b"data") is NAK
    woken: list[int] = []
    printer.wait(0x02, lambda: woken.append(1))
    printer.paper_out = False
    assert woken == [1]
    assert printer.handler(0x02)(b"data") is None


def test_memory_is_bounded():
    printer = powered(Printer())
    printer.handler(0x02)(bytes(PAPER))
    assert printer.paper_out
    assert printer.handler(0x02)(b"more") is NAK
    printer.take_out()
    assert not printer.paper_out


@pytest.mark.parametrize("setup", ["2102000000000000", "2302000000000000"])
def test_a_soft_reset_of_either_release(setup):
    printer = powered(Printer())
    printer.halted.add(0x02)
    ask(printer, setup)
    assert printer.resets == 1
    assert not printer.halted


@given(st.lists(st.tuples(st.binary(min_size=8, max_size=8), st.binary(max_size=9))))
def test_any_request_is_answered_or_stalled(requests):
    printer = powered(Printer())
    for setup, data in requests:
        for raw in (setup, setup[:1] + bytes((setup[1] % 4,)) + setup[2:], b"\xa1" + setup[1:]):
            try:
                answer = printer.request(raw, data)
            except Stall:
                continue
            assert len(answer) <= int.from_bytes(raw[6:], "little")


def test_it_has_nothing_to_say():
    assert powered(Printer()).handler(0x81)(64) is NAK


@pytest.mark.parametrize("setup", ["a100010000000100", "a105000000000100", "2101000000000000"])
def test_what_it_does_not_know_it_stalls(setup):
    with pytest.raises(Stall):
        ask(powered(Printer()), setup)
