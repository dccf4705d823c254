"""Microphone and loudspeaker with Linux's snd-usb-audio."""

import random

from tests.live import agree
from tests.live.served import Served
from usbmon.bus.devices.audio import Loudspeaker, Microphone

RATE = 48000


def test_samples_that_were_recorded(guest):
    """What was recorded is the noise that the microphone heard, millisecond for millisecond; where
    the emulated machine asked too late for a frame, that millisecond is missing."""
    noise = random.Random(5).randbytes(60 * RATE * 2)

    def hear(first: int, count: int) -> bytes:
        return noise[first * 2 : (first + count) * 2].ljust(count * 2, b"\0")

    with Served(Microphone(hear)) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("[ -e /proc/asound/card0/pcm0c ]")
        guest.check(
            "arecord -q -D hw:0 -f S16_LE -r 48000 -c 1 -d 2 -t raw /host/mic.raw", timeout=60
        )
        guest.detach()
        ours = served.events()
    recorded = (guest.share / "mic.raw").read_bytes()
    assert len(recorded) == 2 * RATE * 2
    step = RATE // 1000 * 2
    places = [noise.find(recorded[at : at + step]) for at in range(0, len(recorded), step)]
    assert all(place % step == 0 for place in places)
    assert places == sorted(set(places))
    assert agree.compare(linux.events, ours) > 500


def test_samples_that_were_played(guest):
    sound = random.Random(7).randbytes(RATE * 4 * 2)
    (guest.share / "sound.raw").write_bytes(sound)
    with Served(Loudspeaker()) as served, agree.Linux(guest) as linux:
        guest.attach(served.port, served.busid)
        guest.wait_for("[ -e /proc/asound/card0/pcm0p ]")
        guest.check("aplay -q -D hw:0 -f S16_LE -r 48000 -c 2 -t raw /host/sound.raw", timeout=60)
        guest.detach()
        ours = served.events()
        played = bytes(served.device.played)
    assert sound in played
    assert agree.compare(linux.events, ours) > 500
