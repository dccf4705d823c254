"""Lines byte for byte as drivers/usb/mon/mon_text.c prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import rows as r
from usbmon._kernel import textprint, textscan

SUBMITTED = {"type": "S", "status": -115}
CONTROL = {"id": 0xD5EA89A0, "xfer_type": 2, "epnum": 0x80, "devnum": 1, "busnum": 1}
ISO = {"id": 0xF, "xfer_type": 0, "devnum": 4, "busnum": 2}
PACKETS = tuple((-n, n, 9) for n in range(7))


def lines(*events: r.Fields, old: bool = False, start: int = 0, data_max: int = 32) -> list[str]:
    rows, arena = r.lay(*events)
    out = bytearray(1 << 14)
    done, size = textprint.print_text(rows, start, len(events), arena, out, old, data_max)
    assert done == len(events)
    return _split(out[:size])


def _split(printed: bytes) -> list[str]:
    *whole, rest = printed.decode().split("\n")
    assert rest == ""
    return whole


# The row, and its line in the formats u and t.
PRINTED = {
    "control submission": (
        {
            **CONTROL,
            **SUBMITTED,
            "ts_sec": 3575,
            "ts_usec": 914555,
            "flag_setup": 0,
            "flag_data": "<",
            "setup": bytes.fromhex("a300341278560400"),
            "length": 4,
        },
        "d5ea89a0 3575914555 S Ci:1:001:0 s a3 00 1234 5678 0004 4 <",
        "d5ea89a0 3575914555 S Ci:001:00 s a3 00 1234 5678 0004 4 <",
    ),
    "setup packet not captured": (
        {**CONTROL, **SUBMITTED, "flag_setup": "Z", "flag_data": "<", "length": 4},
        "d5ea89a0 0 S Ci:1:001:0 Z __ __ ____ ____ ____ 4 <",
        "d5ea89a0 0 S Ci:001:00 Z __ __ ____ ____ ____ 4 <",
    ),
    "control completion": (
        {**CONTROL, "length": 4, "payload": b"\x01\x05\x00\x00", "ts_usec": 7},
        "d5ea89a0 7 C Ci:1:001:0 0 4 = 01050000",
        "d5ea89a0 7 C Ci:001:00 0 4 = 01050000",
    ),
    "bulk": (
        {"id": 0xA, "epnum": 2, "length": 9, "payload": bytes(range(9)), "status": -32},
        "a 0 C Bo:1:002:2 -32 9 = 00010203 04050607 08",
        "a 0 C Bo:002:02 -32 9 = 00010203 04050607 08",
    ),
    "no data of an event that moved none": (
        {"id": 0xA, "flag_data": "<", "length": 0},
        "a 0 C Bi:1:002:1 0 0",
        "a 0 C Bi:002:01 0 0",
    ),
    "a negative length": (
        {"id": 0xA, "flag_data": "<", "length": 2**32 - 1},
        "a 0 C Bi:1:002:1 0 -1",
        "a 0 C Bi:002:01 0 -1",
    ),
    "a buffer that is not mapped": (
        {"id": 0xA, "flag_data": "D", "length": 512},
        "a 0 C Bi:1:002:1 0 512 D",
        "a 0 C Bi:002:01 0 512 D",
    ),
    "data that are none": (
        {"id": 0xA, "length": 512},
        "a 0 C Bi:1:002:1 0 512 =",
        "a 0 C Bi:002:01 0 512 =",
    ),
    "interrupt": (
        {"id": 0xA, "xfer_type": 1, "interval": 8, "status": -2},
        "a 0 C Ii:1:002:1 -2:8 0",
        "a 0 C Ii:002:01 -2 0",
    ),
    "interrupt without an interval": (
        {"id": 0xA, "xfer_type": 1, "absent": r.LINUX | r.absent("interval")},
        "a 0 C Ii:1:002:1 0 0",
        "a 0 C Ii:002:01 0 0",
    ),
    "isochronous submission": (
        {
            **ISO,
            **SUBMITTED,
            "interval": 1,
            "start_frame": -5,
            "iso": (3, 2),
            "ndesc": 2,
            "payload": r.descriptors((-18, 0, 192), (-18, 192, 2**32 - 1)),
            "length": 384,
            "flag_data": "<",
        },
        "f 0 S Zi:2:004:1 -115:1:-5 2 -18:0:192 -18:192:4294967295 384 <",
        "f 0 S Zi:004:01 -115 384 <",
    ),
    "isochronous completion of more packets than are shown": (
        {
            **ISO,
            "iso": (6, 7),
            "interval": 1,
            "ndesc": 7,
            "payload": r.descriptors(*PACKETS) + b"\x01\x02\x03",
            "length": 3,
        },
        "f 0 C Zi:2:004:1 0:1:0:6 7 0:0:9 -1:1:9 -2:2:9 -3:3:9 -4:4:9 3 = 010203",
        "f 0 C Zi:004:01 0 3 = 010203",
    ),
    "data of QEMU, which writes the sign of the text": (
        {"id": 0xA, "flag_data": "=", "length": 2, "payload": b"\x01\x02"},
        "a 0 C Bi:1:002:1 0 2 = 0102",
        "a 0 C Bi:002:01 0 2 = 0102",
    ),
    "only a control transfer has a setup packet": (
        {"id": 0xA, "flag_setup": "Z", "status": -32},
        "a 0 C Bi:1:002:1 -32 0",
        "a 0 C Bi:002:01 -32 0",
    ),
    # Whoever reads a line counts on five descriptors, or as many as it says.
    "isochronous with descriptors missing": (
        {**ISO, "iso": (0, 9), "ndesc": 1, "payload": r.descriptors((0, 0, 9))},
        "f 0 C Zi:2:004:1 0:0:0:0 1 0:0:9 0",
        "f 0 C Zi:004:01 0 0",
    ),
    "isochronous without any descriptor": (
        {**ISO, "absent": r.LINUX | r.absent("numdesc")},
        "f 0 C Zi:2:004:1 0 0",
        "f 0 C Zi:004:01 0 0",
    ),
    "isochronous with a made-up interval for its descriptors' sake": (
        {
            **ISO,
            "absent": r.LINUX | r.absent("interval", "start_frame"),
            "iso": (0, 1),
            "ndesc": 1,
            "payload": r.descriptors((0, 0, 9)),
        },
        "f 0 C Zi:2:004:1 0:0:0:0 1 0:0:9 0",
        "f 0 C Zi:004:01 0 0",
    ),
    "submission error": (
        {**ISO, "type": "E", "status": -28, "flag_data": "E", "iso": (1, 1), "interval": 3},
        "f 0 E Zi:2:004:1 -28 0",
        "f 0 E Zi:004:01 -28 0",
    ),
    "submission error without a stamp": (
        {"id": 0xA, "type": "E", "ts_usec": 5, "absent": r.LINUX | r.absent("ts")},
        "a 0 E Bi:1:002:1 0 0",
        "a 0 E Bi:002:01 0 0",
    ),
    # mon_get_timestamp: (seconds & 0xfff) * 1000000 + microseconds
    "the stamp of a date": (
        {"id": 0xA, "ts_sec": 1_700_000_000, "ts_usec": 999_999, "clock": r.WALL},
        f"a {1_700_000_000 % 4096 * 10**6 + 999_999} C Bi:1:002:1 0 0",
        f"a {1_700_000_000 % 4096 * 10**6 + 999_999} C Bi:002:01 0 0",
    ),
    # The 2009 kernel's run to 2**32.
    "a stamp as it was printed": (
        {"id": 0xA, "ts_sec": 4294, "ts_usec": 967_295, "clock": 0},
        "a 4294967295 C Bi:1:002:1 0 0",
        "a 4294967295 C Bi:002:01 0 0",
    ),
    "smallest and largest numbers": (
        {
            "id": 2**64 - 1,
            "xfer_type": 1,
            "devnum": 255,
            "busnum": 65535,
            "epnum": 0x7F,
            "status": -(2**31),
            "interval": 2**31 - 1,
            "length": 2**31 - 1,
            "flag_data": ">",
        },
        "ffffffffffffffff 0 C Io:65535:255:127 -2147483648:2147483647 2147483647 >",
        "ffffffffffffffff 0 C Io:255:127 -2147483648 2147483647 >",
    ),
    "tag 0": ({"devnum": 0, "epnum": 0}, "0 0 C Bo:1:000:0 0 0", "0 0 C Bo:000:00 0 0"),
}


@pytest.mark.parametrize(("row", "new", "old"), list(PRINTED.values()), ids=list(PRINTED))
def test_a_row_is_printed_as_the_kernel_does(row, new, old):
    assert lines(row) == [new]
    assert lines(row, old=True) == [old]


@pytest.mark.parametrize(
    ("captured", "length", "shown"), [(32, 99, 32), (40, 99, 32), (40, 5, 5), (3, 99, 3)]
)
def test_data_are_cut_at_32_bytes_and_at_the_length(captured, length, shown):
    (line,) = lines({"length": length, "payload": bytes(captured)})
    assert line.partition("= ")[2].replace(" ", "") == "00" * shown


@pytest.mark.parametrize("number", [n for k in range(1, 10) for n in (10**k - 1, 10**k)])
def test_numbers_of_all_lengths(number):
    (line,) = lines({"length": number, "status": -number, "ts_usec": number % 10**6})
    assert line == f"0 {number % 10**6} C Bi:1:002:1 -{number} {number} ="


@pytest.mark.parametrize("digits", range(1, 17))
def test_tags_of_all_lengths(digits):
    assert lines({"id": 1 << 4 * (digits - 1)})[0].split()[0] == "1" + "0" * (digits - 1)


def test_a_changed_kernel_prints_more_data():
    data = bytes(range(200))
    (line,) = lines({"length": 200, "payload": data}, data_max=200)
    assert line.endswith(f" = {data.hex(' ', -4)}")


# A reader would take them for a status, for a setup packet that is there, or for no word.
@pytest.mark.parametrize("flag", ["s", "0", "9", " ", "\n", "\x7f", "\xff"])
def test_a_flag_that_would_be_read_as_something_else_is_printed_as_not_captured(flag):
    assert lines({**CONTROL, "flag_setup": flag}) == [
        "d5ea89a0 0 C Ci:1:001:0 Z __ __ ____ ____ ____ 0"
    ]
    if not "!" <= flag <= "~":
        assert lines({"length": 3, "flag_data": flag}) == ["0 0 C Bi:1:002:1 0 3 Z"]


@pytest.mark.parametrize("flag", ["!", "~", "r", "t", ":", "/"])
def test_another_flag_is_printed_as_it_is(flag):
    assert lines({**CONTROL, "flag_setup": flag, "flag_data": flag, "length": 3}) == [
        f"d5ea89a0 0 C Ci:1:001:0 {flag} __ __ ____ ____ ____ 3 {flag}"
    ]


LONGEST = {
    "id": 2**64 - 1,
    "xfer_type": 0,
    "epnum": 0xFF,
    "devnum": 255,
    "busnum": 65535,
    "ts_sec": 4294,
    "ts_usec": 967_295,
    "status": -(2**31),
    "interval": -(2**31),
    "start_frame": -(2**31),
    "iso": (-(2**31), 2**31 - 1),
    "ndesc": 5,
    "payload": r.descriptors(*[(-(2**31), 2**32 - 1, 2**32 - 1)] * 5) + bytes(40),
    "length": 2**31 - 1,
}


@pytest.mark.parametrize("room", [352 + 72, 352 + 72 + 1, 1000, 1 << 14])
def test_a_full_output_ends_at_a_line_and_printing_goes_on_there(room):
    events = [LONGEST, {"id": 1}, LONGEST, LONGEST, {"id": 2}, LONGEST]
    rows, arena = r.lay(*events)
    printed, done = b"", 0
    while done < len(events):
        out = bytearray(room + 16)
        before = done
        done, size = textprint.print_text(
            rows, done, len(events), arena, memoryview(out)[:room], False, 32
        )
        assert done > before
        assert size <= room
        assert not any(out[room:])
        printed += out[:size]
    assert _split(printed) == lines(*events)


def test_a_changed_kernels_longest_line_fits_too():
    rows, arena = r.lay({**LONGEST, "payload": LONGEST["payload"] + bytes(4000)})
    room = 352 + 4040 * 9 // 4
    out = bytearray(room)
    assert textprint.print_text(rows, 0, 1, arena, out, False, 4040)[0] == 1
    assert textprint.print_text(rows, 0, 1, arena, out[:-1], False, 4040) == (0, 0)


def test_nothing_is_printed_where_there_is_nothing_or_no_room():
    rows, arena = r.lay({}, {})
    out = bytearray(1000)
    assert textprint.print_text(rows, 2, 2, arena, out, False, 32) == (2, 0)
    assert textprint.print_text(rows, 0, 2, arena, out[:400], False, 32) == (0, 0)


def test_printing_starts_where_it_is_told():
    assert lines({"id": 1}, {"id": 2}, {"id": 3}, start=2) == ["3 0 C Bi:1:002:1 0 0"]


I32 = st.integers(-(2**31), 2**31 - 1)


@given(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 2**64 - 1),
            "type": st.sampled_from("SCE"),
            "xfer_type": st.sampled_from([1, 3]),
            "epnum": st.integers(0, 255),
            "devnum": st.integers(0, 255),
            "busnum": st.integers(0, 65535),
            "ts_sec": st.integers(0, 4094),
            "ts_usec": st.integers(0, 999_999),
            "status": I32,
            "interval": I32,
            "length": st.integers(1, 2**31 - 1),
            "flag_data": st.sampled_from("<>ZD"),
        }
    ),
    st.booleans(),
)
def test_what_is_printed_is_what_the_scan_takes(fields, old):
    (line,) = lines(fields, old=old)
    row, arena = bytearray(r.SIZE), bytearray(64)
    count, _, _, bad = textscan.scan(line.encode() + b"\n", 0, row, arena, r.words(3))
    assert (count, bad) == (1, 0)
    assert lines(r.unpack(row)[0], old=old) == [line]
