#!/usr/bin/env python3
"""Makes deterministic traces for the benchmark: the same events as text and as pcap.

`generate.py SIZE…` writes `NAME.txt` (what the kernel prints in `0u`) and
`NAME.pcap` (link type 220, microseconds, little-endian) into the cache folder.
A size gives the same bytes on every machine: all chance comes from a seeded
MT19937, whose stream NumPy and Python have frozen.

It shares no code with usbmon on purpose, so that the two can disagree.

How it is fast: a few templates, each a block of events, are simulated once in
Python (queues, tags, statuses, lengths, descriptors).  Every block of the file
is one template with new stamps, new tags and new payload, put into a matrix of
bytes, one row an event, and pressed through a mask.  Memory is bounded by the
templates; no event is in flight between blocks, only at the end of the file.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

VERSION = 2  # of the bytes written; raise it when they change
SEED = 20061
# Not a divisor of any usual size, so that a file ends inside a block, with
# submissions in flight.
BLOCK = 49_990
TEMPLATES = 3
START_S = 3_700  # uptime of the first event: 2 M events pass the wrap at 4096 s
# Wall clock minus uptime: whole turns of the text clock, so that a pcap turned
# into text gives the stamps of our text.
EPOCH_S = 431_453 * 4_096
TEXT_DATA = 32  # DATA_MAX of the kernel's mon_text.c
ISO_TEXT = 5  # ISODESC_MAX of the kernel's mon_text.c

MIX = {"B": 0.63, "I": 0.26, "C": 0.07, "Z": 0.04}
XFER = {"Z": 0, "I": 1, "C": 2, "B": 3}
STAMP_W, TAG_W, HEAD, RECORD, DESC = 10, 16, 64, 16, 16
HEADER = struct.Struct("<QcBBBHcBqiiII8siiII")
FLAG_IN, NO_DMA, ISO_ASAP, SHORT_NOT_OK = 0x200, 0x4, 0x2, 0x1


@dataclass
class Endpoint:
    """One endpoint of the simulated machine, and what it has in flight."""

    kind: str  # letter of the text format: B I C Z
    bus: int
    dev: int
    num: int
    is_in: bool
    weight: float  # within its kind
    depth: int = 1
    interval: int = 0
    lengths: tuple[tuple[int, int, float], ...] = ()  # requested, actual, share
    packets: int = 0
    flags: int = 0
    own_tags: list[int] = field(default_factory=list)  # isochronous and interrupt reuse theirs
    flight: deque[tuple[Any, ...]] = field(default_factory=deque)

    @property
    def address(self) -> str:
        direction = "i" if self.is_in else "o"
        return f"{self.kind}{direction}:{self.bus}:{self.dev:03d}:{self.num}"


DEVICE = bytes.fromhex("12010002090001406b1d0200010603020101")
# setup, data, share.  No configuration descriptor with interfaces in it: tshark
# would take the classes from it and dissect random payload as if it meant something.
CONTROLS: tuple[tuple[str, bytes, float], ...] = (
    ("a3 00 0000 0001 0004", bytes.fromhex("00010000"), 0.30),
    ("a3 00 0000 0003 0004", bytes.fromhex("03050000"), 0.25),
    ("23 01 0010 0001 0000", b"", 0.10),
    ("23 03 0004 0001 0000", b"", 0.05),
    ("80 06 0100 0000 0012", DEVICE, 0.10),
    ("80 00 0000 0000 0002", bytes.fromhex("0100"), 0.08),
    ("21 22 0003 0000 0000", b"", 0.06),
    ("21 20 0000 0000 0007", bytes.fromhex("00c20100000008"), 0.06),
)


def machine() -> list[Endpoint]:
    """Three buses: hubs, two disks, a serial and a network adapter, HID, sound."""
    disk_in = ((512, 512, 0.28), (4096, 4096, 0.3), (65536, 65536, 0.1), (13, 13, 0.32))
    disk_out = ((31, 31, 0.6), (4096, 4096, 0.25), (512, 512, 0.15))
    serial_in = ((256, 1, 0.3), (256, 9, 0.3), (256, 24, 0.2), (256, 64, 0.2))
    serial_out = ((1, 1, 0.4), (12, 12, 0.4), (64, 64, 0.2))
    net_in = ((1600, 60, 0.5), (1600, 1514, 0.4), (1600, 128, 0.1))
    net_out = ((60, 60, 0.6), (1514, 1514, 0.4))
    hid = ((8, 8, 0.9), (8, 0, 0.1))
    return [
        Endpoint("C", 1, 1, 0, True, 2),
        Endpoint("C", 2, 1, 0, True, 1),
        Endpoint("C", 1, 2, 0, True, 1),
        Endpoint("C", 2, 5, 0, True, 1),
        Endpoint("C", 3, 2, 0, True, 1),
        Endpoint("I", 1, 1, 1, True, 1, 1, 2048, ((4, 2, 1.0),)),
        Endpoint("I", 2, 1, 1, True, 1, 1, 128, ((2, 1, 1.0),)),
        Endpoint("I", 1, 3, 1, True, 10, 1, 8, hid, flags=NO_DMA),
        Endpoint("I", 1, 4, 1, True, 8, 1, 4, ((4, 4, 0.8), (4, 3, 0.2)), flags=NO_DMA),
        Endpoint("I", 2, 5, 3, True, 3, 1, 32, ((16, 8, 0.5), (16, 10, 0.5))),
        Endpoint("I", 3, 3, 1, True, 4, 2, 16, ((64, 64, 0.3), (64, 8, 0.7))),
        Endpoint("I", 3, 3, 2, False, 3, 1, 16, ((64, 64, 0.3), (8, 8, 0.7))),
        Endpoint("B", 1, 2, 1, True, 9, 4, 0, disk_in, flags=SHORT_NOT_OK),
        Endpoint("B", 1, 2, 2, False, 6, 2, 0, disk_out, flags=NO_DMA),
        Endpoint("B", 2, 6, 1, True, 7, 8, 0, disk_in, flags=NO_DMA),
        Endpoint("B", 2, 6, 2, False, 5, 8, 0, disk_out, flags=NO_DMA),
        Endpoint("B", 2, 5, 1, True, 4, 2, 0, serial_in),
        Endpoint("B", 2, 5, 2, False, 3, 1, 0, serial_out),
        Endpoint("B", 3, 2, 1, True, 5, 4, 0, net_in),
        Endpoint("B", 3, 2, 2, False, 4, 2, 0, net_out),
        Endpoint("Z", 1, 7, 1, False, 3, 4, 1, ((192, 192, 1.0),), 5, NO_DMA),
        Endpoint("Z", 3, 12, 2, True, 2, 4, 1, ((34, 34, 1.0),), 1, NO_DMA),
        Endpoint("Z", 3, 14, 4, True, 1, 2, 4, ((96, 96, 1.0),), 3, NO_DMA | ISO_ASAP),
    ]


@dataclass
class Row:
    """One event of a template: all but tag, stamp and payload."""

    rest: bytes  # text after the stamp, up to the data or the end of the line
    head: bytes  # binary header, id and stamp zero
    desc: bytes  # isochronous descriptors
    length: int
    size: int  # bytes of data that a complete capture would have
    fixed: bytes | None  # the data, where it may not be random
    tag: int
    kind: str


class Simulation:
    """One template: endpoints chosen by weight, queues filled and drained."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.endpoints = machine()
        self.free = list(range(63, -1, -1))  # last in, first out, like a slab
        self.taken = 64
        self.rows: list[Row] = []
        self.in_flight = 0
        self.frame = 1_000
        kinds = Counter(end.kind for end in self.endpoints)
        assert set(kinds) == set(MIX)
        weights = [
            MIX[end.kind]
            * end.weight
            / sum(other.weight for other in self.endpoints if other.kind == end.kind)
            for end in self.endpoints
        ]
        total, self.steps = 0.0, []
        for weight in weights:
            total += weight
            self.steps.append(total)

    def pick(self, shares: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
        """One of the rows, by the share in its last place."""
        at = self.chance.random()
        for row in shares:
            at -= row[-1]
            if at < 0:
                return row
        return shares[-1]

    def endpoint(self) -> Endpoint:
        at = self.chance.random() * self.steps[-1]
        return next(end for end, step in zip(self.endpoints, self.steps, strict=True) if at < step)

    def run(self, events: int) -> list[Row]:
        """Exactly so many events (an even number), nothing in flight at the end."""
        while len(self.rows) + self.in_flight < events:
            end = self.endpoint()
            queued = len(end.flight)
            if queued == 0 or (queued < end.depth and self.chance.random() < 0.5):
                self.submit(end)
            else:
                self.complete(end)
        while self.in_flight:
            self.complete(next(end for end in self.endpoints if end.flight))
        assert len(self.rows) == events
        return self.rows

    def tag(self, end: Endpoint) -> int:
        if end.kind in "BC":
            return self.free.pop()
        if not end.own_tags:
            end.own_tags = list(range(self.taken, self.taken + end.depth))
            self.taken += end.depth
        return end.own_tags.pop(0)

    def release(self, end: Endpoint, tag: int) -> None:
        (self.free if end.kind in "BC" else end.own_tags).append(tag)

    def submit(self, end: Endpoint) -> None:
        tag, setup, fixed = self.tag(end), "", None
        if end.kind == "C":
            setup, fixed, _ = self.pick(CONTROLS)
            length = actual = len(fixed)
            is_in = setup[0] in "8a"
        else:
            length, actual, _ = self.pick(end.lengths)
            is_in = end.is_in
            if end.kind == "Z":
                length = actual = length * end.packets
        size = 0 if is_in else length
        self.row(end, "S", tag, -115, length, size, is_in, setup, None if is_in else fixed)
        end.flight.append((tag, length, actual, is_in, fixed))
        self.in_flight += 1

    def complete(self, end: Endpoint) -> None:
        # Streams of a disk finish out of order now and then.
        late = len(end.flight) > 2 and end.kind == "B" and self.chance.random() < 0.05
        if late:
            end.flight.rotate(-1)
        tag, _length, actual, is_in, fixed = end.flight.popleft()
        if late:
            end.flight.rotate(1)
        self.in_flight -= 1
        self.release(end, tag)
        at = self.chance.random()
        if end.kind == "Z" or (end.kind == "C" and is_in):
            # tshark takes an empty answer to GET_STATUS for malformed.
            at = 1.0
        if at < 0.0002:
            self.row(end, "E", tag, -22, 0, 0, is_in, "", None)
            return
        status = 0
        if at < 0.004:
            codes = {"B": (-32, -71, -104, -110), "I": (-2, -71, -84), "C": (-32, -32, -71)}
            status = codes[end.kind][int(self.chance.random() * len(codes[end.kind]))]
            actual = 0
        elif at < 0.006 and end.kind == "B" and is_in and actual > 64:
            status, actual = -121, 36
        size = actual if is_in else 0
        self.row(end, "C", tag, status, actual, size, is_in, "", fixed if is_in else None)

    def row(
        self,
        end: Endpoint,
        event: str,
        tag: int,
        status: int,
        length: int,
        size: int,
        is_in: bool,
        setup: str,
        fixed: bytes | None,
    ) -> None:
        """Writes one event both ways; see the kernel's mon_text.c and mon_bin.c."""
        iso = end.kind == "Z"
        descriptors, errors = self.descriptors(end, event, length) if iso else ([], 0)
        start = 0
        if iso and event == "C":
            self.frame = start = (self.frame + 1) & 0x3FF | 0x400
        words = [event, end.address if is_in == end.is_in else end.address.replace("i", "o", 1)]
        interval = 0 if event == "E" else end.interval
        if setup:
            words.append(f"s {setup}")
        elif event == "E" or end.kind in "BC":
            words.append(str(status))
        elif end.kind == "I":
            words.append(f"{status}:{interval}")
        else:
            words.append(f"{status}:{interval}:{start}" + (f":{errors}" if event == "C" else ""))
        if iso:
            words.append(str(len(descriptors)))
            words += [":".join(map(str, each)) for each in descriptors]
        words.append(str(length))
        flag = 0
        if event == "E":
            flag = ord("E")
        elif event == "S" and is_in:
            flag = ord("<")
        elif event == "C" and not is_in:
            flag = ord(">")
        if length > 0:
            words.append(chr(flag) if flag else "=")
        rest = " " + " ".join(words)
        desc = b"".join(struct.pack("<iIII", *each, 0) for each in descriptors)
        raw_setup = bytes(8)
        if setup:
            kind, request, value, index, count = (int(word, 16) for word in setup.split())
            raw_setup = struct.pack("<BBHHH", kind, request, value, index, count)
        elif iso:
            raw_setup = struct.pack("<ii", errors, len(descriptors))
        head = HEADER.pack(
            0,
            event.encode(),
            XFER[end.kind],
            end.num | (0x80 if is_in else 0),
            end.dev,
            end.bus,
            b"\0" if setup else b"-",
            flag,
            0,
            0,
            status,
            length,
            0,
            raw_setup,
            interval,
            start,
            0 if event == "E" else (FLAG_IN if is_in else 0) | end.flags,
            len(descriptors),
        )
        self.rows.append(Row(rest.encode(), head, desc, length, size, fixed, tag, end.kind))

    def descriptors(
        self, end: Endpoint, event: str, length: int
    ) -> tuple[list[tuple[int, int, int]], int]:
        """Every packet is full, so that text (the buffer's length) and binary
        (the actual length) agree; an error is a status alone."""
        each = length // end.packets
        codes = [-18 if event == "S" else 0] * end.packets
        errors = 0
        if event == "C" and self.chance.random() < 0.01:
            codes[int(self.chance.random() * end.packets)] = -71
            errors = 1
        assert len(codes) <= ISO_TEXT
        return [(code, number * each, each) for number, code in enumerate(codes)], errors


def hex_table() -> npt.NDArray[np.uint16]:
    pairs = b"".join(b"%02x" % value for value in range(256))
    return np.frombuffer(pairs, np.uint16)


HEX = hex_table()
# Where the hex of byte j of the data starts, in the data's columns: " 00112233 44…".
DATA_COLUMN = np.array([9 * (j // 4) + 1 + 2 * (j % 4) for j in range(TEXT_DATA)])


class Template:
    """A simulated block as two byte matrices with masks, ready for stamps."""

    def __init__(self, seed: int, block: int, pcap_data: int) -> None:
        rows = Simulation(seed).run(block)
        self.pcap_data = pcap_data
        self.kinds = [row.kind for row in rows]
        self.tags = np.array([row.tag for row in rows])
        self.text_size = np.array([min(row.size, TEXT_DATA) for row in rows])
        self.pcap_size = np.array([min(row.size, pcap_data) for row in rows])
        known = [i for i, row in enumerate(rows) if row.fixed and row.size]
        self.known = np.array(known)
        self.known_data = matrix([rows[i].fixed or b"" for i in known], pcap_data)[0]
        self.known_mask = matrix([rows[i].fixed or b"" for i in known], pcap_data)[1]
        self.text_parts(rows)
        self.pcap_parts(rows)

    def text_parts(self, rows: list[Row]) -> None:
        rest, rest_mask = matrix([row.rest for row in rows])
        self.data_at = TAG_W + 1 + STAMP_W + rest.shape[1]
        width = self.data_at + 9 * (TEXT_DATA // 4) + 1
        self.text = np.full((len(rows), width), ord(" "), np.uint8)
        self.text[:, TAG_W + 1 + STAMP_W : self.data_at] = rest
        self.text[:, -1] = ord("\n")
        self.text_mask = np.zeros(self.text.shape, bool)
        self.text_mask[:, : TAG_W + 1 + STAMP_W] = True
        self.text_mask[:, TAG_W + 1 + STAMP_W : self.data_at] = rest_mask
        self.text_mask[:, -1] = True
        for j, column in enumerate(DATA_COLUMN + self.data_at):
            there = self.text_size > j
            self.text_mask[:, column] = self.text_mask[:, column + 1] = there
            if j % 4 == 0:
                self.text_mask[:, column - 1] = there

    def pcap_parts(self, rows: list[Row]) -> None:
        heads = np.frombuffer(b"".join(row.head for row in rows), np.uint8).reshape(-1, HEAD)
        desc, desc_mask = matrix([row.desc for row in rows], DESC * ISO_TEXT)
        sizes = desc_mask.sum(1)
        captured = HEAD + sizes + self.pcap_size
        full = HEAD + sizes + np.array([row.size for row in rows])
        self.body_at = RECORD + HEAD + desc.shape[1]
        self.pcap = np.zeros((len(rows), self.body_at + self.pcap_data), np.uint8)
        self.pcap[:, RECORD : RECORD + HEAD] = heads
        self.pcap[:, RECORD + HEAD : self.body_at] = desc
        self.pcap[:, 8:12] = as_bytes(captured.astype("<u4"))
        self.pcap[:, 12:16] = as_bytes(full.astype("<u4"))
        self.pcap[:, RECORD + 36 : RECORD + 40] = as_bytes((captured - HEAD).astype("<u4"))
        self.pcap_mask = np.ones(self.pcap.shape, bool)
        self.pcap_mask[:, RECORD + HEAD : self.body_at] = desc_mask
        columns = np.arange(self.pcap_data)
        self.pcap_mask[:, self.body_at :] = columns[None, :] < self.pcap_size[:, None]

    def block(
        self, count: int, tags: npt.NDArray[np.uint64], stamps: npt.NDArray[np.int64], noise: Bytes
    ) -> tuple[Bytes, Bytes]:
        """The first `count` events, as text and as pcap records.

        `tags` are the addresses of the block's URBs, `stamps` microseconds of uptime.
        """
        tag = tags[self.tags]
        noise[self.known] = np.where(self.known_mask, self.known_data, noise[self.known])
        # Text.  Big-endian bytes of the tag are its digits in order.
        self.text[:, :TAG_W] = as_bytes(HEX[as_bytes(tag.astype(">u8"))])
        left = stamps % 4_096_000_000  # (seconds mod 4096)·10⁶ + µs, as mon_get_timestamp
        for column in range(TAG_W + STAMP_W, TAG_W, -1):
            self.text_mask[:, column] = (left > 0) | (column == TAG_W + STAMP_W)
            self.text[:, column] = ord("0") + left % 10
            left //= 10
        digits = as_bytes(HEX[noise[:, :TEXT_DATA]])
        for j, column in enumerate(DATA_COLUMN + self.data_at):
            self.text[:, column : column + 2] = digits[:, 2 * j : 2 * j + 2]
        # pcap: the stamp stands in the record's header and in usbmon's.
        seconds, micros = np.divmod(stamps, 1_000_000)
        seconds += EPOCH_S
        self.pcap[:, 0:4] = as_bytes(seconds.astype("<u4"))
        self.pcap[:, 4:8] = as_bytes(micros.astype("<u4"))
        self.pcap[:, RECORD : RECORD + 8] = as_bytes(tag.astype("<u8"))
        self.pcap[:, RECORD + 16 : RECORD + 24] = as_bytes(seconds.astype("<i8"))
        self.pcap[:, RECORD + 24 : RECORD + 28] = as_bytes(micros.astype("<i4"))
        self.pcap[:, self.body_at :] = noise
        return (
            self.text[:count][self.text_mask[:count]],
            self.pcap[:count][self.pcap_mask[:count]],
        )


def as_bytes(column: npt.NDArray[Any]) -> Bytes:
    """The bytes of each row's items, one row an event."""
    return np.ascontiguousarray(column).reshape(len(column), -1).view(np.uint8)


def matrix(rows: list[bytes], width: int = 0) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """Rows of different lengths as one padded matrix and the mask of what is there."""
    width = width or max(map(len, rows))
    data = b"".join(row.ljust(width, b"\0") for row in rows)
    lengths = np.array([len(row) for row in rows]).reshape(-1, 1)
    return np.frombuffer(data, np.uint8).reshape(-1, width), np.arange(width) < lengths


def block_tags(chance: np.random.RandomState) -> npt.NDArray[np.uint64]:
    """Kernel addresses for a block's URBs: objects of 192 bytes in one slab."""
    slab = 0xFFFF888000000000 + int(chance.randint(0x100, 0x40000)) * 0x10000
    return np.uint64(slab) + chance.permutation(0x10000 // 0xC0).astype(np.uint64) * np.uint64(0xC0)


def name_of(events: int) -> str:
    """200000 → 200k, 2000000 → 2m."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if events % unit == 0:
            return f"{events // unit}{letter}"
    return str(events)


def size_of(word: str) -> int:
    """200k, 2m, 20_000_000 → events."""
    unit = {"k": 1_000, "m": 1_000_000}.get(word[-1:].lower(), 1)
    return int(word.replace("_", "").rstrip("kKmM")) * unit


def paths(events: int, folder: Path, pcap_data: int = TEXT_DATA) -> tuple[Path, Path, Path]:
    """Text, pcap and the note about them."""
    name = name_of(events) + (f"-d{pcap_data}" if pcap_data != TEXT_DATA else "")
    return folder / f"{name}.txt", folder / f"{name}.pcap", folder / f"{name}.json"


def generate(
    events: int, folder: Path, pcap_data: int = TEXT_DATA, force: bool = False
) -> tuple[Path, Path]:
    """Writes the two files unless they are there; returns their paths."""
    text, pcap, note = paths(events, folder, pcap_data)
    if not force and is_current(text, pcap, note):
        return text, pcap
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    kinds: Counter[str] = Counter()
    # `.part` first: a half-written file must not pass for a trace.
    parts = [path.with_name(path.name + ".part") for path in (text, pcap)]
    with parts[0].open("wb") as text_file, parts[1].open("wb") as pcap_file:
        pcap_file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 220))
        templates = [Template(SEED + n, BLOCK, pcap_data) for n in range(TEMPLATES)]
        chance = np.random.RandomState(SEED)
        clock, done = START_S * 1_000_000 + 250_000, 0
        while done < events:
            template = templates[done // BLOCK % TEMPLATES]
            count = min(BLOCK, events - done)
            steps = chance.randint(2, 60, BLOCK)
            pauses = chance.randint(0, 10, BLOCK) == 0
            steps = np.where(pauses, chance.randint(60, 4_400, BLOCK), steps)
            stamps = clock + np.cumsum(steps)
            noise = np.frombuffer(bytearray(chance.bytes(BLOCK * pcap_data)), np.uint8)
            pieces = template.block(
                count, block_tags(chance), stamps, noise.reshape(BLOCK, pcap_data)
            )
            text_file.write(pieces[0].data)
            pcap_file.write(pieces[1].data)
            kinds.update(template.kinds[:count])
            clock, done = int(stamps[-1]), done + count
    for part, path in zip(parts, (text, pcap), strict=True):
        part.replace(path)
    facts = {
        "version": VERSION,
        "events": events,
        "text": text.stat().st_size,
        "pcap": pcap.stat().st_size,
        "kinds": dict(kinds),
        "seconds": round(time.perf_counter() - began, 1),
    }
    note.write_text(json.dumps(facts) + "\n")
    return text, pcap


def is_current(text: Path, pcap: Path, note: Path) -> bool:
    """Whether the files are there, whole, and of this version of the generator."""
    try:
        facts = json.loads(note.read_text())
        sizes = {"text": text.stat().st_size, "pcap": pcap.stat().st_size}
    except (OSError, ValueError):
        return False
    return facts.get("version") == VERSION and all(facts.get(k) == v for k, v in sizes.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sizes", nargs="*", default=["200k", "2m"], help="200k, 2m, 20_000_000 …")
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    parser.add_argument("--force", action="store_true", help="write again what is there")
    parser.add_argument(
        "--pcap-data",
        type=int,
        default=TEXT_DATA,
        metavar="BYTES",
        help=f"payload of an event in the pcap, at least {TEXT_DATA} (default: as in the text)",
    )
    options = parser.parse_args()
    if options.pcap_data < TEXT_DATA:
        parser.error(f"--pcap-data must be at least {TEXT_DATA}")
    for word in options.sizes:
        events = size_of(word)
        for path in generate(events, options.cache, options.pcap_data, options.force):
            size = path.stat().st_size
            print(f"{path.name:20} {size:13,} bytes {size / events:7.1f} an event")
    return 0


if __name__ == "__main__":
    sys.exit(main())
