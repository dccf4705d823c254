"""The binary reader, against what Linux 6.1 answered to the same calls."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.corpus import CAPTURES
from tests.helpers.records import of_stream
from usbmon import decode, read
from usbmon.monitor.binary import BinaryReader
from usbmon.monitor.main import MonitoredBus
from usbmon.monitor.record import Record

RUN = CAPTURES / "hid-xhci"
FILLER = ord("@")


def reader(ring=300 << 10):
    return BinaryReader(MonitoredBus(1, lambda: None), ring=ring)


def record(size, *, tag=1, type="C"):
    header = tag.to_bytes(8, "little") + type.encode() + bytes(23)
    header += size.to_bytes(4, "little") * 2 + bytes(24)
    return Record(header + bytes(n & 255 for n in range(size)), 0, 0, None, {})


def recorded():
    return list(of_stream((RUN / "usbmon1.getx.bin").read_bytes()))


def refusal(call, *arguments):
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the number is looked at)
        call(*arguments)
    return caught.value.errno


def test_getx_gives_what_was_recorded():
    it = reader(1 << 20)
    for one in recorded():
        it.put(one)
    raw = b"".join(b"".join(it.getx(1 << 20)) for _ in range(len(recorded())))
    assert raw == (RUN / "usbmon1.getx.bin").read_bytes()


def test_read_gives_what_was_recorded_whatever_its_pieces():
    it = reader(1 << 20)
    for one in recorded():
        it.put(one)
    raw = b""
    while it.is_ready:
        raw += it.read(len(raw) % 50 + 1)
    assert decode(raw, format="bin48") == read(RUN / "usbmon1.read.bin", format="bin48") or [
        (e.id, e.type, e.data) for e in decode(raw, format="bin48")
    ] == [(e.id, e.type, e.data) for e in read(RUN / "usbmon1.read.bin", format="bin48")]


def test_ring_sizes_that_are_given_and_refused():
    it = reader()
    assert it.ring_size == 307200
    for asked in (0, 4096, 8191, 67108865):
        assert refusal(it.set_ring_size, asked) == errno.EINVAL
    for asked, given_size in (
        (8192, 8192),
        (8193, 12288),
        (1228801, 1232896),
        (67108864, 67108864),
    ):
        it.set_ring_size(asked)
        assert it.ring_size == given_size


def test_an_empty_ring():
    it = reader()
    assert (it.urb_len(), it.stats(), it.mflush(5), it.is_ready) == (0, (0, 0), 0, False)
    for call, arguments in ((it.read, (10,)), (it.get, (9,)), (it.getx, (9,)), (it.mfetch, (5,))):
        assert refusal(call, *arguments) == errno.EAGAIN


def test_a_small_buffer_cuts_the_data_and_a_huge_one_is_refused():
    it = reader()
    for _ in range(3):
        it.put(record(8))
    header, data = it.getx(3)
    assert (header[36], data) == (8, bytes((0, 1, 2)))
    assert it.getx(0)[1] == b""
    assert refusal(it.getx, 0x1000_0001) == errno.EINVAL
    header, data = it.get(100)
    assert (len(header), len(data)) == (48, 8)


def test_getx_after_part_of_a_read_gives_the_whole_event():
    it = reader()
    it.put(record(8))
    it.read(20)
    assert it.getx(100)[1] == bytes(range(8))
    assert not it.is_ready


def test_data_are_cut_at_a_fifth_of_the_ring():
    it = reader(10 * 4096)
    it.put(record(20000))
    header, data = it.getx(1 << 20)
    assert len(data) == 8192 == int.from_bytes(header[36:40], "little")
    assert int.from_bytes(header[32:36], "little") == 20000


def test_no_more_than_128_descriptors():
    it = reader()
    it.put(Record(record(0).packet + bytes(16 * 200) + b"abc", 200, 0, None, {}))
    header, data = it.getx(1 << 20)
    assert int.from_bytes(header[60:64], "little") == 128
    assert len(data) == 128 * 16 + 3


def test_overflow_as_on_linux():
    """180 events of a keyboard, C with 8 bytes and S without, into a ring of 8 KiB."""
    it = reader(8192)
    for number in range(180):
        it.put(record(8 * (number % 2 == 0)))
    assert it.stats() == (85, 95)
    assert it.stats() == (85, 0)


def test_offsets_of_the_mapped_ring_as_on_linux():
    """The first events of a recorded run, by the bytes they had."""
    it = reader()
    it.map()
    for size in (0, 8, 0, 8, 0):
        it.put(record(size))
    assert it.mfetch(64) == [0, 64, 192, 256, 384]
    it.put(record(0))
    assert it.mfetch(64, 5) == [448]
    assert refusal(it.mfetch, 64, 1) == errno.EAGAIN
    assert it.stats() == (0, 0)


def test_a_mapped_ring_is_laid_out_as_linux_laid_out_its_own():
    """Events of up to 32 KiB: the end of the ring comes round five times."""
    it = reader(192 << 10)
    it.map()
    fillers = 0
    for call in (CAPTURES / "storage-ring/usbmon1.mmap.offsets").read_text().splitlines():
        flushed, *events = call.split()
        if events == ["EAGAIN"]:
            assert refusal(it.mfetch, 64, int(flushed)) == errno.EAGAIN
            continue
        offsets = []
        for event in events:
            offset, _, size = event.partition(":")
            offsets.append(int(offset))
            if size.startswith("@"):
                fillers += 1
            else:
                it.put(record(int(size)))
        assert it.mfetch(64, int(flushed)) == offsets
    assert fillers == 5
    assert it.stats() == (0, 0)


def test_a_filler_keeps_a_packet_in_one_piece_while_mapped():
    it = reader(8192)
    ring = it.map()
    for _ in range(5):
        it.put(record(1500))  # 1600 bytes each
    it.mflush(4)
    it.put(record(1000))
    assert it.mfetch(9) == [6400, 8000, 0]
    assert ring[8000 + 8] == FILLER
    assert int.from_bytes(ring[8036:8040], "little") == 128
    assert ring[64 : 64 + 1000] == record(1000).packet[64:]
    assert refusal(it.set_ring_size, 8192) == errno.EBUSY
    it.unmap()
    it.set_ring_size(8192)


def test_unmapped_a_packet_wraps():
    it = reader(8192)
    for _ in range(5):
        it.put(record(1500))
    it.mflush(4)
    it.put(record(1000))
    assert it.queued == 2
    it.getx(9999)
    assert it.getx(9999)[1] == record(1000).packet[64:]


@given(
    st.booleans(),
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 3000)),
            st.tuples(st.just("getx"), st.just(0)),
            st.tuples(st.just("read"), st.integers(1, 4000)),
            st.tuples(st.just("mfetch"), st.integers(0, 5)),
        ),
        max_size=120,
    ),
)
def test_what_comes_out_is_what_went_in_and_the_rest_is_counted(mapped, calls):
    it = reader(16 << 10)
    ring = it.map() if mapped else None
    put = got = fetched = 0
    kept: list[int] = []
    partial = 0
    for tag, (call, number) in enumerate(calls, 1):
        if call == "put":
            before = it.queued
            it.put(record(number, tag=tag))
            put += 1
            if it.queued > before:
                kept.append(tag)
            continue
        if not it.is_ready:
            continue
        if call == "getx":
            header, data = it.getx(1 << 20)
        elif call == "read":
            piece = it.read(number)
            partial = partial + len(piece)
            continue
        else:
            offsets = it.mfetch(64, 0)
            for at in offsets if ring is not None else ():
                if ring[at + 8] != FILLER:
                    size = int.from_bytes(ring[at + 36 : at + 40], "little")
                    assert ring[at + 64 : at + 64 + size] == record(size).packet[64:]
            fetched += it.mflush(number)
            continue
        if header[8] != FILLER:
            got += 1
            assert data == record(len(data)).packet[64:]
    assert it.stats()[1] == put - len(kept)
    assert it._used == sum(
        -(-(64 + int.from_bytes(_at(it, n)[36:40], "little")) // 64) * 64 for n in offsets_of(it)
    )


def offsets_of(it):
    return it.mfetch(1 << 20) if it.is_ready else []


def _at(it, offset):
    return bytes(it._ring[offset : offset + 64])
