"""How URBs are carried out: what becomes of them, when, and in which order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.faults import STATUS, Fault
from usbmon.bus.hub import Hub
from usbmon.bus.loop import MS, SECOND, US
from usbmon.bus.status import EINPROGRESS
from usbmon.bus.timing import Speed
from usbmon.bus.urb import CONTROL, URB_SHORT_NOT_OK, URB_ZERO_PACKET, IsoPacket, Urb

ENOENT, EPIPE, EPROTO, EOVERFLOW, EREMOTEIO = -2, -32, -71, -75, -121
ECONNRESET, ESHUTDOWN, EXDEV = -104, -108, -18


class Recorder(Loopback):
    """A loopback that remembers what its bulk endpoint was handed."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.taken: list[bytes] = []

    def bulk_out(self, data: bytes) -> None:
        assert self.loop is not None
        self.taken.append(data)

    def iso_out(self, data: bytes, frame: int) -> None:
        assert self.loop is not None
        self.taken.append(data)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def model() -> Loopback:
    return Loopback()


@pytest.fixture
def device(bench: Bench, model: Loopback):
    return bench.plug(model)


def setting(bench: Bench, device, alternate: int) -> None:
    bench.host.run_task(device.set_interface(0, alternate))


def iso(bench: Bench, device, address: int, count: int = 8, **more: Any) -> Urb:
    packets = [IsoPacket(number * 192, 192) for number in range(count)]
    return bench.submit(device, address, count * 192, packets=packets, **more)


# Bulk and control.


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 6656, 6657, 65536])
def test_bulk_data_arrive_as_they_are(bench, model, device, size: int) -> None:
    data = bench.loop.random.randbytes(size)
    out = bench.submit(device, 0x01, data)
    bench.run()
    assert (out.status, out.actual_length, bytes(model.kept[1])) == (0, size, data)
    back = bench.submit(device, 0x81, size + 1)
    bench.run()
    assert back.data == data


@pytest.mark.parametrize(("flags", "ends_empty"), [(0, False), (URB_ZERO_PACKET, True)])
def test_an_empty_packet_ends_a_transfer_of_whole_packets_where_it_is_asked_for(
    bench, flags: int, ends_empty: bool
) -> None:
    model = Recorder()
    urb = bench.submit(bench.plug(model), 0x01, bytes(1024), transfer_flags=flags)
    bench.run()
    assert (urb.status, urb.actual_length) == (0, 1024)
    assert model.taken == [bytes(1024)] + [b""] * ends_empty


@pytest.mark.parametrize(("flags", "status"), [(0, 0), (URB_SHORT_NOT_OK, EREMOTEIO)])
def test_a_short_read_is_an_error_only_where_it_is_not_ok(
    bench, model, device, flags: int, status: int
) -> None:
    model.kept[1] += b"abc"
    urb = bench.submit(device, 0x81, 512, transfer_flags=flags)
    bench.run()
    assert (urb.status, urb.data) == (status, b"abc")


def test_more_than_was_asked_for_is_babble(bench, model, device, monkeypatch) -> None:
    monkeypatch.setitem(model._handlers, 0x81, lambda size: bytes(size + 1))
    urb = bench.submit(device, 0x81, 512)
    bench.run()
    assert (urb.status, len(urb.buffer)) == (EOVERFLOW, 512)


def test_a_control_transfer_may_be_longer_than_a_turn(bench, model, device) -> None:
    model.stored = bytes(range(256)) * 256
    setup = bytes.fromhex("c00200000000ffff")
    urb = Urb(device, 0, CONTROL, 0xFFFF, setup=setup)
    bench.bus.submit(urb)
    bench.run()
    assert (urb.status, urb.data) == (0, model.stored[:0xFFFF])


def test_a_control_transfer_happens_once_whatever_its_flags(bench, model, device) -> None:
    setup = bytes.fromhex("4001000000004000")
    urb = Urb(device, 0, CONTROL, bytes(64), setup=setup, transfer_flags=URB_ZERO_PACKET)
    bench.bus.submit(urb)
    bench.run()
    assert (urb.status, urb.actual_length) == (0, 64)


def test_two_endpoints_share_the_wire_evenly(bench, model, device) -> None:
    size = 512 * 1024
    model.kept[1] += bytes(size)
    back, out = bench.submit(device, 0x81, size), bench.submit(device, 0x01, bytes(size))
    start = bench.loop.now
    done: dict[str, int] = {}
    back.complete = lambda _urb: done.setdefault("in", bench.loop.now - start)
    out.complete = lambda _urb: done.setdefault("out", bench.loop.now - start)
    bench.run()
    alone = size / (13 * 512) * 125_000
    assert done["in"] == pytest.approx(2 * alone, rel=0.05)
    assert done["out"] == pytest.approx(2 * alone, rel=0.05)


def test_urbs_of_an_endpoint_are_done_in_their_order(bench, device, model) -> None:
    urbs = [bench.submit(device, 0x81, 512) for _ in range(4)]
    done: list[Urb] = []
    for urb in urbs:
        urb.complete = done.append
    for number in range(4):
        model.kept[1][:] = bytes((number,))
        model.ready(0x81)
        bench.run(MS)
    assert [urb.data for urb in urbs] == [b"\0", b"\1", b"\2", b"\3"]
    assert done == urbs


# Interrupt.


@pytest.mark.parametrize(("speed", "period"), [(Speed.HIGH, MS), (Speed.FULL, 4 * MS)])
def test_an_interrupt_endpoint_is_polled_once_an_interval(speed: Speed, period: int) -> None:
    bench, model = Bench(speed), Loopback(speed=speed)
    device = bench.plug(model)
    model.kept[2] += bytes(5 * 64)
    times: list[int] = []
    for _ in range(5):
        bench.submit(device, 0x82, 64).complete = lambda _urb: times.append(bench.loop.now)
    bench.run()
    assert [b - a for a, b in pairwise(times)] == [period] * 4
    # What comes out of step waits for the next slot of the same grid.
    bench.run(period // 3)
    model.kept[2] += b"late"
    late = bench.submit(device, 0x82, 64)
    late.complete = lambda _urb: times.append(bench.loop.now)
    bench.run()
    # A short packet takes less of the wire than a full one.
    assert -40 * US <= (times[-1] - times[0] + period // 2) % period - period // 2 <= 0
    assert late.data == b"late"


def test_a_packet_a_slot_however_long_the_transfer(bench, model, device) -> None:
    model.kept[2] += bytes(640)
    start = bench.loop.now
    urb = bench.submit(device, 0x82, 640)
    bench.loop.run(stop=lambda: urb.status == 0)
    assert 9 * MS < bench.loop.now - start < 11 * MS


# Isochronous.


def test_urbs_queued_back_to_back_have_consecutive_frames(bench, model, device) -> None:
    setting(bench, device, 1)
    starts: list[int] = []

    def again(urb: Urb) -> None:
        starts.append(urb.start_frame)
        if len(starts) < 5000:
            bench.bus.submit(urb)

    for _ in range(3):
        iso(bench, device, 0x83).complete = again
    bench.run()
    assert starts == [(starts[0] + 8 * number) % 0x4000 for number in range(len(starts))]


def test_after_a_pause_a_stream_starts_anew_in_the_future(bench, device) -> None:
    setting(bench, device, 1)
    first = iso(bench, device, 0x03)
    bench.run()
    second = iso(bench, device, 0x03)
    assert 0 < (second.start_frame - bench.loop.now // device.speed.frame) % 0x4000 < 16
    bench.run()
    assert first.status == second.status == 0


def test_packets_are_filled_and_emptied_each_in_its_place(bench, model, device) -> None:
    setting(bench, device, 1)
    model.kept[3] += bytes(range(1, 101)) + bytes(range(101, 201))
    packets = [IsoPacket(0, 100), IsoPacket(150, 100), IsoPacket(300, 100)]
    urb = bench.submit(device, 0x83, 400, packets=packets)
    bench.run()
    assert [(p.status, p.actual_length) for p in packets] == [(0, 100), (0, 100), (0, 0)]
    assert urb.actual_length == 200
    assert bytes(urb.buffer[150:250]) == bytes(range(101, 201))
    assert bytes(urb.buffer[100:150]) == bytes(50)


@pytest.mark.parametrize(
    ("kind", "status"), [(kind, status) for kind, status in STATUS.items() if kind != "stall"]
)
def test_a_fault_hits_a_packet_and_not_the_urb(bench, model, device, kind, status) -> None:
    setting(bench, device, 1)
    model.faults.append(Fault(kind, endpoint=0x03, after=2, count=2))
    urb = iso(bench, device, 0x03)
    bench.run()
    assert [packet.status for packet in urb.packets] == [0, 0, status, status, 0, 0, 0, 0]
    assert urb.status == 0
    assert urb.actual_length == 6 * 192
    assert urb.error_count == (0 if kind == "lose" else 2)


def test_an_unlinked_stream_keeps_what_was_carried_out(bench, device) -> None:
    setting(bench, device, 1)
    first, second = (iso(bench, device, 0x03, 80) for _ in range(2))
    bench.run(42 * device.speed.frame)
    bench.bus.unlink(second)
    bench.bus.unlink(first)
    bench.run()
    statuses = [packet.status for packet in first.packets]
    assert first.status == second.status == ECONNRESET
    assert 38 <= statuses.count(0) <= 42
    assert statuses == [0] * statuses.count(0) + [EXDEV] * statuses.count(EXDEV)
    assert {packet.status for packet in second.packets} == {EXDEV}


def test_a_device_that_falls_off_in_mid_stream_is_not_asked_again(bench) -> None:
    model = Recorder()
    device = bench.plug(model)
    setting(bench, device, 1)
    model.faults.append(Fault("disconnect", endpoint=0x03, after=3))
    urb = iso(bench, device, 0x03)
    bench.run()
    assert [packet.status for packet in urb.packets] == [0, 0, 0] + [EPROTO] * 5
    assert len(model.taken) == 3


def test_what_streams_took_long_ago_is_not_charged_to_who_comes_now(bench, model, device) -> None:
    setting(bench, device, 1)
    for _ in range(100):
        iso(bench, device, 0x03, 800)
    bench.run(20 * SECOND)
    start = bench.loop.now
    bench.host.run_task(device.get_descriptor(1, 0, 18))
    assert bench.loop.now - start < MS


# Faults.


@pytest.mark.parametrize(
    ("kind", "status"), [(kind, status) for kind, status in STATUS.items() if kind != "lose"]
)
@pytest.mark.parametrize("address", [0x01, 0x81, 0x02, 0x82])
def test_a_fault_ends_a_transfer_with_its_status(
    bench, model, kind: str, status: int, address: int
) -> None:
    device = bench.plug(model)
    model.faults.append(Fault(kind, endpoint=address, after=1))
    model.kept[address & 0xF] += bytes(30)
    urbs = [bench.submit(device, address, 10) for _ in range(3)]
    bench.run()
    last = EPIPE if kind == "stall" else 0
    assert [urb.status for urb in urbs] == [0, status, last], "a halt lasts, other errors do not"
    assert [urb.actual_length for urb in urbs] == [10, 0, 0 if last else 10]


def test_a_halted_endpoint_works_again_once_it_is_cleared(bench, model, device) -> None:
    model.faults.append(Fault("stall", endpoint=0x01))
    bench.submit(device, 0x01, b"lost")
    bench.run()
    bench.host.run_task(device.clear_halt(device.endpoints[0x01]))
    urb = bench.submit(device, 0x01, b"kept")
    bench.run()
    assert (urb.status, bytes(model.kept[1])) == (0, b"kept")


def test_a_stalled_control_transfer_halts_nothing(bench, model, device) -> None:
    model.faults.append(Fault("stall", endpoint=0))
    with pytest.raises(Exception, match="EPIPE"):
        bench.host.run_task(device.get_descriptor(1, 0, 18))
    assert len(bench.host.run_task(device.get_descriptor(1, 0, 18))) == 18


def test_nak_delays(bench, model, device) -> None:
    model.faults.append(Fault("nak", endpoint=0x01, duration=30 * MS))
    start = bench.loop.now
    urb = bench.submit(device, 0x01, b"x")
    bench.loop.run(stop=lambda: urb.status == 0)
    assert 30 * MS <= bench.loop.now - start < 31 * MS


def test_for_ever_means_until_it_is_killed_and_again_then(bench, model, device) -> None:
    model.faults.append(Fault("timeout", endpoint=0x81, count=2))
    model.kept[1] += b"data"
    urb = bench.submit(device, 0x81, 64)
    for _ in range(2):
        model.ready(0x81)
        bench.run(100 * SECOND)
        assert urb.status == EINPROGRESS
        bench.bus.unlink(urb, ENOENT)
        bench.run()
        assert (urb.status, urb.actual_length) == (ENOENT, 0)
        bench.bus.submit(urb)
    bench.run()
    assert (urb.status, urb.data) == (0, b"data")


def test_short_brings_half(bench, model, device) -> None:
    model.faults.append(Fault("short", endpoint=0x81))
    model.kept[1] += bytes(1024)
    urb = bench.submit(device, 0x81, 1024)
    bench.run()
    assert (urb.status, urb.actual_length) == (0, 512)


# Taking back.


@pytest.mark.parametrize("status", [ECONNRESET, ENOENT])
def test_who_waits_can_be_taken_back_and_the_next_goes_on(
    bench, model, device, status: int
) -> None:
    first, second = (bench.submit(device, 0x81, 64) for _ in range(2))
    bench.run()
    bench.bus.unlink(first, status)
    assert first.status == EINPROGRESS, "not at once"
    bench.run(MS)
    assert first.status == status
    model.kept[1] += b"x"
    model.ready(0x81)
    bench.run()
    assert (second.status, second.data) == (0, b"x")


def test_an_urb_submitted_again_is_another_one(bench, model, device) -> None:
    """It completed before its unlinking took hold, and its handler submitted it again."""
    model.kept[1] += b"x"
    urb = bench.submit(device, 0x81, 64)
    urb.complete = bench.bus.submit
    bench.run(US // 2)
    bench.bus.unlink(urb)
    bench.run()
    assert [event[5] for event in bench.tape.events if event[2:4] == (2, 0x81)] == [
        EINPROGRESS,
        ECONNRESET,
        EINPROGRESS,
    ]
    assert urb.status == EINPROGRESS


@pytest.mark.parametrize("address", [0x01, 0x81])
def test_what_was_on_the_wire_is_not_credited_to_the_next_submission(
    bench, model, device, address: int
) -> None:
    model.kept[1] += bytes(100_000)
    urb = bench.submit(device, address, 65536)
    bench.run(300 * US)
    bench.bus.unlink(urb)
    urb.complete = lambda _urb: bench.bus.submit(urb)
    bench.loop.run(stop=lambda: urb.unlinked == 0)
    urb.complete = None
    model.kept[1][:] = b"fresh" if address == 0x81 else b""
    bench.run()
    if address == 0x81:
        assert urb.data == b"fresh"
    else:
        assert len(model.kept[1]) == urb.actual_length == 65536


def test_what_is_taken_back_after_an_error_is_not_carried_out(bench) -> None:
    """urb.c: a queue does not go on until all its unlinked URBs are retired."""
    model = Recorder()
    device = bench.plug(model)
    model.faults.append(Fault("crc", endpoint=0x01))
    urbs = [bench.submit(device, 0x01, bytes((number,))) for number in range(4)]
    urbs[0].complete = lambda _urb: [bench.bus.unlink(urb) for urb in urbs[1:3]]
    bench.run()
    assert [urb.status for urb in urbs] == [-84, ECONNRESET, ECONNRESET, 0]
    assert model.taken == [b"\3"]


# Unplugging.


@pytest.mark.parametrize("pulled", ["device", "hub"])
def test_unplugged_at_the_root_hub_all_is_shut_down(bench, pulled: str) -> None:
    """A root hub tells at once, and the device is no more, nor what is behind it."""
    model, hub = Recorder(), Hub()
    if pulled == "hub":
        bench.plug(hub)
    device = bench.plug(model, hub if pulled == "hub" else None)
    urbs = [bench.submit(device, address, 4096) for address in (0x01, 0x81, 0x02, 0x82)]
    bench.run(20 * US)
    bench.host.unplug(hub if pulled == "hub" else model)
    bench.run()
    assert [urb.status for urb in urbs] == [ESHUTDOWN] * 4
    assert bench.bus.submit(urbs[0]) == -19
    assert not any(endpoint.queue for endpoint in device.endpoints.values())
    assert bench.bus.urbs == len(bench.tape.open) == 1, "only the root hub's is left"


def test_unplugged_from_a_hub_transfers_fail_until_it_tells(bench) -> None:
    """Nobody answers any more: what waits fails at once, what is planned ends with the device."""
    model, hub = Recorder(), Hub()
    bench.plug(hub)
    device = bench.plug(model, hub)
    setting(bench, device, 1)
    urbs = [bench.submit(device, address, 4096) for address in (0x01, 0x81, 0x02, 0x82)]
    bench.run(5 * MS)
    stream = iso(bench, device, 0x83, 4000)
    bench.host.unplug(model)
    bench.run(2 * MS)
    assert [urb.status for urb in urbs] == [0, EPROTO, EPROTO, EPROTO]
    assert stream.status == EINPROGRESS
    bench.run()
    assert stream.status == ESHUTDOWN
    assert bench.bus.submit(stream) == -19


def test_a_transfer_without_data_notices_too(bench, model, device) -> None:
    task = bench.host.spawn(device.control_out(0x40, 1, 0, 0))
    bench.run(2 * US)
    bench.host.unplug(model)
    bench.run(MS)
    assert task.error.status == EPROTO


def test_a_change_of_setting_shuts_the_old_endpoints(bench, model, device) -> None:
    urbs = [bench.submit(device, address, 64) for address in (0x81, 0x82)]
    done: list[Urb] = []
    for urb in urbs:
        urb.complete = done.append
    setting(bench, device, 1)
    assert [urb.status for urb in urbs] == [ESHUTDOWN] * 2
    assert done == urbs


# Everything at once.

ADDRESSES = [0x01, 0x81, 0x02, 0x82, 0x03, 0x83]
ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(ADDRESSES), st.integers(0, 9000)),
    st.tuples(st.just("submit"), st.sampled_from(ADDRESSES), st.integers(0, 9000)),
    st.tuples(st.just("again"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("unlink"), st.integers(0, 20), st.sampled_from([ECONNRESET, ENOENT])),
    st.tuples(st.just("feed"), st.sampled_from([1, 2, 3]), st.integers(0, 9000)),
    st.tuples(st.just("pass"), st.sampled_from([1, 500, 50 * US, MS, 40 * MS, SECOND]), st.just(0)),
    st.tuples(
        st.just("fault"),
        st.sampled_from(
            ["stall", "crc", "nak", "timeout", "short", "babble", "lose", "disconnect"]
        ),
        st.sampled_from([0, *ADDRESSES]),
    ),
    st.tuples(st.just("setting"), st.sampled_from([0, 1]), st.just(0)),
    st.tuples(st.just("clear"), st.sampled_from(ADDRESSES), st.just(0)),
    st.tuples(st.sampled_from(["unplug", "unplug hub", "plug"]), st.just(0), st.just(0)),
)


class Program:
    """Carries out a list of actions on a loopback device behind a hub."""

    def __init__(self, seed: int) -> None:
        self.bench = Bench(seed=seed)
        self.hub, self.model = Hub(), Loopback()
        self.bench.plug(self.hub)
        self.device = self.bench.plug(self.model, self.hub)
        self.urbs: list[Urb] = []
        self.accepted = 0
        self.completed = 0
        self.possible = {0}
        self.is_cut = False
        self.repeats: dict[Urb, int] = {}

    def run(self, actions: list[tuple[str, Any, Any]]) -> None:
        for name, first, second in actions:
            getattr(self, name.replace(" ", "_"))(first, second)
            assert self.bench.bus.urbs >= len(self.bench.tape.open)
        for urb in self.urbs:
            self.repeats[urb] = 0
            self.bench.bus.unlink(urb)
        self.possible.add(ECONNRESET)
        self.bench.run(200 * SECOND)  # each control transfer may take its five seconds

    def _submit(self, urb: Urb) -> None:
        error = self.bench.bus.submit(urb)
        assert error in {0, -2, -16, -19}
        self.accepted += error == 0

    def submit(self, address: int, size: int) -> None:
        endpoint = self.device.endpoints.get(address)
        if endpoint is None:
            return
        packets = [IsoPacket(n * 192, 192) for n in range(1 + size // 192)]
        urb = self.device.urb(
            endpoint,
            size if address & 0x7F != 3 else len(packets) * 192,
            packets=packets if address & 0x7F == 3 else None,
        )
        urb.complete = self._completed
        self.repeats[urb] = size % 3  # as drivers do, out of their completion handlers
        self.urbs.append(urb)
        self._submit(urb)

    def _completed(self, urb: Urb) -> None:
        assert urb.status in self.possible
        if urb.status == 0 and not urb.packets and not self.is_cut:
            assert urb.actual_length == len(urb.buffer) or (urb.is_in and urb.actual_length)
        self.completed += 1
        if self.repeats[urb]:
            self.repeats[urb] -= 1
            self._submit(urb)

    def again(self, which: int, _: int) -> None:
        if self.urbs:
            self._submit(self.urbs[which % len(self.urbs)])

    def unlink(self, which: int, status: int) -> None:
        if self.urbs:
            self.possible.add(status)
            self.bench.bus.unlink(self.urbs[which % len(self.urbs)], status)

    def feed(self, pair: int, size: int) -> None:
        if self.model.loop is not None:
            self.model.kept[pair] += bytes(size)
            self.model.ready(0x80 | pair)

    def pass_(self, duration: int, _: int) -> None:
        self.bench.run(duration)

    def fault(self, kind: str, address: int) -> None:
        self.possible |= {STATUS.get(kind, 0)}
        self.is_cut |= kind == "short"
        if kind == "disconnect":
            self.possible |= {EPROTO, ESHUTDOWN}
        self.model.faults.append(Fault(kind, endpoint=address, duration=3 * MS))

    def setting(self, alternate: int, _: int) -> None:
        if self.device.is_there:
            self.possible.add(ESHUTDOWN)
            self.bench.host.spawn(self.device.set_interface(0, alternate))

    def clear(self, address: int, _: int) -> None:
        if self.device.is_there and address in self.device.endpoints:
            self.bench.host.spawn(self.device.clear_halt(self.device.endpoints[address]))

    def unplug(self, *_: int) -> None:
        self.possible |= {EPROTO, ESHUTDOWN}
        self.bench.host.unplug(self.model)

    def unplug_hub(self, *_: int) -> None:
        self.possible |= {EPROTO, ESHUTDOWN}
        self.bench.host.unplug(self.hub)

    def plug(self, *_: int) -> None:
        for what, where in ((self.hub, None), (self.model, self.hub)):
            if not self.bench.host.is_plugged(what):
                self.bench.host.plug(what, where)


setattr(Program, "pass", Program.pass_)


@given(st.lists(ACTIONS, max_size=25), st.integers(0, 3))
def test_whatever_is_done_each_urb_comes_back_once(
    actions: list[tuple[str, Any, Any]], seed: int
) -> None:
    first, second = Program(seed), Program(seed)
    first.run(actions)
    second.run(actions)
    assert first.completed == first.accepted
    assert all(urb.status != EINPROGRESS for urb in first.urbs)
    # What is left are the status URBs of the hubs that are there.
    hubs = [device for device in first.bench.host.devices() if device.drivers]
    assert first.bench.bus.urbs == len(first.bench.tape.open) == len(hubs)
    assert first.bench.tape.events == second.bench.tape.events, "the same seed, another story"
