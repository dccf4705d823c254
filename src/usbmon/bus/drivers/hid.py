"""The driver of human interface devices (drivers/hid/usbhid/hid-core.c, hid-input.c).

Here: SET_IDLE, the report descriptor, LEDs off, and an interrupt URB that is always waiting; what
comes is kept as `reports`, and what a boot keyboard typed as `typed`. Not here: report descriptors
in general, which are not taken apart.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from usbmon.bus.driver import Driver, Receive, Sleep, Spawn, Steps, Submit, UrbFailed
from usbmon.bus.loop import MS
from usbmon.bus.status import EILSEQ, EPIPE, EPROTO, ETIME, ETIMEDOUT, GONE
from usbmon.bus.urb import INTERRUPT

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface

_KEPT: Final = 4096
# hid_io_error: try again after 13 ms, then twice as long, up to 104 ms; give up after a second.
_FIRST_RETRY, _LAST_RETRY = 13 * MS, 104 * MS
_PATIENCE: Final = 1000 * MS
_RETRIED: Final = (EPROTO, EILSEQ, ETIME, ETIMEDOUT)

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

    def probe(self) -> Steps[None]:
        device, number = self.device, self.interface.number
        yield from device.read_string(device.descriptor[16])
        try:
            yield from device.control_out(0x21, 0x0A, 0, number)
        except UrbFailed as error:
            if error.status != EPIPE:  # a mouse need not know SET_IDLE
                raise
        length = self._report_length()
        self.report_descriptor = yield from device.control_in(0x81, 6, 0x2200, number, length)
        if self.interface.protocol == _KEYBOARD:
            yield from self.set_leds(0)
        yield Spawn(self._listen(), self)

    def _report_length(self) -> int:
        """The wDescriptorLength of the HID descriptor (HID 1.11 §6.2.1). Raises LookupError."""
        extra = self.interface.extra
        if len(extra) < 9 or extra[1] != 0x21:
            raise LookupError("the interface has no HID descriptor")
        return int.from_bytes(extra[7:9], "little")

    def set_leds(self, leds: int) -> Steps[None]:
        """SET_REPORT with the keyboard's LEDs."""
        yield from self.device.control_out(0x21, 9, 0x0200, self.interface.number, bytes((leds,)))

    def _listen(self) -> Steps[None]:
        """hid_irq_in and hid_io_error."""
        pipe = self.interface.endpoint(INTERRUPT, is_in=True)
        urb = self.device.urb(pipe, pipe.max_packet)
        delay = waited = 0
        while not (yield Submit(urb)):
            done = yield Receive()
            if done.status in GONE:
                return
            if not done.status:
                delay = waited = 0
                self._take(bytes(done.data))
            elif done.status == EPIPE:
                yield from self.device.clear_halt(pipe)
            elif done.status in _RETRIED:
                delay = min(delay * 2, _LAST_RETRY) or _FIRST_RETRY
                waited += delay
                if waited > _PATIENCE:
                    self.host.report(f"usbhid {self.device.name}: gives up, status {done.status}")
                    return
                yield Sleep(delay)

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
