import pytest

from tests.helpers.corpus import CAPTURES
from tests.helpers.sysfs import Sysfs, recorded

RECORDED = ("hid-xhci-1-1", "hid-xhci-1-2", "hid-xhci-1-3")


@pytest.fixture
def tree(tmp_path) -> Sysfs:
    """The keyboard, mouse and tablet of a recorded run."""
    made = Sysfs(tmp_path / "sys")
    for name in RECORDED:
        made.add(*recorded(CAPTURES / "devices", name))
    return made
