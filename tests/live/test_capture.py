"""A device of QEMU in use, captured by several readers at once: the same events in each."""

from tests.live.recorders import GetX, Recording, Tcpdump, Text, Usbmon, UsbmonText


def keyboard(guest):
    guest.plug("usb-kbd", id="keys")
    guest.wait_for("grep -q 'QEMU USB Keyboard' /proc/bus/input/devices")
    for name in "usbmon":
        guest.key(name)
    guest.key("shift", "a")


def test_each_reader_has_the_same_events(guest):
    bus, _ = guest.controller("xhci")  # USB 2's, and USB 3's
    ours = (Usbmon("mmap"), Usbmon("getx"), Usbmon("read"), UsbmonText())
    with Recording(guest, bus, Tcpdump(), Text(), GetX(), *ours) as recording:
        keyboard(guest)
        guest.detach()
    recording.check()
