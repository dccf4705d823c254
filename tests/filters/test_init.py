"""`Filter`: what commands, triggers and programs do with a filter; and completion."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import generated
from usbmon import Events, filters, layout
from usbmon.filters import Column, Context, Field, values

MS = 1_000_000


def events(*times, **fields):
    return generated.batch({"ts": ms * MS, "type": ord("C"), **fields} for ms in times)


def times(batches):
    return [ts // MS for batch in batches for ts in batch.ts.tolist()]


def test_time_counts_from_the_start_of_the_trace():
    chosen = filters.compile("time >= 5ms")
    batch = events(100, 104, 105, 110)
    assert chosen.mask(batch, Context(start=99 * MS)).tolist() == [False, True, True, True]
    assert chosen.mask(batch).tolist() == [False, False, True, True]


def test_applied_it_remembers_the_start():
    batches = [events(10, 12), events(14, 15), Events.empty(), events(16)]
    assert times(filters.compile("time in 4ms..5ms").apply(batches)) == [14, 15]


def test_of_a_batch_of_which_nothing_is_let_through_nothing_comes():
    assert list(filters.compile("time < 0s").apply([events(1), events(2)])) == []


def test_the_start_is_that_of_the_first_event_with_a_time():
    unknown = events(0, absent=generated.LINUX | layout.ABSENT_BIT["ts"])
    chosen = filters.compile("time == 5ms").following()
    assert [chosen(batch).tolist() for batch in (unknown, events(3), events(8))] == [
        [False], [False], [True]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kept"),
    [("addr == 1", [1, 2]), ("addr == 1 and not synthetic", [1]), ("synthetic", [2])],
)
def test_what_was_known_of_devices_is_kept_unless_it_is_asked_about(text, kept):
    batch = Events.concat([
        events(1, devnum=1), events(2, devnum=2, marks=layout.SYNTHETIC), events(3, devnum=2)
    ])  # fmt: skip
    chosen = filters.compile(text)
    assert times(chosen.apply([batch], keep_synthetic=True)) == kept
    assert times(chosen.apply([batch])) == ([1] if "addr" in text else [2])


def test_a_layer_above_hands_in_fields_of_its_own():
    latency = Field(
        "latency", values.TIME, "", lambda e, _: Column(np.full(len(e), 20 * MS)),
        needs="transfers",
    )  # fmt: skip
    table = {**filters.FIELDS, **filters.named((latency,))}
    slow = filters.compile("ep.in or latency > 10ms", table)
    assert (slow.needs, filters.compile("ep.in", table).needs) == ("transfers", "events")
    assert slow.mask(events(1, 2)).all()
    with pytest.raises(filters.FilterError, match="no field 'latency'"):
        filters.compile("latency > 10ms")


def test_it_shows_its_normal_form_and_keeps_its_text():
    chosen = filters.compile("ep.in&&setup")
    assert (repr(chosen), chosen.text) == ("<Filter ep.in and setup>", "ep.in&&setup")


def test_numpy_is_imported_only_to_look_at_events():
    program = "import sys; from usbmon import filters; filters.compile('ep.in').needs"
    program += "; filters.complete('st'); print(sorted({'numpy', 'click'} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"


@pytest.mark.parametrize(
    ("text", "going_on"),
    [
        ("stat", ["status"]),
        ("dev == 1:5 and st", ["dev == 1:5 and status", "dev == 1:5 and start_frame"]),
        ("(ep.i", ["(ep.in"]),
        ("!set", [f"!{n}" for n in filters.FIELDS if n.startswith("set")]),
        ("usb.dev", ["usb.device_address"]),
        ("us", ["usbd_status", "usbd_function"]),
        ("type == b", ["type == bulk"]),
        ("setup.type in {class, v", ["setup.type in {class, vendor"]),
        ("status == EPI", ["status == EPIPE"]),
        ("len ", [f"len {o}" for o in ("and", "or", *values.INT.operators)]),
        ("data c", ["data contains"]),
        ("type == bulk a", ["type == bulk and"]),
        ("len == ", []),
        ("len == 5", []),
        ("nope == ", []),
        ('data matches "a', []),
    ],
)
def test_completion_goes_on_with_what_may_stand_there(text, going_on):
    assert filters.complete(text) == going_on


@given(st.text(max_size=30))
def test_completion_of_any_text_goes_on_with_it(text):
    assert all(going_on.startswith(text) for going_on in filters.complete(text))
