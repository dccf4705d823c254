"""Scenarios: reading them, what is wrong with them, and when which step is done."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.loop import MS, SECOND
from usbmon.errors import SourceError
from usbmon.sources.scenario import Stage, load, of_devices

KEYS = """
[devices.keys]
model = "keyboard"
"""


def step(**arguments: object) -> str:
    lines = [f"{key} = {value!r}" for key, value in arguments.items()]
    return "\n".join(["", "[[step]]", *lines, ""])


@pytest.fixture
def written(tmp_path):
    """A scenario of this text."""

    def write(text: str, name: str = "s.toml"):
        path = tmp_path / name
        path.write_text(text)
        return load(str(path))

    return write


def finished(scenario) -> tuple[Stage, list[str]]:
    """A stage that has done all, and its log with times in seconds."""
    log: list[str] = []
    now = [lambda: 0.0]  # the first steps begin while the stage is made
    stage = Stage(scenario, report=lambda line: log.append(f"{now[0]():.3f} {line}"))
    now[0] = lambda: stage.loop.now / SECOND
    while not stage.done:
        stage.loop.run(stage.loop.now + 10 * MS)
    return stage, log


def steps_of(log: list[str]) -> list[str]:
    return [line for line in log if " -- " in line]


def test_what_is_in_it(written):
    scenario = written("seed = 5\n" + KEYS + step(at=0.5, do="type", device="keys", text="a"))
    assert scenario.seed == 5
    assert scenario.devices == {"keys": ("keyboard", {})}
    (only,) = scenario.steps
    assert (only.do, only.at, only.arguments) == (
        "type",
        SECOND // 2,
        {"device": "keys", "text": "a"},
    )


def test_a_model_may_go_by_its_own_name(written):
    assert written("[devices.mouse]\n").devices == {"mouse": ("mouse", {})}


def test_steps_follow_one_another_unless_they_have_a_time(written):
    text = KEYS + "".join(
        [
            step(do="wait", seconds=1),
            step(do="wait", seconds=2),
            step(at=0.5, do="wait", seconds=1),
            step(do="type", device="keys", text="a"),
            step(at=0.25, do="wait", seconds=0.1),
        ]
    )
    _, log = finished(written(text))
    assert [line.partition(",")[0] for line in steps_of(log)] == [
        "0.000 -- wait seconds 1",
        "0.250 -- wait seconds 0.1",
        "0.500 -- wait seconds 1",
        "1.000 -- wait seconds 2",
        "1.500 -- type keys",
    ]


def test_a_device_is_there_from_the_start_unless_a_step_plugs_it_in(written):
    text = KEYS + "[devices.late]\nmodel = 'mouse'\n" + step(at=2, do="plug", device="late")
    scenario = written(text)
    stage = Stage(scenario)
    stage.loop.run(SECOND)
    assert stage.host.is_plugged(stage.models["keys"])
    assert not stage.host.is_plugged(stage.models["late"])
    stage.loop.run(3 * SECOND)
    assert stage.host.find(stage.models["late"]) is not None


def test_a_step_that_fails_ends_its_row_and_no_other(written):
    text = KEYS + "".join(
        [
            step(do="fetch", device="keys", name="x"),
            step(do="type", device="keys", text="never"),
            step(at=0.5, do="type", device="keys", text="a"),
        ]
    )
    stage, log = finished(written(text))
    assert str(stage.error).endswith(
        "s.toml: step 1: fetch: no driver for keys that can copy_out after 20 s"
    )
    assert [line.split()[4:] for line in steps_of(log)] == [["name", "'x'"], ["text", "'a'"]]


def test_the_first_error_is_the_one_that_is_told(written):
    text = KEYS + "".join(
        step(at=at, do="type", device="keys", text=text) for at, text in ((2, "ü"), (1, "ä"))
    )
    stage, _ = finished(written(text))
    assert "step 2: type: a US keyboard has no key for 'ä'" in str(stage.error)


# By names of devices.


def test_devices_by_name_do_what_they_are_for_and_are_pulled_out():
    _, log = finished(of_devices(["keyboard", "mouse"]))
    assert [line.split()[2:4] for line in steps_of(log)] == [
        ["type", "keyboard,"],
        ["move", "mouse,"],
        ["click", "mouse"],
        ["scroll", "mouse,"],
        ["unplug", "mouse"],
        ["unplug", "keyboard"],
    ]


def test_two_of_a_kind_are_two():
    stage, _ = finished(of_devices(["mouse", "mouse"], unplug=False))
    assert sorted(stage.models) == ["mouse", "mouse+"]
    assert len({stage.host.find(model).name for model in stage.models.values()}) == 2


def test_those_named_after_a_hub_are_behind_it():
    stage, _ = finished(of_devices(["keyboard", "hub", "mouse"], unplug=False))
    names = {name: stage.host.find(model).name for name, model in stage.models.items()}
    assert names == {"keyboard": "1-1", "hub": "1-2", "mouse": "1-2.1"}


def test_for_ever_is_again_and_again():
    log: list[str] = []
    stage = Stage(of_devices(["mouse"], unplug=False), forever=True, report=log.append)
    stage.loop.run(20 * SECOND)
    assert not stage.done
    assert sum(line.startswith("-- click") for line in log) > 3


# A step from outside.


def test_a_step_by_words():
    stage = Stage(of_devices(["keyboard"], unplug=False))
    stage.loop.run(5 * SECOND)
    task = stage.do("type", ["keyboard", "text=hi there"])
    stage.loop.run(stage.loop.now + 2 * SECOND)
    assert task.done
    assert stage.host.find(stage.models["keyboard"]).drivers[0].typed.endswith("hi there")


def test_of_a_text_no_word_is_a_number():
    stage = Stage(of_devices(["keyboard"], unplug=False))
    stage.loop.run(5 * SECOND)
    stage.do("type", ["keyboard", "text=12"])
    stage.loop.run(stage.loop.now + 2 * SECOND)
    assert stage.error is None
    assert stage.host.find(stage.models["keyboard"]).drivers[0].typed.endswith("12")


def test_a_step_by_words_that_fails_ends_nothing():
    stage = Stage(of_devices(["keyboard"], unplug=False))
    stage.loop.run(5 * SECOND)
    for sign in "üä":
        stage.do("type", ["keyboard", f"text={sign}"])
        stage.loop.run(stage.loop.now + SECOND)
        assert str(stage.error).endswith(f"type: a US keyboard has no key for '{sign}'")
    with pytest.raises(SourceError, match="takes device, text, and no 'speed'"):
        stage.do("type", ["keyboard", "speed=3"])


# What is wrong with a scenario.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices = [", r"no scenario in TOML: .*at"),
        (b"\xff".decode("latin-1").encode("latin-1"), "no scenario in TOML: 'utf-8' codec"),
        ("", "there is no device in it"),
        ("[devices]\n", "there is no device in it"),
        ("nonsense = 1\n" + KEYS, "'nonsense' means nothing; there are seed, devices, step"),
        ("seed = 'a'\n" + KEYS, "seed is to be a whole number, not 'a'"),
        ("seed = true\n" + KEYS, "seed is to be a whole number, not True"),
        ("devices = 3\n", "devices is to be a table"),
        ("devices = {keys = 3}\n", "devices.keys is to be a table"),
        ("step = 3\n" + KEYS, "step is to be a list"),
        ("step = [3]\n" + KEYS, "step 1: it is to be a table"),
        ("[devices.x]\nmodel = 3\n", "model is to be a name, not 3"),
        ("[devices.x]\n", "device x: no device is called 'x'; there are flash, "),
        (KEYS + step(device="keys"), "step 1: do is to be one of plug, .*, not ''"),
        (KEYS + step(do="fly"), "step 1: do is to be one of plug, .*, not 'fly'"),
        (KEYS + step(do=7), "not '7'"),
        (KEYS + step(do="type", device="keys"), "step 1: type needs text"),
        (
            KEYS + step(do="type", device="keys", text="a", to="b"),
            "takes device, text, and no 'to'",
        ),
        (
            KEYS + step(do="type", device="key", text="a"),
            "no device is called 'key'; there are keys",
        ),
        (KEYS + step(do="type", device=["keys"], text="a"), r"no device is called \['keys'\]"),
        (KEYS + step(at=True, do="wait", seconds=1).replace("True", "true"), "at is to be seconds"),
        *(
            (
                KEYS + step(at=at, do="wait", seconds=1),
                f"step 1: at is to be from 0 to .*, not {at}",
            )
            for at in (-1, math.inf, math.nan)
        ),
        (KEYS + step(at=1e300, do="wait", seconds=1), "at is to be from 0 to 31,622,400"),
        (KEYS + step(do="wait", seconds="a"), "step 1: seconds is to be a number, not 'a'"),
        (KEYS + step(do="wait", seconds=-1), "step 1: seconds is to be from 0 to 31,622,400"),
        (KEYS + step(do="wait", seconds=math.nan), "step 1: seconds is to be from 0 .*, not nan"),
        (KEYS + step(do="type", device="keys", text=5), "step 1: text is to be a text, not 5"),
        (
            KEYS + step(do="fault", device="keys", kind="stall", endpoint=0x99),
            "endpoint is to be from 0 to 143, not 153",
        ),
        (
            KEYS + step(do="copy", device="keys", size=1 << 40),
            "size is to be from 0 to 1,073,741,824",
        ),
        ("[devices.key]\nmodel = 'flash'\nsize = 'large'\n", "device key: size is to be a whole"),
        ("[devices.key]\nmodel = 'flash'\npath = 5\n", "device key: path is to be the name of a"),
        (
            "[devices.key]\nmodel = 'flash'\ncolour = 'red'\n",
            "device key: flash takes path, size, label, write_protected, speed, and no 'colour'",
        ),
        ("[devices.mic]\nmodel = 'microphone'\nsamples = 1\n", "takes rate, .*, and no 'samples'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_and_place(tmp_path, text, message):
    path = tmp_path / "s.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=message) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        load(str(tmp_path / "missing.toml"))
    with pytest.raises(SourceError, match="Is a directory"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devices.key]\nmodel = 'flash'\npath = 'no/such/folder.img'\n", "device key: .*No such"),
        ("[devices.key]\nmodel = 'flash'\npath = '.'\n", "device key: .*"),
        ("[devices.key]\nmodel = 'flash'\nsize = -5\n", "device key: "),
        (f"[devices.key]\nmodel = 'flash'\nsize = {10**20}\n", "device key: .* has 2 GiB at most"),
        ("[devices.keys]\nmodel = 'keyboard'\nhold = inf\n", "device keys: .* infinity"),
        ("[devices.key]\nmodel = 'flash'\nspeed = 3\n", "device key: speed is one of 1.5, 12, 480"),
        ("[devices.paper]\nmodel = 'printer'\noutput = 'no/paper'\n", "cannot be printed to"),
        (
            "".join(f"[devices.m{n}]\nmodel = 'mouse'\n" for n in range(9)),
            "all ports are taken",
        ),
    ],
)
def test_what_a_device_cannot_be_is_one_line_too(written, text, message):
    scenario = written(text)
    with pytest.raises(SourceError, match=message) as caught:
        Stage(scenario)
    assert str(caught.value).startswith(scenario.name)
    assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
WORDS = st.sampled_from(["type", "plug", "wait", "copy", "keys", "keyboard", "a", "fault"])


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return (
            '"' + "".join(f"\\U{ord(c):08X}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
        )
    return str(value).lower()


@given(
    st.dictionaries(
        st.sampled_from(["seed", "devices", "step", "x"]),
        st.one_of(
            VALUES,
            st.just({"keys": {"model": "keyboard"}}),
            st.lists(st.dictionaries(st.sampled_from(["do", "at", "device", "text", "x"]),
                                     st.one_of(VALUES, WORDS)), max_size=3),
        ),
    )
)  # fmt: skip
def test_any_table_is_a_scenario_or_one_line(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in table.items()))
    try:
        Stage(load(str(path)))
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either is right)
