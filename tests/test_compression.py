"""Compression against the standard library's own one-shot functions."""

import bz2
import gzip
import lzma
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon import FormatError
from usbmon.compression import PIECE, Compressor, Decompressor, detect, split_suffix


def _zst(data: bytes) -> bytes:
    compressor = Compressor("zst")
    return compressor.compress(data) + compressor.end()


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": _zst}
UNPACK = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
each = pytest.mark.parametrize("name", PACK)
DATA = b"ffff88003b6dee40 3575914555 S Bi:1:002:1 -115 512 <\n" * 300


def unpacked(name: str, data: bytes, step: int) -> bytes:
    decompressor = Decompressor(name, "a trace")
    out = bytearray()
    for at in range(0, len(data), step):
        piece = decompressor.decompress(data[at : at + step])
        while piece or not decompressor.needs_input:
            out += piece
            piece = decompressor.decompress()
    assert decompressor.is_complete
    return bytes(out)


@each
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_stream_comes_back_in_any_pieces(name, step):
    assert unpacked(name, PACK[name](DATA), step) == DATA


@each
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), step=st.integers(1, 50))
def test_members_stand_one_behind_the_other_as_after_cat(name, parts, step):
    assert unpacked(name, b"".join(map(PACK[name], parts)), step) == b"".join(parts)


@pytest.mark.parametrize("name", UNPACK)
def test_what_is_compressed_other_programs_read(name):
    compressor = Compressor(name)
    data = b"".join(compressor.compress(DATA[at : at + 100]) for at in range(0, len(DATA), 100))
    assert UNPACK[name](data + compressor.end()) == DATA


@each
def test_it_is_known_by_its_first_bytes(name):
    assert detect(PACK[name](b"")) == name
    assert detect(PACK[name](DATA)[:2]) in (name, "")


@pytest.mark.parametrize("head", [b"", b"\x1f", DATA, b"\xa1\xb2\xc3\xd4"])
def test_what_is_not_compressed_is_not_taken_for_it(head):
    assert detect(head) == ""


@pytest.mark.parametrize(
    ("path", "inside", "name"),
    [
        ("a/1u.txt.gz", "a/1u.txt", "gz"),
        ("T.PCAP.ZST", "T.PCAP", "zst"),
        ("x.pcapng.xz", "x.pcapng", "xz"),
        ("x.bz2", "x", "bz2"),
        ("x.gzip", "x.gzip", ""),
        ("x", "x", ""),
    ],
)
def test_a_suffix_names_it(path, inside, name):
    assert split_suffix(path) == (inside, name)


@each
def test_a_stream_that_is_cut_gives_what_there_is_and_is_not_complete(name):
    data = PACK[name](DATA)
    for size in range(6, len(data)):
        decompressor = Decompressor(name)
        out = decompressor.decompress(data[:size])
        assert DATA.startswith(out)
        assert not decompressor.is_complete


@each
def test_damage_is_told_with_the_file(name):
    data = bytearray(PACK[name](bytes(range(256)) * 40))
    # The checksum of gz; of the others, half of the stream (a stream of zst need not have one).
    start = len(data) - 8 if name == "gz" else len(data) // 2
    data[start:] = b"\x55" * (len(data) - start)
    with pytest.raises(FormatError, match=rf"a trace: byte \d+: damaged {name} data"):
        unpacked(name, bytes(data), len(data))


@each
def test_what_stands_behind_the_end_is_told_unless_it_is_padding(name):
    member = PACK[name](DATA)
    assert unpacked(name, member + bytes(2000), 1 << 20) == DATA
    decompressor = Decompressor(name, "a trace")
    decompressor.decompress(member + b"something else")
    with pytest.raises(FormatError, match="bytes behind the end of the compressed data"):
        decompressor.decompress()


@each
def test_a_bomb_goes_off_a_piece_at_a_time(name):
    bomb = PACK[name](bytes(1 << 26))
    decompressor = Decompressor(name)
    tracemalloc.start()
    try:
        size = len(decompressor.decompress(bomb))
        while not decompressor.needs_input:
            piece = decompressor.decompress()
            assert len(piece) <= PIECE
            size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 1 << 26
    assert peak < 24 << 20


@each
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5).filter(lambda p: p[0]))
def test_what_was_synced_can_be_read_whatever_happens_then(name, parts):
    compressor, out = Compressor(name), b""
    for number in range(1, len(parts) + 1):
        out += compressor.compress(parts[number - 1]) + compressor.sync()
        so_far = b"".join(parts[:number])
        assert _read(name, out) == (so_far, name not in ("gz", "zst"))
        # Cut off here for good, it is a whole stream.
        assert _read(name, out + compressor.ending) == (so_far, True)
    assert _read(name, out + compressor.end()) == (b"".join(parts), True)


def _read(name: str, data: bytes) -> tuple[bytes, bool]:
    """What can be decompressed, and whether it ends as it is to."""
    decompressor = Decompressor(name)
    out = decompressor.decompress(data)
    while not decompressor.needs_input:
        out += decompressor.decompress()
    return out, decompressor.is_complete or not data


@pytest.mark.parametrize("name", UNPACK)
def test_a_stream_that_was_cut_off_other_programs_read(name):
    compressor = Compressor(name)
    synced = compressor.compress(DATA) + compressor.sync()
    compressor.compress(b"what comes too late")
    assert UNPACK[name](synced + compressor.ending) == DATA


@each
def test_a_sync_with_nothing_new_costs_nothing(name):
    compressor = Compressor(name)
    compressor.compress(DATA)
    assert len(compressor.sync()) > 0
    assert compressor.sync() == b""


@each
def test_nothing_at_all_is_an_empty_stream(name):
    assert _read(name, Compressor(name).end()) == (b"", True)
