"""A real Linux kernel under QEMU, booted once for many tests."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Self

HOST = "10.0.2.2"
_BOOT_SECONDS = 120
_HERE = Path(__file__).parent


def folder() -> Path:
    """Where the guest is."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("USBMON_GUEST") or Path(cache) / "usbmon-guest")


class Done(NamedTuple):
    """A command that has ended. `output` is what it wrote, standard error with it."""

    returncode: int
    output: str


class Guest:
    """A context: the guest runs inside it. `share` is a folder of the host, /host of the guest."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self._temporary = tempfile.mkdtemp(prefix="usbmon-guest.")
        self.share = Path(self._temporary, "share")
        self.share.mkdir()

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _boot(self) -> None:
        have = folder()
        for name in ("root.img", f"vmlinuz-{self.kernel}"):
            if not (have / name).exists():
                raise FileNotFoundError(
                    f"the guest is not built: run `{_HERE / 'build'} {self.kernel}`"
                )
        path = Path(self._temporary, "port")
        self._console = Path(self._temporary, "console")
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-machine", "q35", "-cpu", "max,la57=off",
            "-m", "1024", "-smp", "2",
            *_accelerator(),
            "-kernel", str(have / f"vmlinuz-{self.kernel}"),
            "-initrd", str(have / f"initrd-{self.kernel}"),
            "-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off net.ifnames=0",
            "-serial", f"file:{self._console}",
            *_disk("root", have / "root.img"),
            *_disk("modules", have / f"modules-{self.kernel}.img"),
            "-device", "virtio-rng-pci",
            "-netdev", "user,id=net,restrict=off", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=port,path={path},server=on,wait=off",
            "-device", "virtserialport,chardev=port,name=usbmon",
            "-fsdev", f"local,id=share,path={self.share},security_model=none",
            "-device", "virtio-9p-pci,fsdev=share,mount_tag=host",
        ]  # fmt: skip
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _BOOT_SECONDS
        self._socket = self._connect(path, deadline)
        self._lines = self._socket.makefile("rb")
        self._answer(deadline - time.monotonic())

    def run(self, command: str, *, timeout: float = 60) -> Done:
        """Run a shell command as root; 124 if it took longer than `timeout` seconds."""
        request = {"run": command, "timeout": timeout}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = self._answer(timeout + 30)
        return Done(answer["returncode"], answer["output"])

    def check(self, command: str, *, timeout: float = 60) -> str:
        """Run a command that must succeed; what it wrote."""
        done = self.run(command, timeout=timeout)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.output}"
        return done.output

    def wait_for(self, condition: str, *, seconds: float = 20) -> None:
        """Wait until a shell command succeeds."""
        tries = round(seconds * 10)
        command = f"for i in $(seq {tries}); do {condition} && exit; sleep 0.1; done; exit 1"
        done = self.run(f"{{ {command}; }} >/dev/null 2>&1", timeout=seconds * 2 + 10)
        assert done.returncode == 0, (
            f"not after {seconds} s: {condition}\n{self.run('dmesg | tail -n 20').output}"
        )

    def attach(self, port: int, busid: str = "1-1") -> None:
        """Attach a device of a USB/IP server on the host's loopback address."""
        self.check(f"usbip --tcp-port {port} attach -r {HOST} -b {busid}")

    def detach(self) -> None:
        """Give all attached devices back."""
        self.run(
            "for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); "
            "do usbip detach -p $p; done; udevadm settle"
        )

    def _connect(self, path: Path, deadline: float) -> socket.socket:
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(path))
            except OSError:
                made.close()
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("QEMU did not start, see above") from None
                time.sleep(0.05)
            else:
                return made

    def _answer(self, seconds: float) -> dict[str, object]:
        self._socket.settimeout(max(seconds, 1))
        try:
            line = self._lines.readline()
        except TimeoutError:
            line = b""
        if not line:
            tail = self._console.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the guest does not answer; its console:\n{tail}")
        return json.loads(line)

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_qemu"):
            self._qemu.kill()
            self._qemu.wait()
        if hasattr(self, "_lines"):
            self._lines.close()
            self._socket.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


def _accelerator() -> list[str]:
    """Plain emulation, which works everywhere; KVM inside another hypervisor may hang."""
    wanted = os.environ.get("USBMON_GUEST_ACCEL", "tcg")
    return ["-accel", "tcg,thread=multi" if wanted == "tcg" else wanted]


def _disk(name: str, path: Path) -> list[str]:
    drive = f"file={path},format=raw,if=none,id={name},readonly=on"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]
