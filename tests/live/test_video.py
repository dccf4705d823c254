"""The webcam with Linux's uvcvideo."""

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.picture import picture
from usbmon.bus.devices.video import Webcam


def test_pictures_that_were_taken(guest):
    with Served(Webcam()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("[ -c /dev/video0 ]")
        guest.check(
            "v4l2-ctl -d /dev/video0 --set-fmt-video=width=160,height=120,pixelformat=YUYV "
            "--stream-mmap --stream-count=5 --stream-to=/host/frames.raw",
            timeout=60,
        )
        guest.detach()
        ours = served.events()
    raw = (guest.share / "frames.raw").read_bytes()
    size = 160 * 120 * 2
    assert len(raw) == 5 * size
    numbers = [number_of(raw[at : at + size]) for at in range(0, len(raw), size)]
    for at, number in zip(range(0, len(raw), size), numbers, strict=True):
        assert raw[at : at + size] == picture(160, 120, number)
    assert numbers == sorted(set(numbers))
    assert agree.compare(linux.events, ours) > 50


def number_of(raw: bytes) -> int:
    """The number that is drawn into the last eighth: 16 blocks, white for 1."""
    row = raw[-160 * 2 :]
    return sum((row[block * 20 + 10 & ~1] > 128) << (15 - block) for block in range(16))
