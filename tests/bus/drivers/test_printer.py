"""usblp: the order of its requests, printing, and what it makes of a printer that will not."""

from __future__ import annotations

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.printer import Printer
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.printer import PrinterDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import SECOND

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


@pytest.mark.parametrize(
    ("kind", "name"), [("stall", "EPIPE"), ("protocol", "EPROTO"), ("crc", "EILSEQ")]
)
def test_other_errors_are_those_of_the_urb(bench, printer, driver, kind, name):
    printer.faults.append(Fault(kind, 0x02))
    with pytest.raises(UrbFailed, match=f"write: .*{name}"):
        bench.host.run_task(driver.print(b"job"))


def test_pulled_out_while_it_prints(bench, printer, driver):
    printer.paper_out = True
    bench.loop.call_later(SECOND, bench.host.unplug, printer)
    with pytest.raises(UrbFailed):
        bench.host.run_task(driver.print(b"job"))
    bench.run()
    assert bench.bus.urbs == 1  # the root hub's
