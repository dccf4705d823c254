"""cdc_acm: opening, writing, reading, closing, and errors. That its requests are Linux's, and in
Linux's order, is in tests/parity/test_drivers.py."""

from __future__ import annotations

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.acm import SerialAdapter
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.acm import AcmDriver, union_slave
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND


class Port:
    """An adapter in use, its port open."""

    def __init__(self) -> None:
        self.bench = Bench(drivers=(HubDriver, AcmDriver))
        self.adapter = SerialAdapter()
        self.driver = self.bench.plug(self.adapter).drivers[0]
        self.run(self.driver.open(115200))

    def run(self, steps, seconds: int = 60):
        return self.bench.host.run_task(steps, timeout=seconds * SECOND)


@pytest.fixture
def port() -> Port:
    return Port()


def test_one_driver_has_both_interfaces(port):
    device = port.bench.host.find(port.adapter)
    assert device.drivers == {0: port.driver, 1: port.driver}


def test_open_sets_the_line(port):
    assert (port.adapter.baud, port.adapter.dtr, port.adapter.rts) == (115200, True, True)
    port.bench.run(100 * MS)
    assert port.driver.state == 3  # carrier and ready


def test_what_is_written_comes_back(port):
    data = bytes(range(256)) * 200
    port.run(port.driver.write(data))
    assert port.run(port.driver.read(len(data))) == data
    assert port.run(port.driver.read(10, timeout=MS)) == b""


def test_what_the_device_says_by_itself_is_read(port):
    port.adapter.send(b"hello")
    assert port.run(port.driver.read(100)) == b"hello"


def test_closed_nothing_is_left_in_flight(port):
    port.run(port.driver.close())
    port.bench.run()
    assert not port.driver.is_open
    assert not port.adapter.dtr
    assert port.bench.bus.urbs == 1  # the root hub's


def test_it_can_be_opened_again(port):
    port.run(port.driver.close())
    port.run(port.driver.open(9600))
    port.run(port.driver.write(b"again"))
    assert port.run(port.driver.read(5)) == b"again"


@pytest.mark.parametrize(
    ("kind", "name"), [("stall", "EPIPE"), ("protocol", "EPROTO"), ("crc", "EILSEQ")]
)
def test_a_write_that_fails_is_an_error(port, kind, name):
    port.adapter.faults.append(Fault(kind, 0x01))
    with pytest.raises(UrbFailed, match=name):
        port.run(port.driver.write(b"data"))


def test_a_device_that_takes_nothing_is_given_up_after_ten_seconds(port):
    port.adapter.faults.append(Fault("timeout", 0x01))
    before = port.bench.loop.now
    with pytest.raises(UrbFailed, match=r"ETIMEDOUT|ENOENT|ECONNRESET"):
        port.run(port.driver.write(b"data"))
    assert port.bench.loop.now - before == pytest.approx(10 * SECOND, rel=0.01)


@pytest.mark.parametrize("kind", ["protocol", "crc", "stall", "babble"])
def test_reading_goes_on_after_an_error(port, kind):
    port.adapter.faults.append(Fault(kind, 0x81))
    for text in (b"one", b"two", b"three"):
        port.run(port.driver.write(text))
    assert port.run(port.driver.read(20)).endswith(b"three")


def test_pulled_out_in_mid_transfer_nothing_is_left_in_flight(port):
    port.bench.loop.call_later(MS // 10, port.bench.host.unplug, port.adapter)
    with pytest.raises(UrbFailed, match=r"EPROTO|ESHUTDOWN|ENODEV"):
        port.run(port.driver.write(bytes(1 << 20)))
    port.bench.run()
    assert not port.driver.is_open
    assert port.bench.bus.urbs == 1


def test_the_data_interface_is_that_of_the_union():
    assert union_slave(bytes.fromhex("05240010010524060205")) == 5
    for extra in ("", "0524001001", "0424060205", "05240602"):
        with pytest.raises(LookupError, match="union"):
            union_slave(bytes.fromhex(extra))
