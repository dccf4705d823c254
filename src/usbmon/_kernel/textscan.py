"""Text lines to rows: the strict grammar of drivers/usb/mon/mon_text.c, and nothing beside it.

Bytes of whole lines in, rows and payload out; a line that is not exactly what a kernel prints is
not judged here but set aside by its place, for `usbmon.formats.text` to mend or to report. Knows no
file, no clock (stamps are left as printed) and no earlier line.
"""

try:
    import cython
except ImportError:
    from usbmon import _cython as cython  # type: ignore[no-redef]

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.usbmon._kernel import fields as f
else:
    from usbmon._kernel import fields as f


_I32_MIN = cython.declare(cython.longlong, -0x80000000)
_I32_MAX = cython.declare(cython.longlong, 0x7FFFFFFF)
_U32_MAX = cython.declare(cython.longlong, 0xFFFFFFFF)

# Masks for eight characters in one word.
_ONES = cython.declare(cython.ulonglong, 0x0101010101010101)
_LOW_FOUR = cython.declare(cython.ulonglong, 0x0F0F0F0F0F0F0F0F)
_SIXES = cython.declare(cython.ulonglong, 0x0606060606060606)
_ZERO_DIGITS = cython.declare(cython.ulonglong, 0x3030303030303030)
_OVER_NINE = cython.declare(cython.ulonglong, 0x7676767676767676)
_HIGH_BITS = cython.declare(cython.ulonglong, 0x8080808080808080)
_EVEN = cython.declare(cython.ulonglong, 0x00FF00FF00FF00FF)
_EVEN_PAIRS = cython.declare(cython.ulonglong, 0x0000FFFF0000FFFF)

_EINPROGRESS = cython.declare(cython.int, -115)
_SHOWN_DESCRIPTORS = cython.declare(cython.int, 5)  # ISODESC_MAX of mon_text.c

# Words of one entry in the list of lines set aside: rows before it, where it starts, where it ends.
BAD_LINE = 3

# A stamp at or over the first is of an old kernel, which wraps at the second; today's at the first.
WRAP_NEW = 4_096_000_000
WRAP_OLD = 1 << 32
_WRAP_NEW = cython.declare(cython.longlong, WRAP_NEW)
_WRAP_OLD = cython.declare(cython.longlong, WRAP_OLD)

_NIBBLES = bytes(int(chr(c), 16) if chr(c) in "0123456789abcdef" else 0x80 for c in range(256))
_XFER_LETTERS = {"Z": 0, "I": 1, "C": 2, "B": 3}
_XFER_OF = bytes(_XFER_LETTERS.get(chr(c), 0x80) for c in range(256))
_FILLER = b" __ __ ____ ____ ____"


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _decimal(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t
) -> tuple[cython.longlong, cython.Py_ssize_t]:
    """The number at `at` and where it ends; -1 as the end if there is none or it is huge."""
    value: cython.longlong = 0
    digit: cython.int
    negative: cython.bint = p[at] == 45
    first: cython.Py_ssize_t = at + 1 if negative else at
    at = first
    digit = (p[at] - 48) & 0xFF
    while digit <= 9 and at - first <= 10:
        value = value * 10 + digit
        at += 1
        digit = (p[at] - 48) & 0xFF
    if at == first or at - first > 10:
        return 0, -1
    return (-value if negative else value), at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _signed(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, before: cython.int
) -> tuple[cython.int, cython.Py_ssize_t]:
    """The C int behind the character `before`, which must stand at `at`."""
    value: cython.longlong
    if p[at] != before:
        return 0, -1
    value, at = _decimal(p, at + 1)
    if value < _I32_MIN or value > _I32_MAX:
        return 0, -1
    return cython.cast(cython.int, value), at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _hex(
    p: cython.pointer[cython.const[cython.uchar]],
    nibbles: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    digits: cython.int,
) -> cython.int:
    """The value of exactly so many hexadecimal digits behind a space, or -1."""
    value: cython.int = 0
    nibble: cython.int
    k: cython.Py_ssize_t
    if p[at] != 32:
        return -1
    for k in range(digits):
        nibble = nibbles[p[at + 1 + k]]
        if nibble & 0x80:
            return -1
        value = (value << 4) | nibble
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _eight(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t
) -> cython.ulonglong:
    """Eight characters as one word, the first lowest (on a machine of that byte order)."""
    word: cython.ulonglong = 0
    if cython.compiled:
        memcpy(cython.address(word), p + at, 8)
    else:
        word = int.from_bytes(p[at : at + 8], "little")
    return word


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _stamp(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> tuple[cython.longlong, cython.Py_ssize_t]:
    """As `_decimal`, of a number that mostly has eight digits or more."""
    value: cython.ulonglong
    digit: cython.int
    first: cython.Py_ssize_t = at
    if not f.LITTLE or at + 8 >= end:
        return _decimal(p, at)
    value = _eight(p, at) ^ _ZERO_DIGITS
    if ((value + _OVER_NINE) | value) & _HIGH_BITS:
        return _decimal(p, at)
    value = (value * 10 + (value >> 8)) & _EVEN
    value = (value * 100 + (value >> 16)) & _EVEN_PAIRS
    value = (value * 10000 + (value >> 32)) & _U32_MAX
    at += 8
    digit = (p[at] - 48) & 0xFF
    while digit <= 9 and at - first <= 10:
        value = value * 10 + digit
        at += 1
        digit = (p[at] - 48) & 0xFF
    if at - first > 10:
        return 0, -1
    return value, at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _hex_word(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t
) -> cython.longlong:
    """The four bytes, the first of them lowest, that eight hexadecimal digits stand for; or -1.

    All digits at once, one in each byte of a word: a letter is 9 more than its lower four bits, and
    what does not give its own digit back is none.
    """
    digits: cython.ulonglong
    values: cython.ulonglong
    letters: cython.ulonglong
    digits = _eight(p, at)
    values = (digits & _LOW_FOUR) + ((digits >> 6) & _ONES) * 9
    letters = ((values + _SIXES) >> 4) & _ONES
    if (values | _LOW_FOUR) != _LOW_FOUR or values + _ZERO_DIGITS + letters * 0x27 != digits:
        return -1
    values = ((values & _EVEN) << 4) | ((values >> 8) & _EVEN)
    values = (values | (values >> 8)) & _EVEN_PAIRS
    return (values | (values >> 16)) & _U32_MAX


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _swapped(word: cython.uint) -> cython.uint:
    return ((word & 0xFF) << 24) | ((word & 0xFF00) << 8) | ((word >> 8) & 0xFF00) | (word >> 24)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _tag(
    p: cython.pointer[cython.const[cython.uchar]],
    nibbles: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> tuple[cython.ulonglong, cython.Py_ssize_t]:
    """The tag, as the kernel prints it (%lx: no leading zero)."""
    value: cython.ulonglong = 0
    first: cython.Py_ssize_t = at
    nibble: cython.uchar
    high: cython.longlong
    low: cython.longlong
    if f.LITTLE and at + 16 < end and p[at + 16] == 32 and p[at] != 48:
        # The address of a 64-bit kernel; or a shorter tag, and the blank is another.
        high = _hex_word(p, at)
        low = _hex_word(p, at + 8)
        if high >= 0 and low >= 0:
            value = _swapped(high)
            return (value << 32) | _swapped(low), at + 16
    nibble = nibbles[p[at]]
    while nibble < 16 and at - first <= 16:
        value = (value << 4) | nibble
        at += 1
        nibble = nibbles[p[at]]
    if at == first or at - first > 16 or (p[first] == 48 and at - first > 1):
        return 0, -1
    return value, at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _is_digit(character: cython.uchar) -> cython.bint:
    return (character >= 48) & (character <= 57)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _address(
    p: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    xfers: cython.pointer[cython.const[cython.uchar]],
    r8: cython.pointer[cython.uchar],
    r16: cython.pointer[cython.ushort],
    n: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """The word ``Ci:1:002:0`` (format u) or ``Ci:002:00`` (format t); where it ends or -1."""
    bus: cython.longlong
    dev: cython.longlong
    epnum: cython.longlong
    xfer: cython.uchar = xfers[p[at]]
    is_in: cython.bint
    if xfer > 3:
        return -1
    is_in = p[at + 1] == 105
    if (not is_in and p[at + 1] != 111) or p[at + 2] != 58:
        return -1
    r16[n * f.W16 + f.ABSENT] = f.NEVER_IN_TEXT
    if (
        at + 10 < end
        and (p[at + 4] == 58) & (p[at + 8] == 58) & (p[at + 10] == 32)
        and _is_digit(p[at + 3]) & _is_digit(p[at + 5]) & _is_digit(p[at + 6])
        and _is_digit(p[at + 7]) & _is_digit(p[at + 9])
    ):
        # As most are: one digit, three, and one.
        bus = p[at + 3] - 48
        dev = (p[at + 5] - 48) * 100 + (p[at + 6] - 48) * 10 + (p[at + 7] - 48)
        epnum = p[at + 9] - 48
        at += 10
    else:
        bus, at = _decimal(p, at + 3)
        if at < 0 or p[at] != 58:
            return -1
        dev, at = _decimal(p, at + 1)
        if at < 0:
            return -1
        if p[at] == 58:
            epnum, at = _decimal(p, at + 1)
            if at < 0:
                return -1
        else:
            epnum, dev, bus = dev, bus, 0
            r16[n * f.W16 + f.ABSENT] = f.NEVER_IN_TEXT | f.NO_BUS
    if bus < 0 or bus > 65535 or dev < 0 or dev > 255 or epnum < 0 or epnum > 127:
        return -1
    r8[n * f.W8 + f.XFER] = xfer
    r8[n * f.W8 + f.EPNUM] = (epnum | 0x80) if is_in else epnum
    r8[n * f.W8 + f.DEVNUM] = dev
    r16[n * f.W16 + f.BUSNUM] = bus
    return at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _setup(
    p: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    nibbles: cython.pointer[cython.const[cython.uchar]],
    filler: cython.pointer[cython.const[cython.uchar]],
    r8: cython.pointer[cython.uchar],
    n: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """The setup tag and its five words, or the filler of one not captured."""
    k: cython.Py_ssize_t
    b: cython.Py_ssize_t = n * f.W8 + f.SETUP
    bm_request_type: cython.int
    b_request: cython.int
    w_value: cython.int
    w_index: cython.int
    w_length: cython.int
    if p[at] != 115:
        if p[at] <= 32 or p[at] >= 127:
            return -1
        r8[n * f.W8 + f.FLAG_SETUP] = p[at]
        for k in range(21):
            if p[at + 1 + k] != filler[k]:
                return -1
        return at + 22
    # Each is looked at before the next: behind a newline there may be nothing to look at.
    bm_request_type = _hex(p, nibbles, at + 1, 2)
    if bm_request_type < 0:
        return -1
    b_request = _hex(p, nibbles, at + 4, 2)
    if b_request < 0:
        return -1
    w_value = _hex(p, nibbles, at + 7, 4)
    if w_value < 0:
        return -1
    w_index = _hex(p, nibbles, at + 12, 4)
    if w_index < 0:
        return -1
    w_length = _hex(p, nibbles, at + 17, 4)
    if w_length < 0:
        return -1
    r8[n * f.W8 + f.FLAG_SETUP] = 0
    r8[b] = bm_request_type
    r8[b + 1] = b_request
    r8[b + 2] = w_value & 0xFF
    r8[b + 3] = w_value >> 8
    r8[b + 4] = w_index & 0xFF
    r8[b + 5] = w_index >> 8
    r8[b + 6] = w_length & 0xFF
    r8[b + 7] = w_length >> 8
    return at + 22


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _put32(
    out: cython.pointer[cython.uchar], at: cython.Py_ssize_t, value: cython.longlong
) -> cython.void:
    if f.LITTLE:
        out[at] = value & 0xFF
        out[at + 1] = (value >> 8) & 0xFF
        out[at + 2] = (value >> 16) & 0xFF
        out[at + 3] = (value >> 24) & 0xFF
    else:
        out[at + 3] = value & 0xFF
        out[at + 2] = (value >> 8) & 0xFF
        out[at + 1] = (value >> 16) & 0xFF
        out[at] = (value >> 24) & 0xFF


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _descriptors(
    p: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    out: cython.pointer[cython.uchar],
    used: cython.Py_ssize_t,
    shown: cython.int,
) -> cython.Py_ssize_t:
    """So many words ``status:offset:length``, for which there is place at `used`."""
    status: cython.int
    offset: cython.longlong
    length: cython.longlong
    k: cython.int
    for k in range(shown):
        status, at = _signed(p, at, 32)
        if at < 0 or p[at] != 58:
            return -1
        offset, at = _decimal(p, at + 1)
        if at < 0 or p[at] != 58 or offset < 0 or offset > _U32_MAX:
            return -1
        length, at = _decimal(p, at + 1)
        if at < 0 or length < 0 or length > _U32_MAX:
            return -1
        _put32(out, used, status)
        _put32(out, used + 4, offset)
        _put32(out, used + 8, length)
        _put32(out, used + 12, 0)
        used += 16
    return at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _statuses(
    p: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    r8: cython.pointer[cython.uchar],
    r16: cython.pointer[cython.ushort],
    r32: cython.pointer[cython.int],
    n: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """The status and what interrupt and isochronous events have behind it, up to numdesc."""
    xfer: cython.int = r8[n * f.W8 + f.XFER]
    event: cython.int = r8[n * f.W8 + f.TYPE]
    r32[n * f.W32 + f.STATUS], at = _signed(p, at - 1, 32)
    if at < 0 or xfer > 1 or event == 69:
        return at
    if p[at] != 58:  # format t
        r16[n * f.W16 + f.ABSENT] = r16[n * f.W16 + f.ABSENT] | (
            f.NO_INTERVAL if xfer == 1 else f.NO_ISO
        )
        return at
    r32[n * f.W32 + f.INTERVAL], at = _signed(p, at, 58)
    if at < 0 or xfer == 1:
        return at
    r32[n * f.W32 + f.START_FRAME], at = _signed(p, at, 58)
    if at >= 0 and event == 67:
        r32[n * f.W32 + f.ERROR_COUNT], at = _signed(p, at, 58)
    else:
        r16[n * f.W16 + f.ABSENT] = r16[n * f.W16 + f.ABSENT] | f.NO_ERROR_COUNT
    if at >= 0:
        r32[n * f.W32 + f.NUMDESC], at = _signed(p, at, 32)
    return at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _words(
    p: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    nibbles: cython.pointer[cython.const[cython.uchar]],
    out: cython.pointer[cython.uchar],
    used: cython.Py_ssize_t,
    limit: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> tuple[cython.Py_ssize_t, cython.Py_ssize_t]:
    """The data words from `at` on: where they end (or -1) and what of the arena is used then."""
    high: cython.int
    low: cython.int
    word: cython.longlong
    k: cython.int
    while p[at] == 32 and used + 4 <= limit:
        if f.LITTLE and at + 8 < end:
            word = _hex_word(p, at + 1)
            if word >= 0:
                for k in range(4):
                    out[used + k] = (word >> (8 * k)) & 0xFF
                used += 4
                at += 9
                continue
        for k in range(4):
            high = nibbles[p[at + 1]]
            if high & 0x80:
                # Only the last word may be short, and none is empty.
                return (at + 1 if k > 0 and p[at + 1] == 10 else -1), used
            low = nibbles[p[at + 2]]
            if low & 0x80:
                return -1, used
            out[used] = (high << 4) | low
            used += 1
            at += 2
        at += 1
    return at, used


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _clear(r64: cython.pointer[cython.longlong], n: cython.Py_ssize_t) -> cython.void:
    """Begin a row: what was there before, or a line left that turned out to be no event, goes."""
    k: cython.Py_ssize_t
    for k in range(f.W64):
        r64[n * f.W64 + k] = 0


def scan(
    text: cython.const[cython.uchar][::1],
    start: cython.Py_ssize_t,
    rows: cython.uchar[::1],
    arena: cython.uchar[::1],
    bad_lines: cython.longlong[::1],
) -> tuple[int, int, int, int]:
    """Scan the lines of `text` from `start` until the text ends or one of the outputs is full.

    `text` ends with a newline; `rows` and `arena` may hold anything. Returns how many rows were
    filled, where in `text` the scan ended, how much of `arena` is used, and how many lines were set
    aside in `bad_lines` (`BAD_LINE` words each).
    """
    end: cython.Py_ssize_t = len(text)
    row_limit: cython.Py_ssize_t = len(rows) // f.W8
    arena_limit: cython.Py_ssize_t = len(arena)
    bad_limit: cython.Py_ssize_t = len(bad_lines) // 3
    n: cython.Py_ssize_t = 0
    bads: cython.Py_ssize_t = 0
    used: cython.Py_ssize_t = 0
    line: cython.Py_ssize_t = start
    keep: cython.Py_ssize_t
    at: cython.Py_ssize_t
    shown: cython.int
    event: cython.int
    stamp: cython.longlong
    length: cython.int
    nibble_table: cython.const[cython.uchar][::1] = _NIBBLES
    xfer_table: cython.const[cython.uchar][::1] = _XFER_OF
    filler_text: cython.const[cython.uchar][::1] = _FILLER
    p: cython.pointer[cython.const[cython.uchar]]
    nibbles: cython.pointer[cython.const[cython.uchar]]
    xfers: cython.pointer[cython.const[cython.uchar]]
    filler: cython.pointer[cython.const[cython.uchar]]
    out: cython.pointer[cython.uchar]
    r8: cython.pointer[cython.uchar]
    r16: cython.pointer[cython.ushort]
    r32: cython.pointer[cython.int]
    u32: cython.pointer[cython.uint]
    r64: cython.pointer[cython.longlong]
    u64: cython.pointer[cython.ulonglong]
    if end - start < 1 or row_limit < 1 or arena_limit < 1:
        return 0, start, 0, 0
    if cython.compiled:
        p = cython.address(text[0])
        nibbles = cython.address(nibble_table[0])
        xfers = cython.address(xfer_table[0])
        filler = cython.address(filler_text[0])
        out = cython.address(arena[0])
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.ushort], r8)
        r32 = cython.cast(cython.pointer[cython.int], r8)
        u32 = cython.cast(cython.pointer[cython.uint], r8)
        r64 = cython.cast(cython.pointer[cython.longlong], r8)
        u64 = cython.cast(cython.pointer[cython.ulonglong], r8)
    else:
        p, nibbles, xfers, filler, out = text, _NIBBLES, _XFER_OF, _FILLER, arena
        r8 = memoryview(rows)
        r16, r32, u32 = r8.cast("H"), r8.cast("i"), r8.cast("I")
        r64, u64 = r8.cast("q"), r8.cast("Q")

    with cython.nogil:
        while line < end and n < row_limit:
            keep = used
            shown = 0
            length = 0
            event = 0
            stamp = 0
            _clear(r64, n)
            u64[n * f.W64 + f.ID], at = _tag(p, nibbles, line, end)
            if at >= 0:
                if p[at] == 32:
                    stamp, at = _stamp(p, at + 1, end)
                else:
                    at = -1
            if at >= 0 and p[at] != 32:  # behind a newline there may be nothing to look at
                at = -1
            if at >= 0:
                event = p[at + 1]
                if (event != 83 and event != 67 and event != 69) or p[at + 2] != 32:
                    at = -1
                elif stamp < 0 or stamp >= _WRAP_OLD:
                    at = -1
                else:
                    r8[n * f.W8 + f.TYPE] = event
                    at = _address(p, at + 3, xfers, r8, r16, n, end)
            if at >= 0:
                at += 1
                r8[n * f.W8 + f.FLAG_SETUP] = 45
                if p[at - 1] != 32:
                    at = -1
                elif p[at] == 45 or nibbles[p[at]] < 10:
                    at = _statuses(p, at, r8, r16, r32, n)
                elif r8[n * f.W8 + f.XFER] == 2:
                    at = _setup(p, at, nibbles, filler, r8, n)
                    r32[n * f.W32 + f.STATUS] = _EINPROGRESS
                else:
                    at = -1
            if at >= 0 and r8[n * f.W8 + f.XFER] == 0:
                shown = r32[n * f.W32 + f.NUMDESC]
                if shown > _SHOWN_DESCRIPTORS:
                    shown = _SHOWN_DESCRIPTORS
                if shown > 0:
                    if used + 16 * shown > arena_limit:
                        break
                    at = _descriptors(p, at, out, used, shown)
                    used += 16 * shown
                    u32[n * f.W32 + f.NDESC] = shown
            if at >= 0:
                length, at = _signed(p, at, 32)
            if at >= 0:
                if length <= 0:
                    # What the binary interface says where text has no tag (mon_bin_event).
                    if event == 69:
                        r8[n * f.W8 + f.FLAG_DATA] = 69
                    elif event == 83 and r8[n * f.W8 + f.EPNUM] & 0x80:
                        r8[n * f.W8 + f.FLAG_DATA] = 60
                    elif event == 67 and not r8[n * f.W8 + f.EPNUM] & 0x80:
                        r8[n * f.W8 + f.FLAG_DATA] = 62
                elif p[at] != 32:
                    at = -1
                elif p[at + 1] == 61:
                    at, used = _words(p, at + 2, nibbles, out, used, arena_limit, end)
                    if at >= 0 and p[at] == 32:
                        break
                elif p[at + 1] > 32 and p[at + 1] < 127:
                    r8[n * f.W8 + f.FLAG_DATA] = p[at + 1]
                    at += 2
                else:
                    at = -1
            if at < 0 or p[at] != 10:
                used = keep
                if bads >= bad_limit:
                    break
                at = line
                while p[at] != 10:
                    at += 1
                bad_lines[bads * 3] = n
                bad_lines[bads * 3 + 1] = line
                bad_lines[bads * 3 + 2] = at + 1
                bads += 1
            else:
                r64[n * f.W64 + f.TS_SEC] = stamp // 1000000
                r32[n * f.W32 + f.TS_USEC] = stamp % 1000000
                r32[n * f.W32 + f.LENGTH] = length
                u32[n * f.W32 + f.LEN_CAP] = used - keep
                r64[n * f.W64 + f.DATA_AT] = keep
                u32[n * f.W32 + f.CAPTURED] = used - keep
                n += 1
            line = at + 1
        else:
            keep = used
    return n, line, keep, bads


def unwrap(rows: cython.uchar[::1], count: cython.Py_ssize_t, state: cython.longlong[::1]) -> None:
    """Turn the printed 32-bit stamps of `count` rows into one time that goes on.

    `state`, zeroed before the first batch, carries from batch to batch: what the wraps so far add
    (µs), the last stamp, whether a stamp showed the old kernel's wrap, and the last time (ns). A
    step back by less than half a turn is two CPUs racing and no wrap; the 2.6.18 kernel's zero
    stamp in E events stands for no stamp.
    """
    base: cython.longlong = state[0]
    last: cython.longlong = state[1]
    old: cython.longlong = state[2]
    now: cython.longlong = state[3]
    stamp: cython.longlong
    turn: cython.longlong
    n: cython.Py_ssize_t
    r8: cython.pointer[cython.uchar]
    r16: cython.pointer[cython.ushort]
    r32: cython.pointer[cython.int]
    r64: cython.pointer[cython.longlong]
    if count < 1:
        return
    if cython.compiled:
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.ushort], r8)
        r32 = cython.cast(cython.pointer[cython.int], r8)
        r64 = cython.cast(cython.pointer[cython.longlong], r8)
    else:
        r8 = memoryview(rows)
        r16, r32, r64 = r8.cast("H"), r8.cast("i"), r8.cast("q")
    with cython.nogil:
        for n in range(count):
            stamp = r64[n * f.W64 + f.TS_SEC] * 1000000 + r32[n * f.W32 + f.TS_USEC]
            if stamp >= _WRAP_NEW:
                old = 1
            r8[n * f.W8 + f.CLOCK] = f.UNKNOWN if old else f.MONOTONIC
            if stamp == 0 and r8[n * f.W8 + f.TYPE] == 69:
                r16[n * f.W16 + f.ABSENT] = r16[n * f.W16 + f.ABSENT] | f.NO_TS
                r64[n * f.W64 + f.TS] = now
                continue
            turn = _WRAP_OLD if old else _WRAP_NEW
            if stamp < last - turn // 2:
                base += turn
                last = stamp
            elif stamp > last + turn // 2 and base > 0:
                # A straggler from before the wrap.
                r64[n * f.W64 + f.TS] = (base - turn + stamp) * 1000
                continue
            else:
                last = stamp
            now = (base + stamp) * 1000
            r64[n * f.W64 + f.TS] = now
    state[0] = base
    state[1] = last
    state[2] = old
    state[3] = now
