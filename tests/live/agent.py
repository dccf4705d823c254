#!/usr/bin/env python3
"""The first process of the guest: sets it up, and does what the host asks for.

A request is a line of JSON on a virtio port: {"run": command, "timeout": seconds}. So is the
answer: {"returncode": number, "output": text}. Commands are run by a shell, as root.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

PORT = Path("/dev/virtio-ports/usbmon")
SETUP = """
mount -t tmpfs -o mode=1777 tmp /tmp; mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
modprobe -a virtio_console virtio_net usbmon vhci_hcd usb_storage uas sd_mod usbhid
modprobe -a hid_generic evdev vfat nls_cp437 nls_ascii 9pnet_virtio 9p
mount -t ext4 -o ro /dev/vdc /opt/usbmon
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
/lib/systemd/systemd-udevd --daemon; udevadm trigger; udevadm settle
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 host /host
hostname guest
"""


def run(command: str, timeout: float) -> dict[str, object]:
    # Into a file, not a pipe: what the command leaves behind may keep a pipe open for ever.
    with open("/tmp/.output", "w+b") as output:  # noqa: PTH123
        process = subprocess.Popen(
            ["/bin/bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/tmp",
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = 124
        output.seek(0)
        return {"returncode": code, "output": output.read().decode("utf-8", "replace")}


def main() -> None:
    os.environ["PATH"] = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["HOME"] = "/root"
    subprocess.run(["/bin/bash", "-c", SETUP], check=False)
    deadline = time.monotonic() + 30
    while not PORT.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with PORT.open("r+b", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        for line in iter(lambda: readline(port), b""):
            request = json.loads(line)
            answer = run(request["run"], request["timeout"])
            port.write(json.dumps(answer).encode() + b"\n")
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    subprocess.run(["/bin/busybox", "poweroff", "-f"], check=False)


def readline(port: object) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = port.read(4096)  # type: ignore[attr-defined]
        if not byte:
            time.sleep(0.05)  # nobody listens yet
        line += byte
    return line


if __name__ == "__main__":
    main()
