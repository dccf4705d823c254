"""Any bytes, cut anywhere, give USB/IP messages or FormatError; what they do to a device on our bus
and to a listener is answered once, and nothing is left under way."""

import struct
from collections.abc import Callable

import atheris
import harness

with atheris.instrument_imports(include=["usbmon"]):
    from usbmon.bus import usbip
    from usbmon.bus.devices.loopback import Loopback
    from usbmon.bus.drivers.hub import HubDriver
    from usbmon.bus.export import Exports, Session
    from usbmon.bus.host import Host
    from usbmon.bus.link import Link, Passage
    from usbmon.bus.loop import MS, SECOND, Loop
    from usbmon.errors import FormatError
    from usbmon.events import Events
    from usbmon.monitor.collector import Collector
    from usbmon.monitor.main import Monitor

_IMPORT = usbip.ReqImport("1-1").encode()
_NONE = bytes(8)


def target(data: bytes) -> None:
    """The first bytes say how much of the rest the client says, how it is cut, and how soon."""
    if len(data) < 4:
        return
    split, size, pace = struct.unpack_from(">HBB", data)
    client, server = data[4 : 4 + split], data[4 + split :]
    _parse(usbip.ServerParser, client, size + 1)
    _parse(usbip.ClientParser, server, size + 1)
    _serve(client, size + 1, pace)
    events = _listen(client, server, len(data))
    assert events == _listen(client, server, size + 1)


def _parse(new: Callable[[], usbip.Parser], data: bytes, size: int) -> None:
    outcomes = []
    for each in (size, len(data) + 1):
        parser, heard, refusal = new(), [], ""
        try:
            for at in range(0, len(data), each):
                heard += parser.feed(data[at : at + each])
        except FormatError as error:
            harness.check(error)
            refusal = str(error)
        outcomes.append((heard, refusal))
    assert outcomes[0] == outcomes[1]


def _serve(data: bytes, size: int, pace: int) -> None:
    """A client that has a device; every URB it submits ends."""
    host = Host(Loop(), drivers=(HubDriver,))
    controller = host.add_controller()
    host.plug(Loopback())
    host.settle()
    idle = controller.urbs
    said: list[bytes] = []
    session = Session(Exports(host, lambda _line: None), "fuzz", said.append)
    try:
        for at in range(0, len(data), size):
            session.feed(data[at : at + size])
            host.loop.run(host.loop.now + pace * MS)
    except FormatError as error:
        harness.check(error)
    session.close()
    answers = len(said)
    host.loop.run(host.loop.now + SECOND)
    assert len(said) == answers
    assert controller.urbs == idle


def _listen(client: bytes, server: bytes, size: int) -> Events:
    """What a monitor sees of it: each URB submitted and completed once."""
    link = Link(Loop())
    collector = Collector(Monitor([link]).buses[0])
    said: list[str] = []
    passage = Passage(link, "fuzz", said.append)
    for listen, data in ((passage.from_client, client), (passage.from_server, server)):
        for at in range(0, len(data), size):
            listen(data[at : at + size])
    passage.close()
    assert sum("no longer understood" in line for line in said) <= 1
    events = collector.take()
    for letter in "SC":
        tags = [event.id for event in events if event.type == letter]
        assert len(set(tags)) == len(tags) == passage.urbs
    return events


def _seed(client: bytes, server: bytes, pace: int) -> bytes:
    return struct.pack(">HBB", len(client), 99, pace) + client + server


def _seeds() -> list[bytes]:
    info = usbip.DeviceInfo("/sys", "1-1", 1, 2, 3, *[1] * 8, ((3, 1, 1),), 1)
    packets = (usbip.IsoDescriptor(0, 4, 2), usbip.IsoDescriptor(6, 4, 1))
    imported = usbip.RepImport(info).encode()
    seeds = [_seed(usbip.ReqDevlist().encode(), usbip.RepDevlist((info, info)).encode(), 0)]
    for ep, setup, iso in (
        (0, bytes.fromhex("8006000100001200"), ()),
        (0, bytes.fromhex("010b010000000000"), ()),
        (1, _NONE, ()),
        (2, _NONE, ()),
        (3, _NONE, packets),
    ):
        for direction in (usbip.OUT, usbip.IN):
            size = 18 if ep else setup[6]
            asked = usbip.CmdSubmit(
                1, 0x10002, direction, ep, 0, size, 0, len(iso), int(ep > 1), setup,
                bytes(size) if direction == usbip.OUT else b"", iso,
            )  # fmt: skip
            unlink = usbip.CmdUnlink(2, 1).encode()
            moved = 3 if iso else size
            back = bytes(moved) if direction == usbip.IN else b""
            told = usbip.RetSubmit(1, 0, moved, 0, len(iso), 0, back, iso).encode()
            answer = usbip.RetUnlink(2, -104).encode()
            for pace in (0, 9):
                seeds.append(_seed(_IMPORT + asked.encode() + unlink, imported + told, pace))
                seeds.append(_seed(_IMPORT + asked.encode() + unlink, imported + answer, pace))
    return seeds


if __name__ == "__main__":
    harness.run(target, _seeds())
