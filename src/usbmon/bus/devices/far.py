"""A host at the far end of an Ethernet cable: it has an address and answers to it.

Here: who has this address (ARP, RFC 826), and echo (ICMP, RFC 792) over IPv4 (RFC 791). Not here:
USB, and all else that hosts do: no fragments, no IPv6, no ports.
"""

from __future__ import annotations

import struct
from collections import deque
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Frames that it remembers.
KEPT: Final = 256

_BROADCAST: Final = b"\xff" * 6
_IPV4, _ARP = 0x0800, 0x0806
_ETHERNET: Final = struct.Struct("!6s6sH")

# Hardware and protocol, their sizes, operation; then who asks, and for whom.
_ARP_PACKET: Final = struct.Struct("!HHBBH6s4s6s4s")
_ARP_KIND: Final = (1, _IPV4, 6, 4)
_ARP_REQUEST, _ARP_REPLY = 1, 2

# Version and header length, service, total length, identification, flags and fragment offset,
# time to live, protocol, checksum, from, to.
_IP_HEADER: Final = struct.Struct("!BBHHHBBH4s4s")
_IP_PLAIN: Final = 0x45
_IP_FRAGMENT: Final = 0x3FFF
_ICMP: Final = 1
_ECHO, _ECHO_REPLY = b"\x08\x00", b"\x00\x00"


class FarHost:
    """See the module. `received` has the last frames that came."""

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        address: str = "10.55.0.1",
        mac: bytes = b"\x02\x55\x53\x42\x00\x01",
    ) -> None:
        """`send` is called with each frame that it answers."""
        self.address = IPv4Address(address).packed
        self.mac = mac
        self.received: deque[bytes] = deque(maxlen=KEPT)
        self._send = send

    def receive(self, frame: bytes) -> None:
        """A frame has come; what makes no sense is passed over."""
        self.received.append(frame)
        if len(frame) < _ETHERNET.size:
            return
        destination, source, kind = _ETHERNET.unpack_from(frame)
        if destination not in (self.mac, _BROADCAST):
            return
        body = frame[_ETHERNET.size :]
        answer = self._arp(body) if kind == _ARP else self._ip(body) if kind == _IPV4 else None
        if answer is not None:
            self._send(_ETHERNET.pack(source, self.mac, kind) + answer)

    def _arp(self, body: bytes) -> bytes | None:
        """To the question who has its address: it has."""
        if len(body) < _ARP_PACKET.size:
            return None
        *kind, operation, mac, address, _, wanted = _ARP_PACKET.unpack_from(body)
        if tuple(kind) != _ARP_KIND or operation != _ARP_REQUEST or wanted != self.address:
            return None
        return _ARP_PACKET.pack(*_ARP_KIND, _ARP_REPLY, self.mac, self.address, mac, address)

    def _ip(self, body: bytes) -> bytes | None:
        """To an echo request with nothing wrong: what it said, back to where it came from."""
        if len(body) < _IP_HEADER.size or body[0] != _IP_PLAIN:
            return None
        fields = _IP_HEADER.unpack_from(body)
        _, service, length, number, flags, _, protocol, _, source, destination = fields
        message = body[_IP_HEADER.size : length]
        if (
            destination != self.address
            or protocol != _ICMP
            or flags & _IP_FRAGMENT
            or len(body) < length
            or message[:2] != _ECHO
            or checksum(body[: _IP_HEADER.size])
            or checksum(message)
        ):
            return None
        reply = _with_checksum(_ECHO_REPLY + b"\0\0" + message[4:], 2)
        head = (_IP_PLAIN, service, length, number, 0, 64, _ICMP, 0, self.address, source)
        return _with_checksum(_IP_HEADER.pack(*head), 10) + reply


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); 0 over data that hold a right one."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _with_checksum(data: bytes, at: int) -> bytes:
    """The same, its checksum (zero so far) filled in."""
    return data[:at] + checksum(data).to_bytes(2, "big") + data[at + 2 :]
