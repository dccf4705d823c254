"""The table of sources, and the string that names one."""

import pytest

from usbmon import sources
from usbmon.errors import SourceError


@pytest.mark.parametrize("spec", ["", "nothing", "virtual", "nothing:at all", ":mouse"])
def test_what_is_no_source_is_told_which_there_are(spec):
    with pytest.raises(SourceError, match=r"no such source; there are virtual:DEVICE.*; usbip:"):
        sources.open(spec)


def test_each_kind_has_its_module():
    for kind in sources.SOURCES:
        assert kind.form.startswith(f"{kind.name}:")
        with pytest.raises(SourceError):
            sources.open(f"{kind.name}:")
