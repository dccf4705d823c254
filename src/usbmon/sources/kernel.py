"""The source ``kernel:``: a bus of this machine, by the kernel's own usbmon.

Here: which way events are taken (mapped ring, GETX, read(), text), a ring that grows to the size
that is wanted, where events were dropped, and the end of a bus. Not here: the calls
(`usbmon.sources.binary`), text files (`usbmon.sources.text`), what to do where nothing works
(`usbmon.sources.doctor`).

Theory of the growing ring. A ring can be resized only by throwing its content away, so a larger one
is opened beside it. From then on both get each event, in one order, as the kernel gives an event to
all readers under one lock; only the stamps differ, as each is stamped anew. What the old ring has
up to the first event of the new one is taken from there, all that follows from the new one.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from usbmon import layout
from usbmon.errors import SourceError
from usbmon.events import Events
from usbmon.formats.base import Interface
from usbmon.sources import Remark, Source, binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbmon.formats.binary import BinaryDecoder
    from usbmon.sources.follow import Follower

DEV: Final = "/dev/usbmon"
DEBUGFS: Final = "/sys/kernel/debug/usb/usbmon"
# A ring of so many bytes is wanted unless said otherwise: the kernel takes memory for it that
# cannot be swapped out, and it holds half a second of the fastest bus.
RING: Final = 16 << 20
SMALLEST_RING: Final = 8 << 10
# The largest that kernels give: today's, and that of old ones (mon_bin.c, BUFF_MAX).
_BOUNDS: Final = (64 << 20, 1200 << 10)
_WAIT_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 1.0
_GROW_SECONDS: Final = (1.0, 60.0)
_PAGE: Final = 4096

WAYS: Final = ("auto", *(taker.name for taker in binary.TAKERS), "text")


class OpenDevice(binary.Reader, Protocol):
    """What is needed of a `binary.Device` beside taking."""

    @property
    def identity(self) -> tuple[int, int]: ...
    def wait(self, seconds: float) -> bool: ...
    def set_ring_size(self, size: int) -> None: ...
    def stats(self) -> tuple[int, int]: ...
    def close(self) -> None: ...


class _Drop(NamedTuple):
    """So many events are missing behind the record of this number."""

    at: int
    lost: int


class KernelSource(Source):
    """See `usbmon.sources.Source`. `way` is how events are taken, in words.

    Raises `SourceError` at the end of the iteration if the bus has gone.
    """

    def __init__(
        self,
        path: str,
        *,
        way: str = "auto",
        ring: int = RING,
        report: Callable[[str], None] | None = None,
        device: Callable[[str], OpenDevice] = binary.Device,
    ) -> None:
        """`path`: of the device. `way`: one of `WAYS` but "text". `ring`: its size that is wanted.
        Raises OSError where it cannot be opened or has not the calls."""
        self._path = path
        self._name = os.path.basename(path)  # noqa: PTH119 (pathlib is slow to import)
        self._report = report or (lambda _line: None)
        self._open = device
        self._target = -(-max(ring, SMALLEST_RING) // _PAGE) * _PAGE
        self._device = device(path)
        try:
            self._set_ring(self._device, self._target, SMALLEST_RING)
            self._taker = self._choose(way)
        except BaseException:
            self._device.close()
            raise
        self._decoder = self._taker.decoder()
        self.interfaces = [Interface(220, self._name, f"Linux usbmon, {self.way}")]
        self.interfaces[0].dropped = 0
        self._remarks: list[Remark] = []
        self._drops: deque[_Drop] = deque()
        self._taken = 0
        self._last: int | None = None  # the number of the record to end with
        self._stopping = self._closed = False
        self._begun = time.monotonic()
        self._look_at = self._grow_at = self._begun + _LOOK_SECONDS
        self._grow_after = _GROW_SECONDS[0]

    def _choose(self, way: str) -> binary.Taker:
        refused: OSError | None = None
        for taker in binary.TAKERS:
            if way in ("auto", taker.name):
                try:
                    made = taker(self._device)
                except OSError as error:
                    refused = error
                    self._report(f"{self._name}: no {taker.name}: {error.strerror}")
                else:
                    if refused is not None:
                        self._report(f"{self._name}: events are taken by {taker.name} instead")
                    return made
        assert refused is not None
        raise refused

    @property
    def way(self) -> str:
        return f"{self._taker.name}, ring of {self._device.ring_size:,} bytes"

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._begun

    @property
    def dropped(self) -> int:
        return self._told + sum(drop.lost for drop in self._drops)

    def remarks(self) -> list[Remark]:
        taken, self._remarks = self._remarks, []
        return taken

    def __iter__(self) -> Iterator[Events]:
        gone = False
        while not self._closed:
            self._tell_drops()
            piece = self._taker.take(self._most())
            self._count(piece.records)
            if piece.records:
                yield self._decode(piece.data)
            elif gone:
                break
            if self._last is not None and self._taken >= self._last:
                break
            if not piece.records:
                yield Events.empty()
                self._device.wait(_WAIT_SECONDS)
            if not gone and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _LOOK_SECONDS
                gone = self._is_gone()
                if not gone and self._device.ring_size < self._target:
                    yield from self._grow()
        self._tell_drops()
        if gone:
            raise SourceError(
                "the bus has gone: its host controller was removed, or its driver unloaded",
                file=self._path,
            )

    def _most(self) -> int:
        """How many records there are before the next place of drops, or the end."""
        ends = [self._drops[0].at] if self._drops else []
        if self._last is not None:
            ends.append(self._last)
        return min([binary.MOST_EVENTS, *(end - self._taken for end in ends)])

    def _count(self, taken: int) -> None:
        """Keep count of what was taken and of what is missing. A ring drops while it is full: what
        it dropped is missing behind what it holds now."""
        self._taken += taken
        queued, dropped = self._device.stats()
        end = self._taken + queued
        if dropped:
            self._drops.append(_Drop(end, dropped))
        if self._stopping and self._last is None:
            self._last = end

    def _tell_drops(self) -> None:
        """Those whose place has come."""
        while self._drops and self._drops[0].at <= self._taken:
            self.interfaces[0].dropped = self._told + self._drops.popleft().lost

    @property
    def _told(self) -> int:
        return self.interfaces[0].dropped or 0

    def _decode(self, data: bytearray) -> Events:
        events, _ = self._decoder.advance(memoryview(data), final=True)
        return events

    # The ring.

    def _set_ring(self, device: OpenDevice, size: int, least: int) -> None:
        """Give the device a ring of this size, or the largest that it can have from `least` on.
        Raises OSError if it can have none."""
        sizes = [size, *(bound for bound in _BOUNDS if least <= bound < size)]
        while sizes[-1] > least:
            sizes.append(max(sizes[-1] // 2 // _PAGE * _PAGE, least))
        for wanted in sizes:
            try:
                device.set_ring_size(wanted)
            except OSError as error:
                if wanted == sizes[-1]:
                    raise
                # One that is too large for this kernel will be too large for ever.
                if error.errno == errno.EINVAL:
                    self._target = max(size for size in sizes if size < wanted)
            else:
                return

    def _grow(self) -> Iterator[Events]:
        """Go over to a larger ring, if the kernel can give one now."""
        now = time.monotonic()
        if now < self._grow_at:
            return
        self._grow_at = now + self._grow_after
        self._grow_after = min(self._grow_after * 2, _GROW_SECONDS[1])
        before = self._device.ring_size
        larger = None
        try:
            larger = self._open(self._path)
            self._set_ring(larger, self._target, before + _PAGE)
            taker = type(self._taker)(larger)
        except OSError:
            if larger is not None:
                larger.close()
            return
        yield from self._go_over(larger, taker)
        words = f"{self._name}: ring of {larger.ring_size:,} bytes, before {before:,}"
        self._report(words)
        self._remarks.append(Remark(time.time_ns(), 0, words))

    def _go_over(self, larger: OpenDevice, taker: binary.Taker) -> Iterator[Events]:
        # What the old ring drops from here on, the larger one has.
        self._count(0)
        old, (left, _) = bytearray(), self._device.stats()
        while left > 0:
            piece = self._taker.take(min(left, binary.MOST_EVENTS))
            old += piece.data
            left -= piece.records or left
        first = taker.take()
        end = overlap(self._taker.decoder(), old, first.data)
        if end:
            yield self._decode(old[:end])
        # Places were counted in records of the old ring.
        self.interfaces[0].dropped = self.dropped
        self._drops.clear()
        self._taken, self._last = 0, None
        self._device.close()
        self._device, self._taker = larger, taker
        self._count(first.records)
        if first.records:
            yield self._decode(first.data)

    # The end.

    def _is_gone(self) -> bool:
        try:
            status = os.stat(self._path)  # noqa: PTH116
        except OSError:
            return True
        return (status.st_dev, status.st_ino) != self._device.identity

    def stop(self) -> None:
        """End with what is queued now. A signal handler may call it."""
        self._stopping = True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._device.close()


def overlap(decoder: BinaryDecoder, old: bytearray, new: bytearray) -> int:
    """Where in `old`, records of one reader, the first event of `new`, which another reader had of
    the same bus, stands; where it would stand, if it is not there.

    The reader that was opened first is the first to stamp an event, and no other event comes
    between the stamps of one. So it is the last that is not later, or one of those of the same
    microsecond before it.
    """
    if not old:
        return 0
    olds, _ = decoder.advance(memoryview(old), final=True)
    news, _ = decoder.advance(memoryview(new), final=True)
    if not len(news):
        return len(old)
    first = news[0]
    assert first.ts is not None
    at = len(old)
    following = first.ts  # the stamp of the event behind the one that is looked at
    for number in range(len(olds) - 1, -1, -1):
        event = olds[number]
        assert event.ts is not None
        start: int = int(olds.data_at[number]) - decoder.header
        if event.ts > first.ts:
            at = start
        elif following < first.ts:
            break
        elif _identity(event) == _identity(first):
            return start
        following = event.ts
    return at


def _identity(event: object) -> tuple[object, ...]:
    return tuple(getattr(event, name) for name in _SAME)


_SAME: Final = tuple(
    field.name
    for field in layout.PACKET
    if field.name not in ("ts_sec", "ts_usec", "len_cap", "ndesc")
)


def open(
    rest: str,
    *,
    way: str = "auto",
    ring: int = RING,
    describe: bool = True,
    follower: Follower | None = None,
    report: Callable[[str], None] | None = None,
) -> Source:
    """A bus by its number, or ``all``. `describe`: with what sysfs knows of the devices.
    `follower`: only events of these. Raises `SourceError`."""
    if not rest.isascii() or not (rest.isdigit() or rest == "all"):
        raise SourceError(
            "no bus; write its number as `lsusb` shows it, as kernel:1, or kernel:all",
            file=f"kernel:{rest}",
        )
    bus = 0 if rest == "all" else int(rest)
    source = _open_bus(bus, way, ring, report)
    from usbmon.sources.hotplug import Watcher
    from usbmon.sources.watched import Watched

    return Watched(source, Watcher(), bus, describe=describe, follower=follower, report=report)


def _open_bus(bus: int, way: str, ring: int, report: Callable[[str], None] | None) -> Source:
    """By the device, or else by the text file."""
    from usbmon.sources import doctor, text

    path, file = f"{DEV}{bus}", f"{DEBUGFS}/{bus}u"
    if way == "text":
        return text.open(file, report=report)
    try:
        return KernelSource(path, way=way, ring=ring, report=report)
    except OSError as error:
        failed = SourceError(f"{error.strerror}; {doctor.advice(error, path)}", file=path)
        reason = error.strerror
    if way != "auto":
        raise failed
    try:
        source = text.open(file, report=report)
    except SourceError:
        raise failed from None  # what the better way lacks is to be mended
    if report is not None:
        report(f"{path}: {reason}; events are read from {file}, 32 bytes of the data of each")
    return source
