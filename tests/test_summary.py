"""`Summary` against a slow count over single events, and by hand where events are made up."""

import itertools
import json
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import usbmon
from tests.helpers import corpus, synthetic
from tests.helpers.generated import batch, many
from usbmon import Events, Summary, layout
from usbmon.summary import Endpoint

ENDPOINT = {"xfer_type": 3, "epnum": 0x81, "devnum": 2, "busnum": 1, "clock": layout.WALL}
S = {**ENDPOINT, "type": ord("S"), "status": -115, "length": 512, "flag_data": ord("<"), "ts": 10}
C = {**ENDPOINT, "type": ord("C"), "length": 31, "payload": bytes(31), "len_cap": 31, "ts": 20}


def only(*rows: dict) -> Endpoint:
    (endpoint,) = Summary.of([batch(rows)]).endpoints
    return endpoint


def moved(event: usbmon.Event) -> int:
    """Bytes that a completion moved, by its packets where they are all there."""
    if event.xfer_type == "iso" and event.numdesc == len(event.descriptors):
        return sum(packet.length for packet in event.descriptors)
    return event.length or 0


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
def test_it_agrees_with_a_count_of_single_events(path):
    events = usbmon.read(path)
    summary = Summary.of(events[n : n + 50] for n in range(0, len(events), 50))
    place = [(e.busnum, e.devnum, e.epnum, e.xfer_type) for e in events]
    once = [(p, e) for p, e in zip(place, events, strict=True) if "doubled" not in e.marks]
    over = [e for e in events if e.type != "S"]

    assert summary.events == len(events)
    assert summary.kinds == {kind: sum(e.type == kind for e in events) for kind in "SCE"}
    assert summary.statuses == Counter(e.status for e in over)
    assert (summary.start, summary.end) == (min(events.ts), max(events.ts))
    assert [(e.busnum, e.devnum, e.epnum, e.xfer_type) for e in summary.endpoints] == sorted(
        set(place), key=lambda p: (p[0] or 0, p[1], p[2] & 15, p[2], p[3])
    )
    for endpoint in summary.endpoints:
        at = endpoint[:4]
        mine = [e for p, e in once if p == at]
        assert endpoint.requested == sum(e.length or 0 for e in mine if e.type == "S")
        assert endpoint.moved == sum(moved(e) for e in mine if e.type == "C")
        assert endpoint.errors == sum(e.status != 0 for e in mine if e.type != "S")
        assert [
            sum(p == at and e.type == kind for p, e in zip(place, events, strict=True))
            for kind in "SCE"
        ] == [endpoint.S, endpoint.C, endpoint.E]


@given(many(max_size=12), st.data())
def test_batches_of_any_size_give_the_same(events, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    edges = [0, *cuts, len(events)]
    parts = [events[a:b] for a, b in itertools.pairwise(edges)]
    assert Summary.of(parts).as_dict() == Summary.of([events]).as_dict()


def test_nothing_is_a_summary_too():
    summary = Summary()
    assert (summary.events, summary.endpoints, summary.statuses) == (0, [], {})
    assert summary.start is summary.end is summary.duration is None
    assert summary.clock == "unknown"
    assert repr(summary) == "<Summary: 0 events, 0 endpoints>"


def test_bytes_asked_for_and_moved_are_told_apart():
    endpoint = only(S, C)
    assert (endpoint.requested, endpoint.moved, endpoint.is_in) == (512, 31, True)
    assert (endpoint.S, endpoint.C, endpoint.E, endpoint.errors) == (1, 1, 0, 0)


def test_a_submission_error_moves_nothing():
    endpoint = only(S, {**S, "type": ord("E"), "status": -19})
    assert (endpoint.E, endpoint.errors, endpoint.moved) == (1, 1, 0)


def test_the_bytes_of_a_doubled_event_count_once():
    again = {"marks": layout.DOUBLED}
    endpoint = only(S, {**S, **again}, C, {**C, **again})
    assert (endpoint.S, endpoint.C, endpoint.repeated) == (2, 2, 2)
    assert (endpoint.requested, endpoint.moved) == (512, 31)


@pytest.mark.parametrize(
    ("numdesc", "length", "expected", "partial"),
    [(2, 999, 12, 0), (3, 999, 999, 1)],
    ids=["all packets there", "a packet missing"],
)
def test_isochronous_bytes_are_those_of_the_packets_if_all_are_there(
    numdesc, length, expected, partial
):
    packets = struct.pack("=iIIIiIII", 0, 0, 8, 0, -71, 192, 4, 0)
    iso = {
        **C,
        "xfer_type": 0,
        "setup": struct.pack("=ii", 1, numdesc),
        "ndesc": 2,
        "length": length,
        "payload": packets,
        "flag_data": ord("<"),
    }
    summary = Summary.of([batch([iso])])
    (endpoint,) = summary.endpoints
    assert (endpoint.moved, endpoint.partial) == (expected, partial)
    assert summary.packet_statuses == {0: 1, -71: 1}


def test_cut_payloads_are_counted_and_those_that_the_file_cut():
    rows = [C, {**C, "payload": bytes(7)}, {**C, "payload": bytes(7), "len_cap": 7}]
    summary = Summary.of([batch(rows)])
    assert (summary["cut"], summary["cut_by_container"]) == (2, 1)
    assert summary.endpoints[0].cut == 2


def test_times_may_go_back_and_be_missing():
    lacking = {**C, "absent": layout.ABSENT_BIT["ts"], "ts": 10**15}
    times = [500, 100, 900, 850]
    summary = Summary.of([batch([lacking, *({**C, "ts": ts} for ts in times)])])
    assert (summary.start, summary.end, summary.duration) == (100, 900, 800)
    assert (summary["steps_back"], summary["largest_step"], summary["no_time"]) == (2, 400, 1)


def test_clocks_that_differ_are_mixed():
    assert Summary.of([batch([C])]).clock == "wall"
    assert Summary.of([batch([C, {**C, "clock": layout.MONOTONIC}])]).clock == "mixed"


def test_a_status_that_is_no_errno_is_other():
    summary = Summary.of([batch([{**C, "status": s} for s in (7, 2**31 - 1, -(2**31), -511, -32)])])
    assert summary.statuses == {None: 4, -32: 1}
    assert summary.as_dict()["statuses"] == {"other": 4, "EPIPE": 1}


def test_a_device_and_bus_without_number_are_none():
    summary = Summary.of([batch([{**C, "busnum": 0}, C])])
    assert summary.buses == [1]
    assert summary.devices == [(None, 2), (1, 2)]


def test_thousands_of_endpoints_are_all_listed():
    count = 20_000
    table = bytearray(bytes(batch([C]).buffers[0]) * count)
    at = layout.OFFSET["busnum"]
    for n in range(count):
        struct.pack_into("=H", table, n * layout.ROW_SIZE + at, n + 1)
    events = Events(memoryview(table), memoryview(bytes(64)))
    summary = Summary.of(events[n : n + 500] for n in range(0, count, 500))
    assert len(summary.endpoints) == count
    assert summary["unlisted"] == 0
    assert {endpoint.C for endpoint in summary.endpoints} == {1}


def test_it_is_json_as_it_is():
    summary = Summary.of([batch([S, C])])
    told = json.loads(json.dumps(summary.as_dict()))
    assert told["events"] == 2
    assert told["endpoints"][0]["moved"] == 31
    assert told["duration_ns"] == 10


def test_synthetic_events_are_no_traffic():
    events = usbmon.read(corpus.CAPTURES / "hid-xhci" / "usbmon1.pcap")
    told = [synthetic.events(9), synthetic.events(7, busnum=3), synthetic.events(9)]
    summary = Summary.of([told[0], Events.concat([events, *told[1:]])])
    plain = Summary.of([events])
    assert summary.described == [(1, 9), (3, 7)]
    assert summary.synthetic_transfers == 6
    said = summary.as_dict()
    assert said.pop("descriptors") == {
        "devices": [{"busnum": 1, "devnum": 9}, {"busnum": 3, "devnum": 7}],
        "transfers": 6,
    }
    assert said == {k: v for k, v in plain.as_dict().items() if k != "descriptors"}
