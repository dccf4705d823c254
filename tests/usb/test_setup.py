"""Setup packets as USB 2.0 §9.4 and §11.24 lay them out, field by field, and their words."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.usb.setup import Setup, parse, setup_words


def packed(bm_request_type, b_request, w_value=0, w_index=0, w_length=0):
    return struct.pack("<BBHHH", bm_request_type, b_request, w_value, w_index, w_length)


# Table 9-3, then 11-15, then requests of a class and of a vendor.
@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (packed(0x80, 6, 0x0100, 0, 18), "GET_DESCRIPTOR Device"),
        (packed(0x80, 6, 0x0201, 0, 9), "GET_DESCRIPTOR Configuration 1"),
        (packed(0x80, 6, 0x0300, 0, 255), "GET_DESCRIPTOR String 0"),
        (packed(0x80, 6, 0x0302, 0x0409, 255), "GET_DESCRIPTOR String 2 lang 0x0409"),
        (packed(0x80, 6, 0x0600, 0, 10), "GET_DESCRIPTOR Device_Qualifier"),
        (packed(0x80, 6, 0x0F00, 0, 5), "GET_DESCRIPTOR BOS"),
        (packed(0x81, 6, 0x2200, 1, 99), "GET_DESCRIPTOR HID_Report Interface 1"),
        (packed(0x80, 6, 0x7700, 0, 9), "GET_DESCRIPTOR type 0x77"),
        (packed(0x00, 7, 0x0302, 0x0409, 4), "SET_DESCRIPTOR String 2 lang 0x0409"),
        (packed(0x00, 5, 17), "SET_ADDRESS 17"),
        (packed(0x00, 9, 1), "SET_CONFIGURATION 1"),
        (packed(0x80, 8, 0, 0, 1), "GET_CONFIGURATION"),
        (packed(0x01, 11, 2, 3), "SET_INTERFACE 3 alt 2"),
        (packed(0x81, 10, 0, 3, 1), "GET_INTERFACE 3"),
        (packed(0x80, 0, 0, 0, 2), "GET_STATUS Device"),
        (packed(0x81, 0, 0, 2, 2), "GET_STATUS Interface 2"),
        (packed(0x82, 0, 0, 0x81, 2), "GET_STATUS Endpoint 0x81"),
        (packed(0x02, 1, 0, 0x82), "CLEAR_FEATURE ENDPOINT_HALT Endpoint 0x82"),
        (packed(0x00, 3, 1), "SET_FEATURE DEVICE_REMOTE_WAKEUP Device"),
        (packed(0x00, 3, 2, 0x0400), "SET_FEATURE TEST_MODE Device"),
        (packed(0x00, 3, 99), "SET_FEATURE feature 99 Device"),
        (packed(0x82, 12, 0, 0x83, 2), "SYNCH_FRAME Endpoint 0x83"),
        (packed(0x00, 48, 0, 0, 6), "SET_SEL"),
        (packed(0x00, 49, 40), "SET_ISOCH_DELAY 40 ns"),
        (packed(0x00, 13, 1, 0), "SET_ENCRYPTION Device wValue 0x0001 wIndex 0x0000"),
        (packed(0x80, 0x55), "standard request 0x55 Device wValue 0x0000 wIndex 0x0000"),
        (packed(0xA3, 0, 0, 1, 4), "GET_STATUS Port 1"),
        (packed(0xA0, 0, 0, 0, 4), "GET_STATUS Hub"),
        (packed(0x23, 3, 4, 2), "SET_FEATURE PORT_RESET Port 2"),
        (packed(0x23, 1, 16, 2), "CLEAR_FEATURE C_PORT_CONNECTION Port 2"),
        (packed(0x23, 3, 23, 0x7F03), "SET_FEATURE PORT_U1_TIMEOUT Port 3 selector 127"),
        (packed(0x20, 1, 0), "CLEAR_FEATURE C_HUB_LOCAL_POWER Hub"),
        (packed(0xA0, 6, 0x2900, 0, 15), "GET_DESCRIPTOR Hub"),
        (packed(0xA0, 6, 0x2A00, 0, 12), "GET_DESCRIPTOR SuperSpeed_Hub"),
        (packed(0xA0, 6, 0x0000, 0, 15), "GET_DESCRIPTOR Hub"),
        (packed(0x20, 12, 2), "SET_HUB_DEPTH 2"),
        (packed(0x21, 10, 0, 1), "class request 0x0a Interface 1 wValue 0x0000"),
        (
            packed(0x22, 1, 5, 0x0281),
            "class request 0x01 Endpoint 0x81 wValue 0x0005 wIndex 0x0281",
        ),
        (packed(0x40, 0xA0, 0x7F92), "vendor request 0xa0 Device wValue 0x7f92 wIndex 0x0000"),
        (packed(0x60, 1), "reserved request 0x01 Device wValue 0x0000 wIndex 0x0000"),
    ],
)
def test_words(setup, words):
    assert setup_words(setup) == words


def test_fields_are_little_endian_and_in_the_order_of_table_9_2():
    fields = parse(bytes.fromhex("a1 fe 02 01 04 03 06 05"))
    assert fields == Setup(0xA1, 0xFE, 0x0102, 0x0304, 0x0506)
    assert (fields.type, fields.recipient) == ("class", "Interface")
    assert fields.is_in
    assert not parse(bytes.fromhex("21 09 00 02 00 00 01 00")).is_in


@pytest.mark.parametrize(
    ("bm_request_type", "type_", "recipient"),
    [
        (0x00, "standard", "Device"),
        (0x21, "class", "Interface"),
        (0xC2, "vendor", "Endpoint"),
        (0xE3, "reserved", "Other"),
        (0x04, "standard", "recipient 4"),
    ],
)
def test_type_and_recipient_are_bits_of_the_request_type(bm_request_type, type_, recipient):
    fields = parse(packed(bm_request_type, 0))
    assert (fields.type, fields.recipient) == (type_, recipient)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_packet_has_eight_bytes(size):
    with pytest.raises(ValueError, match=f"has 8 bytes, not {size}"):
        parse(bytes(size))
    assert setup_words(bytes(size)) == f"setup packet cut ({size} of 8 bytes)"


@given(st.binary(min_size=8, max_size=8))
def test_every_packet_has_words_of_one_line(setup):
    words = setup_words(setup)
    assert words
    assert words == words.strip()
    assert words.isascii()
    assert words.isprintable()
