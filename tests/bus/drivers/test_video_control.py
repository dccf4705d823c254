"""Controls of cameras: which are asked about, and the brightness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.devices.video import Webcam
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.video import VideoDriver
from usbmon.bus.drivers.video_control import Controls, string_of
from usbmon.bus.faults import Fault
from usbmon.usb.descriptors import walk


@pytest.fixture
def bench() -> Bench:
    return Bench(drivers=(HubDriver, VideoDriver))


@pytest.fixture
def model() -> Webcam:
    return Webcam()


@pytest.fixture
def driver(bench: Bench, model: Webcam) -> VideoDriver:
    found = bench.plug(model).drivers[0]
    assert isinstance(found, VideoDriver)
    return found


@pytest.mark.parametrize(("asked", "is_"), [(20, 20), (-64, -64), (1000, 64), (-1000, -64)])
def test_brightness_stays_within_its_range(
    bench: Bench, model: Webcam, driver: VideoDriver, asked: int, is_: int
) -> None:
    bench.host.run_task(driver.set_brightness(asked))
    assert model.brightness == is_


def test_the_range_is_asked_for_once(bench: Bench, driver: VideoDriver) -> None:
    before = len(bench.tape.setups())
    for value in (1, 2):
        bench.host.run_task(driver.set_brightness(value))
    assert [setup[:4] for setup in bench.tape.setups()[before:]] == [
        *("a187", "a182", "a183", "a184"),
        *("2101", "2101"),
    ]


def test_a_stall_is_asked_the_reason_of(bench: Bench, model: Webcam, driver: VideoDriver) -> None:
    model.faults.append(Fault("stall", endpoint=0))
    with pytest.raises(UrbFailed, match="control 2 of unit 2, error code 00: EPIPE"):
        bench.host.run_task(driver.set_brightness(1))
    assert bench.tape.setups()[-1] == "a181000200000100"


CAMERA = "122402010102000000000000000003"
PROCESSING = "0b24050201000002"


@pytest.mark.parametrize(
    ("unit", "asked"),
    [
        (CAMERA + "000000", []),
        (CAMERA + "0e0800", [(1, 2), (1, 3), (1, 4), (1, 13)]),
        (CAMERA + "000006", [(1, 8), (1, 17)]),
        (PROCESSING + "030100", [(2, 2), (2, 3), (2, 1)]),
    ],
)
def test_each_control_is_asked_what_it_can_do(
    bench: Bench, driver: VideoDriver, unit: str, asked: list[tuple[int, int]]
) -> None:
    before = len(bench.tape.setups())
    bench.host.run_task(Controls(bench.host, driver.interface).build([bytes.fromhex(unit)]))
    setups = [bytes.fromhex(setup) for setup in bench.tape.setups()[before:]]
    assert [(s[5], s[3]) for s in setups if s[1] == 0x86] == asked


def test_without_a_processing_unit_there_is_no_brightness(
    bench: Bench, driver: VideoDriver
) -> None:
    with pytest.raises(LookupError, match="no brightness"):
        bench.host.run_task(Controls(bench.host, driver.interface).set_brightness(1))


@pytest.mark.parametrize(
    ("unit", "string"),
    [
        ("0d240100014d0040420f000101", 0),
        ("122402010102000700000000000003000000", 7),
        ("0924030301010002" + "09", 9),
        (PROCESSING + "030108", 8),
    ],
)
def test_a_unit_has_its_string_at_its_place(unit: str, string: int) -> None:
    assert string_of(bytes.fromhex(unit)) == string


@given(raw=st.binary(max_size=60))
@pytest.mark.parametrize("before", [b"", bytes.fromhex("0b240502010000"), bytes.fromhex(CAMERA)])
def test_any_descriptors_are_controls_or_refused(before: bytes, raw: bytes) -> None:
    bench = Bench(drivers=(HubDriver, VideoDriver))
    interface = bench.plug(Webcam()).active[0]
    units = list(walk(before + raw))
    try:
        bench.host.run_task(Controls(bench.host, interface).build(units))
        assert all(0 <= string_of(unit) <= 255 for unit in units)
    except LookupError:
        return
