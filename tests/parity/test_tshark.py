"""tshark reads the same out of capture files as we do, in those of others and in those we write.

tshark shares no code with us, nor does it know ours: where both say the same of each field of each
event, both have read what is there. Where they differ on purpose, a comment says why.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import usbmon
from tests.helpers import corpus, tshark
from usbmon import layout
from usbmon.formats.pcap import Pcap189Encoder, PcapEncoder
from usbmon.formats.pcapng import PcapngEncoder

Values = dict[str, Any]


def _of_linux(frame: tshark.Frame) -> Values:
    """An event by tshark, from a packet with a header of the kernel (link types 189 and 220)."""
    iso = frame.number_of("usb.transfer_type") == layout.ISO_XFER
    old = "usb.interval" not in frame.fields
    numbers = frame.numbers_of("usb.iso_numdesc")
    ndesc = numbers[-1] if numbers else 0
    header = layout.PACKET_SIZE_OLD if old else layout.PACKET_SIZE
    return {
        "id": frame.number_of("usb.urb_id"),
        "type": frame.letter("usb.urb_type"),
        "xfer_type": layout.XFER_TYPES[frame.number_of("usb.transfer_type")],
        "epnum": frame.number_of("usb.endpoint_address"),
        "devnum": frame.number_of("usb.device_address"),
        "busnum": frame.number_of("usb.bus_id"),
        "flag_setup": frame.letter("usb.setup_flag"),
        "flag_data": frame.letter("usb.data_flag"),
        "status": frame.number_of("usb.urb_status"),
        "length": frame.number_of("usb.urb_len"),
        "len_cap": frame.number_of("usb.data_len"),
        "setup": frame.setup,
        "error_count": frame.number_of("usb.iso_error_count") if iso else None,
        "numdesc": numbers[0] if iso else None,
        "interval": frame.number_of("usb.interval"),
        "start_frame": frame.number_of("usb.start_frame"),
        "xfer_flags": frame.number_of("usb.copy_of_transfer_flags"),
        "ndesc": ndesc,
        "ts": frame.time,
        "stamp": (frame.number_of("usb.urb_ts_sec"), frame.number_of("usb.urb_ts_usec")),
        "descriptors": list(
            zip(
                frame.numbers_of("usb.iso_iso_status"),
                frame.numbers_of("usb.iso_iso_off"),
                frame.numbers_of("usb.iso_iso_len"),
                strict=True,
            )
        ),
        "data": frame.data[header + layout.DESCRIPTOR_SIZE * ndesc :],
    }


def _of_windows(frame: tshark.Frame) -> Values:
    """An event by tshark, from a packet of USBPcap (link type 249)."""
    back = frame.number_of("usb.irp_info_direction") == 1
    xfer = frame.number_of("usb.transfer_type")
    epnum = frame.number_of("usb.endpoint_address")
    data = frame.data[frame.number_of("usb.usbpcap_header_len") :]
    values = {
        "id": frame.number_of("usb.irp_id"),
        "usbd_status": frame.number_of("usb.usbd_status"),
        "usbd_function": frame.number_of("usb.function"),
        "type": "C" if back else "S",
        "xfer_type": layout.XFER_TYPES[xfer],
        "epnum": epnum,
        "devnum": frame.number_of("usb.device_address"),
        "busnum": frame.number_of("usb.bus_id"),
        "length": frame.number_of("usb.data_len"),
        "ts": frame.time,
        "setup": None,
        "data": data,
    }
    if frame.number_of("usb.control_stage") == 0 and not back:
        # To USBPcap the setup packet is data; to the kernel and to us it is a field of its own, and
        # it tells the direction, which USBPcap gives as it likes in this stage.
        setup = frame.setup
        incoming = setup[0] & 0x80
        values |= {"setup": setup, "data": data[8:], "epnum": epnum & 0x0F | incoming}
        values["length"] = int.from_bytes(setup[6:], "little") if incoming else len(data) - 8
    elif not back and epnum & 0x80:
        # How much is asked for, USBPcap does not tell: its length is that of the data it has.
        values["length"] = None
    return values


def _ours(events: usbmon.Events) -> Iterator[Values]:
    stamps = zip(events.ts_sec.tolist(), events.ts_usec.tolist(), strict=True)
    for event, stamp in zip(events, stamps, strict=True):
        values = event._asdict()
        values["stamp"] = stamp
        values["descriptors"] = list(map(tuple, event.descriptors))
        yield values


def _differences(theirs: list[Values], ours: list[Values]) -> list[str]:
    """In words, the first few; each of `theirs` says only what tshark shows."""
    assert len(theirs) == len(ours)
    return [
        f"event {number}: {key} is {value!r} to tshark, {ours[number][key]!r} to us"
        for number, values in enumerate(theirs)
        for key, value in values.items()
        if ours[number][key] != value
    ][:8]


def _is_transfer(frame: tshark.Frame) -> bool:
    """USBPcap also has records of what is no transfer (types 254, 255: an IRP's own, unknown)."""
    return frame.number_of("usb.transfer_type") < len(layout.XFER_TYPES)


def _theirs(path: Path) -> list[Values]:
    out = []
    for frame in tshark.frames(path):
        if "usb.urb_id" in frame.fields:
            out.append(_of_linux(frame))
        elif "usb.irp_id" in frame.fields and _is_transfer(frame):
            out.append(_of_windows(frame))
    return out


@pytest.mark.parametrize("path", corpus.captures(), ids=corpus.name)
def test_reading(path, tmp_path):
    assert (
        _differences(_theirs(tshark.readable(path, tmp_path)), list(_ours(usbmon.read(path)))) == []
    )


# What we write: the encoder, how fine its stamps are (ns), and how many events of each trace are
# looked at. tshark takes a second for 3,000, so that they are picked, evenly over the trace;
# USBMON_PARITY=full has it read every event of every trace in every format, for half an hour.
_FULL = os.environ.get("USBMON_PARITY") == "full"
_WRITERS = {
    "pcapng": (PcapngEncoder, 1, 1000),
    "pcapng-big": (lambda: PcapngEncoder(order=">"), 1, 100),
    "pcap": (PcapEncoder, 1000, 100),
    "pcap-big": (lambda: PcapEncoder(order=">"), 1000, 100),
    "pcap-nano": (lambda: PcapEncoder(nano=True), 1, 100),
    "pcap189": (Pcap189Encoder, 1000, 100),
}
# Traces go into one file up to so many events, as tshark takes long to start.
_EVENTS_A_FILE = 20_000
_MADE_UP = ("busnum", "interval", "start_frame", "xfer_flags", "length", "ndesc")


def _every_trace() -> list[Path]:
    return [*corpus.text_u(), *corpus.text_t(), *corpus.binary(), *corpus.captures()]


def _picked(events: usbmon.Events, most: int) -> usbmon.Events:
    if _FULL or len(events) <= most:
        return events
    return events[np.linspace(0, len(events) - 1, most).astype(int)]


@cache
def _read(path: Path) -> usbmon.Events:
    return _picked(usbmon.read(path), 1000)


def _bundles(most: int) -> Iterator[list[usbmon.Events]]:
    bundle: list[usbmon.Events] = []
    for path in _every_trace():
        events = _picked(_read(path), most)
        for start in range(0, len(events), _EVENTS_A_FILE):
            bundle.append(events[start : start + _EVENTS_A_FILE])
            if sum(map(len, bundle)) >= _EVENTS_A_FILE:
                yield bundle
                bundle = []
    yield bundle


def _expected(events: usbmon.Events, old: bool, resolution: int) -> Iterator[Values]:
    """What tshark must find of these events in a file of ours: all that the format can hold, and
    0 for what the events do not say."""
    for values in _ours(events):
        time = values["ts"] or 0
        values["ts"] = time // resolution * resolution
        if values["clock"] != "wall":
            values["stamp"] = (time // 10**9, time % 10**9 // 1000)
        for name in _MADE_UP:
            values[name] = values[name] or 0
        descriptors = values["descriptors"]
        if values["len_cap"] is None:
            values["len_cap"] = 16 * len(descriptors) + len(values["data"])
            # Of a text trace, numdesc is that of the descriptors it shows: tshark calls a record
            # malformed that counts more than follow.
            values["numdesc"] = len(descriptors)
        if values["xfer_type"] == "iso":
            values["error_count"] = values["error_count"] or 0
            values["numdesc"] = values["numdesc"] or 0
        else:
            values["numdesc"] = None
        if old:
            values.update(dict.fromkeys(("interval", "start_frame", "xfer_flags")))
            # Link type 189 has no ndesc either; tshark takes numdesc for it, in both directions.
            values["ndesc"] = values["numdesc"] or 0
        yield values


@pytest.mark.parametrize("writer", _WRITERS)
def test_writing(writer, tmp_path):
    new_encoder, resolution, most = _WRITERS[writer]
    file = tmp_path / "written"
    for bundle in _bundles(most):
        encoder = new_encoder()
        file.write_bytes(b"".join([encoder.begin(), *map(encoder.encode, bundle)]))
        ours = [
            values
            for events in bundle
            for values in _expected(events, writer == "pcap189", resolution)
        ]
        assert _differences(_theirs(file), ours) == []


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
def test_a_trace_that_we_write_is_well_formed_to_tshark(path, tmp_path):
    # One by one: tshark takes what a device said of itself from the frames before.
    encoder = PcapngEncoder()
    file = tmp_path / "written"
    file.write_bytes(encoder.begin() + bytes(encoder.encode(usbmon.read(path))))
    assert [frame.number for frame in tshark.frames(file) if frame.is_malformed] == []
