"""Where the fields of a row stand, and what its flags mean, as numbers for the loops here.

Interpreted, the loops import this module. Compiled, they take the same names from ``fields.pxd``,
which `setup.py` makes of it, as constants of C that the compiler folds in. A place is counted in
the field's own size: ``TS`` in words of 64 bits, ``STATUS`` of 32, ``TYPE`` in bytes.
"""

import sys

from usbmon import layout as _layout

_AT = _layout.OFFSET
_NO = _layout.ABSENT_BIT

LITTLE = int(sys.byteorder == "little")

# The size of a row, in each unit.
W8 = _layout.ROW_SIZE
W16 = W8 // 2
W32 = W8 // 4
W64 = W8 // 8

ID = _AT["id"] // 8
# The word of the fields from `type` to `flag_data`: on a little-endian machine, `xfer_type`,
# `epnum`, `devnum` and `busnum` stand in it one above the other, from bit 8 on.
HEAD = _AT["type"] // 8
TYPE = _AT["type"]
XFER = _AT["xfer_type"]
EPNUM = _AT["epnum"]
DEVNUM = _AT["devnum"]
BUSNUM = _AT["busnum"] // 2
FLAG_SETUP = _AT["flag_setup"]
FLAG_DATA = _AT["flag_data"]
TS_SEC = _AT["ts_sec"] // 8
TS_USEC = _AT["ts_usec"] // 4
STATUS = _AT["status"] // 4
LENGTH = _AT["length"] // 4
LEN_CAP = _AT["len_cap"] // 4
LEN_CAP8 = _AT["len_cap"]
SETUP = _AT["setup"]
SETUP64 = _AT["setup"] // 8
ERROR_COUNT = _AT["error_count"] // 4
NUMDESC = _AT["numdesc"] // 4
INTERVAL = _AT["interval"] // 4
START_FRAME = _AT["start_frame"] // 4
XFER_FLAGS = _AT["xfer_flags"] // 4
NDESC = _AT["ndesc"] // 4
TS = _AT["ts"] // 8
URB = _AT["urb"] // 8
DATA_AT = _AT["data_at"] // 8
CAPTURED = _AT["captured"] // 4
USBD_STATUS = _AT["usbd_status"] // 4
USBD_FUNCTION = _AT["usbd_function"] // 2
ABSENT = _AT["absent"] // 2
INTERFACE = _AT["interface"] // 2
CLOCK = _AT["clock"]
MARKS = _AT["marks"]

# Bits of `absent`.
NO_BUS = _NO["busnum"]
NO_INTERVAL = _NO["interval"]
NO_ERROR_COUNT = _NO["error_count"]
NO_NUMDESC = _NO["numdesc"]
NO_XFER_FLAGS = _NO["xfer_flags"]
NO_TS = _NO["ts"]
NO_LEN_CAP = _NO["len_cap"]
NO_LENGTH = _NO["length"]
NO_USBD = _NO["usbd_function"]

# What whole kinds of traces lack.
LINUX = _NO["usbd_status"] | _NO["usbd_function"]
NEVER_IN_TEXT = LINUX | _NO["xfer_flags"] | _NO["len_cap"]
NO_ISO = _NO["interval"] | _NO["start_frame"] | _NO["error_count"] | _NO["numdesc"] | _NO["ndesc"]
OLD_HEADER = _NO["interval"] | _NO["start_frame"] | _NO["xfer_flags"]
USBPCAP = _NO["interval"] | _NO["xfer_flags"] | _NO["len_cap"]

DOUBLED = _layout.DOUBLED
ORPHAN = _layout.ORPHAN
SYNTHETIC = _layout.SYNTHETIC
UNKNOWN = _layout.UNKNOWN
WALL = _layout.WALL
MONOTONIC = _layout.MONOTONIC
