"""Rows to text lines, byte for byte as drivers/usb/mon/mon_text.c prints them.

Rows and arena in, bytes out. Knows the formats `t` and `u` and nothing of what they leave out;
`usbmon.formats.text` counts that.
"""

try:
    import cython
except ImportError:
    from usbmon import _cython as cython  # type: ignore[no-redef]

if cython.compiled:
    from cython.cimports.usbmon._kernel import fields as f
else:
    from usbmon._kernel import fields as f


_I32_MAX = cython.declare(cython.longlong, 0x7FFFFFFF)
_U32_MAX = cython.declare(cython.longlong, 0xFFFFFFFF)
_TWO32 = cython.declare(cython.longlong, 1 << 32)

# DATA_MAX and ISODESC_MAX of mon_text.c.
DATA_MAX = 32
ISODESC_MAX = 5
_DATA_MAX = cython.declare(cython.Py_ssize_t, DATA_MAX)
_ISODESC_MAX = cython.declare(cython.Py_ssize_t, ISODESC_MAX)

# The longest line without its data: tag 16, stamp 10, address 20, five descriptors of 33, …
LINE_MAX = 352

_HEX = b"0123456789abcdef"
_XFER_LETTERS = b"ZICB"


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _unsigned(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    value: cython.longlong,
    width: cython.int,
) -> cython.Py_ssize_t:
    """%u, with at least `width` digits."""
    digits: cython.int = 1
    power: cython.longlong = 10
    k: cython.Py_ssize_t
    while value >= power or digits < width:
        digits += 1
        power *= 10
    for k in range(digits):
        out[at + digits - 1 - k] = 48 + value % 10
        value = value // 10
    return at + digits


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _signed(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    before: cython.int,
    value: cython.longlong,
) -> cython.Py_ssize_t:
    """A character and %d."""
    out[at] = before
    at += 1
    if value < 0:
        out[at] = 45
        return _unsigned(out, at + 1, -value, 1)
    return _unsigned(out, at, value, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _hex(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    digits: cython.pointer[cython.const[cython.uchar]],
    value: cython.ulonglong,
) -> cython.Py_ssize_t:
    """%lx."""
    shift: cython.int = 60
    while shift > 0 and value >> shift == 0:
        shift -= 4
    while shift >= 0:
        out[at] = digits[(value >> shift) & 15]
        at += 1
        shift -= 4
    return at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _byte(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    digits: cython.pointer[cython.const[cython.uchar]],
    value: cython.int,
) -> cython.Py_ssize_t:
    out[at] = digits[value >> 4]
    out[at + 1] = digits[value & 15]
    return at + 2


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load32(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t
) -> cython.longlong:
    a: cython.longlong
    if f.LITTLE:
        a = p[at + 3]
        a = (a << 8) | p[at + 2]
        a = (a << 8) | p[at + 1]
        return (a << 8) | p[at]
    a = p[at]
    a = (a << 8) | p[at + 1]
    a = (a << 8) | p[at + 2]
    return (a << 8) | p[at + 3]


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _setup(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    digits: cython.pointer[cython.const[cython.uchar]],
    r8: cython.pointer[cython.const[cython.uchar]],
    row: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """mon_text_read_statset: the setup packet, or the filler of one not captured."""
    flag: cython.int = r8[row + f.FLAG_SETUP]
    k: cython.Py_ssize_t
    # What would be read as a status, a setup packet or no word at all is no letter of the kernel's.
    if flag != 0 and (flag <= 32 or 48 <= flag <= 57 or flag == 115 or flag >= 127):
        flag = 90
    out[at] = 32
    out[at + 1] = 115 if flag == 0 else flag
    at += 2
    for k in range(5):
        out[at] = 32
        if flag != 0:
            out[at + 1] = out[at + 2] = out[at + 3] = out[at + 4] = 95
            at += 3 if k < 2 else 5
        elif k < 2:
            at = _byte(out, at + 1, digits, r8[row + f.SETUP + k])
        else:
            at = _byte(out, at + 1, digits, r8[row + f.SETUP + 2 * k - 1])
            at = _byte(out, at, digits, r8[row + f.SETUP + 2 * k - 2])
    return at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _data(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    digits: cython.pointer[cython.const[cython.uchar]],
    p: cython.pointer[cython.const[cython.uchar]],
    start: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """mon_text_read_data: ``=`` and the words."""
    k: cython.Py_ssize_t
    out[at] = 32
    out[at + 1] = 61
    at += 2
    for k in range(size):
        if k & 3 == 0:
            out[at] = 32
            at += 1
        at = _byte(out, at, digits, p[start + k])
    return at


def print_text(
    rows: cython.const[cython.uchar][::1],
    start: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    arena: cython.const[cython.uchar][::1],
    out: cython.uchar[::1],
    old: cython.bint,
    data_max: cython.Py_ssize_t,
) -> tuple[int, int]:
    """Print rows from `start` on until all are printed or `out` is full; returns the next row and
    how many bytes of `out` are used.

    `old`: the format `t`. `data_max`: 32, as the kernel has it, or more for a trace of a changed
    kernel.
    """
    n: cython.Py_ssize_t = start
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    row: cython.Py_ssize_t
    limit: cython.Py_ssize_t = len(out) - 352 - data_max * 9 // 4
    size: cython.Py_ssize_t
    shown: cython.Py_ssize_t
    desc: cython.Py_ssize_t
    ndesc: cython.longlong
    sec: cython.longlong
    event: cython.int
    xfer: cython.int
    length: cython.longlong
    number: cython.longlong
    status: cython.longlong
    flag: cython.int
    hex_digits: cython.const[cython.uchar][::1] = _HEX
    letter_bytes: cython.const[cython.uchar][::1] = _XFER_LETTERS
    digits: cython.pointer[cython.const[cython.uchar]]
    letters: cython.pointer[cython.const[cython.uchar]]
    o: cython.pointer[cython.uchar]
    p: cython.pointer[cython.const[cython.uchar]]
    r8: cython.pointer[cython.const[cython.uchar]]
    r16: cython.pointer[cython.const[cython.ushort]]
    r32: cython.pointer[cython.const[cython.int]]
    u32: cython.pointer[cython.const[cython.uint]]
    r64: cython.pointer[cython.const[cython.longlong]]
    u64: cython.pointer[cython.const[cython.ulonglong]]
    if count <= start:
        return start, 0
    if cython.compiled:
        digits = cython.address(hex_digits[0])
        letters = cython.address(letter_bytes[0])
        o = cython.address(out[0])
        p = cython.address(arena[0])
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.const[cython.ushort]], r8)
        r32 = cython.cast(cython.pointer[cython.const[cython.int]], r8)
        u32 = cython.cast(cython.pointer[cython.const[cython.uint]], r8)
        r64 = cython.cast(cython.pointer[cython.const[cython.longlong]], r8)
        u64 = cython.cast(cython.pointer[cython.const[cython.ulonglong]], r8)
    else:
        digits, letters, o, p = _HEX, _XFER_LETTERS, out, arena
        r8 = memoryview(rows)
        r16, r32, u32 = r8.cast("H"), r8.cast("i"), r8.cast("I")
        r64, u64 = r8.cast("q"), r8.cast("Q")
    with cython.nogil:
        while n < count and at <= limit:
            row = n * f.W8
            event = r8[row + f.TYPE]
            xfer = r8[row + f.XFER]
            ndesc = u32[n * f.W32 + f.NDESC]
            desc = r64[n * f.W64 + f.DATA_AT]
            at = _hex(o, at, digits, u64[n * f.W64 + f.ID])
            o[at] = 32
            at += 1
            sec = r64[n * f.W64 + f.TS_SEC]
            if r16[n * f.W16 + f.ABSENT] & f.NO_TS:
                at = _unsigned(o, at, 0, 1)
            elif r8[row + f.CLOCK] == f.WALL:  # mon_get_timestamp
                sec = (sec & 0xFFF) * 1000000 + r32[n * f.W32 + f.TS_USEC]
                at = _unsigned(o, at, sec & _U32_MAX, 1)
            else:
                sec = sec * 1000000 + r32[n * f.W32 + f.TS_USEC]
                at = _unsigned(o, at, sec & _U32_MAX, 1)
            o[at] = 32
            o[at + 1] = event
            o[at + 2] = 32
            o[at + 3] = letters[xfer & 3]
            o[at + 4] = 105 if r8[row + f.EPNUM] & 0x80 else 111
            o[at + 5] = 58
            at += 6
            if not old:
                at = _unsigned(o, at, r16[n * f.W16 + f.BUSNUM], 1)
                o[at] = 58
                at += 1
            at = _unsigned(o, at, r8[row + f.DEVNUM], 3)
            o[at] = 58
            at = _unsigned(o, at + 1, r8[row + f.EPNUM] & 0x7F, 2 if old else 1)
            if xfer == 2 and r8[row + f.FLAG_SETUP] != 45:
                at = _setup(o, at, digits, r8, row)
            else:
                at = _signed(o, at, 32, r32[n * f.W32 + f.STATUS])
                # An interval that the trace did not have is not made up, unless descriptors, which
                # stand behind it, would go with it.
                if (
                    not old
                    and event != 69
                    and xfer < 2
                    and not r16[n * f.W16 + f.ABSENT]
                    & (f.NO_NUMDESC if xfer == 0 else f.NO_INTERVAL)
                ):
                    at = _signed(o, at, 58, r32[n * f.W32 + f.INTERVAL])
                    if xfer == 0:
                        at = _signed(o, at, 58, r32[n * f.W32 + f.START_FRAME])
                        if event == 67:
                            at = _signed(o, at, 58, r32[n * f.W32 + f.ERROR_COUNT])
                        shown = ndesc if ndesc < _ISODESC_MAX else _ISODESC_MAX
                        # A reader counts on five, or as many as there are.
                        number = r32[n * f.W32 + f.NUMDESC]
                        if shown < number and shown < _ISODESC_MAX:
                            number = shown
                        at = _signed(o, at, 32, number)
                        for k in range(shown):
                            status = _load32(p, desc + 16 * k)
                            at = _signed(
                                o, at, 32, status - _TWO32 if status > _I32_MAX else status
                            )
                            at = _signed(o, at, 58, _load32(p, desc + 16 * k + 4))
                            at = _signed(o, at, 58, _load32(p, desc + 16 * k + 8))
            length = r32[n * f.W32 + f.LENGTH]
            at = _signed(o, at, 32, length)
            if length > 0:
                flag = r8[row + f.FLAG_DATA]
                if flag == 0 or flag == 61:  # QEMU's captures have the sign of the text
                    size = u32[n * f.W32 + f.CAPTURED] - ndesc * 16
                    if size > data_max:
                        size = data_max
                    if size > length:
                        size = length
                    at = _data(o, at, digits, p, desc + ndesc * 16, size)
                else:
                    o[at] = 32
                    o[at + 1] = flag if 32 < flag < 127 else 90
                    at += 2
            o[at] = 10
            at += 1
            n += 1
    return n, at
