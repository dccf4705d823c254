"""snd-usb-audio on the bus: what it asks, what it keeps in flight, and what is heard."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.audio import AudioDevice, Loudspeaker, Microphone
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.audio import AudioDriver
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.timing import Speed

IN, OUT = 0x81, 0x01
SET_0, SET_1 = "010b000001000000", "010b010001000000"


class Studio:
    """A device in a host. `events` are those since it was bound."""

    def __init__(self, model: AudioDevice, *faults: Fault) -> None:
        self.bench = Bench(drivers=(HubDriver, AudioDriver))
        self.model = model
        model.faults.extend(faults)
        self.driver = self.bench.plug(model).drivers[0]
        assert isinstance(self.driver, AudioDriver)
        self.before = len(self.bench.tape.events)

    def run(self, steps):
        return self.bench.host.run_task(steps, timeout=60 * SECOND)

    @property
    def events(self):
        return self.bench.tape.events[self.before :]

    def setups(self) -> list[str]:
        return [e[4] for e in self.events if e[0] == "S" and e[4]]

    def most_in_flight(self, endpoint: int) -> int:
        now = most = 0
        for letter, _, _, address, *_ in self.events:
            now += {"S": 1, "C": -1}[letter] * (address == endpoint)
            most = max(most, now)
        assert now == 0
        return most


def test_probe_asks_what_linux_asked_a_loudspeaker() -> None:
    """As recorded of Linux 6.1 with this model over USB/IP, from the first SET_INTERFACE on."""
    studio = Studio(Loudspeaker())
    setups = studio.bench.tape.setups()
    assert setups[setups.index(SET_0) :] == [
        *(SET_0, SET_1, "2201000101000300", "a281000101000300", SET_0),
        "a181000100020100",
        *("a183010200020200", "a182010200020200", "a184010200020200"),
        *["2104010200020200"] * 10,
        *("a184010200020200", "a181010200020200"),
        *("2101010200020200", "a181010200020200", "2101010200020200", "a181020200020200"),
    ]


def test_the_mixer_is_as_it_was_after_probe() -> None:
    model = Microphone(channels=2)
    model.volumes = [-512, -768]
    Studio(model)
    assert model.volumes == [0, 0]  # it was reset, and probe changed nothing


# Recording


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
@pytest.mark.parametrize(("rate", "channels"), [(48000, 1), (44100, 2), (8000, 1), (96000, 2)])
def test_what_is_recorded_is_the_sound(speed: Speed, rate: int, channels: int) -> None:
    studio = Studio(Microphone(rate=rate, channels=channels, speed=speed))
    sound = studio.run(studio.driver.record(0.5))
    assert sound == studio.model.samples(0, rate // 2)
    assert studio.driver.lost == 0


def test_recording_keeps_twelve_urbs_of_a_millisecond_in_flight() -> None:
    studio = Studio(Microphone())
    studio.run(studio.driver.record(0.1))
    assert studio.setups() == [SET_1, "2201000181000300", "a281000181000300", SET_0]
    urbs = [e for e in studio.events if e[3] == IN]
    assert studio.most_in_flight(IN) == len({e[7] for e in urbs}) == 12
    assert {e[6] for e in urbs if e[0] == "S"} == {96}
    ended = [e[5] for e in urbs if e[0] == "C"]
    assert ended == [0] * 100 + [-104] * 11  # ECONNRESET: taken back


@pytest.mark.parametrize("kind", ["lose", "crc", "babble", "no-response"])
def test_lost_packets_are_silence_of_their_length(kind: str) -> None:
    fault = Fault(kind, endpoint=IN, after=10, count=3)
    studio = Studio(Microphone(rate=44100), fault)
    sound = studio.run(studio.driver.record(0.1))
    whole = studio.model.samples(0, 4410)
    assert sound == whole[: 441 * 2] + bytes(132 * 2) + whole[573 * 2 :]
    assert studio.driver.lost == 3


def test_a_microphone_that_says_nothing_is_given_up() -> None:
    studio = Studio(Microphone(lambda _first, _count: b""))
    with pytest.raises(UrbFailed, match="no sound comes"):
        studio.run(studio.driver.record(1))
    assert studio.setups()[-1] == SET_0
    assert studio.most_in_flight(IN) == 12


def test_a_long_recording_needs_little_memory() -> None:
    studio = Studio(Microphone(rate=8000))
    studio.bench.bus.tap = None
    pieces: list[int] = []
    tracemalloc.start()
    try:
        studio.run(studio.driver.record_to(10, lambda data: pieces.append(len(data))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(pieces) == 8000 * 10 * 2
    assert peak < 500_000


# Playing


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (44100, 2), (44100, 1), (8000, 1)])
def test_what_is_played_is_heard_and_then_silence(speed: Speed, rate: int, channels: int) -> None:
    studio = Studio(Loudspeaker(rate=rate, channels=channels, speed=speed))
    sound = bytes(n * 7 & 0xFF for n in range(rate * channels))
    studio.run(studio.driver.play(sound))
    played = bytes(studio.model.played)
    assert played[: len(sound)] == sound
    assert not any(played[len(sound) :])
    assert len(played) - len(sound) <= rate * channels * 2 // 4
    assert studio.model.underruns == 0


def test_playing_keeps_three_urbs_of_six_packets_in_flight() -> None:
    """As recorded: a period of 125 ms is 20 URBs of six packets, and one of five."""
    studio = Studio(Loudspeaker())
    studio.run(studio.driver.play(bytes(192 * 250)))
    assert studio.setups() == [SET_1, "2201000101000300", "a281000101000300", SET_0]
    sizes = [e[6] for e in studio.events if e[0] == "S" and e[3] == OUT]
    assert sizes[:42] == ([1152] * 20 + [960]) * 2
    assert studio.most_in_flight(OUT) == 3
    assert {e[5] for e in studio.events if e[0] == "C" and e[3] == OUT} == {0}


def test_packets_lost_on_the_way_are_underruns() -> None:
    studio = Studio(Loudspeaker(), Fault("lose", endpoint=OUT, after=5, count=4))
    sound = bytes(range(1, 193)) * 100
    studio.run(studio.driver.play(sound))
    assert studio.model.underruns == 4
    assert bytes(studio.model.played[: 192 * 96]) == sound[: 192 * 96]


# The mixer, and what goes wrong


def test_volume_and_mute_reach_the_device() -> None:
    studio = Studio(Loudspeaker())
    studio.run(studio.driver.set_volume(-20.3))
    studio.run(studio.driver.set_mute(on=True))
    assert (studio.model.volumes, studio.model.muted) == ([-20 * 256] * 2, True)
    studio.run(studio.driver.set_volume(-1000))
    studio.run(studio.driver.set_mute(on=False))
    assert (studio.model.volumes, studio.model.muted) == ([-60 * 256] * 2, False)
    assert len(studio.setups()) == 6


def test_there_is_nothing_to_play_with_on_a_microphone() -> None:
    studio = Studio(Microphone())
    with pytest.raises(LookupError, match="nothing to play with"):
        studio.run(studio.driver.play(b""))


@pytest.mark.parametrize("model", [Microphone(), Loudspeaker()])
def test_unplugged_in_mid_stream_it_ends_with_an_error(model: AudioDevice) -> None:
    studio = Studio(model)
    steps = studio.driver.record(10) if model._address == IN else studio.driver.play(bytes(1 << 20))
    studio.bench.loop.call_later(300 * MS, studio.bench.host.unplug, model)
    with pytest.raises(UrbFailed, match=r"ESHUTDOWN|ENODEV"):
        studio.run(steps)
    studio.bench.run()
    assert studio.bench.bus.urbs == 1  # the root hub's


@pytest.mark.parametrize("after", range(0, 40, 3))
def test_a_control_transfer_that_fails_in_probe_leaves_a_driver_that_streams(after: int) -> None:
    model = Microphone()
    bench = Bench(drivers=(HubDriver, AudioDriver))
    bench.host.plug(model)
    while SET_0 not in bench.tape.setups():
        bench.loop.step()
    model.faults.append(Fault("stall", endpoint=0, after=after))
    bench.run()
    model.faults.clear()
    device = bench.host.find(model)
    assert device is not None
    driver = device.drivers.get(0)
    if driver is None:  # the interface could not be set
        assert any("probe failed" in line for line in bench.log)
    else:
        assert isinstance(driver, AudioDriver)
        assert len(bench.host.run_task(driver.record(0.01))) == 960


def test_a_rate_that_cannot_be_set_is_an_error_and_the_stream_is_closed() -> None:
    studio = Studio(Microphone())
    studio.model.faults.append(Fault("stall", endpoint=0, after=1))
    with pytest.raises(UrbFailed, match="EPIPE"):
        studio.run(studio.driver.record(1))
    assert studio.setups() == [SET_1, "2201000181000300", SET_0]


def test_a_rate_that_the_device_does_not_keep_is_reported() -> None:
    class Stubborn(Microphone):
        def _frequency(self, request: int, data: bytes) -> bytes | None:
            return (32000).to_bytes(3, "little")

    studio = Studio(Stubborn())
    line = "usb 1-1: current rate 32000 is different from the runtime rate 48000"
    assert line in studio.bench.log
