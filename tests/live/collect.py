"""Runs in the guest: ``collect.py OUT BUS`` writes all of a bus as records with 64-byte headers,
until OUT.stop appears; at the end, OUT.stats has what was dropped."""

import ctypes
import errno
import fcntl
import os
import sys
import time

GETX, STATS, SET_RING = 0x4018920A, 0x80089203, 0x9204
ALLOC = 8 << 20


class Get(ctypes.Structure):
    _fields_ = [("hdr", ctypes.c_void_p), ("data", ctypes.c_void_p), ("alloc", ctypes.c_size_t)]


def main(out: str, bus: str) -> None:
    device = os.open(f"/dev/usbmon{bus}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.ioctl(device, SET_RING, 32 << 20)
    header, data = ctypes.create_string_buffer(64), ctypes.create_string_buffer(ALLOC)
    get = Get(ctypes.addressof(header), ctypes.addressof(data), ALLOC)
    with open(out, "wb") as file:  # noqa: PTH123
        sys.stdout.write("reading\n")
        sys.stdout.flush()
        while True:
            try:
                fcntl.ioctl(device, GETX, get)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                if os.path.exists(out + ".stop"):  # noqa: PTH110
                    break
                file.flush()
                time.sleep(0.01)
                continue
            size = int.from_bytes(header.raw[36:40], "little")
            file.write(header.raw + data.raw[:size] if size < 4096 else header.raw)
            if size >= 4096:
                file.write(ctypes.string_at(data, size))
    stats = bytearray(8)
    fcntl.ioctl(device, STATS, stats)
    with open(out + ".stats", "w") as file:  # noqa: PTH123
        file.write(str(int.from_bytes(stats[4:], "little")))


main(*sys.argv[1:])
