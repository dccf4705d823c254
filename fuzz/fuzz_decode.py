"""Any file, compressed or not, gives events or UsbmonError: detection, decompression, decoding and
the summary of it all."""

import bz2
import gzip
import lzma
import os

import harness
from harness import compression, files, summary

from usbmon.errors import UsbmonError

_FILE = os.memfd_create("fuzz")
_PATH = f"/proc/self/fd/{_FILE}"


def target(data: bytes) -> None:
    os.ftruncate(_FILE, 0)
    os.pwrite(_FILE, data, 0)
    try:
        with files.open(_PATH) as trace:
            found = summary.Summary()
            for events in trace:
                found.add(events)
    except UsbmonError as error:
        harness.check(error)


if __name__ == "__main__":
    plain = [seed for kind in ("*.txt", "*.bin", "*.pcap") for seed in harness.examples(kind)]
    seeds = list(plain)
    for seed in plain[::5]:
        zst = compression.Compressor("zst")
        seeds += [gzip.compress(seed), bz2.compress(seed), lzma.compress(seed)]
        seeds.append(zst.compress(seed) + zst.end())
    harness.run(target, seeds)
