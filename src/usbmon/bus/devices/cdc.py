"""What communications devices say in their own way: functional descriptors and notifications.

Here: USB Communications Class 1.2, §5.2.3 and §6.3. Not here: what a subclass says with them
(`acm`, `ecm`).
"""

from __future__ import annotations

import struct
from typing import Final

COMMUNICATIONS: Final = 0x02
DATA: Final = 0x0A

# bDescriptorSubtype (table 13).
HEADER, CALL_MANAGEMENT, ABSTRACT_CONTROL, UNION, ETHERNET = 0x00, 0x01, 0x02, 0x06, 0x0F

# bNotification (table 20).
NETWORK_CONNECTION, SERIAL_STATE, CONNECTION_SPEED_CHANGE = 0x00, 0x20, 0x2A


def functional(subtype: int, body: bytes) -> bytes:
    """A functional descriptor."""
    return bytes((3 + len(body), 0x24, subtype)) + body


def header_and_union(control: int, data: int) -> bytes:
    """The header of release 1.10, and which interface the other belongs to."""
    return functional(HEADER, b"\x10\x01") + functional(UNION, bytes((control, data)))


def notification(code: int, value: int, interface: int, data: bytes = b"") -> bytes:
    """A notification about an interface, as it goes over the interrupt endpoint."""
    return struct.pack("<BBHHH", 0xA1, code, value, interface, len(data)) + data
