"""Who is on the buses, as the kernel lists it in ``/sys/kernel/debug/usb/devices``.

The layout is that of drivers/usb/core/devices.c, to the byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbmon.bus.timing import Speed
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.bus.host import Host, HostConfiguration, HostDevice, HostEndpoint, HostInterface

# clas_info of devices.c.
_CLASSES: Final = {
    0x00: ">ifc",
    0x01: "audio",
    0x02: "comm.",
    0x03: "HID",
    0x05: "PID",
    0x06: "still",
    0x07: "print",
    0x08: "stor.",
    0x09: "hub",
    0x0A: "data",
    0x0B: "scard",
    0x0D: "c-sec",
    0x0E: "video",
    0xE0: "wlcon",
    0xEF: "misc",
    0xFE: "app.",
    0xFF: "vend.",
}
_TYPES: Final = {CONTROL: "Ctrl", ISOCHRONOUS: "Isoc", BULK: "Bulk", INTERRUPT: "Int."}


def listing(host: Host) -> str:
    """The whole list: a block a device, each after an empty line."""
    return "".join(line for root in host.root_hubs if root.descriptor for line in _tree(root, 0))


def _tree(device: HostDevice, count: int) -> Iterator[str]:
    yield from _block(device, count)
    # One that is being set up is not among them before it has said what it is.
    known = [device.children[port] for port in sorted(device.children)]
    for number, child in enumerate((child for child in known if child.descriptor), 1):
        yield from _tree(child, number)


def _block(device: HostDevice, count: int) -> Iterator[str]:
    raw = device.descriptor
    parent = device.parent.devnum if device.parent is not None else 0
    yield (
        f"\nT:  Bus={device.controller.busnum:02d} Lev={device.level:02d} Prnt={parent:02d} "
        f"Port={max(device.port - 1, 0):02d} Cnt={count:02d} Dev#={device.devnum:3d} "
        f"Spd={device.speed.value:<4s} MxCh={_ports(device):2d}\n"
    )
    if device.parent is None:
        most = 900 if device.speed is Speed.FULL else 800
        yield f"B:  Alloc=  0/{most} us ( 0%), #Int=  0, #Iso=  0\n"
    yield (
        f"D:  Ver={raw[3]:2x}.{raw[2]:02x} Cls={_class(raw[4])} Sub={raw[5]:02x} "
        f"Prot={raw[6]:02x} MxPS={raw[7]:2d} #Cfgs={raw[17]:3d}\n"
    )
    vendor, product = device.id
    yield f"P:  Vendor={vendor:04x} ProdID={product:04x} Rev={raw[13]:2x}.{raw[12]:02x}\n"
    for word, at in (("Manufacturer", 14), ("Product", 15), ("SerialNumber", 16)):
        text = device.string(raw[at])
        if text:
            yield f"S:  {word}={text}\n"
    for configuration in device.configurations:
        yield from _configuration(device, configuration)


def _ports(device: HostDevice) -> int:
    """How many ports a hub has, as its driver knows."""
    return max((getattr(driver, "ports", 0) for driver in device.drivers.values()), default=0)


def _class(number: int) -> str:
    return f"{number:02x}({_CLASSES.get(number, 'unk.'):<5s})"


def _configuration(device: HostDevice, configuration: HostConfiguration) -> Iterator[str]:
    raw = configuration.raw
    is_active = configuration is device.active_configuration
    power = raw[8] * (8 if device.speed is Speed.SUPER else 2)
    yield (
        f"C:{'*' if is_active else ' '} #Ifs={raw[4]:2d} Cfg#={raw[5]:2d} "
        f"Atr={raw[7]:02x} MxPwr={power:3d}mA\n"
    )
    for a in configuration.associations:
        yield (
            f"A:  FirstIf#={a[2]:2d} IfCount={a[3]:2d} Cls={_class(a[4])} "
            f"Sub={a[5]:02x} Prot={a[6]:02x}\n"
        )
    for setting in configuration.settings:
        yield _interface(device, setting, is_active=is_active)
        for endpoint in setting.endpoints:
            yield _endpoint(device.speed, endpoint)


def _interface(device: HostDevice, setting: HostInterface, *, is_active: bool) -> str:
    driver = device.drivers.get(setting.number) if is_active else None
    active = is_active and device.active.get(setting.number) is setting
    return (
        f"I:{'*' if active else ' '} If#={setting.number:2d} Alt={setting.alternate:2d} "
        f"#EPs={setting.descriptor[4]:2d} Cls={_class(setting.cls)} Sub={setting.subclass:02x} "
        f"Prot={setting.protocol:02x} Driver={driver.name if driver is not None else '(none)'}\n"
    )


def _endpoint(speed: Speed, endpoint: HostEndpoint) -> str:
    """usb_dump_endpoint_descriptor."""
    fast = speed in (Speed.HIGH, Speed.SUPER)
    interval = 0
    if endpoint.type is ISOCHRONOUS or (endpoint.type is INTERRUPT and fast):
        interval = 1 << max(endpoint.b_interval - 1, 0)
    elif endpoint.type is INTERRUPT or (speed is Speed.HIGH and not endpoint.is_in):
        interval = endpoint.b_interval
    micro = interval * (125 if fast else 1000)
    text = f"{micro}us" if micro % 1000 else f"{micro // 1000}ms"
    size = endpoint.max_packet * (endpoint.mult if speed is Speed.HIGH else 1)
    return (
        f"E:  Ad={endpoint.address:02x}({'I' if endpoint.is_in else 'O'}) "
        f"Atr={endpoint.descriptor[3]:02x}({_TYPES[endpoint.type]:<4s}) "
        f"MxPS={size:4d} Ivl={text}\n"
    )
