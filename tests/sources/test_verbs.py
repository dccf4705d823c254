"""Verbs: each does what it says, seen on the device or in a file."""

from __future__ import annotations

import wave

import pytest

from usbmon.bus.devices.storage import FlashKey
from usbmon.bus.image import FileImage
from usbmon.bus.loop import MS, SECOND
from usbmon.errors import SourceError
from usbmon.sources.scenario import Scenario, Stage, Step
from usbmon.sources.verbs import DEFAULT_STEPS, VERBS


class Play:
    """A device, and steps done with it one after the other, in a folder of their own."""

    def __init__(self, folder, model: str, **options: object) -> None:
        self.log: list[str] = []
        scenario = Scenario({"it": (model, options)}, [], name="play", folder=folder)
        self.stage = Stage(scenario, report=self.log.append)
        self.model = self.stage.models["it"]

    def do(self, verb: str, **arguments: object) -> None:
        """Raises `SourceError`, as a row of steps would end with."""
        steps = self.stage._perform(Step(verb, {"device": "it", **arguments}))
        self.stage.host.run_task(steps, timeout=100 * SECOND)

    @property
    def driver(self):
        return self.stage.host.find(self.model).drivers[0]


@pytest.fixture
def play(tmp_path):
    return lambda model, **options: Play(tmp_path, model, **options)


def test_there_is_a_verb_for_what_each_device_does_by_default():
    assert all(step["do"] in VERBS for steps in DEFAULT_STEPS.values() for step in steps)


def test_plug_and_unplug(play):
    made = play("mouse")
    made.do("unplug")
    assert not made.stage.host.is_plugged(made.model)
    made.do("plug")
    assert made.stage.host.is_plugged(made.model)
    made.do("plug")  # it is already
    assert made.stage.host.is_plugged(made.model)
    with pytest.raises(SourceError, match="'it' is no hub"):
        made.do("plug", hub="it")


def test_wait(play):
    made = play("mouse")
    before = made.stage.loop.now
    steps = VERBS["wait"](made.stage, 1.5)
    made.stage.host.run_task(steps)
    assert made.stage.loop.now - before == 1500 * MS


def test_fault(play):
    made = play("flash")
    made.do("fault", kind="nak", endpoint=0x81, after=2, count=3, rate=0.5, seconds=0.25)
    (rule,) = made.model.faults
    assert (rule.kind, rule.endpoint, rule.after, rule.count) == ("nak", 0x81, 2, 3)
    assert (rule.rate, rule.duration) == (0.5, 250 * MS)
    with pytest.raises(SourceError, match="no fault is called 'fire'"):
        made.do("fault", kind="fire")


@pytest.mark.parametrize("model", ["flash", "uas"])
def test_a_file_that_is_copied_is_in_the_image_and_can_be_fetched(play, tmp_path, model):
    (tmp_path / "notes.txt").write_bytes(b"noted\n" * 5000)
    made = play(model, path=tmp_path / "disk.img", size=16 << 20)
    made.do("copy", file="notes.txt")
    made.do("copy", text="short", name="short.txt")
    made.do("fetch", name="notes.txt", file="back.txt")
    assert (tmp_path / "back.txt").read_bytes() == b"noted\n" * 5000
    made.stage.close()
    # Another machine, another time: the file alone.
    again = Play(tmp_path, "flash", path=tmp_path / "disk.img")
    again.do("fetch", name="short.txt", file="short.txt")
    assert (tmp_path / "short.txt").read_bytes() == b"short"
    again.stage.close()
    assert (tmp_path / "disk.img").read_bytes().count(b"noted\n") >= 5000


def test_bytes_of_chance_repeat_with_the_seed(play):
    images = []
    for _ in range(2):
        made = play("flash")
        made.do("copy", size=5000, name="x.bin")
        images.append(bytes(made.model.disk.image.read(0, 1 << 20)))
    assert images[0] == images[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "say one of file, text, size"),
        ({"text": "a", "size": 3}, "say one of file, text, size"),
        ({"file": "missing"}, r"copy: \S+missing: No such file"),
        ({"text": 5}, "copy: 'int' object has no attribute"),
        ({"text": "x", "name": "a/b"}, "copy: .*a/b"),
        ({"size": 1 << 26, "name": "large"}, "copy: "),
    ],
)
def test_what_cannot_be_copied_is_one_line(play, arguments, message):
    with pytest.raises(SourceError, match=message) as caught:
        play("flash").do("copy", **arguments)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_cannot_be_fetched(play):
    with pytest.raises(SourceError, match=r"fetch: nothing\.txt"):
        play("flash").do("fetch", name="nothing.txt")


def test_loop(play):
    made = play("loopback")
    made.do("loop", size=3000)
    assert made.stage.error is None
    made.model.faults.clear()
    made.do("fault", kind="stall", endpoint=0x81)
    with pytest.raises(SourceError, match="EPIPE"):
        made.do("loop")
    with pytest.raises(SourceError, match="size is to be 1 or more"):
        made.do("loop", size=0)


def test_type(play):
    made = play("keyboard")
    made.do("type", text="Grüße"[:2] + "eat!")
    assert made.driver.typed == "Great!"


def test_move_click_and_scroll(play):
    made = play("mouse")
    made.do("move", x=5, y=-7)
    made.do("click", button=2)
    made.do("scroll", notches=-1)
    assert [report.hex() for report in made.driver.reports] == [
        "0005f900",
        "02000000",
        "00000000",
        "000000ff",
    ]


def test_send(play):
    made = play("serial")
    made.do("send", text="hello")
    made.do("send", size=10_000)
    made.model.received = lambda data: made.model.send(data.upper())
    with pytest.raises(SourceError, match="what was sent did not come back"):
        made.do("send", text="hello")


def test_ping(play):
    made = play("ethernet")
    made.do("ping", count=2)
    assert [line.split(" answers ")[0] for line in made.log[-2:]] == ["it: 10.55.0.1"] * 2
    with pytest.raises(SourceError, match=r"nobody has 10\.55\.0\.9"):
        made.do("ping", address="10.55.0.9")
    with pytest.raises(SourceError, match="ping: Expected 4 octets in 'far'"):
        made.do("ping", address="far")


def test_record_into_a_wav_file(play, tmp_path):
    made = play("microphone")
    made.do("record", seconds=0.1, file="heard.wav")
    with wave.open(str(tmp_path / "heard.wav")) as wav:
        assert (wav.getnchannels(), wav.getframerate(), wav.getsampwidth()) == (1, 48000, 2)
        assert wav.getnframes() == 4800
        assert any(wav.readframes(4800))


def test_play_a_wav_file_and_a_tone(play, tmp_path):
    sound = bytes(range(256)) * 150
    with wave.open(str(tmp_path / "song.wav"), "wb") as wav:
        wav.setparams((2, 2, 48000, 0, "NONE", ""))
        wav.writeframes(sound)
    made = play("speaker")
    made.do("play", file="song.wav")
    assert sound in bytes(made.model.played)
    before = len(made.model.played)
    made.do("play", seconds=0.1)
    assert len(made.model.played) - before >= 4800 * 4


def test_what_is_no_wav_file_is_not_played(play, tmp_path):
    (tmp_path / "noise.wav").write_bytes(b"noise")
    with pytest.raises(SourceError, match=r"noise\.wav: no WAV file"):
        play("speaker").do("play", file="noise.wav")


def test_watch(play):
    made = play("webcam")
    made.do("watch", frames=3)
    assert made.log[-1].startswith("it: 3 pictures of ")


def test_print(play, tmp_path):
    made = play("printer", output=tmp_path / "paper")
    made.do("print", text="one\n")
    made.do("print", size=100)
    assert (tmp_path / "paper").read_bytes()[:4] == b"one\n"
    assert (tmp_path / "paper").stat().st_size == 104


@pytest.mark.parametrize(
    ("model", "verb", "arguments", "message"),
    [
        ("mouse", "type", {"text": "a"}, "it cannot type"),
        ("keyboard", "move", {"x": 1}, "it cannot move"),
        ("keyboard", "copy", {"text": "a"}, "no driver for it that can copy_in"),
        ("mouse", "click", {"button": 7}, "the mouse has buttons 1 to 3, no button 7"),
        ("mouse", "move", {"x": "far"}, "move: "),
        ("keyboard", "type", {"text": 7}, "type: "),
    ],
)
def test_what_a_device_cannot_do_is_one_line(play, model, verb, arguments, message):
    with pytest.raises(SourceError, match=message) as caught:
        play(model).do(verb, **arguments)
    assert "\n" not in str(caught.value)


def test_a_disk_that_was_opened_is_let_go_of(play, tmp_path):
    made = play("flash", path=tmp_path / "disk.img", size=4 << 20)
    assert isinstance(made.model, FlashKey)
    assert isinstance(made.model.disk.image, FileImage)
    made.stage.close()
    made.stage.close()
