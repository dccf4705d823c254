"""`Device`: the base of all device models. A model declares its descriptors and has a method for
each endpoint; all that every device does (USB 2.0 chapter 9) is here.

Sans-IO: bytes in, bytes out, called by the bus as transactions come. A whole model:

    class Echo(Device):
        descriptor = DeviceDescriptor(0x1209, 0x0001, iProduct="Echo")
        configurations = (Configuration((Interface(0xFF, endpoints=(
            Endpoint(0x01, BULK), Endpoint(0x81, BULK))),)),)

        def __init__(self):
            super().__init__()
            self.kept = bytearray()

        @endpoint(0x01)
        def take(self, data):
            self.kept += data
            self.ready(0x81)

        @endpoint(0x81)
        def give(self, size):
            data, self.kept = self.kept[:size], self.kept[size:]
            return bytes(data) or NAK

An OUT method is given one or more whole packets of one transfer, the last of which may be short. An
IN method returns up to `size` bytes: what is not whole packets ends the transfer, as b"" does; NAK
says "nothing yet", and the method is called again after `ready`. Either may raise `Stall`, which
halts the endpoint until the host clears it. Isochronous methods are called once a packet,
``give(size, frame)`` and ``take(data, frame)``, with the number of its (micro)frame, and never NAK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from usbmon.bus import descriptors as d
from usbmon.bus.timing import Speed
from usbmon.usb.setup import Setup, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.faults import Fault
    from usbmon.bus.loop import Loop

_Method = TypeVar("_Method", bound="Callable[..., Any]")

# bRequest (USB 2.0 table 9-4).
GET_STATUS, CLEAR_FEATURE, SET_FEATURE, SET_ADDRESS = 0, 1, 3, 5
GET_DESCRIPTOR, GET_CONFIGURATION, SET_CONFIGURATION = 6, 8, 9
GET_INTERFACE, SET_INTERFACE, SYNCH_FRAME, SET_SEL, SET_ISOCH_DELAY = 10, 11, 12, 48, 49

_ENDPOINT_HALT: Final = 0
_REMOTE_WAKEUP: Final = 1

# By direction and bRequest, the method of `Device`.
_STANDARD: Final = {
    (0x80, GET_STATUS): "_get_status",
    (0x00, CLEAR_FEATURE): "_feature",
    (0x00, SET_FEATURE): "_feature",
    (0x00, SET_ADDRESS): "_set_address",
    (0x80, GET_DESCRIPTOR): "_get_descriptor",
    (0x80, GET_CONFIGURATION): "_get_configuration",
    (0x00, SET_CONFIGURATION): "_set_configuration",
    (0x80, GET_INTERFACE): "_get_interface",
    (0x00, SET_INTERFACE): "_set_interface",
    (0x00, SET_SEL): "_ignore",
    (0x00, SET_ISOCH_DELAY): "_ignore",
}


class Stall(Exception):  # noqa: N818 (the standard's word)
    """The answer STALL: a request that is not understood, or a halted endpoint."""


class Nak:
    """The answer NAK: not now."""

    def __repr__(self) -> str:
        return "NAK"


NAK: Final = Nak()


def endpoint(address: int) -> Callable[[_Method], _Method]:
    """Mark a method as that of the endpoint with this address."""

    def mark(method: _Method) -> _Method:
        method._endpoint = address  # type: ignore[attr-defined]  # noqa: SLF001
        return method

    return mark


class Device:
    """A device model; see the module. Subclasses set `descriptor` and `configurations`.

    `loop` is there once it is plugged in, `faults` are the rules of what goes wrong with it,
    `halted` the endpoints that answer STALL.
    """

    descriptor: d.DeviceDescriptor
    configurations: tuple[d.Configuration, ...] = ()
    max_speed: ClassVar[Speed] = Speed.HIGH
    bos: bytes = b""

    _methods: ClassVar[dict[int, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {
            method._endpoint: name  # noqa: SLF001
            for name, method in vars(cls).items()
            if hasattr(method, "_endpoint")
        }
        cls._methods = {**cls._methods, **own}

    def __init__(self, *, speed: Speed | None = None) -> None:
        """`speed`: slower than `max_speed`, the fastest it can do."""
        self.wanted_speed = speed or self.max_speed
        self.speed = self.wanted_speed
        self.loop: Loop | None = None
        self.faults: list[Fault] = []
        self.address = 0
        self.configuration = 0
        self.alternates: dict[int, int] = {}
        self.halted: set[int] = set()
        self.remote_wakeup = False
        self.strings = d.Strings()
        self._waiting: dict[int, Callable[[], None]] = {}
        self._handlers: dict[int, Callable[..., Any]] = {}

    # What a model may override.

    def control(self, setup: Setup, data: bytes) -> bytes | Nak | None:
        """A class or vendor request, or a standard one that no device must know. `data` came with
        it (OUT); returns what goes back (IN). Raises Stall, which is what it does here."""
        raise Stall

    def configured(self) -> None:
        """The host has chosen `configuration` (0: none)."""

    def interface_set(self, number: int, alternate: int) -> None:
        """The host has chosen an alternate setting."""

    def reset(self) -> None:
        """The port was reset, or the device was unplugged: back to the state of power-on."""

    def plugged(self) -> None:
        """The device has got power: `loop` is there."""

    # What a model may call.

    def ready(self, address: int) -> None:
        """The endpoint that answered NAK has something to say now, or room."""
        wake = self._waiting.pop(address, None)
        if wake is not None:
            wake()

    # What the bus calls.

    def wait(self, address: int, wake: Callable[[], None]) -> None:
        """Call `wake` when the endpoint is `ready`."""
        self._waiting[address] = wake

    def power_on(self, loop: Loop, speed: Speed) -> None:
        """Plugged into a port that runs at this speed."""
        self.loop = loop
        self.speed = speed
        self.bus_reset()
        self.plugged()

    def power_off(self) -> None:
        """Unplugged, or the port has no power."""
        if self.loop is None:
            return
        self.bus_reset()
        self.loop = None

    def bus_reset(self) -> None:
        """USB 2.0 §9.1.1.3: default state."""
        self.address = 0
        self._configure(0)
        self.remote_wakeup = False
        waiting, self._waiting = self._waiting, {}
        self.reset()
        for wake in waiting.values():  # they find out that nobody answers
            wake()

    def handler(self, address: int) -> Callable[..., Any] | None:
        """The method of an endpoint of the present configuration and alternate settings."""
        return self._handlers.get(address)

    def request(self, setup: bytes, data: bytes) -> bytes | Nak:
        """A control transfer: what goes back to the host, at most wLength bytes. Raises Stall."""
        fields = parse(setup)
        if fields.type == "standard":
            answer = self._standard(fields, data)
        else:
            answer = self.control(fields, data)
        if isinstance(answer, Nak):
            return answer
        return (answer or b"")[: fields.wLength] if fields.is_in else b""

    # Chapter 9.

    def _standard(self, setup: Setup, data: bytes) -> bytes | Nak | None:
        name = _STANDARD.get((setup.bmRequestType & 0x80, setup.bRequest))
        if name is None or (setup.bRequest == GET_DESCRIPTOR and setup.bmRequestType != 0x80):
            return self.control(setup, data)
        answer: bytes | Nak | None = getattr(self, name)(setup)
        return answer

    def _get_descriptor(self, setup: Setup) -> bytes | Nak | None:
        kind, index = setup.wValue >> 8, setup.wValue & 0xFF
        found = self.get_descriptor(kind, index)
        if found is None:
            return self.control(setup, b"")
        return found

    def get_descriptor(self, kind: int, index: int) -> bytes | None:
        """A standard descriptor of the device as a whole (§9.4.3); None if there is none."""
        count = len(self.configurations)
        device = self.descriptor.encode(
            self.speed, self.strings, count
        )  # numbers its strings first
        has_other = self.speed in (Speed.FULL, Speed.HIGH) and self.wanted_speed is not Speed.FULL
        if kind == d.DEVICE:
            return device
        if kind == d.CONFIGURATION and index < count:
            return self.configurations[index].encode(self.speed, self.strings)
        if kind == d.STRING:
            for configuration in self.configurations:
                configuration.encode(self.speed, self.strings)
            return self.strings.descriptor(index)
        if kind == d.DEVICE_QUALIFIER and has_other:
            return self.descriptor.qualifier(count)
        if kind == d.OTHER_SPEED and has_other and index < count:
            other = Speed.FULL if self.speed is Speed.HIGH else Speed.HIGH
            return self.configurations[index].encode(other, self.strings, type=d.OTHER_SPEED)
        if kind == d.BOS:
            return self.bos or (d.BOS_SUPER if self.speed is Speed.SUPER else None)
        return None

    def _set_address(self, setup: Setup) -> None:
        self.address = setup.wValue & 0x7F

    def _get_configuration(self, _setup: Setup) -> bytes:
        return bytes((self.configuration,))

    def _set_configuration(self, setup: Setup) -> None:
        values = {configuration.bConfigurationValue for configuration in self.configurations}
        if setup.wValue and setup.wValue not in values:
            raise Stall
        self._configure(setup.wValue)

    def _configure(self, value: int) -> None:
        self.configuration = value
        self.alternates = {i.bInterfaceNumber: 0 for i in self._interfaces()}
        self.halted.clear()
        self._find_handlers()
        self.configured()

    def _get_interface(self, setup: Setup) -> bytes:
        if setup.wIndex not in self.alternates:
            raise Stall
        return bytes((self.alternates[setup.wIndex],))

    def _set_interface(self, setup: Setup) -> None:
        known = {(i.bInterfaceNumber, i.bAlternateSetting) for i in self._interfaces()}
        if (setup.wIndex, setup.wValue) not in known:
            raise Stall
        self.alternates[setup.wIndex] = setup.wValue
        for interface in self._interfaces():
            if interface.bInterfaceNumber == setup.wIndex:
                self.halted -= {e.bEndpointAddress for e in interface.endpoints}
        self._find_handlers()
        self.interface_set(setup.wIndex, setup.wValue)

    def _get_status(self, setup: Setup) -> bytes:
        recipient = setup.bmRequestType & 0x1F
        if recipient == 0:
            chosen = [c for c in self.configurations if c.bConfigurationValue == self.configuration]
            powered = any(c.self_powered for c in chosen)
            return bytes((powered | self.remote_wakeup << 1, 0))
        return bytes((recipient == 2 and setup.wIndex & 0xFF in self.halted, 0))

    def _feature(self, setup: Setup) -> None:
        on = setup.bRequest == SET_FEATURE
        recipient = setup.bmRequestType & 0x1F
        address = setup.wIndex & 0xFF
        if recipient == 2 and setup.wValue == _ENDPOINT_HALT:
            (self.halted.add if on else self.halted.discard)(address)
            if not on:
                self.unhalted(address)
        elif recipient == 0 and setup.wValue == _REMOTE_WAKEUP:
            self.remote_wakeup = on
        elif self.speed is not Speed.SUPER:  # U1, U2 and function suspend are SuperSpeed's
            raise Stall

    def unhalted(self, address: int) -> None:
        """The host has cleared the halt of an endpoint. May be overridden."""

    def _ignore(self, _setup: Setup) -> None:
        return None

    def _interfaces(self) -> list[d.Interface]:
        for configuration in self.configurations:
            if configuration.bConfigurationValue == self.configuration:
                return list(configuration.interfaces)
        return []

    def _find_handlers(self) -> None:
        """The methods of the endpoints that are there now."""
        self._handlers = {
            endpoint.bEndpointAddress: getattr(self, self._methods[endpoint.bEndpointAddress])
            for interface in self._interfaces()
            if self.alternates.get(interface.bInterfaceNumber) == interface.bAlternateSetting
            for endpoint in interface.endpoints
            if endpoint.bEndpointAddress in self._methods
        }
