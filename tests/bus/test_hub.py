"""Hubs: the ports against a model of USB 2.0 figure 11-10, and the requests that work them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from usbmon.bus.descriptors import DeviceDescriptor
from usbmon.bus.device import NAK, Device, Nak, Stall
from usbmon.bus.hub import Hub, Port, RootHub
from usbmon.bus.loop import MS, Loop
from usbmon.bus.timing import Speed

RESET_TIME, RESUME_TIME = 10 * MS, 20 * MS
C_CONNECTION, C_ENABLE, C_SUSPEND, C_OVER_CURRENT, C_RESET, C_LINK = 1, 2, 4, 8, 16, 64


class Plain(Device):
    descriptor = DeviceDescriptor(0x1209, 0x0001)
    max_speed = Speed.SUPER


class PortMachine(RuleBasedStateMachine):
    """A port of USB 2.0 beside a few words about it: its state by name, when that ends by itself,
    and the changes that nobody has acknowledged."""

    speed = Speed.HIGH

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.told = 0
        self.port = Port(self.speed, RESET_TIME, self._on_change)
        self.port.loop = self.loop
        self.device: Plain | None = None
        self.state = "off"
        self.ends: int | None = None
        self.changes = 0
        self.is_over = False
        self.news = 0

    def _on_change(self) -> None:
        self.told += 1

    def _to(self, state: str, *, lasts: int | None = None, change: int = 0) -> None:
        self.state = state
        self.ends = None if lasts is None else self.loop.now + lasts
        self.changes |= change
        self.news += change != 0

    @property
    def _when_connected(self) -> str:
        return "enabled" if self.speed is Speed.SUPER else "disabled"

    @precondition(lambda self: self.device is None)
    @rule(speed=st.sampled_from(Speed))
    def connect(self, speed: Speed) -> None:
        self.device = Plain(speed=speed)
        self.port.connect(self.device)
        if self.state == "disconnected":
            self._to(self._when_connected, change=C_CONNECTION)

    @precondition(lambda self: self.device is not None)
    @rule()
    def connect_another(self) -> None:
        with pytest.raises(ValueError, match="already"):
            self.port.connect(Plain())

    @rule()
    def disconnect(self) -> None:
        self.port.disconnect()
        if self.device is not None and self.state != "off":
            link = C_LINK if self.speed is Speed.SUPER else 0
            self._to("disconnected", change=C_CONNECTION | link)
        self.device = None

    @rule()
    def power_on(self) -> None:
        self.port.set_power(True)
        if self.state == "off" and not self.is_over:
            self._to("disconnected")
            if self.device is not None:
                self._to(self._when_connected, change=C_CONNECTION)

    def _off(self) -> None:
        self._to("off")
        self.changes = 0

    @rule()
    def power_off(self) -> None:
        self.port.set_power(False)
        self._off()

    @rule(present=st.booleans())
    def over_current(self, present: bool) -> None:
        self.port.set_over_current(present)
        if present is not self.is_over:
            self.is_over = present
            if present:
                self._off()
            self._to(self.state, change=C_OVER_CURRENT)

    @rule()
    def reset(self) -> None:
        self.port.reset()
        if self.state not in {"off", "disconnected"}:
            self._to("resetting", lasts=RESET_TIME)
            self.device.address = 99

    @rule()
    def disable(self) -> None:
        self.port.disable()
        if self.state in {"enabled", "suspended", "resuming"}:
            self._to("disabled")

    @rule()
    def suspend(self) -> None:
        self.port.suspend()
        if self.state == "enabled":
            self._to("suspended")

    @rule(by_device=st.booleans())
    def resume(self, by_device: bool) -> None:
        (self.port.wake if by_device else self.port.resume)()
        if self.state == "suspended":
            self._to("resuming", lasts=RESUME_TIME)

    @rule(bits=st.integers(0, 0x7F))
    def acknowledge(self, bits: int) -> None:
        self.port.clear(bits)
        self.changes &= ~bits

    @rule(duration=st.sampled_from([1, 5 * MS, 10 * MS, 20 * MS]))
    def pass_time(self, duration: int) -> None:
        self.loop.run(self.loop.now + duration)
        if self.ends is None or self.ends > self.loop.now:
            return
        if self.state == "resetting":
            assert self.device.address == 0
            self._to("enabled", change=C_RESET)
        else:
            self._to("enabled", change=C_LINK if self.speed is Speed.SUPER else C_SUSPEND)

    @invariant()
    def shows_itself(self) -> None:
        assert self.port.state.value == {"off": "powered off"}.get(self.state, self.state)
        assert (self.port.status, self.port.change) == (self._status(), self.changes)
        assert self.port.is_open is (self.state == "enabled")
        assert self.told == self.news

    @invariant()
    def gives_power(self) -> None:
        if self.device is not None:
            assert (self.device.loop is None) is (self.state == "off")

    def _status(self) -> int:
        """Table 11-21, bit by bit."""
        bits = 0x0008 if self.is_over else 0
        if self.state == "off":
            return bits
        bits |= 0x0100
        bits |= 0x0010 if self.state == "resetting" else 0
        bits |= 0x0002 if self.state in {"enabled", "suspended", "resuming"} else 0
        bits |= 0x0004 if self.state in {"suspended", "resuming"} else 0
        if self.device is not None:
            speed = min(list(Speed).index(self.device.wanted_speed), 2)
            bits |= 0x0001 | {0: 0x0200, 1: 0, 2: 0x0400}[speed]
        return bits


class SuperPortMachine(PortMachine):
    """The same of USB 3.2: the link trains by itself, and its state shows."""

    speed = Speed.SUPER

    def _status(self) -> int:
        """Table 10-13."""
        if self.state == "off":
            return 4 << 5 | (0x0008 if self.is_over else 0)
        link, others = {
            "disconnected": (5, 0),
            "disabled": (4, 0),
            "resetting": (7, 0x0011),
            "enabled": (0, 0x0003),
            "suspended": (3, 0x0003),
            "resuming": (3, 0x0003),
        }[self.state]
        return 0x0200 | link << 5 | others


TestPort = PortMachine.TestCase
TestSuperPort = SuperPortMachine.TestCase


def powered(hub: Hub) -> Hub:
    hub.power_on(Loop(), hub.speed)
    for port in range(1, len(hub.ports) + 1):
        ask(hub, 0x23, 3, 8, port)
    return hub


def ask(hub: Hub, *fields: int) -> bytes | Nak:
    return hub.request(struct.pack("<BBHHH", *(*fields, *(0,) * (5 - len(fields)))), b"")


def port_of(hub: Hub, number: int) -> tuple[int, int]:
    return struct.unpack("<HH", ask(hub, 0xA3, 0, 0, number, 4))


@given(
    st.tuples(
        st.sampled_from([0x20, 0xA0, 0x23, 0xA3]),
        st.integers(0, 15),
        st.integers(0, 40),
        st.integers(0, 6) | st.integers(0, 0xFFFF),
        st.integers(0, 20),
    )
)
def test_any_class_request_is_answered_or_stalled(fields: tuple[int, ...]) -> None:
    hub = powered(Hub())
    hub.ports[0].connect(Plain())
    try:
        answer = ask(hub, *fields)
    except Stall:
        return
    assert isinstance(answer, bytes)
    assert len(answer) <= fields[4]


@pytest.mark.parametrize(
    "fields",
    [
        (0xA3, 0, 0, 0, 4),  # ports count from 1
        (0xA3, 0, 0, 5, 4),
        (0x23, 3, 99, 1),
        (0x23, 1, 99, 1),
        (0xA3, 2, 0, 1, 1),
        (0x21, 3, 4, 1),
        (0xA0, 2, 0, 0, 4),
        (0xC0, 0, 0, 0, 4),
    ],
)
def test_what_no_hub_has_is_stalled(fields: tuple[int, ...]) -> None:
    with pytest.raises(Stall):
        ask(powered(Hub()), *fields)


def test_features_of_a_port_work_it_and_its_changes_are_acknowledged() -> None:
    hub = powered(Hub())
    hub.ports[1].connect(Plain(speed=Speed.HIGH))
    assert port_of(hub, 2) == (0x0501, 1)
    assert port_of(hub, 1) == (0x0100, 0)
    ask(hub, 0x23, 1, 16, 2)
    ask(hub, 0x23, 3, 4, 2)
    hub.loop.run(hub.loop.now + 10 * MS)
    assert port_of(hub, 2) == (0x0503, 0x10)
    ask(hub, 0x23, 1, 20, 2)
    ask(hub, 0x23, 3, 2, 2)
    assert port_of(hub, 2) == (0x0507, 0)
    ask(hub, 0x23, 1, 2, 2)
    hub.loop.run(hub.loop.now + 20 * MS)
    assert port_of(hub, 2) == (0x0503, 4)
    ask(hub, 0x23, 1, 18, 2)
    ask(hub, 0x23, 1, 1, 2)
    assert port_of(hub, 2) == (0x0501, 0)
    ask(hub, 0x23, 1, 8, 2)
    assert port_of(hub, 2) == (0, 0)


def test_a_super_speed_link_is_worked_by_its_state() -> None:
    hub = powered(RootHub(1, speed=Speed.SUPER, serial=""))
    hub.ports[0].connect(Plain())
    ask(hub, 0x23, 3, 5, 0x0301)  # PORT_LINK_STATE U3
    assert port_of(hub, 1)[0] == 0x0263
    ask(hub, 0x23, 3, 5, 0x0001)  # U0
    hub.loop.run(hub.loop.now + 20 * MS)
    assert port_of(hub, 1) == (0x0203, 0x0041)


@pytest.mark.parametrize(("ports", "number", "bitmap"), [(4, 3, b"\x08"), (9, 9, b"\x00\x02")])
def test_the_status_endpoint_tells_which_ports_have_changes(
    ports: int, number: int, bitmap: bytes
) -> None:
    hub, woken = powered(Hub(ports)), []
    assert hub.status_change(4) is NAK
    hub.wait(0x81, lambda: woken.append(hub.status_change(4)))
    hub.ports[number - 1].connect(Plain())
    assert woken == [bitmap]


def test_the_hub_descriptor_says_that_devices_are_removable() -> None:
    assert ask(powered(Hub(4)), 0xA0, 6, 0x2900, 0, 15).hex(" ") == "09 29 04 09 00 0a 00 00 ff"
    assert ask(powered(Hub(8)), 0xA0, 6, 0x2900, 0, 15).hex(" ") == (
        "0b 29 08 09 00 0a 00 00 00 ff ff"
    )
    root = powered(RootHub(4, speed=Speed.SUPER, serial=""))
    assert ask(root, 0xA0, 6, 0x2A00, 0, 12).hex(" ") == "0c 2a 04 09 00 0a 00 00 00 00 00 00"


@pytest.mark.parametrize("ports", [0, 16])
def test_no_hub_has_so_many_ports(ports: int) -> None:
    with pytest.raises(ValueError, match="1 to 15"):
        Hub(ports)


def test_behind_a_hub_that_runs_at_full_speed_nothing_is_faster() -> None:
    hub = Hub()
    hub.power_on(Loop(), Speed.FULL)
    ask(hub, 0x23, 3, 8, 1)
    device = Plain(speed=Speed.HIGH)
    hub.ports[0].connect(device)
    assert (device.speed, port_of(hub, 1)) == (Speed.FULL, (0x0101, 1))


def test_a_hub_without_power_has_none_to_give() -> None:
    hub = powered(Hub())
    device = Plain()
    hub.ports[0].connect(device)
    hub.power_off()
    assert (device.loop, hub.ports[0].status, hub.ports[0].change) == (None, 0, 0)
    hub.power_on(Loop(), Speed.HIGH)
    assert device.loop is None, "the host has not switched the port on"


# Linux 6.1's, captured: an xHCI's two and a UHCI's.
@pytest.mark.parametrize(
    ("speed", "device", "configuration"),
    [
        (
            Speed.FULL,
            "12011001 09000040 6b1d0100",
            "09021900010100e000 090400000109000000 0705810302",
        ),
        (
            Speed.HIGH,
            "12010002 09000140 6b1d0200",
            "09021900010100e000 090400000109000000 0705810304",
        ),
        (
            Speed.SUPER,
            "12010003 09000309 6b1d0300",
            "09021f00010100e000 090400000109000000 0705810302",
        ),
    ],
)
def test_root_hubs_describe_themselves_as_those_of_linux(
    speed: Speed, device: str, configuration: str
) -> None:
    root = powered(RootHub(2, speed=speed, serial="usbmon.0"))
    raw = ask(root, 0x80, 6, 0x0100, 0, 18)
    assert raw[:12] == bytes.fromhex(device)
    assert raw[12:] == bytes.fromhex("0106 03 02 01 01")
    assert ask(root, 0x80, 6, 0x0200, 0, 255).startswith(bytes.fromhex(configuration))
