"""Statuses have the names and numbers of Linux, as the table of errno has them."""

from usbmon.bus import status
from usbmon.usb.errno import ERRNO


def test_names_and_numbers_belong_together():
    found = {name: value for name, value in vars(status).items() if name[0] == "E"}
    assert len(found) > 20
    assert all(ERRNO[-value] == name for name, value in found.items())


def test_these_are_not_submitted_again():
    assert [ERRNO[-value] for value in status.GONE] == ["ENOENT", "ECONNRESET", "ESHUTDOWN"]
