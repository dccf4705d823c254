"""`Device`, and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from usbmon.devices.model import Device, ports_of, sysname, tree
from usbmon.usb.descriptors import Configuration, DeviceDescriptor, configurations

RAW = (CAPTURES / "devices/serial-net-2-2.bin").read_bytes()


def network(**more):
    return Device(
        busnum=2,
        devnum=3,
        descriptor=RAW[:18],
        configurations=tuple(configurations(RAW[18:])),
        **more,
    )


def test_what_follows_from_bytes():
    device = network(configuration=1, alternates={0: 0, 1: 1}, speed="12")
    assert (device.id, device.address, device.speed_words) == ("0525:a4a2", "2.003", "12 Mb/s")
    settings = [(i.bInterfaceNumber, i.bAlternateSetting) for i in device.interfaces]
    assert settings == [(0, 0), (1, 1)]


def test_bytes_come_before_fields():
    device = network(fields=DeviceDescriptor(*range(12)), parsed=(Configuration(0, 9, 0, 0, 0),))
    assert device.id == "0525:a4a2"
    assert [c.bConfigurationValue for c in device.all_configurations] == [2, 1]


def test_what_is_not_known():
    device = Device(busnum=1, devnum=2)
    assert (device.id, device.speed_words, device.interfaces) == ("????:????", "", [])
    assert device.about is None
    assert not device.is_root
    assert not device.is_hub


def test_the_active_configuration():
    assert network(configuration=0).active is None
    assert network().active is None  # which of two, nobody told
    only = Configuration(1, 5, 0, 0x80, 50)
    assert Device(busnum=1, devnum=2, parsed=(only,)).active is only
    assert Device(busnum=1, devnum=2, parsed=(only,), configuration=0).active is None


@pytest.mark.parametrize(
    ("name", "ports"),
    [("usb1", []), ("usb12", []), ("1-4", [4]), ("10-4.2.11", [4, 2, 11])],
)
def test_names_of_sysfs(name, ports):
    assert ports_of(name) == ports
    bus = name.partition("-")[0].removeprefix("usb")
    assert sysname(int(bus), ports) == name


@pytest.mark.parametrize(
    "name", ["", "usb", "1-0:1.0", "1-1:1.0", "usbmon", "1-", "-1", "1-1.", "1-²"]
)
def test_other_names(name):
    assert ports_of(name) is None


@given(st.text(max_size=8))
def test_any_name(name):
    ports = ports_of(name)
    assert ports is None or all(port >= 0 for port in ports)


def at(devnum, parent, level, port=1, busnum=1):
    return Device(busnum=busnum, devnum=devnum, parent=parent, level=level, port=port)


def test_a_tree_is_in_the_order_of_ports():
    devices = [at(4, 2, 2, 3), at(3, 2, 2, 1), at(2, 1, 1), at(5, 1, 1, 2), at(1, 0, 0, 0)]
    (root,) = tree(devices)
    first, second = root.children
    assert (first.device.devnum, second.device.devnum) == (2, 5)
    assert [branch.device.devnum for branch in first.children] == [3, 4]


def test_who_has_no_hub_or_is_its_own_stands_at_the_top():
    devices = [at(2, 7, 1), at(3, 3, 1), at(4, 5, 2), at(5, 4, 2), at(6, None, None)]
    assert sorted(branch.device.devnum for branch in tree(devices)) == [2, 3, 4, 5, 6]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(0, 4)), max_size=8))
def test_a_tree_loses_nobody(places):
    devices = [at(*place) for place in places]

    def count(branches):
        return sum(1 + count(branch.children) for branch in branches)

    assert count(tree(devices)) == len(devices)
