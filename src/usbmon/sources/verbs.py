"""What a step of a scenario may do: the verbs, and what each device does when only it is named.

Here: `VERBS`; a verb is a function whose name is what ``do`` says, given the stage and the
arguments of its step, and giving the steps of a driver. Not here: when it is done, and on what
(`scenario`).
To add one: a function, and its name in `VERBS`.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usbmon.bus.devices.sound import tone
from usbmon.bus.driver import Sleep, Steps
from usbmon.bus.faults import Fault
from usbmon.bus.hub import Hub
from usbmon.bus.loop import MS, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.sources.scenario import Stage


def plug(stage: Stage, device: str, hub: str | None = None) -> Steps[None]:
    """Plug the device in, or back in; into a hub of the scenario, if one is named."""
    behind = None
    if hub is not None:
        model = stage.models.get(hub)
        if not isinstance(model, Hub):
            raise LookupError(f"{hub!r} is no hub")
        behind = model
        yield from stage.driver(hub, "ports")
    if not stage.host.is_plugged(stage.models[device]):
        stage.plug(stage.models[device], behind)
    yield Sleep(0)


def unplug(stage: Stage, device: str) -> Steps[None]:
    """Pull it out."""
    stage.host.unplug(stage.models[device])
    yield Sleep(0)


def wait(_stage: Stage, seconds: float) -> Steps[None]:
    """Do nothing for a while."""
    yield Sleep(round(seconds * SECOND))


def fault(  # noqa: PLR0917 (a rule has so many fields)
    stage: Stage,
    device: str,
    kind: str,
    endpoint: int | None = None,
    after: int = 0,
    count: int | None = 1,
    rate: float = 1.0,
    seconds: float = 0.0,
) -> Steps[None]:
    """Let something go wrong with it from now on (see `usbmon.bus.faults.Fault`)."""
    rule = Fault(kind, endpoint, after, count, rate, round(seconds * SECOND))
    stage.models[device].faults.append(rule)
    yield Sleep(0)


def copy(  # noqa: PLR0917 (as above)
    stage: Stage,
    device: str,
    file: str | None = None,
    text: str | None = None,
    size: int | None = None,
    name: str | None = None,
) -> Steps[None]:
    """Copy a file to a disk: one beside the scenario, a text, or so many bytes of chance."""
    driver = yield from stage.driver(device, "copy_in")
    data = stage.content(file, text, size)
    yield from driver.copy_in(name or (Path(file).name if file else "file.bin"), data)


def fetch(stage: Stage, device: str, name: str, file: str | None = None) -> Steps[None]:
    """Read a file of a disk, and write it beside the scenario if `file` says where."""
    driver = yield from stage.driver(device, "copy_out")
    data = yield from driver.copy_out(name)
    if file is not None:
        (stage.scenario.folder / file).write_bytes(data)


def loop(stage: Stage, device: str, size: int = 4096) -> Steps[None]:
    """Send so many bytes of chance through a loopback device by each type of transfer."""
    if not size:
        raise ValueError("size is to be 1 or more: of nothing, nothing comes back")
    driver = yield from stage.driver(device, "isochronous")
    for way in (driver.control, driver.interrupt, driver.bulk, driver.isochronous):
        data = stage.loop.random.randbytes(min(size, 4096) if way == driver.control else size)
        back = yield from way(data)
        if back != data:
            raise ValueError(f"{way.__name__}: what came back is not what was sent")


def type_(stage: Stage, device: str, text: str) -> Steps[None]:
    """Type a text on a keyboard."""
    yield from stage.driver(device, "set_leds")
    yield from stage.act(device, "type", text)


def move(stage: Stage, device: str, x: int = 0, y: int = 0) -> Steps[None]:
    """Move a mouse to the right and down."""
    yield from stage.driver(device, "set_leds")
    yield from stage.act(device, "move", x, y)


def click(stage: Stage, device: str, button: int = 1) -> Steps[None]:
    """Click with a mouse: 1 left, 2 right, 3 middle."""
    yield from stage.driver(device, "set_leds")
    yield from stage.act(device, "click", button)


def scroll(stage: Stage, device: str, notches: int = 1) -> Steps[None]:
    """Turn the wheel of a mouse."""
    yield from stage.driver(device, "set_leds")
    yield from stage.act(device, "scroll", notches)


def send(stage: Stage, device: str, text: str = "", size: int | None = None) -> Steps[None]:
    """Send a text, or bytes of chance, through a serial adapter, and read what it echoes."""
    driver = yield from stage.driver(device, "open")
    data = stage.content(None, None if size is not None else text, size)
    yield from driver.open(115200)
    yield from driver.write(data)
    back = yield from driver.read(len(data))
    yield from driver.close()
    if back != data:
        raise ValueError("what was sent did not come back")


def ping(stage: Stage, device: str, address: str = "10.55.0.1", count: int = 4) -> Steps[None]:
    """Ping the host at the other end of an Ethernet adapter's wire, once a second."""
    IPv4Address(address)  # raises ValueError for what is none
    driver = yield from stage.driver(device, "ping")
    yield from driver.up()
    for number in range(1, count + 1):
        time = yield from driver.ping(address, sequence=number)
        stage.report(f"{device}: {address} answers after {time / MS:.3f} ms")
        if number < count:
            yield Sleep(SECOND)


def play(stage: Stage, device: str, seconds: float = 1.0, file: str | None = None) -> Steps[None]:
    """Play a WAV file through a loudspeaker, or a tone."""
    driver = yield from stage.driver(device, "play")
    model: Any = stage.models[device]
    if file is None:
        sound = tone(model.rate, model.channels)(0, round(seconds * model.rate))
    else:
        with stage.wave(file, "rb") as wav:
            sound = wav.readframes(wav.getnframes())
    yield from driver.play(sound)


def record(stage: Stage, device: str, seconds: float = 1.0, file: str | None = None) -> Steps[None]:
    """Record from a microphone, into a WAV file if `file` says where."""
    driver = yield from stage.driver(device, "record")
    sound = yield from driver.record(seconds)
    model: Any = stage.models[device]
    if file is not None:
        with stage.wave(file, "wb") as wav:
            wav.setparams((model.channels, 2, model.rate, 0, "NONE", ""))
            wav.writeframes(sound)


def watch(stage: Stage, device: str, frames: int = 10) -> Steps[None]:
    """Take so many pictures with a camera."""
    driver = yield from stage.driver(device, "frames")
    pictures = yield from driver.frames(frames)
    stage.report(f"{device}: {len(pictures)} pictures of {len(pictures[0]):,} bytes")


def print_(
    stage: Stage,
    device: str,
    file: str | None = None,
    text: str | None = None,
    size: int | None = None,
) -> Steps[None]:
    """Print a file beside the scenario, a text, or bytes of chance."""
    driver = yield from stage.driver(device, "print")
    yield from driver.print(stage.content(file, text, size))


VERBS: Final[dict[str, Callable[..., Steps[None]]]] = {
    verb.__name__.rstrip("_"): verb
    for verb in (
        plug,
        unplug,
        wait,
        fault,
        copy,
        fetch,
        loop,
        type_,
        move,
        click,
        scroll,
        send,
        ping,
        play,
        record,
        watch,
        print_,
    )
}

# What a device does when only its model is named.
DEFAULT_STEPS: Final[dict[str, list[dict[str, Any]]]] = {
    "flash": [
        {"do": "copy", "name": "hello.txt", "text": "Hello from the virtual bus.\n" * 200},
        {"do": "fetch", "name": "hello.txt"},
    ],
    "uas": [
        {"do": "copy", "name": "data.bin", "size": 200_000},
        {"do": "fetch", "name": "data.bin"},
    ],
    "keyboard": [{"do": "type", "text": "Hello, USB!\n"}],
    "mouse": [
        {"do": "move", "x": 200, "y": 100},
        {"do": "click"},
        {"do": "scroll", "notches": -3},
    ],
    "serial": [{"do": "send", "text": "The quick brown fox jumps over the lazy dog.\n"}],
    "ethernet": [{"do": "ping"}],
    "microphone": [{"do": "record", "seconds": 0.5}],
    "speaker": [{"do": "play", "seconds": 0.5}],
    "webcam": [{"do": "watch"}],
    "printer": [{"do": "print", "text": "Printed on the virtual bus.\n" * 40}],
    "hub": [{"do": "wait", "seconds": 1.0}],
    "loopback": [{"do": "loop"}],
}
