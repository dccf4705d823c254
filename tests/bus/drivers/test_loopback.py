"""The loopback driver: what it writes is what it reads, by every type of transfer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.loopback import LoopbackDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.timing import Speed

BY = ["bulk", "interrupt", "control", "isochronous"]


def bound(speed: Speed = Speed.HIGH) -> tuple[Bench, Loopback, LoopbackDriver]:
    bench = Bench(speed, drivers=(HubDriver, LoopbackDriver))
    model = Loopback(speed=speed)
    driver = bench.plug(model).drivers[0]
    assert isinstance(driver, LoopbackDriver)
    return bench, model, driver


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH, Speed.SUPER])
@pytest.mark.parametrize("by", BY)
@given(data=st.binary(min_size=1, max_size=3000))
def test_what_is_written_comes_back(speed: Speed, by: str, data: bytes) -> None:
    bench, _, driver = bound(speed)
    assert bench.host.run_task(getattr(driver, by)(data), timeout=5 * SECOND) == data


@pytest.mark.parametrize("by", BY)
def test_a_stall_is_an_error(by: str) -> None:
    bench, model, driver = bound()
    model.faults.append(Fault("stall", endpoint=0 if by in {"control", "isochronous"} else None))
    with pytest.raises(UrbFailed, match="EPIPE"):
        bench.host.run_task(getattr(driver, by)(b"data"), timeout=SECOND)


@pytest.mark.parametrize("by", BY)
def test_unplugged_in_mid_transfer_it_ends_with_an_error(by: str) -> None:
    bench, model, driver = bound()
    size = 60_000 if by == "control" else 500_000
    bench.loop.call_later(MS, bench.host.unplug, model)
    with pytest.raises(UrbFailed, match=r"EPROTO|ESHUTDOWN|ENODEV"):
        bench.host.run_task(getattr(driver, by)(bytes(size)), timeout=60 * SECOND)
    bench.run()
    assert bench.bus.urbs == 1


def test_lost_packets_are_missing() -> None:
    bench, model, driver = bound()
    model.faults.append(Fault("lose", endpoint=0x03, count=2))
    data = bytes(range(192)) * 5
    assert bench.host.run_task(driver.isochronous(data)) == data[384:]


def test_only_the_loopback_device_is_its() -> None:
    bench = Bench(drivers=(LoopbackDriver,))
    assert bench.host.root_hubs[0].drivers == {}
