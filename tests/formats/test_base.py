"""The contract that all formats share, shown for each row of the matrix; and the notes.

What a format does on its own is in the file of its name.
"""

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import synthetic
from tests.helpers.generated import batch, many
from tests.helpers.matrix import MATRIX, Row, as_read, comes_back
from usbmon import Events, FormatError
from usbmon._kernel.tally import CENSUS
from usbmon.formats import FORMATS
from usbmon.formats.base import NOTES, Interface, Notes

rows = pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.name)

# One event of each kind, with a payload that text does not cut.
_COMMON = {"id": 0xFFFF8CC704D42800, "devnum": 5, "busnum": 2, "clock": 1, "flag_setup": ord("-")}
SAMPLE = batch(
    _COMMON | {"ts": (1_700_000_000 + n) * 10**9 + 5000, "ts_usec": 5} | fields
    for n, fields in enumerate(
        {"ts_sec": 1_700_000_000 + n} | fields
        for n, fields in enumerate(
            (
                {
                    "type": ord("S"),
                    "xfer_type": 2,
                    "epnum": 0x80,
                    "flag_setup": 0,
                    "flag_data": ord("<"),
                    "setup": bytes.fromhex("8006000100001200"),
                    "status": -115,
                    "length": 18,
                },
                {
                    "type": ord("C"),
                    "xfer_type": 2,
                    "epnum": 0x80,
                    "length": 18,
                    "len_cap": 18,
                    "payload": bytes(range(18)),
                },
                {
                    "type": ord("S"),
                    "xfer_type": 0,
                    "epnum": 1,
                    "status": -115,
                    "setup": b"\0\0\0\0\2\0\0\0",
                    "interval": 8,
                    "start_frame": 77,
                    "length": 7,
                    "ndesc": 2,
                    "len_cap": 39,
                    "payload": b"\xee\xff\xff\xff\0\0\0\0\3\0\0\0\0\0\0\0"
                    b"\xee\xff\xff\xff\3\0\0\0\4\0\0\0\0\0\0\0"
                    b"abcdefg",
                },
                {
                    "type": ord("C"),
                    "xfer_type": 1,
                    "epnum": 0x81,
                    "interval": 16,
                    "length": 4,
                    "len_cap": 4,
                    "payload": b"\1\2\3\4",
                },
                {"type": ord("E"), "xfer_type": 3, "epnum": 2, "status": -19, "flag_data": 69},
            )
        )
    )
)


def outcome(row: Row, *chunks: bytes) -> tuple[Events, bool]:
    """What a decoder gives for these bytes, and whether it said in the end that they are bad."""
    decoder = row.decoder()
    parts = []
    try:
        parts.extend(decoder.feed(chunk) for chunk in chunks)
        parts.append(decoder.close())
    except FormatError:
        return Events.concat(parts), True
    return Events.concat(parts), False


def test_every_format_that_can_be_written_is_in_the_matrix():
    assert [row.name for row in MATRIX] == sorted(
        (format.name for format in FORMATS if format.encoder),
        key=[row.name for row in MATRIX].index,
    )


@rows
@given(events=many(cut=True))
def test_what_is_written_comes_back_but_for_the_declared_losses(row: Row, events):
    back = row.decode(row.encode(events))
    assert len(back) == len(events)
    for event, again in zip(events, back, strict=True):
        wanted = comes_back(event, row)
        assert as_read(again, wanted, row) == wanted


@pytest.mark.parametrize("first", MATRIX, ids=lambda row: row.name)
@pytest.mark.parametrize("second", MATRIX, ids=lambda row: row.name)
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_any_format_goes_into_any_other(first: Row, second: Row, data):
    events = first.decode(first.encode(data.draw(many(cut=True, max_size=3))))
    back = second.decode(second.encode(events))
    assert len(back) == len(events)
    for event, again in zip(events, back, strict=True):
        wanted = comes_back(event, second)
        assert as_read(again, wanted, second) == wanted


@rows
@given(events=many(cut=True, max_size=1))
def test_a_loss_is_counted_where_there_is_one_and_not_elsewhere(row: Row, events):
    encoder = row.encoder()
    encoder.encode(events)
    back = row.decode(row.encode(events))
    for event, again in zip(events, back, strict=True):
        ignored = {"urb", "marks", "clock"} | (
            # Text says these in its own way (no tag without data; len_cap is absent).
            {"len_cap", "flag_data", "numdesc"} if row.text else set()
        )
        before, after = event._asdict(), again._asdict()
        if row.text and event.data[: event.length] != event.data:
            continue
        differ = {k for k in before if before[k] != after[k] and k not in ignored}
        # An absent field comes back as absent: a loss only where it was said to be something.
        differ -= {k for k in differ if after[k] is None and not before[k]}
        assert not differ or encoder.lost, differ


@rows
def test_encoding_in_pieces_gives_the_same_bytes(row: Row):
    encoder = row.encoder()
    pieces = [encoder.begin(), *(bytes(encoder.encode(SAMPLE[n : n + 1])) for n in range(5))]
    assert b"".join(pieces) == row.encode(SAMPLE)


@rows
@given(events=many(), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_chunks_can_be_cut_anywhere(row: Row, events, cuts):
    stream = row.encode(events)
    whole = row.decode(stream)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert row.decode(*(stream[a:b] for a, b in pairwise(edges))) == whole


@rows
def test_bytes_can_come_one_by_one(row: Row):
    stream = row.encode(SAMPLE)
    decoder = row.decoder()
    parts = [decoder.feed(stream[at : at + 1]) for at in range(len(stream))]
    assert Events.concat([*parts, decoder.close()]) == row.decode(stream)
    assert decoder.position == len(stream)


@rows
def test_what_came_before_bad_bytes_is_not_lost(row: Row):
    stream = row.encode(Events.concat([SAMPLE] * 20))
    noise = b"\xff\xfe no trace \x00\x01" * 400
    assert outcome(row, stream, noise)[0] == row.decode(stream)
    assert outcome(row, stream + noise)[0] == row.decode(stream)


@rows
def test_a_stream_cut_at_any_byte_gives_its_first_events(row: Row):
    stream = row.encode(SAMPLE)
    whole = row.decode(stream)
    for size in range(len(stream)):
        events, _ = outcome(row, stream[:size])
        # Text can be cut within a number, and then nobody knows: its last event is not compared.
        sure = len(events) - row.text
        if row.guesses and len(events) == 1:
            continue
        assert len(events) <= len(whole)
        assert all(events[n] == whole[n] for n in range(sure)), size


@rows
@given(
    events=many(max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 999), st.binary(min_size=1, max_size=9)), max_size=5),
)
def test_damage_gives_events_or_a_format_error(row: Row, events, changes):
    stream = bytearray(row.encode(events))
    for place, value in changes:
        at = place % (len(stream) + 1)
        stream[at : at + len(value)] = value
    events, _ = outcome(row, bytes(stream))
    assert all(event.type in "SCE" for event in events)
    bytes(row.encoder().encode(events))


@rows
@given(head=st.sampled_from([0, 24, 92]), tail=st.binary(max_size=600))
def test_any_bytes_give_events_or_a_format_error(row: Row, head, tail):
    events, _ = outcome(row, row.encode(Events.empty())[:head] + tail)
    assert all(event.type in "SCE" for event in events)


@rows
@pytest.mark.parametrize("other", MATRIX, ids=lambda row: row.name)
def test_a_stream_of_another_format_gives_events_or_a_format_error(row: Row, other: Row):
    events, refused = outcome(row, other.encode(Events.concat([SAMPLE] * 20)))
    alike = isinstance(other.decoder(), type(row.decoder()))
    # One record alone does not show that its header is longer than was said.
    misled = (row.name, other.name) == ("bin48", "bin")
    assert len(events) == (100 if alike else int(misled))
    assert not (alike and refused)


@rows
def test_a_decoder_says_what_it_reads_as_soon_as_it_knows(row: Row):
    decoder = row.decoder()
    assert decoder.variant == ("48-byte headers" if row.name == "bin48" else "")
    decoder.feed(row.encode(Events.concat([SAMPLE] * 20)))
    assert decoder.variant


@rows
def test_no_bytes_are_no_events(row: Row):
    assert row.decode() == Events.empty()
    assert row.decode(b"", b"") == Events.empty()


@rows
def test_no_events_are_still_a_stream(row: Row):
    stream = row.encode(Events.empty())
    assert stream == row.encoder().begin()
    assert row.decode(stream) == Events.empty()


@rows
def test_memory_does_not_grow_with_the_stream(row: Row):
    stream = row.encode(Events.concat([SAMPLE] * 14))
    head = row.encoder().begin()
    decoder = row.decoder()
    decoder.feed(stream)
    tracemalloc.start()
    try:
        for _ in range(4):
            decoder.feed(stream[len(head) :])
        first = tracemalloc.get_traced_memory()[1]
        for _ in range(12):
            decoder.feed(stream[len(head) :])
        assert tracemalloc.get_traced_memory()[1] < first + 20_000
    finally:
        tracemalloc.stop()


@rows
def test_strict_says_which_file_is_bad_and_where(row: Row):
    stream = row.encode(SAMPLE)
    decoder = row.decoder(file="some/file", strict=True)
    decoder.feed(stream[:-3])
    with pytest.raises(FormatError) as caught:
        decoder.close()
    assert caught.value.file == "some/file"
    assert (caught.value.line == 5) if row.text else (caught.value.offset is not None)
    assert str(caught.value).startswith("some/file: ")


@rows
def test_noise_of_all_lengths_gives_events_or_a_format_error(row: Row):
    noise = random.Random(row.name)
    head = row.encoder().begin()
    for size in range(0, 400, 7):
        events, _ = outcome(row, head + noise.randbytes(size))
        assert len(events) <= size / 8


@rows
def test_an_encoder_counts_what_the_events_do_not_say(row: Row):
    """Events of a `t` trace have neither bus nor interval nor date."""
    old = MATRIX[1]
    events = old.decode(old.encode(SAMPLE))
    encoder = row.encoder()
    encoder.encode(events)
    counts = set(encoder.made_up.values())
    assert (row.name == "t") == (not counts)
    assert row.name == "t" or encoder.made_up["bus number"] == len(SAMPLE)


class TestNotes:
    def test_a_note_counts_all_and_keeps_the_first_places(self):
        notes = Notes()
        for line in range(1, 9):
            notes.add("wrapped", line=line)
        assert notes["wrapped"].count == 8
        assert notes["wrapped"].places == [f"line {line}" for line in range(1, 6)]
        assert repr(notes["wrapped"]).startswith("<Note 8 × wrapped: line 1, line 2")

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ({"line": 3}, "line 3"),
            ({"offset": 0}, "byte 0"),
            ({"text": "what"}, "what"),
            ({"line": 3, "text": "what"}, "line 3: what"),
            ({"offset": 7, "text": "what"}, "byte 7: what"),
        ],
    )
    def test_a_place_is_a_line_or_a_byte_and_what_stands_there(self, place, words):
        notes = Notes()
        notes.add("unreadable", **place)
        assert notes["unreadable"].places == [words]

    def test_a_note_without_a_place_has_none(self):
        notes = Notes()
        notes.add("filler", count=3)
        assert (notes["filler"].count, notes["filler"].places) == (3, [])

    def test_a_long_text_is_cut(self):
        notes = Notes()
        notes.add("comment", text="x" * 10_000)
        assert len(notes["comment"].places[0]) == 200

    def test_repairs_are_counted_and_mere_facts_are_not(self):
        notes = Notes()
        notes.add("crlf", line=1)
        notes.add("crlf", line=2)
        notes.add("comment", text="hello")
        assert notes.repairs == 2
        assert notes["crlf"].words == "lines ending in CR LF"

    def test_strict_refuses_repairs_and_lets_facts_pass(self):
        notes = Notes("a file", strict=True)
        notes.add("statistics", line=1)
        with pytest.raises(FormatError, match=r"^a file: line 2: lines ending in CR LF: strict"):
            notes.add("crlf", line=2)

    def test_every_kind_has_words(self):
        assert all(words and words[0].islower() for _, words in NOTES.values())


def test_an_interface_shows_what_it_is():
    assert repr(Interface(220, "usbmon1")) == "<Interface usbmon1 link type 220>"
    assert repr(Interface(189)) == "<Interface ? link type 189>"


UNMARKED = ("synthetic", "comments", "drops")


@rows
def test_what_a_format_cannot_mark_it_leaves_out_and_counts(row: Row):
    commented = SAMPLE.commented({1: ("one", "two"), 3: ("three",)})
    told = synthetic.events(comment="a device")
    encoder = row.encoder()
    data = encoder.begin(comments=["of the file"]) + bytes(
        encoder.encode(Events.concat([commented[:2], told, commented[2:]]))
    )
    data += encoder.drops(0, 5, 10**18) + encoder.note("now", 10**18)
    back = row.decode(data)
    words = [CENSUS[name] for name in UNMARKED]
    lost = [encoder.lost.get(word, 0) for word in words]
    if row.name == "pcapng":
        assert lost == [0, 0, 0]
        assert [e.comments for e in back if e.comments] == [
            ("one", "two"),
            ("a device",),
            ("three",),
        ]
    else:
        assert lost == [4, 6, 1]
        assert data == row.encode(SAMPLE)
    assert [event.id for event in back if "synthetic" not in event.marks] == [
        event.id for event in row.decode(row.encode(SAMPLE))
    ]
    # They count as nothing else.
    plain = row.encoder()
    plain.encode(SAMPLE)
    assert plain.lost == {word: n for word, n in encoder.lost.items() if word not in words}
    assert plain.made_up == encoder.made_up


@rows
@pytest.mark.parametrize("marked", [False, True])
def test_how_much_of_what_was_encoded_fits(row: Row, marked):
    events = Events.concat([SAMPLE[:2], synthetic.events(), SAMPLE[2:]]) if marked else SAMPLE
    encoder = row.encoder()
    head = encoder.begin()
    data = bytes(encoder.encode(events))
    before = encoder.lost
    for size in range(len(data) + 1):
        count, end = encoder.fitting(events, size, len(data))
        assert end <= size
        if row.name == "pcapng":  # an interface may be described before those that fit
            whole = row.decode(head + data[:end])
            assert [event.id for event in whole] == [event.id for event in events[:count]]
        else:
            assert head + data[:end] == row.encode(events[:count])
    assert count == len(events)
    assert encoder.lost == before
