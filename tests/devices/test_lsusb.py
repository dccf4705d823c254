"""What `lsusb -v` printed, against the bytes that it printed it of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from usbmon.devices import listing, lsusb
from usbmon.errors import FormatError

FOLDER = CAPTURES / "devices"
RUNS = sorted(path.stem for path in FOLDER.glob("*.lsusb"))
HID = (FOLDER / "hid-xhci.lsusb").read_text()


def devices(run):
    return {
        (device.busnum, device.devnum): device
        for device in lsusb.read((FOLDER / f"{run}.lsusb").read_text())
    }


@pytest.mark.parametrize("run", RUNS)
def test_descriptors_are_rebuilt_to_the_byte(run):
    found = devices(run)
    listed = listing.read((FOLDER / f"{run}.devices").read_text())
    assert found.keys() == {(device.busnum, device.devnum) for device in listed}
    compared = 0
    for device in listed:
        recorded = FOLDER / f"{run}-{device.sysname}.bin"
        if recorded.exists():
            ours = found[device.busnum, device.devnum]
            assert ours.descriptor + b"".join(ours.configurations) == recorded.read_bytes()
            compared += 1
    assert compared == len(list(FOLDER.glob(f"{run}-*.bin"))) > 0


@pytest.mark.parametrize("run", RUNS)
def test_names_and_fields_are_those_of_the_list(run):
    found = devices(run)
    for device in listing.read((FOLDER / f"{run}.devices").read_text()):
        ours = found[device.busnum, device.devnum]
        assert ours.id == device.id
        assert (ours.manufacturer, ours.product, ours.serial) == (
            device.manufacturer,
            device.product,
            device.serial,
        )
        fields = ours.about._replace(iManufacturer=0, iProduct=0, iSerialNumber=0)
        assert fields == device.about


def test_strings_go_by_their_numbers():
    keyboard = devices("hid-xhci")[1, 2]
    assert keyboard.strings == {
        1: "QEMU",
        4: "QEMU USB Keyboard",
        8: "HID Keyboard",
        11: "68284-0000:00:05.0-1",
    }
    assert keyboard.sysname == ""
    assert devices("hid-xhci")[1, 1].sysname == "usb1"


def test_a_name_may_end_like_a_title():
    text = HID.replace("4 QEMU USB Keyboard", "4 Keyboard:")
    assert lsusb.read(text)[1].product == "Keyboard:"
    assert lsusb.read(text)[1].descriptor == devices("hid-xhci")[1, 2].descriptor


def test_what_lsusb_leaves_out_is_not_made_up():
    """It prints no wBytesPerInterval, which the root hub of USB 3 has."""
    root = devices("hid-xhci")[2, 1]
    assert root.configurations == ()
    assert len(root.descriptor) == 18
    (configuration,) = root.all_configurations
    (interface,) = configuration.interfaces
    assert (interface.bInterfaceClass, interface.endpoints[0].bEndpointAddress) == (9, 0x81)
    assert root.bos.hex() == "050f0f0001" + "0a10030008000100" + "0000"


def test_one_device_without_access_has_its_number_only():
    text = (
        "Bus 001 Device 002: ID 0557:2004 ATEN International Co., Ltd UC-100KM\n"
        "Couldn't open device, some information will be missing\n\n" + HID
    )
    device = lsusb.read(text)[1]
    assert (device.id, device.descriptor, device.configurations) == ("0557:2004", b"", ())


HEAD = "Bus 001 Device 009: ID 1234:5678 x\n"


def configuration(*lines, size):
    text = f"""{HEAD}Device Descriptor:
  bLength                18
  bcdUSB               3.20
  Configuration Descriptor:
    bLength                 9
    bDescriptorType         2
    wTotalLength       0x{size:04x}
    bNumInterfaces          1
    bConfigurationValue     1
    iConfiguration          0
    bmAttributes         0x80
      (Bus Powered)
    MaxPower              896mA
"""
    (device,) = lsusb.read(text + "".join(f"    {line}\n" for line in lines))
    return b"".join(device.configurations)[9:].hex()


ASSOCIATION = """Interface Association:
  bLength                 8
  bDescriptorType        11
  bFirstInterface         0
  bInterfaceCount         2
  bFunctionClass         14 Video
  bFunctionSubClass       3 Video Interface Collection
  bFunctionProtocol       0
  iFunction               5 Camera"""
UNION = """CDC Union:
  bMasterInterface        0
  bSlaveInterface         1 2 """
MBIM = """CDC MBIM:
  bcdMBIMVersion       1.00
  wMaxControlMessage   4096
  bNumberFilters       32
  bMaxFilterSize       128
  wMaxSegmentSize      2048
  bmNetworkCapabilities 0x20
    8-byte ntb input size"""
PROCESSING = """VideoControl Interface Descriptor:
  bLength                11
  bDescriptorType        36
  bDescriptorSubtype      5 (PROCESSING_UNIT)
  bUnitID                 3
  bSourceID               1
  wMaxMultiplier          0
  bControlSize            2
  bmControls     0x0000053f
    Brightness
  iProcessing             0"""
FORMAT = """VideoStreaming Interface Descriptor:
  bLength                27
  bDescriptorType        36
  bDescriptorSubtype      4 (FORMAT_UNCOMPRESSED)
  bFormatIndex            1
  bNumFrameDescriptors    3
  guidFormat              {32595559-0000-0010-8000-00aa00389b71}
  bBitsPerPixel          16
  bDefaultFrameIndex      1
  bAspectRatioX           0
  bAspectRatioY           0
  bmInterlaceFlags     0x00
    Interlaced stream or variable: No
  bCopyProtect            0"""


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("** UNRECOGNIZED:  05 24 00 10 01", "0524001001"),
        (UNION, "06240600 0102"),
        (MBIM, "0c241b 0001 0010 20 80 0008 20"),
        (ASSOCIATION, "080b 00020e030005"),
        (PROCESSING, "0b2405 03010000 02 3f05 00"),
        (FORMAT, "1b2404 01 03 5955593200001000800000aa00389b71 10 01 00 00 00 00"),
    ],
)
def test_descriptors_of_classes(text, raw):
    size = len(bytes.fromhex(raw))
    assert configuration(*text.splitlines(), size=9 + size) == raw.replace(" ", "")


@pytest.mark.parametrize(
    "lines",
    [
        ["** UNRECOGNIZED:  05 24 00 10"],  # one byte less than it says
        ["** UNRECOGNIZED:  no bytes"],
        ["Interface Association:", "  bLength   4", "  bDescriptorType 11", "  bA 300"],
        ["Interface Association:", "  bLength   4", "  bDescriptorType 11", "  wB many"],
        ["Interface Association:", "  bLength   3", "  bDescriptorType 11"],
        ["Video:", "  bLength 18", "  bDescriptorType 36", "  guidFormat {nobytes}"],
        ["Video:", "  bLength 5", "  bControlSize 999999999", "  bmControls 0x01"],
    ],
)
def test_a_configuration_that_is_not_whole_has_no_bytes(lines):
    assert configuration(*lines, size=14) == ""


def test_the_speed_is_known_where_lsusb_tells_it():
    text = HID.replace("\nDevice Descriptor:", "\nNegotiated speed: High Speed (480Mbps)"
                       "\nDevice Descriptor:")  # fmt: skip
    assert {device.speed for device in lsusb.read(text)} == {"480"}
    assert lsusb.read(text.replace("High Speed (480Mbps)", "SuperSpeed (5Gbps)"))[0].speed == "5000"


def test_a_text_cut_anywhere_gives_what_is_there():
    for size in range(40, len(HID), 37):
        try:
            devices = lsusb.read(HID[:size])
        except FormatError:
            assert size < 100
            continue
        assert all(len(device.descriptor) in (0, 18) for device in devices)


@given(st.text(alphabet="bLengthDscripo:wMax 0123456789xiADF\n*{}-()", max_size=200))
def test_any_text_is_devices(text):
    (device,) = lsusb.read(HEAD + "Device Descriptor:\n" + text)
    assert device.id == "1234:5678"


def test_line_ends_of_other_systems():
    assert lsusb.read(HID.replace("\n", "\r\n")) == lsusb.read(HID)


def test_what_is_none():
    assert not lsusb.looks_like("T:  Bus=01")
    with pytest.raises(FormatError, match="a file: no output of lsusb"):
        lsusb.read("hello", "a file")


def test_names_alone_are_too_little():
    assert lsusb.looks_like(HEAD)
    with pytest.raises(FormatError, match="`lsusb -v` tells what is needed"):
        lsusb.read(HEAD)
