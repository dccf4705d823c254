"""The source ``virtual:``: all that happens on its bus, and nothing left over."""

from __future__ import annotations

import pytest

from usbmon import Events, sources
from usbmon.bus.devices import MODELS
from usbmon.errors import SourceError
from usbmon.sources import virtual

FAILS = """
[devices.keyboard]
[[step]]
do = "type"
device = "keyboard"
text = "ab"
[[step]]
do = "type"
device = "keyboard"
text = "ä"
"""


def events_of(spec: str, **options: object) -> Events:
    source = sources.open(f"virtual:{spec}", **options)
    events = Events.concat(list(source))
    source.close()
    assert source.dropped == 0
    return events


@pytest.mark.parametrize("model", [model.name for model in MODELS])
def test_every_submission_has_its_completion_but_for_the_root_hubs(model):
    flying: dict[int, tuple[int, int]] = {}
    for event in events_of(model):
        if event.type == "S":
            assert event.id not in flying
            flying[event.id] = (event.devnum, event.epnum)
        else:
            del flying[event.id]
    assert list(flying.values()) == [(1, 0x81)] * 2


def test_stamps_do_not_go_back_and_end_with_the_source():
    source = sources.open("virtual:keyboard,mouse")
    stamps = [event.ts for events in source for event in events]
    assert stamps == sorted(stamps)
    assert (stamps[-1] - stamps[0]) / 1e9 < source.elapsed < (stamps[-1] - stamps[0]) / 1e9 + 0.2


def test_the_seed_decides_and_nothing_else():
    def content(seed: int) -> list[tuple]:
        return [(e.ts, e.id, e.data) for e in events_of("uas", seed=seed)]

    assert content(1) == content(1) != content(2)


def test_what_came_before_a_step_that_failed_is_given(tmp_path):
    path = tmp_path / "fails.toml"
    path.write_text(FAILS)
    source = sources.open(f"virtual:{path}")
    seen = []
    with pytest.raises(SourceError, match="step 2: type: a US keyboard has no key for 'ä'"):
        seen.extend(source)
    source.close()
    keys = [e.data for e in Events.concat(seen) if e.xfer_type == "interrupt" and len(e.data) == 8]
    assert len(keys) == 4  # two keys, down and up


def test_closed_it_ends_and_lets_go_of_its_files(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("[devices.flash]\npath = 'key.img'\nsize = 4194304\n")
    source = virtual.open(str(path))
    batches = iter(source)
    next(batches)
    source.close()
    assert list(batches) == []
    (tmp_path / "key.img").rename(tmp_path / "elsewhere.img")
    source.close()


def test_it_is_one_interface_with_a_name():
    (interface,) = sources.open("virtual:mouse").interfaces
    assert (interface.link_type, interface.name) == (220, "usbmon0")
    assert interface.description == "virtual bus, virtual:mouse"


def test_a_scenario_has_no_other_devices_beside_it(tmp_path):
    with pytest.raises(SourceError, match="no device is called"):
        sources.open(f"virtual:mouse,{tmp_path}/s.toml")
