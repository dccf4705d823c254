"""Names of usb.ids: found where they are, and only there."""

import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.usb import ids

LIST = b"""#
# Version: 2024.03.18
# Date:    2024-03-18 20:34:02
#
0557  ATEN International Co., Ltd
\t2004  UC-100KM
\t\t00  an interface
\t2008  UC-232A
0558  Truevision, Inc.
\t1009  GW Instek
1d6b  Linux Foundation
\t0002  2.0 root hub

C 03  Human Interface Device
\t01  Boot Interface Subclass
\t\t01  Keyboard
\t\t02  Mouse
C 09  Hub
\t00  Unused
\t\t01  Single TT
AT 0100  USB Undefined
HID 21  HID
"""


@pytest.fixture
def names():
    return ids.Names(LIST)


def test_names_of_vendors_and_products(names):
    assert names.vendor(0x0557) == "ATEN International Co., Ltd"
    assert names.product(0x0557, 0x2004) == "UC-100KM"
    assert names.product(0x0557, 0x2008) == "UC-232A"
    assert names.product(0x1D6B, 2) == "2.0 root hub"


def test_names_of_classes(names):
    assert names.cls(3) == "Human Interface Device"
    assert names.cls(3, 1) == "Boot Interface Subclass"
    assert names.cls(3, 1, 2) == "Mouse"
    assert names.cls(9, 0, 1) == "Single TT"


def test_what_is_not_there_or_belongs_to_another_has_no_name(names):
    assert names.vendor(0x0100) == ""  # AT 0100
    assert names.vendor(0x2004) == ""
    assert names.product(0x0557, 0x1009) == ""
    assert names.product(0x0557, 0) == ""  # an interface
    assert names.product(0x0555, 0x2004) == ""
    assert names.cls(3, 0, 1) == ""
    assert names.cls(9, 0, 2) == ""
    assert names.cls(0x21) == ""


@given(st.binary(max_size=80))
def test_a_list_may_be_anything(raw):
    for text in (raw, b"0557  x\n" + raw, b"0557  x\n\t0001" + raw):
        names = ids.Names(text)
        assert isinstance(names.product(0x0557, 1) + names.vendor(0x0557) + names.cls(3, 1), str)


def test_the_last_line_needs_no_end():
    assert ids.Names(b"0557  ATEN").vendor(0x0557) == "ATEN"
    assert ids.Names(b"0557  ATEN\r\n\t2004  UC\r\n").product(0x0557, 0x2004) == "UC"


def test_our_copy_has_its_head_and_its_names():
    text = gzip.decompress(ids.SHIPPED.read_bytes())
    assert b"Stephen J. Gowdy" in text[:300]
    assert ids.date(text) >= (2025, 7, 26)
    names = ids.Names(text)
    assert names.product(0x0557, 0x2004) == "UC-100KM PS/2 Mouse and Keyboard adapter"
    assert names.cls(8, 6, 0x50) == "Bulk-Only"
    assert b"3-clause BSD License" in ids.SHIPPED.with_name("usb.ids.license").read_bytes()


def test_the_newest_list_is_taken(tmp_path):
    old, new, undated, cut = (tmp_path / name for name in ("old", "new", "undated", "cut.gz"))
    old.write_bytes(LIST)
    new.write_bytes(LIST.replace(b"2024-03-18", b"2024-03-19").replace(b"2024.03.18", b"2024.3.1"))
    undated.write_bytes(b"0557  ATEN\n")
    cut.write_bytes(gzip.compress(LIST.replace(b"2024", b"2034") + os.urandom(5000))[:-3000])
    assert ids.newest([undated, old, tmp_path / "none", new]) == new.read_bytes()
    assert ids.newest([undated, tmp_path]) == undated.read_bytes()
    assert ids.newest([cut, old]) == LIST
    assert ids.newest([]) == b""


def test_dates_of_both_lines():
    assert ids.date(LIST) == (2024, 3, 18)
    assert ids.date(b"# Date:    2019-05-08 20:34:05\n") == (2019, 5, 8)
    assert ids.date(b"0557  ATEN\n") == (0, 0, 0)
