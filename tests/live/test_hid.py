"""Keyboard and mouse: what is typed and moved comes out of Linux's input devices."""

import struct

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.hid import Keyboard, Mouse

EVENT = struct.Struct("<qqHHi")
EV_KEY, EV_REL = 1, 2
# linux/input-event-codes.h
KEYS = {35: "h", 18: "e", 38: "l", 24: "o", 2: "1", 57: " ", 28: "\n", 42: "shift"}


def read_events(guest, name: str) -> list[tuple[int, int, int]]:
    """The input events of the device with this name: type, code, value."""
    raw = (guest.share / name).read_bytes()
    return [(t, code, value) for _, _, t, code, value in EVENT.iter_unpack(raw)]


def start_reading(guest, handler: str) -> None:
    guest.wait_for(f"grep -q {handler} /proc/bus/input/devices && ls /dev/input/event*")
    guest.check(
        "device=$(ls -t /dev/input/event* | head -n 1); "
        "setsid cat $device > /host/input.bin 2>/dev/null & sleep 0.5"
    )


def test_keys_that_were_typed(guest):
    with Served(Keyboard(hold=0.02, pause=0.02)) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        start_reading(guest, "Keyboard")
        served.call(served.device.type, "Hello 1\n")
        guest.wait_for("[ $(stat -c %s /host/input.bin) -ge 1000 ]", seconds=10)
        guest.check("sleep 1; pkill cat")
        guest.detach()
        ours = served.events()
    pressed = [
        KEYS[code]
        for t, code, value in read_events(guest, "input.bin")
        if (t, value) == (EV_KEY, 1)
    ]
    assert pressed == ["shift", "h", "e", "l", "l", "o", " ", "1", "\n"]
    assert agree.compare(linux.events, ours) > 30


def test_leds_that_linux_sets(guest):
    with Served(Keyboard()) as served:
        guest.attach(served.port, served.busid)
        led = "/sys/devices/platform/vhci_hcd.0/usb*/*/*/*/input/*/*capslock"
        guest.wait_for(f"ls {led}/brightness")
        guest.check(f"echo 1 > $(ls -d {led})/brightness")
        guest.wait_for("sleep 0.5")
        assert served.device.leds == 2


def test_movements_of_a_mouse(guest):
    with Served(Mouse()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        start_reading(guest, "Mouse")
        served.call(served.device.move, 200, -90)
        served.call(served.device.click, 2)
        served.call(served.device.scroll, 3)
        guest.check("sleep 1; pkill cat")
        guest.detach()
        ours = served.events()
    events = read_events(guest, "input.bin")
    assert sum(value for t, code, value in events if (t, code) == (EV_REL, 0)) == 200
    assert sum(value for t, code, value in events if (t, code) == (EV_REL, 1)) == -90
    assert sum(value for t, code, value in events if (t, code) == (EV_REL, 8)) == 3
    assert [value for t, code, value in events if (t, code) == (EV_KEY, 0x111)] == [1, 0]
    assert agree.compare(linux.events, ours) > 20
