"""The statistics line of `Ns`: ``nreaders 6 events 368 text_lost 0`` (drivers/usb/mon/mon_stat.c).

Text in, numbers out, and back. Not here: the counting.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from usbmon.errors import FormatError

# With a prefix where grep or a script has put one, to tell buses apart.
LINE: Final = re.compile(
    rb"(?:\S*: ?)?\s*nreaders (\d+) events (\d+) text_lost (\d+)\s*$", re.MULTILINE
)


class Statistics(NamedTuple):
    """Readers of the bus at the moment, events seen since the module was loaded, and events that
    readers of the text interfaces lost because they were too slow."""

    nreaders: int
    events: int
    text_lost: int


def parse(line: bytes | str, *, file: str = "") -> Statistics:
    """The numbers of a line. Raises `FormatError` where it is none."""
    match = LINE.fullmatch(line.encode() if isinstance(line, str) else line)
    if match is None:
        raise FormatError(
            "not a statistics line (nreaders N events N text_lost N)", file=file, line=1
        )
    return Statistics(*map(int, match.groups()))


def format(statistics: Statistics) -> bytes:
    """The line, as the kernel prints it."""
    return b"nreaders %d events %d text_lost %d\n" % statistics
