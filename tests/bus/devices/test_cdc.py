"""Functional descriptors and notifications, against the bytes of the standard's examples."""

from __future__ import annotations

from usbmon.bus.devices import cdc


def test_a_functional_descriptor_counts_itself():
    assert cdc.functional(cdc.ABSTRACT_CONTROL, b"\x06").hex() == "04240206"


def test_header_of_release_1_10_and_union():
    assert cdc.header_and_union(0, 1).hex() == "0524001001" + "0524060001"


def test_a_notification_is_a_setup_packet_with_data():
    raw = cdc.notification(cdc.SERIAL_STATE, 0, 3, b"\x03\x00")
    assert raw.hex() == "a120000003000200" + "0300"
