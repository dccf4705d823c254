"""Faults that a device or one of its endpoints is made to show, by rule or by rate.

Here: the rules and whether one strikes now. Not here: what follows (`hcd`), nor the drivers'
recovery. The statuses are those of Documentation/driver-api/usb/error-codes.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

# What a fault looks like to the host: the URB's status, or how the transfer goes.
STATUS: Final = {
    "stall": -32,  # EPIPE
    "no-response": -71,  # EPROTO: three tries, and no answer
    "crc": -84,  # EILSEQ
    "protocol": -71,  # EPROTO
    "babble": -75,  # EOVERFLOW
    "lose": -18,  # EXDEV
}
KINDS: Final = (*STATUS, "timeout", "nak", "short", "disconnect")


@dataclass(slots=True)
class Fault:
    """One rule. It strikes at the transfers number `after` + 1, … of its endpoint (of an
    isochronous one, at its packets), `count` times (None: always), each time with the probability
    `rate`.

    `kind`: "stall", "no-response", "crc", "protocol" and "babble" end the transfer, or the packet,
    with their status; "lose": the packet is lost; "timeout": the device answers NAK for ever;
    "nak": it does for `duration` nanoseconds; "short": half of the data come; "disconnect": the
    device falls off the bus. What an endpoint cannot have (a packet lost of a bulk transfer, NAK of
    an isochronous one) does not strike there.
    `endpoint`: an address, 0 for control transfers, None for all. Raises ValueError for what is no
    rule.
    """

    kind: str
    endpoint: int | None = None
    after: int = 0
    count: int | None = 1
    rate: float = 1.0
    duration: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")
        if self.endpoint is not None and self.endpoint & ~0x8F:
            raise ValueError(f"{self.endpoint:#x} is no address of an endpoint")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of a fault is from 0 to 1, not {self.rate}")
        if self.after < 0 or self.duration < 0 or (self.count is not None and self.count < 1):
            raise ValueError("a fault's after and duration are 0 or more, its count 1 or more")

    def strikes(self, endpoint: int, chance: random.Random) -> bool:
        """Whether it strikes at this transfer (a packet, for "lose"), which counts it."""
        if self.endpoint is not None and self.endpoint != endpoint:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.count == 0 or (self.rate < 1 and chance.random() >= self.rate):
            return False
        if self.count is not None:
            self.count -= 1
        return True


def pick(
    faults: list[Fault], endpoint: int, chance: random.Random, *, packet: bool
) -> Fault | None:
    """The first rule that strikes at this transfer or, with `packet`, isochronous packet."""
    impossible = ("timeout", "nak", "stall") if packet else ("lose",)
    for fault in faults:
        if fault.kind not in impossible and fault.strikes(endpoint, chance):
            return fault
    return None
