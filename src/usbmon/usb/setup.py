"""The setup packet of control transfers: its fields, its names, and the words for it.

USB 2.0 §9.3 and §9.4 (standard requests), §11.24 (hub requests), USB 3.2 §9.4 and §10.16. A packet
alone does not tell a class's or a vendor's requests from another's, so those stay numbers, but for
the hub's, whose shape is its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

TYPES: Final = ("standard", "class", "vendor", "reserved")
RECIPIENTS: Final = ("Device", "Interface", "Endpoint", "Other")

# Table 9-4, with USB 3.2's additions.
REQUESTS: Final = {
    0: "GET_STATUS",
    1: "CLEAR_FEATURE",
    3: "SET_FEATURE",
    5: "SET_ADDRESS",
    6: "GET_DESCRIPTOR",
    7: "SET_DESCRIPTOR",
    8: "GET_CONFIGURATION",
    9: "SET_CONFIGURATION",
    10: "GET_INTERFACE",
    11: "SET_INTERFACE",
    12: "SYNCH_FRAME",
    13: "SET_ENCRYPTION",
    14: "GET_ENCRYPTION",
    15: "SET_HANDSHAKE",
    16: "GET_HANDSHAKE",
    17: "SET_CONNECTION",
    18: "SET_SECURITY_DATA",
    19: "GET_SECURITY_DATA",
    20: "SET_WUSB_DATA",
    21: "LOOPBACK_DATA_WRITE",
    22: "LOOPBACK_DATA_READ",
    23: "SET_INTERFACE_DS",
    48: "SET_SEL",
    49: "SET_ISOCH_DELAY",
}

# Table 9-5, USB 3.2 table 9-6, and the class descriptors whose numbers no two classes share.
DESCRIPTOR_TYPES: Final = {
    1: "Device",
    2: "Configuration",
    3: "String",
    4: "Interface",
    5: "Endpoint",
    6: "Device_Qualifier",
    7: "Other_Speed_Configuration",
    8: "Interface_Power",
    9: "OTG",
    10: "Debug",
    11: "Interface_Association",
    15: "BOS",
    16: "Device_Capability",
    0x21: "HID",
    0x22: "HID_Report",
    0x23: "HID_Physical",
    0x29: "Hub",
    0x2A: "SuperSpeed_Hub",
    0x30: "SuperSpeed_Endpoint_Companion",
    0x31: "SuperSpeedPlus_Isochronous_Endpoint_Companion",
}

# Table 9-6 and USB 3.2 table 9-7, by recipient.
FEATURES: Final = {
    (0, 1): "DEVICE_REMOTE_WAKEUP",
    (0, 2): "TEST_MODE",
    (0, 3): "B_HNP_ENABLE",
    (0, 4): "A_HNP_SUPPORT",
    (0, 5): "A_ALT_HNP_SUPPORT",
    (0, 48): "U1_ENABLE",
    (0, 49): "U2_ENABLE",
    (0, 50): "LTM_ENABLE",
    (0, 53): "LDM_ENABLE",
    (1, 0): "FUNCTION_SUSPEND",
    (2, 0): "ENDPOINT_HALT",
}

# Table 11-16.
HUB_REQUESTS: Final = {
    0: "GET_STATUS",
    1: "CLEAR_FEATURE",
    2: "GET_STATE",
    3: "SET_FEATURE",
    6: "GET_DESCRIPTOR",
    7: "SET_DESCRIPTOR",
    8: "CLEAR_TT_BUFFER",
    9: "RESET_TT",
    10: "GET_TT_STATE",
    11: "STOP_TT",
    12: "SET_HUB_DEPTH",
    13: "GET_PORT_ERR_COUNT",
}

# Table 11-17 and USB 3.2 table 10-9.
HUB_FEATURES: Final = {0: "C_HUB_LOCAL_POWER", 1: "C_HUB_OVER_CURRENT"}
PORT_FEATURES: Final = {
    0: "PORT_CONNECTION",
    1: "PORT_ENABLE",
    2: "PORT_SUSPEND",
    3: "PORT_OVER_CURRENT",
    4: "PORT_RESET",
    5: "PORT_LINK_STATE",
    8: "PORT_POWER",
    9: "PORT_LOW_SPEED",
    16: "C_PORT_CONNECTION",
    17: "C_PORT_ENABLE",
    18: "C_PORT_SUSPEND",
    19: "C_PORT_OVER_CURRENT",
    20: "C_PORT_RESET",
    21: "PORT_TEST",
    22: "PORT_INDICATOR",
    23: "PORT_U1_TIMEOUT",
    24: "PORT_U2_TIMEOUT",
    25: "C_PORT_LINK_STATE",
    26: "C_PORT_CONFIG_ERROR",
    27: "PORT_REMOTE_WAKE_MASK",
    28: "BH_PORT_RESET",
    29: "C_BH_PORT_RESET",
    30: "FORCE_LINKPM_ACCEPT",
}

# bmRequestType of the hub's requests: to the hub itself and to one of its ports (table 11-15).
_HUB: Final = (0x20, 0xA0)
_PORT: Final = (0x23, 0xA3)


class Setup(NamedTuple):
    """The five fields (USB 2.0 table 9-2)."""

    bmRequestType: int  # noqa: N815 (the standard's name)
    bRequest: int  # noqa: N815
    wValue: int  # noqa: N815
    wIndex: int  # noqa: N815
    wLength: int  # noqa: N815

    @property
    def is_in(self) -> bool:
        """Whether data goes from the device to the host."""
        return self.bmRequestType & 0x80 != 0

    @property
    def type(self) -> str:
        """The word for it: "standard", "class", "vendor" or "reserved"."""
        return TYPES[self.bmRequestType >> 5 & 3]

    @property
    def recipient(self) -> str:
        """Its word: "Device", "Interface", "Endpoint" or "Other"; a reserved one is its number."""
        number = self.bmRequestType & 0x1F
        return RECIPIENTS[number] if number < len(RECIPIENTS) else f"recipient {number}"


def parse(setup: bytes) -> Setup:
    """The fields of eight bytes. Raises ValueError where there are not eight."""
    if len(setup) != 8:
        raise ValueError(f"a setup packet has 8 bytes, not {len(setup)}")
    return Setup(
        setup[0],
        setup[1],
        setup[2] | setup[3] << 8,
        setup[4] | setup[5] << 8,
        setup[6] | setup[7] << 8,
    )


@lru_cache(maxsize=4096)
def setup_words(setup: bytes) -> str:
    """A setup packet in words, as ``GET_DESCRIPTOR Device``; never raises."""
    if len(setup) != 8:
        return f"setup packet cut ({len(setup)} of 8 bytes)"
    fields = parse(setup)
    if fields.bmRequestType in _HUB + _PORT and fields.bRequest in HUB_REQUESTS:
        return _hub_words(fields)
    if fields.type == "standard":
        return _standard_words(fields)
    return (
        f"{fields.type} request 0x{fields.bRequest:02x} {_target(fields)} "
        f"wValue 0x{fields.wValue:04x}" + _rest_of_index(fields)
    )


def _target(fields: Setup) -> str:
    if fields.recipient == "Interface":
        return f"Interface {fields.wIndex & 0xFF}"
    if fields.recipient == "Endpoint":
        return f"Endpoint 0x{fields.wIndex & 0xFF:02x}"
    return fields.recipient


def _rest_of_index(fields: Setup) -> str:
    """wIndex, where `_target` does not say it all."""
    addressed = fields.recipient in ("Interface", "Endpoint")
    return "" if addressed and fields.wIndex < 256 else f" wIndex 0x{fields.wIndex:04x}"


def _standard_words(fields: Setup) -> str:
    name = REQUESTS.get(fields.bRequest, f"standard request 0x{fields.bRequest:02x}")
    if name in ("GET_DESCRIPTOR", "SET_DESCRIPTOR"):
        return f"{name} {_descriptor(fields)}"
    if name in ("CLEAR_FEATURE", "SET_FEATURE"):
        recipient = fields.bmRequestType & 0x1F
        feature = FEATURES.get((recipient, fields.wValue), f"feature {fields.wValue}")
        return f"{name} {feature} {_target(fields)}"
    if name in ("SET_ADDRESS", "SET_CONFIGURATION"):
        return f"{name} {fields.wValue}"
    if name == "SET_INTERFACE":
        return f"{name} {fields.wIndex} alt {fields.wValue}"
    if name == "GET_INTERFACE":
        return f"{name} {fields.wIndex}"
    if name in ("GET_STATUS", "SYNCH_FRAME"):
        return f"{name} {_target(fields)}"
    if name == "SET_ISOCH_DELAY":
        return f"{name} {fields.wValue} ns"
    if name in ("GET_CONFIGURATION", "SET_SEL"):
        return name
    return f"{name} {_target(fields)} wValue 0x{fields.wValue:04x}" + _rest_of_index(fields)


def _descriptor(fields: Setup) -> str:
    number, index = fields.wValue >> 8, fields.wValue & 0xFF
    name = DESCRIPTOR_TYPES.get(number, f"type 0x{number:02x}")
    if name == "String":
        return f"String {index}" + (f" lang 0x{fields.wIndex:04x}" if fields.wIndex else "")
    if fields.recipient != "Device":
        return f"{name} {_target(fields)}"
    if index or name in ("Configuration", "Other_Speed_Configuration"):
        return f"{name} {index}"
    return name


def _hub_words(fields: Setup) -> str:
    name = HUB_REQUESTS[fields.bRequest]
    to_port = fields.bmRequestType in _PORT
    if name in ("GET_DESCRIPTOR", "SET_DESCRIPTOR") and not to_port:
        number = fields.wValue >> 8
        # Old hubs are asked with type 0 (USB 1.1 §11.16.2.3).
        return f"{name} {DESCRIPTOR_TYPES.get(number, 'Hub')}"
    if name in ("CLEAR_FEATURE", "SET_FEATURE"):
        table = PORT_FEATURES if to_port else HUB_FEATURES
        name = f"{name} {table.get(fields.wValue, f'feature {fields.wValue}')}"
    if not to_port:
        return f"{name} {fields.wValue}" if name == "SET_HUB_DEPTH" else f"{name} Hub"
    # The upper byte of wIndex is a selector: test mode, indicator, time-out, link state.
    selector = f" selector {fields.wIndex >> 8}" if fields.wIndex > 255 else ""
    return f"{name} Port {fields.wIndex & 0xFF}{selector}"
