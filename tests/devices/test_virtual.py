"""What a virtual host knows of its devices, as its list shows it."""

from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.drivers.hub import HubDriver
from usbmon.bus.host import Host
from usbmon.bus.hub import Hub
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.timing import Speed
from usbmon.devices import virtual
from usbmon.devices.listing import write

ROOT = """
T:  Bus=01 Lev=00 Prnt=00 Port=00 Cnt=00 Dev#=  1 Spd=480  MxCh= 4
B:  Alloc=  0/800 us ( 0%), #Int=  0, #Iso=  0
D:  Ver= 2.00 Cls=09(hub  ) Sub=00 Prot=01 MxPS=64 #Cfgs=  1
P:  Vendor=1d6b ProdID=0002 Rev= 6.01
S:  Manufacturer=Linux 6.1 usbmon-hcd
S:  Product=usbmon Host Controller
S:  SerialNumber=usbmon.0
C:* #Ifs= 1 Cfg#= 1 Atr=e0 MxPwr=  0mA
I:* If#= 0 Alt= 0 #EPs= 1 Cls=09(hub  ) Sub=00 Prot=00 Driver=hub
E:  Ad=81(I) Atr=03(Int.) MxPS=   4 Ivl=256ms
"""

BEHIND_A_HUB = """
T:  Bus=01 Lev=02 Prnt=02 Port=01 Cnt=01 Dev#=  3 Spd=480  MxCh= 0
D:  Ver= 2.00 Cls=00(>ifc ) Sub=00 Prot=00 MxPS=64 #Cfgs=  1
P:  Vendor=1209 ProdID=0001 Rev= 1.00
S:  Manufacturer=usbmon
S:  Product=Loopback
S:  SerialNumber=0001
C:* #Ifs= 1 Cfg#= 1 Atr=80 MxPwr=100mA
I:* If#= 0 Alt= 0 #EPs= 4 Cls=ff(vend.) Sub=00 Prot=00 Driver=(none)
E:  Ad=01(O) Atr=02(Bulk) MxPS= 512 Ivl=0ms
E:  Ad=81(I) Atr=02(Bulk) MxPS= 512 Ivl=0ms
E:  Ad=02(O) Atr=03(Int.) MxPS=  64 Ivl=1ms
E:  Ad=82(I) Atr=03(Int.) MxPS=  64 Ivl=1ms
I:  If#= 0 Alt= 1 #EPs= 6 Cls=ff(vend.) Sub=00 Prot=00 Driver=(none)
E:  Ad=01(O) Atr=02(Bulk) MxPS= 512 Ivl=0ms
E:  Ad=81(I) Atr=02(Bulk) MxPS= 512 Ivl=0ms
E:  Ad=02(O) Atr=03(Int.) MxPS=  64 Ivl=1ms
E:  Ad=82(I) Atr=03(Int.) MxPS=  64 Ivl=1ms
E:  Ad=03(O) Atr=01(Isoc) MxPS= 192 Ivl=125us
E:  Ad=83(I) Atr=01(Isoc) MxPS= 192 Ivl=125us
"""


def host(*speeds):
    made = Host(drivers=(HubDriver,))
    for speed in speeds or (Speed.HIGH,):
        made.add_controller(speed)
    return made


def listing(machine):
    return write(virtual.devices(machine))


def test_a_bus_with_nothing_on_it():
    empty = host()
    empty.loop.run(SECOND)
    assert listing(empty) == ROOT


def test_a_device_behind_a_hub_at_its_second_port():
    machine = host()
    hub = Hub()
    machine.plug(hub)
    machine.loop.run(SECOND)
    machine.plug(Loopback(), hub, 2)
    machine.loop.run(3 * SECOND)
    text = listing(machine)
    assert text.startswith(ROOT)
    assert text.endswith(BEHIND_A_HUB)


def test_at_any_moment_while_devices_are_set_up():
    machine = host(Speed.HIGH, Speed.SUPER)
    hub = Hub()
    machine.plug(hub)
    machine.plug(Loopback(speed=Speed.SUPER))
    machine.loop.run(SECOND)
    machine.plug(Loopback(), hub)
    texts = set()
    for _ in range(2000):
        texts.add(listing(machine))
        machine.loop.run(machine.loop.now + MS // 2)
    counts = {text.count("T:") for text in texts}
    assert counts == {4, 5}


def test_speeds_and_power_of_other_buses():
    machine = host(Speed.FULL, Speed.SUPER)
    machine.plug(Loopback(speed=Speed.SUPER))
    machine.loop.run(2 * SECOND)
    text = listing(machine)
    assert "Spd=12   MxCh= 4\nB:  Alloc=  0/900 us" in text
    assert "Spd=5000 MxCh= 0\nD:  Ver= 3.00 Cls=00(>ifc ) Sub=00 Prot=00 MxPS= 9" in text
    assert "C:* #Ifs= 1 Cfg#= 1 Atr=80 MxPwr= 96mA" in text


def test_all_that_is_known_is_there():
    machine = host()
    machine.plug(Loopback())
    machine.loop.run(SECOND)
    root, device = virtual.devices(machine)
    assert (root.sysname, root.maxchild, root.drivers) == ("usb1", 4, {0: "hub"})
    assert (device.sysname, device.parent, device.level, device.port) == ("1-1", 1, 1, 1)
    assert (device.manufacturer, device.product, device.serial) == ("usbmon", "Loopback", "0001")
    assert device.strings == {1: "usbmon", 2: "Loopback", 3: "0001"}
    assert device.id == "1209:0001"
    assert (device.configuration, device.alternates) == (1, {0: 0})
