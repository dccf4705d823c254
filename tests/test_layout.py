"""The layout against the struct that the kernel documents (usbmon.rst, "Raw binary format")."""

import ctypes

import pytest

from usbmon import layout


class UsbmonPacket(ctypes.Structure):
    """As in usbmon.rst, its unions of the same place spelled once."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("type", ctypes.c_ubyte),
        ("xfer_type", ctypes.c_ubyte),
        ("epnum", ctypes.c_ubyte),
        ("devnum", ctypes.c_ubyte),
        ("busnum", ctypes.c_uint16),
        ("flag_setup", ctypes.c_char),
        ("flag_data", ctypes.c_char),
        ("ts_sec", ctypes.c_int64),
        ("ts_usec", ctypes.c_int32),
        ("status", ctypes.c_int),
        ("length", ctypes.c_uint),
        ("len_cap", ctypes.c_uint),
        ("setup", ctypes.c_ubyte * 8),
        ("interval", ctypes.c_int),
        ("start_frame", ctypes.c_int),
        ("xfer_flags", ctypes.c_uint),
        ("ndesc", ctypes.c_uint),
    )


class IsoRec(ctypes.Structure):
    """In the place of the setup packet."""

    _fields_ = (("error_count", ctypes.c_int), ("numdesc", ctypes.c_int))


class IsoDescriptor(ctypes.Structure):
    """``struct mon_bin_isodesc`` of mon_bin.c."""

    _fields_ = (
        ("status", ctypes.c_int),
        ("offset", ctypes.c_uint),
        ("length", ctypes.c_uint),
        ("_pad", ctypes.c_uint),
    )


@pytest.mark.parametrize(
    ("struct", "fields", "base"),
    [
        (UsbmonPacket, layout.PACKET, 0),
        (IsoRec, layout.ISO, UsbmonPacket.setup.offset),
        (IsoDescriptor, layout.DESCRIPTOR, 0),
    ],
)
def test_fields_stand_where_a_c_compiler_puts_them(struct, fields, base):
    names = [name for name, *_ in struct._fields_]
    expected = {name: getattr(struct, name).offset + base for name in names}
    assert {field.name: field.offset for field in fields} == expected


def test_sizes_are_those_of_the_kernel():
    assert ctypes.sizeof(UsbmonPacket) == layout.PACKET_SIZE == 64
    assert UsbmonPacket.interval.offset == layout.PACKET_SIZE_OLD == 48
    assert ctypes.sizeof(IsoDescriptor) == layout.DESCRIPTOR_SIZE == 16


def test_our_fields_follow_the_kernels_and_fill_the_row():
    size = {"B": 1, "H": 2, "I": 4, "Q": 8, "q": 8}
    at = layout.PACKET_SIZE
    for field in layout.OURS:
        assert field.offset == at
        assert at % size[field.code] == 0
        at += size[field.code]
    assert at == layout.ROW_SIZE
    assert layout.ROW_SIZE % 8 == 0


def test_every_absent_bit_is_of_a_field_and_fits():
    assert set(layout.ABSENT) <= set(layout.OFFSET)
    assert sorted(layout.ABSENT_BIT.values()) == [1 << n for n in range(len(layout.ABSENT))]
    assert len(layout.ABSENT) <= 16
