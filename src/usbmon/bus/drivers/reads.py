"""Reads that always wait: a pool of URBs on an IN endpoint, for drivers of what speaks by itself.

Here: keeping them in flight through errors, as cdc-acm.c and usbnet.c do. Not here: what is made of
what they bring.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from usbmon.bus.driver import Receive, Steps, Submit, Unlink
from usbmon.bus.status import EPIPE, GONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.host import HostDevice, HostEndpoint
    from usbmon.bus.urb import Urb


class Reads:
    """`count` URBs of `size` bytes; `take` is called with what each brings.

    After a stall, all are killed, the halt is cleared, and all go out again. An URB that ended with
    one of `tiring` rests for `rest` nanoseconds; after another error it goes out again at once.
    """

    def __init__(
        self,
        device: HostDevice,
        pipe: HostEndpoint,
        count: int,
        size: int,
        take: Callable[[bytes], object],
        *,
        tiring: tuple[int, ...],
        rest: int,
    ) -> None:
        self._device = device
        self._pipe = pipe
        self._urbs = [device.urb(pipe, size) for _ in range(count)]
        self._take = take
        self._tiring, self._rest = tiring, rest
        self._out: dict[Urb, None] = {}
        self._resting: deque[tuple[int, Urb]] = deque()

    def steps(self) -> Steps[None]:
        """Until the endpoint goes. Raises `UrbFailed` where a halt cannot be cleared."""
        for urb in self._urbs:
            yield from self._submit(urb)
        while self._out or self._resting:
            urb = yield Receive(self._until_rested())
            if urb is None:
                yield from self._submit(self._resting.popleft()[1])
                continue
            del self._out[urb]
            if urb.status == EPIPE:
                yield from self._recover()
            elif urb.status in self._tiring:
                self._resting.append((self._device.controller.loop.now + self._rest, urb))
            elif urb.status not in GONE:
                if not urb.status:
                    self._take(urb.data)
                yield from self._submit(urb)

    def _submit(self, urb: Urb) -> Steps[None]:
        if not (yield Submit(urb)):
            self._out[urb] = None

    def _until_rested(self) -> int | None:
        if not self._resting:
            return None
        return max(self._resting[0][0] - self._device.controller.loop.now, 0)

    def _recover(self) -> Steps[None]:
        for urb in list(self._out):
            yield Unlink(urb, kill=True)
        while self._out:
            del self._out[(yield Receive())]
        self._resting.clear()
        yield from self._device.clear_halt(self._pipe)
        for urb in self._urbs:
            yield from self._submit(urb)
