"""What a host asks of a device, as lines by which two recordings can be compared.

Here: the submissions of a recording from the plug on, in words, and the rules by which devices that
are not the same become comparable. Each rule takes away what the device decides, never what the
host does:

- Device numbers, ports, endpoint numbers, units, block addresses and strings' numbers are the
  device's or its place's. A string is called by what refers to it ("string product").
- A length that an answer just before has given is written n.
- A request for something that one of the two devices does not have (`needs`: a string, a page of
  vital product data, a sampling rate, a unit of sound) is left out of both.
- A hub's ports that are asked the same in a row are one line: they are as many as there are.
- The pair of requests that looks for the step of a volume is one line: the device's answers
  decide how often it is made.
- Of the hub above the device only what concerns its port is there. When its status endpoint is
  submitted again depends on when that was polled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

from usbmon.usb.descriptors import walk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbmon import Event


class Line(NamedTuple):
    text: str
    needs: str = ""


class Difference(NamedTuple):
    """Between two lists: what only one of them has behind the line `after`."""

    after: str
    linux: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()


_DESCRIPTORS = {1: "device", 2: "configuration", 6: "qualifier", 15: "BOS", 34: "report"}
# Lengths that are asked for before any was given.
_HEADS = {1: (8, 18, 64), 2: (9,), 6: (10,), 15: (5,)}
_PORT = (0xA3, 0x23)
_C_CONNECTION = 16
# Groups of requests that not each device has use for.
_OPTIONAL = ("rate", "unit")
_REQUESTS = {
    (0x00, 5): "SET_ADDRESS",
    (0x00, 9): "SET_CONFIGURATION",
    (0x00, 49): "SET_ISOCH_DELAY",
    (0x01, 11): "SET_INTERFACE",
    (0x80, 0): "GET_STATUS",
    (0xA0, 0): "hub GET_STATUS",
    (0xA0, 6): "hub descriptor",
    (0xA3, 0): "port GET_STATUS",
    (0x23, 1): "port CLEAR_FEATURE",
    (0x23, 3): "port SET_FEATURE",
    (0x21, 9): "SET_REPORT",
    (0x21, 10): "SET_IDLE",
    (0x21, 0x43): "SET_ETHERNET_PACKET_FILTER",
    (0xA1, 0xFE): "GET_MAX_LUN",
    (0x22, 0x01): "rate SET_CUR",
    (0xA2, 0x81): "rate GET_CUR",
    (0x21, 0x01): "unit SET_CUR",
    (0x21, 0x04): "unit SET_RES",
    (0xA1, 0x81): "unit GET_CUR",
    (0xA1, 0x82): "unit GET_MIN",
    (0xA1, 0x83): "unit GET_MAX",
    (0xA1, 0x84): "unit GET_RES",
}
_COMMANDS = {
    0x00: "TEST UNIT READY",
    0x03: "REQUEST SENSE",
    0x12: "INQUIRY",
    0x1A: "MODE SENSE (6)",
    0x1E: "PREVENT ALLOW",
    0x25: "READ CAPACITY (10)",
    0x28: "READ (10)",
    0x9E: "READ CAPACITY (16)",
    0xA0: "REPORT LUNS",
    0xA3: "REPORT OPCODES",
}
# Whose answers have a header that says how long they are.
_BY_HEADER = (0x12, 0x1A)
_CHECK = "INQUIRY page 00 36"


@dataclass
class Plug:
    """Which device of a recording: its number, the number of its hub, and its port. Its
    `descriptors` where the recording has them cut."""

    device: int
    hub: int = 1
    port: int = 1
    descriptors: bytes = b""


class Recording:
    """`lines`, and what the device `has` that some have not."""

    def __init__(self, events: Iterable[Event], plug: Plug) -> None:
        all_events = list(events)
        self.lines: list[Line] = []
        self.has: set[str] = set()
        self._plug = plug
        self._answers = {e.urb: e.data or b"" for e in all_events if e.type == "C"}
        self._submitted = [e for e in all_events if e.type == "S"]
        self._strings: dict[int, str] = {}
        self._in_command = False
        self._data: Event | None = None
        self._last_port: tuple[int, ...] = ()
        self._read_descriptors(plug.descriptors or self._described())
        for event in self._submitted[self._start() :]:
            self._take(event)
        self._let_checks_need_what_they_check()

    # What the device is.

    def _described(self) -> bytes:
        """Its descriptors as it gave them: the device's, and the longest of configuration 0."""
        found = {b"\x80\6\0\1": b"", b"\x80\6\0\2": b""}
        for event in self._submitted:
            if event.setup and event.devnum == self._plug.device and event.setup[:4] in found:
                kind = event.setup[:4]
                found[kind] = max(found[kind], self._answers[event.urb], key=len)
        return b"".join(found.values())

    def _read_descriptors(self, raw: bytes) -> None:
        cls = 0
        for d in walk(raw):
            if d[1] == 1:
                self._name(d[15], "product")
                self._name(d[14], "manufacturer")
                self._name(d[16], "serial")
            elif d[1] == 2:
                self._name(d[6], "configuration")
            elif d[1] == 4:
                cls = d[5]
                self._name(d[8], f"interface {d[2]}.{d[3]}")
            elif d[1:3] == b"\x24\x0f" and cls == 2:
                self._name(d[3], "address")
            elif d[1:3] == b"\x24\x06" and cls == 1:
                self.has.add("unit")
                self._name(d[-1], "unit")
            elif d[1] == 0x25 and cls == 1 and d[3] & 1:
                self.has.add("rate")

    def _name(self, number: int, name: str) -> None:
        if number:
            self.has.add(self._strings.setdefault(number, f"string {name}"))

    # From the plug on.

    def _start(self) -> int:
        """The look at the port that found it there."""
        port = self._plug.port
        looks = struct.pack("<BBHHH", 0xA3, 0, 0, port, 4)
        clears = struct.pack("<BBHHH", 0x23, 1, _C_CONNECTION, port, 0)
        start = 0
        for n, event in enumerate(self._submitted):
            if self._is_of_hub(event, looks):
                start = n
            elif self._is_of_hub(event, clears):
                return start
        raise LookupError(f"nothing was plugged into port {port}")

    def _is_of_hub(self, event: Event, setup: bytes) -> bool:
        return event.devnum == self._plug.hub and event.setup == setup

    def _take(self, event: Event) -> None:
        if event.devnum == self._plug.hub:
            if event.setup and event.setup[0] in _PORT and event.setup[4] == self._plug.port:
                self._control(event)
        elif event.devnum in (0, self._plug.device):
            if event.setup:
                self._control(event)
            elif event.xfer_type == "bulk":
                self._bulk(event)
            else:
                self._add(f"{event.xfer_type} {_way(event)} {event.length}")

    def _add(self, text: str, needs: str = "") -> None:
        self.lines.append(Line(text, needs))

    # Control.

    def _control(self, event: Event) -> None:
        self._in_command = False
        kind, request, value, index, length = struct.unpack("<BBHHH", event.setup)
        if request == 6 and kind in (0x80, 0x81):
            self._descriptor(value >> 8, value & 0xFF, length)
        elif kind not in _PORT or not self._is_next_port((event.devnum, request, value, index)):
            self._request(kind, request, value, index, event)

    def _descriptor(self, kind: int, number: int, length: int) -> None:
        if kind == 3:
            name = self._strings.get(number, f"string {number}")
            self._add(name if number else "languages", name if number else "")
        else:
            given = length not in _HEADS.get(kind, ())
            self._add(f"{_DESCRIPTORS.get(kind, kind)} descriptor {'n' if given else length}")

    def _is_next_port(self, now: tuple[int, ...]) -> bool:
        last, self._last_port = self._last_port, now
        return last == (*now[:3], now[3] - 1)

    def _request(self, kind: int, request: int, value: int, index: int, event: Event) -> None:
        name = _REQUESTS.get((kind, request), event.setup.hex())
        needs = name.split()[0]
        if name == "SET_INTERFACE":
            name += f" {index}.{value}"
        elif value and name != "SET_ADDRESS":
            name += f" {value:#x}"
        self._add(name, needs if needs in _OPTIONAL else "")
        last = [line.text for line in self.lines[-4:]]
        if name.startswith("unit GET_CUR") and last[:2] == last[2:]:
            del self.lines[-2:]

    # Bulk.

    def _bulk(self, event: Event) -> None:
        """All URBs of a SCSI command are one line."""
        part = f"{_way(event)} {event.length}"
        data = event.data or b""
        if data[:4] == b"USBC":
            self._add(f"{part}, {_command(data[15:31])}")
            self._in_command = True
        elif part == "in 112":
            self._add(part)
            self._in_command = True
        elif self._in_command and part == "out 32":
            self._command_unit(data[16:32])
        elif self._in_command:
            self.lines[-1] = Line(f"{self.lines[-1].text}, {part}")
            self._data = event
        else:
            self._add(f"bulk {part}")

    def _command_unit(self, cdb: bytes) -> None:
        """The last URB of a command in UAS, where lengths can have been given."""
        text, needs = self.lines[-1].text, ""
        size, page = cdb[4], cdb[2]
        if cdb[0] == 0x12 and cdb[1]:
            needs = f"page {page:02x}" if page else ""
            if not page and self._data is not None and size not in (4, 36):
                self.has |= {f"page {n:02x}" for n in self._answers[self._data.urb][4:]}
        self.lines[-1] = Line(f"{text}, {_command(cdb)}", needs)
        if cdb[0] in _BY_HEADER and size not in (4, 36):
            shown = self.lines[-1].text.replace(f"in {size}", "in n")
            self.lines[-1] = Line(shown.removesuffix(f" {size}") + " n", needs)

    def _let_checks_need_what_they_check(self) -> None:
        """Before each page Linux looks whether it is listed."""
        for n, (line, after) in enumerate(zip(self.lines, self.lines[1:], strict=False)):
            if line.text.endswith(_CHECK):
                self.lines[n] = Line(line.text, after.needs)


def _way(event: Event) -> str:
    return "in" if event.epnum & 0x80 else "out"


def _command(cdb: bytes) -> str:
    name = _COMMANDS.get(cdb[0], f"{cdb[0]:02x}")
    if cdb[0] == 0x12:
        return f"{name} page {cdb[2]:02x} {cdb[4]}" if cdb[1] else f"{name} {cdb[4]}"
    if cdb[0] == 0x1A:
        return f"{name} page {cdb[2]:02x} {cdb[4]}"
    return name


def upto(lines: list[Line], end: str, times: int = 1) -> list[Line]:
    """Up to the line that holds these words for so many times."""
    found = [n for n, line in enumerate(lines) if end in line.text]
    return lines[: found[times - 1] + 1]


def differences(linux: Recording, ours: Recording, end: str, times: int = 1) -> list[Difference]:
    """Of two recordings, each up to its end (see `upto`)."""
    common = {""} | (linux.has & ours.has)
    a, b = (
        ["", *(line.text for line in upto(one.lines, end, times) if line.needs in common)]
        for one in (linux, ours)
    )
    return [
        Difference(a[i - 1], tuple(a[i:j]), tuple(b[k:m]))
        for tag, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
        if tag != "equal"
    ]
