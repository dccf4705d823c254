"""The messages of USB/IP as the kernel's documentation has them, whole and cut, sound and not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus import usbip
from usbmon.bus.usbip import (
    ClientParser,
    CmdSubmit,
    CmdUnlink,
    DeviceInfo,
    IsoDescriptor,
    Parser,
    RepDevlist,
    RepImport,
    ReqDevlist,
    ReqImport,
    RetSubmit,
    RetUnlink,
    ServerParser,
)
from usbmon.errors import FormatError

ECONNRESET = -104
NO_SETUP = bytes(8)
NO_FRAME = 0xFFFFFFFF


def words(text: str) -> bytes:
    return bytes.fromhex(text.replace("\n", " "))


# Documentation/usb/usbip_protocol.rst, "EXAMPLE", and by its tables what has no example there.

CMD_INTR_IN = words(
    "00000001 00000d05 0001000f 00000001 00000001 00000200 00000040 ffffffff 00000000 00000004"
    "00000000 00000000"
)
CMD_INTR_OUT = words(
    "00000001 00000d06 0001000f 00000000 00000001 00000000 00000040 ffffffff 00000000 00000004"
    "00000000 00000000 ffffffff860008a784ce5ae212376300"
) + bytes(48)
RET_INTR_OUT = words(
    "00000003 00000d06 00000000 00000000 00000000 00000000 00000040 ffffffff 00000000 00000000"
    "00000000 00000000"
)
RET_INTR_IN = words(
    "00000003 00000d05 00000000 00000000 00000000 00000000 00000040 ffffffff 00000000 00000000"
    "00000000 00000000 ffffffff860011a784ce5ae2123763612891b10201000004"
) + bytes(40)
CMD_UNLINK = words("00000002 00000d07 0001000f 00000000 00000000 00000d05") + bytes(24)
RET_UNLINK = words("00000004 00000d07 00000000 00000000 00000000 ffffff98") + bytes(24)

DEVICE = (
    b"/sys/devices/pci0000:00/0000:00:1d.1/usb3/3-2".ljust(256, b"\0")
    + b"3-2".ljust(32, b"\0")
    + words("00000003 0000000f 00000002 046d c077 7200 00 00 00 01 01 02")
)
MOUSE = DeviceInfo(
    path="/sys/devices/pci0000:00/0000:00:1d.1/usb3/3-2",
    busid="3-2",
    busnum=3,
    devnum=15,
    speed=2,
    idVendor=0x046D,
    idProduct=0xC077,
    bcdDevice=0x7200,
    bDeviceClass=0,
    bDeviceSubClass=0,
    bDeviceProtocol=0,
    bConfigurationValue=1,
    bNumConfigurations=1,
    interfaces=((3, 1, 2), (0xFF, 0, 0)),
    bNumInterfaces=2,
)

# As Linux 6.1 sends them: two packets of which the second came short, with what is left out.
CMD_ISO_IN = words(
    "00000001 00000016 00070002 00000001 00000001 00000202 00000044 00000000 00000002 00000001"
    "00000000 00000000"
    "00000000 00000022 00000000 ffffffee 00000022 00000022 00000000 ffffffee"
)
RET_ISO_IN = words(
    "00000003 00000016 00000000 00000000 00000000 00000000 00000003 000000a1 00000002 00000001"
    "00000000 00000000 010203"
    "00000000 00000022 00000003 00000000 00000022 00000022 00000000 ffffffb9"
)


def submit(seqnum: int = 1, direction: int = usbip.IN, ep: int = 1, **more: Any) -> CmdSubmit:
    """An URB with nothing special, but for what is said."""
    fields: dict[str, Any] = {
        "devid": 0x0001000F,
        "transfer_flags": 0,
        "transfer_buffer_length": 0x40,
        "start_frame": NO_FRAME,
        "number_of_packets": 0,
        "interval": 4,
        "setup": NO_SETUP,
    }
    return CmdSubmit(seqnum, direction=direction, ep=ep, **{**fields, **more})


INTR_IN = submit(0xD05, transfer_flags=0x200)
INTR_OUT = submit(0xD06, usbip.OUT, data=CMD_INTR_OUT[48:])
ISO_IN = submit(
    0x16,
    devid=0x70002,
    transfer_flags=0x202,
    transfer_buffer_length=68,
    start_frame=0,
    number_of_packets=2,
    interval=1,
    iso=(IsoDescriptor(0, 34, 0, -18), IsoDescriptor(34, 34, 0, -18)),
)

FROM_CLIENT = [
    (words("0111 8005 00000000"), ReqDevlist()),
    (words("0111 8003 00000000") + b"3-2".ljust(32, b"\0"), ReqImport("3-2")),
    (CMD_INTR_IN, INTR_IN),
    (CMD_INTR_OUT, INTR_OUT),
    (CMD_ISO_IN, ISO_IN),
    (CMD_UNLINK, CmdUnlink(0xD07, 0xD05, devid=0x1000F)),
]
FROM_SERVER = [
    (
        words("0111 0005 00000000 00000001") + DEVICE + words("03010200 ff000000"),
        RepDevlist((MOUSE,)),
    ),
    (words("0111 0005 00000000 00000000"), RepDevlist(())),
    (words("0111 0003 00000001"), RepImport(None, usbip.ST_NA)),
    (
        words("0111 0003 00000000") + DEVICE,
        RepImport(replace(MOUSE, interfaces=())),
    ),
    (RET_INTR_OUT, RetSubmit(0xD06, 0, 64, NO_FRAME, 0)),
    (RET_INTR_IN, RetSubmit(0xD05, 0, 64, NO_FRAME, 0, data=RET_INTR_IN[48:])),
    (
        RET_ISO_IN,
        RetSubmit(
            0x16,
            0,
            3,
            start_frame=0xA1,
            number_of_packets=2,
            error_count=1,
            data=b"\1\2\3",
            iso=(IsoDescriptor(0, 34, 3), IsoDescriptor(34, 34, 0, -71)),
        ),
    ),
    (RET_UNLINK, RetUnlink(0xD07, ECONNRESET)),
]


def new_client_parser() -> ClientParser:
    parser = ClientParser()
    for command in (INTR_IN, INTR_OUT, ISO_IN):
        parser.expect(command)
    return parser


def whole(parser: Parser, data: bytes) -> list[usbip.Message]:
    return list(parser.feed(data))


def test_a_client_says_it_byte_for_byte() -> None:
    assert [message.encode() for _, message in FROM_CLIENT] == [raw for raw, _ in FROM_CLIENT]


def test_a_server_says_it_byte_for_byte() -> None:
    assert [message.encode() for _, message in FROM_SERVER] == [raw for raw, _ in FROM_SERVER]


@pytest.mark.parametrize("size", [1, 7, 47, 48, 49, 1000, 1 << 20])
def test_however_it_is_cut_it_is_understood(size: int) -> None:
    for new, said in ((ServerParser, FROM_CLIENT), (new_client_parser, FROM_SERVER)):
        parser = new()
        data = b"".join(raw for raw, _ in said)
        heard: list[usbip.Message] = []
        hear(parser, data, size, heard)
        assert heard == [message for _, message in said]
        assert (parser.position, parser.waiting) == (len(data), 0)


# Round trips.

u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
i32 = st.integers(-(1 << 31), (1 << 31) - 1)


def names(size: int) -> st.SearchStrategy[str]:
    letters = st.characters(codec="ascii", exclude_categories=["C"])
    return st.text(letters, max_size=size - 1)


@st.composite
def devices(draw: st.DrawFn, *, listed: bool) -> DeviceInfo:
    interfaces = tuple(draw(st.lists(st.tuples(u8, u8, u8), max_size=3))) if listed else ()
    count = len(interfaces) if listed else draw(u8)
    numbers = [draw(kind) for kind in (u32, u32, u32, u16, u16, u16, u8, u8, u8, u8, u8)]
    return DeviceInfo(draw(names(256)), draw(names(32)), *numbers, interfaces, count)


@st.composite
def layouts(draw: st.DrawFn, *, done: bool) -> tuple[tuple[IsoDescriptor, ...], int]:
    """Packets with gaps between them, and the length of their buffer."""
    packets, at = [], 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=4)):
        actual = draw(st.integers(0, size)) if done else 0
        packets.append(IsoDescriptor(at + gap, size, actual, draw(i32)))
        at += gap + size
    return tuple(packets), at


@st.composite
def commands(draw: st.DrawFn) -> CmdSubmit:
    packets, room = draw(layouts(done=False))
    length = room + draw(st.integers(0, 50))
    direction = draw(st.sampled_from([usbip.OUT, usbip.IN]))
    out = direction == usbip.OUT
    return CmdSubmit(
        draw(u32),
        draw(u32),
        direction,
        draw(st.integers(0, 15)),
        draw(u32),
        length,
        draw(u32),
        len(packets) if packets else draw(st.sampled_from([0, 0xFFFFFFFF])),
        draw(i32),
        draw(st.binary(min_size=8, max_size=8)),
        draw(st.binary(min_size=length, max_size=length)) if out else b"",
        packets,
    )


@given(st.lists(commands() | st.builds(CmdUnlink, u32, u32, u32, u32, u32), max_size=4))
def test_what_a_client_says_comes_back(said: list[Any]) -> None:
    parser = ServerParser()
    whole(parser, ReqImport("1-1").encode())
    assert whole(parser, b"".join(message.encode() for message in said)) == said


@given(names(32))
def test_the_device_that_is_asked_for_comes_back(busid: str) -> None:
    assert whole(ServerParser(), ReqImport(busid).encode()) == [ReqImport(busid)]


@given(st.lists(devices(listed=True), max_size=4), u32, devices(listed=False))
def test_what_a_server_says_of_devices_comes_back(listed, status: int, imported) -> None:
    said = [RepDevlist(tuple(listed), status), RepImport(imported)]
    assert whole(ClientParser(), b"".join(message.encode() for message in said)) == said


@given(
    st.data(),
    layouts(done=True),
    st.sampled_from([usbip.OUT, usbip.IN]),
    st.builds(RetUnlink, u32, i32, u32, u32, u32),
)
def test_a_completion_comes_back(data, layout, direction: int, unlinked: RetUnlink) -> None:
    packets, length = layout
    moved = sum(p.actual_length for p in packets) if packets else data.draw(st.integers(0, 50))
    command = submit(
        data.draw(u32), direction, transfer_buffer_length=max(length, moved), iso=packets
    )
    said = RetSubmit(
        command.seqnum,
        *(data.draw(i32), moved, data.draw(u32)),
        len(packets) if packets else data.draw(st.sampled_from([0, 0xFFFFFFFF])),
        data.draw(u32),
        bytes(moved) if direction == usbip.IN else b"",
        packets,
        *(data.draw(u32), data.draw(u32), data.draw(u32)),
    )
    parser = ClientParser()
    whole(parser, RepImport(MOUSE).encode())
    parser.expect(command)
    assert whole(parser, said.encode() + unlinked.encode()) == [said, unlinked]


def test_a_start_frame_below_zero_is_sent_as_the_kernel_has_it() -> None:
    assert submit(start_frame=-1).encode()[28:32] == b"\xff\xff\xff\xff"
    assert RetSubmit(1, 0, 0, start_frame=-2).encode()[28:32] == b"\xff\xff\xff\xfe"


def test_names_that_are_too_long_still_end() -> None:
    long = DeviceInfo("p" * 300, "b" * 40, *[0] * 11).encode()
    assert (long[:256], long[256:288]) == (b"p" * 255 + b"\0", b"b" * 31 + b"\0")
    assert ReqImport("b" * 40).encode()[8:] == b"b" * 31 + b"\0"


def test_a_name_cannot_move_the_cursor_of_a_terminal() -> None:
    raw = words("0111 8003 00000000") + b"\x1b[2J\n1-1\xff\0rest".ljust(32, b"\0")
    assert whole(ServerParser(), raw) == [ReqImport("\ufffd[2J\ufffd1-1\ufffd")]


# Isochronous data.


@given(layouts(done=True), st.randoms(use_true_random=False))
def test_packets_are_sent_without_gaps_and_put_back(layout, random) -> None:
    packets, length = layout
    data = random.randbytes(sum(p.actual_length for p in packets))
    buffer = usbip.unpack_iso(data, packets, length)
    assert len(buffer) == length
    assert usbip.pack_iso(buffer, packets) == data


# What is not USB/IP, behind a sound message of a length that is known.

IMPORT = FROM_CLIENT[1][0]
IMPORTED = words("0111 0003 00000000") + DEVICE


def patched(raw: bytes, at: int, text: str) -> bytes:
    new = words(text)
    return raw[:at] + new + raw[at + len(new) :]


@pytest.mark.parametrize(
    ("before", "bad", "offset", "message"),
    [
        (b"", b"GET / HTTP/1.1\r\n\r\n", 0, "version 1.1.1 .0x0111.: 0x4745"),
        (b"", words("0106 8005 00000000"), 0, "version"),
        (b"", words("0111 0005 00000000"), 2, "unknown operation 0x0005"),
        (IMPORT, words("0111 8005 00000000"), 0, "unknown command 17924101"),
        (IMPORT, words("00000003"), 0, "unknown command 3"),
        (IMPORT, patched(CMD_INTR_IN, 12, "00000002"), 12, "direction 2, number 1"),
        (IMPORT, patched(CMD_INTR_IN, 16, "00000010"), 12, "direction 1, number 16"),
        (IMPORT, patched(CMD_INTR_IN, 24, "04000001"), 24, "67108865 bytes in 0 packets"),
        (IMPORT, patched(CMD_INTR_OUT, 24, "ffffffff"), 24, "4294967295 bytes"),
        (IMPORT, patched(CMD_ISO_IN, 32, "00000401"), 24, "1025 packets"),
        (IMPORT, patched(CMD_ISO_IN, 32, "fffffffe"), 24, "4294967294 packets"),
        (IMPORT, patched(CMD_ISO_IN, 64, "00000023"), 48, "past the end of its buffer"),
        (IMPORT, patched(CMD_ISO_IN, 64, "ffffffff"), 48, "past the end of its buffer"),
        (IMPORT, patched(CMD_ISO_IN, 68, "00000023"), 48, "past the end of its buffer"),
    ],
)
def test_a_client_that_makes_no_sense_is_told_so_with_the_place(
    before: bytes, bad: bytes, offset: int, message: str
) -> None:
    refuses(ServerParser, before, bad, offset, message)


@pytest.mark.parametrize(
    ("before", "bad", "offset", "message"),
    [
        (b"", words("0111 8005 00000000"), 2, "unknown operation 0x8005"),
        (b"", words("0111 0005 00000000 00000401"), 8, "a list of 1025 devices"),
        (IMPORTED, words("00000001"), 0, "unknown answer 1"),
        (IMPORTED, patched(RET_INTR_IN, 4, "00000d04"), 4, "number 3332, which was not submitted"),
        (IMPORTED, patched(RET_INTR_IN, 24, "00000041"), 24, "65 bytes in 0 packets are more"),
        (IMPORTED, patched(RET_ISO_IN, 32, "00000003"), 24, "3 bytes in 3 packets are more"),
        (IMPORTED, patched(RET_ISO_IN, 59, "00000045"), 51, "past the end of its buffer"),
        (IMPORTED, patched(RET_ISO_IN, 59, "00000002"), 51, "do not make up the 3 bytes"),
    ],
)
def test_a_server_that_makes_no_sense_is_told_so_with_the_place(
    before: bytes, bad: bytes, offset: int, message: str
) -> None:
    refuses(new_client_parser, before, bad, offset, message)


def refuses(new: Any, before: bytes, bad: bytes, offset: int, message: str) -> None:
    """At once and byte by byte, the same is heard before the same is refused."""
    for size in (1, 1 << 20):
        heard: list[usbip.Message] = []
        with pytest.raises(FormatError, match=message) as caught:
            hear(new(), before + bad, size, heard)
        assert caught.value.offset == len(before) + offset
        assert len(heard) == bool(before)


def hear(parser: Parser, data: bytes, size: int, heard: list[usbip.Message]) -> None:
    for at in range(0, len(data), size):
        heard.extend(parser.feed(data[at : at + size]))


def test_a_message_that_is_cut_gives_nothing() -> None:
    for new, before, said in (
        (ServerParser, IMPORT, FROM_CLIENT[2:]),
        (new_client_parser, IMPORTED, FROM_SERVER[4:]),
    ):
        for raw, _ in said:
            parser: Parser = new()
            assert len(whole(parser, before)) == 1
            assert whole(parser, raw[:-1]) == []
            assert parser.waiting == len(raw) - 1


@given(
    st.booleans(),
    st.sampled_from([b"", words("0111"), IMPORT, IMPORTED, IMPORT + CMD_ISO_IN[:47]]),
    st.binary(),
    st.integers(1, 60),
)
def test_any_bytes_give_the_same_however_they_are_cut(
    is_client: bool, before: bytes, data: bytes, size: int
) -> None:
    outcomes = []
    for each in (size, 1 << 20):
        heard: list[usbip.Message] = []
        refusal = ""
        try:
            hear(ServerParser() if is_client else new_client_parser(), before + data, each, heard)
        except FormatError as error:
            refusal = str(error)
        outcomes.append((heard, refusal))
    assert outcomes[0] == outcomes[1]


def test_a_number_is_under_way_once() -> None:
    parser = new_client_parser()
    with pytest.raises(FormatError, match="number 3333 is under way already"):
        parser.expect(INTR_IN)
    parser.forget(INTR_IN.seqnum)
    parser.expect(INTR_IN)


def test_what_has_ended_can_be_asked_for_again_without_end() -> None:
    """And what has not, cannot: it is held in memory."""
    parser = ClientParser()
    large = submit(transfer_buffer_length=usbip.MAX_LENGTH)
    answer = RetSubmit(1, -71, 0).encode()
    whole(parser, IMPORTED)
    for _ in range(8):
        parser.expect(large)
        assert len(whole(parser, answer)) == 1
    for number in range(3):
        parser.expect(submit(10 + number, transfer_buffer_length=usbip.MAX_LENGTH))
    with pytest.raises(FormatError, match="more than 256 MiB are under way"):
        parser.expect(large)


def test_a_refused_import_leaves_the_client_free_to_ask_again() -> None:
    parser = ServerParser()
    assert whole(parser, IMPORT) == [ReqImport("3-2")]
    parser.refuse()
    assert whole(parser, IMPORT) == [ReqImport("3-2")]


def test_a_long_list_of_devices_is_gone_through_a_few_times_only(monkeypatch) -> None:
    tries: list[int] = []
    read = ClientParser._devlist
    monkeypatch.setattr(
        ClientParser,
        "_devlist",
        lambda self, data, status: tries.append(len(data)) or read(self, data, status),
    )
    device = DeviceInfo("p", "1-1", *[0] * 11, ((1, 2, 3),) * 255, 255)
    said = RepDevlist((device,) * 1024)
    assert whole(ClientParser(), said.encode()) == [said]
    assert len(tries) < 64
