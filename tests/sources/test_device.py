"""The source of one device: finding it, and waiting for it."""

import pytest

from tests.helpers.corpus import CAPTURES
from usbmon import SourceError, sources
from usbmon.devices import listing
from usbmon.sources import device

DEVICES = listing.read((CAPTURES / "devices/hid-xhci.devices").read_text())


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """What would have been captured: bus, options."""
    calls = []
    monkeypatch.setattr("usbmon.devices.sysfs.snapshot", lambda: DEVICES)
    monkeypatch.setattr(
        device.kernel, "open", lambda rest, **options: calls.append((rest, options))
    )
    return calls


def test_a_device_that_is_there_is_followed_on_all_buses(opened):
    sources.open("0627:", ring=5)
    ((rest, options),) = opened
    assert (rest, options["ring"]) == ("all", 5)
    assert options["follower"].matches(next(d for d in DEVICES if d.id.startswith("0627:")))


def test_one_that_is_not_there_is_an_error_that_tells_who_is():
    with pytest.raises(SourceError) as caught:
        sources.open("ffff:ffff")
    first, *others = str(caught.value).splitlines()
    assert first == "ffff:ffff: no such device; --wait waits for it. There are"
    assert len(others) == sum(not d.is_root for d in DEVICES)


def test_it_can_be_waited_for(opened):
    said = []
    sources.open("ffff:ffff", wait=True, hubs=True, report=said.append)
    assert said == ["waiting for ffff:ffff to be plugged in"]
    assert len(opened) == 1


def test_with_no_device_at_all(monkeypatch):
    monkeypatch.setattr("usbmon.devices.sysfs.snapshot", list)
    with pytest.raises(SourceError, match="There is no device now"):
        sources.open("serial:1")
