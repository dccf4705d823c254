"""The matrix of what all formats have to do. A new format joins with a row in `MATRIX`.

A row says where decoding starts (`name`, of the table `FORMATS`); what comes back of an event is
computed from what the encoder itself declares in `cannot_hold`, so a loss that is not declared
fails, and so does one declared that is none.
"""

from typing import Any, NamedTuple

from usbmon import Event, Events, formats
from usbmon.formats.base import Decoder, Encoder


class Row(NamedTuple):
    """`name` of the format; `text`: it prints no tag for data where there are none; `guesses`: a
    stream does not say what it is, and of a single record that is cut it cannot be told."""

    name: str
    text: bool = False
    guesses: bool = False

    def encoder(self) -> Encoder:
        return formats.by_name(self.name).new_encoder()

    def decoder(self, **options: Any) -> Decoder:
        return formats.by_name(self.name).new_decoder(**options)

    def encode(self, events: Events) -> bytes:
        encoder = self.encoder()
        return encoder.begin() + bytes(encoder.encode(events))

    def decode(self, *chunks: bytes) -> Events:
        decoder = self.decoder()
        parts = [decoder.feed(chunk) for chunk in chunks]
        return Events.concat([*parts, decoder.close()])


MATRIX = (
    Row("u", text=True),
    Row("t", text=True),
    Row("bin", guesses=True),
    Row("bin48", guesses=True),
    Row("pcap"),
    Row("pcap189"),
    Row("pcapng"),
)

_TURN = 4096 * 10**9

# What goes with each loss of `tally.CENSUS`, of the fields that are lost whole.
_LOST = {
    "bus": ("busnum",),
    "interval": ("interval", "start_frame"),
    "iso": ("error_count", "numdesc", "ndesc", "descriptors"),
    "xfer_flags": ("xfer_flags",),
    "windows": ("usbd_status", "usbd_function"),
    "len_cap": ("len_cap",),
}
# Given anew by whoever reads, or a matter of the container.
_NOT_COMPARED = ("urb", "marks", "interface", "clock")


def comes_back(event: Event, row: Row) -> dict[str, Any]:
    """The fields of an event that has been written in a format and read again."""
    cannot = row.encoder().cannot_hold
    lost = {name for loss in cannot for name in _LOST.get(loss, ())}
    # What the trace did not say before it does not say now, whatever stands there.
    out = {
        name: value
        for name, value in event._asdict().items()
        if name not in lost and name not in _NOT_COMPARED and (value is not None or name in _FLAGS)
    }
    if "descriptors" in cannot:
        out["descriptors"] = event.descriptors[:5]
        out.pop("ndesc", None)
    if "nanoseconds" in cannot and event.ts is not None:
        out["ts"] = event.ts // 1000 * 1000
    if "date" in cannot and event.ts is not None:
        out["ts"] %= _TURN
    if "data" in cannot:
        out["data"] = event.data[: min(32, event.length)]
    if "numdesc" in out:
        # Text has no word for a descriptor that is not there; nor have others for those that a text
        # trace (whose len_cap is absent) had left out.
        shown = min(5, event.numdesc) if row.text else event.numdesc
        if (row.text or event.len_cap is None) and len(event.descriptors) < shown:
            out["numdesc"] = len(event.descriptors)
    if row.text:
        out.pop("len_cap", None)
        if event.type == "S":  # a submission's line has no place for it
            out.pop("error_count", None)
        if event.length == 0 or event.length >= 2**31:
            del out["data"], out["flag_data"]
    return out


_FLAGS = ("flag_setup", "flag_data", "setup")


def as_read(event: Event, wanted: dict[str, Any], row: Row) -> dict[str, Any]:
    """The same fields of the event that was read."""
    out = {name: getattr(event, name) for name in wanted}
    if "date" in row.encoder().cannot_hold and out.get("ts") is not None:
        out["ts"] %= _TURN
    return out
