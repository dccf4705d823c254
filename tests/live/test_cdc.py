"""Serial adapter and Ethernet adapter with Linux's cdc_acm and cdc_ether."""

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.acm import SerialAdapter
from usbmon.bus.devices.ecm import EthernetAdapter

ECHO = """
import os, select, sys, termios, tty
port = os.open("/dev/ttyACM0", os.O_RDWR | os.O_NOCTTY)
tty.setraw(port)
attributes = termios.tcgetattr(port)
attributes[4] = attributes[5] = termios.B115200
termios.tcsetattr(port, termios.TCSANOW, attributes)
sent = os.urandom(20000)
got = bytearray()
at = 0
while len(got) < len(sent):
    readable, writable, _ = select.select([port], [port] if at < len(sent) else [], [], 10)
    if not readable and not writable:
        break
    if readable:
        got += os.read(port, 4096)
    if writable:
        at += os.write(port, sent[at : at + 1000])
print("equal" if bytes(got) == sent else f"sent {len(sent)}, got {len(got)}")
"""


def test_serial_bytes_come_back(guest):
    with Served(SerialAdapter()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("[ -c /dev/ttyACM0 ]")
        (guest.share / "echo.py").write_text(ECHO)
        assert guest.check("python3 /host/echo.py").strip() == "equal"
        assert served.device.baud == 115200
        guest.detach()
        ours = served.events()
    assert agree.compare(linux.events, ours) > 100


def test_ping_over_ethernet(guest):
    with Served(EthernetAdapter()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("readlink /sys/class/net/*/device/driver | grep cdc_ether")
        name = guest.check(
            "for n in /sys/class/net/*; "
            "do readlink $n/device/driver | grep -q cdc_ether && basename $n; done; true"
        ).split()[0]
        guest.check(f"ip addr add 10.55.0.2/24 dev {name} && ip link set {name} up")
        text = guest.check("ping -c 5 -i 0.3 -s 1000 -w 15 10.55.0.1", timeout=30)
        assert "5 received" in text
        assert "5 received" in guest.check("ping -c 5 -i 0.3 -s 1472 -w 15 10.55.0.1", timeout=30)
        guest.check(f"ip link set {name} down")
        guest.detach()
        ours = served.events()
    assert agree.compare(linux.events, ours) > 40
