"""The mixer: what it makes of devices that keep to the standard, and of those that do not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.device import Stall
from usbmon.bus.devices.audio import Loudspeaker
from usbmon.bus.drivers.audio import AudioDriver
from usbmon.bus.drivers.audio_mixer import Mixer
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import SECOND
from usbmon.usb.descriptors import walk

SET_RES = "2104010200020200"


class Speaker(Loudspeaker):
    """A volume whose values are kept at `grain`, and whose `step` may be set if it can be."""

    grain = 1
    step = 256
    can_set_step = False

    def _volume(self, request: int, channel: int, data: bytes) -> bytes | None:
        if request == 4 and self.can_set_step:
            self.step = max(struct.unpack("<h", data)[0], 64)
            return None
        if request == 1:
            self.volumes[channel] = struct.unpack("<h", data)[0] // self.grain * self.grain
            return None
        if request == 0x84:
            return struct.pack("<h", self.step)
        return super()._volume(request, channel, data)


def bound(model: Loudspeaker) -> tuple[Bench, AudioDriver]:
    bench = Bench(drivers=(HubDriver, AudioDriver))
    driver = bench.plug(model).drivers[0]
    assert isinstance(driver, AudioDriver)
    return bench, driver


def test_the_controls_are_found_with_their_range() -> None:
    _, driver = bound(Loudspeaker())
    (volume,) = driver.mixer.volumes
    assert (volume.unit, volume.channels) == (2, (1, 2))
    assert (volume.min, volume.max, volume.res) == (-15360, 0, 256)
    assert volume.values == {1: 0, 2: 0}
    assert driver.mixer.mutes == [(2, 0)]


@pytest.mark.parametrize(("grain", "res"), [(1, 256), (512, 512), (2048, 2048), (1 << 14, 256)])
def test_a_step_that_does_nothing_is_made_coarser_while_there_is_room(grain: int, res: int) -> None:
    model = Speaker()
    model.grain = grain
    _, driver = bound(model)
    assert driver.mixer.volumes[0].res == res
    assert model.volumes == [0, 0]


def test_a_step_that_may_be_set_becomes_the_finest() -> None:
    model = Speaker()
    model.can_set_step = True
    bench, driver = bound(model)
    assert driver.mixer.volumes[0].res == 64
    assert bench.tape.setups().count(SET_RES) == 8  # 128, 64, … 1


@pytest.mark.parametrize("step", [0, -5, 1])
def test_a_step_of_nothing_is_one(step: int) -> None:
    model = Speaker()
    model.step = step
    bench, driver = bound(model)
    assert driver.mixer.volumes[0].res == 1
    assert SET_RES not in bench.tape.setups()


def test_a_volume_without_range_is_none_and_asked_for_ten_times() -> None:
    class Rangeless(Loudspeaker):
        def _volume(self, request: int, channel: int, data: bytes) -> bytes | None:
            raise Stall

    bench, driver = bound(Rangeless())
    assert driver.mixer.volumes == []
    assert bench.tape.setups().count("a183010200020200") == 10
    assert "1-1: cannot get control 0x0201: EPIPE" in "\n".join(bench.log)
    assert driver.mixer.mutes == [(2, 0)]


def test_an_answer_that_is_too_short_is_none() -> None:
    class Short(Loudspeaker):
        def _volume(self, request: int, channel: int, data: bytes) -> bytes | None:
            answer = super()._volume(request, channel, data)
            return answer[:1] if answer else answer

    bench, driver = bound(Short())
    assert driver.mixer.volumes == []
    assert bench.tape.setups().count("a183010200020200") == 10


def test_a_device_that_does_not_answer_is_asked_once() -> None:
    bench, driver = bound(Loudspeaker())
    driver.device.controller.model(driver.device).faults.append(  # type: ignore[union-attr]
        Fault("timeout", endpoint=0)
    )
    before = len(bench.tape.setups())
    start = bench.loop.now
    bench.host.run_task(Mixer(bench.host, driver.interface)._mute(2, (0,)))
    assert bench.tape.setups()[before:] == ["a181000100020100"]
    assert 5 * SECOND <= bench.loop.now - start < 5 * SECOND + SECOND // 100


def test_the_way_to_a_unit_leads_through_selectors_and_its_name_is_read() -> None:
    bench, driver = bound(Loudspeaker())
    mixer = Mixer(bench.host, driver.interface)
    terminal, selector = "092403030103000400", "082405040202ff00"
    unit = "0924060201010100" + "02"
    before = len(bench.tape.setups())
    bench.host.run_task(mixer.build(list(walk(bytes.fromhex(terminal + selector + unit)))))
    assert mixer.mutes == [(2, 0)]
    assert bench.tape.setups()[before:] == ["800602030904ff00", "a181000100020100"]


@pytest.mark.parametrize("request_", [0x81, 0x84])
def test_what_cannot_be_read_is_done_without(request_: int) -> None:
    class Silent(Loudspeaker):
        def control(self, setup, data: bytes) -> bytes | None:
            if setup.bRequest == request_ and setup.recipient == "Interface":
                raise Stall
            return super().control(setup, data)

    bench, driver = bound(Silent())
    assert [volume.res for volume in driver.mixer.volumes] == {0x81: [], 0x84: [1]}[request_]
    assert any("cannot get control" in line for line in bench.log) is (request_ == 0x81)
    bench.host.run_task(driver.set_mute(on=True))


@given(raw=st.binary(max_size=120))
@pytest.mark.parametrize("before", [b"", bytes.fromhex("092403030103000200 07240602030101")])
def test_any_descriptors_are_a_mixer_or_none(before: bytes, raw: bytes) -> None:
    bench, driver = bound(Loudspeaker())
    mixer = Mixer(bench.host, driver.interface)
    try:
        bench.host.run_task(mixer.build(list(walk(before + raw))), timeout=60 * SECOND)
    except LookupError:
        return
    assert all(volume.res >= 1 for volume in mixer.volumes)
