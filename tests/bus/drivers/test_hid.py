"""usbhid: the order of its requests, what it reads, and how it goes on after errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.device import Stall
from usbmon.bus.devices.hid import Keyboard, Mouse
from usbmon.bus.drivers.hid import HidDriver
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

SET_IDLE, SET_LEDS = "210a000000000000", "2109000200000100"
REPORT_DESCRIPTOR = "810600220000{:02x}00"
CLEAR_HALT = "0201000081000000"


class Quiet(Mouse):
    """A mouse that does not know SET_IDLE."""

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if setup.bRequest == 0x0A:
            raise Stall
        return super().control(setup, data)


def bound(model, *faults: Fault) -> tuple[Bench, HidDriver]:
    """The model in use; then faults."""
    bench = Bench(drivers=(HubDriver, HidDriver))
    driver = bench.plug(model).drivers[0]
    model.faults.extend(faults)
    return bench, driver


def own_requests(bench: Bench) -> list[str]:
    """The device's control requests behind SET_CONFIGURATION, strings left out."""
    setups = [e[4] for e in bench.tape.events if e[0] == "S" and e[4] and e[2] == 2]
    setups = setups[setups.index("0009010000000000") + 1 :]
    return [setup for setup in setups if not setup.startswith("800603")]


def polls(bench: Bench) -> list[tuple[str, int]]:
    """Submissions and completions of the interrupt endpoint: letter and status."""
    return [(e[0], e[5]) for e in bench.tape.events if e[2] == 2 and e[3] == 0x81]


@pytest.mark.parametrize(("model", "length", "leds"), [(Keyboard, 63, True), (Mouse, 52, False)])
def test_the_requests_of_a_probe(model, length, leds):
    bench, driver = bound(model())
    assert own_requests(bench) == [SET_IDLE, REPORT_DESCRIPTOR.format(length)] + [SET_LEDS] * leds
    assert polls(bench) == [("S", -115)]
    assert driver.report_descriptor == model.report_descriptor


def test_a_mouse_need_not_know_set_idle():
    bench, driver = bound(Quiet())
    assert own_requests(bench) == [SET_IDLE, REPORT_DESCRIPTOR.format(52)]
    assert driver.is_ready


def test_what_is_typed_is_read_and_asked_for_again():
    keyboard = Keyboard()
    bench, driver = bound(keyboard)
    keyboard.type("Hi, \n~")
    bench.run(2 * SECOND)
    assert driver.typed == "Hi, \n~"
    assert len(driver.reports) == 12
    assert polls(bench) == [("S", -115), *[("C", 0), ("S", -115)] * 12]


def test_keys_held_together_are_read_once():
    keyboard = Keyboard()
    bench, driver = bound(keyboard)
    for report in ("0000040000000000", "0000040500000000", "0000050000000000", "00" * 8):
        keyboard.report(bytes.fromhex(report))
    bench.run()
    assert driver.typed == "ab"


def test_too_many_keys_are_none():
    keyboard = Keyboard()
    bench, driver = bound(keyboard)
    keyboard.report(bytes.fromhex("0000010101010101"))  # ErrorRollOver
    bench.run()
    assert driver.typed == ""


def test_leds_are_set():
    keyboard = Keyboard()
    bench, driver = bound(keyboard)
    bench.host.run_task(driver.set_leds(2))
    assert keyboard.leds == 2


def test_a_stall_is_cleared():
    mouse = Mouse()
    bench, driver = bound(mouse, Fault("stall", 0x81))
    mouse.move(3, 4)
    mouse.move(5, 6)
    bench.run()
    assert own_requests(bench)[-1] == CLEAR_HALT
    assert [tuple(report[1:3]) for report in driver.reports] == [(3, 4), (5, 6)]


@pytest.mark.parametrize(("kind", "status"), [("protocol", -71), ("crc", -84)])
def test_after_an_error_it_waits_13_ms_and_twice_as_long_each_time(kind, status):
    """hid_io_error of hid-core.c."""
    mouse = Mouse()
    bench, driver = bound(mouse, Fault(kind, 0x81, count=3))
    mouse.move(1, 1)
    bench.run()
    errors = [e[1] for e in bench.tape.events if e[:1] == ("C",) and e[5] == status]
    again = [
        next(e[1] for e in bench.tape.events if e[0] == "S" and e[3] == 0x81 and e[1] > error)
        for error in errors
    ]
    delays = [(b - a) // MS for a, b in zip(errors, again, strict=True)]
    assert delays == [13, 26, 52]
    assert len(driver.reports) == 1


def test_it_gives_up_when_errors_do_not_end():
    mouse = Mouse()
    bench, _ = bound(mouse, Fault("protocol", 0x81, count=None))
    mouse.move(1, 1)
    bench.run(5 * SECOND)
    assert any("gives up" in line for line in bench.log)
    assert polls(bench)[-1] == ("C", -71)
    assert bench.bus.urbs == 1  # the root hub's


def test_a_short_report_is_one():
    keyboard = Keyboard()
    bench, driver = bound(keyboard, Fault("short", 0x81))
    keyboard.press(4)
    bench.run()
    assert [len(report) for report in driver.reports] == [8, 4]  # the first waited already


@pytest.mark.parametrize("model", [Keyboard, Mouse])
def test_pulled_out_nothing_is_left_in_flight(model):
    device = model()
    bench, _ = bound(device)
    bench.host.unplug(device)
    bench.run()
    assert polls(bench)[-1][0] == "C"
    assert polls(bench)[-1][1] in (-71, -108)
    assert bench.bus.urbs == 1
