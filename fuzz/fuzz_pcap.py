"""Any bytes, cut anywhere, give events or FormatError, with each link type, byte order and
resolution."""

import struct

import harness
from harness import pcap


def target(data: bytes) -> None:
    events = harness.whole_and_cut(pcap.PcapDecoder, data)
    if events is None:
        return
    for order, nano in (("<", False), (">", True)):
        encoder = pcap.PcapEncoder(nano=nano, order=order)
        written = encoder.begin() + bytes(encoder.encode(events))
        again = harness.whole_and_cut(pcap.PcapDecoder, written)
        assert again is not None
        assert len(again) == len(events)


def _usbpcap(transfer: int, header: bytes, data: bytes) -> bytes:
    """One record of USBPcap, from device to host and back."""
    out = b""
    for info in (0, 1):
        fixed = struct.pack(
            "<HQIHBHHBBI", 27 + len(header), 0xABCD, 0, 8, info, 1, 2, 0x81, transfer, len(data)
        )
        body = fixed + header + data
        out += struct.pack("<IIII", 1, 2, len(body), len(body)) + body
    return out


def _windows() -> bytes:
    packets = struct.pack("<III", 7, 2, 1) + struct.pack("<III", 0, 4, 0) * 2
    return (
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 249)
        + _usbpcap(2, b"\x00", bytes.fromhex("8006000100001200"))
        + _usbpcap(0, packets, bytes(8))
        + _usbpcap(3, b"", b"data")
        + _usbpcap(254, b"", b"")
    )


if __name__ == "__main__":
    seeds = harness.examples("*.pcap")
    for seed in harness.examples("*.pcap"):
        events = pcap.PcapDecoder().feed(seed)
        for encoder in (pcap.PcapEncoder(order=">"), pcap.Pcap189Encoder()):
            seeds.append(encoder.begin() + bytes(encoder.encode(events)))
    harness.run(target, [*seeds, _windows()])
