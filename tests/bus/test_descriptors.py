"""Descriptors: what a model declares is what a host reads."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.descriptors import (
    BOS_SUPER,
    Association,
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
    Strings,
)
from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, INTERRUPT, ISOCHRONOUS
from usbmon.usb.descriptors import walk

endpoints = st.builds(
    Endpoint,
    st.integers(0, 255),
    st.sampled_from([BULK, INTERRUPT, ISOCHRONOUS]),
    st.integers(0, 1024),
    st.integers(0, 255),
    extra=st.sampled_from([b"", bytes((3, 0x25, 1))]),
)
interfaces = st.builds(
    Interface,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    st.lists(endpoints, max_size=4).map(tuple),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from(["", "one", "two"]),
    st.sampled_from([b"", bytes((4, 0x24, 7, 7))]),
)


@given(st.lists(interfaces, max_size=4), st.sampled_from(Speed))
def test_a_configuration_is_descriptors_one_behind_the_other(
    parts: list[Interface], speed: Speed
) -> None:
    raw = Configuration(tuple(parts)).encode(speed, Strings())
    found = list(walk(raw))
    assert b"".join(found) == raw
    assert struct.unpack_from("<HB", raw, 2) == (
        len(raw),
        len({part.bInterfaceNumber for part in parts}),
    )
    heads = [part for part in found if part[1] == 4]
    assert [(h[2], h[3], h[4], h[5]) for h in heads] == [
        (p.bInterfaceNumber, p.bAlternateSetting, len(p.endpoints), p.bInterfaceClass)
        for p in parts
    ]
    declared = [endpoint for part in parts for endpoint in part.endpoints]
    assert [e[2] for e in found if e[1] == 5] == [e.bEndpointAddress for e in declared]
    companions = [e for e in found if e[1] == 0x30]
    assert len(companions) == (len(declared) if speed is Speed.SUPER else 0)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        (Speed.FULL, "07 05 81 02 40 00 00"),
        (Speed.HIGH, "07 05 81 02 00 02 00"),
        (Speed.SUPER, "07 05 81 02 00 04 00 06 30 03 04 00 00"),
    ],
)
def test_a_bulk_endpoint_has_the_packet_size_of_its_speed(speed: Speed, expected: str) -> None:
    endpoint = Endpoint(0x81, BULK, bMaxBurst=3, companion=4)
    assert endpoint.encode(speed, Strings()).hex(" ") == expected


def test_the_companion_of_a_periodic_endpoint_says_the_bytes_an_interval() -> None:
    raw = Endpoint(0x82, INTERRUPT, 24, 4).encode(Speed.SUPER, Strings())
    assert raw.hex(" ") == "07 05 82 03 18 00 04 06 30 00 00 18 00"


def test_endpoints_of_audio_have_nine_bytes() -> None:
    endpoint = Endpoint(0x01, ISOCHRONOUS, 192, 4, 0x08, audio=(1, 0x81), extra=b"\x02\x25")
    assert endpoint.encode(Speed.FULL, Strings()).hex(" ") == "09 05 01 09 c0 00 04 01 81 02 25"


@pytest.mark.parametrize(
    ("speed", "attributes", "power"),
    [(Speed.HIGH, 0xE0, 50), (Speed.SUPER, 0xE0, 12)],  # units of 2 mA and of 8 mA
)
def test_power_and_its_units(speed: Speed, attributes: int, power: int) -> None:
    raw = Configuration((), self_powered=True, remote_wakeup=True).encode(speed, Strings())
    assert tuple(raw[7:9]) == (attributes, power)


@pytest.mark.parametrize(
    ("speed", "version", "size"),
    [
        (Speed.LOW, 0x0200, 8),
        (Speed.FULL, 0x0200, 64),
        (Speed.HIGH, 0x0200, 64),
        (Speed.SUPER, 0x0300, 9),  # the exponent of two
    ],
)
def test_a_device_says_the_version_and_first_packet_size_of_its_speed(
    speed: Speed, version: int, size: int
) -> None:
    strings = Strings()
    raw = DeviceDescriptor(0x1209, 0x0002, 0x0103, "maker", "", "serial", bDeviceClass=0xEF).encode(
        speed, strings, 2
    )
    expected = (18, 1, version, 0xEF, 0, 0, size, 0x1209, 2, 0x0103, 1, 0, 2, 2)
    assert struct.unpack("<BBHBBBBHHHBBBB", raw) == expected


def test_a_device_may_insist_on_both() -> None:
    raw = DeviceDescriptor(1, 2, bcdUSB=0x0110, bMaxPacketSize0=16).encode(Speed.FULL, Strings(), 1)
    assert (raw[2:4], raw[7]) == (b"\x10\x01", 16)


def test_the_qualifier_is_the_device_at_its_other_speed() -> None:
    raw = DeviceDescriptor(1, 2, bDeviceClass=2, bDeviceSubClass=3, bDeviceProtocol=4).qualifier(1)
    assert raw.hex(" ") == "0a 06 00 02 02 03 04 40 01 00"


def test_an_association_names_its_function() -> None:
    strings = Strings()
    strings.number("other")
    raw = Association(1, 2, 0x0E, 3, 0, "camera").encode(Speed.HIGH, strings)
    assert raw.hex(" ") == "08 0b 01 02 0e 03 00 02"


def test_what_names_a_string_in_its_own_bytes_gets_the_number() -> None:
    strings = Strings()
    interface = Interface(8, extra=lambda strings: bytes((3, 0x24, strings.number("unit"))))
    assert interface.encode(Speed.HIGH, strings)[9:] == b"\x03\x24\x01"


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=130), max_size=4))
def test_strings_are_numbered_once_and_fit_into_a_descriptor(texts: list[str]) -> None:
    strings = Strings()
    numbers = [strings.number(text) for text in texts]
    assert [strings.number(text) for text in texts] == numbers
    for number, text in zip(numbers, texts, strict=True):
        assert (number == 0) is (text == "")
        if number:
            raw = strings.descriptor(number)
            assert raw is not None
            assert (len(raw), raw[1]) == (raw[0], 3)
            units = text.encode("utf-16-le")
            assert raw[2:] == units[:252]
    assert strings.descriptor(0) == bytes.fromhex("04030904")
    assert strings.descriptor(len(set(texts) - {""}) + 1) is None


def test_the_bos_of_super_speed_is_as_long_as_it_says() -> None:
    total, count = struct.unpack_from("<HB", BOS_SUPER, 2)
    assert (total, count) == (len(BOS_SUPER), len(list(walk(BOS_SUPER[5:]))))
