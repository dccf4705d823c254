"""The USB/IP protocol: bytes to messages and back.

Here: the messages of Documentation/usb/usbip_protocol.rst, version 1.1.1, and a parser for each
direction of a connection. Not here: sockets, URBs, and what anybody does about a message.

A parser's contract, in three lines: `feed` bytes, cut anywhere, and it gives the messages that are
complete, in turn; the rest waits, never more than one message; what is not the protocol raises
`FormatError` with its place in the stream, behind the messages before it.

What a server sends can only be parsed by one who knows what was asked: a RET_SUBMIT does not say
how many bytes follow. So `ClientParser.expect` is told of every CMD_SUBMIT. A proxy runs both
parsers beside the bytes that it passes on, and tells the one what the other has seen.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final

from usbmon.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION: Final = 0x0111
PORT: Final = 3240

# Operations before the import; then commands (usbip_common.h).
_OP_REQ_DEVLIST, _OP_REP_DEVLIST = 0x8005, 0x0005
_OP_REQ_IMPORT, _OP_REP_IMPORT = 0x8003, 0x0003
_CMD_SUBMIT, _CMD_UNLINK, _RET_SUBMIT, _RET_UNLINK = 1, 2, 3, 4
OUT, IN = 0, 1

# Status of an operation (usbip_common.h: ST_OK, ST_NA, ST_DEV_BUSY).
ST_OK, ST_NA, ST_DEV_BUSY = 0, 1, 2

# Linux takes no more packets (USBIP_MAX_ISO_PACKETS), and no driver of it asks for 64 MiB at once.
MAX_ISO_PACKETS: Final = 1024
MAX_LENGTH: Final = 64 << 20
# So much of each connection may be under way at once, URBs counted with what they need themselves.
MAX_IN_FLIGHT: Final = 256 << 20
_URB_WEIGHT, _PACKET_WEIGHT = 1024, 256
_MAX_DEVICES: Final = 1024
_NO_PACKETS: Final = (0, 0xFFFFFFFF)

_OP: Final = struct.Struct(">HHI")
_DEVICE: Final = struct.Struct(">256s32sIIIHHHBBBBBB")
_BASIC: Final = struct.Struct(">IIIII")
_SUBMIT: Final = struct.Struct(">IIIIi8s")
_RESULT: Final = struct.Struct(">iIIII8x")
_UNLINK: Final = struct.Struct(">i24x")
_ISO: Final = struct.Struct(">IIIi")
_HEADER: Final = 48
# As much as is looked at first; a message that is longer says so.
_LOOK: Final = 1024


@dataclass(frozen=True, slots=True)
class IsoDescriptor:
    """One packet of an isochronous transfer, and what became of it."""

    offset: int
    length: int
    actual_length: int = 0
    status: int = 0

    def encode(self) -> bytes:
        return _ISO.pack(self.offset, self.length, self.actual_length, self.status)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a server tells of a device it exports (``struct usbip_usb_device``). `speed` is the
    kernel's number: 1 low, 2 full, 3 high, 5 super. `interfaces`: class, subclass, protocol."""

    path: str
    busid: str
    busnum: int
    devnum: int
    speed: int
    idVendor: int
    idProduct: int
    bcdDevice: int
    bDeviceClass: int
    bDeviceSubClass: int
    bDeviceProtocol: int
    bConfigurationValue: int
    bNumConfigurations: int
    interfaces: tuple[tuple[int, int, int], ...] = ()
    bNumInterfaces: int = 0

    def encode(self) -> bytes:
        """The device without its interfaces, as a reply to an import has it."""
        return _DEVICE.pack(
            self.path.encode()[:255],
            self.busid.encode()[:31],
            self.busnum,
            self.devnum,
            self.speed,
            self.idVendor,
            self.idProduct,
            self.bcdDevice,
            self.bDeviceClass,
            self.bDeviceSubClass,
            self.bDeviceProtocol,
            self.bConfigurationValue,
            self.bNumConfigurations,
            len(self.interfaces) or self.bNumInterfaces,
        )


def _op(code: int, status: int = 0) -> bytes:
    return _OP.pack(VERSION, code, status)


@dataclass(frozen=True, slots=True)
class ReqDevlist:
    """OP_REQ_DEVLIST: which devices are there?"""

    def encode(self) -> bytes:
        return _op(_OP_REQ_DEVLIST)


@dataclass(frozen=True, slots=True)
class RepDevlist:
    """OP_REP_DEVLIST."""

    devices: tuple[DeviceInfo, ...]
    status: int = ST_OK

    def encode(self) -> bytes:
        out = _op(_OP_REP_DEVLIST, self.status) + len(self.devices).to_bytes(4, "big")
        for device in self.devices:
            out += device.encode() + b"".join(bytes((*i, 0)) for i in device.interfaces)
        return out


@dataclass(frozen=True, slots=True)
class ReqImport:
    """OP_REQ_IMPORT: give me this one."""

    busid: str

    def encode(self) -> bytes:
        return _op(_OP_REQ_IMPORT) + self.busid.encode()[:31].ljust(32, b"\0")


@dataclass(frozen=True, slots=True)
class RepImport:
    """OP_REP_IMPORT: there it is, or a status that says why not."""

    device: DeviceInfo | None
    status: int = ST_OK

    def encode(self) -> bytes:
        tail = self.device.encode() if self.device is not None else b""
        return _op(_OP_REP_IMPORT, self.status) + tail


@dataclass(frozen=True, slots=True)
class CmdSubmit:
    """USBIP_CMD_SUBMIT: an URB. `number_of_packets` of what is not isochronous is 0xffffffff from
    some and 0 from others."""

    seqnum: int
    devid: int
    direction: int
    ep: int
    transfer_flags: int
    transfer_buffer_length: int
    start_frame: int
    number_of_packets: int
    interval: int
    setup: bytes
    data: bytes = b""
    iso: tuple[IsoDescriptor, ...] = ()

    @property
    def weight(self) -> int:
        """About the memory that it holds until it completes."""
        return _URB_WEIGHT + self.transfer_buffer_length + _PACKET_WEIGHT * len(self.iso)

    def encode(self) -> bytes:
        head = _BASIC.pack(_CMD_SUBMIT, self.seqnum, self.devid, self.direction, self.ep)
        body = _SUBMIT.pack(
            self.transfer_flags,
            self.transfer_buffer_length,
            self.start_frame & 0xFFFFFFFF,
            self.number_of_packets,
            self.interval,
            self.setup,
        )
        return head + body + self.data + b"".join(packet.encode() for packet in self.iso)


@dataclass(frozen=True, slots=True)
class RetSubmit:
    """USBIP_RET_SUBMIT: its completion. `data` of an isochronous transfer is packed, without the
    gaps between packets."""

    seqnum: int
    status: int
    actual_length: int
    start_frame: int = 0
    number_of_packets: int = 0xFFFFFFFF
    error_count: int = 0
    data: bytes = b""
    iso: tuple[IsoDescriptor, ...] = ()
    devid: int = 0
    direction: int = 0
    ep: int = 0

    def encode(self) -> bytes:
        head = _BASIC.pack(_RET_SUBMIT, self.seqnum, self.devid, self.direction, self.ep)
        body = _RESULT.pack(
            self.status,
            self.actual_length,
            self.start_frame & 0xFFFFFFFF,
            self.number_of_packets,
            self.error_count,
        )
        return head + body + self.data + b"".join(packet.encode() for packet in self.iso)


@dataclass(frozen=True, slots=True)
class CmdUnlink:
    """USBIP_CMD_UNLINK: take back the URB with the number `unlink_seqnum`."""

    seqnum: int
    unlink_seqnum: int
    devid: int = 0
    direction: int = 0
    ep: int = 0

    def encode(self) -> bytes:
        head = _BASIC.pack(_CMD_UNLINK, self.seqnum, self.devid, self.direction, self.ep)
        return head + self.unlink_seqnum.to_bytes(4, "big") + bytes(24)


@dataclass(frozen=True, slots=True)
class RetUnlink:
    """USBIP_RET_UNLINK: -104 (taken back; no RET_SUBMIT comes), or 0 (it had completed)."""

    seqnum: int
    status: int
    devid: int = 0
    direction: int = 0
    ep: int = 0

    def encode(self) -> bytes:
        head = _BASIC.pack(_RET_UNLINK, self.seqnum, self.devid, self.direction, self.ep)
        return head + _UNLINK.pack(self.status)


Message = (
    ReqDevlist | RepDevlist | ReqImport | RepImport | CmdSubmit | RetSubmit | CmdUnlink | RetUnlink
)


def pack_iso(buffer: bytes | bytearray, packets: Iterable[IsoDescriptor]) -> bytes:
    """The data of packets out of their buffer, without the gaps."""
    return b"".join(bytes(buffer[p.offset : p.offset + p.actual_length]) for p in packets)


def unpack_iso(data: bytes, packets: Iterable[IsoDescriptor], length: int) -> bytes:
    """The way back: a buffer of so many bytes with the packets in their places."""
    out = bytearray(length)
    at = 0
    for p in packets:
        out[p.offset : p.offset + p.actual_length] = data[at : at + p.actual_length]
        at += p.actual_length
    return bytes(out[:length])


class _Short(Exception):  # noqa: N818
    """A message is not complete before so many bytes are there."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Parser(ABC):
    """What the two directions have in common."""

    _ops: ClassVar[dict[int, str]]

    def __init__(self) -> None:
        self.position = 0
        self._rest = bytearray()
        self._needed = 0
        self._imported = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take these bytes; the messages that are complete with them, each looked for when it is
        asked for. Raises `FormatError` in the place of one."""
        self._rest += data
        return self._messages()

    def _messages(self) -> Iterator[Message]:
        while len(self._rest) >= max(self._needed, 1):
            try:
                # No copy of what follows this message, however much it is.
                message, size = self._one(bytes(self._rest[: max(self._needed, _LOOK)]))
            except _Short as short:
                self._needed = short.size
                continue
            del self._rest[:size]
            self._needed = 0
            self.position += size
            yield message

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._rest)

    def _one(self, data: bytes) -> tuple[Message, int]:
        return self._command(data) if self._imported else self._operation(data)

    def _operation(self, data: bytes) -> tuple[Message, int]:
        _need(data, _OP.size)
        version, code, status = _OP.unpack_from(data)
        if version != VERSION:
            raise self.fail(f"no USB/IP of version 1.1.1 (0x{VERSION:04x}): 0x{version:04x}")
        if code not in self._ops:
            raise self.fail(f"unknown operation 0x{code:04x}", 2)
        message, size = getattr(self, self._ops[code])(data, status)
        return message, size

    @abstractmethod
    def _command(self, data: bytes) -> tuple[Message, int]:
        """One command behind an import."""

    def _iso(
        self, data: bytes, at: int, count: int, length: int
    ) -> tuple[tuple[IsoDescriptor, ...], int]:
        end = at + count * _ISO.size
        _need(data, end)
        packets = tuple(IsoDescriptor(*row) for row in _ISO.iter_unpack(data[at:end]))
        for packet in packets:
            if packet.offset + max(packet.length, packet.actual_length) > length:
                raise self.fail("a packet reaches past the end of its buffer", at)
        return packets, end

    def fail(self, message: str, offset: int = 0) -> FormatError:
        """An error at so many bytes behind the last message."""
        return FormatError(message, offset=self.position + offset)


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise _Short(size)


def _packets(number: int) -> int:
    return 0 if number in _NO_PACKETS else number


class ServerParser(Parser):
    """What a client sends to a server."""

    _ops = {_OP_REQ_DEVLIST: "_devlist", _OP_REQ_IMPORT: "_import"}  # noqa: RUF012

    def _devlist(self, _data: bytes, _status: int) -> tuple[Message, int]:
        return ReqDevlist(), _OP.size

    def _import(self, data: bytes, _status: int) -> tuple[Message, int]:
        _need(data, _OP.size + 32)
        self._imported = True
        return ReqImport(_text(data[_OP.size : _OP.size + 32])), _OP.size + 32

    def refuse(self) -> None:
        """The import was refused: what follows is an operation again."""
        self._imported = False

    def _command(self, data: bytes) -> tuple[Message, int]:
        _need(data, 4)
        code = int.from_bytes(data[:4], "big")
        if code not in (_CMD_SUBMIT, _CMD_UNLINK):
            raise self.fail(f"unknown command {code}")
        _need(data, _HEADER)
        _, seqnum, devid, direction, ep = _BASIC.unpack_from(data)
        if code == _CMD_UNLINK:
            target = int.from_bytes(data[20:24], "big")
            return CmdUnlink(seqnum, target, devid, direction, ep), _HEADER
        if direction not in (OUT, IN) or ep > 15:
            raise self.fail(f"no endpoint: direction {direction}, number {ep}", 12)
        return self._submit(data, seqnum, devid, direction, ep)

    def _submit(
        self, data: bytes, seqnum: int, devid: int, direction: int, ep: int
    ) -> tuple[Message, int]:
        flags, length, start, number, interval, setup = _SUBMIT.unpack_from(data, _BASIC.size)
        count = _packets(number)
        if length > MAX_LENGTH or count > MAX_ISO_PACKETS:
            raise self.fail(f"a transfer of {length} bytes in {count} packets is too large", 24)
        at = _HEADER + (length if direction == OUT else 0)
        _need(data, at)
        packets, end = self._iso(data, at, count, length)
        command = CmdSubmit(
            seqnum,
            devid,
            direction,
            ep,
            flags,
            length,
            start,
            number,
            interval,
            setup,
            data[_HEADER:at],
            packets,
        )
        return command, end


class ClientParser(Parser):
    """What a server sends to a client."""

    _ops = {_OP_REP_DEVLIST: "_devlist", _OP_REP_IMPORT: "_import"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._expected: dict[int, CmdSubmit] = {}
        self._weight = 0

    def expect(self, submit: CmdSubmit) -> None:
        """This was sent, and its completion will come. Raises `FormatError` where it cannot be told
        from another's, or there is no end of what is sent."""
        if submit.seqnum in self._expected:
            raise FormatError(f"number {submit.seqnum} is under way already")
        self._weight += submit.weight
        if self._weight > MAX_IN_FLIGHT:
            raise FormatError(f"more than {MAX_IN_FLIGHT >> 20} MiB are under way")
        self._expected[submit.seqnum] = replace(submit, data=b"")

    def forget(self, seqnum: int) -> None:
        """No completion comes any more."""
        submit = self._expected.pop(seqnum, None)
        if submit is not None:
            self._weight -= submit.weight

    def _devlist(self, data: bytes, status: int) -> tuple[Message, int]:
        _need(data, _OP.size + 4)
        count = int.from_bytes(data[8:12], "big")
        if count > _MAX_DEVICES:
            raise self.fail(f"a list of {count} devices is too long", 8)
        ends = [12]
        for left in range(count, 0, -1):
            end = ends[-1] + _DEVICE.size
            if len(data) < end:  # wait for all that are left, not to come here again for each
                raise _Short(ends[-1] + left * _DEVICE.size)
            ends.append(end + 4 * data[end - 1])
        _need(data, ends[-1])
        devices = tuple(self._listed(data[start:end]) for start, end in pairwise(ends))
        return RepDevlist(devices, status), ends[-1]

    def _listed(self, data: bytes) -> DeviceInfo:
        rows = struct.iter_unpack("3Bx", data[_DEVICE.size :])
        return replace(self._device(data, 0), interfaces=tuple(rows))

    def _import(self, data: bytes, status: int) -> tuple[Message, int]:
        if status != ST_OK:
            return RepImport(None, status), _OP.size
        device = self._device(data, _OP.size)
        self._imported = True
        return RepImport(device, status), _OP.size + _DEVICE.size

    def _device(self, data: bytes, at: int) -> DeviceInfo:
        _need(data, at + _DEVICE.size)
        path, busid, *numbers, count = _DEVICE.unpack_from(data, at)
        info = DeviceInfo(_text(path), _text(busid), *numbers)
        return replace(info, bNumInterfaces=count)

    def _command(self, data: bytes) -> tuple[Message, int]:
        _need(data, 4)
        code = int.from_bytes(data[:4], "big")
        if code not in (_RET_SUBMIT, _RET_UNLINK):
            raise self.fail(f"unknown answer {code}")
        _need(data, _HEADER)
        _, seqnum, devid, direction, ep = _BASIC.unpack_from(data)
        if code == _RET_UNLINK:
            (status,) = _UNLINK.unpack_from(data, _BASIC.size)
            return RetUnlink(seqnum, status, devid, direction, ep), _HEADER
        return self._result(data, seqnum, (devid, direction, ep))

    def _result(self, data: bytes, seqnum: int, basic: tuple[int, int, int]) -> tuple[Message, int]:
        submit = self._expected.get(seqnum)
        if submit is None:
            raise self.fail(f"a completion of number {seqnum}, which was not submitted", 4)
        status, actual, start, number, errors = _RESULT.unpack_from(data, _BASIC.size)
        count = _packets(number) if submit.iso else 0
        if actual > submit.transfer_buffer_length or count > len(submit.iso):
            raise self.fail(f"{actual} bytes in {count} packets are more than were asked for", 24)
        at = _HEADER + (actual if submit.direction == IN else 0)
        _need(data, at)
        packets, end = self._iso(data, at, count, submit.transfer_buffer_length)
        if packets and submit.direction == IN and sum(p.actual_length for p in packets) != actual:
            raise self.fail(f"the packets do not make up the {actual} bytes", at)
        self.forget(seqnum)
        result = RetSubmit(
            seqnum, status, actual, start, number, errors, data[_HEADER:at], packets, *basic
        )
        return result, end


def _text(raw: bytes) -> str:
    """Of a stranger: what would move a terminal's cursor does not come in."""
    text = raw.split(b"\0")[0].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
