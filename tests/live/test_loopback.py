"""A device that no driver of Linux wants: attached, enumerated, listed, given back."""

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.loopback import Loopback


def test_enumerated_as_it_says(guest):
    with Served(Loopback()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("lsusb -d 1209:0001")
        text = guest.check("lsusb -v -d 1209:0001")
        guest.detach()
        ours = served.events()
    for words in (
        "iManufacturer           1 usbmon",
        "iProduct                2 Loopback",
        "bNumEndpoints           6",
        "wMaxPacketSize     0x0200  1x 512 bytes",
    ):
        assert words in text
    assert agree.compare(linux.events, ours) > 10


def test_taken_by_another_client_is_refused_and_given_back_is_had_again(guest):
    with Served(Loopback()) as served:
        guest.attach(served.port, served.busid)
        again = guest.run(f"usbip --tcp-port {served.port} attach -r 10.0.2.2 -b {served.busid}")
        assert again.returncode != 0
        guest.detach()
        guest.wait_for("! lsusb -d 1209:0001")
        guest.attach(served.port, served.busid)
        guest.wait_for("lsusb -d 1209:0001")
        guest.detach()
    assert [line.split(": ", 1)[1] for line in served.log][:2] == [
        "has 1-1",
        "wants 1-1: somebody else has it",
    ]
