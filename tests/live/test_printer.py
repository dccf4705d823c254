"""The printer with Linux's usblp."""

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.printer import Printer


def test_a_job_arrives_whole(guest):
    with Served(Printer()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("[ -c /dev/usb/lp0 ]")
        guest.check("head -c 50000 /dev/urandom > /host/job; cat /host/job > /dev/usb/lp0")
        identity = guest.check("cat /sys/class/usbmisc/lp0/device/ieee1284_id")
        guest.detach()
        ours = served.events()
        printed = bytes(served.device.printed)
    assert "usbmon" in identity
    assert printed == (guest.share / "job").read_bytes()
    assert agree.compare(linux.events, ours) > 20
