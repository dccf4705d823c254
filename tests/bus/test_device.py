"""Chapter 9: what every model answers, whatever it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.loop import Loop
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, ISOCHRONOUS

if TYPE_CHECKING:
    from usbmon.usb.setup import Setup

_BULK = (Endpoint(0x01, BULK), Endpoint(0x81, BULK))


class Model(Device):
    """Two configurations; the first has an interface with two alternate settings."""

    descriptor = DeviceDescriptor(0x1209, 0x0001, iProduct="thing")
    configurations = (
        Configuration(
            (
                Interface(0xFF, endpoints=_BULK),
                Interface(
                    0xFF, endpoints=(Endpoint(0x83, ISOCHRONOUS, 8, 1),), bAlternateSetting=1
                ),
            ),
            iConfiguration="first",
            self_powered=True,
        ),
        Configuration((Interface(0xFF),), bConfigurationValue=7),
    )

    def __init__(self, *, speed: Speed | None = None) -> None:
        super().__init__(speed=speed)
        self.calls: list[object] = []

    def configured(self) -> None:
        self.calls.append(("configured", self.configuration, self.loop is not None))

    def interface_set(self, number: int, alternate: int) -> None:
        self.calls.append(("interface", number, alternate))

    def reset(self) -> None:
        self.calls.append(("reset", self.loop is not None))

    def unhalted(self, address: int) -> None:
        self.calls.append(("unhalted", address))

    def control(self, setup: Setup, data: bytes) -> bytes | Nak | None:
        if setup.type == "vendor":
            return NAK if setup.bRequest == 9 else bytes(300)
        raise Stall

    @endpoint(0x01)
    def take(self, data: bytes) -> None:
        pass

    @endpoint(0x81)
    def give(self, size: int) -> bytes:
        return b""

    @endpoint(0x83)
    def stream(self, size: int, frame: int) -> bytes:
        return b""


class Heir(Model):
    @endpoint(0x81)
    def give_else(self, size: int) -> bytes:
        return b"else"


def powered(model_type: type[Model] = Model, speed: Speed = Speed.HIGH) -> Model:
    model = model_type(speed=speed)
    model.power_on(Loop(), speed)
    return model


def ask(model: Device, setup: str, data: bytes = b"") -> bytes | Nak:
    return model.request(bytes.fromhex(setup), data)


def is_stalled(model: Device, setup: str) -> bool:
    try:
        ask(model, setup)
    except Stall:
        return True
    return False


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=20), st.booleans())
def test_any_request_is_answered_within_its_length_or_stalled(
    setup: bytes, data: bytes, is_configured: bool
) -> None:
    model = powered()
    if is_configured:
        ask(model, "0009010000000000")
    try:
        answer = model.request(setup, data)
    except Stall:
        return
    if not isinstance(answer, Nak):
        assert len(answer) <= (int.from_bytes(setup[6:], "little") if setup[0] & 0x80 else 0)


@pytest.mark.parametrize(
    ("setup", "start"),
    [
        ("8006000100001200", "1201"),
        ("8006000200000900", "0902"),
        ("8006010200000900", "0902"),
        ("800600030000ff00", "04030904"),
        ("800601030904ff00", "0c03740068006900"),
        ("800602030904ff00", "0c03660069007200"),  # named by the first configuration
        ("8006000600000a00", "0a06"),
        ("800600070000ff00", "0907"),
    ],
)
def test_descriptors_are_there_for_the_asking(setup: str, start: str) -> None:
    assert ask(powered(), setup).hex().startswith(start)


@pytest.mark.parametrize(
    "setup",
    [
        "8006020200000900",  # a third configuration
        "8006040300000900",  # a fourth string
        "8006000f00000500",  # a BOS, of a high-speed device
        "8006000500000900",  # an endpoint by itself
        "8106002200000900",  # a class's, asked of an interface
        "8007000100001200",
        "0009020000000000",  # SET_CONFIGURATION to one that it does not have
        "010b010000000000",  # SET_INTERFACE before there is one
        "810a000000000100",
        "0003020000000000",  # TEST_MODE
        "800c000000000200",
    ],
)
def test_what_it_does_not_have_it_stalls(setup: str) -> None:
    assert is_stalled(powered(), setup)


@pytest.mark.parametrize(("speed", "own", "other"), [(Speed.HIGH, 512, 64), (Speed.FULL, 64, 512)])
def test_the_other_speed_has_other_packet_sizes(speed: Speed, own: int, other: int) -> None:
    model = powered(speed=Speed.HIGH)
    model.speed = speed  # what the port could
    for setup, size in (("800600020000ff00", own), ("800600070000ff00", other)):
        raw = ask(model, setup)
        assert int.from_bytes(raw[9 + 9 + 4 :][:2], "little") == size


@pytest.mark.parametrize("speed", [Speed.LOW, Speed.FULL, Speed.SUPER])
def test_devices_made_for_one_speed_have_no_other(speed: Speed) -> None:
    assert is_stalled(powered(speed=speed), "8006000600000a00")


def test_super_speed_devices_have_a_bos() -> None:
    assert ask(powered(speed=Speed.SUPER), "8006000f00000500").hex() == "050f160002"


def test_an_address_is_taken_and_lost_with_a_reset() -> None:
    model = powered()
    ask(model, "0005050000000000")
    assert model.address == 5
    model.bus_reset()
    assert model.address == 0


def test_a_configuration_brings_its_endpoints_and_takes_them_away() -> None:
    model = powered()
    assert model.handler(0x81) is None
    ask(model, "0009010000000000")
    assert ask(model, "8008000000000100") == b"\1"
    assert model.handler(0x81) == model.give
    assert model.handler(0x83) is None
    ask(model, "0009070000000000")
    assert (ask(model, "8008000000000100"), model.handler(0x81)) == (b"\7", None)
    assert [call for call in model.calls if call[0] == "configured"][-2:] == [
        ("configured", 1, True),
        ("configured", 7, True),
    ]


def test_an_alternate_setting_has_endpoints_of_its_own() -> None:
    model = powered()
    ask(model, "0009010000000000")
    ask(model, "010b010000000000")
    assert ask(model, "810a000000000100") == b"\1"
    assert (model.handler(0x81), model.handler(0x83)) == (None, model.stream)
    assert model.calls[-1] == ("interface", 0, 1)
    assert is_stalled(model, "010b020000000000")
    ask(model, "0009010000000000")
    assert ask(model, "810a000000000100") == b"\0"


def test_a_halt_lasts_until_it_is_cleared() -> None:
    model = powered()
    ask(model, "0009010000000000")
    ask(model, "0203000081000000")
    assert (ask(model, "8200000081000200"), model.halted) == (b"\1\0", {0x81})
    ask(model, "0201000081000000")
    assert (ask(model, "8200000081000200"), model.halted) == (b"\0\0", set())
    assert model.calls[-1] == ("unhalted", 0x81)


@pytest.mark.parametrize("setup", ["010b000000000000", "0009010000000000"])
def test_a_halt_ends_with_its_setting_or_configuration(setup: str) -> None:
    model = powered()
    ask(model, "0009010000000000")
    model.halted.add(0x81)
    ask(model, setup)
    assert not model.halted


def test_the_status_of_the_device_is_its_power_and_remote_wakeup() -> None:
    model = powered()
    assert ask(model, "8000000000000200") == b"\0\0"
    ask(model, "0009010000000000")
    ask(model, "0003010000000000")
    assert ask(model, "8000000000000200") == b"\3\0"
    ask(model, "0001010000000000")
    assert ask(model, "8000000000000200") == b"\1\0"


def test_class_and_vendor_requests_are_the_model_s() -> None:
    model = powered()
    assert len(ask(model, "c001000000000400")) == 4
    assert ask(model, "4001000000000000") == b""
    assert ask(model, "c009000000000400") is NAK
    assert is_stalled(model, "a101000000000400")


def test_an_heir_has_the_endpoints_of_its_ancestor_and_may_replace_them() -> None:
    model = powered(Heir)
    ask(model, "0009010000000000")
    assert model.handler(0x81)(9) == b"else"
    assert model.handler(0x01) == model.take


def test_who_waits_is_woken_once_by_ready() -> None:
    model, woken = powered(), []
    model.ready(0x81)
    model.wait(0x81, lambda: woken.append(1))
    model.ready(0x01)
    assert woken == []
    model.ready(0x81)
    model.ready(0x81)
    assert woken == [1]


@pytest.mark.parametrize("end", [Device.power_off, Device.bus_reset])
def test_who_waits_is_woken_when_the_device_goes_away(end) -> None:
    model, woken = powered(), []
    model.wait(0x81, lambda: woken.append(model.address))
    model.address = 5
    end(model)
    assert woken == [0]


def test_a_model_is_never_called_without_power() -> None:
    model = Model()
    model.power_off()
    assert model.calls == []
    model.power_on(Loop(), Speed.HIGH)
    model.power_off()
    assert all(call[-1] for call in model.calls)
    assert model.loop is None
