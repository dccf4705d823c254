"""URBs of an isochronous stream in flight, for drivers that keep some of them there.

Here: submitting, waiting for the next, and taking all back in the two ways Linux has. Not here:
what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbmon.bus.driver import Receive, Steps, Submit, Unlink, UrbFailed

if TYPE_CHECKING:
    from usbmon.bus.urb import Urb


class Flight:
    """Those that are out, in their order; `what` they are is for messages."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._urbs: dict[Urb, None] = {}

    def __len__(self) -> int:
        return len(self._urbs)

    def submit(self, urb: Urb) -> Steps[None]:
        """Raises `UrbFailed`."""
        error = yield Submit(urb)
        if error:
            raise UrbFailed(error, self._what)
        self._urbs[urb] = None

    def receive(self) -> Steps[Urb]:
        """The next to complete. Raises `UrbFailed` for one with an error; one of its packets may
        have failed all the same."""
        urb: Urb = yield Receive()
        del self._urbs[urb]
        if urb.status:
            raise UrbFailed(urb.status, self._what)
        return urb

    def unlink(self) -> Steps[None]:
        """All at once (usb_unlink_urb), then wait for them."""
        for urb in list(self._urbs):
            yield Unlink(urb)
        while self._urbs:
            del self._urbs[(yield Receive())]

    def kill(self) -> Steps[None]:
        """One after the other (usb_kill_urb, usb_poison_urb)."""
        for urb in list(self._urbs):
            yield Unlink(urb, kill=True)
            while urb in self._urbs:
                del self._urbs[(yield Receive())]
