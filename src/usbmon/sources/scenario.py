"""Scenarios: which devices are on a virtual bus, and what is done with them when.

Here: the scenario as a value, read from TOML or made of names of devices, and its `Stage`, which
carries it out. Not here: the bus (`usbmon.bus`), and who captures it (`virtual`).

A scenario in TOML:

    seed = 1                        # chance repeats with it

    [devices.key]                   # a device of our own name
    model = "flash"                 # see `usbmon bus --list`
    path = "key.img"                # options of the model; a file beside the scenario

    [[step]]
    at = 2.5                        # seconds from the start; without it: after the step before
    do = "copy"
    device = "key"
    file = "notes.txt"              # beside the scenario

Devices that no step plugs in are there from the start.
"""

from __future__ import annotations

import inspect
import tomllib
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usbmon.bus import devices
from usbmon.bus.driver import Sleep, Steps, Task, UrbFailed
from usbmon.bus.host import Host
from usbmon.bus.loop import MS, SECOND, Loop
from usbmon.bus.timing import Speed
from usbmon.errors import SourceError
from usbmon.sources.verbs import DEFAULT_STEPS, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.device import Device
    from usbmon.bus.driver import Driver
    from usbmon.bus.hub import Hub

# A device must be in use so soon after it is asked for something.
_PATIENCE: Final = 20 * SECOND
_LOOK_EVERY: Final = 10 * MS
# Options of models that name a file beside the scenario.
_PATHS: Final = ("path", "output")
# What an argument of a verb or an option of a model may be, by the annotation of its parameter
# without "| None", and that in words. A parameter of another kind is for programs.
_KINDS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
    "str | Path": (str, "the name of a file"),
    "Speed": (object, "a speed"),
}
# From where to where, inclusive, the numbers of steps go. A year is longer than anybody waits.
_YEAR: Final = 366 * 86400
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "at": (0, _YEAR),
    "seconds": (0, _YEAR),
    "size": (0, 1 << 30),
    "count": (1, 1 << 30),
    "frames": (1, 1 << 30),
    "after": (0, 1 << 30),
    "endpoint": (0, 0x8F),
    "rate": (0, 1),
}
# What comes of arguments that a verb, a device or the system cannot make sense of.
_WRONG: Final = (
    UrbFailed, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError
)  # fmt: skip
# Between two rounds of steps that go on for ever.
_PAUSE: Final = 2 * SECOND


@dataclass(slots=True)
class Step:
    """One thing to do: the verb, its arguments, when (None: after the step before), and the words
    for its place in an error."""

    do: str
    arguments: dict[str, Any]
    at: int | None = None
    place: str = ""


@dataclass(slots=True)
class Scenario:
    """What a `Stage` carries out. `devices`: name to model and options."""

    devices: dict[str, tuple[str, dict[str, Any]]]
    steps: list[Step]
    seed: int = 0
    name: str = ""
    folder: Path = field(default_factory=Path)

    def fail(self, message: str) -> SourceError:
        """An error in this scenario."""
        return SourceError(message, file=self.name)


def of_devices(names: list[str], *, seed: int = 0, unplug: bool = True) -> Scenario:
    """The scenario in which each of these models is plugged in and does what it is for, one after
    the other; those named after a hub are behind it. With `unplug`, all are pulled out at the end.
    Raises `SourceError` for what is no model."""
    scenario = Scenario({}, [], seed, "virtual:" + ",".join(names))
    hub = ""
    for name in names:
        if name not in DEFAULT_STEPS:
            raise scenario.fail(
                f"no device is called {name!r}; there are {', '.join(DEFAULT_STEPS)}, "
                "and scenarios, whose names end in .toml"
            )
        own = name
        while own in scenario.devices:
            own += "+"
        if hub and name != "hub":
            scenario.steps.append(Step("plug", {"device": own, "hub": hub}, place=f"{own}: "))
        hub = own if name == "hub" else hub
        scenario.devices[own] = (name, {})
        for step in DEFAULT_STEPS[name]:
            arguments = {key: value for key, value in step.items() if key != "do"}
            if "device" in inspect.signature(VERBS[step["do"]]).parameters:
                arguments["device"] = own
            scenario.steps.append(Step(step["do"], arguments, place=f"{own}: "))
    if unplug:
        for own in reversed(scenario.devices):
            scenario.steps.append(Step("unplug", {"device": own}, place=f"{own}: "))
    _check(scenario)
    return scenario


def load(path: str) -> Scenario:
    """A scenario in TOML. Raises `SourceError` that says what is wrong where."""
    try:
        with Path(path).open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SourceError(error.strerror or str(error), file=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"no scenario in TOML: {error}", file=path) from None
    scenario = Scenario({}, [], name=path, folder=Path(path).parent)
    unknown = table.keys() - {"seed", "devices", "step"}
    if unknown:
        raise scenario.fail(f"{min(unknown)!r} means nothing; there are seed, devices, step")
    scenario.seed = _typed(scenario, table.get("seed", 0), int, "seed", "a whole number")
    _load_devices(scenario, table.get("devices", {}))
    steps = _typed(scenario, table.get("step", []), list, "step", "a list: write [[step]]")
    for number, step in enumerate(steps, 1):
        scenario.steps.append(_load_step(scenario, step, f"step {number}: "))
    _check(scenario)
    return scenario


def _typed(
    scenario: Scenario, value: Any, type: type | tuple[type, ...], name: str, words: str
) -> Any:
    if not isinstance(value, type) or (isinstance(value, bool) and type is not bool):
        raise scenario.fail(f"{name} is to be {words}, not {value!r}")
    return value


def _in_range(scenario: Scenario, value: float, place: str, name: str) -> None:
    least, most = _RANGES.get(name, (-_YEAR, _YEAR))
    if not least <= value <= most:
        raise scenario.fail(f"{place}{name} is to be from {least} to {most:,}, not {value}")


def _kind(parameter: inspect.Parameter) -> tuple[type | tuple[type, ...], str] | None:
    return _KINDS.get(str(parameter.annotation).removesuffix(" | None"))


def _load_devices(scenario: Scenario, table: Any) -> None:
    _typed(scenario, table, dict, "devices", "a table: write [devices.NAME]")
    for name, options in table.items():
        _typed(scenario, options, dict, f"devices.{name}", f"a table: write [devices.{name}]")
        rest = dict(options)
        model = rest.pop("model", name)
        scenario.devices[name] = (_typed(scenario, model, str, "model", "a name"), rest)


def _load_step(scenario: Scenario, step: Any, place: str) -> Step:
    _typed(scenario, step, dict, place + "it", "a table: write [[step]]")
    rest = dict(step)
    at = rest.pop("at", None)
    if at is not None:
        _in_range(
            scenario, _typed(scenario, at, (int, float), place + "at", "seconds"), place, "at"
        )
        at = round(at * SECOND)
    return Step(str(rest.pop("do", "")), rest, at, place)


def _check(scenario: Scenario) -> None:
    """All that can be told before it runs."""
    if not scenario.devices:
        raise scenario.fail("there is no device in it: write [devices.NAME] with model = …")
    for name, (model, options) in scenario.devices.items():
        try:
            row = devices.by_name(model)
        except LookupError as error:
            raise scenario.fail(f"device {name}: {error}") from None
        if options:
            _check_options(scenario, f"device {name}: ", row, options)
    for step in scenario.steps:
        _check_step(scenario, step)


def _check_options(
    scenario: Scenario, place: str, model: devices.Model, options: dict[str, Any]
) -> None:
    parameters = inspect.signature(model.load()).parameters.values()
    kinds = {p.name: kind for p in parameters if (kind := _kind(p)) is not None}
    for key, value in options.items():
        if key not in kinds:
            raise scenario.fail(f"{place}{model.name} takes {', '.join(kinds)}, and no {key!r}")
        type, words = kinds[key]
        _typed(scenario, value, type, place + key, words)


def _check_step(scenario: Scenario, step: Step) -> None:
    verb = VERBS.get(step.do)
    if verb is None:
        raise scenario.fail(f"{step.place}do is to be one of {', '.join(VERBS)}, not {step.do!r}")
    allowed = list(inspect.signature(verb).parameters.values())[1:]  # without the stage
    names = [parameter.name for parameter in allowed]
    for key in step.arguments:
        if key not in names:
            raise scenario.fail(f"{step.place}{step.do} takes {', '.join(names)}, and no {key!r}")
    for parameter in allowed:
        if parameter.default is parameter.empty and parameter.name not in step.arguments:
            raise scenario.fail(f"{step.place}{step.do} needs {parameter.name}")
    _check_arguments(scenario, step, allowed)
    device = step.arguments.get("device")
    if device is not None and (not isinstance(device, str) or device not in scenario.devices):
        known = ", ".join(scenario.devices)
        raise scenario.fail(f"{step.place}no device is called {device!r}; there are {known}")


def _check_arguments(scenario: Scenario, step: Step, parameters: list[inspect.Parameter]) -> None:
    """Their types and ranges; a device is looked for by its name, whatever that is."""
    for parameter in parameters:
        name, kind = parameter.name, _kind(parameter)
        value = step.arguments.get(name)
        if value is None or kind is None or name == "device":
            continue
        _typed(scenario, value, kind[0], step.place + name, kind[1])
        if not isinstance(value, str):
            _in_range(scenario, value, step.place, name)


class Stage:
    """A scenario at work on a host of its own.

    `done` once all steps are; `error` is that of the first that failed, or of the last that was
    asked for with `do`. `report` is told what is being done, and what the host would log.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        paced: bool = False,
        forever: bool = False,
        drivers: tuple[type[Driver], ...] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """`forever`: begin the steps again when they are done, after a pause. `drivers`: those of
        the host, all of ours by default. Raises `SourceError` for options that a model does not
        have."""
        self.scenario = scenario
        self.loop = Loop(seed=scenario.seed, paced=paced)
        self.report = report or (lambda _line: None)
        self.host = Host(self.loop, drivers=drivers, report=self.report)
        self.host.add_controller(Speed.HIGH, 8)
        self.host.add_controller(Speed.SUPER, 4)
        self.error: SourceError | None = None
        self.models = {
            name: self._make(name, model, options)
            for name, (model, options) in scenario.devices.items()
        }
        plugged_later = {s.arguments.get("device") for s in scenario.steps if s.do == "plug"}
        for name, model in self.models.items():
            if name not in plugged_later:
                self.plug(model)
        chains: list[list[Step]] = [[]]
        for step in scenario.steps:
            if step.at is not None:
                chains.append([])
            chains[-1].append(step)
        run = self._forever if forever else self._chain
        self._tasks = [self.host.spawn(run(chain)) for chain in chains if chain]

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return all(task.done for task in self._tasks)

    def _make(self, name: str, model: str, options: dict[str, Any]) -> Device:
        made = dict(options)
        if "speed" in made:
            try:
                made["speed"] = Speed(str(made["speed"]))
            except ValueError:
                speeds = ", ".join(speed.value for speed in Speed)
                raise self.scenario.fail(f"device {name}: speed is one of {speeds}") from None
        for option in _PATHS:
            if option in made:
                made[option] = self.scenario.folder / str(made[option])
        try:
            return devices.by_name(model).load()(**made)
        except (ValueError, ArithmeticError, OSError) as error:
            raise self.scenario.fail(f"device {name}: {error}") from None

    def plug(self, model: Device, hub: Hub | None = None) -> None:
        """Plug it in at the first free port. Raises `SourceError` where there is none."""
        try:
            self.host.plug(model, hub)
        except ValueError as error:
            raise self.scenario.fail(str(error)) from None

    def _chain(self, steps: list[Step]) -> Steps[None]:
        """Steps one after the other, from the time of the first on."""
        for step in steps:
            if step.at is not None and step.at > self.loop.now:
                yield Sleep(step.at - self.loop.now)
            try:
                yield from self._perform(step)
            except SourceError as error:
                self.error = self.error or error
                return

    def _forever(self, steps: list[Step]) -> Steps[None]:
        """Steps again and again, with a pause."""
        while True:
            yield from self._chain(steps)
            yield Sleep(_PAUSE)

    def _perform(self, step: Step) -> Steps[None]:
        """One step. Raises `SourceError`."""
        rest = [f"{key} {_short(v)}" for key, v in step.arguments.items() if key != "device"]
        words = [str(v) for key, v in step.arguments.items() if key == "device"] + rest
        self.report(f"-- {step.do} {', '.join(words)}")
        try:
            yield from VERBS[step.do](self, **step.arguments)
        except _WRONG as error:
            raise self.scenario.fail(f"{step.place}{step.do}: {_words(error)}") from None

    def do(self, verb: str, words: list[str]) -> Task:
        """Do one step now, beside what goes on: a verb and arguments as ``key=value``, or only the
        value for the device. Raises `SourceError` for what is no step."""
        arguments: dict[str, Any] = {}
        known = inspect.signature(VERBS[verb]).parameters.values() if verb in VERBS else ()
        texts = [parameter.name for parameter in known if _kind(parameter) == _KINDS["str"]]
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                key, value = "device", word
            arguments[key] = value if key in texts else _value(value)
        step = Step(verb, arguments, place="")
        _check_step(self.scenario, step)
        return self.host.spawn(self._told(step))

    def _told(self, step: Step) -> Steps[None]:
        try:
            yield from self._perform(step)
        except SourceError as error:
            self.error = error

    def driver(self, device: str, kind: str) -> Steps[Any]:
        """The driver of a device that can do this, once it is there. Raises LookupError if none
        comes."""
        for _ in range(_PATIENCE // _LOOK_EVERY):
            known = self.host.find(self.models[device])
            for driver in known.drivers.values() if known is not None else ():
                if hasattr(driver, kind) and driver.is_ready:
                    return driver
            yield Sleep(_LOOK_EVERY)
        raise LookupError(f"no driver for {device} that can {kind} after {_PATIENCE // SECOND} s")

    def act(self, device: str, name: str, *arguments: Any) -> Steps[None]:
        """Let a person do something with a device, and wait until the host has been told. Raises
        TypeError for what this device cannot."""
        model: Any = self.models[device]
        method = getattr(model, name, None)
        if method is None:
            raise TypeError(f"{device} cannot {name}")
        method(*arguments)
        while model.is_busy and model.loop is not None:
            yield Sleep(_LOOK_EVERY)

    def wave(self, file: str, mode: Any) -> Any:
        """A WAV file beside the scenario. Raises OSError, and ValueError for what is none."""
        try:
            return wave.open(str(self.scenario.folder / file), mode)
        except (wave.Error, EOFError) as error:
            raise ValueError(f"{file}: no WAV file: {str(error) or 'it ends too soon'}") from None

    def close(self) -> None:
        """Let go of the files of the models."""
        for model in self.models.values():
            if hasattr(model, "close"):
                model.close()

    def content(self, file: str | None, text: str | None, size: int | None) -> bytes:
        """What to send: a file beside the scenario, a text, or so many bytes of chance. Raises
        ValueError where it is not one of them."""
        if [file, text, size].count(None) != 2:
            raise ValueError("say one of file, text, size")
        if file is not None:
            return (self.scenario.folder / file).read_bytes()
        if text is not None:
            return text.encode()
        return self.loop.random.randbytes(size or 0)


def _value(text: str) -> Any:
    """What a word says, as TOML would have it; the word itself where that is nothing."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _words(error: Exception) -> str:
    """What went wrong; of the system's errors without Python's number."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, SourceError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _short(value: Any) -> str:
    """A value in few words."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"
