"""Binary records to rows and back: the raw API, pcap, pcapng, and USBPcap's records in them.

Two steps inwards, so that any container goes with any record: a `walk_…` finds the records and
notes in each row where its bytes are; `unpack` then reads the bytes. One step outwards, `pack`.
Knows the layouts of drivers/usb/mon/mon_bin.c, of the pcap and pcapng drafts (IETF opsawg) and of
desowin.org/usbpcap/captureformat.html; knows no file header, option or block but the packet's own.
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


from usbmon import layout as _layout

_I32_MAX = cython.declare(cython.longlong, 0x7FFFFFFF)
_U32_MAX = cython.declare(cython.longlong, 0xFFFFFFFF)
_BILLION = cython.declare(cython.longlong, 1_000_000_000)

# The most that one record can hold: libpcap's limit for the snapshot length of USB captures.
LARGEST_RECORD = 128 << 20
_LARGEST = cython.declare(cython.longlong, LARGEST_RECORD)

# What `pack` puts around a record.
BARE, PCAP, PCAPNG = range(3)
_BARE = cython.declare(cython.int, BARE)
_PCAP = cython.declare(cython.int, PCAP)
_PCAPNG = cython.declare(cython.int, PCAPNG)

# Words of one interface in the table that `walk_pcapng` and `unpack` take: what its records are
# (0: not USB, 48 or 64: the kernel's header, 249: USBPcap), how to make nanoseconds of its stamps
# (multiply, divide, or a binary fraction of so many bits), what to add to them (s), packets seen,
# and whether its packets are taken one at a time.
INTERFACE = ("records", "multiply", "divide", "bits", "offset", "packets", "singly")
INTERFACE_WORDS = len(INTERFACE)

# Kernel fields of more than one byte: offset and size, for captures of the other byte order. The
# setup packet is bytes, and the isochronous fields in its place are swapped by themselves.
_SWAPPED = bytes(
    n
    for field in _layout.PACKET
    if field.code in "HIiQq"
    for n in (field.offset, {"H": 2, "I": 4, "i": 4, "Q": 8, "q": 8}[field.code])
)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load32(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, big: cython.bint
) -> cython.longlong:
    value: cython.uint = 0
    if cython.compiled:
        memcpy(cython.address(value), p + at, 4)
        if big == f.LITTLE:
            value = (
                (value << 24) | ((value & 0xFF00) << 8) | ((value >> 8) & 0xFF00) | (value >> 24)
            )
    else:
        value = int.from_bytes(p[at : at + 4], "big" if big else "little")
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load16(
    p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, big: cython.bint
) -> cython.int:
    if big:
        return (p[at] << 8) | p[at + 1]
    return p[at] | (p[at + 1] << 8)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _store32(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    value: cython.longlong,
    big: cython.bint,
) -> cython.void:
    if big:
        out[at] = (value >> 24) & 0xFF
        out[at + 1] = (value >> 16) & 0xFF
        out[at + 2] = (value >> 8) & 0xFF
        out[at + 3] = value & 0xFF
    else:
        out[at + 3] = (value >> 24) & 0xFF
        out[at + 2] = (value >> 16) & 0xFF
        out[at + 1] = (value >> 8) & 0xFF
        out[at] = value & 0xFF


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _reverse(
    out: cython.pointer[cython.uchar], at: cython.Py_ssize_t, size: cython.Py_ssize_t
) -> cython.void:
    k: cython.Py_ssize_t
    byte: cython.uchar
    for k in range(size // 2):
        byte = out[at + k]
        out[at + k] = out[at + size - 1 - k]
        out[at + size - 1 - k] = byte


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _swap_packet(
    out: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
    fields: cython.pointer[cython.const[cython.uchar]],
    count: cython.Py_ssize_t,
) -> cython.void:
    """Turn the byte order of the kernel's header of `size` bytes at `at`."""
    k: cython.Py_ssize_t
    for k in range(0, count, 2):
        if fields[k] + fields[k + 1] <= size:
            _reverse(out, at + fields[k], fields[k + 1])
    if out[at + f.XFER] == 0:
        _reverse(out, at + f.SETUP, 4)
        _reverse(out, at + f.SETUP + 4, 4)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _split(ts: cython.longlong) -> tuple[cython.longlong, cython.longlong]:
    """Seconds, rounded down also where C would not, and the nanoseconds that remain."""
    sec: cython.longlong = ts // _BILLION
    rest: cython.longlong = ts % _BILLION
    if rest < 0:
        return sec - 1, rest + _BILLION
    return sec, rest


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _plausible(p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> cython.bint:
    """Whether this can be the head of an event of the binary API (not a filler)."""
    usec: cython.longlong = _load32(p, at + 24, not f.LITTLE)
    flag: cython.int = p[at + 14]
    if p[at + 8] != 83 and p[at + 8] != 67 and p[at + 8] != 69:
        return False
    if p[at + 9] > 3 or p[at + 10] & 0x70 or p[at + 11] > 127 or usec > 999999:
        return False
    if _load32(p, at + (20 if f.LITTLE else 16), not f.LITTLE) > 1:  # a second after the year 2242
        return False
    return (flag == 0 or flag > 32) and flag < 127 and p[at + 15] < 127


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _begin(
    u64: cython.pointer[cython.ulonglong],
    u32: cython.pointer[cython.uint],
    n: cython.Py_ssize_t,
    ts: cython.longlong,
    at: cython.Py_ssize_t,
    size: cython.longlong,
) -> cython.void:
    """Begin a row with a record's time and place; of our fields, all others become 0."""
    k: cython.Py_ssize_t
    for k in range(8, f.W64):
        u64[n * f.W64 + k] = 0
    if cython.compiled:
        u64[n * f.W64 + f.TS] = cython.cast(cython.ulonglong, ts)
    else:
        u64[n * f.W64 + f.TS] = ts & 0xFFFFFFFFFFFFFFFF
    u64[n * f.W64 + f.DATA_AT] = at
    u32[n * f.W32 + f.CAPTURED] = size


def plausible(text: cython.const[cython.uchar][::1], at: cython.Py_ssize_t) -> bool:
    """Whether the 48 bytes at `at` can be the head of an event of the binary API."""
    p: cython.pointer[cython.const[cython.uchar]]
    if cython.compiled:
        p = cython.address(text[0])
    else:
        p = text
    return bool(at + 48 <= len(text) and _plausible(p, at))


def walk_raw(
    text: cython.const[cython.uchar][::1],
    start: cython.Py_ssize_t,
    rows: cython.uchar[::1],
    header: cython.Py_ssize_t,
    alloc: cython.longlong,
    align: cython.Py_ssize_t,
) -> tuple[int, int, int, bool]:
    """Records of the binary API, each `header` bytes and at most `alloc` bytes of payload.

    `align`: 1 in a stream; 64 in the mapped ring, where each record begins at a multiple of it and
    a filler takes the room that it claims. Returns how many rows were filled, where the walk ended,
    how many fillers were passed over, and whether it ended at bytes that are no record.
    """
    end: cython.Py_ssize_t = len(text)
    limit: cython.Py_ssize_t = len(rows) // f.W8
    at: cython.Py_ssize_t = start
    n: cython.Py_ssize_t = 0
    fillers: cython.Py_ssize_t = 0
    lost: cython.bint = False
    payload: cython.longlong
    size: cython.longlong
    p: cython.pointer[cython.const[cython.uchar]]
    u32: cython.pointer[cython.uint]
    u64: cython.pointer[cython.ulonglong]
    if cython.compiled:
        p = cython.address(text[0])
        u32 = cython.cast(cython.pointer[cython.uint], cython.address(rows[0]))
        u64 = cython.cast(cython.pointer[cython.ulonglong], u32)
    else:
        p = text
        u32, u64 = memoryview(rows).cast("I"), memoryview(rows).cast("Q")
    with cython.nogil:
        while n < limit and at + header <= end:
            payload = _load32(p, at + f.LEN_CAP8, not f.LITTLE)
            if p[at + 8] == 64:  # '@': in a stream the header alone, whatever its len_cap says
                size = header + (payload if align > 1 else 0)
                if at + size > end:
                    break
                fillers += 1
                at += size
                continue
            if payload > _LARGEST or not _plausible(p, at):
                lost = True
                break
            if payload > alloc:
                payload = alloc
            size = header + payload
            if at + size > end:
                break
            _begin(u64, u32, n, 0, at, size)
            at += (size + align - 1) // align * align
            n += 1
    return n, at, fillers, bool(lost)


def walk_pcap(
    text: cython.const[cython.uchar][::1],
    start: cython.Py_ssize_t,
    rows: cython.uchar[::1],
    big: cython.bint,
    nano: cython.bint,
) -> tuple[int, int, bool]:
    """Records of a pcap file. Returns how many rows were filled, where the walk ended, and whether
    it ended at a record that claims more than any record holds."""
    end: cython.Py_ssize_t = len(text)
    limit: cython.Py_ssize_t = len(rows) // f.W8
    at: cython.Py_ssize_t = start
    n: cython.Py_ssize_t = 0
    lost: cython.bint = False
    size: cython.longlong
    ts: cython.longlong
    p: cython.pointer[cython.const[cython.uchar]]
    u32: cython.pointer[cython.uint]
    u64: cython.pointer[cython.ulonglong]
    if cython.compiled:
        p = cython.address(text[0])
        u32 = cython.cast(cython.pointer[cython.uint], cython.address(rows[0]))
        u64 = cython.cast(cython.pointer[cython.ulonglong], u32)
    else:
        p = text
        u32, u64 = memoryview(rows).cast("I"), memoryview(rows).cast("Q")
    with cython.nogil:
        while n < limit and at + 16 <= end:
            size = _load32(p, at + 8, big)
            if size > _LARGEST:
                lost = True
                break
            if at + 16 + size > end:
                break
            ts = _load32(p, at, big) * _BILLION
            ts += _load32(p, at + 4, big) * (1 if nano else 1000)
            _begin(u64, u32, n, ts, at + 16, size)
            at += 16 + size
            n += 1
    return n, at, bool(lost)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _has_comment(
    p: cython.pointer[cython.const[cython.uchar]],
    at: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    big: cython.bint,
) -> cython.bint:
    """Whether there is an opt_comment among the options of a block, which start behind `at`, at its
    next multiple of four from the block's `end`."""
    code: cython.int
    at = end - (end - at) // 4 * 4
    while at + 4 <= end:
        code = _load16(p, at, big)
        if code < 2:
            return code == 1
        at += 4 + (_load16(p, at + 2, big) + 3) // 4 * 4
    return False


def walk_pcapng(
    text: cython.const[cython.uchar][::1],
    start: cython.Py_ssize_t,
    rows: cython.uchar[::1],
    big: cython.bint,
    interfaces: cython.longlong[::1],
    base: cython.int,
    singly: cython.bint,
) -> tuple[int, int]:
    """Enhanced Packet Blocks of pcapng, up to the first block of another type or a malformed one.

    `interfaces` holds the section's interfaces; `base` is the number of the first of them in the
    file. Packets of interfaces that are not USB are counted and passed over. Unless `singly`, the
    walk ends also before a packet that has a comment, or is of an interface whose packets are taken
    one at a time. Returns how many rows were filled and where the walk ended.
    """
    end: cython.Py_ssize_t = len(text)
    limit: cython.Py_ssize_t = len(rows) // f.W8
    known: cython.longlong = len(interfaces) // 7
    at: cython.Py_ssize_t = start
    n: cython.Py_ssize_t = 0
    total: cython.longlong
    number: cython.longlong
    size: cython.longlong
    high: cython.longlong
    low: cython.longlong
    i: cython.Py_ssize_t
    p: cython.pointer[cython.const[cython.uchar]]
    r16: cython.pointer[cython.ushort]
    u32: cython.pointer[cython.uint]
    u64: cython.pointer[cython.ulonglong]
    if cython.compiled:
        p = cython.address(text[0])
        u32 = cython.cast(cython.pointer[cython.uint], cython.address(rows[0]))
        r16 = cython.cast(cython.pointer[cython.ushort], u32)
        u64 = cython.cast(cython.pointer[cython.ulonglong], u32)
    else:
        p = text
        u32, u64 = memoryview(rows).cast("I"), memoryview(rows).cast("Q")
        r16 = memoryview(rows).cast("H")
    with cython.nogil:
        while n < limit and at + 32 <= end:
            if _load32(p, at, big) != 6:
                break
            total = _load32(p, at + 4, big)
            number = _load32(p, at + 8, big)
            size = _load32(p, at + 20, big)
            if total & 3 or total < 32 + size or number >= known or at + total > end:
                break
            i = number * 7
            if not singly and (
                interfaces[i + 6] != 0
                or (total >= 36 + size and _has_comment(p, at + 28 + size, at + total - 4, big))
            ):
                break
            interfaces[i + 5] += 1
            if interfaces[i] != 0:
                high = _load32(p, at + 12, big)
                low = _load32(p, at + 16, big)
                # Stamps over 2**63 are no time; they wrap here as they would in any tool.
                if interfaces[i + 3] != 0:
                    low = _binary_time(high, low, interfaces[i + 3])
                else:
                    low = _decimal_time(high, low, interfaces[i + 1], interfaces[i + 2])
                _begin(u64, u32, n, low + interfaces[i + 4] * _BILLION, at + 28, size)
                r16[n * f.W16 + f.INTERFACE] = (base + number) & 0xFFFF
                n += 1
            at += total
    return n, at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _decimal_time(
    high: cython.longlong,
    low: cython.longlong,
    multiply: cython.longlong,
    divide: cython.longlong,
) -> cython.longlong:
    # 2**62 ns is the year 2116; more than that is a stamp that says nothing.
    ticks: cython.longlong = ((high & 0x3FFFFFFF) << 32) | low
    if divide > 1:
        return ticks // divide
    if ticks > (_BILLION << 32) // multiply:
        return 0
    return ticks * multiply


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _binary_time(
    high: cython.longlong, low: cython.longlong, bits: cython.longlong
) -> cython.longlong:
    ticks: cython.longlong = ((high & 0x7FFFFFFF) << 32) | low
    seconds: cython.longlong = ticks >> bits
    fraction: cython.longlong = ticks - (seconds << bits)
    if bits > 32:  # what is finer than a nanosecond makes place for the multiplication
        fraction = fraction >> (bits - 32)
        bits = 32
    if seconds > _U32_MAX:
        return 0
    return seconds * _BILLION + ((fraction * _BILLION) >> bits)


def unpack(
    text: cython.uchar[::1],
    rows: cython.uchar[::1],
    count: cython.Py_ssize_t,
    interfaces: cython.const[cython.longlong][::1],
    base: cython.int,
    swap: cython.bint,
    own_time: cython.bint,
    errnos: cython.const[cython.longlong][::1],
    spare: cython.Py_ssize_t,
) -> tuple[int, int, int]:
    """Read the records that a walk found: rows get the kernel's fields and the payload's place.

    `swap`: the capture is of the other byte order (its descriptors are turned in `text`). With
    `own_time` the time is the record's own. `errnos`: USBD_STATUS and errno in turn. `spare`: from
    where on `text` is free for payloads of USBPcap's isochronous records, which need to be built
    anew (it takes less than twice the bytes of the records). A record too short for its header, or
    of no type that there is, is left out. Returns how many rows there are then, how many records
    were left out, and how many more were no transfers (USBPcap records other requests, too).
    """
    n: cython.Py_ssize_t
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    m: cython.Py_ssize_t = 0
    others: cython.Py_ssize_t = 0
    header: cython.Py_ssize_t
    size: cython.Py_ssize_t
    taken: cython.Py_ssize_t
    ndesc: cython.longlong
    number: cython.int
    ts: cython.longlong
    fields: cython.const[cython.uchar][::1] = _SWAPPED
    swapped: cython.pointer[cython.const[cython.uchar]]
    field_count: cython.Py_ssize_t = len(_SWAPPED)
    p: cython.pointer[cython.uchar]
    r8: cython.pointer[cython.uchar]
    r16: cython.pointer[cython.ushort]
    r32: cython.pointer[cython.int]
    u32: cython.pointer[cython.uint]
    r64: cython.pointer[cython.longlong]
    u64: cython.pointer[cython.ulonglong]
    if count < 1:
        return 0, 0, 0
    if cython.compiled:
        swapped = cython.address(fields[0])
        p = cython.address(text[0])
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.ushort], r8)
        r32 = cython.cast(cython.pointer[cython.int], r8)
        u32 = cython.cast(cython.pointer[cython.uint], r8)
        r64 = cython.cast(cython.pointer[cython.longlong], r8)
        u64 = cython.cast(cython.pointer[cython.ulonglong], r8)
    else:
        swapped = _SWAPPED
        p = text
        r8 = memoryview(rows)
        r16, r32, u32 = r8.cast("H"), r8.cast("i"), r8.cast("I")
        r64, u64 = r8.cast("q"), r8.cast("Q")
    with cython.nogil:
        for n in range(count):
            number = r16[n * f.W16 + f.INTERFACE]
            header = interfaces[(number - base) * 7]
            at = r64[n * f.W64 + f.DATA_AT]
            size = u32[n * f.W32 + f.CAPTURED]
            ts = r64[n * f.W64 + f.TS]
            if m < n:
                _begin(u64, u32, m, ts, at, size)
                r16[m * f.W16 + f.INTERFACE] = number
            if header == 249:
                taken, spare = _usbpcap(p, at, size, spare, r8, r16, r32, u32, r64, m, errnos)
                if taken < 0:
                    others += 1
                else:
                    m += taken
                continue
            if size < header or p[at + 9] > 3:
                continue
            if p[at + 8] != 83 and p[at + 8] != 67 and p[at + 8] != 69:
                continue
            if header == 64:
                for k in range(64):
                    r8[m * f.W8 + k] = p[at + k]
            else:
                for k in range(48):
                    r8[m * f.W8 + k] = p[at + k]
                u64[m * f.W64 + 6] = u64[m * f.W64 + 7] = 0
            if swap:
                _swap_packet(r8, m * f.W8, header, swapped, field_count)
            size -= header
            at += header
            r64[m * f.W64 + f.DATA_AT] = at
            u32[m * f.W32 + f.CAPTURED] = size
            r8[m * f.W8 + f.CLOCK] = f.WALL
            if own_time:
                r64[m * f.W64 + f.TS] = (
                    r64[m * f.W64 + f.TS_SEC] * _BILLION + r32[m * f.W32 + f.TS_USEC] * 1000
                )
            r16[m * f.W16 + f.ABSENT] = f.LINUX
            if header == 48:
                r16[m * f.W16 + f.ABSENT] = f.LINUX | f.OLD_HEADER
                if r8[m * f.W8 + f.XFER] == 0 and r8[m * f.W8 + f.TYPE] != 69:
                    ndesc = r32[m * f.W32 + f.NUMDESC]
                    u32[m * f.W32 + f.NDESC] = 0 if ndesc < 0 else (128 if ndesc > 128 else ndesc)
            ndesc = u32[m * f.W32 + f.NDESC]
            if ndesc * 16 > size:  # cut, and a part of a descriptor is nothing
                ndesc = size // 16
                u32[m * f.W32 + f.NDESC] = ndesc
                u32[m * f.W32 + f.CAPTURED] = ndesc * 16
            if swap:
                for k in range(ndesc * 4):
                    _reverse(p, at + k * 4, 4)
            m += 1
    return m, count - m - others, others


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _errno_of(errnos: cython.const[cython.longlong][::1], usbd: cython.longlong) -> cython.int:
    k: cython.Py_ssize_t
    for k in range(0, len(errnos), 2):
        if errnos[k] == usbd:
            return errnos[k + 1]
    return -71 if usbd > _I32_MAX else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _usbpcap(
    p: cython.pointer[cython.uchar],
    at: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
    spare: cython.Py_ssize_t,
    r8: cython.pointer[cython.uchar],
    r16: cython.pointer[cython.ushort],
    r32: cython.pointer[cython.int],
    u32: cython.pointer[cython.uint],
    r64: cython.pointer[cython.longlong],
    n: cython.Py_ssize_t,
    errnos: cython.const[cython.longlong][::1],
) -> tuple[cython.Py_ssize_t, cython.Py_ssize_t]:
    """A USBPcap record as the row `n`: 1, -1 if it is no transfer, 0 if it is cut; and `spare`."""
    header: cython.Py_ssize_t
    k: cython.Py_ssize_t
    data: cython.Py_ssize_t
    packets: cython.longlong
    length: cython.longlong
    back: cython.bint
    xfer: cython.int
    usbd: cython.longlong
    sec: cython.longlong
    rest: cython.longlong
    stage: cython.int = 0
    if size < 27:
        return 0, spare
    header = p[at] | (p[at + 1] << 8)
    xfer = p[at + 22]
    if header < 27 or header > size:
        return 0, spare
    if xfer > 3:
        return -1, spare
    if (xfer == 2 and header < 28) or (xfer == 0 and header < 39):
        return 0, spare
    back = p[at + 16] & 1 != 0
    usbd = _load32(p, at + 10, False)
    length = _load32(p, at + 23, False)
    if length > _LARGEST:
        return 0, spare
    for k in range(8):
        r64[n * f.W64 + k] = 0
    for k in range(8):
        r8[n * f.W8 + (k if f.LITTLE else 7 - k)] = p[at + 2 + k]
    r8[n * f.W8 + f.TYPE] = 67 if back else 83
    r8[n * f.W8 + f.XFER] = xfer
    r8[n * f.W8 + f.EPNUM] = p[at + 21] & 0x8F
    r8[n * f.W8 + f.DEVNUM] = p[at + 19]
    r16[n * f.W16 + f.BUSNUM] = p[at + 17] | (p[at + 18] << 8)
    r8[n * f.W8 + f.FLAG_SETUP] = 45
    sec, rest = _split(r64[n * f.W64 + f.TS])
    r64[n * f.W64 + f.TS_SEC] = sec
    r32[n * f.W32 + f.TS_USEC] = rest // 1000
    r32[n * f.W32 + f.STATUS] = _errno_of(errnos, usbd) if back else -115
    u32[n * f.W32 + f.USBD_STATUS] = usbd
    r16[n * f.W16 + f.USBD_FUNCTION] = p[at + 14] | (p[at + 15] << 8)
    r16[n * f.W16 + f.ABSENT] = f.USBPCAP
    r8[n * f.W8 + f.CLOCK] = f.WALL
    data = at + header
    size -= header
    if xfer == 2:
        stage = p[at + 27]
        # Stage 0 has the setup packet before the data; USBPcap 1.5 and later tell 3, "complete".
        if stage == 0 and not back and size >= 8:
            for k in range(8):
                r8[n * f.W8 + f.SETUP + k] = p[data + k]
            r8[n * f.W8 + f.FLAG_SETUP] = 0
            r8[n * f.W8 + f.EPNUM] = (p[at + 21] & 0x0F) | (p[data] & 0x80)
            data += 8
            size -= 8
            if p[data - 8] & 0x80:
                length = p[data - 2] | (p[data - 1] << 8)
            else:
                length = length - 8 if length > 8 else 0
    if xfer == 0:
        packets = _load32(p, at + 31, False)
        r32[n * f.W32 + f.START_FRAME] = _load32(p, at + 27, False) & 0x7FFFFFFF
        r32[n * f.W32 + f.ERROR_COUNT] = _load32(p, at + 35, False) & 0x7FFFFFFF
        r32[n * f.W32 + f.NUMDESC] = packets & 0x7FFFFFFF
        # Its packets stand in the header, in another order than the kernel's descriptors.
        if packets * 12 + 39 == header:
            _turn_packets(p, at + 39, packets, errnos, spare)
            for k in range(size):
                p[spare + packets * 16 + k] = p[data + k]
            u32[n * f.W32 + f.NDESC] = packets
            data = spare
            size += packets * 16
            spare += size
    elif not back and r8[n * f.W8 + f.EPNUM] & 0x80 and xfer != 2:
        r16[n * f.W16 + f.ABSENT] = r16[n * f.W16 + f.ABSENT] | f.NO_LENGTH
    u32[n * f.W32 + f.LENGTH] = length
    u32[n * f.W32 + f.LEN_CAP] = size
    r64[n * f.W64 + f.DATA_AT] = data
    u32[n * f.W32 + f.CAPTURED] = size
    # USBPcap before 1.5 tells the data of a control output in a record of the way back.
    if size == 16 * u32[n * f.W32 + f.NDESC]:
        if not back and r8[n * f.W8 + f.EPNUM] & 0x80:
            r8[n * f.W8 + f.FLAG_DATA] = 60
        elif back and not r8[n * f.W8 + f.EPNUM] & 0x80:
            r8[n * f.W8 + f.FLAG_DATA] = 62
    return 1, spare


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _turn_packets(
    p: cython.pointer[cython.uchar],
    first: cython.Py_ssize_t,
    packets: cython.longlong,
    errnos: cython.const[cython.longlong][::1],
    out: cython.Py_ssize_t,
) -> cython.void:
    """Make the kernel's descriptors at `out` of USBPcap's packets, which have 12 bytes each."""
    k: cython.longlong
    for k in range(packets):
        _store32(p, out, _errno_of(errnos, _load32(p, first + k * 12 + 8, False)), not f.LITTLE)
        _store32(p, out + 4, _load32(p, first + k * 12, False), not f.LITTLE)
        _store32(p, out + 8, _load32(p, first + k * 12 + 4, False), not f.LITTLE)
        _store32(p, out + 12, 0, not f.LITTLE)
        out += 16


def pack(
    rows: cython.const[cython.uchar][::1],
    count: cython.Py_ssize_t,
    arena: cython.const[cython.uchar][::1],
    out: cython.uchar[::1],
    header: cython.Py_ssize_t,
    container: cython.int,
    big: cython.bint,
    nano: cython.bint,
    interfaces: cython.const[cython.longlong][::1],
) -> int:
    """Write `count` events as records into `out`, which is large enough; returns how many bytes.

    `header`: 48 or 64; `container`: `BARE`, `PCAP` or `PCAPNG` (stamps in ns, `interfaces`: the
    number in the file of each interface number of the rows). A stamp that is not the wall clock's
    is written as the unwrapped time. Of a text trace's isochronous events, numdesc is written as
    the number of descriptors present: other tools call the record malformed otherwise. A bare
    record's len_cap is what follows it, as nothing else tells where the next one starts.
    """
    n: cython.Py_ssize_t
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t = 0
    start: cython.Py_ssize_t
    data: cython.Py_ssize_t
    size: cython.Py_ssize_t
    pad: cython.Py_ssize_t
    ndesc: cython.Py_ssize_t
    original: cython.longlong
    ts: cython.longlong
    sec: cython.longlong
    rest: cython.longlong
    number: cython.longlong
    swap: cython.bint = big == f.LITTLE
    fields: cython.const[cython.uchar][::1] = _SWAPPED
    swapped: cython.pointer[cython.const[cython.uchar]]
    field_count: cython.Py_ssize_t = len(_SWAPPED)
    o: cython.pointer[cython.uchar]
    p: cython.pointer[cython.const[cython.uchar]]
    r8: cython.pointer[cython.const[cython.uchar]]
    r16: cython.pointer[cython.const[cython.ushort]]
    r32: cython.pointer[cython.const[cython.int]]
    u32: cython.pointer[cython.const[cython.uint]]
    r64: cython.pointer[cython.const[cython.longlong]]
    if count < 1:
        return 0
    if cython.compiled:
        swapped = cython.address(fields[0])
        o = cython.address(out[0])
        p = cython.address(arena[0])
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.const[cython.ushort]], r8)
        r32 = cython.cast(cython.pointer[cython.const[cython.int]], r8)
        u32 = cython.cast(cython.pointer[cython.const[cython.uint]], r8)
        r64 = cython.cast(cython.pointer[cython.const[cython.longlong]], r8)
    else:
        swapped, o, p = _SWAPPED, out, arena
        r8 = memoryview(rows)
        r16, r32, u32, r64 = r8.cast("H"), r8.cast("i"), r8.cast("I"), r8.cast("q")
    with cython.nogil:
        for n in range(count):
            size = u32[n * f.W32 + f.CAPTURED]
            data = r64[n * f.W64 + f.DATA_AT]
            ndesc = u32[n * f.W32 + f.NDESC]
            ts = r64[n * f.W64 + f.TS]
            sec, rest = _split(ts)
            original = header + ndesc * 16
            if r8[n * f.W8 + f.FLAG_DATA] == 0 and r32[n * f.W32 + f.LENGTH] > 0:
                original += u32[n * f.W32 + f.LENGTH]
            if original < header + size:
                original = header + size
            if container == _PCAP:
                _store32(o, at, sec, big)
                _store32(o, at + 4, rest if nano else rest // 1000, big)
                _store32(o, at + 8, header + size, big)
                _store32(o, at + 12, original, big)
                at += 16
            elif container == _PCAPNG:
                pad = (4 - (header + size) % 4) % 4
                number = r16[n * f.W16 + f.INTERFACE]
                _store32(o, at, 6, big)
                _store32(o, at + 4, 32 + header + size + pad, big)
                _store32(o, at + 8, interfaces[number] if number < len(interfaces) else 0, big)
                _store32(o, at + 12, ts >> 32, big)
                _store32(o, at + 16, ts, big)
                _store32(o, at + 20, header + size, big)
                _store32(o, at + 24, original, big)
                at += 28
            start = at
            for k in range(48):
                o[at + k] = r8[n * f.W8 + k]
            if header == 64:
                for k in range(48, 64):
                    o[at + k] = r8[n * f.W8 + k]
            if r8[n * f.W8 + f.CLOCK] != f.WALL:
                _store32(o, at + f.TS_SEC * 8, sec if f.LITTLE else sec >> 32, not f.LITTLE)
                _store32(o, at + f.TS_SEC * 8 + 4, sec >> 32 if f.LITTLE else sec, not f.LITTLE)
                _store32(o, at + f.TS_USEC * 4, rest // 1000, not f.LITTLE)
            if r8[n * f.W8 + f.XFER] == 0 and r16[n * f.W16 + f.ABSENT] & f.NO_LEN_CAP:
                _store32(o, at + f.NUMDESC * 4, ndesc, not f.LITTLE)
            if container == _BARE and u32[n * f.W32 + f.LEN_CAP] != size:
                _store32(o, at + f.LEN_CAP8, size, not f.LITTLE)
            if swap:
                _swap_packet(o, at, header, swapped, field_count)
            at += header
            for k in range(size):
                o[at + k] = p[data + k]
            if swap:
                for k in range(ndesc * 4):
                    _reverse(o, at + k * 4, 4)
            at += size
            if container == _PCAPNG:
                for k in range(pad):
                    o[at + k] = 0
                at += pad
                _store32(o, at, at + 32 - start, big)
                at += 4
    return at


def payload_size(rows: cython.const[cython.uchar][::1], count: cython.Py_ssize_t) -> int:
    """How many bytes the payloads of `count` rows have together."""
    n: cython.Py_ssize_t
    total: cython.longlong = 0
    u32: cython.pointer[cython.const[cython.uint]]
    if count < 1:
        return 0
    if cython.compiled:
        u32 = cython.cast(cython.pointer[cython.const[cython.uint]], cython.address(rows[0]))
    else:
        u32 = memoryview(rows).cast("I")
    with cython.nogil:
        for n in range(count):
            total += u32[n * f.W32 + f.CAPTURED]
    return total
