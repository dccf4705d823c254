"""Trace formats: bytes to events and back.

Here: the table of formats, and which of them given bytes are. To add one, write a module with a
`Decoder`, an `Encoder` or both, and add a row. Not here: files (`usbmon.files`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon import compression
from usbmon.errors import FormatError, UsbmonError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.formats.base import Decoder, Encoder


class Format(NamedTuple):
    """A row of `FORMATS`. `recognise(head)` looks at the first bytes (up to 64 KiB of them);
    `module` has `decoder` and `encoder`, by the names of their classes, or none."""

    name: str
    words: str
    suffixes: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    module: str
    decoder: str
    encoder: str

    def new_decoder(self, *, file: str = "", strict: bool = False) -> Decoder:
        if not self.decoder:
            raise UsbmonError(f"the format {self.name} can be written only")
        decoder: Decoder = getattr(import_module(self.module), self.decoder)(
            file=file, strict=strict
        )
        return decoder

    def new_encoder(self) -> Encoder:
        if not self.encoder:
            raise UsbmonError(f"the format {self.name} can be read only")
        encoder: Encoder = getattr(import_module(self.module), self.encoder)()
        return encoder


def _pcap(head: bytes) -> bool:
    return head[:4] in (
        b"\xa1\xb2\xc3\xd4",
        b"\xd4\xc3\xb2\xa1",
        b"\xa1\xb2\x3c\x4d",
        b"\x4d\x3c\xb2\xa1",
    )


def _pcapng(head: bytes) -> bool:
    return head[:4] == b"\x0a\x0d\x0d\x0a"


def _statistics(head: bytes) -> bool:
    from usbmon.formats.stat import LINE

    return LINE.match(head) is not None and not is_text(head)


def is_text(head: bytes) -> bool:
    from usbmon.formats.mend import HEAD

    return HEAD.search(head) is not None


def _raw(head: bytes) -> bool:
    from usbmon.formats.binary import guess

    return guess(head) is not None


def _never(_head: bytes) -> bool:
    return False


_PKG: Final = "usbmon.formats"

# fmt: off
FORMATS: Final = (
    Format("pcapng", "pcapng, link types 189, 220 and 249", (".pcapng", ".ntar"),
           _pcapng, f"{_PKG}.pcapng", "PcapngDecoder", "PcapngEncoder"),
    Format("pcap", "pcap, link types 189, 220 and 249", (".pcap", ".cap", ".dmp"),
           _pcap, f"{_PKG}.pcap", "PcapDecoder", "PcapEncoder"),
    Format("u", "usbmon text, today's (1u, 0u)", (".txt", ".u", ".mon", ".usbmon", ".log", ".text"),
           is_text, f"{_PKG}.text", "TextDecoder", "UEncoder"),
    Format("t", "usbmon text, the old one (1t)", (".t",),
           _never, f"{_PKG}.text", "TextDecoder", "TEncoder"),
    Format("bin", "records of the binary API, 64-byte headers (GETX, mapped ring)", (".bin",),
           _raw, f"{_PKG}.binary", "BinaryDecoder", "BinaryEncoder"),
    Format("bin48", "records of the binary API, 48-byte headers (read, GET)", (".bin48",),
           _never, f"{_PKG}.binary", "Binary48Decoder", "Binary48Encoder"),
    Format("pcap189", "pcap with the old link type 189 (48-byte headers)", (),
           _never, f"{_PKG}.pcap", "PcapDecoder", "Pcap189Encoder"),
    Format("s", "usbmon statistics (1s, 0s)", (".s",),
           _statistics, f"{_PKG}.text", "TextDecoder", ""),
)
# fmt: on

HEAD_SIZE: Final = 65536


def by_name(name: str) -> Format:
    """The format of this name; raises `UsbmonError` that lists them."""
    for format in FORMATS:
        if format.name == name:
            return format
    raise UsbmonError(f"no format {name!r}; there are {', '.join(f.name for f in FORMATS)}")


def by_suffix(path: str) -> Format | None:
    """The format that the file's name suggests."""
    lower = path.lower()
    for format in FORMATS:
        if lower.endswith(format.suffixes):
            return format
    return None


def is_clear(head: bytes) -> bool:
    """Whether so few bytes tell already what the stream is; of a live one, more may be long in
    coming."""
    if compression.detect(head):
        return True
    return any(format.recognise(head) for format in FORMATS) and (
        not is_text(head) or b"\n" in head
    )


def detect(head: bytes, path: str = "") -> Format:
    """The format of a stream that starts with `head`: by content, and if that says nothing by the
    name. Raises `FormatError` where neither says."""
    for format in FORMATS:
        if format.recognise(head):
            return format
    suggested = by_suffix(path)
    # An empty file is an empty trace; a text that has no event yet can still get one.
    printable = not any(byte < 9 or 13 < byte < 32 for byte in head[:512])
    if not head.strip(b"\r\n\t ") or (printable and suggested and suggested.name in "ut"):
        return suggested or by_name("u")
    raise FormatError(
        f"{_looks_like(head)} is no trace that usbmon knows "
        "(usbmon text, binary records, pcap or pcapng, or one of these compressed)",
        file=path,
    )


def _looks_like(head: bytes) -> str:
    for magic, words in (
        (b"\x7fELF", "a program (ELF)"),
        (b"PK\x03\x04", "a zip archive: unpack it first;"),
        (b"\x89PNG", "a picture (PNG)"),
        (b"%PDF", "a PDF"),
        (b"PAR1", "a Parquet file"),
        (b"LPKF", "a log of another analyser"),
    ):
        if head.startswith(magic):
            return words
    if b"\x00" in head[:4096]:
        return "binary data that"
    first = head.lstrip()[:40].split(b"\n")[0].decode("latin-1", "replace")
    return f"text that starts with {first!r}"
