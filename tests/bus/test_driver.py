"""The steps of drivers, one by one, and the tasks that take them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.driver import (
    Lock,
    Receive,
    Sleep,
    Spawn,
    Steps,
    Submit,
    Unlink,
    UrbFailed,
    Wait,
    control,
    control_in,
    control_out,
)
from usbmon.bus.faults import Fault
from usbmon.bus.loop import MS, SECOND
from usbmon.bus.status import EINPROGRESS
from usbmon.bus.urb import Urb

ENOENT, EPIPE, ENODEV, ECONNRESET, ETIMEDOUT = -2, -32, -19, -104, -110


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def model() -> Loopback:
    return Loopback()


@pytest.fixture
def device(bench: Bench, model: Loopback):
    return bench.plug(model)


def give(bench: Bench, model: Loopback, data: bytes, after: int = 0) -> None:
    """The device has data, after a time."""

    def now() -> None:
        model.kept[1] += data
        model.ready(0x81)

    bench.loop.call_later(after, now)


def test_an_urb_as_a_step_is_waited_for(bench, model, device) -> None:
    def steps() -> Steps[bytes]:
        urb = yield bench.urb(device, 0x81, 10)
        return urb.data

    give(bench, model, b"abc", after=MS)
    assert bench.host.run_task(steps()) == b"abc"


@pytest.mark.parametrize(("after", "status"), [(5 * MS, 0), (20 * MS, ENOENT)])
def test_a_wait_ends_after_its_time(bench, model, device, after: int, status: int) -> None:
    def steps() -> Steps[Urb]:
        return (yield Wait(bench.urb(device, 0x81, 10), 10 * MS))

    give(bench, model, b"abc", after=after)
    start = bench.loop.now
    urb = bench.host.run_task(steps())
    assert urb.status == status
    assert bench.loop.now - start < 11 * MS


def test_submissions_complete_into_the_mailbox_in_their_order(bench, model, device) -> None:
    def steps() -> Steps[list[bytes]]:
        urbs = [bench.urb(device, 0x81, 2) for _ in range(3)]
        for urb in urbs:
            assert (yield Submit(urb)) == 0
        yield Sleep(5 * MS)
        got = [(yield Receive()), (yield Receive()), (yield Receive())]
        assert got == urbs
        return [urb.data for urb in got]

    give(bench, model, b"aabbcc")
    assert bench.host.run_task(steps()) == [b"aa", b"bb", b"cc"]


def test_receive_gives_what_others_send_or_nothing_after_its_time(bench) -> None:
    def steps() -> Steps[list[Any]]:
        first = yield Receive(10 * MS)
        second = yield Receive(10 * MS)
        third = yield Receive(10 * MS)
        return [first, second, third, bench.loop.now]

    task = bench.host.spawn(steps())
    task.send("early")
    bench.loop.call_at(20 * MS, task.send, "late")
    bench.run()
    assert task.result == ["early", None, "late", 20 * MS]


@pytest.mark.parametrize(("kill", "status"), [(False, ECONNRESET), (True, ENOENT)])
def test_unlink_takes_an_urb_back(bench, device, kill: bool, status: int) -> None:
    def steps() -> Steps[int]:
        urb = bench.urb(device, 0x81, 2)
        yield Submit(urb)
        assert (yield Unlink(urb, kill=kill)) == 0
        return (yield Receive()).status

    assert bench.host.run_task(steps()) == status


def test_sleep_sleeps(bench) -> None:
    def steps() -> Steps[None]:
        yield Sleep(3 * SECOND)

    start = bench.loop.now
    bench.host.run_task(steps())
    assert bench.loop.now - start == 3 * SECOND


def test_spawned_steps_go_on_beside(bench) -> None:
    seen: list[str] = []

    def other() -> Steps[None]:
        seen.append("other starts")
        yield Sleep(MS)
        seen.append("other ends")

    def steps() -> Steps[None]:
        task = yield Spawn(other())
        seen.append(f"goes on, other done: {task.done}")
        yield Sleep(2 * MS)

    bench.host.run_task(steps())
    assert seen == ["other starts", "goes on, other done: False", "other ends"]


def test_what_is_no_step_is_an_error_of_the_driver(bench) -> None:
    def steps() -> Steps[None]:
        yield "please"

    with pytest.raises(TypeError, match="'please' is no step"):
        bench.host.run_task(steps())


@pytest.mark.parametrize("submit", [False, True])
def test_what_is_refused_says_so_at_once(bench, model, device, submit: bool) -> None:
    bench.host.unplug(model)
    bench.run()

    def steps() -> Steps[int]:
        urb = Urb(device, 0x81, 2, 2)
        if submit:
            return (yield Submit(urb))
        return (yield urb).status

    assert bench.host.run_task(steps()) == ENODEV


def test_an_urb_that_is_out_stays_its_owner_s(bench, model, device) -> None:
    """Submitting it a second time is refused, and the first completes as if nothing were."""
    urb = bench.urb(device, 0x81, 10)

    def first() -> Steps[bytes]:
        return (yield urb).data

    def second() -> Steps[int]:
        return (yield Submit(urb))

    task = bench.host.spawn(first())
    assert bench.host.run_task(second()) == -16
    assert urb.status == EINPROGRESS
    give(bench, model, b"abc")
    bench.run()
    assert task.result == b"abc"


def test_a_cancelled_task_stops_and_its_urbs_are_killed_in_their_order(bench, device) -> None:
    seen: list[str] = []

    def steps() -> Steps[None]:
        try:
            for _ in range(40):
                yield Submit(bench.urb(device, 0x81, 10))
            yield Receive()
        finally:
            seen.append("closed")

    start = len(bench.tape.events)
    task = bench.host.spawn(steps())
    task.cancel()
    task.cancel()
    assert (seen, task.done, task in bench.host.tasks) == (["closed"], True, False)
    bench.run()
    events = bench.tape.events[start:]
    assert [event[5] for event in events] == [EINPROGRESS] * 40 + [ENOENT] * 40
    assert [event[-1] for event in events[:40]] == [event[-1] for event in events[40:]]


def test_a_cancelled_sleeper_does_not_wake(bench) -> None:
    seen: list[str] = []

    def steps() -> Steps[None]:
        yield Sleep(MS)
        seen.append("woke")

    task = bench.host.spawn(steps())
    task.cancel()
    bench.run()
    assert seen == []


def test_a_failed_urb_ends_the_task_that_does_not_mind_it(bench, model, device) -> None:
    model.faults.append(Fault("stall", endpoint=0))
    with pytest.raises(UrbFailed, match=r"^1-1: control request 6: EPIPE") as caught:
        bench.host.run_task(device.get_descriptor(1, 0, 18))
    assert caught.value.status == EPIPE


# Control messages.


def test_control_messages_go_out_and_in(bench, device) -> None:
    def steps() -> Steps[bytes]:
        yield from control_out(device, 0x40, 1, 0x1234, 0x5678, b"data")
        return (yield from control_in(device, 0xC0, 2, 0, 0, 10))

    assert bench.host.run_task(steps()) == b"data"
    assert bench.tape.setups()[-2:] == ["4001341278560400", "c002000000000a00"]


def test_a_control_message_without_an_answer_is_killed_and_timed_out(bench, model, device) -> None:
    """The tap sees -ENOENT, the driver -ETIMEDOUT (usb_start_wait_urb)."""
    model.faults.append(Fault("timeout", endpoint=0))
    start = bench.loop.now
    urb = bench.host.run_task(control(device, 0x80, 6, 0x0100, 0, 18))
    assert bench.tape.events[-1][5] == ENOENT
    assert urb.status == ETIMEDOUT
    assert 5 * SECOND <= bench.loop.now - start < 5 * SECOND + MS


# Locks.


def test_a_lock_is_held_by_one_at_a_time_in_the_order_of_asking(bench) -> None:
    lock, seen = Lock(), []

    def steps(name: str) -> Steps[None]:
        yield from lock.acquire()
        seen.append(f"{name} has it")
        yield Sleep(MS)
        seen.append(f"{name} lets go")
        lock.release()

    for name in "abc":
        bench.host.spawn(steps(name))
    bench.run()
    assert seen == [f"{name} {what}" for name in "abc" for what in ("has it", "lets go")]


@pytest.mark.parametrize("when", ["in line", "just woken"])
def test_a_lock_passes_over_who_was_cancelled(bench, when: str) -> None:
    lock, seen = Lock(), []

    def steps(name: str) -> Steps[None]:
        yield from lock.acquire()
        seen.append(name)
        yield Sleep(MS)
        lock.release()

    _, second, _ = (bench.host.spawn(steps(name)) for name in "abc")
    if when == "in line":
        second.cancel()
    else:
        bench.loop.run(stop=lambda: lock._holder is None)
        second.cancel()
    bench.run()
    assert seen == ["a", "c"]
