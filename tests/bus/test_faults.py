"""The rules of what goes wrong: when one strikes. What follows is tested with `queues`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.faults import KINDS, Fault, pick

CHANCE = random.Random(0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "smoke"},
        {"kind": "stall", "rate": 1.5},
        {"kind": "stall", "rate": -0.1},
        {"kind": "stall", "after": -1},
        {"kind": "nak", "duration": -1},
        {"kind": "stall", "count": 0},
        {"kind": "stall", "endpoint": 0x99},
        {"kind": "stall", "endpoint": -1},
    ],
)
def test_what_is_no_rule_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"fault|rate|endpoint"):
        Fault(**wrong)


@given(
    after=st.integers(0, 5),
    count=st.none() | st.integers(1, 5),
    addresses=st.lists(st.sampled_from([0x81, 0x02]), max_size=20),
)
def test_it_strikes_so_many_transfers_of_its_endpoint_and_after_so_many(
    after: int, count: int | None, addresses: list[int]
) -> None:
    fault = Fault("stall", endpoint=0x81, after=after, count=count)
    struck = [fault.strikes(address, CHANCE) for address in addresses]
    mine = [hit for hit, address in zip(struck, addresses, strict=True) if address == 0x81]
    end = len(mine) if count is None else after + count
    assert mine == [after <= number < end for number in range(len(mine))]
    assert sum(struck) == sum(mine)


def test_without_an_endpoint_it_strikes_at_all() -> None:
    assert all(Fault("crc", count=None).strikes(address, CHANCE) for address in (0, 1, 0x82))


@pytest.mark.parametrize(("rate", "least", "most"), [(0, 0, 0), (0.25, 180, 320), (1, 1000, 1000)])
def test_the_rate_is_how_often(rate: float, least: int, most: int) -> None:
    fault = Fault("crc", rate=rate, count=None)
    assert least <= sum(fault.strikes(1, CHANCE) for _ in range(1000)) <= most


def test_the_first_rule_that_strikes_is_taken() -> None:
    rules = [Fault("stall", endpoint=2), Fault("crc"), Fault("babble")]
    assert [pick(rules, 1, CHANCE, packet=False) for _ in range(3)] == [*rules[1:], None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_transfer_gets_what_transfers_can_have_and_a_packet_what_packets_can(kind: str) -> None:
    def can(*, packet: bool) -> bool:
        return pick([Fault(kind)], 1, CHANCE, packet=packet) is not None

    assert can(packet=False) is (kind != "lose")
    assert can(packet=True) is (kind not in {"timeout", "nak", "stall"})
