"""Descriptors taken apart: those of recorded devices, and any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from usbmon.usb import descriptors
from usbmon.usb.descriptors import Association, walk

RECORDED = sorted((CAPTURES / "devices").glob("*.bin"))
NETWORK = (CAPTURES / "devices/serial-net-2-2.bin").read_bytes()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_nothing_of_a_recorded_device_is_lost(path):
    raw = path.read_bytes()
    about = descriptors.device_descriptor(raw)
    wholes = list(descriptors.configurations(raw[18:]))
    assert len(wholes) == about.bNumConfigurations
    assert b"".join(wholes) == raw[18:]
    for whole in wholes:
        read = descriptors.configuration(whole)
        assert len({i.bInterfaceNumber for i in read.interfaces}) == read.bNumInterfaces
        assert all(len(i.endpoints) == i.bNumEndpoints for i in read.interfaces)
        parts = [whole[:9], read.extra]
        for interface in read.interfaces:
            parts += [interface.raw, interface.extra, *(e.raw for e in interface.endpoints)]
        assert b"".join(parts) == whole


def test_fields_of_a_device_with_two_configurations():
    about = descriptors.device_descriptor(NETWORK)
    assert (about.idVendor, about.idProduct, about.bcdUSB) == (0x0525, 0xA4A2, 0x0200)
    assert (about.bDeviceClass, about.bMaxPacketSize0, about.bNumConfigurations) == (2, 64, 2)
    first, second = map(descriptors.configuration, descriptors.configurations(NETWORK[18:]))
    assert (first.bConfigurationValue, second.bConfigurationValue) == (2, 1)
    assert (second.bmAttributes, second.bMaxPower) == (0xC0, 50)
    ethernet = second.setting(0)
    assert (ethernet.bInterfaceClass, ethernet.bInterfaceSubClass) == (2, 6)
    assert [part[2] for part in walk(ethernet.extra)] == [0x00, 0x06, 0x0F]
    (status,) = ethernet.endpoints
    assert (status.bEndpointAddress, status.type, status.wMaxPacketSize) == (0x81, 3, 16)
    assert status.is_in
    assert [e.bEndpointAddress for e in second.setting(1, 1).endpoints] == [0x82, 0x02]
    assert second.setting(1, 2) is None


def test_an_association_and_what_stands_before_the_first_interface():
    raw = bytes.fromhex("0902220001010080fa 0309 01 080b0002 02020107 090400000002020103")
    read = descriptors.configuration(raw)
    assert read.associations == (Association(0, 2, 2, 2, 1, 7),)
    assert read.extra == b"\x03\x09\x01"


def test_an_endpoint_of_number_0_is_none():
    raw = bytes.fromhex("0902190001010080fa 090400000102020100 07058003080001")
    (interface,) = descriptors.configuration(raw).interfaces
    assert (interface.endpoints, interface.extra) == ((), bytes.fromhex("07058003080001"))


@pytest.mark.parametrize("raw", [b"", NETWORK[:17], b"\x12\x02" + NETWORK[2:18], NETWORK[18:]])
def test_what_is_no_device_descriptor(raw):
    assert descriptors.device_descriptor(raw) is None


@pytest.mark.parametrize("raw", [b"", NETWORK[18:26], NETWORK])
def test_what_is_no_configuration(raw):
    assert descriptors.configuration(raw) is None
    assert list(descriptors.configurations(raw)) == []


def test_a_cut_configuration_is_read_as_far_as_it_goes():
    raw = NETWORK[18:]
    for size in range(9, len(raw)):
        first = next(descriptors.configurations(raw[:size]))
        assert raw.startswith(first)
        assert descriptors.configuration(first).bConfigurationValue == 2


@given(st.binary(max_size=80))
def test_any_bytes_behind_a_head_are_read(raw):
    read = descriptors.configuration(b"\x09\x02\xff\xff\x01\x01\x00\x80\x32" + raw)
    assert sum(len(i.endpoints) for i in read.interfaces) <= len(raw) // 7


@given(st.binary(max_size=60))
def test_walking_ends_and_loses_nothing_that_makes_sense(raw):
    parts = list(walk(raw))
    assert raw.startswith(b"".join(parts))
    rest = raw[sum(map(len, parts)) :]
    assert len(rest) < 2 or rest[0] < 2
    assert all(len(part) == part[0] for part in parts[:-1])


@given(st.binary(max_size=40))
def test_configurations_are_the_bytes_in_order(raw):
    assert raw.startswith(b"".join(descriptors.configurations(raw)))


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=126))
def test_a_string_comes_back(text):
    raw = descriptors.string_descriptor(text)
    assert (raw[0], raw[1]) == (len(raw), 3)
    assert descriptors.string_text(raw) == text


def test_a_string_that_is_too_long_is_cut_and_one_that_is_cut_is_read():
    raw = descriptors.string_descriptor("x" * 1000)
    assert len(raw) == 254
    assert descriptors.string_text(raw[:7]) == "xx�"
    assert descriptors.string_text(b"") == ""
    assert descriptors.string_descriptor("\ud800")[2:] == b"?\0"
