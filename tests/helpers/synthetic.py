"""What sysfs tells of a device, as synthetic events: made by hand, as the control transfers that
they stand for would have been recorded."""

import struct

from tests.helpers import wire
from usbmon import Events, files, layout

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
