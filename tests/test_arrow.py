"""Events to Arrow and back. pyarrow and duckdb are of the extra `analytics`; tests install it."""

import subprocess
import sys
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given

import usbmon
from tests.helpers import corpus
from tests.helpers.generated import batch, many
from usbmon import Events, UsbmonError, layout


@given(many())
def test_events_come_back(events):
    assert Events.from_arrow(events.to_arrow()) == events


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
def test_recorded_traces_come_back(path):
    events = usbmon.read(path)
    again = Events.from_arrow(events.to_arrow())
    assert again == events
    assert again.absent.tolist() == events.absent.tolist()


def test_what_a_trace_does_not_say_is_null():
    path = next(iter(corpus.text_t(ours=True)))
    table = usbmon.read(path).to_arrow()
    for name in ("busnum", "xfer_flags", "len_cap", "usbd_status"):
        assert table[name].null_count == table.num_rows
    assert table["status"].null_count == 0


def test_values_have_the_types_of_the_layout():
    row = {"type": ord("S"), "xfer_type": 2, "devnum": 7, "setup": bytes(range(8)), "ts": -5}
    table = batch([{**row, "status": -115, "id": 2**64 - 1, "payload": b"xy"}]).to_arrow()
    (first,) = table.to_pylist()
    assert first["id"] == 2**64 - 1
    assert first["ts"] == -5
    assert first["setup"] == bytes(range(8))
    assert (first["type"], first["xfer_type"], first["clock"]) == ("S", "control", "unknown")
    assert first["data"] == b"xy"
    assert first["descriptors"] == []
    assert table.schema.field("status").type == pa.int32()


def test_other_libraries_take_a_batch_as_it_is():
    events = batch([{"type": ord("C"), "length": n, "payload": b"z" * n} for n in range(4)])
    table = pa.table(events)
    assert table["length"].to_pylist() == [0, 1, 2, 3]
    assert Events.from_arrow(pa.RecordBatchReader.from_stream(events)) == events


def test_duckdb_asks_a_batch_by_its_name():
    events = batch([{"type": ord("C"), "length": n, "payload": b"z" * n} for n in range(4)])
    assert len(events) == 4  # the query looks for a variable of this name
    assert duckdb.sql("select sum(length), max(data) from events").fetchall() == [(6, b"zzz")]


def test_a_batch_is_no_sequence_of_python_which_polars_would_take_value_by_value():
    assert not isinstance(Events.empty(), Sequence)


def test_tables_in_several_chunks_and_without_rows_are_taken():
    events = batch([{"type": ord("C"), "length": n, "payload": b"z" * n} for n in range(4)])
    halves = pa.concat_tables([events[:2].to_arrow(), events[2:].to_arrow()])
    assert Events.from_arrow(halves) == events
    assert len(Events.from_arrow(events[:0].to_arrow())) == 0


def test_a_column_that_is_missing_is_named():
    table = batch([{"type": ord("C")}]).to_arrow().drop_columns(["devnum"])
    with pytest.raises(UsbmonError, match="devnum"):
        Events.from_arrow(table)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("status", pa.array(["stalled"]), "another type than events have"),
        ("xfer_type", pa.array(["isochronous"]), "xfer_type is one of iso, interrupt, control"),
        ("clock", pa.array(["sundial"]), "clock is one of unknown, wall, monotonic, not sundial"),
    ],
)
def test_a_column_that_does_not_fit_is_named(name, values, words):
    table = batch([{"type": ord("C")}]).to_arrow()
    table = table.set_column(table.schema.get_field_index(name), name, values)
    with pytest.raises(UsbmonError, match=words):
        Events.from_arrow(table)


def test_more_data_than_a_column_holds_are_refused_before_they_are_gathered():
    with pytest.raises(UsbmonError, match="more than 2 GiB of data in one batch"):
        batch([{"type": ord("C"), "captured": 2**31}]).to_arrow()


def test_columns_that_follow_from_others_are_not_among_them():
    names = set(batch([{"type": ord("C")}]).to_arrow().schema.names)
    assert names == set(layout.OFFSET) - {"data_at", "captured", "absent"} | {"descriptors", "data"}


def test_without_pyarrow_one_line_says_what_to_install():
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import usbmon\n"
        "try: usbmon.Events.empty().to_arrow()\n"
        "except usbmon.UsbmonError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout == "Arrow needs the package pyarrow: pip install 'usbmon[analytics]'\n"
