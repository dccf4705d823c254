"""Hubs: ports with their state machine, and the class requests that work them.

Here: `Port` (USB 2.0 §11.5, USB 3.2 §10.3), the model of an external hub, and the root hub of a
controller, which answers the same requests without a wire. Not here: the host's side, which asks
for resets and hands out addresses (`drivers.hub`).
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final

from usbmon.bus.descriptors import (
    DEVICE_QUALIFIER,
    OTHER_SPEED,
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
)
from usbmon.bus.device import NAK, Device, Nak, Stall, endpoint
from usbmon.bus.loop import MS
from usbmon.bus.timing import Speed
from usbmon.bus.urb import INTERRUPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.loop import Loop, Timer
    from usbmon.usb.setup import Setup

# wPortStatus (USB 2.0 table 11-21, USB 3.2 table 10-13).
CONNECTION: Final = 0x0001
ENABLE: Final = 0x0002
SUSPEND: Final = 0x0004
OVER_CURRENT: Final = 0x0008
RESET: Final = 0x0010
POWER: Final = 0x0100
LOW_SPEED: Final = 0x0200
HIGH_SPEED: Final = 0x0400
POWER_SUPER: Final = 0x0200
LINK_DISABLED, LINK_U0, LINK_U3, LINK_RX_DETECT, LINK_POLLING = 4 << 5, 0, 3 << 5, 5 << 5, 7 << 5

# wPortChange (tables 11-22 and 10-14): the same bits as the state, and two more.
BH_RESET: Final = 0x0020
LINK_STATE: Final = 0x0040

# Features of ports (tables 11-17 and 10-9).
PORT_ENABLE, PORT_SUSPEND, PORT_RESET, PORT_LINK_STATE, PORT_POWER = 1, 2, 4, 5, 8
_CHANGES: Final = {
    16: CONNECTION,
    17: ENABLE,
    18: SUSPEND,
    19: OVER_CURRENT,
    20: RESET,
    25: LINK_STATE,
    29: BH_RESET,
}
BH_PORT_RESET: Final = 28
# Accepted and without effect: indicators, link power management, remote wake mask.
_IGNORED: Final = {21, 22, 23, 24, 26, 27, 30}

# How long a port drives reset and resume (USB 2.0 §7.1.7.5, §7.1.7.7).
_RESET_TIME: Final = 10 * MS
_ROOT_RESET_TIME: Final = 50 * MS
_RESUME_TIME: Final = 20 * MS


class PortState(Enum):
    """The states of USB 2.0 figure 11-10, as far as a host can tell them apart."""

    POWERED_OFF = "powered off"
    DISCONNECTED = "disconnected"
    DISABLED = "disabled"
    RESETTING = "resetting"
    ENABLED = "enabled"
    SUSPENDED = "suspended"
    RESUMING = "resuming"


class Port:
    """One downstream port, and what is plugged into it.

    `change` are the bits of wPortChange; a change is told to `on_change`, and whoever looks into
    `device` behind the port finds it only while the port is enabled.
    """

    def __init__(self, speed: Speed, reset_time: int, on_change: Callable[[], None]) -> None:
        """`speed`: the fastest that the port can do."""
        self.state = PortState.POWERED_OFF
        self.device: Device | None = None
        self.change = 0
        self.over_current = False
        self.loop: Loop | None = None
        self.speed = speed
        self._reset_time = reset_time
        self._on_change = on_change
        self._timer: Timer | None = None

    @property
    def is_open(self) -> bool:
        """Whether what is plugged in hears the bus."""
        return self.state is PortState.ENABLED

    @property
    def is_super(self) -> bool:
        return self.speed is Speed.SUPER

    @property
    def status(self) -> int:
        """The bits of wPortStatus."""
        state = self.state
        if self.is_super:
            return self._status_super()
        connected = self.device is not None and state is not PortState.POWERED_OFF
        bits = POWER if state is not PortState.POWERED_OFF else 0
        bits |= CONNECTION if connected else 0
        bits |= RESET if state is PortState.RESETTING else 0
        bits |= OVER_CURRENT if self.over_current else 0
        if state in (PortState.ENABLED, PortState.SUSPENDED, PortState.RESUMING):
            bits |= ENABLE
        if state in (PortState.SUSPENDED, PortState.RESUMING):
            bits |= SUSPEND
        if connected and self.device is not None:
            bits |= LOW_SPEED if self.device.speed is Speed.LOW else 0
            bits |= HIGH_SPEED if self.device.speed is Speed.HIGH else 0
        return bits

    def _status_super(self) -> int:
        state = self.state
        if state is PortState.POWERED_OFF:
            return LINK_DISABLED | (OVER_CURRENT if self.over_current else 0)
        link = {
            PortState.DISCONNECTED: LINK_RX_DETECT,
            PortState.DISABLED: LINK_DISABLED,
            PortState.RESETTING: LINK_POLLING | RESET,
            PortState.ENABLED: LINK_U0 | ENABLE,
            PortState.SUSPENDED: LINK_U3 | ENABLE,
            PortState.RESUMING: LINK_U3 | ENABLE,
        }[state]
        connected = self.device is not None and state is not PortState.DISABLED
        return POWER_SUPER | link | (CONNECTION if connected else 0)

    # From outside.

    def connect(self, device: Device) -> None:
        """Plug the device in. Raises ValueError where something is plugged in already."""
        if self.device is not None:
            raise ValueError("the port has a device already")
        self.device = device
        if self.state is PortState.DISCONNECTED:
            self._connected()

    def disconnect(self) -> None:
        """Pull out what is there; nothing if there is nothing."""
        device, self.device = self.device, None
        if device is None:
            return
        self._cancel()
        if self.state is not PortState.POWERED_OFF:
            self.state = PortState.DISCONNECTED
            self._changed(CONNECTION | (LINK_STATE if self.is_super else 0))
        device.power_off()

    def set_over_current(self, present: bool) -> None:
        """Too much current is drawn, which switches the port off; or no longer."""
        if present == self.over_current:
            return
        self.over_current = present
        if present:
            self.set_power(False)
        self._changed(OVER_CURRENT)

    def wake(self) -> None:
        """Remote wake-up by the suspended device (§7.1.7.7)."""
        if self.state is PortState.SUSPENDED:
            self._resume()

    # By the hub's requests.

    def set_power(self, on: bool) -> None:
        """PORT_POWER: with it, a device that is plugged in is found."""
        if on and self.state is PortState.POWERED_OFF and not self.over_current:
            self.state = PortState.DISCONNECTED
            if self.device is not None:
                self._connected()
        elif not on:
            self._cancel()
            self.state = PortState.POWERED_OFF
            self.change = 0
            if self.device is not None:
                self.device.power_off()

    def reset(self, *, warm: bool = False) -> None:
        """PORT_RESET: afterwards the port is enabled, and the device in its default state. `warm`:
        BH_PORT_RESET of SuperSpeed."""
        if self.device is None or self.state in (PortState.POWERED_OFF, PortState.DISCONNECTED):
            return
        self._cancel()
        self.state = PortState.RESETTING
        self._later(self._reset_time, self._reset_done, RESET | (BH_RESET if warm else 0))

    def disable(self) -> None:
        """CLEAR_FEATURE(PORT_ENABLE), or an error on the line."""
        if self.state in (PortState.ENABLED, PortState.SUSPENDED, PortState.RESUMING):
            self._cancel()
            self.state = PortState.DISABLED

    def suspend(self) -> None:
        """PORT_SUSPEND, or link state U3."""
        if self.state is PortState.ENABLED:
            self.state = PortState.SUSPENDED

    def resume(self) -> None:
        """CLEAR_FEATURE(PORT_SUSPEND), or link state U0."""
        if self.state is PortState.SUSPENDED:
            self._resume()

    def clear(self, bits: int) -> None:
        """Acknowledge a change."""
        self.change &= ~bits

    def _connected(self) -> None:
        assert self.device is not None
        assert self.loop is not None
        order = list(Speed)
        speed = min(self.device.wanted_speed, self.speed, key=order.index)
        # A SuperSpeed link trains by itself; others wait for a reset.
        self.state = PortState.ENABLED if self.is_super else PortState.DISABLED
        self.device.power_on(self.loop, speed)
        self._changed(CONNECTION)

    def _reset_done(self, change: int) -> None:
        assert self.device is not None
        self.state = PortState.ENABLED
        self.device.bus_reset()
        self._changed(change)

    def _resume(self) -> None:
        self.state = PortState.RESUMING
        self._later(_RESUME_TIME, self._resume_done)

    def _resume_done(self) -> None:
        self.state = PortState.ENABLED
        self._changed(LINK_STATE if self.is_super else SUSPEND)

    def _changed(self, bits: int) -> None:
        self.change |= bits
        self._on_change()

    def _later(self, delay: int, function: Callable[..., None], *args: int) -> None:
        assert self.loop is not None
        self._timer = self.loop.call_later(delay, function, *args)

    def _cancel(self) -> None:
        if self.loop is not None:
            self.loop.cancel(self._timer)
        self._timer = None


class Hub(Device):
    """An external hub of full or high speed, with `ports` (numbered from 1 on the wire, from 0
    here)."""

    descriptor = DeviceDescriptor(
        0x1209,
        0x7068,
        bDeviceClass=9,
        bDeviceProtocol=1,  # one transaction translator
        iManufacturer="usbmon",
        iProduct="Hub",
    )
    has_root_timing: ClassVar[bool] = False
    interval: ClassVar[int] = 12
    told: ClassVar[int] = 0xFFFF
    """The changes that the status endpoint tells."""

    def __init__(self, ports: int = 4, *, speed: Speed | None = None) -> None:
        """Raises ValueError for a number of ports that no hub has."""
        if not 1 <= ports <= 15:
            raise ValueError(f"a hub has 1 to 15 ports, not {ports}")
        super().__init__(speed=speed)
        reset_time = _ROOT_RESET_TIME if self.has_root_timing else _RESET_TIME
        self.ports = [Port(self.speed, reset_time, self._port_changed) for _ in range(ports)]
        interval = self.interval if self.speed is not Speed.FULL else 255
        status = Endpoint(0x81, INTERRUPT, self._status_size(), interval)
        interface = Interface(9, endpoints=(status,))
        self.configurations = (
            Configuration((interface,), self_powered=True, remote_wakeup=True, power=0),
        )

    @property
    def _bitmap_size(self) -> int:
        return len(self.ports) // 8 + 1

    def _status_size(self) -> int:
        """The wMaxPacketSize of the status-change endpoint."""
        return self._bitmap_size

    def power_on(self, loop: Loop, speed: Speed) -> None:
        for port in self.ports:
            port.loop = loop
            port.speed = speed
        super().power_on(loop, speed)

    def reset(self) -> None:
        for port in self.ports:
            port.set_power(False)
            port.change = 0

    def _port_changed(self) -> None:
        self.ready(0x81)

    @endpoint(0x81)
    def status_change(self, size: int) -> bytes | Nak:
        """A bit for each port with changes; bit 0 is the hub itself (§11.12.4)."""
        bits = sum(1 << n for n, port in enumerate(self.ports, 1) if port.change & self.told)
        return bits.to_bytes(self._bitmap_size, "little")[:size] if bits else NAK

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        """The class requests of USB 2.0 §11.24.2."""
        if setup.type != "class":
            raise Stall
        if setup.bmRequestType & 0x1F == 0:
            return self._hub_request(setup)
        if setup.bmRequestType & 0x1F != 3 or not 1 <= setup.wIndex & 0xFF <= len(self.ports):
            raise Stall
        port = self.ports[(setup.wIndex & 0xFF) - 1]
        if setup.bRequest == 0:  # GET_STATUS
            return struct.pack("<HH", port.status, port.change)
        if setup.bRequest == 3:  # SET_FEATURE
            self._set_feature(port, setup)
            return None
        if setup.bRequest == 1:  # CLEAR_FEATURE
            self._clear_feature(port, setup)
            return None
        if setup.bRequest in (8, 9):  # CLEAR_TT_BUFFER, RESET_TT
            return None
        raise Stall

    def _hub_request(self, setup: Setup) -> bytes | None:
        if setup.bRequest == 6:  # GET_DESCRIPTOR
            return self.hub_descriptor()
        if setup.bRequest == 0:  # GET_STATUS: local power is good, no over-current
            return bytes(4)
        if setup.bRequest in (1, 3, 12):  # features of the hub itself, SET_HUB_DEPTH
            return None
        raise Stall

    def hub_descriptor(self) -> bytes:
        """Table 11-13 (USB 3.2 table 10-5): power and over-current a port of its own."""
        count = len(self.ports)
        if self.speed is Speed.SUPER:
            return struct.pack("<BBBHBBBHH", 12, 0x2A, count, 0x0009, 10, 0, 0, 0, 0)
        mask = self._bitmap_size
        head = struct.pack("<BBBHBB", 7 + 2 * mask, 0x29, count, 0x0009, 10, 0)
        return head + bytes(mask) + b"\xff" * mask

    def _set_feature(self, port: Port, setup: Setup) -> None:
        feature = setup.wValue
        if feature in (PORT_RESET, BH_PORT_RESET):
            port.reset(warm=feature == BH_PORT_RESET)
        elif feature == PORT_SUSPEND:
            port.suspend()
        elif feature == PORT_POWER:
            port.set_power(True)
        elif feature == PORT_LINK_STATE and setup.wIndex >> 8 == 3:
            port.suspend()
        elif feature == PORT_LINK_STATE and setup.wIndex >> 8 == 4:
            port.disable()
        elif feature == PORT_LINK_STATE:
            port.resume()
        elif feature not in _IGNORED:
            raise Stall

    def _clear_feature(self, port: Port, setup: Setup) -> None:
        feature = setup.wValue
        if feature == PORT_ENABLE:
            port.disable()
        elif feature == PORT_SUSPEND:
            port.resume()
        elif feature == PORT_POWER:
            port.set_power(False)
        elif feature in _CHANGES:
            port.clear(_CHANGES[feature])
        elif feature not in _IGNORED:
            raise Stall


class RootHub(Hub):
    """The hub inside a host controller, with the descriptors that Linux gives it
    (drivers/usb/core/hcd.c, usb2_rh_dev_descriptor and its like)."""

    has_root_timing = True
    told = 0xFFFF & ~RESET  # as those of xHCI, EHCI and UHCI in Linux: the host asks for it
    max_speed = Speed.SUPER

    def __init__(self, ports: int, *, speed: Speed, serial: str) -> None:
        super().__init__(ports, speed=speed)
        usb_version, product = {
            Speed.FULL: (0x0110, 1),
            Speed.HIGH: (0x0200, 2),
            Speed.SUPER: (0x0300, 3),
        }[speed]
        self.descriptor = DeviceDescriptor(
            0x1D6B,
            product,
            0x0601,
            bDeviceClass=9,
            bDeviceProtocol={Speed.FULL: 0, Speed.HIGH: 1, Speed.SUPER: 3}[speed],
            bcdUSB=usb_version,
            iManufacturer="Linux 6.1 usbmon-hcd",
            iProduct="usbmon Host Controller",
            iSerialNumber=serial,
        )

        for text in (serial, self.descriptor.iProduct, self.descriptor.iManufacturer):
            self.strings.number(text)  # as Linux numbers them

    def get_descriptor(self, kind: int, index: int) -> bytes | None:
        """Linux's root hubs have no other speed to tell of."""
        if kind in (DEVICE_QUALIFIER, OTHER_SPEED):
            return None
        return super().get_descriptor(kind, index)

    def _status_size(self) -> int:
        return 4 if self.speed is Speed.HIGH else 2
