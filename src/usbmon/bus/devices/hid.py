"""Keyboard and mouse: human interface devices of the boot subclass.

Here: HID 1.11 as a device has it: report descriptors, reports on change or at the idle rate, the
class requests, LEDs. Not here: what a host makes of a report (`drivers.hid`).
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon.bus.descriptors import Configuration, DeviceDescriptor, Endpoint, Interface
from usbmon.bus.device import GET_DESCRIPTOR, NAK, Device, Nak, Stall, endpoint
from usbmon.bus.loop import MS
from usbmon.bus.timing import Speed
from usbmon.bus.urb import INTERRUPT

if TYPE_CHECKING:
    from usbmon.bus.loop import Timer
    from usbmon.usb.setup import Setup

# Class requests (HID 1.11 §7.2), and the types of descriptors and of reports.
_GET_REPORT, _GET_IDLE, _GET_PROTOCOL = 1, 2, 3
_SET_REPORT, _SET_IDLE, _SET_PROTOCOL = 9, 10, 11
_HID, _REPORT = 0x21, 0x22
_INPUT, _OUTPUT = 1, 2

# Reports that nobody fetches are kept, so many; then the oldest goes, as a real device forgets.
_QUEUE: Final = 1024
_IDLE_UNIT: Final = 4 * MS

# The boot keyboard of HID 1.11 appendix B.1: modifiers, a constant byte, LEDs, six keys.
_KEYBOARD_REPORT: Final = bytes.fromhex(
    "05 01 09 06 a1 01 75 01 95 08 05 07 19 e0 29 e7 15 00 25 01 81 02"
    "95 01 75 08 81 01 95 05 75 01 05 08 19 01 29 05 91 02 95 01 75 03 91 01"
    "95 06 75 08 15 00 25 65 05 07 19 00 29 65 81 00 c0"
)
# Appendix B.2, with a wheel behind the axes.
_MOUSE_REPORT: Final = bytes.fromhex(
    "05 01 09 02 a1 01 09 01 a1 00 05 09 19 01 29 03 15 00 25 01 95 03 75 01 81 02"
    "95 01 75 05 81 01 05 01 09 30 09 31 09 38 15 81 25 7f 75 08 95 03 81 06 c0 c0"
)

SHIFT: Final = 0x02


def _keys() -> dict[str, tuple[int, int]]:
    """For each character of a US keyboard, its usage (HID Usage Tables §10) and modifiers."""
    keys = {chr(ord("a") + n): (4 + n, 0) for n in range(26)}
    keys |= {chr(ord("A") + n): (4 + n, SHIFT) for n in range(26)}
    for plain, shifted, first in (
        ("1234567890", "!@#$%^&*()", 0x1E),
        ("-=[]\\", "_+{}|", 0x2D),
        (";'`,./", ':"~<>?', 0x33),
    ):
        keys |= {sign: (first + n, 0) for n, sign in enumerate(plain)}
        keys |= {sign: (first + n, SHIFT) for n, sign in enumerate(shifted)}
    keys |= {"\n": (0x28, 0), "\t": (0x2B, 0), " ": (0x2C, 0)}
    return keys


KEYS: Final = _keys()


class _Boot(Device):
    """What keyboard and mouse have in common: one interface, one endpoint, reports in a queue."""

    report_descriptor: bytes
    protocol: int
    size: int

    def __init__(self, product: int, name: str, *, speed: Speed) -> None:
        super().__init__(speed=speed)
        self.descriptor = DeviceDescriptor(
            0x1209, product, iManufacturer="usbmon", iProduct=name, iSerialNumber="0001"
        )
        interval = 7 if speed is Speed.HIGH else 8  # 8 ms
        hid = struct.pack("<BBHBBBH", 9, _HID, 0x0111, 0, 1, _REPORT, len(self.report_descriptor))
        self._hid = hid
        interface = Interface(
            3, 1, self.protocol, (Endpoint(0x81, INTERRUPT, self.size, interval),), extra=hid
        )
        self.configurations = (Configuration((interface,), remote_wakeup=True),)
        self._queue: deque[bytes] = deque(maxlen=_QUEUE)
        self._last = bytes(self.size)
        self._idle = 0
        self._boot = False
        self._timers: list[Timer] = []
        self._repeat: Timer | None = None

    @property
    def is_busy(self) -> bool:
        """Whether reports are still to be fetched, or to come."""
        return bool(self._queue or self._timers)

    def reset(self) -> None:
        self._queue.clear()
        self._last = bytes(self.size)
        self._idle, self._boot = 0, False
        if self.loop is not None:
            for timer in (*self._timers, self._repeat):
                self.loop.cancel(timer)
        self._timers.clear()
        self._repeat = None

    def report(self, data: bytes) -> None:
        """Send a report when the host next asks."""
        self._last = data
        self._queue.append(data)
        self._again()
        self.ready(0x81)

    def state(self) -> bytes:
        """The input report of a moment in which nothing changes."""
        return self._last

    @endpoint(0x81)
    def interrupt_in(self, size: int) -> bytes | Nak:
        if not self._queue:
            return NAK
        return self._queue.popleft()[:size]

    def control(self, setup: Setup, data: bytes) -> bytes | None:
        if setup.bmRequestType == 0x81 and setup.bRequest == GET_DESCRIPTOR:
            return self._class_descriptor(setup.wValue >> 8)
        if setup.type != "class" or setup.recipient != "Interface" or setup.wIndex:
            raise Stall
        if setup.is_in:
            return self._get(setup)
        self._set(setup, data)
        return None

    def _class_descriptor(self, kind: int) -> bytes:
        found = {_HID: self._hid, _REPORT: self.report_descriptor}.get(kind)
        if found is None:
            raise Stall
        return found

    def _get(self, setup: Setup) -> bytes:
        if setup.bRequest == _GET_REPORT and setup.wValue >> 8 == _INPUT:
            return self.state()
        if setup.bRequest == _GET_REPORT and setup.wValue >> 8 == _OUTPUT:
            return self.output()
        if setup.bRequest == _GET_IDLE:
            return bytes((self._idle,))
        if setup.bRequest == _GET_PROTOCOL:
            return bytes((not self._boot,))
        raise Stall

    def _set(self, setup: Setup, data: bytes) -> None:
        if setup.bRequest == _SET_REPORT and setup.wValue >> 8 == _OUTPUT:
            self.set_output(data)
        elif setup.bRequest == _SET_IDLE:
            self._idle = setup.wValue >> 8
            self._again()
        elif setup.bRequest == _SET_PROTOCOL and setup.wValue < 2:
            self._boot = setup.wValue == 0
        else:
            raise Stall

    def _again(self) -> None:
        """Tell the state again when nothing else was told for the idle rate's time (§7.2.4)."""
        if self.loop is None:
            return
        self.loop.cancel(self._repeat)
        self._repeat = None
        if self._idle:
            self._repeat = self.loop.call_later(self._idle * _IDLE_UNIT, self._tell_again)

    def _tell_again(self) -> None:
        if self._queue:
            self._again()
        else:
            self.report(self.state())

    def output(self) -> bytes:
        """The output report, where there is one."""
        raise Stall

    def set_output(self, data: bytes) -> None:
        """The host has set the output report, where there is one."""
        raise Stall


class Keyboard(_Boot):
    """A keyboard with a US layout. `leds`: bit 0 num lock, 1 caps lock, 2 scroll lock."""

    max_speed = Speed.HIGH
    report_descriptor = _KEYBOARD_REPORT
    protocol = 1
    size = 8

    def __init__(
        self, *, speed: Speed = Speed.FULL, hold: float = 0.05, pause: float = 0.05
    ) -> None:
        """`hold`: seconds that a key is down; `pause`: until the next one."""
        super().__init__(0x0030, "Keyboard", speed=speed)
        self.leds = 0
        self._hold, self._pause = round(hold * 1000) * MS, round(pause * 1000) * MS
        self._free_at = 0

    def reset(self) -> None:
        super().reset()
        self.leds = 0
        self._free_at = 0

    def type(self, text: str) -> None:
        """Type a text, at the keyboard's pace, after what is being typed. Raises ValueError for
        what a US keyboard has no key for."""
        for sign in text:
            if sign not in KEYS:
                raise ValueError(f"a US keyboard has no key for {sign!r}")
        for sign in text:
            usage, modifiers = KEYS[sign]
            self.press(usage, modifiers)

    def press(self, usage: int, modifiers: int = 0) -> None:
        """Press a key and let it go; `usage` is 4 to 101, `modifiers` as in the first byte of a
        report."""
        if self.loop is None:
            raise RuntimeError("the keyboard is not plugged in")
        start = max(self._free_at, self.loop.now)
        down = bytes((modifiers, 0, usage, 0, 0, 0, 0, 0))
        for when, report in ((start, down), (start + self._hold, bytes(8))):
            self._timers.append(self.loop.call_at(when, self._due, report))
        self._free_at = start + self._hold + self._pause

    def _due(self, data: bytes) -> None:
        self._timers.pop(0)  # they come in their order
        self.report(data)

    def output(self) -> bytes:
        return bytes((self.leds,))

    def set_output(self, data: bytes) -> None:
        if len(data) != 1:
            raise Stall
        self.leds = data[0] & 0x1F


class Mouse(_Boot):
    """A mouse with three buttons and a wheel."""

    max_speed = Speed.HIGH
    report_descriptor = _MOUSE_REPORT
    protocol = 2
    size = 4

    def __init__(self, *, speed: Speed = Speed.FULL) -> None:
        super().__init__(0x0031, "Mouse", speed=speed)
        self.buttons = 0

    def reset(self) -> None:
        super().reset()
        self.buttons = 0

    def state(self) -> bytes:
        return self._last[:1] + bytes(3)  # to tell a movement again would be to move again

    def move(self, x: int, y: int) -> None:
        """Move to the right and down, in as many reports as it takes."""
        steps = max(1, -(-max(abs(x), abs(y)) // 127))
        for n in range(steps):
            dx = x * (n + 1) // steps - x * n // steps
            dy = y * (n + 1) // steps - y * n // steps
            self.report(struct.pack("<Bbbb", self.buttons, dx, dy, 0))

    def click(self, button: int = 1) -> None:
        """Press and release a button: 1 left, 2 right, 3 middle. Raises ValueError for others."""
        if button not in (1, 2, 3):
            raise ValueError(f"the mouse has buttons 1 to 3, no button {button}")
        bit = 1 << (button - 1)
        self.report(bytes((self.buttons | bit, 0, 0, 0)))
        self.report(bytes((self.buttons & ~bit, 0, 0, 0)))

    def scroll(self, notches: int) -> None:
        """Turn the wheel, away from the hand for positive numbers."""
        while notches:
            step = max(-127, min(127, notches))
            self.report(struct.pack("<Bbbb", self.buttons, 0, 0, step))
            notches -= step
