"""One boot of the guest for all live tests, and devices served to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.live.guest import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    with Guest(os.environ.get("USBMON_GUEST_KERNEL", "6.1")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left_attached(guest: Guest) -> Iterator[None]:
    yield
    guest.detach()
