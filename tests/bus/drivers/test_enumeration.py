"""Enumeration behind the address: what is read and told of a device, also of one that answers
nonsense. That the requests are Linux's is in test_hub and in tests/parity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Interface
from usbmon.bus.device import Device
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.faults import Fault
from usbmon.bus.loop import SECOND


def test_the_log_is_that_of_linux() -> None:
    bench = Bench()
    bench.run()
    bench.log.clear()
    model = Loopback()
    bench.plug(model)
    bench.host.unplug(model)
    bench.run()
    assert bench.log == [
        "usb 1-1: new high-speed USB device number 2 using usbmon-hcd",
        "usb 1-1: New USB device found, idVendor=1209, idProduct=0001",
        "usb 1-1: Product: Loopback",
        "usb 1-1: Manufacturer: usbmon",
        "usb 1-1: SerialNumber: 0001",
        "usb 1-1: USB disconnect, device number 2",
    ]


@pytest.mark.parametrize("number", [3, 2, 1])
def test_a_string_that_cannot_be_read_is_missed_by_nobody(number: int) -> None:
    bench, model = Bench(), Loopback()
    model.faults.append(Fault("stall", endpoint=0, after=5 + number))
    device = bench.plug(model)
    assert device.configuration == 1
    assert len(device.strings) == 2


@given(st.data())
def test_a_hostile_device_does_no_harm(data: st.DataObject) -> None:
    class Hostile(Loopback):
        """Answers any request for a descriptor with whatever it likes."""

        def get_descriptor(self, kind: int, index: int) -> bytes | None:
            right = super().get_descriptor(kind, index) or b""
            if data.draw(st.integers(0, 3)):
                return right
            spoilt = bytearray(right or b"\0")
            spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
            return bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))])

    bench, model = Bench(), Hostile()
    bench.host.plug(model)
    bench.run(60 * SECOND)
    bench.host.unplug(model)
    bench.run()
    assert len(list(bench.host.devices())) == 1
    assert bench.plug(Loopback()).configuration == 1


def test_a_model_without_descriptors_of_its_own_is_a_device_all_the_same() -> None:
    class Bare(Device):
        descriptor = DeviceDescriptor(0x1209, 0x0003)

    device = Bench().plug(Bare())
    assert (device.configurations, device.configuration, device.drivers) == ([], 0, {})


def test_the_first_configuration_is_chosen() -> None:
    class Two(Loopback):
        configurations = (
            Configuration((Interface(0xFF),), bConfigurationValue=3),
            Configuration((Interface(0xFF),), bConfigurationValue=1),
        )

    device = Bench().plug(Two())
    assert [c.value for c in device.configurations] == [3, 1]
    assert device.configuration == 3


@pytest.mark.parametrize("kind", ["stall", "protocol"])
def test_descriptors_are_asked_for_again(kind: str) -> None:
    bench, model = Bench(), Loopback()
    model.faults.append(Fault(kind, endpoint=0, after=2))  # the 18 bytes behind SET_ADDRESS
    assert bench.plug(model).configuration == 1
    asked = [e[4] for e in bench.tape.events if e[0] == "S" and e[2] == 2]
    assert asked.count("8006000100001200") == 2


def test_the_string_of_a_setting_is_read_once() -> None:
    class Named(Loopback):
        configurations = (
            Configuration(
                (
                    Interface(0xFF, iInterface="one"),
                    Interface(0xFF, bAlternateSetting=1, iInterface="two"),
                )
            ),
        )

    bench = Bench()
    device = bench.plug(Named())
    for alternate in (1, 0, 1):
        bench.host.run_task(device.set_interface(0, alternate))
    asked = [e[4] for e in bench.tape.events if e[0] == "S" and e[2] == 2]
    names = [device.string(int(s[4:6], 16)) for s in asked if s[:4] + s[6:8] == "800603"]
    assert names[-2:] == ["one", "two"]
