"""The kernel's list of devices: written as the kernel writes it, and read back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from tests.helpers.sysfs import recorded
from usbmon.devices import listing
from usbmon.devices.model import Device
from usbmon.errors import FormatError
from usbmon.usb.descriptors import (
    Configuration,
    DeviceDescriptor,
    Endpoint,
    Interface,
    configurations,
)

FOLDER = CAPTURES / "devices"
WHOLE = sorted(FOLDER.glob("*.devices"))
HUB = (FOLDER / "hub-uhci.devices").read_text()

# As Linux 2.6.18 wrote it: no strings of one, another padding, no list of endpoints.
OLD = """
T:  Bus=02 Lev=01 Prnt=01 Port=01 Cnt=01 Dev#=  2 Spd=1.5 MxCh= 0
D:  Ver= 1.10 Cls=00(>ifc ) Sub=00 Prot=00 MxPS= 8 #Cfgs=  1
P:  Vendor=0557 ProdID=2004 Rev= 1.00
S:  Product=UC-100KM V1.0\x20
C:* #Ifs= 2 Cfg#= 1 Atr=a0 MxPwr=100mA
I:  If#= 0 Alt= 0 #EPs= 1 Cls=03(HID  ) Sub=01 Prot=01 Driver=usbhid
E:  Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=10ms
I:  If#= 1 Alt= 0 #EPs= 1 Cls=03(HID  ) Sub=01 Prot=02 Driver=usbhid
E:  Ad=82(I) Atr=03(Int.) MxPS=   5 Ivl=10ms
"""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.bin")), ids=lambda path: path.stem)
def test_descriptors_of_recorded_devices_are_listed_as_by_their_kernel(path):
    told, raw = recorded(FOLDER, path.stem)
    device = Device(
        busnum=told.busnum,
        devnum=told.devnum,
        parent=told.parent,
        level=told.level,
        port=told.port,
        speed=told.speed,
        maxchild=told.maxchild,
        descriptor=raw[:18],
        configurations=tuple(configurations(raw[18:])),
        manufacturer=told.manufacturer,
        product=told.product,
        serial=told.serial,
        configuration=told.configuration,
        alternates=told.alternates,
        drivers=told.drivers,
    )
    expected = path.with_suffix(".txt").read_text().strip("\n").splitlines()
    ours = listing.write([device]).strip("\n").splitlines()
    # Counted from the hub, which is not there.
    assert [line.replace(" Cnt=00", "") for line in ours[:1]] == [
        line.replace(f" Cnt={line.partition('Cnt=')[2][:2]}", "") for line in expected[:1]
    ]
    assert ours[1:] == expected[1:]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_a_recorded_list_comes_back_whole(path):
    text = path.read_text()
    assert listing.looks_like(text)
    assert listing.write(listing.read(text)) == text


def test_what_is_read():
    root, hub, keyboard, serial, disk = listing.read(HUB)
    names = [device.sysname for device in (root, hub, keyboard, serial, disk)]
    assert names == ["usb1", "1-1", "1-1.1", "1-1.2", "1-1.3"]
    assert (hub.maxchild, hub.parent, hub.level, hub.port, hub.speed) == (8, 1, 1, 1, "12")
    assert (serial.id, serial.manufacturer, serial.drivers) == (
        "0403:6001",
        "QEMU",
        {0: "ftdi_sio"},
    )
    assert (disk.manufacturer, disk.configuration) == ("QEMU", 1)
    assert root.bandwidth == (2, 2, 0)
    (interface,) = disk.interfaces
    assert [e.bEndpointAddress for e in interface.endpoints] == [0x81, 0x02]
    assert disk.descriptor == b""
    assert disk.configurations == ()


def test_an_old_list():
    (device,) = listing.read(OLD)
    assert (device.id, device.speed, device.manufacturer) == ("0557:2004", "1.5", "")
    assert device.product == "UC-100KM V1.0 "
    assert (device.port, device.sysname) == (2, "2-2")
    assert [i.endpoints[0].bInterval for i in device.interfaces] == [10, 10]
    assert device.drivers == {0: "usbhid", 1: "usbhid"}


def test_a_driver_may_have_a_name_of_words():
    (device,) = listing.read(OLD.replace("Driver=usbhid", "Driver=Belkin F5U103"))
    assert device.drivers == dict.fromkeys((0, 1), "Belkin F5U103")


def test_line_ends_of_other_systems_and_other_order():
    blocks = OLD.strip().splitlines()
    (plain,) = listing.read(OLD)
    assert listing.read(OLD.replace("\n", "\r\n")) == [plain]
    strings_last = [*blocks[:3], *blocks[4:], blocks[3]]
    assert listing.read("\n".join(strings_last)) == [plain]
    product_first = [blocks[0], blocks[2], blocks[3], blocks[1], *blocks[4:]]
    assert listing.read("\n".join(product_first)) == [plain]


def test_a_list_cut_anywhere_gives_what_is_there():
    first = HUB.index("Dev#=  1") + 8
    counts = set()
    for size in range(first, len(HUB), 7):
        devices = listing.read(HUB[:size])
        counts.add(len(devices))
        listing.write(devices)
    assert counts == {1, 2, 3, 4, 5}


def test_a_device_whose_hub_is_missing_has_no_name():
    text = HUB[HUB.index("\nT:  Bus=01 Lev=02") :]
    assert [device.sysname for device in listing.read(text)] == ["", "", ""]


@given(st.text(alphabet="TBDPSCAIE:* =#0123456789abdfx.\n\rLevSpdClusmI()", max_size=200))
def test_any_text_is_devices_or_an_error(text):
    try:
        devices = listing.read("T:  Bus=01 Dev#= 1 " + text)
    except FormatError:
        return
    assert listing.read(listing.write([*devices, Device(busnum=1, devnum=2, fields=FIELDS)]))


FIELDS = DeviceDescriptor(0x0200, 0, 0, 0, 64, 1, 2, 3)


@pytest.mark.parametrize("text", ["", "\n\n", "hello", "S:  Product=x\n"])
def test_what_is_none(text):
    assert not listing.looks_like(text)
    with pytest.raises(FormatError, match="no line that begins with T:"):
        listing.read(text, "a file")


def test_a_number_that_is_none_says_where():
    with pytest.raises(FormatError, match="a file: line 2: not a line of a device list: T:  Bus=9"):
        listing.read("\nT:  Bus=999999 Dev#=  1\n", "a file")


def one(speed, *endpoints, **more):
    interface = Interface(0, 0, len(endpoints), 255, 0, 0, endpoints=endpoints)
    fields = {"configuration": 1, "fields": FIELDS, "level": 1}
    return Device(
        busnum=1,
        devnum=2,
        speed=speed,
        parsed=(Configuration(1, 1, 0, 0x80, 50, (interface,)),),
        **(fields | more),
    )


def endpoint_lines(device):
    return [line[4:] for line in listing.write([device]).splitlines() if line[0:1] == "E"]


@pytest.mark.parametrize(
    ("speed", "endpoint", "expected"),
    [
        # usb_decode_interval
        ("12", (0x81, 3, 8, 10), "Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=10ms"),
        ("480", (0x81, 3, 8, 4), "Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=1ms"),
        ("480", (0x81, 3, 8, 1), "Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=125us"),
        ("12", (0x01, 1, 192, 1), "Ad=01(O) Atr=01(Isoc) MxPS= 192 Ivl=1ms"),
        ("480", (0x01, 2, 512, 8), "Ad=01(O) Atr=02(Bulk) MxPS= 512 Ivl=1ms"),
        ("480", (0x81, 2, 512, 8), "Ad=81(I) Atr=02(Bulk) MxPS= 512 Ivl=0ms"),
        ("480", (0x03, 0, 64, 1), "Ad=03(B) Atr=00(Ctrl) MxPS=  64 Ivl=125us"),
        # high bandwidth: packets of a microframe together, at high speed only
        ("480", (0x81, 5, 0x1400, 1), "Ad=81(I) Atr=05(Isoc) MxPS=3072 Ivl=125us"),
        ("5000", (0x81, 1, 0x0400, 1), "Ad=81(I) Atr=01(Isoc) MxPS=1024 Ivl=125us"),
        # usb_parse_endpoint puts right what a device must not say
        ("12", (0x81, 3, 8, 0), "Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=10ms"),
        ("480", (0x81, 3, 8, 0), "Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=8ms"),
        ("480", (0x81, 3, 8, 32), "Ad=81(I) Atr=03(Int.) MxPS=   8 Ivl=32ms"),
        ("12", (0x81, 1, 8, 0), "Ad=81(I) Atr=01(Isoc) MxPS=   8 Ivl=8ms"),
        ("480", (0x81, 1, 8, 255), "Ad=81(I) Atr=01(Isoc) MxPS=   8 Ivl=8ms"),
    ],
)
def test_endpoints(speed, endpoint, expected):
    device = one(speed, Endpoint(*endpoint))
    assert endpoint_lines(device) == [expected]
    (read,) = listing.read(listing.write([device]))
    assert endpoint_lines(read) == [expected]


@pytest.mark.parametrize(
    ("speed", "word", "power"),
    [("1.5", "1.5 ", 100), ("480", "480 ", 100), ("10000", "10000", 400), ("20000", "10000", 400)],
)
def test_speeds_and_the_unit_of_power(speed, word, power):
    text = listing.write([one(speed)])
    assert f"Spd={word} MxCh" in text
    assert f"MxPwr={power}mA" in text


def test_the_settings_of_an_interface_stand_together():
    settings = tuple(Interface(n, a, 0, 255, 0, 0) for n, a in ((0, 0), (1, 0), (0, 1)))
    device = replace(one("12"), parsed=(Configuration(2, 1, 0, 0x80, 50, settings),))
    lines = [line[:18] for line in listing.write([device]).splitlines() if line[0:1] == "I"]
    assert lines == ["I:* If#= 0 Alt= 0 ", "I:  If#= 0 Alt= 1 ", "I:* If#= 1 Alt= 0 "]


def test_only_the_active_configuration_has_drivers():
    both = tuple(Configuration(1, v, 0, 0x80, 50, (Interface(0, 0, 0, 3, 0, 0),)) for v in (1, 2))
    device = replace(one("12"), parsed=both, configuration=2, drivers={})
    drivers = [line.partition("Driver=")[2] for line in listing.write([device]).splitlines()]
    assert [word for word in drivers if word] == ["(none)"]


def test_strings_are_one_line_and_of_a_hundred_bytes():
    device = one("12", manufacturer="a\nb", product="ä" * 60)
    text = listing.write([device])
    assert "S:  Manufacturer=a b\n" in text
    assert f"S:  Product={'ä' * 50}\n" in text


def test_a_device_that_has_not_told_is_not_listed():
    assert listing.write([Device(busnum=1, devnum=2)]) == ""
