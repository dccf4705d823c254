"""The tree of a filter, and its one form as text."""

import pytest

from usbmon import filters
from usbmon.filters.tree import fields_of, to_text


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("type==bulk&&len>512", "type == bulk and len > 512"),
        ("! ep.in || ( setup )", "not ep.in or setup"),
        ("not (ep.in and setup)", "not (ep.in and setup)"),
        ("(ep.in or setup) and (data or error)", "(ep.in or setup) and (data or error)"),
        ("(ep.in and setup) or data", "ep.in and setup or data"),
        ("ep.in and (setup and data)", "ep.in and setup and data"),
        ("ep.in or (setup or (data or error))", "ep.in or setup or data or error"),
        ("not not ep.in", "not not ep.in"),
        ("usb.device_address eq 5", "addr == 5"),
        ("dev == 1.005", "dev == 1:5"),
        ("status == stall", "status == EPIPE"),
        ("status == 0", "status == 0"),
        ("usb.urb_type == 'S'", "event == S"),
        ("usb.transfer_type == 0x02", "type == control"),
        ("(setup.bmRequestType & 0x60) == 32", "setup.bmRequestType & 0x60 == 0x20"),
        ("xfer_flags & 512", "xfer_flags & 0x200"),
        ("time in 1.5s..2s", "time in 1500ms..2s"),
        ("status in -115..-1", "status in -115..-1"),
        ("status in {-32, 0, 5..6}", "status in {EPIPE, 0, 5..6}"),
        ("status in -32", "status in {EPIPE}"),
        ("captured < len", "captured < len"),
        ('data contains "USBC"', "data contains 55:53:42:43"),
        ("data ~ '^\"\\x00'", 'data matches "^\\"\\x00"'),
        (r"""data matches 'a\"b\\' """, r'data matches "a\"b\\"'),
        ("ep.in == 1", "ep.in == true"),
        ("setup.bRequest == 6", "setup.bRequest == GET_DESCRIPTOR"),
    ],
)
def test_the_normal_form(text, normal):
    chosen = filters.compile(text)
    assert str(chosen) == normal
    assert filters.compile(normal).tree == chosen.tree


def test_the_fields_of_a_tree_are_all_that_it_asks_about():
    tree = filters.compile("not (ep.in or captured < len) and data contains 00 and id & 1").tree
    assert [field.name for field in fields_of(tree)] == ["ep.in", "captured", "len", "data", "id"]
    assert to_text(tree).startswith("not (")
