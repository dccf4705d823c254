"""Events as hypothesis makes them: all that a kernel could have said, at its extremes."""

import struct
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from usbmon import Events, layout

Fields = dict[str, Any]

U32 = st.one_of(st.integers(0, 70), st.integers(0, 2**32 - 1), st.sampled_from([2**31, 2**32 - 1]))
LINUX = layout.ABSENT_BIT["usbd_status"] | layout.ABSENT_BIT["usbd_function"]

I32 = st.one_of(st.integers(-200, 200), st.integers(-(2**31), 2**31 - 1))
DESCRIPTOR = st.tuples(I32, U32, U32)


@st.composite
def one(draw: st.DrawFn, *, cut: bool = False) -> Fields:
    """One event of the wall clock. `cut`: the payload may be shorter than `len_cap` says."""
    kind = draw(st.sampled_from("SSSCCCE"))
    xfer = draw(st.integers(0, 3))
    out: Fields = {
        "id": draw(st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0xFFFF880000000000]))),
        "type": ord(kind),
        "xfer_type": xfer,
        "epnum": draw(st.integers(0, 15)) | draw(st.sampled_from([0, 0x80])),
        "devnum": draw(st.integers(0, 127)),
        "busnum": draw(st.one_of(st.integers(0, 9), st.integers(0, 65535))),
        "flag_setup": ord("-"),
        "status": -115 if kind == "S" else draw(I32),
        "length": draw(U32) if kind != "E" else 0,
        "setup": bytes(8),
        "ts_sec": draw(st.one_of(st.integers(1, 10), st.integers(0, 2**32 - 1))),
        # A stamp of 0 in an E event stands for none in text, so it is not made here.
        "ts_usec": draw(st.integers(1, 999999)),
        "xfer_flags": draw(U32),
        "clock": layout.WALL,
        "interval": 0,
        "start_frame": 0,
    }
    nanoseconds = draw(st.sampled_from([0, 0, 1, 999]))
    out["ts"] = out["ts_sec"] * 10**9 + out["ts_usec"] * 1000 + nanoseconds
    descriptors = []
    if xfer < 2 and kind != "E":
        out["interval"] = draw(I32)
    if xfer == 0 and kind != "E":
        out["start_frame"] = draw(I32)
        descriptors = draw(st.lists(DESCRIPTOR, max_size=8))
        more = draw(st.sampled_from([0, 0, 0, 160])) if descriptors else 0
        numdesc = len(descriptors) + more
        descriptors = (descriptors * 200)[: min(numdesc, 128)]  # the kernel keeps 128 at most
        errors = draw(I32) if kind == "C" else 0
        out["setup"] = struct.pack("=ii", errors, numdesc)
    if xfer == 2 and kind == "S":
        out["flag_setup"] = draw(st.sampled_from([0, 0, ord("Z")]))
        if not out["flag_setup"]:
            out["setup"] = draw(st.binary(min_size=8, max_size=8))
    data = b""
    out["flag_data"] = ord("E") if kind == "E" else draw(st.sampled_from([0, *b"<>ZD"]))
    if not out["flag_data"]:
        data = draw(st.binary(max_size=min(out["length"], 70)))
    payload = b"".join(struct.pack("=iIII", *row, 0) for row in descriptors) + data
    out["ndesc"] = len(descriptors)
    out["len_cap"] = len(payload)
    if cut and draw(st.booleans()):
        left = draw(st.integers(0, len(payload)))
        out["ndesc"] = min(out["ndesc"], left // 16)
        payload = payload[: out["ndesc"] * 16 if left < 16 * len(descriptors) else left]
    out["payload"] = payload
    return out


def many(*, max_size: int = 6, cut: bool = False) -> st.SearchStrategy[Events]:
    return st.lists(one(cut=cut), max_size=max_size).map(batch)


def batch(rows: Iterable[Fields]) -> Events:
    """A batch of these fields; what is left out is 0. Payloads stand apart and in reverse order,
    as nothing says they do not."""
    out, arena = [], bytearray(b"<gap>")
    fields = layout.PACKET + layout.OURS
    for row in reversed(list(rows)):
        at = len(arena)
        arena += row.get("payload", b"") + b"<gap>"
        values = {"absent": LINUX, "data_at": at, "captured": len(row.get("payload", b"")), **row}
        packed = (
            struct.pack("=" + f.code, values.get(f.name, bytes(8) if f.code == "8s" else 0))
            for f in fields
        )
        out.append(b"".join(packed))
    return Events(memoryview(b"".join(reversed(out))), memoryview(arena))
