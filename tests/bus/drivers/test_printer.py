"""usblp: the order of its requests, printing, and what it makes of a printer that will not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Configuration, Endpoint, Interface
from usbmon.bus.device import Stall
from usbmon.bus.devices.printer import Printer
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.printer import PrinterDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.urb import BULK

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

DEVICE_ID, STATUS = "a10000000000ff03", "a101000000000100"


@pytest.fixture
def printer() -> Printer:
    return Printer()


@pytest.fixture
def bench(printer) -> Bench:
    bench = Bench(drivers=(HubDriver, PrinterDriver))
    bench.plug(printer)
    return bench


@pytest.fixture
def driver(bench, printer) -> PrinterDriver:
    return bench.host.find(printer).drivers[0]


def test_the_requests_of_a_probe(bench, driver):
    setups = [e[4] for e in bench.tape.events if e[0] == "S" and e[2] == 2]
    last = setups[setups.index("0009010000000000") + 1 :]
    assert [s for s in last if not s.startswith("800603")] == [DEVICE_ID]
    assert driver.device_id.startswith("MFG:usbmon;")


class Named(Printer):
    """Says of itself what it is told to; nothing, and it stalls."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__()
        self.answer = answer

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if setup.bRequest:
            return super().control(setup, data)
        if self.answer is None:
            raise Stall
        return self.answer


@pytest.mark.parametrize(
    ("answer", "device_id"),
    [
        (None, ""),
        (b"", ""),
        (b"\x00", ""),
        (b"\x00\x00MFG:x;", ""),
        (b"\x00\x08MFG:x;and more", "MFG:x;"),
        (b"\xff\xffMFG:x;", "MFG:x;"),
        (b"\x00\x04\xff\x00", "\xff\x00"),
    ],
)
def test_a_printer_may_say_anything_of_itself(answer, device_id):
    bench = Bench(drivers=(HubDriver, PrinterDriver))
    printer = Named(answer)
    driver = bench.plug(printer).drivers[0]
    assert driver.device_id == device_id
    bench.host.run_task(driver.print(b"job"))
    assert printer.printed == b"job"


class Other(Printer):
    """Has these endpoints and this protocol."""

    def __init__(self, protocol: int, *endpoints: Endpoint) -> None:
        super().__init__()
        self.configurations = (Configuration((Interface(7, 1, protocol, endpoints),)),)


def test_nothing_is_read_from_a_unidirectional_printer():
    bench = Bench(drivers=(HubDriver, PrinterDriver))
    printer = Other(1, Endpoint(0x02, BULK))
    bench.host.run_task(bench.plug(printer).drivers[0].print(b"job"))
    assert printer.printed == b"job"


@pytest.mark.parametrize("address", [0x02, 0x81])
def test_a_bidirectional_printer_with_one_endpoint_is_left_alone(address):
    bench = Bench(drivers=(HubDriver, PrinterDriver))
    assert not bench.plug(Other(2, Endpoint(address, BULK))).drivers
    assert any("no BULK endpoint" in line for line in bench.log)


def test_it_is_listened_to_while_it_is_open(bench, printer, driver):
    bench.host.run_task(driver.print(b"job"))
    bench.run()
    bulk = [
        (e[0], e[3], e[5], e[6]) for e in bench.tape.events if e[3] in (0x81, 0x02) and e[2] == 2
    ]
    assert bulk == [
        ("S", 0x81, -115, 1024),
        ("S", 0x02, -115, 3),
        ("C", 0x02, 0, 3),
        ("C", 0x81, -2, 0),
    ]


def test_a_job_goes_in_writes_of_8_kib(bench, printer, driver):
    job = bytes(range(256)) * 80
    bench.host.run_task(driver.print(job))
    assert printer.printed == job
    writes = [e[6] for e in bench.tape.events if e[0] == "S" and e[3] == 0x02]
    assert writes == [8192, 8192, 4096]


def test_out_of_paper_is_told_after_the_time_is_up(bench, printer, driver):
    printer.paper_out = True
    before = bench.loop.now
    with pytest.raises(UrbFailed, match="out of paper"):
        bench.host.run_task(driver.print(b"job"))
    assert bench.loop.now - before >= 5 * SECOND
    assert bench.tape.setups()[-1] == STATUS


def test_paper_that_comes_in_time_is_printed_on(bench, printer, driver):
    printer.paper_out = True
    bench.loop.call_later(SECOND, setattr, printer, "paper_out", False)
    bench.host.run_task(driver.print(b"job"))
    assert printer.printed == b"job"


@pytest.mark.parametrize("broken", [False, True])
def test_a_printer_that_takes_its_time_is_asked_for_its_status(bench, printer, driver, broken):
    """usblp_wwait, every 1.5 s, whatever the answer."""
    printer.faults.append(Fault("nak", 0x02, duration=4 * SECOND))
    printer.faults.extend([Fault("stall", 0, count=None)] * broken)
    before = bench.loop.now
    bench.host.run_task(driver.print(b"job"))
    asked = [e[1] - before for e in bench.tape.events if e[0] == "S" and e[4] == STATUS]
    assert [time // (SECOND // 10) for time in asked] == [15, 30]
    assert printer.printed == b"job"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("stall", -32),
        ("protocol", -71),
        ("no-response", -71),
        ("crc", -84),
        ("timeout", -2),
        ("disconnect", -108),  # the hub is faster than three tries
    ],
)
def test_other_errors_are_those_of_the_urb(bench, printer, driver, kind, status):
    printer.faults.append(Fault(kind, 0x02))
    with pytest.raises(UrbFailed, match="1-1: write: ") as caught:
        bench.host.run_task(driver.print(b"job"))
    assert caught.value.status == status
    bench.run()
    assert bench.bus.urbs == 1  # the root hub's


@pytest.mark.parametrize("after", [0, 1500 * MS, 2 * SECOND])
def test_pulled_out_while_it_prints(bench, printer, driver, after):
    printer.paper_out = True
    bench.loop.call_later(after, bench.host.unplug, printer)
    with pytest.raises(UrbFailed) as caught:
        bench.host.run_task(driver.print(b"job"))
    assert caught.value.status in (-71, -108)
    bench.run(6 * SECOND)
    assert not [e for e in bench.tape.events if e[2] == 2 and e[7] in bench.tape.open]
    assert bench.bus.urbs == 1
