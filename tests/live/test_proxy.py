"""A device attached through `usbmon capture usbip:…`: three monitors see the same."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live import agree
from tests.live.served import Served
from usbmon import files
from usbmon.bus.devices.audio import Microphone
from usbmon.bus.devices.storage import FlashKey

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def captured(server: int, path) -> Iterator[int]:
    """The port of a proxy that writes what passes into a file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = f"127.0.0.1:{port}"
    capture = subprocess.Popen(
        [
            *(sys.executable, "-m", "usbmon", "capture", f"usbip:127.0.0.1:{server}"),
            *("--listen", where, "-o", str(path)),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert capture.stderr is not None
    try:
        assert capture.stderr.readline().startswith(f"listening on {where}")
        yield port
        capture.send_signal(signal.SIGINT)
        said = capture.stderr.read()
        assert "0 dropped" in said
        assert capture.wait(30) == 0
    finally:
        capture.kill()
        capture.wait()
        capture.stderr.close()


FILES = (
    "mkdir -p /mnt; mount /dev/sda1 /mnt && head -c 300000 /dev/urandom > /mnt/random.bin"
    " && umount /mnt && echo 3 > /proc/sys/vm/drop_caches && mount -r /dev/sda1 /mnt"
    " && sha256sum /mnt/random.bin && umount /mnt"
)
SOUND = "arecord -q -D hw:0 -f S16_LE -r 48000 -c 1 -d 2 /tmp/mic.wav"


@pytest.mark.parametrize(
    ("model", "is_there", "use"),
    [(FlashKey, "[ -b /dev/sda1 ]", FILES), (Microphone, "[ -e /proc/asound/card0/pcm0c ]", SOUND)],
)
def test_all_three_monitors_agree(guest, tmp_path, model, is_there, use):
    path = tmp_path / "proxy.pcapng"
    with (
        Served(model()) as served,
        agree.Linux(guest) as linux,
        captured(served.port, path) as port,
    ):
        guest.attach(port, served.busid)
        guest.wait_for(is_there)
        guest.check(use)
        guest.detach()
        guest.wait_for("! usbip port 2>/dev/null | grep -q Port")
        ours = served.events()
    between = files.read(str(path))
    assert agree.compare(linux.events, between) > 100
    assert agree.compare(between, ours) > 100
