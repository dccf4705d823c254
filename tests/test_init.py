"""The public names of the package, and what importing them costs."""

import subprocess
import sys

import pytest

import usbmon


def test_the_public_names_are_these():
    assert usbmon.__all__ == [
        "Event",
        "Events",
        "FormatError",
        "Source",
        "SourceError",
        "Summary",
        "Trace",
        "UsbmonError",
        "Writer",
        "capture",
        "decode",
        "open",
        "read",
        "write",
    ]


@pytest.mark.parametrize("name", usbmon.__all__)
def test_a_public_name_is_there_and_listed(name):
    assert getattr(usbmon, name).__name__ == name
    assert name in dir(usbmon)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'usbmon' has no attribute 'nope'"):
        _ = usbmon.nope


@pytest.mark.parametrize(
    "program",
    [
        "import usbmon",
        "import usbmon; usbmon.open('examples/flash-key.1u.txt')",
        "import usbmon; usbmon.Summary.of(usbmon.open('examples/flash-key.1u.txt'))",
    ],
)
def test_numpy_and_pyarrow_are_not_imported_before_they_are_needed(program):
    program += "; import sys; print(sorted({'numpy', 'pyarrow', 'click'} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"
