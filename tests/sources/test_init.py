"""The table of sources, and the string that names one."""

import pytest

from usbmon import sources
from usbmon.errors import SourceError


@pytest.mark.parametrize("spec", ["", "nothing:at all", ":mouse", "http://1"])
def test_what_is_no_source_is_told_which_there_are(spec):
    with pytest.raises(SourceError, match=r"(?s)no such source; there are\n  kernel:.*\n  usbip:"):
        sources.open(spec)


@pytest.mark.parametrize(
    ("spec", "kind", "rest"),
    [
        ("3", "kernel", "3"),
        ("all", "kernel", "all"),
        ("kernel:3", "kernel", "3"),
        ("0557:2004", "device", "0557:2004"),
        ("05ac:", "device", "05ac:"),
        ("serial:A:1", "device", "serial:A:1"),
        ("1-4.2", "device", "1-4.2"),
        ("Logitech", "device", "Logitech"),
        ("device:a: b", "device", "a: b"),
        ("text:/sys/1u", "text", "/sys/1u"),
        ("ssh:me@there:22/3", "ssh", "me@there:22/3"),
        ("virtual:flash", "virtual", "flash"),
        ("usbip:host", "usbip", "host"),
    ],
)
def test_what_a_string_names(spec, kind, rest):
    row, left = sources.kind_of(spec)
    assert (row.name, left) == (kind, rest)


def test_only_the_options_of_a_kind_reach_it(monkeypatch):
    got = {}
    monkeypatch.setattr("usbmon.sources.virtual.open", lambda rest, **options: got.update(options))
    sources.open("virtual:x", seed=3, paced=True, ring=5, report=None)
    assert got == {"seed": 3, "paced": True, "report": None}


def test_each_kind_has_its_module():
    for kind in sources.SOURCES:
        with pytest.raises(SourceError):
            sources.open(f"{kind.name}:")
