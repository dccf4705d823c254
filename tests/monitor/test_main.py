"""Who is told of what, and that nobody listening costs nothing."""

import pytest

from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.loop import SECOND
from usbmon.bus.timing import Speed
from usbmon.monitor.main import Monitor


class Counter:
    def __init__(self):
        self.records = []

    def put(self, record):
        self.records.append(record)


@pytest.fixture
def host():
    host = Host(drivers=(HubDriver,))
    host.add_controller(Speed.HIGH)
    host.add_controller(Speed.SUPER)
    return host


def plug(host):
    host.plug(Loopback())
    host.plug(Loopback(speed=Speed.SUPER))
    host.loop.run(2 * SECOND)


def test_a_bus_is_tapped_while_somebody_reads_it(host):
    monitor = Monitor(host.controllers)
    first, second = host.controllers
    assert first.tap is second.tap is None
    a, b = Counter(), Counter()
    monitor.buses[1].add(a)
    monitor.buses[1].add(b)
    assert first.tap is not None
    assert second.tap is None
    monitor.buses[1].remove(a)
    assert first.tap is not None
    monitor.buses[1].remove(b)
    assert first.tap is None


def test_bus_0_is_all_of_them(host):
    monitor = Monitor(host.controllers)
    every, one, two = Counter(), Counter(), Counter()
    for number, reader in enumerate((every, one, two)):
        monitor.buses[number].add(reader)
    plug(host)
    assert len(every.records) == len(one.records) + len(two.records)
    assert one.records
    assert two.records
    assert [monitor.buses[n].events for n in (0, 1, 2)] == [
        len(reader.records) for reader in (every, one, two)
    ]


def test_an_event_is_made_once_and_each_reader_has_it(host):
    monitor = Monitor(host.controllers)
    readers = [Counter() for _ in range(3)]
    for reader in readers:
        monitor.buses[1].add(reader)
    plug(host)
    assert readers[0].records
    for others in zip(*(reader.records for reader in readers), strict=True):
        assert all(other is others[0] for other in others)


def test_events_of_a_bus_count_though_only_bus_0_is_read(host):
    monitor = Monitor(host.controllers)
    monitor.buses[0].add(Counter())
    plug(host)
    assert monitor.buses[1].events
    assert monitor.buses[0].events == monitor.buses[1].events + monitor.buses[2].events


def test_who_did_not_read_can_leave(host):
    Monitor(host.controllers).buses[1].remove(Counter())
