"""Devices of our bus in the hands of a USB/IP client, as Linux's would have them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus import usbip
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.export import Exports, Session, describe
from usbmon.bus.hub import Hub
from usbmon.bus.loop import MS
from usbmon.bus.timing import Speed
from usbmon.bus.urb import URB_SHORT_NOT_OK
from usbmon.errors import FormatError

ENOENT, ENOMEM, ENODEV, EPIPE, EBADR = -2, -12, -19, -32, -53
EPROTO, EMSGSIZE, ECONNRESET, ESHUTDOWN, EREMOTEIO = -71, -90, -104, -108, -121
NO_SETUP = bytes(8)

GET_DEVICE = bytes.fromhex("8006000100001200")
SET_ALTERNATE = bytes.fromhex("010b010000000000")


class Client:
    """The other end of a session: what it says is made of messages, what it hears is kept."""

    def __init__(self, exports: Exports, name: str) -> None:
        self.session = Session(exports, name, self._take)
        self.heard: list[Any] = []
        self._parser = usbip.ClientParser()
        self._seqnum = 0

    def _take(self, data: bytes) -> None:
        self.heard.extend(self._parser.feed(data))

    def say(self, *messages: Any) -> None:
        for message in messages:
            if isinstance(message, usbip.CmdSubmit):
                self._parser.expect(message)
        self.session.feed(b"".join(message.encode() for message in messages))

    def submit(self, address: int, buffer: bytes | int = b"", **more: Any) -> int:
        """Submit an URB: the bytes to send, or how many to receive. Its number."""
        self._seqnum += 1
        fields: dict[str, Any] = {
            "transfer_flags": 0,
            "start_frame": 0,
            "number_of_packets": len(more.get("iso", ())),
            "interval": 0,
            "setup": NO_SETUP,
        }
        is_in = isinstance(buffer, int)
        self.say(
            usbip.CmdSubmit(
                self._seqnum,
                devid=0x10002,
                direction=usbip.IN if is_in else usbip.OUT,
                ep=address & 0x0F,
                transfer_buffer_length=buffer if is_in else len(buffer),
                data=b"" if is_in else buffer,
                **{**fields, **more},
            )
        )
        return self._seqnum

    def unlink(self, target: int) -> int:
        self._seqnum += 1
        self.say(usbip.CmdUnlink(self._seqnum, target, devid=0x10002))
        return self._seqnum

    def answers(self) -> list[Any]:
        """What came since the last time."""
        heard, self.heard = self.heard, []
        return heard


class World:
    """A bus with a loopback on it, and what the server reports."""

    def __init__(self, speed: Speed = Speed.HIGH) -> None:
        self.bench = Bench(speed)
        self.model = Loopback(speed=speed)
        self.device = self.bench.plug(self.model)
        self.said: list[str] = []
        self.exports = Exports(self.bench.host, self.said.append)

    def client(self, name: str = "here") -> Client:
        return Client(self.exports, name)

    def attached(self, name: str = "here") -> Client:
        """A client that has the loopback."""
        client = self.client(name)
        client.say(usbip.ReqImport("1-1"))
        assert [answer.status for answer in client.answers()] == [usbip.ST_OK]
        return client

    def run(self, *duration: int) -> None:
        self.bench.run(*duration)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Client:
    return world.attached()


def packets(*sizes: int) -> tuple[usbip.IsoDescriptor, ...]:
    """One behind the other."""
    return tuple(
        usbip.IsoDescriptor(sum(sizes[:number]), size, 0, -18) for number, size in enumerate(sizes)
    )


# Before the import.


def test_the_list_has_all_devices_but_hubs_and_ends_the_session(world) -> None:
    hub = Hub()
    world.bench.plug(hub)
    behind = world.bench.plug(Loopback(), hub)
    client = world.client()
    client.say(usbip.ReqDevlist())
    (reply,) = client.heard
    assert [info.busid for info in reply.devices] == ["1-1", "1-2.1"]
    assert reply.devices[1].devnum == behind.devnum
    assert client.session.is_over


def test_behind_the_list_nothing_is_heard_in_this_session(world) -> None:
    client = world.client()
    client.say(usbip.ReqDevlist(), usbip.ReqDevlist(), usbip.ReqImport("1-1"))
    assert len(client.heard) == 1
    assert not world.exports.taken


@pytest.mark.parametrize(("speed", "number"), [(Speed.FULL, 2), (Speed.HIGH, 3), (Speed.SUPER, 5)])
def test_a_device_is_described_as_linux_describes_it(speed: Speed, number: int) -> None:
    assert describe(World(speed).device) == usbip.DeviceInfo(
        path="/sys/devices/virtual/usbmon/usb1/1-1",
        busid="1-1",
        busnum=1,
        devnum=2,
        speed=number,
        idVendor=0x1209,
        idProduct=0x0001,
        bcdDevice=0x0100,
        bDeviceClass=0,
        bDeviceSubClass=0,
        bDeviceProtocol=0,
        bConfigurationValue=1,
        bNumConfigurations=1,
        interfaces=((0xFF, 0, 0),),
    )


def test_an_import_gives_the_device_to_one_client(world) -> None:
    client = world.client()
    client.say(usbip.ReqImport("1-1"))
    (reply,) = client.answers()
    assert (reply.device.busid, reply.device.devnum, client.session.is_over) == ("1-1", 2, False)
    other = world.client("there")
    other.say(usbip.ReqImport("1-1"))
    assert other.answers() == [usbip.RepImport(None, usbip.ST_DEV_BUSY)]
    assert other.session.is_over
    other.session.close()
    assert client.submit(0x81, 1)
    assert world.said == ["here: has 1-1", "there: wants 1-1: somebody else has it"]


@pytest.mark.parametrize("busid", ["1-2", "usb1", "", "x" * 31])
def test_what_is_not_exported_cannot_be_had(world, busid: str) -> None:
    client = world.client()
    client.say(usbip.ReqImport(busid), usbip.ReqImport("1-1"))
    assert client.heard == [usbip.RepImport(None, usbip.ST_NA)]
    assert client.session.is_over
    assert world.said == [f"here: wants {busid}: no such device"]


def test_a_device_that_is_being_set_up_is_not_exported_yet(world) -> None:
    world.bench.host.plug(Loopback())
    seen = set()
    for _ in range(1000):
        world.bench.loop.step()
        known = {device.name for device in world.bench.host.devices()}
        seen.add(("1-2" in known, len(world.exports.devices())))
    assert seen == {(False, 1), (True, 1), (True, 2)}


# URBs.


def test_a_control_request_is_answered(world, client) -> None:
    number = client.submit(0, 18, setup=GET_DEVICE)
    world.run(MS)
    raw = world.model.get_descriptor(1, 0)
    assert client.heard == [
        usbip.RetSubmit(number, 0, 18, number_of_packets=0, data=raw),
    ]


def test_a_control_request_writes(world, client) -> None:
    number = client.submit(0, b"stored", setup=bytes.fromhex("4001000000000600"))
    world.run(MS)
    assert client.heard == [usbip.RetSubmit(number, 0, 6, number_of_packets=0)]
    assert world.model.stored == b"stored"


@pytest.mark.parametrize(("out", "back", "interval"), [(0x01, 0x81, 0), (0x02, 0x82, 8)])
def test_data_go_out_and_come_back(world, client, out: int, back: int, interval: int) -> None:
    there = client.submit(out, b"around", interval=interval)
    here = client.submit(back, 64, interval=interval)
    world.run()
    assert client.heard == [
        usbip.RetSubmit(there, 0, 6, number_of_packets=0),
        usbip.RetSubmit(here, 0, 6, number_of_packets=0, data=b"around"),
    ]


def test_isochronous_packets_go_out_and_come_back_without_their_gaps(world, client) -> None:
    client.submit(0, b"", setup=SET_ALTERNATE)
    world.run(MS)
    client.submit(0x03, b"abcdef", iso=packets(4, 2))
    world.run()
    client.submit(0x83, 12, iso=packets(5, 3, 4))
    world.run()
    _, out, back = client.heard
    assert (out.status, out.actual_length, out.data) == (0, 6, b"")
    assert [(p.actual_length, p.status) for p in out.iso] == [(4, 0), (2, 0)]
    assert (back.status, back.actual_length, back.number_of_packets) == (0, 6, 3)
    assert back.data == b"abcdef"
    assert [(p.offset, p.length, p.actual_length, p.status) for p in back.iso] == [
        (0, 5, 5, 0),
        (5, 3, 1, 0),
        (8, 4, 0, 0),
    ]


def test_flags_of_the_client_s_machine_are_left_out_and_others_kept(world, client) -> None:
    client.submit(0x81, 64, transfer_flags=URB_SHORT_NOT_OK | 0x0204)
    client.submit(0x01, b"x", transfer_flags=0x0204)
    world.run()
    assert [answer.status for answer in client.heard] == [0, EREMOTEIO]


@pytest.mark.parametrize(
    ("status", "address", "more"),
    [
        (EPIPE, 0x84, {}),
        (EPIPE, 0x83, {"iso": packets(96, 96)}),  # of the other alternate setting
        (EBADR, 0, {"setup": GET_DEVICE}),
    ],
)
def test_what_cannot_be_submitted_is_answered_at_once(
    world, client, status: int, address: int, more: dict[str, Any]
) -> None:
    number = client.submit(address, 192, **more)
    (answer,) = client.answers()
    assert (answer.seqnum, answer.status, answer.actual_length) == (number, status, 0)
    assert [p.status for p in answer.iso] == [status] * len(more.get("iso", ()))
    assert client.submit(0x01, b"x")
    world.run()
    assert [answer.status for answer in client.heard] == [0], "and all goes on"


def test_a_packet_that_is_too_long_is_answered_with_its_packets(world, client) -> None:
    client.submit(0, b"", setup=SET_ALTERNATE)
    world.run(MS)
    client.submit(0x83, 386, iso=packets(193, 193))
    assert client.heard[1].status == EMSGSIZE
    assert len(client.heard[1].iso) == 2


def test_no_client_makes_the_server_hold_memory_without_end(world, monkeypatch) -> None:
    monkeypatch.setattr(usbip, "MAX_IN_FLIGHT", 100_000)
    sent: list[bytes] = []
    session = Session(world.exports, "here", sent.append)
    session.feed(usbip.ReqImport("1-1").encode())
    commands = [
        usbip.CmdSubmit(number, 0, usbip.IN, 1, 0, 40_000, 0, 0, 0, NO_SETUP) for number in range(4)
    ]
    for command in commands[:3]:
        session.feed(command.encode())
    assert sent[1:] == [usbip.RetSubmit(2, ENOMEM, 0, number_of_packets=0).encode()]
    session.feed(usbip.CmdUnlink(9, 0).encode())
    world.run(MS)
    session.feed(commands[3].encode())
    assert sent[2:] == [usbip.RetUnlink(9, ECONNRESET).encode()], "there is room again"


def test_a_number_that_is_under_way_already_is_no_usbip(world, client) -> None:
    client.submit(0x81, 1)
    raw = usbip.CmdSubmit(1, 0, usbip.IN, 1, 0, 1, 0, 0, 0, NO_SETUP).encode()
    with pytest.raises(FormatError, match="number 1 is under way already"):
        client.session.feed(raw)


def test_what_is_no_usbip_is_refused_behind_what_was(world) -> None:
    client = world.client()
    with pytest.raises(FormatError):
        client.session.feed(usbip.ReqImport("1-1").encode() + bytes(48))
    assert len(client.heard) == 1
    client.session.close()
    assert not world.exports.taken


# What the client's host does to the device.


def test_an_alternate_setting_changes_the_endpoints(world, client) -> None:
    assert 0x83 not in world.device.endpoints
    client.submit(0, b"", setup=SET_ALTERNATE)
    world.run(MS)
    assert 0x83 in world.device.endpoints
    client.submit(0, b"", setup=bytes.fromhex("010b070000000000"))  # the device has none
    world.run(MS)
    assert [answer.status for answer in client.heard] == [0, EPIPE]
    assert 0x83 in world.device.endpoints


def test_another_configuration_ends_what_the_old_one_had_under_way(world, client) -> None:
    waiting = client.submit(0x81, 64)
    change = client.submit(0, b"", setup=bytes.fromhex("0009000000000000"))
    world.run(MS)
    assert [(a.seqnum, a.status) for a in client.heard] == [(waiting, ESHUTDOWN), (change, 0)]
    client.submit(0x81, 64)
    assert client.heard[-1].status == EPIPE


def test_a_device_without_configuration_can_still_be_had(world, client) -> None:
    client.submit(0, b"", setup=bytes.fromhex("0009000000000000"))
    world.run(MS)
    client.session.close()
    world.run()
    again = world.client()
    again.say(usbip.ReqImport("1-1"))
    assert again.heard[0].device.bConfigurationValue == 0
    again.submit(0, b"", setup=bytes.fromhex("0009010000000000"))
    world.run(MS)
    again.submit(0x01, b"x")
    world.run(MS)
    assert [answer.status for answer in again.heard] == [0, 0, 0]


def test_a_client_that_changes_the_address_loses_the_device_until_it_gives_it_back(
    world, client
) -> None:
    """vhci_hcd keeps SET_ADDRESS to itself; who does not, hurts nobody but himself."""
    client.submit(0, b"", setup=bytes.fromhex("0005630000000000"))
    world.run(MS)
    client.submit(0, 18, setup=GET_DEVICE)
    world.run(MS)
    assert [answer.status for answer in client.heard] == [0, EPROTO]
    client.session.close()
    world.run()
    again = world.attached()
    again.submit(0, 18, setup=GET_DEVICE)
    world.run(MS)
    assert [answer.status for answer in again.heard] == [0]


# Unlinking.


def test_what_is_under_way_is_taken_back_and_does_not_complete(world, client) -> None:
    waiting = client.submit(0x81, 64)
    unlink = client.unlink(waiting)
    assert client.heard == []
    world.run()
    assert client.heard == [usbip.RetUnlink(unlink, ECONNRESET)]
    client.submit(0x01, b"x")
    client.submit(0x81, 64)
    world.run()
    assert [answer.status for answer in client.heard[1:]] == [0, 0]


def test_what_has_completed_cannot_be_taken_back(world, client) -> None:
    done = client.submit(0x01, b"x")
    world.run()
    unlink = client.unlink(done)
    assert client.answers()[1:] == [usbip.RetUnlink(unlink, 0)]


def test_an_urb_is_taken_back_once(world, client) -> None:
    waiting = client.submit(0x81, 64)
    first, second = client.unlink(waiting), client.unlink(waiting)
    world.run()
    assert client.heard == [usbip.RetUnlink(second, 0), usbip.RetUnlink(first, ECONNRESET)]


def test_a_client_cannot_take_back_what_another_has_submitted(world, client) -> None:
    world.bench.plug(Loopback())
    other = world.client("there")
    other.say(usbip.ReqImport("1-2"))
    waiting = other.submit(0x81, 64)
    assert client.submit(0x01, b"x") == waiting
    world.run()
    unlink = client.unlink(waiting)
    world.run()
    assert client.heard[1:] == [usbip.RetUnlink(unlink, 0)]
    assert len(other.heard) == 1


# The end.


def test_a_device_that_is_unplugged_fails_what_is_under_way_and_ends_the_session(
    world, client
) -> None:
    waiting = client.submit(0x81, 64)
    world.bench.host.unplug(world.model)
    world.run()
    assert [(a.seqnum, a.status) for a in client.answers()] == [(waiting, ESHUTDOWN)]
    number = client.submit(0x81, 64)
    (answer,) = client.answers()
    assert (answer.seqnum, answer.status, client.session.is_over) == (number, ENODEV, True)
    client.session.close()
    world.run()
    assert not world.exports.taken
    assert world.exports.devices() == []


def test_a_client_that_goes_leaves_nothing_under_way(world, client) -> None:
    hub_s_own = world.bench.bus.urbs
    client.submit(0x81, 64)
    client.submit(0x82, 64, interval=8)
    client.unlink(client.submit(0x81, 64))
    client.submit(0x01, bytes(100_000))
    assert world.bench.bus.urbs == hub_s_own + 4
    client.session.close()
    world.run()
    assert client.heard == []
    assert world.bench.bus.urbs == hub_s_own
    assert world.said[-1] == "here: gave 1-1 back, after 4 URBs"


def test_the_next_client_gets_the_device_as_new(world, client) -> None:
    client.submit(0x01, b"left over")
    client.submit(0, b"", setup=SET_ALTERNATE)
    world.run()
    client.session.close()
    world.run()
    again = world.attached("there")
    assert (world.model.kept[1], world.model.alternates) == (b"", {0: 0})
    assert 0x83 not in world.device.endpoints
    again.submit(0x01, b"x")
    world.run()
    assert [answer.status for answer in again.heard] == [0]


def test_who_comes_while_the_device_is_made_as_new_waits_for_that(world, client) -> None:
    client.session.close()
    world.run(20 * MS)
    again, late = world.client("there"), world.client("elsewhere")
    again.say(usbip.ReqImport("1-1"))
    late.say(usbip.ReqImport("1-1"))
    assert again.heard == []
    assert late.heard == [usbip.RepImport(None, usbip.ST_DEV_BUSY)]
    world.run()
    (reply,) = again.answers()
    assert (reply.status, reply.device.devnum) == (usbip.ST_OK, 2)


def test_who_waits_may_go_or_be_told_that_the_device_has_gone(world, client) -> None:
    client.session.close()
    world.run(20 * MS)
    first, second = world.client("first"), world.client("second")
    first.say(usbip.ReqImport("1-1"))
    first.session.close()
    second.say(usbip.ReqImport("1-1"))
    world.bench.host.unplug(world.model)
    world.run(3 * 1000 * MS)
    assert first.heard == []
    assert second.heard == [usbip.RepImport(None, usbip.ST_NA)]
    assert second.session.is_over
    second.session.close()
    assert not world.exports.taken


def test_who_had_nothing_gives_nothing_back(world) -> None:
    world.client().session.close()
    assert world.said == []


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x00, 0x01, 0x81, 0x02, 0x82, 0x03, 0x83, 0x84]),
            st.integers(0, 600),
            st.binary(min_size=8, max_size=8) | st.sampled_from([GET_DEVICE, SET_ALTERNATE]),
            st.lists(st.integers(0, 200), max_size=3),
            st.integers(-1, 300),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_each_urb_is_answered_once_whatever_is_asked(rows) -> None:
    world = World()
    client = world.attached()
    numbers, unlinks = set(), set()
    for address, size, setup, sizes, interval, pause in rows:
        room = max(size, sum(sizes))
        buffer = room if address & 0x80 or (not address and setup[0] & 0x80) else bytes(room)
        more = {"setup": setup, "interval": interval, "iso": packets(*sizes)}
        numbers.add(client.submit(address, buffer, **more))
        if pause == 1:
            unlinks.add(client.unlink(max(numbers)))
        elif pause == 2:
            world.run(MS)
    for number in numbers:
        unlinks.add(client.unlink(number))
    world.run(6 * 1000 * MS)
    done = [a.seqnum for a in client.heard if isinstance(a, usbip.RetSubmit)]
    taken = [a.seqnum for a in client.heard if isinstance(a, usbip.RetUnlink)]
    assert set(taken) == unlinks
    assert len(taken) == len(unlinks)
    assert len(done) == len(set(done))
    back = sum(a.status != 0 for a in client.heard if isinstance(a, usbip.RetUnlink))
    assert len(done) + back == len(numbers)
