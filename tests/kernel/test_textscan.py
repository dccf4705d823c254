"""The strict scan: what a kernel prints is taken, and whatever differs is set aside."""

import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import rows as r
from usbmon._kernel import textscan

IN_TEXT = r.LINUX | r.absent("xfer_flags", "len_cap")
IN_T = IN_TEXT | r.absent("busnum")
NO_ISO = r.absent("interval", "start_frame", "error_count", "numdesc", "ndesc")
NO_ERRORS = r.absent("error_count")


class Scan(NamedTuple):
    rows: list[r.Fields]
    end: int
    arena: bytes
    bad: list[tuple[int, int, int]]


def scan(text: bytes, start: int = 0, *, rows: int = 64, arena: int = 4096, bad: int = 16) -> Scan:
    """One call, on outputs that hold rubbish."""
    row_bytes = bytearray(b"\xa5" * (r.SIZE * rows))
    arena_bytes = bytearray(b"\xa5" * arena)
    bad_words = r.words(3 * bad, -1)
    count, end, used, bads = textscan.scan(text, start, row_bytes, arena_bytes, bad_words)
    numbers = bad_words[: 3 * bads].tolist()
    return Scan(
        r.unpack(row_bytes[: r.SIZE * count]),
        end,
        bytes(arena_bytes[:used]),
        list(zip(*[iter(numbers)] * 3, strict=True)),
    )


def payload(result: Scan, row: r.Fields) -> bytes:
    return result.arena[row["data_at"] : row["data_at"] + row["captured"]]


# usbmon.rst, "Raw text data format", and lines of recorded traces.
TAKEN = {
    "control submission": (
        "d5ea89a0 3575914555 S Ci:1:001:0 s a3 00 0000 0003 0004 4 <",
        {
            "id": 0xD5EA89A0,
            "type": ord("S"),
            "xfer_type": 2,
            "epnum": 0x80,
            "devnum": 1,
            "busnum": 1,
            "flag_setup": 0,
            "flag_data": ord("<"),
            "ts_sec": 3575,
            "ts_usec": 914555,
            "status": -115,
            "length": 4,
            "len_cap": 0,
            "setup": bytes.fromhex("a3 00 00 00 03 00 04 00"),
            "captured": 0,
            "absent": IN_TEXT,
            "urb": 0,
            "marks": 0,
            "ts": 0,
        },
        b"",
    ),
    "control completion": (
        "d5ea89a0 3575914560 C Ci:1:001:0 0 4 = 01050000",
        {"type": ord("C"), "status": 0, "flag_setup": ord("-"), "flag_data": 0, "length": 4},
        bytes.fromhex("01050000"),
    ),
    "words of the setup packet are numbers": (
        "d5ea89a0 1 S Co:1:001:0 s 23 01 1234 5678 9abc 0",
        {"setup": bytes.fromhex("23 01 34 12 78 56 bc 9a"), "flag_data": 0},
        b"",
    ),
    "setup not captured": (
        "d5ea89a0 1 S Ci:1:001:0 Z __ __ ____ ____ ____ 4 <",
        {"flag_setup": ord("Z"), "status": -115, "setup": bytes(8)},
        b"",
    ),
    "bulk submission with data": (
        (
            "dd65f0e8 4128379752 S Bo:1:005:2 -115 31 = 55534243 5e000000 00000000 00000600 "
            "00000000 00000000 00000000 000001"
        ),
        {"xfer_type": 3, "epnum": 2, "devnum": 5, "status": -115, "length": 31, "captured": 31},
        b"USBC\x5e" + bytes(9) + b"\x06" + bytes(15) + b"\x01",
    ),
    "bulk completion, data shown before": (
        "dd65f0e8 4128379808 C Bo:1:005:2 0 31 >",
        {"status": 0, "length": 31, "flag_data": ord(">")},
        b"",
    ),
    "interrupt": (
        "ffff9f6b5d2e6300 1 C Ii:1:003:1 -2:8 0",
        {"id": 0xFFFF9F6B5D2E6300, "xfer_type": 1, "status": -2, "interval": 8, "absent": IN_TEXT},
        b"",
    ),
    "interrupt of format t": (
        "c0ffee 1 C Ii:003:01 -2 0",
        {"xfer_type": 1, "devnum": 3, "epnum": 0x81, "absent": IN_T | r.absent("interval")},
        b"",
    ),
    "bulk of format t": ("c0ffee 1 C Bo:003:15 0 0", {"epnum": 15, "absent": IN_T}, b""),
    "isochronous submission": (
        "f 1 S Zi:2:004:1 -115:1:256 2 -18:0:192 -18:192:192 384 <",
        {
            "xfer_type": 0,
            "status": -115,
            "interval": 1,
            "start_frame": 256,
            "iso": (0, 2),
            "ndesc": 2,
            "captured": 32,
            "absent": IN_TEXT | NO_ERRORS,
        },
        r.descriptors((-18, 0, 192), (-18, 192, 192)),
    ),
    "isochronous completion with six packets": (
        "f 1 C Zo:2:004:1 0:1:-5:3 6 0:0:9 -71:9:0 0:18:9 0:27:9 0:36:4294967295 54 >",
        {"start_frame": -5, "iso": (3, 6), "ndesc": 5, "length": 54, "absent": IN_TEXT},
        r.descriptors((0, 0, 9), (-71, 9, 0), (0, 18, 9), (0, 27, 9), (0, 36, 4294967295)),
    ),
    "isochronous completion with data": (
        "f 1 C Zi:2:004:1 0:1:7:0 1 0:0:3 3 = 010203",
        {"iso": (0, 1), "ndesc": 1, "captured": 19, "len_cap": 19},
        r.descriptors((0, 0, 3)) + b"\x01\x02\x03",
    ),
    "isochronous without packets": ("f 1 S Zo:2:004:1 -115:1:0 0 0", {"ndesc": 0}, b""),
    "a negative count of packets": (
        "f 1 C Zi:2:004:1 0:1:0:0 -1 0",
        {"iso": (0, -1), "ndesc": 0},
        b"",
    ),
    "isochronous of format t": (
        "f 1 S Zi:004:01 -115 384 <",
        {"status": -115, "length": 384, "absent": IN_T | NO_ISO},
        b"",
    ),
    "submission error": (
        "f 1 E Ii:2:004:1 -28 0",
        {"type": ord("E"), "status": -28, "flag_data": ord("E"), "absent": IN_TEXT},
        b"",
    ),
    "largest numbers": (
        "ffffffffffffffff 4294967295 C Ii:65535:255:127 2147483647:2147483647 2147483647 D",
        {
            "id": 2**64 - 1,
            "ts_sec": 4294,
            "ts_usec": 967295,
            "busnum": 65535,
            "devnum": 255,
            "epnum": 255,
            "status": 2**31 - 1,
            "interval": 2**31 - 1,
            "length": 2**31 - 1,
            "flag_data": ord("D"),
        },
        b"",
    ),
    "smallest numbers": (
        "0 0 C Io:0:000:0 -2147483648:-2147483648 -2147483648",
        {"id": 0, "epnum": 0, "status": -(2**31), "interval": -(2**31), "length": 2**31},
        b"",
    ),
}


@pytest.mark.parametrize(("line", "fields", "data"), list(TAKEN.values()), ids=list(TAKEN))
def test_a_line_of_the_kernel_is_taken(line, fields, data):
    result = scan(line.encode() + b"\n")
    assert result.bad == []
    (row,) = result.rows
    assert {name: row[name] for name in fields} == fields
    assert payload(result, row) == data


@pytest.mark.parametrize(("letter", "xfer"), [("Z", 0), ("I", 1), ("C", 2), ("B", 3)])
@pytest.mark.parametrize(("direction", "bit"), [("i", 0x80), ("o", 0)])
def test_address_words(letter, xfer, direction, bit):
    for line in (
        f"1 1 E {letter}{direction}:7:009:3 -22 0\n",
        f"1 1 E {letter}{direction}:9:3 0 0\n",
    ):
        row = scan(line.encode()).rows[0]
        assert (row["xfer_type"], row["epnum"], row["devnum"]) == (xfer, 3 | bit, 9)


@pytest.mark.parametrize("bus", ["0", "1", "9", "10", "007"])
@pytest.mark.parametrize("dev", ["000", "001", "099", "100", "127", "255", "7", "0255"])
@pytest.mark.parametrize("ep", ["0", "15"])
def test_numbers_of_an_address(bus, dev, ep):
    (row,) = scan(f"1 1 C Bi:{bus}:{dev}:{ep} 0 0\n".encode()).rows
    assert (row["busnum"], row["devnum"]) == (int(bus), int(dev))
    assert row["epnum"] == int(ep) | 0x80


@pytest.mark.parametrize("address", ["1:256:0", "9:999:9", "1:300:0", "1:2/5:0", "1:0:5:1"])
def test_an_address_that_is_none(address):
    assert scan(f"1 1 C Bi:{address} 0 0\n".encode()).rows == []


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("1 1 S Bi:1:1:1 -115 0", "<"),
        ("1 1 S Bo:1:1:1 -115 0", None),
        ("1 1 C Bo:1:1:1 0 0", ">"),
        ("1 1 C Bi:1:1:1 0 0", None),
        ("1 1 E Bi:1:1:1 -22 0", "E"),
        ("1 1 E Bo:1:1:1 -22 0", "E"),
    ],
)
def test_without_length_the_data_flag_is_that_of_the_binary_api(line, flag):
    row = scan(line.encode() + b"\n").rows[0]
    assert row["flag_data"] == (ord(flag) if flag else 0)


@pytest.mark.parametrize("size", range(1, 33))
def test_data_of_every_size(size):
    data = bytes(range(200, 200 + size))
    line = f"1 1 C Bi:1:1:1 0 {size} = {data.hex(' ', -4)}\n".encode()
    result = scan(line)
    assert payload(result, result.rows[0]) == data
    # The same where it is the last of what there is to look at, and where more follows.
    result = scan(line * 2)
    assert [payload(result, row) for row in result.rows] == [data, data]


GOOD = "d5ea89a0 3575914560 C Ci:1:001:0 0 4 = 01050000"
SETUP = "d5ea89a0 1 S Ci:1:001:0 s a3 00 0000 0003 0004 4 <"
ISO = "f 1 C Zi:2:004:1 0:1:7:0 1 0:0:3 3 = 010203"
SET_ASIDE = [
    "",
    " ",
    "x",
    "d5ea89a0",
    " " + GOOD,
    GOOD + " ",
    GOOD + "\r",
    GOOD + " 0",
    GOOD.replace(" ", "  ", 1),
    GOOD.replace(" ", "\t", 1),
    # tag
    GOOD.replace("d5", "D5"),
    GOOD.replace("d5", "0xd5"),
    GOOD.replace("d5", "0d5"),
    "0" * 16 + GOOD[8:],
    "f" * 17 + GOOD[8:],
    "fffffffffffffffg" + GOOD[8:],
    GOOD[8:],
    # time
    GOOD.replace("3575914560", ""),
    GOOD.replace("3575914560", "-1"),
    GOOD.replace("3575914560", "-"),
    GOOD.replace("3575914560", "4294967296"),
    GOOD.replace("3575914560", "00000000001"),
    GOOD.replace("3575914560", "1.5"),
    "d5ea89a0 3575914560",
    "d5ea89a0 3575914560 ",
    # event
    GOOD.replace(" C ", " c "),
    GOOD.replace(" C ", " X "),
    GOOD.replace(" C ", " CC "),
    "d5ea89a0 3575914560 C",
    # address
    *(GOOD.replace("Ci:1:001:0", word) for word in (
        "", "Xi:1:001:0", "Cx:1:001:0", "Ci1:001:0", "Ci::001:0", "Ci:1", "Ci:1:", "Ci:1:001:",
        "Ci:65536:001:0", "Ci:1:256:0", "Ci:1:001:128", "Ci:-1:001:0", "Ci:1:-1:0", "Ci:1:001:-1",
        "Ci:256:0", "Ci:1:001:0:0", "Ci:1:001:0x",
    )),
    "d5ea89a0 3575914560 C Ci:1:001:0",
    # status
    GOOD.replace(" 0 4", " - 4"),
    GOOD.replace(" 0 4", " x 4"),
    GOOD.replace(" 0 4", " 0:1 4"),
    GOOD.replace(" 0 4", " 2147483648 4"),
    GOOD.replace(" 0 4", " -2147483649 4"),
    "1 1 C Ii:1:1:1 0: 0",
    "1 1 C Ii:1:1:1 0:x 0",
    "1 1 C Ii:1:1:1 0:1:1 0",
    "1 1 E Ii:1:1:1 -28:8 0",
    "1 1 S Bi:1:1:1 s a3 00 0000 0003 0004 4 <",
    "1 1 S Bi:1:1:1",
    # setup packet
    *(SETUP.replace("a3 00 0000 0003 0004", words) for words in (
        "a 00 0000 0003 0004", "A3 00 0000 0003 0004", "a3 0 0000 0003 0004", "a3 00 000 0003 0004",
        "a3 00 0000 003 0004", "a3 00 0000 0003 004", "a3  00 0000 0003 0004",
        "a300 0000 0003 0004",
        "a3 00 0000 0003", "a3", "__ __ ____ ____ ____",
    )),
    SETUP.replace("s a3 00 0000 0003 0004", "Z __ __ ____ ____ ___"),
    SETUP.replace("s a3 00 0000 0003 0004", "Z a3 00 0000 0003 0004"),
    SETUP.replace("s a3 00 0000 0003 0004", "\x7f __ __ ____ ____ ____"),
    SETUP.replace("s a3 00 0000 0003 0004", " __ __ ____ ____ ____"),
    # isochronous packets
    *(ISO.replace("0:1:7:0 1 0:0:3", words) for words in (
        "0:1", "0:1:7", "0:1:7 1 0:0:3", "0:1:7:0", "0:1:7:0 1", "0:1:7:0 1 0", "0:1:7:0 1 0:0",
        "0:1:7:0 2 0:0:3", "0:1:7:0 0 0:0:3", "0:1:7:0 1 0:-1:3", "0:1:7:0 1 0:0:-3",
        "0:1:7:0 1 0:4294967296:3", "0:1:7:0 1 0:0:4294967296", "0:1:7:0 1 0:0:x",
        "0:1:7:0 1 x:0:3", "0:1:7:0 2147483648 0:0:3",
    )),
    # length
    GOOD.replace(" 4 =", ""),
    GOOD.replace(" 4 =", " x ="),
    GOOD.replace(" 4 =", " 2147483648 ="),
    "1 1 C Bi:1:1:1 0",
    "1 1 C Bi:1:1:1 0 4",
    "1 1 C Bi:1:1:1 0 4 ",
    "1 1 C Bi:1:1:1 0 0 <",
    "1 1 C Bi:1:1:1 0 4 \x7f",
    "1 1 C Bi:1:1:1 0 4 <<",
    "1 1 C Bi:1:1:1 0 4 < 00",
    # data
    GOOD + "0",
    GOOD.replace("0105", "010"),
    GOOD.replace("0105", "01 05"),
    GOOD.replace("01050000", "0105000g"),
    GOOD.replace("01050000", "ABCDEF00"),
    GOOD.replace("01050000", ""),
    GOOD.replace("= 0", "=0"),
]  # fmt: skip


@pytest.mark.parametrize("line", SET_ASIDE)
def test_what_the_kernel_would_not_print_is_set_aside_whole(line):
    text = f"{SETUP}\n{line}\n{GOOD}\n".encode()
    result = scan(text)
    start = len(SETUP) + 1
    assert result.bad == [(1, start, start + len(line) + 1)]
    assert [row["type"] for row in result.rows] == [ord("S"), ord("C")]
    assert payload(result, result.rows[1]) == bytes.fromhex("01050000")
    assert len(result.arena) == 4  # nothing stays of what was begun
    assert result.end == len(text)


# The grammar again, as patterns. A number has at most ten digits.
N = r"-?[0-9]{1,10}"
HEAD = re.compile(
    rf"(?:0|[1-9a-f][0-9a-f]{{0,15}}) ({N}) ([SCE]) ([ZICB])[io](?::({N}))?:({N}):({N}) "
)
SETUP_WORDS = re.compile(
    r"s( [0-9a-f]{2}){2}( [0-9a-f]{4}){3}|(?![0-9s-])[!-~] __ __ ____ ____ ____"
)
STATUSES = re.compile(rf"{N}(?::{N})*")
PACKET = re.compile(rf" ({N}):({N}):({N})")
LENGTH = re.compile(rf" ({N})")
DATA = re.compile(r" =( ([0-9a-f]{2}){4})*( ([0-9a-f]{2}){1,3})?| (?!=)[!-~]")
I32, U32 = range(-(2**31), 2**31), range(2**32)


def is_of_the_kernel(line: str) -> bool:
    head = HEAD.match(line)
    if head is None:
        return False
    stamp, event, xfer, *place = head.groups()
    limits = ((stamp, 2**32), *zip(place, (65536, 256, 128), strict=True))
    if any(int(number or 0) not in range(limit) for number, limit in limits):
        return False
    rest = line[head.end() :]
    statuses = STATUSES.match(rest)
    if statuses is None:
        setup = SETUP_WORDS.match(rest) if xfer == "C" else None
        return setup is not None and _is_length_and_data(rest[setup.end() :])
    numbers = [int(number) for number in statuses[0].split(":")]
    more = {"C": 0, "B": 0, "I": 1, "Z": 2 + (event == "C")}[xfer] if event != "E" else 0
    if any(number not in I32 for number in numbers) or len(numbers) not in (1, 1 + more):
        return False
    rest = rest[statuses.end() :]
    if xfer == "Z" and len(numbers) > 1:
        return _is_packets_and_more(rest)
    return _is_length_and_data(rest)


def _is_packets_and_more(text: str) -> bool:
    count = LENGTH.match(text)
    if count is None or int(count[1]) not in I32:
        return False
    text = text[count.end() :]
    for _ in range(min(5, int(count[1]))):
        packet = PACKET.match(text)
        if packet is None or int(packet[1]) not in I32:
            return False
        if any(int(number) not in U32 for number in packet.groups()[1:]):
            return False
        text = text[packet.end() :]
    return _is_length_and_data(text)


def _is_length_and_data(text: str) -> bool:
    length = LENGTH.match(text)
    if length is None or int(length[1]) not in I32:
        return False
    rest = text[length.end() :]
    return DATA.fullmatch(rest) is not None if int(length[1]) > 0 else not rest


# Bytes at the ends of what each word can hold.
CHANGES = [chr(byte) for byte in b"\0\t\r !-./0189:;<=@AFG_`afgsz~\x7f\x80\xff"]


@pytest.mark.parametrize(
    "line", [line for line, *_ in TAKEN.values() if len(line) < 80], ids=lambda line: line[:20]
)
def test_with_one_character_changed_just_what_the_kernel_could_print_is_taken(line):
    assert is_of_the_kernel(line)
    changed = [line[:at] + line[at + 1 :] for at in range(len(line))]
    changed += [line[:at] + c + line[at:] for at in range(len(line) + 1) for c in CHANGES]
    changed += [line[:at] + c + line[at + 1 :] for at in range(len(line)) for c in CHANGES]
    text = "".join(f"{other}\n" for other in changed).encode("latin-1")
    result = scan(text, rows=len(changed), arena=len(text) + 64, bad=len(changed))
    assert result.end == len(text)
    refused = [text[start : end - 1].decode("latin-1") for _, start, end in result.bad]
    assert refused == [other for other in changed if not is_of_the_kernel(other)]


@pytest.mark.parametrize("line", [GOOD, SETUP, ISO, *(line for line, *_ in TAKEN.values())])
def test_a_line_that_ends_early_and_with_it_the_text(line):
    for size in range(len(line) + 1):
        start = line[:size]
        result = scan(start.encode() + b"\n")
        assert (len(result.rows), len(result.bad)) == (
            (1, 0) if is_of_the_kernel(start) else (0, 1)
        )


@given(st.sampled_from([GOOD, SETUP, ISO]), st.data())
def test_a_line_with_a_byte_changed_harms_no_other(line, data):
    changed = bytearray(line.encode())
    changed[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    alone = scan(GOOD.encode() + b"\n").rows[0]
    text = GOOD.encode() + b"\n" + changed + b"\n" + GOOD.encode() + b"\n"
    result = scan(text)
    assert result.end == len(text)
    assert result.rows[0] == alone
    assert result.rows[-1] == alone | {"data_at": len(result.arena) - 4}


TEXT = f"{GOOD}\nnot an event\n{ISO}\n{SETUP}\nnor this\n{ISO}\n{GOOD}\n".encode()


@pytest.mark.parametrize(
    "room", [{"rows": 1}, {"rows": 2}, {"arena": 20}, {"arena": 24}, {"bad": 1}]
)
def test_a_scan_that_ran_out_of_room_goes_on_where_it_ended(room):
    found, bad, end = [], [], 0
    while end < len(TEXT):
        before = end
        part = scan(TEXT, end, **room)
        end = part.end
        assert end > before
        assert TEXT[end - 1 : end] == b"\n"
        bad += [TEXT[a : b - 1] for _, a, b in part.bad]
        found += [(row["id"], payload(part, row)) for row in part.rows]
    whole = scan(TEXT)
    assert bad == [b"not an event", b"nor this"]
    assert found == [(row["id"], payload(whole, row)) for row in whole.rows]
    assert len(found) == 5


def test_what_does_not_fit_at_all_is_not_begun():
    for text, arena in ((GOOD, 3), (ISO, 15), (ISO, 16)):
        assert scan(text.encode() + b"\n", arena=arena)[1:] == (0, b"", [])
    assert scan(b"x\ny\n", bad=1).end == 2


@pytest.mark.parametrize("room", [{"rows": 0}, {"arena": 0}])
def test_without_text_or_room_nothing_is_done(room):
    assert scan(b"") == Scan([], 0, b"", [])
    assert scan(TEXT, len(TEXT)).end == len(TEXT)
    assert scan(TEXT, 4, **room) == Scan([], 4, b"", [])


def unwrapped(*batches: list[int | tuple[int, str]]) -> list[tuple[float, bool, int]]:
    """Stamps (µs) of events to time (µs), whether it is known, and clock."""
    state = r.words(4)
    out = []
    for batch in batches:
        events = [stamp if isinstance(stamp, tuple) else (stamp, "C") for stamp in batch]
        rows = bytearray().join(
            r.pack({"ts_sec": stamp // 10**6, "ts_usec": stamp % 10**6, "type": letter})
            for stamp, letter in events
        )
        textscan.unwrap(rows, len(events), state)
        out += [
            (row["ts"] / 1000, not row["absent"] & r.absent("ts"), row["clock"])
            for row in r.unpack(rows)
        ]
    return out


S = 10**6
TODAYS = 4096 * S


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 1, 5 * S], [0, 1, 5 * S]),
        # Today's kernel begins anew after 4095999999.
        ([TODAYS - 1, 0, 7], [TODAYS - 1, TODAYS, TODAYS + 7]),
        (
            [TODAYS - 1, 0, 2000 * S, 4000 * S, 3],
            [TODAYS - 1, TODAYS, TODAYS + 2000 * S, TODAYS + 4000 * S, 2 * TODAYS + 3],
        ),
        # Two processors race: a small step back is no wrap.
        ([9 * S, 8 * S, 9 * S], [9 * S, 8 * S, 9 * S]),
        # They race at the wrap itself.
        (
            [TODAYS - 2, 5, TODAYS - 1, 6],
            [TODAYS - 2, TODAYS + 5, TODAYS - 1, TODAYS + 6],
        ),
        # A long pause before any wrap is a pause.
        ([0, 3000 * S], [0, 3000 * S]),
    ],
)
def test_time_goes_on_where_the_stamp_wraps(stamps, times):
    assert [time for time, *_ in unwrapped(stamps)] == times
    assert [time for time, *_ in unwrapped(*([stamp] for stamp in stamps))] == times
    assert {clock for *_, clock in unwrapped(stamps)} == {r.MONOTONIC}


def test_a_stamp_that_todays_kernel_does_not_print_is_of_an_old_one():
    seen = unwrapped([TODAYS, 2**32 - 1, 0, 1])
    assert [time for time, *_ in seen] == [TODAYS, 2**32 - 1, 2**32, 2**32 + 1]
    assert {clock for *_, clock in seen} == {0}


def test_an_error_without_a_stamp_has_the_time_before_it():
    # The 2.6.18 kernel prints 0 in E events.
    seen = unwrapped([8 * S, (0, "E"), 9 * S], [(0, "E"), (4, "E"), (0, "C")])
    assert [known for _, known, _ in seen] == [True, False, True, False, True, True]
    assert [time for time, *_ in seen[:4]] == [8 * S, 8 * S, 9 * S, 9 * S]


def test_unwrapping_nothing_keeps_the_state():
    state = r.words(4, 7)
    textscan.unwrap(bytearray(r.SIZE), 0, state)
    assert state.tolist() == [7] * 4
