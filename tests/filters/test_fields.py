"""The table of fields: against the layout, the documents and Wireshark's list."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers import generated
from usbmon import Events, layout
from usbmon.filters import fields
from usbmon.filters.fields import FIELDS, Column, Context, Spans
from usbmon.filters.values import BOOL, BYTES

PAGE = Path(__file__).parents[2] / "docs" / "filters.md"


def test_names_are_unique_and_can_be_written():
    names = [name for field in fields.listed() for name in (field.name, *field.aliases)]
    assert len(names) == len(set(names)) == len(FIELDS)
    assert all(re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name) for name in names)


def test_every_mark_is_a_field():
    assert set(layout.MARKS) <= set(FIELDS)


def test_the_page_lists_every_field_as_the_table_has_it():
    rows = [
        tuple(cell.strip().replace("`", "") for cell in line.split("|")[1:-1])
        for line in PAGE.read_text().split("## Fields\n")[1].split("\n## ")[0].splitlines()
        if line.startswith("| `")
    ]
    assert rows == [(f.name, f.kind.name, f.doc, " ".join(f.aliases)) for f in fields.listed()]


def test_wireshark_has_the_names_that_are_said_to_be_its_own():
    said = subprocess.run(["tshark", "-G", "fields"], capture_output=True, text=True, check=True)
    theirs = {line.split("\t")[2] for line in said.stdout.splitlines() if line.startswith("F\t")}
    ours = {name for name in FIELDS if name.startswith(("usb.", "frame."))}
    assert ours <= theirs


@pytest.mark.parametrize("field", list(fields.listed()), ids=lambda field: field.name)
def test_a_field_is_a_column_of_any_batch(field):
    for events in (Events.empty(), generated.batch([{"type": ord("S")}, {"type": ord("C")}])):
        column = field.column(events, Context(0))
        assert isinstance(column, Spans) == (field.kind is BYTES)
        if isinstance(column, Column):
            assert len(column.values) == len(events)
            assert (column.values.dtype == bool) == (field.kind is BOOL)
            assert column.present is None or column.present.dtype == bool


def test_the_first_time_is_of_the_first_event_that_has_one():
    none = {"absent": generated.LINUX | layout.ABSENT_BIT["ts"]}
    rows = [none, {"ts": 7}, {"ts": 3}]
    assert fields.first_time(generated.batch(rows)) == 7
    assert fields.first_time(generated.batch([none])) is None
    assert fields.first_time(Events.empty()) is None
