"""usbhid: the order of its requests, what it reads, and how it goes on after errors."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Configuration, Endpoint, Interface
from usbmon.bus.device import Stall
from usbmon.bus.devices.hid import Keyboard, Mouse
from usbmon.bus.drivers.hid import HidDriver
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.urb import INTERRUPT

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

SET_IDLE, SET_LEDS = "210a000000000000", "2109000200000100"
REPORT_DESCRIPTOR = "810600220000{:02x}00"
CLEAR_HALT = "0201000081000000"


class Simple(Keyboard):
    """Knows no class request: neither SET_IDLE nor LEDs."""

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if setup.type == "class":
            raise Stall
        return super().control(setup, data)


class Terse(Mouse):
    """Tells half of its report descriptor."""

    def _class_descriptor(self, kind: int) -> bytes:
        return super()._class_descriptor(kind)[:26]


class Mute(Mouse):
    """Does not tell its report descriptor."""

    def _class_descriptor(self, kind: int) -> bytes:
        raise Stall


class Odd(Mouse):
    """Its interface is another one."""

    def __init__(self, interface: Interface) -> None:
        super().__init__()
        self.configurations = (Configuration((interface,)),)


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


def test_a_keyboard_need_know_no_class_request():
    bench, driver = bound(Simple())
    assert own_requests(bench) == [SET_IDLE, REPORT_DESCRIPTOR.format(63), SET_LEDS]
    assert driver.is_ready
    assert polls(bench) == [("S", -115)]


def test_a_report_descriptor_that_is_not_whole_is_asked_for_four_times():
    bench, driver = bound(Terse())
    assert own_requests(bench) == [SET_IDLE] + [REPORT_DESCRIPTOR.format(52)] * 4
    assert driver.report_descriptor == Terse.report_descriptor[:26]
    assert driver.is_ready


def test_without_a_report_descriptor_it_is_left_alone():
    bench = Bench(drivers=(HubDriver, HidDriver))
    device = bench.plug(Mute())
    assert own_requests(bench) == [SET_IDLE] + [REPORT_DESCRIPTOR.format(52)] * 4
    assert not device.drivers
    assert any("probe failed" in line and "EPIPE" in line for line in bench.log)


def hid(length: int) -> bytes:
    return bytes((9, 0x21, 0x11, 1, 0, 1, 0x22)) + length.to_bytes(2, "little")


POLLED = (Endpoint(0x81, INTERRUPT, 4, 8),)


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        (Interface(3, 1, 2, (), extra=hid(52)), "no INTERRUPT endpoint"),
        (Interface(3, 1, 2, (Endpoint(0x02, INTERRUPT, 4, 8),), extra=hid(52)), "no INTERRUPT"),
        (Interface(3, 1, 2, POLLED), "no HID descriptor"),
        (Interface(3, 1, 2, POLLED, extra=b"\x08" + hid(52)[1:8]), "no HID descriptor"),
        (Interface(3, 1, 2, POLLED, extra=b"\x09\x24" + hid(52)[2:]), "no HID descriptor"),
        (Interface(3, 1, 2, POLLED, extra=hid(0)), "not 0"),
        (Interface(3, 1, 2, POLLED, extra=hid(4097)), "not 4097"),
    ],
)
def test_an_interface_that_makes_no_sense_is_left_alone(interface, words):
    bench = Bench(drivers=(HubDriver, HidDriver))
    device = bench.plug(Odd(interface))
    assert not device.drivers
    (line,) = [line for line in bench.log if "probe failed" in line]
    assert words in line
    assert own_requests(bench) == []


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


def test_any_reports_are_read():
    keyboard = Keyboard()
    bench, driver = bound(keyboard)
    reports = [bytes((n, 0, *range(n, n + 6))) for n in range(0, 250, 5)]
    reports += [bytes(size) for size in range(8)]
    for report in reports:
        keyboard.report(report)
    bench.run()
    assert list(driver.reports) == reports


def test_a_stall_is_cleared():
    mouse = Mouse()
    bench, driver = bound(mouse, Fault("stall", 0x81))
    mouse.move(3, 4)
    mouse.move(5, 6)
    bench.run()
    assert own_requests(bench)[-1] == CLEAR_HALT
    assert [tuple(report[1:3]) for report in driver.reports] == [(3, 4), (5, 6)]


@pytest.mark.parametrize(
    ("kind", "status"), [("protocol", -71), ("no-response", -71), ("crc", -84)]
)
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


def test_too_much_is_reported_and_asked_for_again():
    mouse = Mouse()
    bench, driver = bound(mouse, Fault("babble", 0x81))
    mouse.move(1, 1)
    mouse.move(2, 2)
    bench.run()
    assert "usbhid 1-1: input irq status -75" in bench.log
    assert ("C", -75) in polls(bench)
    assert driver.reports[-1][1:3] == b"\x02\x02"


def test_a_mouse_that_is_busy_for_a_while_is_heard_afterwards():
    mouse = Mouse()
    bench, driver = bound(mouse, Fault("nak", 0x81, duration=SECOND // 2))
    mouse.move(1, 1)
    mouse.move(2, 2)
    bench.run(SECOND // 4)
    assert len(driver.reports) == 1
    bench.run()
    assert len(driver.reports) == 2


RESET = "2303040001000000"  # SET_FEATURE PORT_RESET of port 1


def requests_since(bench: Bench, before: int) -> list[str]:
    return [e[4] for e in bench.tape.events[before:] if e[0] == "S" and e[4]]


def test_after_a_second_of_errors_the_device_is_reset():
    """hid_io_error, hid_reset and hid_post_reset."""
    mouse = Mouse()
    bench, driver = bound(mouse, Fault("protocol", 0x81, count=13))
    mouse.move(1, 1)
    before = len(bench.tape.events)
    bench.run(3 * SECOND)
    setups = requests_since(bench, before)
    assert RESET in setups
    assert setups[-3:] == ["0009010000000000", REPORT_DESCRIPTOR.format(52), SET_IDLE]
    errors = [e[1] for e in bench.tape.events if e[0] == "C" and e[5] == -71]
    assert errors[-1] - errors[0] > SECOND
    assert errors[-2] - errors[0] <= SECOND
    mouse.move(2, 2)
    bench.run()
    assert driver.reports[-1][1:3] == b"\x02\x02"


def test_a_halt_that_cannot_be_cleared_asks_for_a_reset():
    mouse = Mouse()
    bench, driver = bound(mouse, Fault("stall", 0x81), Fault("crc", 0))
    mouse.move(1, 1)
    before = len(bench.tape.events)
    bench.run(2 * SECOND)
    setups = requests_since(bench, before)
    assert setups[0] == CLEAR_HALT
    assert RESET in setups
    mouse.move(2, 2)
    bench.run()
    assert driver.reports[-1][1:3] == b"\x02\x02"


def test_a_device_that_does_not_come_back_from_a_reset_is_let_go_of():
    mouse = Mouse()
    bench, _ = bound(mouse, Fault("no-response", None, count=None))
    mouse.move(1, 1)
    bench.run(2 * SECOND)
    assert any("reset failed" in line for line in bench.log)
    assert "usb 1-1: USB disconnect, device number 2" in bench.log


def test_a_short_report_is_one():
    keyboard = Keyboard()
    bench, driver = bound(keyboard, Fault("short", 0x81))
    keyboard.press(4)
    bench.run()
    assert [len(report) for report in driver.reports] == [8, 4]  # the first waited already


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (Fault("protocol", 0x81, count=None),),  # while it waits to try again, or is reset
        (Fault("stall", 0x81), Fault("timeout", 0)),  # while the halt is cleared
        (Fault("disconnect", 0x81),),
    ],
)
@pytest.mark.parametrize("after", [0, 5 * MS, 40 * MS, 1100 * MS, 1200 * MS])
def test_pulled_out_nothing_is_left_in_flight(faults, after):
    mouse = Mouse()
    bench, _ = bound(mouse, *map(copy, faults))
    mouse.move(1, 1)
    mouse.move(2, 2)
    bench.run(after)
    bench.host.unplug(mouse)
    bench.run(6 * SECOND)
    assert not [e for e in bench.tape.events if e[2] == 2 and e[7] in bench.tape.open]
    assert bench.host.find(mouse) is None
    assert bench.bus.urbs == 1  # the root hub's
