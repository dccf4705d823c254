"""Keyboard and mouse as a host sees them: descriptors, reports, class requests of HID 1.11."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus.device import NAK, Stall
from usbmon.bus.devices.hid import Keyboard, Mouse
from usbmon.bus.loop import MS, Loop
from usbmon.bus.timing import Speed

SET_CONFIGURATION = "0009010000000000"
# The report descriptors of HID 1.11, appendices E.6 and E.10.
KEYBOARD = (
    "05010906a101050719e029e715002501750195088102950175088101950575010508190129059102"
    "95017503910195067508150025650507190029658100c0"
)
MOUSE = (
    "05010902a1010901a10005091901290315002501950375018102950175058101"
    "0501093009311581257f750895028106c0c0"
)
# Requests of which many make sense.
SETUPS = st.builds(
    struct.pack,
    st.just("<BBHHH"),
    st.sampled_from((0x00, 0x01, 0x02, 0x21, 0x80, 0x81, 0x82, 0xA1)) | st.integers(0, 255),
    st.integers(0, 11) | st.integers(0, 255),
    st.sampled_from((0, 1, 0x0100, 0x0200, 0x2100, 0x2200)) | st.integers(0, 0xFFFF),
    st.just(0) | st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
)


def powered(model):
    """Plugged in, or after a reset, and configured."""
    model.power_on(model.loop or Loop(), model.wanted_speed)
    model.request(bytes.fromhex(SET_CONFIGURATION), b"")
    return model


def ask(model, setup: str, data: bytes = b""):
    return model.request(bytes.fromhex(setup), data)


def fetched(model, seconds: float = 60) -> list[bytes]:
    """All reports, fetched as they come."""
    out: list[bytes] = []
    fetch = model.handler(0x81)
    end = model.loop.now + round(seconds * 1000 * MS)
    while model.loop.now < end:
        while (report := fetch(64)) is not NAK:
            out.append(report)
        model.loop.run(model.loop.now + MS)
    return out


def items(descriptor: bytes) -> list[tuple[int, int]]:
    """The short items of a report descriptor: tag and type, and value (HID 1.11 §6.2.2.2)."""
    out, at = [], 0
    while at < len(descriptor):
        size = (0, 1, 2, 4)[descriptor[at] & 3]
        value = int.from_bytes(descriptor[at + 1 : at + 1 + size], "little")
        out.append((descriptor[at] & 0xFC, value))
        at += 1 + size
    return out


def fields(descriptor: bytes) -> list[tuple[object, ...]]:
    """The main items, each with the global and the local ones that hold for it, in whatever order
    those were said."""
    out: list[tuple[object, ...]] = []
    held: dict[int, int] = {}
    own: list[tuple[int, int]] = []
    for tag, value in items(descriptor):
        if tag & 0x0C == 0x04:
            held[tag] = value
        elif tag & 0x0C == 0x08:
            own.append((tag, value))
        else:
            out.append((tag, value, dict(held), own))
            own = []
    return out


def bits(descriptor: bytes, main: int) -> int:
    """How many bits the input (0x80) or output (0x90) report has."""
    size, count = 0x74, 0x94
    return sum(held[size] * held[count] for tag, _, held, _ in fields(descriptor) if tag == main)


@pytest.mark.parametrize(("model", "protocol", "size"), [(Keyboard, 1, 8), (Mouse, 2, 4)])
def test_descriptors(model, protocol, size):
    device = powered(model())
    raw = ask(device, "800600020000ff00")
    interface, hid, endpoint = raw[9:18], raw[18:27], raw[27:34]
    assert raw[:9].hex() == "090222000101" + "00a032"  # can wake the host
    assert interface.hex() == f"090400000103010{protocol}00"
    assert hid[:7].hex() == "09211101000122"
    assert int.from_bytes(hid[7:9], "little") == len(ask(device, "810600220000ff00"))
    assert endpoint.hex() == f"07058103{size:02x}0008"
    assert ask(device, "8106002100000900") == hid
    assert bits(device.report_descriptor, 0x80) == size * 8


def test_the_interval_is_8_ms_at_high_speed_too():
    raw = ask(powered(Keyboard(speed=Speed.HIGH)), "800600020000ff00")
    assert raw[-1] == 7  # 2 ** 6 microframes


def test_the_keyboards_report_descriptor_is_that_of_the_standard():
    ours = ask(powered(Keyboard()), "810600220000ff00")
    assert fields(ours) == fields(bytes.fromhex(KEYBOARD))
    assert bits(ours, 0x90) == 8  # the LEDs


def test_the_mouses_report_descriptor_is_that_of_the_standard_with_a_wheel():
    *rest, axes = fields(bytes.fromhex(MOUSE))[:-2]
    tag, value, held, own = axes
    wheel = (tag, value, {**held, 0x94: 3}, [*own, (0x08, 0x38)])
    assert fields(ask(powered(Mouse()), "810600220000ff00"))[:-2] == [*rest, wheel]


def test_a_key_is_pressed_and_let_go():
    keyboard = powered(Keyboard())
    keyboard.press(0x04, 0x02)
    assert fetched(keyboard) == [bytes.fromhex("0200040000000000"), bytes(8)]
    assert not keyboard.is_busy


def test_keys_take_their_time():
    keyboard = powered(Keyboard(hold=0.03, pause=0.02))
    keyboard.type("ab")
    keyboard.loop.run(MS // 2)
    times = []
    while keyboard.is_busy:
        if keyboard.interrupt_in(8) is not NAK:
            times.append(keyboard.loop.now // MS)
        keyboard.loop.run(keyboard.loop.now + MS)
    assert [time - times[0] for time in times] == [0, 30, 50, 80]


# HID Usage Tables §10: a few of page 7, by hand.
@pytest.mark.parametrize(
    ("sign", "modifiers", "usage"),
    [
        ("a", 0, 0x04), ("Z", 2, 0x1D), ("1", 0, 0x1E), ("0", 0, 0x27), ("!", 2, 0x1E),
        (")", 2, 0x27), ("\n", 0, 0x28), ("\t", 0, 0x2B), (" ", 0, 0x2C), ("-", 0, 0x2D),
        ("_", 2, 0x2D), ("=", 0, 0x2E), ("[", 0, 0x2F), ("}", 2, 0x30), ("\\", 0, 0x31),
        ("|", 2, 0x31), (";", 0, 0x33), ('"', 2, 0x34), ("`", 0, 0x35), ("~", 2, 0x35),
        (",", 0, 0x36), (">", 2, 0x37), ("?", 2, 0x38), ("/", 0, 0x38),
    ],
)  # fmt: skip
def test_characters_have_the_usages_of_the_standard(sign, modifiers, usage):
    keyboard = powered(Keyboard())
    keyboard.type(sign)
    assert fetched(keyboard, 1)[0] == bytes((modifiers, 0, usage, 0, 0, 0, 0, 0))


def test_every_printable_character_can_be_typed():
    keyboard = powered(Keyboard(hold=0.01, pause=0.01))
    keyboard.type("".join(map(chr, range(0x20, 0x7F))))
    pressed = [report[:3] for report in fetched(keyboard, 3) if report[2]]
    assert len(set(pressed)) == 95


def test_what_has_no_key_is_refused_before_anything_is_typed():
    keyboard = powered(Keyboard())
    with pytest.raises(ValueError, match="'ä'"):
        keyboard.type("abä")
    assert fetched(keyboard, 1) == []


def test_nothing_can_be_typed_on_a_keyboard_that_is_not_plugged_in():
    with pytest.raises(RuntimeError, match="not plugged in"):
        Keyboard().type("a")


def test_leds():
    keyboard = powered(Keyboard())
    ask(keyboard, "2109000200000100", b"\x03")
    assert keyboard.leds == 3
    assert ask(keyboard, "a101000200000100") == b"\x03"
    with pytest.raises(Stall):
        ask(keyboard, "2109000200000200", b"\x00\x00")


def test_the_input_report_on_request_is_the_last_one():
    keyboard = powered(Keyboard())
    keyboard.press(0x05)
    fetched(keyboard, 0.01)
    assert ask(keyboard, "a101000100000800").hex() == "0000050000000000"


def test_the_state_is_told_again_at_the_idle_rate():
    mouse = powered(Mouse())
    assert fetched(mouse, 1) == []  # a mouse is silent when nothing moves
    ask(mouse, "210a000500000000")  # 5 times 4 ms
    assert ask(mouse, "a102000000000100") == b"\x05"
    assert fetched(mouse, 0.11) == [bytes(4)] * 5
    ask(mouse, "210a000000000000")
    assert fetched(mouse, 0.1) == []


def test_the_time_of_the_idle_rate_begins_with_each_report():
    keyboard = powered(Keyboard(hold=0.015, pause=0.015))
    ask(keyboard, "210a000500000000")
    keyboard.type("aa")  # reports at 0, 15, 30 and 45 ms
    assert [report[2] for report in fetched(keyboard, 0.06)] == [4, 0, 4, 0]
    assert fetched(keyboard, 0.02) == [bytes(8)]


def test_a_movement_is_not_told_again():
    mouse = powered(Mouse())
    mouse.buttons = 1
    mouse.move(5, 6)
    ask(mouse, "210a000500000000")
    assert [report.hex() for report in fetched(mouse, 0.03)] == ["01050600", "01000000"]
    assert ask(mouse, "a101000100000400").hex() == "01000000"


def test_nothing_is_told_again_before_the_last_was_fetched():
    mouse = powered(Mouse())
    ask(mouse, "210a000500000000")
    mouse.move(5, 6)
    mouse.loop.run(100 * MS)
    assert [report.hex() for report in fetched(mouse, 0.015)] == ["00050600"]


def test_what_moves_before_it_is_plugged_in_is_not_told():
    mouse = Mouse()
    mouse.move(5, 6)
    assert fetched(powered(mouse), 0.01) == []


def test_no_report_is_told_again_after_a_reset():
    mouse = powered(Mouse())
    ask(mouse, "210a000500000000")
    powered(mouse)
    assert fetched(mouse, 0.1) == []
    assert ask(mouse, "a102000000000100") == b"\x00"


def test_protocols():
    keyboard = powered(Keyboard())
    assert ask(keyboard, "a103000000000100") == b"\x01"
    ask(keyboard, "210b000000000000")
    assert ask(keyboard, "a103000000000100") == b"\x00"
    with pytest.raises(Stall):
        ask(keyboard, "210b020000000000")


@pytest.mark.parametrize(
    "setup",
    [
        "2109000100000100",  # SET_REPORT of an input report
        "2109000300000100",  # and of a feature report
        "a101000300000800",
        "a105000000000100",  # no such request
        "a101000101000800",  # of an interface that is not there
        "8106002300000800",  # a physical descriptor
    ],
)
def test_what_it_does_not_have_it_stalls(setup):
    with pytest.raises(Stall):
        ask(powered(Keyboard()), setup, b"\x00")


@pytest.mark.parametrize("model", [Keyboard, Mouse])
@given(st.lists(st.tuples(SETUPS, st.binary(max_size=9))))
def test_any_request_is_answered_or_stalled(model, requests):
    device = powered(model())
    for setup, data in requests:
        try:
            answer = device.request(setup, data)
        except Stall:
            continue
        assert len(answer) <= int.from_bytes(setup[6:], "little")


def test_a_mouse_has_no_output_report():
    with pytest.raises(Stall):
        ask(powered(Mouse()), "2109000200000100", b"\x00")
    with pytest.raises(Stall):
        ask(powered(Mouse()), "a101000200000100")


@given(st.integers(-5000, 5000), st.integers(-5000, 5000))
def test_a_movement_comes_in_reports_of_at_most_127(x, y):
    mouse = powered(Mouse())
    mouse.move(x, y)
    moved = [(r[1] - (r[1] & 0x80) * 2, r[2] - (r[2] & 0x80) * 2) for r in fetched(mouse, 0.01)]
    assert (sum(dx for dx, _ in moved), sum(dy for _, dy in moved)) == (x, y)
    assert all(-127 <= d <= 127 for step in moved for d in step)


def test_buttons_and_wheel():
    mouse = powered(Mouse())
    mouse.click(3)
    mouse.scroll(-130)
    assert [report.hex() for report in fetched(mouse, 0.01)] == [
        "04000000",
        "00000000",
        "00000081",
        "000000fd",
    ]
    with pytest.raises(ValueError, match="no button 4"):
        mouse.click(4)


def test_reports_that_nobody_fetches_are_kept_up_to_a_bound():
    mouse = powered(Mouse())
    for number in range(5000):
        mouse.move(number % 100, 0)
    kept = fetched(mouse, 0.01)
    assert len(kept) == 1024
    assert kept[-1][1] == 99


def test_a_reset_forgets_what_was_to_be_told():
    keyboard = powered(Keyboard())
    keyboard.type("abc")
    ask(keyboard, "2109000200000100", b"\x02")
    powered(keyboard)
    assert keyboard.leds == 0
    assert not keyboard.is_busy
    assert fetched(keyboard, 1) == []
