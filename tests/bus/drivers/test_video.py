"""uvcvideo on the bus: what it asks, what it keeps in flight, and the pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.picture import picture
from usbmon.bus.devices.video import Webcam
from usbmon.bus.driver import UrbFailed
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.drivers.video import VideoDriver
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.timing import Speed

IN = 0x81
CONFIGURE = "0009010000000000"


class Scene:
    """A webcam in a host. `events` are those since it was bound."""

    def __init__(self, model: Webcam | None = None, *faults: Fault) -> None:
        self.bench = Bench(drivers=(HubDriver, VideoDriver))
        self.model = model or Webcam()
        self.driver = self.bench.plug(self.model).drivers[0]
        assert isinstance(self.driver, VideoDriver)
        self.model.faults.extend(faults)
        self.before = len(self.bench.tape.events)

    def run(self, steps):
        return self.bench.host.run_task(steps, timeout=60 * SECOND)

    @property
    def events(self):
        return self.bench.tape.events[self.before :]

    def setups(self) -> list[str]:
        return [e[4] for e in self.events if e[0] == "S" and e[4]]

    def frames(self, count: int, **wanted) -> list[bytes]:
        return self.run(self.driver.frames(count, **wanted))


@pytest.mark.parametrize(("version", "size"), [(0x0100, "1a00"), (0x0110, "2200")])
def test_probe_asks_what_linux_asked(version: int, size: str) -> None:
    """As recorded of Linux 6.1 with this model over USB/IP, after SET_CONFIGURATION."""
    scene = Scene(Webcam(bcdUVC=version))
    setups = [e[4] for e in scene.bench.tape.events if e[0] == "S" and e[2] == 2]
    assert setups[setups.index(CONFIGURE) + 1 :] == [
        "a186000200020100",
        "010b000001000000",
        *("a18700010100" + size, "210100010100" + size, "a18100010100" + size),
    ]
    assert set(scene.driver.device.drivers) == {0, 1}


@pytest.mark.parametrize("association", ["Eye", ""])
def test_the_name_of_the_function_is_read(association: str) -> None:
    class Named(Webcam):
        def __init__(self) -> None:
            super().__init__()
            whole = self.configurations[0]
            group, interface, *rest = whole.parts
            parts = (
                replace(group, iFunction=association),
                replace(interface, iInterface="Lens"),
                *rest,
            )
            self.configurations = (replace(whole, parts=parts),)

    scene = Scene(Named())
    number = scene.model.strings.number(association or "Lens")
    asked = [e[4] for e in scene.bench.tape.events if e[0] == "S" and e[2] == 2]
    assert asked[asked.index("a186000200020100") - 1] == f"8006{number:02x}030904ff00"


DANCE = ["210100010100", "a18200010100", "a18300010100", "210100010100", "a18100010100"]


def test_a_stream_is_probed_committed_and_stopped_as_linux_does() -> None:
    """VIDIOC_S_FMT, VIDIOC_S_PARM, VIDIOC_STREAMON and VIDIOC_STREAMOFF, as recorded."""
    scene = Scene()
    scene.frames(3, size=(320, 240), rate=15)
    assert scene.setups() == [
        *(setup + "1a00" for setup in DANCE * 2),
        *("2101000201001a00", "010b030001000000", "010b000001000000"),
    ]
    urbs = [e for e in scene.events if e[3] == IN]
    assert {e[6] for e in urbs if e[0] == "S"} == {32 * 512}
    assert len({e[7] for e in urbs}) == 5
    ended = [e[5] for e in urbs if e[0] == "C"]
    assert ended[-5:] == [-2] * 5  # ENOENT: killed
    assert set(ended[:-5]) == {0}


@pytest.mark.parametrize(
    ("speed", "wanted", "size", "alternate", "rate"),
    [
        (Speed.HIGH, {}, (160, 120), 2, 30),
        (Speed.HIGH, {"rate": 15}, (160, 120), 1, 15),
        (Speed.HIGH, {"size": (320, 240)}, (320, 240), 4, 30),
        (Speed.HIGH, {"size": (640, 480), "rate": 14}, (320, 240), 3, 15),
        (Speed.FULL, {"size": (160, 120), "rate": 30}, (160, 120), 4, 15),
        (Speed.FULL, {"size": (300, 200)}, (320, 240), 4, 5),
    ],
)
def test_pictures_come_at_the_size_and_rate_that_can_be(
    speed: Speed, wanted, size: tuple[int, int], alternate: int, rate: int
) -> None:
    scene = Scene(Webcam(speed=speed))
    start = scene.bench.loop.now
    assert scene.frames(5, **wanted) == [picture(*size, number) for number in range(5)]
    assert 4 / rate < (scene.bench.loop.now - start) / SECOND < 5 / rate + 0.1
    assert f"010b{alternate:02x}0001000000" in scene.setups()
    assert scene.driver.dropped == 0


def test_a_second_stream_starts_over() -> None:
    scene = Scene()
    assert scene.frames(2) == scene.frames(2)


def test_pictures_are_as_bright_as_was_asked() -> None:
    scene = Scene()
    scene.run(scene.driver.set_brightness(30))
    assert scene.frames(1) == [picture(160, 120, 0, 30)]


@pytest.mark.parametrize("kind", ["lose", "crc", "babble", "short"])
def test_a_picture_with_a_lost_packet_is_dropped(kind: str) -> None:
    scene = Scene(None, Fault(kind, endpoint=IN, after=300, count=1))
    assert scene.frames(3) == [picture(160, 120, number) for number in (0, 2, 3)]
    assert scene.driver.dropped == 1


def test_no_picture_for_two_seconds_is_an_error() -> None:
    scene = Scene(None, Fault("lose", endpoint=IN, after=1000, count=None))
    start = scene.bench.loop.now
    with pytest.raises(UrbFailed, match="no picture comes: ETIMEDOUT"):
        scene.frames(100)
    assert 2 < (scene.bench.loop.now - start) / SECOND < 2.2
    assert scene.setups()[-1] == "010b000001000000"


def test_unplugged_in_mid_stream_it_ends_with_an_error() -> None:
    scene = Scene()
    scene.bench.loop.call_later(300 * MS, scene.bench.host.unplug, scene.model)
    with pytest.raises(UrbFailed, match=r"ESHUTDOWN|ENODEV"):
        scene.frames(1000)
    scene.bench.run()
    assert scene.bench.bus.urbs == 1  # the root hub's


@pytest.mark.parametrize("after", range(5))
def test_a_control_transfer_that_stalls_does_not_keep_it_from_streaming(after: int) -> None:
    model = Webcam()
    bench = Bench(drivers=(HubDriver, VideoDriver))
    bench.host.plug(model)
    while not any(event[2] == 2 and event[4] == CONFIGURE for event in bench.tape.events):
        bench.loop.step()
    model.faults.append(Fault("stall", endpoint=0, after=after))
    bench.run()
    model.faults.clear()
    device = bench.host.find(model)
    assert device is not None
    driver = device.drivers.get(0)
    if driver is None:
        assert any("probe failed" in line for line in bench.log)
    else:
        assert isinstance(driver, VideoDriver)
        assert bench.host.run_task(driver.frames(1)) == [picture(160, 120, 0)]


class Greedy(Webcam):
    """It wants so much of the bus."""

    payload = 0

    def _parameters(self, mode) -> bytes:
        raw = bytearray(super()._parameters(mode))
        raw[22:26] = self.payload.to_bytes(4, "little")
        return bytes(raw)


def test_a_device_that_wants_more_than_it_has_room_for_is_refused() -> None:
    model = Greedy()
    model.payload = 801
    with pytest.raises(UrbFailed, match="no setting for 801 bytes"):
        Scene(model).frames(1)


@pytest.mark.parametrize(("payload", "alternate"), [(0, 1), (128, 1), (129, 2), (800, 4)])
def test_the_narrowest_setting_that_is_wide_enough_is_chosen(payload: int, alternate: int) -> None:
    model = Greedy()
    model.payload = payload
    assert Scene(model).driver._choose().alternate == alternate


def test_a_device_without_defaults_is_asked_what_is_set() -> None:
    class Short(Webcam):
        def control(self, setup, data: bytes) -> bytes | None:
            answer = super().control(setup, data)
            return answer[:-1] if answer and setup.bRequest == 0x87 else answer

    scene = Scene(Short())
    assert "usb 1-1: UVC non compliance - no GET_DEF on probe" in scene.bench.log
    assert "210100010100" + "1a00" not in scene.bench.tape.setups()
    assert scene.frames(1) == [picture(160, 120, 0)]
