"""Any bytes, cut anywhere, give events or FormatError, whatever blocks, options, sections and
interfaces they claim to be."""

import struct

import harness
from harness import pcap, pcapng


def target(data: bytes) -> None:
    events = harness.whole_and_cut(pcapng.PcapngDecoder, data)
    if events is None:
        return
    for order in "<>":
        encoder = pcapng.PcapngEncoder(order=order)
        written = encoder.begin(about={"application": "fuzz"}) + bytes(encoder.encode(events))
        again = harness.whole_and_cut(pcapng.PcapngDecoder, written)
        assert again is not None
        assert len(again) == len(events)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _every_block(packet: bytes) -> bytes:
    """A section with all the blocks there are, around one packet."""
    comment = struct.pack("<HH4s", 1, 4, b"note")
    end = bytes(4)
    size = struct.pack("<I", len(packet))
    packet += bytes(-len(packet) % 4)
    return b"".join(
        [
            _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + comment + end),
            _block(1, struct.pack("<HHI", 220, 0, 0) + struct.pack("<HHB3x", 9, 1, 0x89) + end),
            _block(1, struct.pack("<HHI", 1, 0, 0)),
            _block(6, struct.pack("<III", 0, 1, 2) + size + size + packet + comment + end),
            _block(2, struct.pack("<HHII", 0, 0, 1, 2) + size + size + packet),
            _block(3, size + packet),
            _block(5, struct.pack("<III", 0, 1, 2) + struct.pack("<HHQ", 5, 8, 3) + end),
            _block(0x0BAD, b"unknown!"),
        ]
    )


if __name__ == "__main__":
    captures = harness.examples("*.pcap")
    seeds = [_every_block(seed[40 : 40 + int.from_bytes(seed[32:36], "little")])
             for seed in captures]  # fmt: skip
    for seed in captures:
        events = pcap.PcapDecoder().feed(seed)
        for order in "<>":
            encoder = pcapng.PcapngEncoder(order=order)
            seeds.append(encoder.begin() + bytes(encoder.encode(events)))
    harness.run(target, seeds)
