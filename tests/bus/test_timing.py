"""What the wire takes: the tables of USB 2.0 chapter 5, by themselves and seen on a bus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.bus import Bench
from usbmon.bus.devices.loopback import Loopback
from usbmon.bus.timing import Speed, interval_of, slice_size, wire_time
from usbmon.bus.urb import BULK, CONTROL, INTERRUPT, ISOCHRONOUS

# How many packets of the largest size fit into a (micro)frame, with nothing else there:
# USB 2.0 tables 5-2, 5-3, 5-4, 5-5, 5-6, 5-7, 5-8, 5-9 and 5-10.
TABLES = [
    (Speed.LOW, CONTROL, 8, 2),
    (Speed.FULL, CONTROL, 64, 13),
    (Speed.HIGH, CONTROL, 64, 31),
    (Speed.FULL, ISOCHRONOUS, 1023, 1),
    (Speed.HIGH, ISOCHRONOUS, 1024, 7),
    (Speed.LOW, INTERRUPT, 8, 6),
    (Speed.FULL, INTERRUPT, 64, 19),
    (Speed.HIGH, INTERRUPT, 1024, 6),
    (Speed.FULL, BULK, 64, 19),
    (Speed.HIGH, BULK, 512, 13),
]


@pytest.mark.parametrize(("speed", "type", "size", "packets"), TABLES)
def test_as_many_packets_fit_into_a_frame_as_the_tables_say(
    speed: Speed, type: int, size: int, packets: int
) -> None:
    assert speed.frame // wire_time(speed, type, size, 1) == packets


@pytest.mark.parametrize("speed", Speed)
def test_a_turn_is_whole_packets_and_no_longer_than_a_frame(speed: Speed) -> None:
    size = slice_size(speed, speed.bulk_size)
    packets, rest = divmod(size, speed.bulk_size)
    assert rest == 0
    assert packets == 1 or wire_time(speed, BULK, size, packets) <= speed.frame
    assert slice_size(speed, 100_000) == 100_000, "never less than one packet"


@given(st.integers(0, 255))
def test_intervals_are_powers_of_two(b_interval: int) -> None:
    exponent = min(max(b_interval, 1), 16) - 1
    frames = max(value for value in (1, 2, 4, 8, 16, 32, 64, 128) if value <= max(b_interval, 1))
    assert interval_of(Speed.HIGH, INTERRUPT, b_interval) == 2**exponent
    assert interval_of(Speed.HIGH, ISOCHRONOUS, b_interval) == 2**exponent
    assert interval_of(Speed.SUPER, INTERRUPT, b_interval) == 2**exponent
    assert interval_of(Speed.FULL, INTERRUPT, b_interval) == frames
    assert interval_of(Speed.LOW, INTERRUPT, b_interval) == frames
    assert interval_of(Speed.FULL, ISOCHRONOUS, b_interval) == 2**exponent


@pytest.mark.parametrize(
    ("speed", "packets_a_frame"), [(Speed.FULL, 19), (Speed.HIGH, 13), (Speed.SUPER, 58)]
)
def test_a_long_read_takes_the_frames_that_its_packets_fill(
    speed: Speed, packets_a_frame: int
) -> None:
    bench = Bench(speed)
    model = Loopback(speed=speed)
    device = bench.plug(model)
    model.kept[1] += bytes(64 * 1024)
    start = bench.loop.now
    urb = bench.submit(device, 0x81, 64 * 1024)
    bench.loop.run(stop=lambda: urb.status == 0)
    frames = 64 * 1024 / speed.bulk_size / packets_a_frame
    # The tables count whole packets in a frame; the rest of the frame is less than one more.
    assert (
        frames * packets_a_frame / (packets_a_frame + 1)
        < ((bench.loop.now - start) / speed.frame)
        <= frames + 1
    )
    assert urb.actual_length == 64 * 1024
