"""The host's side of the bus: devices as it knows them, and the drivers that serve them.

Here: `HostDevice` (the kernel's ``struct usb_device``) with its interfaces and endpoints, as read
from descriptors; `Host`, which runs tasks, binds drivers and lets go of devices (the core of
drivers/usb/core). Not here: enumeration, which the hub driver does (`drivers.hub`), and the steps a
driver may take (`driver`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usbmon.bus.driver import (
    Driver,
    Lock,
    Steps,
    Task,
    UrbFailed,
    control_in,
    control_out,
)
from usbmon.bus.hcd import HostController
from usbmon.bus.hub import Hub, RootHub
from usbmon.bus.loop import SECOND, Loop
from usbmon.bus.queues import Wire
from usbmon.bus.timing import Speed
from usbmon.bus.urb import ISOCHRONOUS, TransferType, Urb
from usbmon.usb import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.bus.device import Device
    from usbmon.bus.queues import Queue
    from usbmon.usb.descriptors import Interface


class HostEndpoint:
    """An endpoint with its queue (``struct usb_host_endpoint``)."""

    __slots__ = (
        "address",
        "b_interval",
        "descriptor",
        "enabled",
        "max_packet",
        "mult",
        "queue",
        "reserved",
        "type",
    )

    def __init__(self, descriptor: bytes) -> None:
        """`descriptor`: ENDPOINT (USB 2.0 §9.6.6), and what follows up to the next one."""
        self.descriptor = descriptor
        self.address = descriptor[2]
        self.type = TransferType(descriptor[3] & 3)
        size = int.from_bytes(descriptor[4:6], "little")
        self.max_packet = max(1, size & 0x7FF)
        self.mult = (size >> 11 & 3) + 1
        self.b_interval = descriptor[6]
        self.enabled = True
        self.queue: Queue | None = None
        self.reserved = 0.0

    @property
    def is_in(self) -> bool:
        return self.address & 0x80 != 0

    @property
    def per_interval(self) -> int:
        """Bytes that a periodic endpoint may move an interval: with the high bandwidth of USB 2.0
        §5.9, or the burst of its SuperSpeed companion (USB 3.2 §9.6.7)."""
        companion = self.descriptor[self.descriptor[0] :]
        if len(companion) >= 6 and companion[1] == 0x30:
            mult = companion[3] & 3 if self.type is ISOCHRONOUS else 0
            return self.max_packet * (companion[2] + 1) * (mult + 1)
        return self.max_packet * self.mult


class HostInterface:
    """One alternate setting (``struct usb_host_interface``). `extra` are the class-specific
    descriptors between the interface and its first endpoint."""

    def __init__(self, device: HostDevice, read: Interface) -> None:
        self.device = device
        self.descriptor = read.raw
        self.number, self.alternate = read.bInterfaceNumber, read.bAlternateSetting
        self.cls = read.bInterfaceClass
        self.subclass, self.protocol = read.bInterfaceSubClass, read.bInterfaceProtocol
        self.extra = read.extra
        self.endpoints = [HostEndpoint(endpoint.raw) for endpoint in read.endpoints]
        self.is_named = False

    @property
    def driver(self) -> Driver | None:
        return self.device.drivers.get(self.number)

    def endpoint(self, type: TransferType, *, is_in: bool) -> HostEndpoint:
        """The first endpoint of the kind. Raises LookupError if there is none."""
        for endpoint in self.endpoints:
            if endpoint.type is type and endpoint.is_in is is_in:
                return endpoint
        raise LookupError(f"interface {self.number} has no {type.name} endpoint of that direction")


class HostConfiguration:
    """A configuration as the host read it."""

    def __init__(self, device: HostDevice, raw: bytes) -> None:
        self.raw = raw
        self.value = raw[5]
        read = descriptors.configuration(raw)
        self.associations = read.associations if read else ()
        self.settings = [
            HostInterface(device, interface) for interface in (read.interfaces if read else ())
        ]

    def setting(self, number: int, alternate: int = 0) -> HostInterface:
        """Raises LookupError if there is none."""
        for setting in self.settings:
            if (setting.number, setting.alternate) == (number, alternate):
                return setting
        raise LookupError(f"there is no interface {number} with alternate setting {alternate}")


class HostDevice:
    """A device as the host sees it (``struct usb_device``). `parent` is None for a root hub;
    `port` counts from 1. `strings` are those that were read, by their number."""

    def __init__(
        self,
        controller: HostController,
        speed: Speed,
        parent: HostDevice | None = None,
        port: int = 0,
    ) -> None:
        self.controller = controller
        self.busnum = controller.busnum
        self.speed = speed
        self.parent = parent
        self.port = port
        self.devnum = 0
        self.is_there = True
        self.suspended = False
        self.is_set_up = False
        self.descriptor = b""
        self.configurations: list[HostConfiguration] = []
        self.configuration = 0
        self.strings: dict[int, str] = {}
        self.langid = 0
        self.drivers: dict[int, Driver] = {}
        self.active: dict[int, HostInterface] = {}
        self.children: dict[int, HostDevice] = {}
        self.wire: Wire | None = None
        self.wire_slow: Wire | None = None
        size = {Speed.LOW: 8, Speed.FULL: 64, Speed.HIGH: 64, Speed.SUPER: 512}[speed]
        self.endpoints = {0: HostEndpoint(bytes((7, 5, 0, 0)) + size.to_bytes(2, "little") + b"\0")}

    def line(self, loop: Loop, *, slow: bool) -> Wire:
        """The wire of a root hub, or the slow one behind a transaction translator: of this hub, or
        of the root."""
        if slow:
            self.wire_slow = self.wire_slow or Wire(loop)
            return self.wire_slow
        self.wire = self.wire or Wire(loop)
        return self.wire

    @property
    def level(self) -> int:
        return 0 if self.parent is None else self.parent.level + 1

    @property
    def name(self) -> str:
        """As Linux calls it: usb1, 1-4, 1-4.2."""
        if self.parent is None:
            return f"usb{self.controller.busnum}"
        if self.parent.parent is None:
            return f"{self.controller.busnum}-{self.port}"
        return f"{self.parent.name}.{self.port}"

    @property
    def id(self) -> tuple[int, int]:
        """The numbers idVendor and idProduct."""
        raw = self.descriptor
        return int.from_bytes(raw[8:10], "little"), int.from_bytes(raw[10:12], "little")

    def string(self, number: int) -> str:
        """A string that was read; "" for none."""
        return self.strings.get(number, "")

    @property
    def active_configuration(self) -> HostConfiguration | None:
        for configuration in self.configurations:
            if configuration.value == self.configuration:
                return configuration
        return None

    def urb(self, endpoint: HostEndpoint, buffer: bytes | int, **more: Any) -> Urb:
        """A request to an endpoint of this device (see `Urb`)."""
        return Urb(self, endpoint.address, endpoint.type, buffer, **more)

    # Steps of drivers; see `driver`.

    def control_in(
        self, request_type: int, request: int, value: int, index: int, length: int, **more: Any
    ) -> Steps[bytes]:
        """A control transfer that reads; the data. Raises `UrbFailed`."""
        return control_in(self, request_type, request, value, index, length, **more)

    def control_out(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: bytes = b"",
        **more: Any,
    ) -> Steps[None]:
        """A control transfer that writes, or only asks. Raises `UrbFailed`."""
        return control_out(self, request_type, request, value, index, data, **more)

    def get_descriptor(self, kind: int, index: int, length: int, langid: int = 0) -> Steps[bytes]:
        """GET_DESCRIPTOR (USB 2.0 §9.4.3)."""
        return self.control_in(0x80, 6, kind << 8 | index, langid, length)

    def read_string(self, number: int) -> Steps[str]:
        """usb_string: the string of this number, whoever has read it before; the list of languages
        before the first one. A device that has none leaves it empty."""
        if number == 0:
            return ""
        try:
            if not self.langid:
                raw = yield from self.get_descriptor(3, 0, 255)
                self.langid = int.from_bytes(raw[2:4], "little") or 0x0409
            raw = yield from self.get_descriptor(3, number, 255, self.langid)
        except UrbFailed:
            return ""
        self.strings[number] = descriptors.string_text(raw)
        return self.strings[number]

    def name_setting(self, setting: HostInterface) -> Steps[None]:
        """usb_create_sysfs_intf_files: the string of an alternate setting is read once."""
        if not setting.is_named:
            setting.is_named = True
            yield from self.read_string(setting.descriptor[8])

    def clear_halt(self, endpoint: HostEndpoint) -> Steps[None]:
        """usb_clear_halt."""
        return self.control_out(0x02, 1, 0, endpoint.address)

    def set_interface(self, number: int, alternate: int) -> Steps[HostInterface]:
        """usb_set_interface: the endpoints of the old setting go, those of the new one come."""
        configuration = self.active_configuration
        assert configuration is not None
        setting = configuration.setting(number, alternate)
        yield from self.control_out(0x01, 11, alternate, number)
        self.disable(number)
        self.enable(setting)
        yield from self.name_setting(setting)
        return setting

    def choose(self, value: int) -> None:
        """Another configuration is active (0: none): the endpoints of the old one go, those of
        the new one come."""
        for number in list(self.active):
            self.disable(number)
        self.active.clear()
        self.configuration = value
        configuration = self.active_configuration
        for setting in configuration.settings if configuration is not None else ():
            if setting.alternate == 0:
                self.enable(setting)

    def enable(self, setting: HostInterface) -> None:
        """Let drivers submit to its endpoints."""
        self.active[setting.number] = setting
        for endpoint in setting.endpoints:
            endpoint.enabled = True
            self.endpoints[endpoint.address] = endpoint

    def disable(self, number: int) -> None:
        """Take the endpoints of an interface away; their URBs come back with -ESHUTDOWN."""
        setting = self.active.get(number)
        for endpoint in setting.endpoints if setting is not None else ():
            endpoint.enabled = False
            self.endpoints.pop(endpoint.address, None)
            self.controller.flush(endpoint)

    def __repr__(self) -> str:
        vendor, product = self.id if self.descriptor else (0, 0)
        return f"<HostDevice {self.name} number {self.devnum} {vendor:04x}:{product:04x}>"


class Host:
    """A machine with USB: controllers, devices, drivers, and the tasks in which those run.

    `report` is called with each line that Linux would write to its log.
    """

    def __init__(
        self,
        loop: Loop | None = None,
        *,
        drivers: tuple[type[Driver], ...] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """`drivers`: those to bind; all of ours by default."""
        from usbmon.bus.drivers import all_drivers

        self.loop = loop or Loop()
        self.controllers: list[HostController] = []
        self.root_hubs: list[HostDevice] = []
        self.driver_types = all_drivers() if drivers is None else drivers
        self.report = report or (lambda _line: None)
        self.tasks: dict[Task, None] = {}  # in their order
        self.address0: dict[HostController, Lock] = {}

    def add_controller(self, speed: Speed = Speed.HIGH, ports: int = 4) -> HostController:
        """A controller with a root hub of its own, and the driver of that hub at work."""
        busnum = len(self.controllers) + 1
        root = RootHub(ports, speed=speed, serial=f"usbmon.{busnum - 1}")
        controller = HostController(self.loop, busnum, root)
        self.controllers.append(controller)
        self.address0[controller] = Lock()
        device = HostDevice(controller, speed)
        device.devnum = root.address = 1
        controller.devices[1] = device
        self.root_hubs.append(device)
        from usbmon.bus.drivers.enumeration import register_root

        # Not at once: whoever wants to listen from the first URB on can begin to.
        self.loop.call_later(0, self.spawn, register_root(self, device))
        return controller

    def controller_for(self, device: Device) -> HostController:
        """Where a device of its speed belongs. Raises ValueError if there is no controller."""
        usable = [
            c
            for c in self.controllers
            if (c.speed is Speed.SUPER) is (device.wanted_speed is Speed.SUPER)
        ]
        if not usable:
            raise ValueError(f"there is no bus for a device of {device.wanted_speed.value} Mbit/s")
        return usable[0]

    def plug(self, device: Device, hub: Hub | None = None, port: int | None = None) -> None:
        """Plug a device in: into a hub, or into a root hub that fits; at the first free port if
        none is said (ports count from 1). Raises ValueError where there is no room."""
        if self.is_plugged(device):
            raise ValueError("the device is plugged in already")
        ports = (hub or self.controller_for(device).root).ports
        if port is None:
            free = [n for n, p in enumerate(ports, 1) if p.device is None]
            if not free:
                raise ValueError("all ports are taken")
            port = free[0]
        if not 1 <= port <= len(ports):
            raise ValueError(f"the hub has ports 1 to {len(ports)}, no port {port}")
        ports[port - 1].connect(device)

    def unplug(self, device: Device) -> None:
        """Pull it out; nothing if it is not plugged in."""
        for controller in self.controllers:
            controller.pull(device)

    def is_plugged(self, device: Device) -> bool:
        """Whether it is in some port."""
        return any(port.device is device for c in self.controllers for port in c.all_ports())

    def devices(self) -> Iterator[HostDevice]:
        """All devices with an address, by bus and number."""
        for controller in self.controllers:
            yield from (controller.devices[number] for number in sorted(controller.devices))

    def find(self, device: Device) -> HostDevice | None:
        """What the host made of a device model; None while it does not know it."""
        for known in self.devices():
            if known.controller.model(known) is device:
                return known
        return None

    def settle(self, *, timeout: int = 10 * SECOND) -> None:
        """Run until each device that is plugged in has been enumerated, or so long at most, as
        fast as it goes."""
        paced, self.loop.paced = self.loop.paced, False
        models = [p.device for c in self.controllers for p in c.all_ports() if p.device is not None]

        def settled() -> bool:
            found = [self.find(model) for model in models]
            return all(known is not None and known.is_set_up for known in found)

        self.loop.run(self.loop.now + timeout, stop=settled)
        self.loop.paced = paced
        self.loop.rebase()

    # Tasks.

    def spawn(self, steps: Steps[Any], owner: object = None) -> Task:
        """Run a generator of steps (see `driver`); it starts at once."""
        task = Task(self, steps, owner)
        self.tasks[task] = None
        task.start()
        return task

    def run_task(self, steps: Steps[Any], *, timeout: int | None = None) -> Any:
        """Run a generator to its end, and return what it returns. Raises what it raises, and
        TimeoutError where nothing is left to wait for or `timeout` nanoseconds are over."""
        task = self.spawn(steps)
        until = None if timeout is None else self.loop.now + timeout
        self.loop.run(until, stop=lambda: task.done)
        if not task.done:
            task.cancel()
            raise TimeoutError("the task did not come to its end")
        if task.error is not None:
            raise task.error
        return task.result

    # Binding (drivers/usb/core/driver.c).

    def bind(self, device: HostDevice) -> Steps[None]:
        """Find a driver for each interface of the active configuration, and let it probe."""
        for number in sorted(device.active):
            if number in device.drivers or not device.is_there:
                continue
            interface = device.active[number]
            for kind in self.driver_types:
                if kind.matches(interface):
                    yield from self._probe(kind(self, interface), number)
                    break

    def _probe(self, driver: Driver, number: int) -> Steps[None]:
        driver.device.drivers[number] = driver
        try:
            yield from driver.probe()
            driver.probed = True
        except (UrbFailed, LookupError) as error:
            name = f"{driver.name} {driver.device.name}:{driver.device.configuration}.{number}"
            self.report(f"{name}: probe failed, {error}")
            for task in [task for task in self.tasks if task.owner is driver]:
                task.cancel()
            if driver.device.drivers.get(number) is driver:
                del driver.device.drivers[number]

    def release(self, device: HostDevice) -> None:
        """The device has gone (usb_disconnect): its children first, then its drivers."""
        device.is_there = False
        if device.devnum:
            self.report(f"usb {device.name}: USB disconnect, device number {device.devnum}")
        for child in list(device.children.values()):
            self.release(child)
        for number in list(device.active):
            device.disable(number)
        for driver in dict.fromkeys(device.drivers.values()):
            driver.disconnect()
            for task in [task for task in self.tasks if task.owner is driver]:
                task.cancel()
        device.drivers.clear()
        device.controller.flush(device.endpoints[0])
        device.controller.forget(device)
        if device.parent is not None:
            device.parent.children.pop(device.port, None)
