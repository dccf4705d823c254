"""Device models: one module a class of device.

To add one: a module here with a subclass of `Device`, and a row in `MODELS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from usbmon.bus.device import Device


class Model(NamedTuple):
    """A row of `MODELS`: what a person calls it, in words, and where the class is."""

    name: str
    words: str
    module: str
    type_name: str

    def load(self) -> type[Device]:
        """The class of the model."""
        found: type[Device] = getattr(import_module(self.module), self.type_name)
        return found


_PKG: Final = "usbmon.bus.devices"

# fmt: off
MODELS: Final = (
    Model("flash", "flash key: bulk-only transport, SCSI, FAT", f"{_PKG}.storage", "FlashKey"),
    Model("uas", "disk that takes many commands at once (UAS)", f"{_PKG}.uas", "UasDisk"),
    Model("keyboard", "keyboard", f"{_PKG}.hid", "Keyboard"),
    Model("mouse", "mouse with a wheel", f"{_PKG}.hid", "Mouse"),
    Model("serial", "serial adapter (CDC-ACM) that echoes", f"{_PKG}.acm", "SerialAdapter"),
    Model("ethernet", "Ethernet adapter (CDC-ECM) with one host on its wire", f"{_PKG}.ecm",
          "EthernetAdapter"),
    Model("microphone", "microphone (audio 1.0)", f"{_PKG}.audio", "Microphone"),
    Model("speaker", "loudspeaker (audio 1.0)", f"{_PKG}.audio", "Loudspeaker"),
    Model("webcam", "camera (video class) with a moving test picture", f"{_PKG}.video", "Webcam"),
    Model("printer", "printer", f"{_PKG}.printer", "Printer"),
    Model("hub", "hub with four ports", "usbmon.bus.hub", "Hub"),
    Model("loopback", "vendor device that gives back what it gets", f"{_PKG}.loopback", "Loopback"),
)
# fmt: on


def by_name(name: str) -> Model:
    """The model of this name. Raises LookupError that lists them."""
    for model in MODELS:
        if model.name == name:
            return model
    raise LookupError(
        f"no device is called {name!r}; there are {', '.join(model.name for model in MODELS)}"
    )
