"""The lines that people see, column by column."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import rows as r
from usbmon._kernel import lines

MARKS = tuple(b" doubled" * (n & 1) + b" orphan" * (n >> 1 & 1) for n in range(8))
STATUSES = b"".join(f"E{n}".encode().ljust(lines.STATUS_WIDTH) for n in range(lines.STATUSES))
NO_TS = r.LINUX | r.absent("ts")


def setup_words(setup: bytes) -> bytes:
    return b"SETUP " + setup.hex().encode()


def show(
    *events: r.Fields, time: int = lines.RELATIVE, zero: int = 0, room: int = 1 << 14
) -> list[str]:
    """All lines, in as many calls as the room asks for; nothing is written past the room."""
    rows, arena = r.lay(*events)
    text, done = b"", 0
    while done < len(events):
        out = bytearray(room + 16)
        view = memoryview(out)[:room]
        args = (STATUSES, setup_words, MARKS, time, zero)
        following, size, zero = lines.lines(rows, done, len(events), arena, view, *args)
        assert following > done
        assert size <= room
        assert not any(out[room:])
        text, done = text + out[:size], following
    *whole, rest = text.decode().split("\n")
    assert rest == ""
    return whole


def columns(event: r.Fields, **options: Any) -> dict[str, str]:
    """The parts of a line by their places; each column is apart from the next."""
    (line,) = show(event, **options)
    width = lines.TIME_WIDTH[options.get("time", lines.RELATIVE)] + 2
    starts = [width + at for at in lines.COLUMNS.values()]
    for start in starts:
        assert len(line) < start or line[start - 1] == " "
    ends = [*starts[1:], None]
    parts = {
        name: line[a:b].strip() for name, a, b in zip(lines.COLUMNS, starts, ends, strict=True)
    }
    return {"time": line[:width].strip()} | parts


def test_a_line():
    assert show(
        {"ts": 1_500_000_000, "type": "S", "status": -115, "length": 512, "flag_data": "<"},
        {"ts": 1_500_125_000, "length": 6, "payload": bytes(range(6))},
        {"ts": 2_000_000_000, "xfer_type": 2, "epnum": 0, "flag_setup": 0, "status": -32},
    ) == [
        "      1.500000  1.002.1   Bulk in  S -                      512",
        "      1.500125  1.002.1   Bulk in  C E0                       6  00010203 0405",
        "      2.000000  1.002.0   Ctrl out C E32                      0  SETUP 0000000000000000",
    ]


@pytest.mark.parametrize(
    ("fields", "address", "type"),
    [
        ({"xfer_type": 0, "epnum": 0x8F}, "1.002.15", "Isoc in"),
        ({"xfer_type": 0, "epnum": 0}, "1.002.0", "Isoc out"),
        ({"xfer_type": 1, "devnum": 127}, "1.127.1", "Intr in"),
        ({"xfer_type": 1, "epnum": 2}, "1.002.2", "Intr out"),
        ({"xfer_type": 2}, "1.002.1", "Ctrl in"),
        ({"xfer_type": 2, "epnum": 0, "busnum": 12}, "12.002.0", "Ctrl out"),
        ({"busnum": 123}, "123.002.1", "Bulk in"),
        ({"epnum": 1}, "1.002.1", "Bulk out"),
        ({"absent": r.LINUX | r.absent("busnum")}, "?.002.1", "Bulk in"),
    ],
)
def test_address_and_type(fields, address, type):
    found = columns(fields)
    assert (found["address"], found["type"]) == (address, type)


def test_the_largest_address_is_not_cut():
    (line,) = show({"busnum": 65535, "devnum": 255, "epnum": 0xFF})
    assert " 65535.255.127 Bulk in  C E0" in line


@pytest.mark.parametrize(
    ("kind", "status", "shown"),
    [
        ("S", -115, "-"),
        ("S", 0, "E0"),
        ("C", -115, "E115"),
        ("C", 0, "E0"),
        ("C", -255, "E255"),
        ("C", -256, "-256"),
        ("C", 5, "5"),
        ("C", -(2**31), "-2147483648"),
        ("E", -28, "E28"),
    ],
)
def test_the_event_and_its_status(kind, status, shown):
    found = columns({"type": kind, "status": status})
    assert (found["event"], found["status"]) == (kind, shown)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"length": 0}, "0"),
        ({"length": 1234567}, "1234567"),
        ({"absent": r.LINUX | r.absent("length")}, "?"),
    ],
)
def test_the_length(fields, shown):
    assert columns(fields)["length"] == shown


def test_a_length_of_many_digits_is_not_cut():
    assert show({"length": 2**31 - 1})[0].endswith(" 2147483647")


# Time


@pytest.mark.parametrize(
    ("ts", "shown"),
    [
        (0, "0.000000"),
        (999, "0.000000"),
        (1_000, "0.000001"),
        (-1_000, "-0.000001"),
        (-1_500_000_000, "-1.500000"),
        (-999_999_999_000, "-999.999999"),
        (-999_999_999_999_000, "-999999.999999"),
        (9_999_999_000_000_000, "9999999.000000"),
        # More than the column has place for moves the others, but is not cut.
        (12_345_678_000_000_000, "12345678.000000"),
        (-12_345_678_000_000_001, "-12345678.000000"),
        (10**18, "1000000000.000000"),
        (2**63 - 1, "9223372036.854775"),
        (-(2**63), "-9223372036.854775"),
    ],
)
def test_relative_time(ts, shown):
    (line,) = show({"ts": ts})
    assert line.startswith(shown.rjust(14) + "  1.002.1 ")


@pytest.mark.parametrize(
    ("ts", "zero", "shown"),
    [
        (10_000, 7_000, "0.000003"),
        (7_000, 10_000, "-0.000003"),
        (-(10**9), 10**9, "-2.000000"),
        (2**63 - 1, -1, "9223372036.854775"),
        (2**63 - 1, -(2**63), "9223372036.854775"),
        (-(2**63), 1, "-9223372036.854775"),
        (-(2**63), 2**63 - 1, "-9223372036.854775"),
        (-(2**63), -(2**63), "0.000000"),
    ],
)
@pytest.mark.parametrize("time", [lines.RELATIVE, lines.DELTA])
def test_time_from_a_zero(ts, zero, shown, time):
    assert show({"ts": ts}, time=time, zero=zero)[0].split()[0] == shown


def test_relative_times_end_in_one_column():
    shown = show(*({"ts": s * 10**9} for s in (0, -1, 99, -9999, 999_999)))
    assert {line[6:16].index(".") for line in shown} == {1}
    assert {line.index("1.002.1") for line in shown} == {16}


@pytest.mark.parametrize("room", [1 << 14, 300])
def test_time_since_the_event_before(room):
    events = [{"ts": ms * 10**6} for ms in (1000, 1250, 1200, 1201)]
    events.insert(2, {"ts": 0, "absent": NO_TS})
    shown = show(*events, time=lines.DELTA, zero=10**9, room=room)
    assert [line[:14].strip() for line in shown] == [
        "0.000000", "0.250000", "?", "-0.050000", "0.001000",
    ]  # fmt: skip


@given(st.integers(0, 2**63 - 1))
def test_dates(ts):
    # datetime has microseconds, and reaches as far as 64 bits of nanoseconds.
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts // 1000)
    shown = columns({"ts": ts, "clock": r.WALL}, time=lines.ABSOLUTE)
    assert shown["time"] == date.strftime("%Y-%m-%dT%H:%M:%S.%f")


@pytest.mark.parametrize(
    "date", ["1972-02-29", "1999-12-31", "2000-02-29", "2000-03-01", "2100-03-01"]
)
def test_dates_around_leap_days(date):
    moment = datetime.fromisoformat(date).replace(tzinfo=UTC)
    ts = int(moment.timestamp()) * 10**9
    before = moment - timedelta(microseconds=1)
    shown = show(*({"ts": t, "clock": r.WALL} for t in (ts - 1_000, ts)), time=lines.ABSOLUTE)
    assert [line[:26] for line in shown] == [
        before.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        f"{date}T00:00:00.000000",
    ]


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"ts": 5 * 10**9, "clock": r.MONOTONIC}, "5.000000"),
        ({"ts": 5 * 10**9, "clock": 0}, "5.000000"),
        ({"ts": -5 * 10**9, "clock": r.WALL}, "-5.000000"),
        ({"ts": -(2**63), "clock": 0}, "-9223372036.854775"),
        ({"absent": NO_TS, "clock": 0}, "?"),
    ],
)
def test_a_clock_that_has_no_date_shows_its_seconds(fields, shown):
    (line,) = show(fields, time=lines.ABSOLUTE)
    assert line.startswith(shown.rjust(14) + "  1.002.1 ")


@pytest.mark.parametrize(
    ("time", "clock", "width"),
    [
        (lines.RELATIVE, 0, 14),
        (lines.RELATIVE, r.WALL, 14),
        (lines.DELTA, r.WALL, 14),
        (lines.ABSOLUTE, r.WALL, 26),
        (lines.ABSOLUTE, r.MONOTONIC, 14),
    ],
)
def test_an_unknown_time_is_as_wide_as_a_known_one(time, clock, width):
    unknown, known = show(
        {"absent": NO_TS, "clock": clock}, {"ts": 10**9, "clock": clock}, time=time
    )
    assert unknown[: width + 2] == "?".rjust(width) + "  "
    assert unknown[width + 2 :] == known[width + 2 :]


# What follows the columns


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (1, "00"),
        (4, "00010203"),
        (5, "00010203 04"),
        (16, "00010203 04050607 08090a0b 0c0d0e0f"),
        (17, "00010203 04050607 08090a0b 0c0d0e0f .."),
    ],
)
def test_data(size, shown):
    assert columns({"payload": bytes(range(size))})["info"] == shown


@pytest.mark.parametrize("flag", ["<", ">", "Z", "D", "E"])
def test_data_that_the_flag_denies_are_not_shown(flag):
    assert columns({"payload": b"abc", "flag_data": flag})["info"] == ""


PACKETS = r.descriptors((0, 0, 3), (-71, 3, 0))
ISO = {"xfer_type": 0, "iso": (1, 2), "ndesc": 2, "payload": PACKETS}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (ISO, "2 packets, 1 failed"),
        (ISO | {"iso": (0, 2)}, "2 packets"),
        (ISO | {"type": "S"}, "2 packets"),
        (ISO | {"payload": PACKETS + b"\x0a\x0b"}, "2 packets, 1 failed 0a0b"),
        (ISO | {"type": "E"}, ""),
        (ISO | {"absent": r.LINUX | r.absent("numdesc")}, ""),
        (ISO | {"iso": (-1, -2)}, "-2 packets, -1 failed"),
    ],
)
def test_isochronous_packets(fields, shown):
    assert columns(fields)["info"] == shown


SETUP = bytes.fromhex("8006000100001200")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"xfer_type": 2, "flag_setup": 0}, "SETUP 8006000100001200"),
        ({"xfer_type": 2, "flag_setup": 0, "payload": b"ab"}, "SETUP 8006000100001200 6162"),
        ({"xfer_type": 2, "flag_setup": "Z"}, ""),
        ({"xfer_type": 3, "flag_setup": 0}, ""),
    ],
)
def test_setup_packets(fields, shown):
    assert columns({"setup": SETUP, **fields})["info"] == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"marks": 1}, "doubled"),
        ({"marks": 3}, "doubled orphan"),
        ({"marks": 2, "payload": b"ab"}, "6162 orphan"),
        ({"marks": 4}, ""),
    ],
)
def test_marks_stand_last(fields, shown):
    assert columns(fields)["info"] == shown


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, " 0"),
        ({"marks": 1}, " 0  doubled"),
        ({"payload": b"ab"}, " 0  6162"),
        ({"xfer_type": 2, "flag_setup": 0}, " 0  SETUP 0000000000000000"),
        ({"xfer_type": 0, "iso": (0, 1)}, " 0  1 packets"),
        ({"xfer_type": 0, "iso": (0, 1), "marks": 2}, " 0  1 packets orphan"),
    ],
)
def test_two_blanks_stand_before_what_follows_the_length(fields, end):
    assert show(fields)[0].endswith(end)


# Where and how much

LONGEST = {
    "ts": -(2**62),
    "xfer_type": 0,
    "epnum": 0xFF,
    "devnum": 255,
    "busnum": 65535,
    "status": -(2**31),
    "length": 2**31,
    "iso": (-(2**31), -(2**31)),
    "ndesc": 1,
    "payload": r.descriptors((0, 0, 0)) + bytes(40),
    "marks": 3,
}


@pytest.mark.parametrize("room", [256 + 22, 300, 700])
def test_a_full_output_ends_at_a_line_and_goes_on_there(room):
    control = {"xfer_type": 2, "flag_setup": 0, "setup": SETUP}
    events = [LONGEST, control, LONGEST, {}, control]
    assert show(*events, room=room) == show(*events)


def test_words_and_marks_of_any_length_have_room():
    rows, arena = r.lay({"xfer_type": 2, "flag_setup": 0, "marks": 1})
    words, marks = b"w" * 700, (b"", b" " + b"m" * 900)
    out = bytearray(256 + 700 + 901)
    args = (STATUSES, lambda _: words, marks, lines.RELATIVE, 0)
    assert lines.lines(rows, 0, 1, arena, out[:-1], *args) == (0, 0, 0)
    done, size, _ = lines.lines(rows, 0, 1, arena, out, *args)
    assert done == 1
    assert out[:size].endswith(b"  " + words + marks[1] + b"\n")


@pytest.mark.parametrize("number", [n for k in range(1, 9) for n in (10**k - 1, 10**k)])
def test_numbers_of_all_lengths(number):
    found = columns({"length": number % 10**7, "status": -number - 300, "ts": number * 1000})
    assert found["length"] == str(number % 10**7)
    assert found["status"] == str(-number - 300)
    assert found["time"] == f"{number // 10**6}.{number % 10**6:06}"


def test_without_rows_or_room_nothing_is_shown():
    rows, arena = r.lay({}, {})
    args = (STATUSES, setup_words, MARKS, lines.RELATIVE, 7)
    assert lines.lines(rows, 2, 2, arena, bytearray(999), *args) == (2, 0, 7)
    assert lines.lines(rows, 0, 2, arena, bytearray(255), *args) == (0, 0, 7)
