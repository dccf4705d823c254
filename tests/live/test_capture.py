"""QEMU's devices in use, captured by several readers at once: the same events in each."""

import pytest

from tests.live.recorders import GetX, Recording, Tcpdump, Text, Usbmon, UsbmonText


def keyboard(guest):
    guest.plug("usb-kbd", id="keys")
    guest.wait_for("grep -q 'QEMU USB Keyboard' /proc/bus/input/devices")
    for name in "usbmon":
        guest.key(name)
    guest.key("shift", "a")


def flash_key(guest):
    guest.plug_storage(id="flash")
    _use_disk(guest)


def uas_disk(guest):
    guest.plug_uas(id="uas")
    _use_disk(guest)


def _use_disk(guest):
    guest.wait_for("[ -b /dev/sda ]")
    guest.check("udevadm settle; mkfs.vfat -I /dev/sda && mount /dev/sda /mnt")
    guest.check("head -c 300000 /dev/urandom >/mnt/random; sha256sum </mnt/random >/tmp/sum")
    guest.check("umount /mnt && echo 3 >/proc/sys/vm/drop_caches && mount /dev/sda /mnt")
    again = guest.check("sha256sum </mnt/random")
    assert again == guest.check("cat /tmp/sum; umount /mnt")


def audio(guest):
    guest.plug("usb-audio", id="speaker", audiodev="audio")
    guest.wait_for("[ -e /dev/snd/pcmC0D0p ]")
    guest.check("head -c 96000 /dev/urandom | aplay -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2")


def hub(guest):
    """Unplugged with a flash key behind it that is being read."""
    guest.plug("usb-hub", id="hub", bus="uhci.0", port="1")
    guest.plug_storage(id="behind", bus="uhci.0", port="1.1")
    guest.wait_for("[ -b /dev/sda ]")
    reading = guest.start("dd if=/dev/sda of=/dev/null bs=4k iflag=direct")
    guest.wait_for("read -r done rest </sys/block/sda/stat && [ $done -gt 100 ]")
    guest.unplug("hub")
    assert reading.wait().returncode != 0


def serial(guest):
    with guest.plug_serial(id="serial") as line:
        guest.wait_for("[ -c /dev/ttyUSB0 ]")
        guest.check("stty -F /dev/ttyUSB0 115200 raw -echo")
        guest.check("seq 1 200 >/dev/ttyUSB0")
        expected = "".join(f"{number}\n" for number in range(1, 201)).encode()
        got = b""
        while len(got) < len(expected):
            got += line.recv(4096)
        assert got == expected
        reading = guest.start("head -c 2000 /dev/ttyUSB0")
        line.sendall(b"usbmon " * 300)
        assert reading.wait().output == ("usbmon " * 300)[:2000]


def ethernet(guest):
    guest.check("modprobe cdc_ether")  # cdc_subset would take the adapter too, if it came first
    guest.plug_net(id="net")
    guest.wait_for("ls -d /sys/class/net/*/device/driver/module/drivers/usb:*")
    name = guest.check("cd /sys/class/net; dirname $(ls -d */device/driver/module/drivers/usb:*)")
    name = name.split("/")[0]
    guest.check(f"ip addr add 10.0.3.15/24 dev {name} && ip link set {name} up")
    guest.check("ping -c 4 -i 0.2 -s 1000 10.0.3.2")


# Of each, the controller, and which of its buses: those of an xHCI are USB 2's, then USB 3's.
USES = [
    (keyboard, "xhci", 0),
    (flash_key, "xhci", 1),
    (uas_disk, "xhci", 1),
    (audio, "xhci", 0),
    (hub, "uhci", 0),
    (serial, "xhci", 0),
    (ethernet, "xhci", 0),
]


@pytest.mark.parametrize(
    ("use", "controller", "side"), USES, ids=[use.__name__ for use, *_ in USES]
)
def test_each_reader_has_the_same_events(guest, use, controller, side):
    bus = guest.controller(controller)[side]
    readers = [Tcpdump(), GetX(), Usbmon("mmap"), Usbmon("getx")]
    if use is keyboard:  # slow enough for text, whose queue holds 93 lines
        readers += [Text(), UsbmonText(), Usbmon("read")]
    with Recording(guest, bus, *readers) as recording:
        use(guest)
        guest.detach()
    recording.check()
