"""`Record`: one event, as the monitor makes it once and hands it to all its readers."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """An event, whole: a reader takes as much of it as it serves.

    `header` are the 64 bytes of ``struct usbmon_packet`` (`usbmon.layout.PACKET`) with `ndesc` and
    `len_cap` for all of `descriptors` (16 bytes each) and all of `data`; its stamp is the wall
    clock. `monotonic` is the stamp of text readers, in nanoseconds.
    """

    header: bytes
    descriptors: bytes
    data: bytes
    monotonic: int
