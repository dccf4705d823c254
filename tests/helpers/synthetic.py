"""What sysfs tells of a device, as synthetic events: made by hand, as the control transfers that
they stand for would have been recorded."""

import struct
from pathlib import Path

from tests.helpers import wire
from usbmon import Events, files, layout
from usbmon.formats.base import Interface

DEVICE = bytes.fromhex("120100020000004057050420010101020301")
CONFIGURATION = bytes.fromhex("0902190001010080320904000001030102000705810308000a")


def transfer(tag: int, kind: int, data: bytes, devnum: int, busnum: int = 1) -> bytes:
    """GET_DESCRIPTOR of this type and its answer, as records of the binary API."""
    place = {"xfer_type": 2, "epnum": 0x80, "devnum": devnum, "busnum": busnum, "id": tag}
    setup = struct.pack("<BBHHH", 0x80, 6, kind << 8, 0, len(data))
    asked = {"flag_setup": 0, "flag_data": ord("<"), "status": -115, "length": len(data)}
    submission = wire.packet(type="S", setup=setup, **{**asked, "len_cap": 0}, **place)
    return submission + wire.packet(type="C", payload=data, **place)


def events(devnum: int = 5, comment: str = "", busnum: int = 1) -> Events:
    """Two transfers: the descriptors of a device and of its configuration."""
    raw = transfer(1, 1, DEVICE, devnum, busnum) + transfer(2, 2, CONFIGURATION, devnum, busnum)
    told = files.decode(raw, format="bin")
    rows = bytearray(told.buffers[0])
    for at in range(layout.OFFSET["marks"], len(rows), layout.ROW_SIZE):
        rows[at] = layout.SYNTHETIC
    return Events(memoryview(rows), told.buffers[1], {0: (comment,)} if comment else {})


def capture(path: Path, real: Events) -> Path:
    """A capture file that says all that one of ours can say."""
    bus = Interface(220, "usbmon1", "bus 1")
    bus.about = {"os": "Linux 6.1", "hardware": "xhci_hcd", "filter": "device 5"}
    bus.comments = ["a ring of 300 KiB"]
    about, comments = {"os": "Linux", "application": "usbmon"}, ["usbmon capture 1"]
    with files.Writer(path, interfaces=[bus], about=about, comments=comments) as writer:
        writer.write(events(5, "1-4: a keyboard"))
        writer.write(real[:40])
        writer.drops(0, 123, int(real[39].ts))
        writer.note("1-4 was unplugged", int(real[39].ts))
        writer.write(real[40:50].commented({0: ("look here",)}))
        writer.drops(0, 130, int(real[49].ts))
        writer.write(real[50:])
        bus.dropped = 130
    return path
