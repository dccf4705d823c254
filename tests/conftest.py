"""What holds for all tests: which kernel they are run on, and how hypothesis looks for examples."""

import os

import pytest
from hypothesis import settings

from usbmon._kernel import KERNEL

# Repeatable: the same examples in each run, and none kept from one run for the next.
# USBMON_EXAMPLES=5000 looks for longer.
settings.register_profile(
    "usbmon",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=int(os.environ.get("USBMON_EXAMPLES", "100" if KERNEL == "compiled" else "25")),
    print_blob=True,
)
settings.load_profile("usbmon")


def pytest_report_header() -> str:
    return f"usbmon kernel: {KERNEL}"


@pytest.fixture(scope="session", autouse=True)
def _kernel_asked_for() -> None:
    """A run that is meant for one kernel must not quietly test the other."""
    assert os.environ.get("USBMON_KERNEL", KERNEL) == KERNEL
