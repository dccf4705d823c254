"""`Events` as a batch. Columns and rows are compared with fields that were put in by hand."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import synthetic
from tests.helpers.generated import batch, many
from usbmon import Event, Events, layout
from usbmon.events import Descriptor, row_dtype

ISO = {
    "type": ord("C"),
    "xfer_type": 0,
    "epnum": 0x83,
    "devnum": 5,
    "busnum": 2,
    "flag_setup": ord("-"),
    "setup": struct.pack("=ii", 1, 3),
    "ndesc": 2,
    "interval": 8,
    "length": 12,
    "payload": struct.pack("=iIIIiIII", 0, 0, 8, 0, -71, 192, 4, 0) + b"abcdefghijkl",
    "ts": 12_345_678_000,
    "clock": layout.MONOTONIC,
    "urb": 9,
}
SUBMISSION = {
    "type": ord("S"),
    "xfer_type": 2,
    "epnum": 0x80,
    "devnum": 1,
    "busnum": 1,
    "setup": bytes(range(8)),
    "status": -115,
    "length": 64,
    "ts": 1_700_000_000_000_000_000,
    "clock": layout.WALL,
    "urb": 1,
}


def numbered(count: int) -> Events:
    return batch([{"id": n, "payload": b"%d" % n, "type": ord("C")} for n in range(count)])


def test_columns_are_views_that_cannot_be_written():
    events = batch([SUBMISSION, ISO])
    assert events.status.tolist() == [-115, 0]
    assert events.ts.dtype == np.int64
    assert events.setup.tolist()[0] == list(range(8))
    assert events.numdesc.tolist()[1] == 3
    assert np.shares_memory(events.status, np.frombuffer(events.buffers[0], np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        events.status[0] = 0


def test_a_column_that_is_none_says_which_there_are():
    with pytest.raises(AttributeError, match="no column 'nope'; there are id, type"):
        _ = batch([]).nope


def test_columns_are_listed_for_completion():
    assert set(layout.OFFSET) <= set(dir(Events.empty()))


def test_the_dtype_mirrors_the_layout():
    dtype = row_dtype()
    assert dtype.itemsize == layout.ROW_SIZE
    assert {n: dtype.fields[n][1] for n in dtype.names} == layout.OFFSET


def test_an_event_has_letters_and_words_for_codes():
    event = batch([ISO])[0]
    assert (event.type, event.xfer_type, event.clock) == ("C", "iso", "monotonic")
    assert event.is_in
    assert event.setup is None
    assert (event.error_count, event.numdesc) == (1, 3)
    assert event.descriptors == (Descriptor(0, 0, 8), Descriptor(-71, 192, 4))
    assert event.data == b"abcdefghijkl"


def test_an_event_that_is_not_isochronous_has_a_setup_packet_in_that_place():
    event = batch([SUBMISSION])[0]
    assert event.setup == bytes(range(8))
    assert event.error_count is event.numdesc is None
    assert event.descriptors == ()


@pytest.mark.parametrize("name", [n for n in layout.ABSENT if n not in {"error_count", "numdesc"}])
def test_what_is_absent_is_none(name):
    events = batch([{**SUBMISSION, "absent": layout.ABSENT_BIT[name]}, {**SUBMISSION, "absent": 0}])
    assert getattr(events[0], name) is None
    assert getattr(events[1], name) is not None
    assert events.present(name).tolist() == [False, True]


@pytest.mark.parametrize("name", ["error_count", "numdesc"])
def test_isochronous_counts_are_present_in_isochronous_events_only(name):
    events = batch([SUBMISSION, {**ISO, "absent": layout.ABSENT_BIT[name]}, ISO])
    assert events.present(name).tolist() == [False, False, True]
    assert [getattr(event, name) is None for event in events] == [True, True, False]


def test_a_setup_packet_is_present_where_its_flag_says_so():
    events = batch([SUBMISSION, {**SUBMISSION, "flag_setup": ord("Z")}])
    assert events.present("setup").tolist() == [True, False]
    assert events[1].setup is None
    assert events[1].flag_setup == "Z"


def test_a_field_that_is_always_there_is_present():
    assert numbered(2).present("devnum").tolist() == [True, True]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            ISO,
            (
                "<Event C Zi:2:005:3 t=12.345678 urb=9 status=0 length=12 descriptors=2/3 "
                "data[12]=61626364 65666768 696a6b6c>"
            ),
        ),
        (
            SUBMISSION,
            (
                "<Event S Ci:1:001:0 t=1700000000.000000 urb=1 status=-115 length=64 "
                "setup=00 01 02 03 04 05 06 07>"
            ),
        ),
        (
            {
                **ISO,
                "xfer_type": 3,
                "epnum": 2,
                "ndesc": 0,
                "payload": bytes(17),
                "marks": layout.DOUBLED | layout.REPAIRED,
                "absent": sum(layout.ABSENT_BIT[n] for n in ("busnum", "ts", "length")),
            },
            (
                "<Event C Bo:?:005:2 t=? urb=9 status=0 length=? "
                "data[17]=00000000 00000000 00000000 00000000 … doubled,repaired>"
            ),
        ),
    ],
)
def test_the_repr_of_an_event_is_short_and_says_what_it_is(row, words):
    assert repr(batch([row])[0]) == words


def test_the_repr_of_a_batch_shows_its_size_and_its_first_event():
    assert repr(Events.empty()) == "<Events: none>"
    assert repr(numbered(3)).startswith("<Events: 3, first <Event C ")


def test_rows_can_be_counted_from_either_end():
    events = numbered(3)
    assert [events[n].id for n in (0, 2, -1, -3)] == [0, 2, 2, 0]
    assert events[np.int64(1)].id == 1
    for n in (3, -4):
        with pytest.raises(IndexError):
            events[n]


@given(st.data())
def test_slices_masks_and_indexes_pick_as_those_of_a_list(data):
    size = data.draw(st.integers(0, 7))
    events, ids = numbered(size), list(range(size))
    part = data.draw(st.slices(size))
    assert [e.id for e in events[part]] == ids[part]
    mask = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    assert [e.data for e in events[np.array(mask, bool)]] == [b"%d" % n for n in ids if mask[n]]
    chosen = data.draw(st.lists(st.sampled_from(ids))) if size else []
    assert [e.id for e in events[np.array(chosen, int)]] == chosen


def test_a_slice_shares_rows_and_payload_and_a_mask_the_payload():
    events = numbered(5)
    rows, arena = (np.frombuffer(buffer, np.uint8) for buffer in events.buffers)
    cut, masked = events[1:4], events[events.id > 2]
    assert np.shares_memory(np.frombuffer(cut.buffers[0], np.uint8), rows)
    for part in (cut, masked, events[::2]):
        assert np.shares_memory(np.frombuffer(part.buffers[1], np.uint8), arena)


def test_payload_is_what_was_captured_descriptors_first():
    events = batch([ISO, SUBMISSION])
    assert bytes(events.payload(0)) == ISO["payload"]
    assert bytes(events.payload(-1)) == b""
    with pytest.raises(IndexError):
        events.payload(2)


@given(st.lists(many(max_size=3), max_size=4))
def test_concatenation_keeps_every_event(parts):
    assert list(Events.concat(parts)) == [event for part in parts for event in part]


def test_concatenated_slices_of_one_batch_go_on_sharing_its_payload():
    events = numbered(6)
    joined = Events.concat([events[4:], events[:2]])
    assert [e.data for e in joined] == [b"4", b"5", b"0", b"1"]
    assert joined.buffers[1] is events.buffers[1]


def test_one_batch_and_none_concatenate_to_themselves():
    events = numbered(2)
    assert Events.concat([Events.empty(), events]) is events
    assert len(Events.concat([])) == 0


def test_equal_is_what_has_equal_rows_wherever_the_payload_stands():
    events = numbered(4)
    assert events[2:] == Events.concat([numbered(4)[2:3], numbered(4)[3:]])
    assert events[2:] != events[1:3]
    assert events[2:] != events[2:3]
    assert events != 4
    with pytest.raises(TypeError, match="unhashable"):
        hash(events)


def test_rows_that_are_not_whole_are_refused():
    with pytest.raises(ValueError, match="104 bytes each, not 103"):
        Events(memoryview(bytes(103)), memoryview(b""))


def test_buffers_that_are_taken_cannot_be_written_through_the_batch():
    rows = bytearray(layout.ROW_SIZE)
    events = Events(memoryview(rows), memoryview(bytearray(1)))
    assert all(buffer.readonly for buffer in events.buffers)


def test_it_is_a_sequence_of_events():
    events = numbered(3)
    assert [type(e) for e in events] == [Event] * 3
    assert events[1] in events
    assert [e.id for e in reversed(events)] == [2, 1, 0]


COMMENTED = numbered(6).commented({0: ("first",), 4: ("a", "b")})


def told(events: Events) -> list[tuple[str, ...]]:
    return [event.comments for event in events]


def test_comments_are_beside_their_events():
    assert COMMENTED[4].comments == ("a", "b")
    assert told(COMMENTED) == [("first",), (), (), (), ("a", "b"), ()]
    assert numbered(6) != COMMENTED


@given(st.data())
def test_comments_go_where_their_events_go(data):
    size = st.integers(-8, 8)
    start, stop, step = data.draw(size), data.draw(size), data.draw(size.filter(bool))
    for key in (
        slice(start, stop),
        slice(start, stop, step),
        data.draw(st.lists(st.booleans(), min_size=6, max_size=6)),
    ):
        if isinstance(key, slice):
            expected = told(COMMENTED)[key]
        else:
            expected = [texts for texts, kept in zip(told(COMMENTED), key, strict=True) if kept]
        assert told(COMMENTED[key]) == expected


@given(st.lists(st.integers(0, 6), max_size=4))
def test_concatenation_keeps_comments(sizes):
    parts = [COMMENTED[:size] for size in sizes]
    assert told(Events.concat(parts)) == [texts for part in parts for texts in told(part)]


CUT = {"type": ord("C"), "xfer_type": 3, "length": 9, "len_cap": 9, "payload": b"123456789"}


@pytest.mark.parametrize("size", [0, 4, 8, 9, 10, 2**31])
def test_cut_keeps_so_many_bytes_of_data(size):
    (event,) = batch([CUT]).cut(size)
    kept = min(size, 9)
    assert (event.data, event.len_cap, event.length) == (b"123456789"[:kept], kept, 9)


def test_cut_keeps_descriptors():
    payload = struct.pack("=iIII", 0, 0, 9, 0) * 2 + b"123456789"
    iso = {**CUT, "xfer_type": 0, "ndesc": 2, "payload": payload, "len_cap": len(payload)}
    (event,) = batch([iso]).cut(3)
    assert (len(event.descriptors), event.data, event.len_cap) == (2, b"123", 35)


def test_cut_says_nothing_that_was_not_said():
    absent = layout.ABSENT_BIT["len_cap"]
    (event,) = batch([{**CUT, "absent": absent, "len_cap": 0}]).cut(3)
    assert (event.data, event.len_cap) == (b"123", None)


def test_cut_leaves_what_synthetic_events_say():
    events = synthetic.events(comment="a device")
    assert events.cut(0) == events
    assert events.cut(0)[0].comments == ("a device",)


def test_cut_of_what_is_short_enough_is_the_same():
    events = batch([CUT])
    assert events.cut(9) is events
    assert len(Events.empty().cut(0)) == 0


def test_synthetic_events_are_found():
    events = Events.concat([numbered(2), synthetic.events()])
    assert events.synthetic.tolist() == [False] * 2 + [True] * 4
