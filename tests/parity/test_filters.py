"""tshark's display filters choose the frames that ours do, by the names that both know.

Each line asks about several fields at once, as each costs a process of tshark.
"""

import numpy as np
import pytest

from tests.helpers import corpus, tshark
from usbmon import filters, read

FILTERS = (
    "usb.bus_id == 1 && usb.device_address == 2 && usb.endpoint_address.direction == 1",
    "usb.endpoint_address == 0x81 || usb.endpoint_address.number in {0, 2..4}",
    "usb.transfer_type == 0x02 and not usb.urb_type == 'C'",
    "usb.transfer_type in {0, 1} and usb.urb_status != -115",
    "usb.urb_status < 0 and usb.urb_type == 'C' or usb.urb_status eq 0",
    "usb.urb_len > 8 && usb.data_len <= 64 && usb.data_len",
    "usb.urb_len lt usb.data_len",
    "usb.setup.bRequest == 6 && usb.setup.wLength ge 18",
    "usb.bmRequestType & 0x80 && usb.bmRequestType.type == 1",
    "usb.bmRequestType == 0x21 or usb.bmRequestType.recipient == 1",
    "!usb.bmRequestType.direction and usb.setup.wLength",
    "usb.setup.bRequest != 6",
    "not usb.setup.bRequest != 6",
    "usb.iso.error_count == 0 && usb.iso.numdesc >= 1",
    "usb.interval > 0 and (usb.start_frame or usb.urb_type == 'S')",
    "usb.start_frame > 0",
    "usb.copy_of_transfer_flags & 0x200 and usb.urb_id",
    "frame.time_epoch > 1000 and frame.time_relative > 1.5 and not frame.time_relative in {2..2.5}",
)


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("name", ["hid-xhci", "audio-xhci"])
def test_the_same_frames(name, text):
    path = corpus.CAPTURES / name / "usbmon1.pcap"
    mask = filters.compile(text).mask(read(path))
    assert (np.flatnonzero(mask) + 1).tolist() == tshark.chosen(path, text)


def test_every_name_of_wiresharks_is_asked_about():
    theirs = {name for name in filters.FIELDS if name.startswith(("usb.", "frame."))}
    asked = {word.strip("!(),") for text in FILTERS for word in text.split()}
    # The first three are those of Windows, of which no capture ships; tshark splits the last two.
    windows = {"usb.irp_id", "usb.usbd_status", "usb.function"}
    assert theirs - asked == windows | {"usb.setup.wValue", "usb.setup.wIndex"}
