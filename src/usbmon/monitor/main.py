"""`Monitor`: sees every submission, completion and submission error on its buses, makes one record
of it, and gives that to all who read.

Here: what drivers/usb/mon/mon_main.c does, and the capture of an URB that mon_text.c and mon_bin.c
share. Not here: what a reader does with a record (`text`, `binary`, `collector`).

A bus is tapped while somebody reads it, or bus 0, which is all buses; the last one to leave takes
the tap away.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol

from usbmon import layout
from usbmon.bus.urb import CONTROL, EINPROGRESS, INTERRUPT, ISOCHRONOUS, Urb
from usbmon.monitor.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from usbmon.bus.hcd import Tap

_HEADER: Final = struct.Struct("=" + "".join(field.code for field in layout.PACKET))
_DESCRIPTOR: Final = struct.Struct("=iIII")
_ISO: Final = struct.Struct("=ii")

# xfer_type, by our type of transfer.
_XFER: Final = {
    CONTROL: layout.CONTROL,
    ISOCHRONOUS: layout.ISO_XFER,
    2: layout.BULK,
    INTERRUPT: layout.INTERRUPT,
}
_SUBMIT, _COMPLETE, _ERROR = ord("S"), ord("C"), ord("E")
_NO_SETUP: Final = ord("-")
_PENDING, _SHOWN, _REFUSED = ord("<"), ord(">"), ord("E")
_SECOND: Final = 1_000_000_000


class Reader(Protocol):
    """Who reads a bus."""

    def put(self, record: Record) -> None:
        """An event has come."""


class MonitoredBus:
    """One bus as readers see it (``struct mon_bus``); number 0 is all of them."""

    def __init__(self, number: int, changed: Callable[[], None]) -> None:
        self.number = number
        self.readers: list[Reader] = []
        self.events = 0
        self.text_lost = 0
        self._changed = changed

    def add(self, reader: Reader) -> None:
        """From now on, it sees each event."""
        self.readers.append(reader)
        self._changed()

    def remove(self, reader: Reader) -> None:
        """It sees no more. Nothing happens if it did not read."""
        if reader in self.readers:
            self.readers.remove(reader)
            self._changed()


class _Tap:
    """Hangs on one controller, and serves its bus and bus 0."""

    def __init__(self, controller: Tapped, buses: tuple[MonitoredBus, ...]) -> None:
        self._loop = controller.loop
        self._buses = buses

    def submit(self, urb: Urb) -> None:
        self._give(self._record(urb, _SUBMIT, EINPROGRESS))

    def submit_error(self, urb: Urb, error: int) -> None:
        self._give(self._record(urb, _ERROR, error))

    def complete(self, urb: Urb, status: int) -> None:
        self._give(self._record(urb, _COMPLETE, status))

    def _give(self, record: Record) -> None:
        for bus in self._buses:
            bus.events += 1
            for reader in bus.readers:
                reader.put(record)

    def _record(self, urb: Urb, type: int, status: int) -> Record:
        """mon_bin_event, for a ring without end."""
        now = self._loop.now
        is_in = urb.is_in
        setup, flag_setup = b"", _NO_SETUP
        descriptors = b""
        interval = start_frame = length = 0
        data, flag_data = b"", _REFUSED
        if type != _ERROR:
            length = len(urb.buffer) if type == _SUBMIT else urb.actual_length
            data, flag_data = _data(urb, type, length, is_in=is_in)
            if urb.type is CONTROL:
                if type == _SUBMIT and urb.setup is not None:
                    setup, flag_setup = urb.setup, 0
            elif urb.type is INTERRUPT:
                interval = urb.interval
            elif urb.type is ISOCHRONOUS:
                interval, start_frame = urb.interval, urb.start_frame
                setup = _ISO.pack(urb.error_count, len(urb.packets))
                descriptors = _descriptors(urb, type)
        wall = self._loop.epoch + now
        header = _HEADER.pack(
            urb.id,
            type,
            _XFER[urb.type],
            urb.endpoint & 0x7F | is_in << 7,
            urb.device.devnum,
            urb.device.busnum,
            flag_setup,
            flag_data,
            wall // _SECOND,
            wall % _SECOND // 1000,
            status,
            length,
            len(descriptors) + len(data),
            setup,
            interval,
            start_frame,
            urb.transfer_flags if type != _ERROR else 0,
            len(descriptors) // layout.DESCRIPTOR_SIZE,
        )
        return Record(header, descriptors, data, now)


def _data(urb: Urb, type: int, length: int, *, is_in: bool) -> tuple[bytes, int]:
    """The data of an event and its flag: of a submission what is sent, of a completion what came;
    of an isochronous one all up to the last byte that a packet reaches (mon_bin_collate_isodesc).
    """
    if is_in and type == _SUBMIT:
        return b"", _PENDING
    if not is_in and type == _COMPLETE:
        return b"", _SHOWN
    if is_in and urb.packets:
        ends = (p.offset + p.actual_length for p in urb.packets if p.actual_length)
        length = max(ends, default=0)
    return bytes(urb.buffer[:length]), 0


def _descriptors(urb: Urb, type: int) -> bytes:
    return b"".join(
        _DESCRIPTOR.pack(
            packet.status,
            packet.offset,
            packet.length if type == _SUBMIT else packet.actual_length,
            0,
        )
        for packet in urb.packets
    )


class Clock(Protocol):
    """The time of a bus, in nanoseconds: since its start, and of the wall clock at that start."""

    @property
    def now(self) -> int: ...

    @property
    def epoch(self) -> int: ...


class Tapped(Protocol):
    """What can be listened to: a host controller, or a link that URBs pass through."""

    tap: Tap | None

    @property
    def busnum(self) -> int: ...

    @property
    def loop(self) -> Clock: ...


class Monitor:
    """The monitor of these buses: a `MonitoredBus` for each, and number 0 for all."""

    def __init__(self, controllers: Iterable[Tapped]) -> None:
        self._controllers = {c.busnum: c for c in controllers}
        self.buses = {n: MonitoredBus(n, self._tap) for n in (0, *self._controllers)}

    def _tap(self) -> None:
        """Hang a tap on what is read, and take it off what is not."""
        for number, controller in self._controllers.items():
            own, every = self.buses[number], self.buses[0]
            is_read = bool(own.readers or every.readers)
            if is_read and controller.tap is None:
                controller.tap = _Tap(controller, (own, every))
            elif not is_read:
                controller.tap = None
