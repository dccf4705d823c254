"""Binary records: finding them, reading them and writing them. The records are packed by hand."""

import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import rows as r
from tests.helpers import wire
from usbmon._kernel import records

NATIVE = "<" if sys.byteorder == "little" else ">"
LARGEST = 128 << 20  # MAX_SNAPLEN of libpcap for USB
LARGE = (LARGEST + 1, 2**31 - 1, 2**31, 2**32 - 1)
OLD_HEADER = r.absent("interval", "start_frame", "xfer_flags")
NO_ERRNOS = memoryview(struct.pack("=2q", -1, -1)).cast("q")


def interface(header: int, **fields: int) -> list[int]:
    values = {"multiply": 1, "divide": 1, "bits": 0, "offset": 0, "packets": 0, **fields}
    return [header, *(values[name] for name in records.INTERFACE[1:])]


def table(*interfaces: list[int]) -> memoryview:
    words = [word for row in interfaces for word in row]
    return memoryview(bytearray(struct.pack(f"={len(words)}q", *words))).cast("q")


def rubbish(rows: int) -> bytearray:
    return bytearray(b"\xa5" * (r.SIZE * rows))


# The raw API


def native(**fields: Any) -> bytes:
    return wire.packet(order=NATIVE, **fields)


def walk_raw(
    text: bytes,
    header: int = 64,
    alloc: int = 1 << 40,
    *,
    rows: int = 8,
    start: int = 0,
    align: int = 1,
) -> tuple[list[tuple[int, int]], int, int, bool]:
    """Where records are and how long, then what the walk returns."""
    out = rubbish(rows)
    count, end, fillers, lost = records.walk_raw(text, start, out, header, alloc, align)
    found = r.unpack(out[: count * r.SIZE])
    assert all(row["ts"] == row["urb"] == row["marks"] == row["absent"] == 0 for row in found)
    return [(row["data_at"], row["captured"]) for row in found], end, fillers, lost


@pytest.mark.parametrize("size", [48, 64])
def test_raw_records_follow_one_another(size):
    text = native(size=size) + native(size=size, payload=bytes(5)) + native(size=size)
    places = [(0, size), (size, size + 5), (2 * size + 5, size)]
    assert walk_raw(text, size) == (places, len(text), 0, False)
    assert walk_raw(text, size, start=size) == (places[1:], len(text), 0, False)
    assert walk_raw(text, size, rows=2) == (places[:2], 2 * size + 5, 0, False)


def test_a_raw_record_that_is_not_all_there_waits():
    text = native(payload=bytes(5)) + native(payload=bytes(3))
    for end in range(69, len(text)):
        assert walk_raw(text[:end]) == ([(0, 69)], 69, 0, False)


def test_a_reader_with_a_small_buffer_got_less_than_len_cap_says():
    text = native(payload=bytes(5), len_cap=9) + native(payload=bytes(3))
    assert walk_raw(text, alloc=5)[0] == [(0, 69), (69, 67)]


def test_fillers_are_a_header_alone():
    filler = native(type="@", len_cap=3000, busnum=0xFFFF, xfer_type=77)
    text = filler + native(payload=bytes(5)) + filler + filler
    assert walk_raw(text) == ([(64, 69)], len(text), 3, False)


def test_in_the_ring_a_filler_takes_what_it_claims_and_records_begin_at_multiples_of_64():
    record = native(payload=bytes(5)) + b"\xa5" * 59
    filler = native(type="@", len_cap=128) + b"\xa5" * 128
    text = record + filler + native() + record
    assert walk_raw(text, align=64) == ([(0, 69), (320, 64), (384, 69)], len(text), 1, False)
    assert walk_raw(text[:319], align=64) == ([(0, 69)], 128, 0, False)
    assert walk_raw(text[:-59], align=64)[0] == [(0, 69), (320, 64), (384, 69)]


IMPLAUSIBLE: list[dict[str, Any]] = [
    {"type": "s"}, {"type": "\0"}, {"xfer_type": 4}, {"epnum": 0x10}, {"epnum": 0xC1},
    {"devnum": 128}, {"flag_setup": 1}, {"flag_setup": 32}, {"flag_setup": 127}, {"flag_data": 127},
    {"ts_sec": 2 << 32}, {"ts_sec": -1}, {"ts_usec": 1_000_000}, {"ts_usec": -1},
]  # fmt: skip
PLAUSIBLE: list[dict[str, Any]] = [
    {}, {"type": "S"}, {"type": "E"}, {"xfer_type": 0}, {"epnum": 0x8F}, {"devnum": 127},
    {"flag_setup": 0}, {"flag_setup": ord("!")}, {"flag_setup": ord("~")},
    {"flag_data": ord("~")}, {"flag_data": ord("<")}, {"ts_usec": 999_999},
    {"ts_sec": 0}, {"ts_sec": (2 << 32) - 1}, {"busnum": 65535}, {"status": -(2**31)},
]  # fmt: skip


@pytest.mark.parametrize("fields", IMPLAUSIBLE, ids=str)
def test_what_can_be_no_event_ends_the_walk(fields):
    bad = native(**fields)
    assert not records.plausible(bad, 0)
    assert walk_raw(native() + bad + native()) == ([(0, 64)], 64, 0, True)


@pytest.mark.parametrize("fields", PLAUSIBLE, ids=str)
def test_what_can_be_an_event_is_one(fields):
    assert records.plausible(native(**fields), 0)
    assert records.plausible(b"x" + native(**fields), 1)


def test_a_head_needs_its_48_bytes():
    assert records.plausible(native()[:48], 0)
    assert not records.plausible(native()[:47], 0)
    assert not records.plausible(native(), 17)


@pytest.mark.parametrize("size", LARGE)
def test_a_raw_record_larger_than_any_ends_the_walk(size):
    assert walk_raw(native(len_cap=size)) == ([], 0, 0, True)
    # Even where the reader's buffer was small: no kernel captures so much.
    assert walk_raw(native(len_cap=size), alloc=0) == ([], 0, 0, True)


def test_the_largest_raw_record_is_waited_for():
    assert walk_raw(native(len_cap=LARGEST)) == ([], 0, 0, False)


# pcap


def walk_pcap(
    text: bytes, *, order: str = "<", nano: bool = False, rows: int = 8, start: int = 0
) -> tuple[list[tuple[int, int, int]], int, bool]:
    out = rubbish(rows)
    count, end, lost = records.walk_pcap(text, start, out, order == ">", nano)
    found = r.unpack(out[: count * r.SIZE])
    return [(row["data_at"], row["captured"], row["ts"]) for row in found], end, lost


def in_pcap(size: int, order: str = "<", stamp: tuple[int, int] = (7, 9)) -> bytes:
    return struct.pack(order + "IIII", *stamp, size, size + 100) + bytes(size)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("nano", "ns"), [(False, 9000), (True, 9)])
def test_pcap_records(order, nano, ns):
    text = in_pcap(5, order) + in_pcap(0, order) + in_pcap(2, order, (2**32 - 1, 9))
    places = [(16, 5, 7 * 10**9 + ns), (37, 0, 7 * 10**9 + ns), (53, 2, (2**32 - 1) * 10**9 + ns)]
    assert walk_pcap(text, order=order, nano=nano) == (places, 55, False)
    assert walk_pcap(text, order=order, nano=nano, rows=1) == (places[:1], 21, False)
    assert walk_pcap(text, order=order, nano=nano, start=21) == (places[1:], 55, False)


def test_a_pcap_record_that_is_not_all_there_waits():
    text = in_pcap(5) + in_pcap(2)
    for end in range(21, len(text)):
        assert walk_pcap(text[:end])[1:] == (21, False)


@pytest.mark.parametrize("size", LARGE)
def test_a_pcap_record_larger_than_any_ends_the_walk(size):
    head = struct.pack("<IIII", 1, 0, size, size)
    assert walk_pcap(in_pcap(5) + head + bytes(9))[1:] == (21, True)
    assert walk_pcap(struct.pack("<IIII", 1, 0, LARGEST, LARGEST))[1:] == (0, False)


# pcapng


def walk_pcapng(
    text: bytes, interfaces: memoryview, *, order: str = "<", base: int = 0, rows: int = 8
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Place, size, time and interface of each packet, and where the walk ended."""
    out = rubbish(rows)
    count, end = records.walk_pcapng(text, 0, out, order == ">", interfaces, base)
    found = r.unpack(out[: count * r.SIZE])
    return [(p["data_at"], p["captured"], p["ts"], p["interface"]) for p in found], end


USB = interface(64)


@pytest.mark.parametrize("order", ["<", ">"])
def test_enhanced_packets(order):
    interfaces = table(USB, interface(0), interface(48))
    text = b"".join(
        wire.enhanced(bytes(size), ts=ts, number=number, order=order)
        for size, ts, number in ((5, 1 << 40, 0), (8, 7, 1), (6, 9, 2))
    )
    assert walk_pcapng(text, interfaces, order=order, base=10) == (
        [(28, 5, 1 << 40, 10), (108, 6, 9, 12)],
        len(text),
    )
    # Those of an interface that is not USB are counted, and passed over.
    assert interfaces.tolist()[5::6] == [1, 1, 1]


def test_options_behind_a_packet_are_passed_over():
    text = wire.enhanced(b"12345", options=wire.option(1, b"a comment")) + wire.enhanced(b"6")
    assert [place[0] for place in walk_pcapng(text, table(USB))[0]] == [28, len(text) - 36 + 28]


def test_the_rows_that_there_are_end_the_walk():
    text = wire.enhanced(b"1") * 3
    found, end = walk_pcapng(text, table(USB), rows=2)
    assert (len(found), end) == (2, 72)


EPB = wire.enhanced(b"12345678")


@pytest.mark.parametrize(
    "block",
    [
        wire.interface(),
        wire.block(5, bytes(40)),
        EPB[:-1],
        EPB[:31],
        wire.enhanced(b"1", number=1),
        wire.enhanced(b"1", number=2**32 - 1),
        EPB[:4] + struct.pack("<I", 41) + EPB[8:] + bytes(8),
        EPB[:4] + struct.pack("<I", 2**32 - 4) + EPB[8:],
        EPB[:4] + struct.pack("<I", 0) + EPB[8:],
        EPB[:20] + struct.pack("<I", 9) + EPB[24:],
        EPB[:20] + struct.pack("<I", 2**32 - 1) + EPB[24:],
    ],
)
def test_another_block_or_one_that_is_malformed_ends_the_walk(block):
    interfaces = table(USB)
    assert walk_pcapng(EPB + block, interfaces) == ([(28, 8, 0, 0)], 40)
    assert interfaces[5] == 1


# if_tsresol: a decimal or, with the upper bit, a binary fraction of a second. 62 bits of ticks are
# looked at, as more than that is no date.
TIMES = {
    "microseconds": ({"multiply": 1000}, 1_700_000_000_000_001, 1_700_000_000_000_001_000),
    "nanoseconds": ({}, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
    "seconds": ({"multiply": 10**9}, 1_700_000_000, 1_700_000_000 * 10**9),
    "picoseconds": ({"divide": 1000}, 1_700_000_000_999, 1_700_000_000),
    "too many seconds": ({"multiply": 10**9}, 1 << 40, 0),
    "an offset": ({"multiply": 1000, "offset": 100}, 5, 100 * 10**9 + 5000),
    "an offset back": ({"offset": -1}, 5, 5 - 10**9),
    "whole seconds, binary": ({"bits": 0, "multiply": 10**9}, 3, 3 * 10**9),
    "1/1024 s": ({"bits": 10}, (7 << 10) + 512, 7_500_000_000),
    "1/2**32 s": ({"bits": 32}, (7 << 32) + (1 << 31), 7_500_000_000),
    "1/2**40 s": ({"bits": 40}, (7 << 40) + (1 << 38), 7_250_000_000),
    "1/2**62 s": ({"bits": 62}, (1 << 62) + (1 << 61), 1_500_000_000),
    "too many seconds, binary": ({"bits": 1}, 1 << 40, 0),
}


@pytest.mark.parametrize(("resolution", "ticks", "ns"), list(TIMES.values()), ids=list(TIMES))
def test_time_resolutions(resolution, ticks, ns):
    interfaces = table(interface(0), interface(64, **resolution), interface(64, multiply=7))
    found, _ = walk_pcapng(wire.enhanced(b"1", ts=ticks, number=1), interfaces)
    assert found[0][2] == ns


@pytest.mark.parametrize("resolution", [{}, {"multiply": 1000}, {"multiply": 10**9}, {"bits": 9}])
def test_no_stamp_is_too_large(resolution):
    text = wire.enhanced(b"1", ts=2**64 - 1)
    found, end = walk_pcapng(text, table(interface(64, **resolution)))
    assert end == len(text)
    assert abs(found[0][2]) < 2**63


# Reading the records


# Of the kernel's fields, a walk fills in none.
RUBBISH = {
    **dict.fromkeys(("id", "xfer_flags", "ndesc", "busnum", "status", "ts_usec"), 99),
    "interval": -1,
    "start_frame": -1,
    "setup": b"\xa5" * 8,
    "absent": 0,
}


def unpack(
    *raw: bytes,
    interfaces: memoryview | None = None,
    numbers: tuple[int, ...] = (),
    base: int = 0,
    swap: bool = False,
    own_time: bool = False,
    errnos: memoryview = NO_ERRNOS,
    ts: int = 77,
) -> tuple[list[r.Fields], int, bytearray]:
    """The rows of these records, how many were left out, and the text with what was built there."""
    size = sum(map(len, raw))
    text = bytearray(b"".join(raw)) + bytearray(2 * size)
    at, found = 0, bytearray()
    for n, record in enumerate(raw):
        place = {"data_at": at, "captured": len(record), "ts": ts + n}
        found += r.pack(RUBBISH | place | {"interface": numbers[n] if numbers else base})
        at += len(record)
    args = (interfaces or table(USB), base, swap, own_time, errnos, size)
    count, left_out, others = records.unpack(text, found, len(raw), *args)
    assert count + left_out + others == len(raw)
    return r.unpack(found)[:count], left_out, text


def data_of(row: r.Fields, text: bytearray) -> bytes:
    return bytes(text[row["data_at"] : row["data_at"] + row["captured"]])


FIELDS: dict[str, Any] = {
    "id": 0xFFFF8CC704D42801,
    "xfer_type": 2,
    "epnum": 0x80,
    "devnum": 3,
    "busnum": 0x0102,
    "flag_setup": 0,
    "flag_data": ord("<"),
    "ts_sec": 0x0102030405,
    "ts_usec": 0x06070,
    "status": -115,
    "length": 0x01020304,
    "len_cap": 3,
    "setup": bytes.fromhex("8006000100001200"),
}
MORE = {"interval": -2, "start_frame": 0x01020304, "xfer_flags": 0x05060708}


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_64_bytes_header(order):
    raw = wire.packet(order=order, type="S", payload=b"abc", **FIELDS, **MORE)
    (row,), left_out, text = unpack(raw, swap=order != NATIVE)
    assert left_out == 0
    expected = FIELDS | MORE | {"type": ord("S"), "ts": 77, "absent": r.LINUX, "clock": r.WALL}
    assert {name: row[name] for name in expected} == expected
    assert data_of(row, text) == b"abc"


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_48_bytes_header_has_no_more_fields(order):
    raw = wire.packet(48, order, b"abc", type="S", **FIELDS)
    (row,), _, text = unpack(raw, interfaces=table(interface(48)), swap=order != NATIVE)
    expected = FIELDS | dict.fromkeys((*MORE, "ndesc"), 0) | {"absent": r.LINUX | OLD_HEADER}
    assert {name: row[name] for name in expected} == expected
    assert data_of(row, text) == b"abc"


@pytest.mark.parametrize("order", ["<", ">"])
def test_isochronous_fields_and_descriptors_have_the_byte_order_too(order):
    packets = ((0, 0, 9), (-71, 192, 2**32 - 1))
    payload = wire.descriptors(*packets, order=order) + b"\x01\x02\x03"
    raw = wire.packet(order=order, payload=payload, xfer_type=0, iso=(1, 2), ndesc=2)
    (row,), _, text = unpack(raw, swap=order != NATIVE)
    assert (row["iso"], row["ndesc"]) == ((1, 2), 2)
    assert data_of(row, text) == r.descriptors(*packets) + b"\x01\x02\x03"


def test_the_record_has_a_time_of_its_own():
    raw = native(ts_sec=1_700_000_000, ts_usec=123_456)
    assert unpack(raw, own_time=True)[0][0]["ts"] == 1_700_000_000_123_456_000
    assert unpack(raw)[0][0]["ts"] == 77


# mon_bin.c writes at most 128 descriptors; read() tells their number by numdesc alone.
@pytest.mark.parametrize(
    ("numdesc", "present", "ndesc"), [(0, 0, 0), (2, 2, 2), (-1, 2, 0), (200, 130, 128)]
)
def test_descriptors_of_the_48_bytes_header(numdesc, present, ndesc):
    payload = wire.descriptors(*[(0, 0, 0)] * present, order=NATIVE) + b"abc"
    raw = native(size=48, payload=payload, xfer_type=0, iso=(0, numdesc))
    (row,), *_ = unpack(raw, interfaces=table(interface(48)))
    assert (row["ndesc"], row["captured"]) == (ndesc, len(payload))


@pytest.mark.parametrize("fields", [{"type": "E"}, {"xfer_type": 1}])
def test_only_isochronous_transfers_have_descriptors(fields):
    raw = native(size=48, payload=bytes(32), **{"xfer_type": 0, "iso": (0, 2), **fields})
    (row,), *_ = unpack(raw, interfaces=table(interface(48)))
    assert row["ndesc"] == 0


@pytest.mark.parametrize(
    ("ndesc", "size", "kept", "captured"),
    [(2, 31, 1, 16), (2, 15, 0, 0), (2**32 - 1, 40, 2, 32), (2, 32, 2, 32), (2, 40, 2, 40)],
)
def test_a_part_of_a_descriptor_is_none(ndesc, size, kept, captured):
    raw = native(payload=bytes(size), xfer_type=0, iso=(0, 2), ndesc=ndesc)
    (row,), *_ = unpack(raw)
    assert (row["ndesc"], row["captured"]) == (kept, captured)


@pytest.mark.parametrize(
    "bad",
    [native()[:63], b"", native(xfer_type=4), native(type="@")],
    ids=["cut", "empty", "of no type", "a filler"],
)
def test_what_is_no_event_is_left_out_and_the_next_moves_up(bad):
    raw = [bad, native(devnum=4), bad, bad, native(devnum=5, payload=b"xyz")]
    interfaces = table(*[USB] * 5)
    found, left_out, text = unpack(*raw, interfaces=interfaces, numbers=(0, 1, 2, 3, 4))
    assert left_out == 3
    assert [row["interface"] for row in found] == [1, 4]
    assert [(row["devnum"], row["ts"]) for row in found] == [(4, 78), (5, 81)]
    assert data_of(found[1], text) == b"xyz"


def test_each_interface_has_records_of_its_kind():
    interfaces = table(interface(48), USB, interface(249))
    raw = (native(size=48, payload=b"a"), native(payload=b"b"), wire.usbpcap(b"c"))
    found, left_out, text = unpack(*raw, interfaces=interfaces, numbers=(7, 8, 9), base=7)
    assert left_out == 0
    assert [data_of(row, text) for row in found] == [b"a", b"b", b"c"]
    assert [row["interface"] for row in found] == [7, 8, 9]


def test_no_records_are_no_work():
    assert records.unpack(
        bytearray(1), bytearray(), 0, table(USB), 0, False, False, NO_ERRNOS, 0
    ) == (
        0,
        0,
        0,
    )
    assert records.payload_size(b"", 0) == 0
    assert records.pack(b"", 0, b"", bytearray(1), 64, 0, False, False, NO_ERRNOS) == 0


# USBPcap (desowin.org/usbpcap/captureformat.html)

USBPCAP = table(interface(249))
ERRNOS = memoryview(struct.pack("=4q", 0xC0000004, -32, 0, 0)).cast("q")
STALL, UNKNOWN_ERROR, UNKNOWN_SUCCESS = 0xC0000004, 0xC0FFFFFF, 0x01234567


def usbpcap(payload: bytes = b"", more: bytes = b"", **fields: Any) -> tuple[r.Fields, bytes]:
    raw = wire.usbpcap(payload, more, **fields)
    (row,), left_out, text = unpack(raw, interfaces=USBPCAP, errnos=ERRNOS)
    assert left_out == 0
    return row, data_of(row, text)


def test_a_usbpcap_completion():
    row, data = usbpcap(b"abc", status=STALL, bus=0x0102)
    expected = {
        "id": 0xFFFFFA8012345670,
        "type": ord("C"),
        "xfer_type": 3,
        "epnum": 0x81,
        "devnum": 7,
        "busnum": 0x0102,
        "flag_setup": ord("-"),
        "flag_data": 0,
        "status": -32,
        "length": 3,
        "usbd_status": STALL,
        "usbd_function": 9,
        "clock": r.WALL,
        "absent": r.absent("interval", "xfer_flags", "len_cap"),
    }
    assert {name: row[name] for name in expected} == expected
    assert data == b"abc"


def test_a_usbpcap_submission_says_not_how_much_input_it_wants():
    row, _ = usbpcap(info=0, transfer=1)
    assert (row["type"], row["status"], row["flag_data"]) == (ord("S"), -115, ord("<"))
    assert row["absent"] & r.absent("length")


def test_usbpcap_output():
    row, data = usbpcap(b"abc", info=0, endpoint=2)
    assert (row["length"], row["flag_data"], data) == (3, 0, b"abc")
    assert not row["absent"] & r.absent("length")
    row, _ = usbpcap(info=1, endpoint=2)
    assert row["flag_data"] == ord(">")


@pytest.mark.parametrize(
    ("ts", "sec", "usec"), [(7_000_001_999, 7, 1), (-1, -1, 999_999), (-(10**9), -1, 0)]
)
def test_the_stamp_of_a_usbpcap_record_is_its_time(ts, sec, usec):
    (row,), *_ = unpack(wire.usbpcap(), interfaces=USBPCAP, errnos=ERRNOS, ts=ts)
    assert (row["ts"], row["ts_sec"], row["ts_usec"]) == (ts, sec, usec)


@pytest.mark.parametrize(
    ("status", "errno"), [(0, 0), (STALL, -32), (UNKNOWN_ERROR, -71), (UNKNOWN_SUCCESS, 0)]
)
def test_a_usbd_status_is_kept_and_has_an_errno(status, errno):
    row, _ = usbpcap(status=status)
    assert (row["usbd_status"], row["status"]) == (status, errno)


@pytest.mark.parametrize(
    ("setup", "more", "size", "found"),
    [
        ("8006000100001200", b"", 8, (0x80, 18, ord("<"))),
        ("8006000100000080", b"", 8, (0x80, 0x8000, ord("<"))),
        ("2109000200000300", b"abc", 11, (0, 3, 0)),
        # A length that claims less than the setup packet.
        ("0005070000000000", b"", 0, (0, 0, 0)),
    ],
)
def test_usbpcap_stage_0_has_the_setup_packet(setup, more, size, found):
    payload = bytes.fromhex(setup) + more
    row, data = usbpcap(payload, b"\0", transfer=2, endpoint=0, info=0, length=size)
    assert (row["setup"].hex(), row["flag_setup"], data) == (setup, 0, more)
    assert (row["epnum"], row["length"], row["flag_data"]) == found


@pytest.mark.parametrize(
    ("stage", "info", "payload"),
    [(0, 1, bytes(8)), (1, 0, bytes(8)), (3, 1, bytes(8)), (0, 0, bytes(7))],
)
def test_other_usbpcap_stages_have_none(stage, info, payload):
    row, data = usbpcap(payload, bytes([stage]), transfer=2, endpoint=0x80, info=info)
    assert (row["flag_setup"], row["setup"], data) == (ord("-"), bytes(8), payload)


def iso_packets(*packets: tuple[int, int, int]) -> bytes:
    """Start frame 5, 2 errors; each packet as offset, length, USBD_STATUS."""
    head = struct.pack("<III", 5, len(packets), 2)
    return head + b"".join(struct.pack("<III", *packet) for packet in packets)


def test_usbpcap_packets_become_descriptors():
    more = iso_packets((0, 9, 0), (192, 0, STALL))
    row, data = usbpcap(b"data", more, transfer=0)
    assert (row["start_frame"], row["iso"], row["ndesc"]) == (5, (2, 2), 2)
    assert data == r.descriptors((0, 0, 9), (-32, 192, 0)) + b"data"
    # Without data, this is said.
    row, data = usbpcap(b"", more, transfer=0, info=0)
    assert (row["flag_data"], len(data)) == (ord("<"), 32)


def test_usbpcap_packets_that_do_not_fit_the_header_are_no_packets():
    more = struct.pack("<III", 5, 3, 2) + bytes(12)
    row, data = usbpcap(b"data", more, transfer=0)
    assert (row["iso"], row["ndesc"], data) == ((2, 3), 0, b"data")


def test_several_isochronous_usbpcap_records_are_built_apart():
    raw = [wire.usbpcap(bytes([n] * 3), iso_packets((n, n, 0)), transfer=0) for n in range(4)]
    found, _, text = unpack(*raw, interfaces=USBPCAP, errnos=ERRNOS)
    assert [data_of(row, text) for row in found] == [
        r.descriptors((0, n, n)) + bytes([n] * 3) for n in range(4)
    ]


@pytest.mark.parametrize(
    "raw",
    [
        wire.usbpcap()[:26],
        wire.usbpcap(size=26),
        wire.usbpcap(size=28),
        wire.usbpcap(transfer=2),
        wire.usbpcap(transfer=0),
        wire.usbpcap(b"", bytes(11), transfer=0),
        *(wire.usbpcap(length=size) for size in LARGE),
    ],
    ids=range(10),
)
def test_a_usbpcap_record_that_is_cut_or_makes_no_sense_is_left_out(raw):
    good = wire.usbpcap(b"abc")
    (row,), left_out, text = unpack(raw, good, interfaces=USBPCAP, errnos=ERRNOS)
    assert left_out == 1
    assert (row["ts"], data_of(row, text)) == (78, b"abc")


# USBPCAP_TRANSFER_IRP_INFO and USBPCAP_TRANSFER_UNKNOWN, and what may come
@pytest.mark.parametrize("transfer", [4, 254, 255])
def test_a_usbpcap_record_of_another_request_is_no_broken_one(transfer):
    raw = wire.usbpcap(transfer=transfer)
    (row,), left_out, text = unpack(raw, wire.usbpcap(b"abc"), interfaces=USBPCAP, errnos=ERRNOS)
    assert left_out == 0
    assert (row["ts"], data_of(row, text)) == (78, b"abc")


@given(st.binary(min_size=0, max_size=150), st.sampled_from([48, 64, 249]), st.booleans())
def test_any_bytes_give_a_row_within_them_or_none(raw, header, swap):
    found, left_out, text = unpack(raw, interfaces=table(interface(header)), swap=swap)
    assert len(found) + left_out <= 1
    for row in found:
        assert row["data_at"] + row["captured"] <= len(text)
        assert 16 * row["ndesc"] <= row["captured"]
        assert row["xfer_type"] <= 3


# Writing


def pack(
    *events: r.Fields,
    header: int = 64,
    container: int = records.BARE,
    order: str = "<",
    nano: bool = False,
    interfaces: tuple[int, ...] = (0,),
) -> bytes:
    rows, arena = r.lay(*events)
    out = bytearray(b"\xa5" * (len(events) * 112 + len(arena)))
    numbers = memoryview(struct.pack(f"={len(interfaces)}q", *interfaces)).cast("q")
    size = records.pack(
        rows, len(events), arena, out, header, container, order == ">", nano, numbers
    )
    return bytes(out[:size])


# A row with the fields of `wire.packet`'s own defaults.
def like(**fields: Any) -> r.Fields:
    base = {"id": 0xFFFF8CC704D42800, "xfer_flags": 0x200, "clock": r.WALL}
    return base | {"ts_sec": 1_700_000_000, "ts_usec": 5, "ts": 1_700_000_000_000_005_000} | fields


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("header", [48, 64])
def test_records_of_the_binary_api(header, order):
    row = like(**FIELDS, **MORE, type="S", payload=b"abc")
    wanted = wire.packet(header, order, b"abc", type="S", **FIELDS, **MORE)
    assert pack(row, row, header=header, order=order) == wanted * 2


@pytest.mark.parametrize("order", ["<", ">"])
def test_isochronous_records(order):
    packets = ((0, 0, 9), (-71, 192, 2**32 - 1))
    row = like(xfer_type=0, iso=(1, 2), ndesc=2, payload=r.descriptors(*packets) + b"abc", length=3)
    payload = wire.descriptors(*packets, order=order) + b"abc"
    wanted = wire.packet(order=order, payload=payload, xfer_type=0, iso=(1, 2), ndesc=2, length=3)
    assert pack(row, order=order) == wanted


def test_a_bare_record_says_how_much_follows_it():
    row = like(payload=b"abc", len_cap=99, length=99)
    assert pack(row) == wire.packet(payload=b"abc", len_cap=3, length=99)
    assert pack(row, container=records.PCAP)[16:] == wire.packet(
        payload=b"abc", len_cap=99, length=99
    )


def test_a_text_traces_isochronous_event_claims_no_descriptor_that_is_not_there():
    row = like(
        xfer_type=0,
        iso=(3, 9),
        ndesc=1,
        payload=r.descriptors((0, 0, 9)),
        absent=r.LINUX | r.absent("len_cap"),
    )
    (raw,) = struct.unpack_from("<i", pack(row), 44)
    assert raw == 1


def test_the_setup_packet_of_a_text_trace_is_kept():
    row = like(xfer_type=2, flag_setup=0, setup=b"\xa5" * 8, absent=r.LINUX | r.absent("len_cap"))
    assert pack(like(), row, like())[104:112] == b"\xa5" * 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("nano", "fraction"), [(False, 5), (True, 5123)])
def test_pcap_records_are_written(order, nano, fraction):
    row = like(ts=1_700_000_000_000_005_123, payload=b"abc")
    head = struct.pack(order + "IIII", 1_700_000_000, fraction, 67, 67)
    wanted = head + wire.packet(order=order, payload=b"abc", length=0)
    assert pack(row, container=records.PCAP, order=order, nano=nano) == wanted


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", range(5))
def test_pcapng_packets_are_written(order, size):
    ts = 1_700_000_000_000_005_123
    row = like(ts=ts, payload=bytes(size), interface=1)
    raw = wire.packet(order=order, payload=bytes(size), length=0)
    out = pack(row, row, container=records.PCAPNG, order=order, interfaces=(4, 3))
    assert out == wire.enhanced(raw, ts=ts, number=3, order=order) * 2


def test_an_interface_that_is_not_known_is_the_first():
    raw = pack(like(interface=9), container=records.PCAPNG, interfaces=(4, 3))
    assert struct.unpack_from("<I", raw, 8) == (0,)


# What the record would have had, had nothing been cut: descriptors and data.
@pytest.mark.parametrize(
    ("fields", "original"),
    [
        ({"length": 512, "payload": bytes(3)}, 64 + 512),
        ({"length": 512, "flag_data": "<"}, 64),
        ({"length": 2, "payload": bytes(3)}, 64 + 3),
        ({"length": 2**32 - 1, "payload": bytes(3)}, 64 + 3),
        ({"xfer_type": 0, "ndesc": 1, "payload": bytes(16), "length": 9}, 64 + 16 + 9),
    ],
)
def test_the_original_length(fields, original):
    assert struct.unpack_from("<I", pack(like(**fields), container=records.PCAP), 12) == (original,)
    out = pack(like(**fields), container=records.PCAPNG)
    assert struct.unpack_from("<I", out, 24) == (original,)


# Other clocks have only the unwrapped time; times before the epoch round down.
@pytest.mark.parametrize(
    ("ts", "sec", "usec"),
    [
        (9_000_000_007_123, 9000, 7),
        (0, 0, 0),
        (-1, -1, 999_999),
        (-(10**9), -1, 0),
        (-1_500_000_000, -2, 500_000),
        (2**62, 2**62 // 10**9, 2**62 % 10**9 // 1000),
    ],
)
@pytest.mark.parametrize("clock", [0, r.MONOTONIC])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_stamp_that_is_no_date_is_the_unwrapped_time(ts, sec, usec, clock, order):
    out = pack(like(ts=ts, clock=clock), container=records.PCAP, order=order)
    assert struct.unpack_from(order + "qi", out, 16 + 16) == (sec, usec)
    assert struct.unpack_from(order + "II", out) == (sec & 0xFFFFFFFF, usec)


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_packed_is_found_and_read_again(order):
    events = [like(payload=bytes(n), length=n, devnum=n) for n in range(9)]
    text = pack(*events, container=records.PCAP, order=order)
    rows = rubbish(9)
    count, end, lost = records.walk_pcap(text, 0, rows, order == ">", False)
    assert (count, end, lost) == (9, len(text), False)
    swap = order != NATIVE
    args = (9, table(USB), 0, swap, False, NO_ERRNOS, len(text))
    assert records.unpack(bytearray(text), rows, *args) == (9, 0, 0)
    assert records.payload_size(rows, 9) == sum(range(9))
    wanted = r.unpack(r.lay(*events)[0])
    same = [name for name in wanted[0] if name != "data_at"]
    assert [[row[n] for n in same] for row in r.unpack(rows)] == [
        [row[n] for n in same] for row in wanted
    ]


def test_payloads_may_be_more_than_a_32_bit_number_together():
    rows, _ = r.lay(*[{"captured": 2**32 - 1}] * 3)
    assert records.payload_size(rows, 3) == 3 * (2**32 - 1)
    assert records.payload_size(rows, 1) == 2**32 - 1
