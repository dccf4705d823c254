"""Places in a row, counted in each field's own size, and the constants that C gets of them."""

import ast
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import rows as r
from usbmon._kernel import fields

SETUP = Path(__file__).parents[2] / "setup.py"

# The name here, the C type that it counts in (a code of the struct module), and the byte where
# usbmon.rst ("Raw binary format and API") has the field.
KERNELS = [
    ("ID", "Q", 0),
    ("HEAD", "Q", 8),
    ("TYPE", "B", 8),
    ("XFER", "B", 9),
    ("EPNUM", "B", 10),
    ("DEVNUM", "B", 11),
    ("BUSNUM", "H", 12),
    ("FLAG_SETUP", "B", 14),
    ("FLAG_DATA", "B", 15),
    ("TS_SEC", "q", 16),
    ("TS_USEC", "i", 24),
    ("STATUS", "i", 28),
    ("LENGTH", "I", 32),
    ("LEN_CAP", "I", 36),
    ("LEN_CAP8", "B", 36),
    ("SETUP", "B", 40),
    ("SETUP64", "Q", 40),
    ("ERROR_COUNT", "i", 40),
    ("NUMDESC", "i", 44),
    ("INTERVAL", "i", 48),
    ("START_FRAME", "i", 52),
    ("XFER_FLAGS", "I", 56),
    ("NDESC", "I", 60),
]
OURS = [
    ("TS", "q", 64),
    ("URB", "Q", 72),
    ("DATA_AT", "Q", 80),
    ("CAPTURED", "I", 88),
    ("USBD_STATUS", "I", 92),
    ("USBD_FUNCTION", "H", 96),
    ("ABSENT", "H", 98),
    ("INTERFACE", "H", 100),
    ("CLOCK", "B", 102),
    ("MARKS", "B", 103),
]
SIZES = {"W8": "B", "W16": "H", "W32": "I", "W64": "Q"}
LITTLE = int(struct.pack("=H", 1) == b"\x01\x00")
MARKS_AND_CLOCKS = {"DOUBLED": 1, "ORPHAN": 2, "SYNTHETIC": 8}
MARKS_AND_CLOCKS |= {"UNKNOWN": 0, "WALL": 1, "MONOTONIC": 2}

USBD = ("usbd_status", "usbd_function")
ISO_COUNTS = ("error_count", "numdesc")
INTERVALS = ("interval", "start_frame")
# What FORMATS says is not in them: a text trace, one in format t, the 48-byte header, USBPcap.
ABSENT = {
    "NO_BUS": ("busnum",),
    "NO_INTERVAL": ("interval",),
    "NO_ERROR_COUNT": ("error_count",),
    "NO_NUMDESC": ("numdesc",),
    "NO_XFER_FLAGS": ("xfer_flags",),
    "NO_TS": ("ts",),
    "NO_LEN_CAP": ("len_cap",),
    "NO_LENGTH": ("length",),
    "NO_USBD": ("usbd_function",),
    "LINUX": USBD,
    "NEVER_IN_TEXT": (*USBD, "xfer_flags", "len_cap"),
    "NO_ISO": (*INTERVALS, *ISO_COUNTS, "ndesc"),
    "OLD_HEADER": (*INTERVALS, "xfer_flags"),
    "USBPCAP": ("interval", "xfer_flags", "len_cap"),
}


def public(names: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in names.items() if name[0] != "_" and name.isupper()}


@pytest.mark.parametrize(("name", "code", "offset"), KERNELS + OURS)
def test_a_place_is_counted_in_the_size_of_its_field(name, code, offset):
    row = bytearray(r.SIZE)
    struct.pack_into("=" + code, row, offset, 77)
    assert memoryview(row).cast(code)[getattr(fields, name)] == 77


@pytest.mark.parametrize(("name", "code"), SIZES.items())
def test_a_row_is_so_many_units_from_the_next(name, code):
    assert len(memoryview(bytes(r.SIZE)).cast(code)) == getattr(fields, name)


@pytest.mark.parametrize(("name", "lacking"), ABSENT.items())
def test_what_is_absent(name, lacking):
    assert getattr(fields, name) == r.absent(*lacking)


def test_marks_clocks_and_byte_order():
    expected = MARKS_AND_CLOCKS | {"LITTLE": LITTLE}
    assert {name: getattr(fields, name) for name in expected} == expected


def test_every_constant_is_looked_at_here():
    places = [name for name, *_ in KERNELS + OURS]
    assert sorted(public(vars(fields))) == sorted(
        [*places, *SIZES, *ABSENT, *MARKS_AND_CLOCKS, "LITTLE"]
    )


# What C gets


@pytest.fixture
def as_pxd() -> Callable[[Path], str]:
    """The function of setup.py, which cannot be imported: it would install."""
    found: list[ast.stmt] = []
    for node in ast.parse(SETUP.read_text()).body:
        match node:
            case ast.ImportFrom(module=module) if not str(module).startswith("setuptools"):
                found.append(node)
            case ast.Import() | ast.FunctionDef(name="as_pxd"):
                found.append(node)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(found, []), SETUP, "exec"), names)
    return names["as_pxd"]


def test_c_has_each_constant_with_the_same_value(as_pxd):
    head, *lines = as_pxd(Path(fields.__file__)).splitlines()
    assert head == "cdef enum:"
    assert [line[:4].strip() for line in lines] == [""] * len(lines)
    pairs = [line.split(" = ") for line in lines]
    assert len(dict(pairs)) == len(pairs)
    assert {name.strip(): int(value) for name, value in pairs} == public(vars(fields))


def test_c_gets_nothing_but_constants(as_pxd, tmp_path):
    module = tmp_path / "m.py"
    module.write_text("import sys\n_A = 1\nb = 2\nC = _A + b\nD1 = 4\n")
    assert as_pxd(module) == "cdef enum:\n    C = 3\n    D1 = 4\n"
