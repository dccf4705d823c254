"""How values are written in a filter, and written back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.filters import values
from usbmon.filters.values import ADDRESS, BOOL, BYTES, HEX, INT, TIME, WORD

NAMES = {"0": 0, "EPIPE": -32, "stall": -32, "GET_DESCRIPTOR": 6}


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        (INT, "18", 18),
        (INT, "-32", -32),
        (INT, "0x0781", 0x781),
        (INT, "-0X1f", -31),
        (INT, "4k", 4000),
        (INT, "1.5k", 1500),
        (INT, "2M", 2_000_000),
        (INT, "64Ki", 65536),
        (INT, "0.5Gi", 1 << 29),
        (INT, "epipe", -32),
        (INT, "stall", -32),
        (WORD, "get_descriptor", 6),
        (WORD, "0x06", 6),
        (BOOL, "True", 1),
        (BOOL, "0", 0),
        (TIME, "2", 2_000_000_000),
        (TIME, "1.5s", 1_500_000_000),
        (TIME, "10ms", 10_000_000),
        (TIME, "250us", 250_000),
        (TIME, "250µs", 250_000),
        (TIME, "40ns", 40),
        (TIME, "-1m", -60_000_000_000),
        (TIME, "1h", 3600 * 10**9),
        (ADDRESS, "1:5", 1 << 8 | 5),
        (ADDRESS, "1.005", 1 << 8 | 5),  # as `usbmon show` prints it
        (BYTES, "55:53:42:43", b"USBC"),
        (BYTES, "55534243", b"USBC"),
    ],
)
def test_a_word_is_read(kind, word, value):
    assert kind.read(word, False, NAMES if kind in (INT, WORD) else {}) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("USBC", b"USBC"),
        (r"\x00\x1f", b"\x00\x1f"),
        (r"\n\r\t\0", b"\n\r\t\0"),
        (r"\"\\\'", b"\"\\'"),
        (r"\xzz", b"xzz"),
        ("é", b"\xc3\xa9"),
        ("\udcff", b"\xff"),  # how Python hands on what is no UTF-8 on the command line
    ],
)
def test_quoted_text_is_bytes(text, value):
    assert BYTES.read(text, True, {}) == value


def test_a_date_is_of_utc():
    second = 10**9
    assert TIME.read("1970-01-01 00:01:00", True, {}) == 60 * second
    assert TIME.read("1970-01-01 00:00:00.000250 UTC", True, {}) == 250_000
    assert TIME.read("1970-01-01T01:00:00+01:00", True, {}) == 0
    assert TIME.read("1969-12-31 23:59:59", True, {}) == -second


@pytest.mark.parametrize(
    ("kind", "word", "quoted", "message"),
    [
        (INT, "5x", False, "'5x' is no number; write one as 18, 0x12, 4k or 64Ki"),
        (INT, "1.5", False, "'1.5' is no whole number"),
        (INT, "0x1_0", False, "'0x1_0' is no number"),
        (INT, "٣", False, "is no number"),
        (INT, "18446744073709551616", False, "no number here is larger than 64 bits"),
        (TIME, "9" * 30 + "h", False, "no number here is larger than 64 bits"),
        (TIME, "soon", False, "'soon' is no time; write one as 1.5s, 10ms or 250us"),
        (TIME, "soon", True, "'soon' is no date"),
        (TIME, "0001-01-01 00:00+23:59", True, "no number here is larger than 64 bits"),
        (TIME, "2025-02-30", True, "'2025-02-30' is no date"),
        (BOOL, "maybe", False, "'maybe' is neither true nor false"),
        (ADDRESS, "5", False, "'5' is no device; write bus:device, as 1:5 (addr == 5: on any bus)"),
        (ADDRESS, "1:256", False, "'1:256' cannot be"),
        (ADDRESS, "65536:1", False, "'65536:1' cannot be"),
        (BYTES, "5", False, """'5' are no bytes; write them as 55:53:42:43 or "USBC\""""),
        (BYTES, "", True, "no bytes to look for"),
        (BYTES, "\ud800", True, "surrogates not allowed"),
    ],
)
def test_what_is_no_value_is_told(kind, word, quoted, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the message is looked at)
        kind.read(word, quoted, {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("EPIP", "no value 'EPIP'; did you mean EPIPE?"),
        ("xyz", "no value 'xyz'; there are 0, EPIPE, stall, GET_DESCRIPTOR"),
        ("q" * 5000, f"no value '{'q' * 40}…'; there are 0"),
    ],
)
def test_of_names_the_nearest_is_told_or_all(word, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        WORD.read(word, False, NAMES)
    assert str(caught.value).startswith(message)


def test_of_many_names_the_first_are_told():
    with pytest.raises(ValueError, match=r"there are n0, n1, n2, n3, n4, n5, n6, n7, …$"):
        WORD.read("xyz", False, {f"n{number}": number for number in range(9)})


def test_the_nearest_name_may_be_the_end_of_one():
    names = ["setup.bRequest", "status", "len"]
    assert values.nearest("brequest", names) == "setup.bRequest"
    assert values.nearest("stauts", names) == "status"
    assert values.nearest("qqqq", names) == ""


@given(
    st.sampled_from([INT, HEX, WORD, TIME]),
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-40, 10)),
    st.sampled_from([{}, NAMES]),
)
def test_a_number_is_read_back_as_it_is_written(kind, number, names):
    assert kind.read(kind.write(number, names), False, names) == number


@given(st.integers(0, 0xFFFFFF))
def test_so_is_a_device(number):
    assert ADDRESS.read(ADDRESS.write(number, {}), False, {}) == number


@given(st.binary(min_size=1))
def test_so_are_bytes(data):
    assert BYTES.read(BYTES.write(data, {}), False, {}) == data


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        (INT, -32, "EPIPE"),
        (HEX, 6, "GET_DESCRIPTOR"),
        (HEX, 0x80, "0x80"),
        (HEX, -1, "-0x1"),
        (BOOL, 1, "true"),
        (BOOL, 0, "false"),
        (TIME, 1_500_000_000, "1500ms"),
        (TIME, 0, "0s"),
        (ADDRESS, 0x105, "1:5"),
    ],
)
def test_the_word_for_a_value(kind, value, word):
    assert kind.write(value, NAMES) == word


@given(st.sampled_from(values.KINDS), st.text(max_size=20), st.booleans())
def test_any_word_is_a_value_or_a_value_error(kind, word, quoted):
    try:
        value = kind.read(word, quoted, NAMES)
    except ValueError:
        return
    assert isinstance(value, bytes) == (kind is BYTES)
