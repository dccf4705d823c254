"""Counts over rows: what `usbmon info` shows, in one pass and a few words an endpoint.

Rows and arena in, counters out. Knows no names and no text; `usbmon.summary` reads the counters.
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
_TWO32 = cython.declare(cython.longlong, 1 << 32)
_I64_MAX = cython.declare(cython.longlong, (1 << 63) - 1)
_HASH = cython.declare(cython.longlong, 0x9E3779B1)
_PLACE = cython.declare(cython.longlong, 0xFFFFFFFFFF)

# Words of the global counters, and of one endpoint's entry.
TOTALS = (
    "events",
    "first",
    "last",
    "steps_back",
    "largest_step",
    "cut",
    "cut_by_container",
    "descriptors_missing",
    "no_time",
    "setup_missing",
    "captured",
    "clocks",
    "previous",
    "endpoints",
    "unlisted",
    "synthetic",
)
ENDPOINT = ("key", "S", "C", "E", "requested", "moved", "errors", "cut", "partial", "repeated")
TOTAL_WORDS = 16
ENDPOINT_WORDS = 10
STATUSES = 512  # -status of 0 to 510; the last counts all others

_T = {name: place for place, name in enumerate(TOTALS)}
_UNLISTED = cython.declare(cython.Py_ssize_t, _T["unlisted"])
_SYNTHETIC = cython.declare(cython.Py_ssize_t, _T["synthetic"])


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _u32(p: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> cython.longlong:
    value: cython.uint
    if f.LITTLE:
        value = p[at + 3]
        value = (value << 8) | p[at + 2]
        value = (value << 8) | p[at + 1]
        return (value << 8) | p[at]
    value = p[at]
    value = (value << 8) | p[at + 1]
    value = (value << 8) | p[at + 2]
    return (value << 8) | p[at + 3]


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _status_place(status: cython.longlong) -> cython.Py_ssize_t:
    if status > _I32_MAX:
        status -= _TWO32
    if status <= 0 and status > -511:
        return -status
    return 511


def tally(
    rows: cython.const[cython.uchar][::1],
    count: cython.Py_ssize_t,
    arena: cython.const[cython.uchar][::1],
    totals: cython.longlong[::1],
    endpoints: cython.longlong[::1],
    statuses: cython.longlong[::1],
    frame_statuses: cython.longlong[::1],
) -> None:
    """Add `count` rows to the counters (`TOTALS`, `ENDPOINT`, statuses of completions and of their
    isochronous packets).

    `endpoints` is an open hash table, a power of two of entries, keyed by bus, device, endpoint and
    type; when it is three quarters full, further endpoints are counted in ``unlisted`` alone. The
    bytes of doubled events are not counted again. Synthetic events are no traffic: they are counted
    in ``synthetic`` alone.
    """
    mask: cython.Py_ssize_t = len(endpoints) // 10 - 1
    room: cython.Py_ssize_t = (mask + 1) // 4 * 3
    listed: cython.longlong = totals[13]
    previous: cython.longlong = totals[12]
    first: cython.longlong = totals[1]
    last: cython.longlong = totals[2]
    events: cython.longlong = totals[0]
    cut: cython.longlong = totals[5]
    cut_by_container: cython.longlong = totals[6]
    setup_missing: cython.longlong = totals[9]
    captured_all: cython.longlong = totals[10]
    clocks: cython.longlong = totals[11]
    n: cython.Py_ssize_t
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    e: cython.Py_ssize_t = 0
    slot: cython.Py_ssize_t
    key: cython.longlong
    ts: cython.longlong
    step: cython.longlong
    event: cython.int
    absent: cython.int
    status: cython.int
    is_in: cython.bint
    is_over: cython.int
    is_cut: cython.int
    flag: cython.int
    length: cython.longlong
    captured: cython.longlong
    expected: cython.longlong
    moved: cython.longlong
    ndesc: cython.longlong
    missing: cython.bint
    p: cython.pointer[cython.const[cython.uchar]]
    r8: cython.pointer[cython.const[cython.uchar]]
    r16: cython.pointer[cython.const[cython.ushort]]
    r32: cython.pointer[cython.const[cython.int]]
    u32: cython.pointer[cython.const[cython.uint]]
    r64: cython.pointer[cython.const[cython.longlong]]
    if count < 1:
        return
    if cython.compiled:
        p = cython.address(arena[0])
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.const[cython.ushort]], r8)
        r32 = cython.cast(cython.pointer[cython.const[cython.int]], r8)
        u32 = cython.cast(cython.pointer[cython.const[cython.uint]], r8)
        r64 = cython.cast(cython.pointer[cython.const[cython.longlong]], r8)
    else:
        p = memoryview(arena)
        r8 = memoryview(rows)
        r16, r32, u32, r64 = r8.cast("H"), r8.cast("i"), r8.cast("I"), r8.cast("q")

    with cython.nogil:
        for n in range(count):
            if r8[n * f.W8 + f.MARKS] & f.SYNTHETIC:
                totals[_SYNTHETIC] += 1
                continue
            absent = r16[n * f.W16 + f.ABSENT]
            ts = r64[n * f.W64 + f.TS]
            if absent & f.NO_TS:
                totals[8] += 1
            else:
                if events == totals[8]:  # the first that has a time
                    first = last = ts
                elif ts < previous:
                    totals[3] += 1
                    step = previous - ts
                    if step < 0 or step > _I64_MAX:  # more than 64 bits hold
                        step = _I64_MAX
                    if step > totals[4]:
                        totals[4] = step
                    if ts < first:
                        first = ts
                elif ts > last:
                    last = ts
                previous = ts
            events += 1
            clocks |= 1 << r8[n * f.W8 + f.CLOCK]
            event = r8[n * f.W8 + f.TYPE]
            is_in = r8[n * f.W8 + f.EPNUM] & 0x80 != 0
            status = r32[n * f.W32 + f.STATUS]
            length = r32[n * f.W32 + f.LENGTH]
            captured = u32[n * f.W32 + f.CAPTURED]
            captured_all += captured
            ndesc = 0

            # Key 0 is an empty entry; the type plus one keeps it from being a key.
            if f.LITTLE:
                key = ((r64[n * f.W64 + f.HEAD] >> 8) & _PLACE) + 1
            else:
                key = r16[n * f.W16 + f.BUSNUM]
                key = (key << 8) | r8[n * f.W8 + f.DEVNUM]
                key = (key << 8) | r8[n * f.W8 + f.EPNUM]
                key = (key << 8) | (r8[n * f.W8 + f.XFER] + 1)
            slot = ((key * _HASH) >> 18) & mask
            while endpoints[slot * 10] != key and endpoints[slot * 10] != 0:
                slot = (slot + 1) & mask
            e = slot * 10
            if endpoints[e] == 0:
                if listed >= room:
                    totals[_UNLISTED] += 1
                    continue
                listed += 1
                endpoints[e] = key

            moved = length
            expected = length
            missing = False
            if r8[n * f.W8 + f.XFER] == 0:
                if absent & f.NO_NUMDESC:
                    missing = event != 69
                else:
                    ndesc = u32[n * f.W32 + f.NDESC]
                    missing = ndesc < r32[n * f.W32 + f.NUMDESC]
                    moved = 0
                    expected = 0
                    at = r64[n * f.W64 + f.DATA_AT]
                    for k in range(ndesc):
                        moved += _u32(p, at + 8)
                        # mon_bin_collate_isodesc: an empty packet reaches nowhere
                        if _u32(p, at + 8) and _u32(p, at + 4) + _u32(p, at + 8) > expected:
                            expected = _u32(p, at + 4) + _u32(p, at + 8)
                        if event == 67:
                            frame_statuses[_status_place(_u32(p, at))] += 1
                        at += 16
                    if missing or not is_in or event != 67:
                        expected = length
                if missing:
                    totals[7] += 1
                    endpoints[e + 8] += 1
                if missing or event != 67:
                    # Of a completion, the host controller's sum; in text, the size of the buffer.
                    moved = length

            # From here on conditions are numbers: branches that go now this way, now that cost
            # more than all the rest.
            flag = r8[n * f.W8 + f.FLAG_SETUP]
            setup_missing += (flag != 0) & (flag != 45)
            is_cut = (r8[n * f.W8 + f.FLAG_DATA] == 0) & (captured - 16 * ndesc < expected)
            cut += is_cut
            endpoints[e + 7] += is_cut
            is_cut &= absent & f.NO_LEN_CAP == 0
            cut_by_container += is_cut & (captured < u32[n * f.W32 + f.LEN_CAP])
            if r8[n * f.W8 + f.MARKS] & f.DOUBLED:
                endpoints[e + 9] += 1
                moved = 0
            if (event == 69) | (moved < 0):
                moved = 0
            is_over = event != 83
            endpoints[e + 1 + is_over + (event == 69)] += 1
            endpoints[e + 4 + is_over] += moved
            endpoints[e + 6] += is_over & (status != 0)
            statuses[_status_place(status)] += is_over
    totals[0] = events
    totals[1] = first
    totals[2] = last
    totals[5] = cut
    totals[6] = cut_by_container
    totals[9] = setup_missing
    totals[10] = captured_all
    totals[11] = clocks
    totals[12] = previous
    totals[13] = listed


def move(old: cython.const[cython.longlong][::1], new: cython.longlong[::1]) -> None:
    """Carry the endpoints of a table over to a larger one."""
    mask: cython.Py_ssize_t = len(new) // 10 - 1
    n: cython.Py_ssize_t
    k: cython.Py_ssize_t
    slot: cython.Py_ssize_t
    for n in range(0, len(old), 10):
        if old[n] != 0:
            slot = ((old[n] * _HASH) >> 18) & mask
            while new[slot * 10] != 0:
                slot = (slot + 1) & mask
            for k in range(10):
                new[slot * 10 + k] = old[n + k]


# What formats differ in holding, counted by events: the words for it.
CENSUS = {
    "data": "data past the format's limit",
    "descriptors": "isochronous descriptors past the format's limit",
    "bus": "bus number",
    "interval": "interval and start frame of interrupt and isochronous URBs",
    "iso": "isochronous counts and descriptors",
    "xfer_flags": "transfer flags",
    "date": "date (only time of a 4096 s turn is kept)",
    "nanoseconds": "time below a microsecond",
    "windows": "USBD_STATUS and URB function of Windows",
    "no bus": "bus number",
    "no interval": "interval and start frame",
    "no iso": "isochronous counts and descriptors",
    "no xfer_flags": "transfer flags",
    "no date": "date (times count from 1970: the clock of the trace is not the wall clock)",
    "no time": "time of E events",
    "len_cap": "length that the kernel captured, where fewer bytes are in the trace",
    "no iso interval": "interval and start frame of isochronous URBs",
    "synthetic": "descriptors read from sysfs, which this format cannot mark",
    "comments": "comments",
    "drops": "reports of dropped events",
}


def census(
    rows: cython.const[cython.uchar][::1],
    count: cython.Py_ssize_t,
    data_limit: cython.longlong,
    descriptor_limit: cython.longlong,
    counts: cython.longlong[::1],
) -> None:
    """Add to `counts` (one for each of `CENSUS`) what `count` rows hold and do not hold. Synthetic
    events are counted as such alone; comments and drops are in no row."""
    n: cython.Py_ssize_t
    absent: cython.int
    xfer: cython.int
    ndesc: cython.longlong
    r8: cython.pointer[cython.const[cython.uchar]]
    r16: cython.pointer[cython.const[cython.ushort]]
    u32: cython.pointer[cython.const[cython.uint]]
    r64: cython.pointer[cython.const[cython.longlong]]
    if count < 1:
        return
    if cython.compiled:
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.const[cython.ushort]], r8)
        cython.cast(cython.pointer[cython.const[cython.int]], r8)
        u32 = cython.cast(cython.pointer[cython.const[cython.uint]], r8)
        r64 = cython.cast(cython.pointer[cython.const[cython.longlong]], r8)
    else:
        r8 = memoryview(rows)
        r16, _r32, u32, r64 = r8.cast("H"), r8.cast("i"), r8.cast("I"), r8.cast("q")
    with cython.nogil:
        for n in range(count):
            if r8[n * f.W8 + f.MARKS] & f.SYNTHETIC:
                counts[17] += 1
                continue
            absent = r16[n * f.W16 + f.ABSENT]
            xfer = r8[n * f.W8 + f.XFER]
            ndesc = u32[n * f.W32 + f.NDESC]
            if data_limit >= 0 and u32[n * f.W32 + f.CAPTURED] - 16 * ndesc > data_limit:
                counts[0] += 1
            if descriptor_limit >= 0 and ndesc > descriptor_limit:
                counts[1] += 1
            counts[2 if not absent & f.NO_BUS else 9] += 1
            if xfer < 2 and r8[n * f.W8 + f.TYPE] != 69:
                counts[3 if not absent & f.NO_INTERVAL else 10] += 1
                if xfer == 0:
                    counts[4 if not absent & f.NO_NUMDESC else 11] += 1
                    if absent & f.NO_INTERVAL and not absent & f.NO_NUMDESC:
                        counts[16] += 1
            if absent & f.NO_XFER_FLAGS:
                counts[12] += 1
            elif u32[n * f.W32 + f.XFER_FLAGS] != 0:
                counts[5] += 1
            counts[6 if r8[n * f.W8 + f.CLOCK] == f.WALL else 13] += 1
            if r64[n * f.W64 + f.TS] % 1000 != 0:
                counts[7] += 1
            if not absent & f.NO_USBD:
                counts[8] += 1
            if absent & f.NO_TS:
                counts[14] += 1
            if (
                not absent & f.NO_LEN_CAP
                and u32[n * f.W32 + f.CAPTURED] < u32[n * f.W32 + f.LEN_CAP]
            ):
                counts[15] += 1
