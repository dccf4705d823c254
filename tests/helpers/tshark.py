"""What tshark and capinfos, which know nothing of our code, say of a capture file.

One process a file. The dissectors of device classes are off: what then remains is the URB as the
capture has it, the setup packet in the general fields, and no guess at what the data mean.
"""

import json
import lzma
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_CLASSES = (
    "ftdi-ft", "hci_usb", "ippusb", "mausb", "mbim", "u3v", "uasp", "usbaudio", "usbccid", "usbcom",
    "usbdfu", "usbhid", "usbhub", "usbms", "usbport", "usbprinter", "usbvideo",
)  # fmt: skip

# tshark warns of being run as root; that is no complaint about the file.
_HARMLESS = "Running as user"


_SET_CONFIGURATION = 9


class Frame(NamedTuple):
    """One packet: its number from 1, time in ns, bytes, the setup packet that was found in it, and
    the values of each field by its name in Wireshark, in which every dot but the first is an
    underscore (``usb.iso_error_count``)."""

    number: int
    time: int
    data: bytes
    setup: bytes | None
    is_malformed: bool
    fields: dict[str, list[str]]

    def letter(self, name: str) -> str | None:
        r"""The value of a field that is a character; None for ``\0``."""
        value = self.fields[name][0].strip("'")
        return None if value == "\\0" else value

    def number_of(self, name: str) -> int | None:
        """The first value of a field as a number; None where the packet has no such field."""
        values = self.fields.get(name)
        return int(values[0], 0) if values else None

    def numbers_of(self, name: str) -> list[int]:
        return [int(value, 0) for value in self.fields.get(name, ())]


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing; install it (Debian, Ubuntu: apt-get install tshark)")
    return path


def _run(*command: str) -> str:
    """Standard output of a program that must end well and complain of nothing."""
    done = subprocess.run(command, capture_output=True, check=False)
    complaints = [
        line for line in done.stderr.decode().splitlines() if not line.startswith(_HARMLESS)
    ]
    assert done.returncode == 0, complaints
    assert not complaints
    return done.stdout.decode()


@cache
def version() -> tuple[int, ...]:
    words = _run(_program("tshark"), "--version").split()
    return tuple(int(part) for part in words[2].rstrip(".").split("."))


def frames(path: Path) -> list[Frame]:
    """All packets of a capture file."""
    disabled = [word for name in _CLASSES for word in ("--disable-protocol", name)]
    out = _run(_program("tshark"), "-n", "-T", "ek", "-x", *disabled, "-r", str(path))
    packets = (json.loads(line) for line in out.splitlines() if line.startswith('{"timestamp"'))
    return [_frame(packet["layers"]) for packet in packets]


def readable(path: Path, folder: Path) -> Path:
    """The file itself, or without a compression that tshark does not know, in `folder`."""
    if path.suffix != ".xz":
        return path
    plain = folder / path.stem
    plain.write_bytes(lzma.decompress(path.read_bytes()))
    return plain


def _frame(layers: dict[str, Any]) -> Frame:
    fields: dict[str, list[str]] = {}
    _flatten(layers, fields)
    seconds, _, fraction = fields["frame.time_epoch"][0].partition(".")
    time = abs(int(seconds)) * 10**9 + int(fraction)
    return Frame(
        number=int(fields["frame.number"][0]),
        time=-time if seconds.startswith("-") else time,
        data=bytes.fromhex(_text(layers["frame_raw"])),
        setup=_setup(layers),
        is_malformed="_ws_malformed" in layers,
        fields=fields,
    )


def _text(value: Any) -> str:
    # A packet with reassembled data has a second source of bytes; the first is the packet.
    return str(value[0] if isinstance(value, list) else value)


def _setup(layers: dict[str, Any]) -> bytes | None:
    """The eight bytes of the subtree "Setup Data", whichever fields they were read as: each field
    has its bytes beside it, parts of a byte (with an odd number of digits) aside."""
    if layers.get("text") != "Setup Data":
        return None
    parts = [
        _text(value)
        for key, value in layers.items()
        if key.startswith("usb_usb_") and key.endswith("_raw")
    ]
    setup = bytes.fromhex("".join(part for part in parts if len(part) % 2 == 0))
    if setup[1] == _SET_CONFIGURATION and len(setup) == 7:
        # The upper byte of wValue is reserved (USB 2.0 §9.4.7) and tshark does not show it.
        setup = setup[:3] + b"\x00" + setup[3:]
    return setup[:8]


def _flatten(tree: Any, fields: dict[str, list[str]], name: str = "") -> None:
    if isinstance(tree, dict):
        for key, value in tree.items():
            _flatten(value, fields, key)
    elif isinstance(tree, list):
        for value in tree:
            _flatten(value, fields, name)
    elif not name.endswith("_raw"):
        fields.setdefault(_name(name), []).append("" if tree is None else str(tree))


@cache
def _name(name: str) -> str:
    """Wireshark's name for one of Elasticsearch's, which repeat the protocol: `usb_usb_addr`."""
    protocol, _, field = name.partition("_")
    return f"{protocol}.{field.removeprefix(protocol + '_')}"


def count(path: Path) -> int:
    """How many packets capinfos counts."""
    out = _run(_program("capinfos"), "-c", "-M", "-T", "-r", "-m", str(path))
    return int(out.strip().rpartition(",")[2])


def shown(path: Path, *fields: str) -> list[list[str]]:
    """Fields by name as tshark shows them, a row a packet, with all its dissectors on."""
    words = [word for field in fields for word in ("-e", field)]
    text = _run(_program("tshark"), "-n", "-r", str(path), "-T", "fields", *words)
    return [line.split("\t") for line in text.splitlines()]


def chosen(path: Path, text: str) -> list[int]:
    """The numbers, from 1, of the frames that a display filter lets through."""
    disabled = [word for name in _CLASSES for word in ("--disable-protocol", name)]
    only = ("-T", "fields", "-e", "frame.number")
    return [
        int(number)
        for number in _run(
            _program("tshark"), "-n", *disabled, "-r", str(path), "-Y", text, *only
        ).split()
    ]
