"""The hub driver: ports, and what is plugged into them, until it has an address.

Here: what drivers/usb/core/hub.c does, in its order and with its delays: activation of a hub,
debouncing, reset, the first 64 bytes, a second reset, SET_ADDRESS; and letting go of what was
unplugged. Not here: the hub itself (`bus.hub`), what follows (`enumeration`), and power saving,
which this host does not do.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Receive, Sleep, Spawn, Steps, Submit, UrbFailed
from usbmon.bus.drivers.enumeration import (
    at_least,
    enumerate_device,
    get_descriptor,
    read_bos,
    verify,
)
from usbmon.bus.host import HostDevice
from usbmon.bus.hub import (
    CONNECTION,
    ENABLE,
    HIGH_SPEED,
    LINK_STATE,
    LOW_SPEED,
    OVER_CURRENT,
    RESET,
    SUSPEND,
)
from usbmon.bus.loop import MS
from usbmon.bus.status import ENODEV, ENOTCONN, EPROTO, GONE
from usbmon.bus.timing import Speed
from usbmon.bus.urb import INTERRUPT

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostEndpoint, HostInterface

# Features to clear, by the bit of wPortChange.
_CLEAR: Final = (
    (ENABLE, 17),
    (SUSPEND, 18),
    (OVER_CURRENT, 19),
    (RESET, 20),
    (LINK_STATE, 25),
)
_PORT_RESET, _PORT_POWER = 4, 8
_C_CONNECTION, _C_RESET, _C_LINK, _C_BH_RESET = 16, 20, 25, 29

# drivers/usb/core/hub.c: HUB_DEBOUNCE_STEP, _STABLE, _TIMEOUT; HUB_ROOT_RESET_TIME;
# HUB_SHORT_RESET_TIME, _LONG_; recovery after reset; after SET_ADDRESS; PORT_RESET_TRIES;
# GET_MAXPACKET0_TRIES and those of usb_get_descriptor; GET_DESCRIPTOR_TRIES, and the rest between
# them; SET_ADDRESS_TRIES; PORT_INIT_TRIES.
# Ports have power for at least so long before they are looked at (hub_power_on_good_delay).
_POWER_GOOD: Final = 100 * MS
_DEBOUNCE_STEP: Final = 25 * MS
_DEBOUNCE_STABLE: Final = 100 * MS
_DEBOUNCE_TIMEOUT: Final = 2000 * MS
_ROOT_RESET: Final = 60 * MS
_SHORT_RESET: Final = 20 * MS
_LONG_RESET: Final = 200 * MS
_RESET_TIMEOUT: Final = 800 * MS
_RECOVERY: Final = 50 * MS
_ADDRESS_SETTLE: Final = 10 * MS
_RESET_TRIES: Final = 5
_READ_TRIES: Final = 3
_HEAD_TRIES: Final = 2
_HEAD_PAUSE: Final = 100 * MS
_ADDRESS_TRIES: Final = 2
_INIT_TRIES: Final = 4

_WORDS: Final = {
    Speed.LOW: "low-speed",
    Speed.FULL: "full-speed",
    Speed.HIGH: "high-speed",
    Speed.SUPER: "SuperSpeed",
}

# The status endpoint is not asked again after these, nor after so many other errors in a row
# (hub_irq).
_STATUS_TRIES: Final = 10


class HubDriver(Driver):
    """Serves one hub."""

    name = "hub"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return interface.cls == 9

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.ports = 0

    def probe(self) -> Steps[None]:
        """hub_configure and hub_activate."""
        device = self.device
        endpoint = self.interface.endpoint(INTERRUPT, is_in=True)
        is_super = device.speed is Speed.SUPER
        kind, size = (0x2A, 12) if is_super else (0x29, 15)
        raw = yield from device.control_in(0xA0, 6, kind << 8, 0, size)
        self.ports = at_least(raw, 7, "hub descriptor")[2]
        yield from device.control_in(0x80, 0, 0, 0, 2)
        yield from device.control_in(0xA0, 0, 0, 0, 4)
        if is_super and device.parent is not None:
            yield from device.control_out(0x20, 12, device.level - 1, 0)  # SET_HUB_DEPTH
        for port in range(1, self.ports + 1):
            yield from self._set(port, _PORT_POWER)
        self.host.report(f"hub {device.name}:1.0: {self.ports} ports detected")
        yield Spawn(self._run(endpoint), self)

    def _run(self, endpoint: HostEndpoint) -> Steps[None]:
        """Ports that are taken at the start, then whatever the status endpoint tells."""
        yield Sleep(_POWER_GOOD)
        taken = []
        is_new = False
        for port in range(1, self.ports + 1):
            status, change = yield from self._status(port)
            if change & CONNECTION:
                yield from self._clear(port, _C_CONNECTION)
                is_new = True
            if status & CONNECTION:
                taken.append(port)
        if is_new:  # one wait in the place of debouncing each
            yield Sleep(_DEBOUNCE_STABLE)
        urb = self.device.urb(endpoint, endpoint.max_packet)
        error = yield Submit(urb)
        for port in taken:
            yield from self._try(port, connected=True)
        failures = 0
        while not error:
            done = yield Receive()
            failures = failures + 1 if done.status else 0
            if done.status in GONE or failures > _STATUS_TRIES:
                return
            bits = int.from_bytes(done.data, "little")
            error = yield Submit(urb)
            for port in range(1, self.ports + 1):
                if bits >> port & 1:
                    yield from self._try(port)

    def _try(self, port: int, *, connected: bool = False) -> Steps[None]:
        try:
            yield from self._event(port, connected=connected)
        except UrbFailed as error:
            self.host.report(f"usb {self.device.name}-port{port}: {error}")

    # Ports.

    def _status(self, port: int) -> Steps[tuple[int, int]]:
        raw = yield from self.device.control_in(0xA3, 0, 0, port, 4)
        status, change = struct.unpack("<HH", at_least(raw, 4, "port status"))
        return status, change

    def _set(self, port: int, feature: int) -> Steps[None]:
        return self.device.control_out(0x23, 3, feature, port)

    def _clear(self, port: int, feature: int) -> Steps[None]:
        return self.device.control_out(0x23, 1, feature, port)

    def _event(self, port: int, *, connected: bool) -> Steps[None]:
        """port_event."""
        status, change = yield from self._status(port)
        if change & CONNECTION:
            yield from self._clear(port, _C_CONNECTION)
            connected = True
        for bit, feature in _CLEAR:
            if change & bit:
                yield from self._clear(port, feature)
        if change & OVER_CURRENT:
            yield from self._over_current(port)
        if connected:
            yield from self._connect_change(port, status, change)

    def _over_current(self, port: int) -> Steps[None]:
        self.host.report(f"usb {self.device.name}-port{port}: over-current change")
        yield Sleep(100 * MS)
        yield from self._set(port, _PORT_POWER)
        status, _ = yield from self._status(port)
        if status & OVER_CURRENT:
            self.host.report(f"usb {self.device.name}-port{port}: over-current condition")

    def _connect_change(self, port: int, status: int, change: int) -> Steps[None]:
        """hub_port_connect_change: what was there goes first."""
        old = self.device.children.get(port)
        if old is not None:
            self.host.release(old)
        if change & (CONNECTION | ENABLE):
            status = yield from self._debounce(port)
        if status & CONNECTION:
            yield from self._connect(port)

    def _debounce(self, port: int) -> Steps[int]:
        """hub_port_debounce: the status once it has been the same for 100 ms."""
        stable = waited = 0
        last = -1
        while True:
            status, change = yield from self._status(port)
            if not change & CONNECTION and (status & CONNECTION) == last:
                stable += _DEBOUNCE_STEP
                if stable >= _DEBOUNCE_STABLE:
                    return int(status)
            else:
                stable = 0
                last = status & CONNECTION
            if change & CONNECTION:
                yield from self._clear(port, _C_CONNECTION)
            if waited >= _DEBOUNCE_TIMEOUT:
                return 0
            waited += _DEBOUNCE_STEP
            yield Sleep(_DEBOUNCE_STEP)

    def _reset(self, port: int) -> Steps[int]:
        """hub_port_reset: the status afterwards. Raises UrbFailed where the port has no device."""
        is_super = self.device.speed is Speed.SUPER
        delay = _ROOT_RESET if self.device.parent is None else _SHORT_RESET
        status = 0
        for _ in range(_RESET_TRIES):
            yield from self._set(port, _PORT_RESET)
            status, change = yield from self._wait_reset(port, delay)
            if is_super or not status & change & CONNECTION:
                break
            yield from self._clear(port, _C_CONNECTION)  # the contact bounced
            delay = _LONG_RESET
        yield from self._clear(port, _C_RESET)
        if is_super:
            for feature in (_C_BH_RESET, _C_LINK, _C_CONNECTION):
                yield from self._clear(port, feature)
            status, _ = yield from self._status(port)
        if not status & CONNECTION or not status & ENABLE:
            raise UrbFailed(ENOTCONN, f"usb {self.device.name}-port{port}: cannot reset")
        yield Sleep(_RECOVERY)
        return int(status)

    def _wait_reset(self, port: int, delay: int) -> Steps[tuple[int, int]]:
        """hub_port_wait_reset: status and change once it is over."""
        waited = 0
        while True:
            yield Sleep(delay)
            waited += delay
            status, change = yield from self._status(port)
            if not status & RESET or waited >= _RESET_TIMEOUT:
                return int(status), int(change)

    def _connect(self, port: int) -> Steps[None]:
        """hub_port_connect."""
        for attempt in range(_INIT_TRIES):
            try:
                device = yield from self._init(port, attempt)
            except UrbFailed as error:
                self.host.report(
                    f"usb {self.device.name}-port{port}: device not accepting, {error}"
                )
                if port in self.device.children:
                    self.host.release(self.device.children[port])
                if error.status == ENOTCONN:
                    break
                if attempt + 1 == _INIT_TRIES // 2:
                    yield from self._power_cycle(port)
                continue
            try:
                if _could_be_faster(self.host, device):
                    yield from self._check_highspeed(device)
                yield from enumerate_device(self.host, device)
            except UrbFailed as error:
                self.host.report(f"usb {device.name}: can't set up, {error}")
                if device.is_there:
                    self.host.release(device)
                if attempt + 1 < _INIT_TRIES and error.status != ENODEV:
                    continue
            return
        self.host.report(f"usb {self.device.name}-port{port}: unable to enumerate USB device")

    def _power_cycle(self, port: int) -> Steps[None]:
        self.host.report(f"usb {self.device.name}-port{port}: attempt power cycle")
        yield from self._clear(port, _PORT_POWER)
        yield Sleep(2 * _POWER_GOOD)
        yield from self._set(port, _PORT_POWER)
        yield Sleep(_POWER_GOOD)

    def _check_highspeed(self, device: HostDevice) -> Steps[None]:
        """check_highspeed: a device that has a qualifier is at the wrong port."""
        try:
            raw = yield from get_descriptor(device, 6, 0, 10)
        except UrbFailed:
            return
        if len(raw) == 10:
            self.host.report(
                f"usb {device.name}: not running at top speed; connect to a high speed hub"
            )

    def _init(self, port: int, attempt: int) -> Steps[HostDevice]:
        """hub_port_init: a device with an address and its descriptor. One device of a bus at a
        time has address 0."""
        lock = self.host.address0[self.device.controller]
        yield from lock.acquire()
        try:
            device = yield from self._init_alone(port, attempt)
        finally:
            lock.release()
        return device

    def _init_alone(self, port: int, attempt: int) -> Steps[HostDevice]:
        status = yield from self._reset(port)
        speed = self._speed(status)
        device = HostDevice(self.device.controller, speed, self.device, port)
        devnum = _free_number(device)
        self.host.report(
            f"usb {device.name}: new {_WORDS[speed]} USB device number {devnum} using usbmon-hcd"
        )
        self.device.children[port] = device
        if speed is Speed.SUPER:
            yield from self._address_super(device, devnum)
        elif attempt < _INIT_TRIES // 2:  # use_new_scheme
            yield from self._first_read(device)
            yield from self._set_address(device, devnum)
        else:
            yield from self._set_address(device, devnum)
            yield from self._read_head(device, 8)
        raw = yield from get_descriptor(device, 1, 0, 18)
        device.descriptor = at_least(raw, 18, "device descriptor")
        if int.from_bytes(device.descriptor[2:4], "little") >= 0x0201:
            yield from read_bos(device)
        return device

    def _speed(self, status: int) -> Speed:
        if self.device.speed is Speed.SUPER:
            return Speed.SUPER
        if status & HIGH_SPEED:
            return Speed.HIGH
        return Speed.LOW if status & LOW_SPEED else Speed.FULL

    def _first_read(self, device: HostDevice) -> Steps[None]:
        """The first 64 bytes of the device descriptor at address 0, and another reset."""
        for attempt in range(_HEAD_TRIES):
            try:
                yield from self._read_head(device, 64)
            except UrbFailed:
                yield from self._reset(device.port)
                if attempt + 1 == _HEAD_TRIES:
                    raise
                yield Sleep(_HEAD_PAUSE)
            else:
                yield from self._reset(device.port)
                return

    def _read_head(self, device: HostDevice, size: int) -> Steps[None]:
        """bMaxPacketSize0, from the device descriptor's first bytes."""
        for attempt in range(_READ_TRIES):
            try:
                head = yield from device.get_descriptor(1, 0, size)
            except UrbFailed:
                if attempt + 1 == _READ_TRIES:
                    raise
                continue
            if len(head) >= 8 and head[1] == 1 and head[7] in (8, 16, 32, 64):
                device.endpoints[0].max_packet = head[7]
                return
        raise UrbFailed(EPROTO, f"{device.name}: bad device descriptor")

    def readdress(self, device: HostDevice) -> Steps[None]:
        """Reset the port of a device, and give it the number again that it had."""
        devnum = device.devnum
        device.devnum = 0
        device.controller.flush(device.endpoints[0])
        try:
            yield from self._reset(device.port)
            if device.speed is Speed.SUPER:
                model = device.controller.model(device)
                if model is None:
                    raise UrbFailed(EPROTO, f"{device.name}: does not answer")
                model.address = devnum
            else:
                yield from self._first_read(device)
                yield from self._set_address(device, devnum)
        finally:
            device.devnum = devnum

    def _set_address(self, device: HostDevice, devnum: int) -> Steps[None]:
        for attempt in range(_ADDRESS_TRIES):
            try:
                yield from device.control_out(0x00, 5, devnum, 0)
                break
            except UrbFailed:
                yield Sleep(200 * MS)
                if attempt + 1 == _ADDRESS_TRIES:
                    raise
        yield Sleep(_ADDRESS_SETTLE)
        _number(device, devnum)

    def _address_super(self, device: HostDevice, devnum: int) -> Steps[None]:
        """An xHCI gives the address itself (Address Device command): no URB shows it."""
        model = device.controller.model(device)
        if model is None:
            raise UrbFailed(EPROTO, f"{device.name}: cannot give it an address")
        model.address = devnum
        _number(device, devnum)
        yield Sleep(_ADDRESS_SETTLE)
        yield from device.get_descriptor(1, 0, 8)
        yield from device.control_out(0x00, 49, 40, 0)  # SET_ISOCH_DELAY


def _free_number(device: HostDevice) -> int:
    """choose_devnum: the next after the last one given, so that numbers are not soon used again."""
    controller = device.controller
    for offset in range(127):
        number = (controller.last_devnum + offset) % 127 + 1
        if number not in controller.devices:
            controller.last_devnum = number
            return number
    raise UrbFailed(ENOTCONN, f"{device.name}: the bus is full")


def _number(device: HostDevice, devnum: int) -> None:
    if not device.is_there:
        raise UrbFailed(ENOTCONN, f"{device.name}: has gone")
    device.devnum = devnum
    device.controller.devices[devnum] = device


def _could_be_faster(host: Host, device: HostDevice) -> bool:
    """A full-speed device of USB 2.0, while there are high-speed hubs (also those of others)."""
    return (
        device.speed is Speed.FULL
        and int.from_bytes(device.descriptor[2:4], "little") >= 0x0200
        and any(
            hub.speed is Speed.HIGH
            for hub in host.devices()
            if any(isinstance(driver, HubDriver) for driver in hub.drivers.values())
        )
    )


def reset_device(host: Host, device: HostDevice) -> Steps[None]:
    """usb_reset_and_verify_device: the port is reset, and the device gets its address and its
    configuration again. A device that does not come back is let go of."""
    hub = _hub_driver(device)
    lock = host.address0[device.controller]
    try:
        yield from lock.acquire()
        try:
            yield from hub.readdress(device)
        finally:
            lock.release()
        yield from verify(device)
        if device.configuration:
            yield from device.control_out(0x00, 9, device.configuration, 0)
            device.choose(device.configuration)
    except UrbFailed as error:
        host.report(f"usb {device.name}: reset failed, {error}")
        if device.is_there:
            host.release(device)


def _hub_driver(device: HostDevice) -> HubDriver:
    assert device.parent is not None
    for driver in device.parent.drivers.values():
        if isinstance(driver, HubDriver):
            return driver
    raise UrbFailed(ENOTCONN, f"usb {device.name}: its hub has gone")


DRIVER = HubDriver
