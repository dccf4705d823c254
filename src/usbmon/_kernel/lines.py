"""Rows to the lines that `usbmon show` prints: one event a line, in columns that stay put.

Rows and arena in, bytes out. The words for a status or a setup packet come from the caller.
"""

try:
    import cython
except ImportError:
    from usbmon import _cython as cython  # type: ignore[no-redef]

if cython.compiled:
    from cython.cimports.usbmon._kernel import fields as f
else:
    from usbmon._kernel import fields as f


# How `lines` tells the time.
RELATIVE, ABSOLUTE, DELTA = range(3)
_ABSOLUTE = cython.declare(cython.int, ABSOLUTE)
_DELTA = cython.declare(cython.int, DELTA)

# The table of status words has this many entries of so many characters each.
STATUSES = 256
STATUS_WIDTH = 18
_STATUS_WIDTH = cython.declare(cython.Py_ssize_t, STATUS_WIDTH)

# Where each column begins, time aside (its width differs): for those who colour a line.
COLUMNS = {"address": 0, "type": 10, "event": 19, "status": 21, "length": 40, "info": 48}

DATA_SHOWN = 16
_DATA_SHOWN = cython.declare(cython.Py_ssize_t, DATA_SHOWN)
TIME_WIDTH = {RELATIVE: 14, ABSOLUTE: 26, DELTA: 14}
# The room that one line can take, the words for its setup packet and its marks aside.
_LINE_ROOM = cython.declare(cython.Py_ssize_t, 256)

_I64_MAX = cython.declare(cython.longlong, (1 << 63) - 1)

_HEX = b"0123456789abcdef"
_TYPE_WORDS = b"Isoc out Intr out Ctrl out Bulk out Isoc in  Intr in  Ctrl in  Bulk in  "


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _number(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    value: cython.longlong,
    width: cython.int,
    fill: cython.int,
) -> cython.Py_ssize_t:
    """A number, right-aligned, in at least `width` characters."""
    digits: cython.int = 1
    power: cython.longlong = 10
    negative: cython.bint = value < 0
    k: cython.int
    if negative:
        value = -value
        width -= 1
    while value >= power and digits < 19:
        digits += 1
        if digits < 19:
            power *= 10
    if fill == 32:
        for k in range(width - digits):
            out[at] = 32
            at += 1
    if negative:
        out[at] = 45
        at += 1
    if fill != 32:
        for k in range(width - digits):
            out[at] = fill
            at += 1
    for k in range(digits):
        out[at + digits - 1 - k] = 48 + value % 10
        value = value // 10
    return at + digits


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _minus(a: cython.longlong, b: cython.longlong) -> cython.longlong:
    """How far two times are apart; where 64 bits cannot hold it, the farthest there is."""
    if a >= 0 and b < 0 and a > _I64_MAX + b:
        return _I64_MAX
    if a < 0 and b >= 0 and a < b - _I64_MAX:
        return -_I64_MAX
    return a - b


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _seconds(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    ns: cython.longlong,
    width: cython.int,
) -> cython.Py_ssize_t:
    """Seconds with six decimals, right-aligned."""
    negative: cython.bint = ns < 0
    us: cython.longlong = (-ns if negative else ns) // 1000
    second: cython.longlong = us // 1000000
    at = _number(out, at, -second if negative else second, width - 7, 32)
    if negative and second == 0:
        out[at - 2] = 45  # a single 0 has blanks before it
    out[at] = 46
    return _number(out, at + 1, us % 1000000, 6, 48)


@cython.cfunc
@cython.exceptval(check=False)
def _date(
    out: cython.pointer[cython.uchar], at: cython.Py_ssize_t, ns: cython.longlong
) -> cython.Py_ssize_t:
    """ISO 8601 in UTC, six decimals (days to date: Howard Hinnant, chrono-compatible dates)."""
    us: cython.longlong = ns // 1000
    second: cython.longlong = us // 1000000
    days: cython.longlong = second // 86400
    era: cython.longlong = (days + 719468) // 146097
    day_of_era: cython.longlong = days + 719468 - era * 146097
    year_of_era: cython.longlong = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day: cython.longlong = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month: cython.longlong = (5 * day + 2) // 153
    day = day - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    at = _number(out, at, year_of_era + era * 400 + (1 if month <= 2 else 0), 4, 48)
    out[at] = 45
    at = _number(out, at + 1, month, 2, 48)
    out[at] = 45
    at = _number(out, at + 1, day, 2, 48)
    out[at] = 84
    at = _number(out, at + 1, second % 86400 // 3600, 2, 48)
    out[at] = 58
    at = _number(out, at + 1, second % 3600 // 60, 2, 48)
    out[at] = 58
    at = _number(out, at + 1, second % 60, 2, 48)
    out[at] = 46
    return _number(out, at + 1, us % 1000000, 6, 48)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _pad(
    out: cython.pointer[cython.uchar], at: cython.Py_ssize_t, to: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    out[at] = 32
    at += 1
    while at < to:
        out[at] = 32
        at += 1
    return at


def lines(
    rows: cython.const[cython.uchar][::1],
    start: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    arena: cython.const[cython.uchar][::1],
    out: cython.uchar[::1],
    status_words: bytes,
    setup_words: object,
    mark_words: tuple[bytes, ...],
    time: cython.int,
    zero: cython.longlong,
) -> tuple[int, int, int]:
    """Print rows from `start` on until all are printed or `out` is full; returns the next row, how
    many bytes of `out` are used, and `zero` for the next call.

    `status_words`: for -status of 0 to 255, `STATUS_WIDTH` characters each. `setup_words(setup)`:
    the words of eight bytes, as bytes. `mark_words`: what to add for each value of `marks`. `time`:
    `RELATIVE` to `zero` (ns), `ABSOLUTE`, or `DELTA` to the event before (`zero` for the first).
    """
    n: cython.Py_ssize_t = start
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    head: cython.Py_ssize_t
    row: cython.Py_ssize_t
    word: cython.Py_ssize_t
    place: cython.Py_ssize_t
    shown: cython.Py_ssize_t
    size: cython.longlong
    ndesc: cython.longlong
    ts: cython.longlong
    status: cython.longlong
    absent: cython.int
    event: cython.int
    xfer: cython.int
    limit: cython.Py_ssize_t = len(out)
    hex_digits: cython.const[cython.uchar][::1] = _HEX
    type_bytes: cython.const[cython.uchar][::1] = _TYPE_WORDS
    status_bytes: cython.const[cython.uchar][::1] = status_words
    digits: cython.pointer[cython.const[cython.uchar]]
    types: cython.pointer[cython.const[cython.uchar]]
    statuses: cython.pointer[cython.const[cython.uchar]]
    o: cython.pointer[cython.uchar]
    p: cython.pointer[cython.const[cython.uchar]]
    r8: cython.pointer[cython.const[cython.uchar]]
    r16: cython.pointer[cython.const[cython.ushort]]
    r32: cython.pointer[cython.const[cython.int]]
    u32: cython.pointer[cython.const[cython.uint]]
    r64: cython.pointer[cython.const[cython.longlong]]
    if count <= start:
        return start, 0, zero
    if cython.compiled:
        digits = cython.address(hex_digits[0])
        types = cython.address(type_bytes[0])
        statuses = cython.address(status_bytes[0])
        o = cython.address(out[0])
        p = cython.address(arena[0])
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.const[cython.ushort]], r8)
        r32 = cython.cast(cython.pointer[cython.const[cython.int]], r8)
        u32 = cython.cast(cython.pointer[cython.const[cython.uint]], r8)
        r64 = cython.cast(cython.pointer[cython.const[cython.longlong]], r8)
    else:
        digits, types, statuses, o, p = _HEX, _TYPE_WORDS, status_words, out, arena
        r8 = memoryview(rows)
        r16, r32, u32, r64 = r8.cast("H"), r8.cast("i"), r8.cast("I"), r8.cast("q")

    while n < count:
        row = n * f.W8
        words: bytes = b""
        marks: bytes = mark_words[r8[row + f.MARKS]]
        if r8[row + f.FLAG_SETUP] == 0 and r8[row + f.XFER] == 2:
            words = setup_words(  # type: ignore[operator]  # Cython knows no callable type
                bytes(rows[row + f.SETUP : row + f.SETUP + 8])
            )
        if at + _LINE_ROOM + len(words) + len(marks) > limit:
            break
        absent = r16[n * f.W16 + f.ABSENT]
        event = r8[row + f.TYPE]
        xfer = r8[row + f.XFER] & 3
        ts = r64[n * f.W64 + f.TS]
        if absent & f.NO_TS:
            at = _pad(o, at, at + (26 if time == _ABSOLUTE and r8[row + f.CLOCK] == f.WALL else 14))
            o[at - 1] = 63
        elif time == _DELTA:
            at = _seconds(o, at, _minus(ts, zero), 14)
            zero = ts
        elif time != _ABSOLUTE:
            at = _seconds(o, at, _minus(ts, zero), 14)
        elif r8[row + f.CLOCK] == f.WALL and ts >= 0:
            at = _date(o, at, ts)
        else:
            at = _seconds(o, at, _minus(ts, 0), 14)
        o[at] = 32
        o[at + 1] = 32
        at += 2

        head = at
        if absent & f.NO_BUS:
            o[at] = 63
            at += 1
        else:
            at = _number(o, at, r16[n * f.W16 + f.BUSNUM], 1, 32)
        o[at] = 46
        at = _number(o, at + 1, r8[row + f.DEVNUM], 3, 48)
        o[at] = 46
        at = _number(o, at + 1, r8[row + f.EPNUM] & 0x7F, 1, 32)
        at = _pad(o, at, head + 10)
        word = (xfer + (4 if r8[row + f.EPNUM] & 0x80 else 0)) * 9
        for k in range(9):
            o[at + k] = types[word + k]
        o[at + 9] = event
        o[at + 10] = 32
        at += 11

        status = r32[n * f.W32 + f.STATUS]
        place = at
        if event == 83 and status == -115:
            o[at] = 45
            at += 1
        elif status <= 0 and status > -256:
            for k in range(_STATUS_WIDTH):
                o[at + k] = statuses[-status * _STATUS_WIDTH + k]
            at += _STATUS_WIDTH
        else:
            at = _number(o, at, status, 1, 32)
        at = _pad(o, at, place + _STATUS_WIDTH + 1)
        if absent & f.NO_LENGTH:
            at = _pad(o, at, at + 7)
            o[at - 1] = 63
        else:
            at = _number(o, at, r32[n * f.W32 + f.LENGTH], 7, 32)

        ndesc = u32[n * f.W32 + f.NDESC]
        size = u32[n * f.W32 + f.CAPTURED] - 16 * ndesc
        if words or size > 0 or marks or (xfer == 0 and event != 69 and not absent & f.NO_NUMDESC):
            o[at] = 32
            at += 1
        if xfer == 0 and event != 69 and not absent & f.NO_NUMDESC:
            o[at] = 32
            at = _number(o, at + 1, r32[n * f.W32 + f.NUMDESC], 1, 32)
            for k in range(8):
                o[at + k] = b" packets"[k]
            at += 8
            if event == 67 and r32[n * f.W32 + f.ERROR_COUNT] != 0:
                o[at] = 44
                o[at + 1] = 32
                at = _number(o, at + 2, r32[n * f.W32 + f.ERROR_COUNT], 1, 32)
                for k in range(7):
                    o[at + k] = b" failed"[k]
                at += 7
        if len(words) > 0:
            o[at] = 32
            at += 1
            for k in range(len(words)):
                o[at + k] = words[k]
            at += len(words)
        if size > 0 and r8[row + f.FLAG_DATA] == 0:
            place = r64[n * f.W64 + f.DATA_AT] + 16 * ndesc
            shown = size if size < _DATA_SHOWN else _DATA_SHOWN
            for k in range(shown):
                if k & 3 == 0:
                    o[at] = 32
                    at += 1
                o[at] = digits[p[place + k] >> 4]
                o[at + 1] = digits[p[place + k] & 15]
                at += 2
            if size > shown:
                o[at] = 32
                o[at + 1] = o[at + 2] = 46
                at += 3
        for k in range(len(marks)):
            o[at + k] = marks[k]
        at += len(marks)
        o[at] = 10
        at += 1
        n += 1
    return n, at, zero
