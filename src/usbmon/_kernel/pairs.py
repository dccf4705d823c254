"""The ingest number: one for a submission, its completion or its error, and their doubles.

The kernel reuses an URB's tag as soon as the URB has completed, so pairing needs the order of the
events; this is the one place that walks them in order and remembers. Rows in, their `urb` and
`marks` filled in. Memory is bounded: a table of the tags in flight, and of the last use of others.
"""

try:
    import cython
except ImportError:
    from usbmon import _cython as cython  # type: ignore[no-redef]

if cython.compiled:
    from cython.cimports.usbmon._kernel import fields as f
else:
    from usbmon._kernel import fields as f


# One entry is eight words: tag, place (bus, device, endpoint, type), urb, state, the time and the
# likeness of the submission, and those of the completion.
_FLYING = cython.declare(cython.int, 1)
_LANDED = cython.declare(cython.int, 2)
# Beside either: the submission looks doubled, but no completion has confirmed it yet.
_SUSPECT = cython.declare(cython.int, 4)

# Words of `counts`.
COUNTS = (
    "next",
    "used",
    "in_flight",
    "doubled",
    "orphan_completions",
    "lost_completions",
    "confirmed",
    "refuted",
)

# Bus, device, endpoint without its direction, and type, as they stand in the word `f.HEAD`.
_PLACE = cython.declare(cython.ulonglong, 0xFFFFFF7FFF)
_GOLDEN = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)
_MASK64 = (1 << 64) - 1

# Few entries are used, so that most are found at the first look: a second one costs more than the
# memory, of which only the used part is ever touched.
_SMALLEST = 1 << 13
_LARGEST = 1 << 18


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _mix(value: cython.ulonglong) -> cython.ulonglong:
    """A hash whose low bits depend on all: tags are addresses, alike in most of theirs."""
    value = value ^ (value >> 32)
    if cython.compiled:
        value = value * _GOLDEN
    else:
        value = (value * _GOLDEN) & _MASK64
    return value ^ (value >> 29)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _find(
    table: cython.pointer[cython.ulonglong],
    mask: cython.ulonglong,
    tag: cython.ulonglong,
    bus: cython.ulonglong,
) -> cython.ulonglong:
    """The entry of this tag on this bus, or the empty one where it would stand; in words."""
    slot: cython.ulonglong = _mix(tag ^ (bus << 48)) & mask
    while table[slot * 8 + 3] != 0 and (
        table[slot * 8] != tag or (table[slot * 8 + 1] >> 24) != bus
    ):
        slot = (slot + 1) & mask
    return slot * 8


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _near(a: cython.longlong, b: cython.longlong, window: cython.longlong) -> cython.bint:
    # Of different signs, the difference can be more than 64 bits hold, however near to 0 one is.
    if (a < 0) != (b < 0) and (a > window or a < -window or b > window or b < -window):
        return False
    return a - b <= window and b - a <= window


def _stamp(
    rows: cython.uchar[::1],
    start: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    entries: cython.ulonglong[::1],
    counts: cython.longlong[::1],
    window: cython.longlong,
) -> int:
    """Number rows from `start` on until all are done or the table is a quarter full.

    `counts` are those of `COUNTS`. Returns where it stopped.

    Two readers in one file give S S C C. A submission that comes again (the same words, the tag
    still in flight or a stamp before its completion's) is first a suspect: a completion that comes
    again too confirms it. Another submission instead refutes it: then the completion in between was
    lost, as it is where a reader was too slow. While more were refuted than confirmed, nothing is
    suspected.
    """
    mask: cython.ulonglong = len(entries) // 8 - 1
    room: cython.longlong = len(entries) // 8 // 4
    number: cython.longlong = counts[0]
    used: cython.longlong = counts[1]
    flying: cython.longlong = counts[2]
    doubled: cython.longlong = counts[3]
    orphans: cython.longlong = counts[4]
    lost: cython.longlong = counts[5]
    confirmed: cython.longlong = counts[6]
    refuted: cython.longlong = counts[7]
    n: cython.Py_ssize_t
    stop: cython.Py_ssize_t = count
    e: cython.ulonglong
    tag: cython.ulonglong
    place: cython.ulonglong
    likeness: cython.ulonglong
    state: cython.ulonglong
    ts: cython.longlong
    table: cython.pointer[cython.ulonglong]
    times: cython.pointer[cython.longlong]
    r8: cython.pointer[cython.uchar]
    r16: cython.pointer[cython.ushort]
    u32: cython.pointer[cython.uint]
    r64: cython.pointer[cython.longlong]
    u64: cython.pointer[cython.ulonglong]
    if cython.compiled:
        table = cython.address(entries[0])
        times = cython.cast(cython.pointer[cython.longlong], table)
        r8 = cython.address(rows[0])
        r16 = cython.cast(cython.pointer[cython.ushort], r8)
        u32 = cython.cast(cython.pointer[cython.uint], r8)
        r64 = cython.cast(cython.pointer[cython.longlong], r8)
        u64 = cython.cast(cython.pointer[cython.ulonglong], r8)
    else:
        table = entries
        times = memoryview(entries).cast("B").cast("q")
        r8 = memoryview(rows)
        r16, u32, r64, u64 = r8.cast("H"), r8.cast("I"), r8.cast("q"), r8.cast("Q")

    with cython.nogil:
        for n in range(start, count):
            if used >= room:
                stop = n
                break
            tag = u64[n * f.W64 + f.ID]
            if f.LITTLE:
                place = (u64[n * f.W64 + f.HEAD] >> 8) & _PLACE
            else:
                place = r16[n * f.W16 + f.BUSNUM]
                place = (place << 8) | r8[n * f.W8 + f.DEVNUM]
                place = (place << 8) | (r8[n * f.W8 + f.EPNUM] & 0x7F)
                place = (place << 8) | r8[n * f.W8 + f.XFER]
            e = _find(table, mask, tag, place >> 24)
            ts = r64[n * f.W64 + f.TS]
            likeness = u32[n * f.W32 + f.LENGTH]
            likeness |= cython.cast(cython.ulonglong, u32[n * f.W32 + f.STATUS]) << 32
            state = table[e + 3]
            if state == 0:
                used += 1
                table[e] = tag
                table[e + 1] = place
            if r8[n * f.W8 + f.TYPE] == 83:
                likeness ^= _mix(u64[n * f.W64 + f.SETUP64])
                if (
                    state != 0
                    and (state & _FLYING or ts < times[e + 6])
                    and confirmed >= refuted
                    and table[e + 1] == place
                    and table[e + 5] == likeness
                    and _near(times[e + 4], ts, window)
                ):
                    doubled += 1
                    table[e + 3] = state | _SUSPECT
                    r8[n * f.W8 + f.MARKS] = r8[n * f.W8 + f.MARKS] | f.DOUBLED
                else:
                    if state & _SUSPECT:
                        refuted += 1
                        doubled -= 1
                        lost += 1
                    if state & _FLYING:
                        lost += 1
                    else:
                        flying += 1
                    table[e + 1] = place
                    table[e + 2] = number
                    table[e + 3] = _FLYING
                    times[e + 4] = ts
                    table[e + 5] = likeness
                    number += 1
            elif state & _FLYING and table[e + 1] == place:
                flying -= 1
                table[e + 3] = state ^ (_FLYING | _LANDED)
                times[e + 6] = ts
                table[e + 7] = likeness
            elif (
                state & _LANDED
                and (state & _SUSPECT or confirmed > refuted)
                and table[e + 1] == place
                and table[e + 7] == likeness
                and _near(times[e + 6], ts, window)
            ):
                doubled += 1
                r8[n * f.W8 + f.MARKS] = r8[n * f.W8 + f.MARKS] | f.DOUBLED
                if state & _SUSPECT:
                    confirmed += 1
                    table[e + 3] = _LANDED
            elif (
                state & _LANDED
                and place & 0xFF == 2
                and table[e + 1] == place
                and not r16[n * f.W16 + f.ABSENT] & f.NO_USBD
            ):
                # USBPcap tells the stages of a control transfer one by one.
                times[e + 6] = ts
            else:
                if state & _FLYING:
                    flying -= 1
                    lost += 1
                orphans += 1
                r8[n * f.W8 + f.MARKS] = r8[n * f.W8 + f.MARKS] | f.ORPHAN
                table[e + 1] = place
                table[e + 2] = number
                table[e + 3] = _LANDED
                times[e + 4] = ts
                table[e + 5] = 0
                times[e + 6] = ts
                table[e + 7] = likeness
                number += 1
            u64[n * f.W64 + f.URB] = table[e + 2]
    counts[0] = number
    counts[1] = used
    counts[2] = flying
    counts[3] = doubled
    counts[4] = orphans
    counts[5] = lost
    counts[6] = confirmed
    counts[7] = refuted
    return stop


def _move(old: cython.ulonglong[::1], new: cython.ulonglong[::1], oldest: cython.ulonglong) -> int:
    """Carry what is in flight and not older than number `oldest` over; returns how many."""
    mask: cython.ulonglong = len(new) // 8 - 1
    n: cython.Py_ssize_t
    k: cython.Py_ssize_t
    e: cython.ulonglong
    moved: cython.longlong = 0
    table: cython.pointer[cython.ulonglong]
    if cython.compiled:
        table = cython.address(new[0])
    else:
        table = new
    for n in range(0, len(old), 8):
        if old[n + 3] & _FLYING and old[n + 2] >= oldest:
            e = _find(table, mask, old[n], old[n + 1] >> 24)
            for k in range(8):
                table[e + k] = old[n + k]
            moved += 1
    return moved


class Pairing:
    """Numbers the events of one stream, in their order.

    `doubled`: events seen a second time (two readers in one file). `orphan_completions`: without a
    submission before them. `lost_completions`: submissions whose tag was submitted again first.
    `in_flight`: submissions not completed so far. `forgotten`: submissions given up because more
    than the table holds (some 65,000) were in flight; such a trace is not of a kernel.
    """

    def __init__(self, window: int = 20_000_000, first: int = 1) -> None:
        """`window`: how far apart (ns) the two stamps of one event can be; each reader stamps for
        itself, in recorded traces up to 10 ms later than another. `first`: the first number."""
        self._window = window
        self._table = memoryview(bytearray(_SMALLEST * 64)).cast("Q")
        self._counts = memoryview(bytearray(8 * len(COUNTS))).cast("q")
        self._counts[0] = first
        self.forgotten = 0

    def number(self, rows: memoryview, count: int) -> None:
        """Fill in `urb` and `marks` of the first `count` rows."""
        done = 0
        while done < count:
            done = _stamp(rows, done, count, self._table, self._counts, self._window)
            if done < count:
                self._make_room()

    def _make_room(self) -> None:
        size = len(self._table) // 8
        oldest = 0
        if self.in_flight > size // 8:
            if size < _LARGEST:
                size *= 2
            else:
                oldest = self._counts[0] - size // 8
        table = memoryview(bytearray(size * 64)).cast("Q")
        moved = _move(self._table, table, oldest)
        self.forgotten += self.in_flight - moved
        self._counts[1] = self._counts[2] = moved
        self._table = table

    @property
    def in_flight(self) -> int:
        return self._counts[2]

    @property
    def doubled(self) -> int:
        return self._counts[3]

    @property
    def orphan_completions(self) -> int:
        return self._counts[4]

    @property
    def lost_completions(self) -> int:
        return self._counts[5]
