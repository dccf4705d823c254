"""Words for devices."""

import pytest

from usbmon.devices import names
from usbmon.devices.model import Device
from usbmon.usb.descriptors import Configuration, DeviceDescriptor, Interface


def device(cls=0, *interfaces, **more):
    about = DeviceDescriptor(0x0200, cls, 0, 0, 64, 0x0557, 0x2004, 0x0100)
    parsed = (Configuration(1, 1, 0, 0x80, 50, interfaces),)
    return Device(busnum=1, devnum=2, fields=about, parsed=parsed, **more)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"manufacturer": "ATEN", "product": "UC100KM"}, "ATEN UC100KM"),
        ({"manufacturer": "QEMU", "product": "QEMU USB Hub"}, "QEMU USB Hub"),
        ({"product": "UC100KM"}, "ATEN International Co., Ltd UC100KM"),
        ({"manufacturer": " A \n TEN "}, "A TEN UC-100KM PS/2 Mouse and Keyboard adapter"),
        ({}, "ATEN International Co., Ltd UC-100KM PS/2 Mouse and Keyboard adapter"),
    ],
)
def test_its_own_name_comes_first(more, name):
    assert names.device_name(device(**more)) == name


def test_one_that_has_not_told_has_no_name():
    nobody = Device(busnum=1, devnum=2)
    assert (names.device_name(nobody), names.class_words(nobody)) == ("", "")
    assert names.device_name(Device(busnum=1, devnum=2, product="x")) == "x"


def interface(number, cls, subclass=0, protocol=0):
    return Interface(number, 0, 0, cls, subclass, protocol)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (device(9, interface(0, 9)), "hub"),
        (device(0, interface(0, 3), interface(1, 3)), "HID"),
        (device(0xEF, interface(0, 14), interface(1, 1)), "video+audio"),
        (device(0, interface(0, 0x7C)), "7c"),
        (device(0), ""),
        (device(0xEF), "misc"),
    ],
)
def test_classes_in_a_word(made, words):
    assert names.class_words(made) == words


@pytest.mark.parametrize(
    ("triple", "words"),
    [
        ((3, 1, 1), "Human Interface Device, Boot Interface Subclass, Keyboard"),
        ((8, 6, 0x50), "Mass Storage, SCSI, Bulk-Only"),
        ((0xFF, 0xFF, 0xFF), "Vendor Specific Class"),
        ((9, 0, 0), "Hub, Full speed (or root) hub"),
        ((0x7C, 1, 2), "class 7c subclass 01 protocol 02"),
    ],
)
def test_what_an_interface_is_for(triple, words):
    assert names.interface_words(interface(0, *triple)) == words
