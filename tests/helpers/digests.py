"""What the kernel in use makes of recorded traces and of rows at random: a line for each step, with
a digest of its result. ``python -m tests.helpers.digests`` prints them, so that two kernels can be
compared; the random parts are the same in each run."""

import hashlib
import random
import struct
import sys
from collections.abc import Iterator

from tests.helpers import corpus
from tests.helpers import rows as r
from usbmon import Events, FormatError, Summary, formats, layout
from usbmon._kernel import KERNEL, lines, pairs, records, tally, textprint, textscan

_LARGEST_TRACE = 20_000
_RANDOM_ROWS = 300
_RANDOM_RECORDS = 150
_EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_STATUSES = b"".join(b"%-*d" % (lines.STATUS_WIDTH, n) for n in range(lines.STATUSES))
_MARKS = tuple(b" %d" % n for n in range(256))


def digests() -> Iterator[tuple[str, str]]:
    """Each step's name and digest; the first is the kernel's name."""
    yield "kernel", KERNEL
    for path in corpus.shipped():
        if path.stat().st_size <= _LARGEST_TRACE:
            data = path.read_bytes()
            yield from _of_stream(corpus.name(path), data)
            yield from _of_stream(f"{corpus.name(path)}, damaged", _damaged(data))
    yield from _of_rows(*_random_rows(random.Random(2009)))
    yield from _of_records(random.Random(189))
    yield from _of_times(random.Random(4096))


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(bytes(part) if hasattr(part, "readonly") else repr(part).encode())
    return digest.hexdigest()[:16]


def _of_stream(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    try:
        decoder = formats.detect(data[:65536]).new_decoder()
        events = Events.concat([decoder.feed(data), decoder.close()])
    except FormatError as error:
        yield name, str(error)
        return
    yield f"{name}: events", _digest(list(events), decoder.notes)
    yield f"{name}: summary", _digest(Summary.of([events]).as_dict())
    for format in formats.FORMATS:
        if format.encoder:
            encoder = format.new_encoder()
            out = encoder.begin() + bytes(encoder.encode(events))
            yield f"{name} as {format.name}", _digest(out, encoder.lost, encoder.made_up)


def _damaged(data: bytes) -> bytes:
    """Some bytes behind the head are others."""
    chance, out = random.Random(len(data)), bytearray(data)
    for _ in range(20):
        out[chance.randrange(100, len(out))] = chance.randrange(256)
    return bytes(out)


def _random_rows(chance: random.Random) -> tuple[bytearray, bytearray]:
    """Rows of any content, as far as it is for a decoder to keep: places within the arena, and
    descriptors within the payload."""
    arena = bytearray(chance.randbytes(4096))
    rows = bytearray()
    for _ in range(_RANDOM_ROWS):
        row = bytearray(
            chance.randbytes(r.SIZE)
            if chance.random() < 0.3
            else struct.pack("<13Q", *(chance.choice(_EXTREMES) for _ in range(13)))
        )
        captured = chance.choice((0, 0, 3, 16, 40, 90))
        at = layout.OFFSET
        row[at["type"]] = chance.choice(b"SSCCE")
        row[at["xfer_type"]] = chance.randrange(4)
        row[at["epnum"]] &= 0x8F
        row[at["flag_setup"]] = chance.choice(b"\0\0---Z")
        row[at["flag_data"]] = chance.choice(b"\0\0\0<>ZDE")
        row[at["clock"]] = chance.randrange(3)
        struct.pack_into("=I", row, at["ndesc"], chance.randrange(captured // 16 + 1))
        struct.pack_into("=QI", row, at["data_at"], chance.randrange(3900), captured)
        rows += row
    return rows, arena


def _of_rows(rows: bytearray, arena: bytearray) -> Iterator[tuple[str, str]]:
    count = len(rows) // r.SIZE
    counters = [r.words(n) for n in (tally.TOTAL_WORDS, 4096 * 10, tally.STATUSES, tally.STATUSES)]
    tally.tally(rows, count, arena, *counters)
    yield "tally", _digest(*counters)
    census = r.words(len(tally.CENSUS))
    tally.census(rows, count, 32, 5, census)
    yield "census", _digest(census)
    yield "payload size", _digest(records.payload_size(rows, count))
    numbered, pairing = bytearray(rows), pairs.Pairing()
    pairing.number(memoryview(numbered), count)
    yield "numbers", _digest(memoryview(numbered), pairing.doubled, pairing.lost_completions)
    for old in (False, True):
        out = bytearray(count * 500)
        done, size = textprint.print_text(rows, 0, count, arena, out, old, 32)
        yield f"text, old {old}", _digest(done, memoryview(out)[:size])
    for time in (lines.RELATIVE, lines.ABSOLUTE, lines.DELTA):
        out = bytearray(count * 500)
        args = (_STATUSES, _words, _MARKS, time, 10**18)
        done, size, zero = lines.lines(rows, 0, count, arena, out, *args)
        yield f"lines, time {time}", _digest(done, zero, memoryview(out)[:size])
    for header in (48, 64):
        for container in (records.BARE, records.PCAP, records.PCAPNG):
            for big in (False, True):
                out = bytearray(count * 300)
                number = r.words(3, 2)
                args = (header, container, big, big, number)
                size = records.pack(rows, count, arena, out, *args)
                yield f"pack {header} {container} {big}", _digest(memoryview(out)[:size])


def _words(setup: bytes) -> bytes:
    return setup.hex().encode()


def _of_records(chance: random.Random) -> Iterator[tuple[str, str]]:
    for header in (48, 64, 249):
        for swap in (False, True):
            text, rows = bytearray(), bytearray()
            for _ in range(_RANDOM_RECORDS):
                record = _random_record(chance, header)
                ts = chance.choice((0, 7, -1, -(2**62), 2**63 - 1))
                place = {"data_at": len(text), "captured": len(record), "ts": ts}
                rows += r.pack(place | {"interface": 0})
                text += record
            spare = len(text)
            text += bytes(2 * len(text))
            interfaces = memoryview(struct.pack("=6q", header, 1, 1, 0, 0, 0)).cast("q")
            errnos = memoryview(struct.pack("=4q", 0xC0000004, -32, 0, 0)).cast("q")
            counts = records.unpack(
                text, rows, _RANDOM_RECORDS, interfaces, 0, swap, False, errnos, spare
            )
            found = memoryview(rows)[: counts[0] * r.SIZE]
            yield f"unpack {header} {swap}", _digest(counts, found, memoryview(text))


def _random_record(chance: random.Random, header: int) -> bytes:
    record = bytearray(chance.randbytes(chance.randrange(header % 185, 200)))
    if header == 249 and len(record) > 39:
        record[:2] = struct.pack("<H", chance.choice((27, 28, 39, len(record))))
        record[22] = chance.randrange(5)
        record[23:27] = struct.pack("<I", chance.randrange(300))
        record[27] = chance.randrange(4)
        if record[22] == 0:
            packets = chance.randrange((len(record) - 39) // 12 + 1)
            record[:2] = struct.pack("<H", 39 + 12 * packets)
            record[31:35] = struct.pack("<I", packets)
    elif len(record) > 10:
        record[8] = chance.choice(b"SCE")
        record[9] = chance.randrange(4)
    return bytes(record)


def _of_times(chance: random.Random) -> Iterator[tuple[str, str]]:
    state, rows = r.words(4), bytearray()
    for _ in range(_RANDOM_ROWS):
        stamp = chance.choice((0, 1, textscan.WRAP_NEW - 1, chance.randrange(1 << 32)))
        rows += r.pack({"ts_sec": stamp // 10**6, "ts_usec": stamp % 10**6, "type": "E"})
    textscan.unwrap(rows, _RANDOM_ROWS, state)
    yield "unwrap", _digest(memoryview(rows), state)
    for multiply, divide, bits in ((1, 1, 0), (1000, 1, 0), (10**9, 1, 0), (1, 10, 0), (1, 1, 40)):
        offset = chance.randrange(-(2**32), 2**32)
        words = struct.pack("=7q", 64, multiply, divide, bits, offset, 0, 0)
        interfaces = memoryview(bytearray(words)).cast("q")
        blocks = b"".join(
            struct.pack("<8I", 6, 32, 0, high, low, 0, 0, 32)
            for high in _EXTREMES[:5]
            for low in _EXTREMES[:5]
        )
        out = bytearray(r.SIZE * 25)
        counts = records.walk_pcapng(blocks, 0, out, False, interfaces, 0, False)
        times = [row["ts"] for row in r.unpack(out)]
        yield f"times of pcapng, {multiply}/{divide}, 2**{bits}", _digest(counts, times)


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\t{digest}\n" for name, digest in digests())
