"""The driver of human interface devices (drivers/hid/usbhid/hid-core.c, hid-input.c).

Here: SET_IDLE, the report descriptor, LEDs off, and an interrupt URB that is always waiting, also
after errors and when the device had to be reset; what comes is kept as `reports`, and what a boot
keyboard typed as `typed`. Not here: report descriptors in general, which are not taken apart.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Receive, Sleep, Spawn, Steps, Submit, UrbFailed, control
from usbmon.bus.drivers.hub import reset_device
from usbmon.bus.loop import MS
from usbmon.bus.status import EILSEQ, EPIPE, EPROTO, ETIME, ETIMEDOUT, GONE
from usbmon.bus.urb import INTERRUPT

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface

_KEPT: Final = 4096
# hid_io_error: try again after 13 ms, then twice as long, up to 104 ms; reset after a second.
_FIRST_RETRY, _LAST_RETRY = 13 * MS, 104 * MS
_PATIENCE: Final = 1000 * MS
_RETRIED: Final = (EPROTO, EILSEQ, ETIME, ETIMEDOUT)

# How often hid_get_class_descriptor asks, and HID_MAX_DESCRIPTOR_SIZE.
_ASKED: Final = 4
_LONGEST: Final = 4096

_KEYBOARD: Final = 1

# What the usages 4, 5, 6, … of page 7 write, without shift and with it (HID Usage Tables §10).
_PLAIN: Final = "abcdefghijklmnopqrstuvwxyz1234567890\n\x1b\b\t -=[]\\#;'`,./"
_SHIFTED: Final = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()\n\x1b\b\t _+{}|~:"~<>?'


class HidDriver(Driver):
    """Serves one interface. `typed` is what a keyboard wrote so far, `reports` the last ones."""

    name = "usbhid"

    @classmethod
    def matches(cls, interface: HostInterface) -> bool:
        return interface.cls == 3

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.reports: deque[bytes] = deque(maxlen=_KEPT)
        self.report_descriptor = b""
        self.typed = ""
        self._down: set[int] = set()
        self._delay = self._until = 0

    def probe(self) -> Steps[None]:
        self.pipe = self.interface.endpoint(INTERRUPT, is_in=True)
        yield from self.device.read_string(self.device.descriptor[16])
        length = self._report_length()
        yield from self._set_idle()
        self.report_descriptor = yield from self._read_descriptor(length)
        if self.interface.protocol == _KEYBOARD:
            with suppress(UrbFailed):  # a keyboard need not have LEDs
                yield from self.set_leds(0)
        yield Spawn(self._listen(), self)

    def _report_length(self) -> int:
        """The wDescriptorLength of the HID descriptor (HID 1.11 §6.2.1). Raises LookupError."""
        extra = self.interface.extra
        if len(extra) < 9 or extra[1] != 0x21:
            raise LookupError("the interface has no HID descriptor")
        length = int.from_bytes(extra[7:9], "little")
        if not 0 < length <= _LONGEST:
            raise LookupError(f"a report descriptor has 1 to {_LONGEST} bytes, not {length}")
        return length

    def _set_idle(self) -> Steps[None]:
        with suppress(UrbFailed):  # a mouse need not know it
            yield from self.device.control_out(0x21, 0x0A, 0, self.interface.number)

    def _read_descriptor(self, length: int) -> Steps[bytes]:
        """hid_get_class_descriptor: the last answer, if none is whole. Raises `UrbFailed`."""
        asked = 0
        while True:
            urb = yield from control(self.device, 0x81, 6, 0x2200, self.interface.number, length)
            asked += 1
            if asked == _ASKED or (not urb.status and urb.actual_length == length):
                break
        if urb.status:
            raise UrbFailed(urb.status, f"{self.device.name}: report descriptor")
        return urb.data

    def set_leds(self, leds: int) -> Steps[None]:
        """SET_REPORT with the keyboard's LEDs."""
        yield from self.device.control_out(0x21, 9, 0x0200, self.interface.number, bytes((leds,)))

    def _listen(self) -> Steps[None]:
        """hid_irq_in."""
        urb = self.device.urb(self.pipe, self.pipe.max_packet)
        self._delay = 0
        while not (yield Submit(urb)):
            done = yield Receive()
            if done.status in GONE:
                return
            if not done.status:
                self._delay = 0
                self._take(bytes(done.data))
            elif not (yield from self._recover(done.status)):
                # Nobody's task: when the device does not come back, those of the driver end.
                yield Spawn(self._reset())
                return

    def _recover(self, status: int) -> Steps[bool]:
        """hid_io_error, and what hid_reset does of a halt: whether to ask again."""
        if status == EPIPE:
            try:
                yield from self.device.clear_halt(self.pipe)
            except UrbFailed:
                return False
        elif status in _RETRIED:
            now = self.host.loop.now
            if not self._delay:
                self._until = now + _PATIENCE
            elif now > self._until:
                return False
            self._delay = min(self._delay * 2, _LAST_RETRY) or _FIRST_RETRY
            yield Sleep(self._delay)
        else:
            self.host.report(f"usbhid {self.device.name}: input irq status {status}")
        return True

    def _reset(self) -> Steps[None]:
        """hid_reset and hid_post_reset."""
        yield from reset_device(self.host, self.device)
        if self.device.is_there:
            yield from self._read_descriptor(len(self.report_descriptor))
            yield from self._set_idle()
            yield Spawn(self._listen(), self)

    def _take(self, report: bytes) -> None:
        self.reports.append(report)
        if self.interface.protocol == _KEYBOARD and self.interface.subclass == 1:
            self._read_keys(report)

    def _read_keys(self, report: bytes) -> None:
        """Keys that were up before (HID 1.11 appendix C); 1 to 3 in their place are errors."""
        down = {usage for usage in report[2:8] if usage > 3}
        signs = _SHIFTED if report[:1] and report[0] & 0x22 else _PLAIN
        for usage in report[2:8]:
            if usage in down - self._down and usage - 4 < len(signs):
                self.typed += signs[usage - 4]
        self._down = down


DRIVER = HidDriver
