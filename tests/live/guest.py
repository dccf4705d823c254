"""A real Linux kernel under QEMU, booted once for many tests, with QEMU's own USB devices to plug.

The host controllers are there from the start, their drivers are not loaded: `guest.controller`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Self

from tests.live import package
from tests.live.qmp import Qmp

HOST = "10.0.2.2"
_BOOT_SECONDS = 300
_HERE = Path(__file__).parent

# Of each controller: QEMU's device, the module of its driver, and the driver's name on the PCI bus.
CONTROLLERS = {
    "xhci": ("qemu-xhci", "xhci_pci", "xhci_hcd"),
    "ehci": ("usb-ehci", "ehci_pci", "ehci-pci"),
    "uhci": ("piix3-usb-uhci", "uhci_hcd", "uhci_hcd"),
}


def folder() -> Path:
    """Where the guest is."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("USBMON_GUEST") or Path(cache) / "usbmon-guest")


class Done(NamedTuple):
    """A command that has ended. `output` is what it wrote, standard error with it."""

    returncode: int
    output: str


class Running:
    """A command in the background of the guest; its output goes to `file`, errors with it."""

    def __init__(self, guest: Guest, folder: str, pid: int) -> None:
        self._guest = guest
        self._folder = folder
        self.file = f"{folder}/output"
        self.pid = pid

    @property
    def output(self) -> str:
        """What it has written up to now."""
        return self._guest.check(f"cat {self.file}")

    def signal(self, name: str) -> None:
        self._guest.check(f"kill -{name} {self.pid}")

    def wait(self, *, seconds: float = 60) -> Done:
        """Until it has ended. A signal's number is added to 128, as the shell does."""
        self._guest.wait_for(f"[ -s {self._folder}/code ]", seconds=seconds)
        code, output = self._guest.check(f"cat {self._folder}/code {self.file}").split("\n", 1)
        return Done(int(code), output)

    def stop(self, signal: str = "INT") -> Done:
        """Send a signal and wait; only wait if it has ended."""
        self._guest.run(f"[ -s {self._folder}/code ] || kill -{signal} {self.pid}")
        return self.wait()


class Guest:
    """A context: the guest runs inside it. `share` is a folder of the host, /host of the guest."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self._temporary = tempfile.mkdtemp(prefix="usbmon-guest.")
        self.share = Path(self._temporary, "share")
        self.share.mkdir()
        self._number = 0

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
        monitor = Path(self._temporary, "monitor")
        usbmon = Path(self._temporary, "usbmon.img")
        package.make_image(usbmon, have)
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
            *_disk("usbmon", usbmon),
            "-device", "virtio-rng-pci",
            "-netdev", "user,id=net,restrict=off", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=port,path={path},server=on,wait=off",
            "-device", "virtserialport,chardev=port,name=usbmon",
            "-fsdev", f"local,id=share,path={self.share},security_model=none",
            "-device", "virtio-9p-pci,fsdev=share,mount_tag=host",
            "-qmp", f"unix:{monitor},server=on,wait=off",
            "-audiodev", "none,id=audio",
            *(word for name, (device, *_) in CONTROLLERS.items()
              for word in ("-device", f"{device},id={name}")),
        ]  # fmt: skip
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _BOOT_SECONDS
        self._socket = self._connect(path, deadline)
        self._lines = self._socket.makefile("rb")
        self.qemu = Qmp(monitor)
        self._answer(deadline - time.monotonic())

    def run(self, command: str, *, user: str = "root", timeout: float = 60) -> Done:
        """Run a shell command; 124 if it took longer than `timeout` seconds. Users are root and
        tester."""
        if user != "root":
            command = f"runuser -u {user} -- bash -c {shlex.quote(command)}"
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

    def start(self, command: str, *, user: str = "root") -> Running:
        """Start a shell command (one, that the shell can `exec`) and let it run."""
        at = f"/tmp/{self._name('running')}"
        if user != "root":
            command = f"runuser -u {user} -- {command}"
        inner = shlex.quote(f"echo $$ >{at}/pid; exec {command}")
        outer = shlex.quote(f"bash -c {inner} >{at}/output 2>&1; echo $? >{at}/code")
        started = f"until [ -s {at}/pid ]; do sleep 0.01; done; cat {at}/pid"
        return Running(self, at, int(self.check(f"mkdir {at}; setsid bash -c {outer} & {started}")))

    def fetch(self, path: str) -> Path:
        """A copy of a file of the guest."""
        self.check(f"cp {path} /host/")
        return self.share / Path(path).name

    def controller(self, name: str) -> list[int]:
        """The buses of a host controller, the slowest first; its driver is loaded if need be."""
        _, module, driver = CONTROLLERS[name]
        folder = f"/sys/bus/pci/drivers/{driver}"
        self.check(f"modprobe {module}")
        self.wait_for(f"ls -d {folder}/*/usb*/*-0:1.0/driver")
        lines = self.check(
            f"cd {folder}; for d in */usb[0-9]*; do cat $d/speed $d/busnum | xargs; done"
        )
        buses = sorted(
            (float(speed), int(bus)) for speed, bus in map(str.split, lines.splitlines())
        )
        return [bus for _, bus in buses]

    def release(self, name: str) -> None:
        """Take a host controller's driver, and so its buses, away."""
        self.run(f"modprobe -r {CONTROLLERS[name][1]}")

    def plug(self, driver: str, *, id: str, bus: str = "xhci.0", **properties: object) -> None:
        """Plug one of QEMU's devices, such as usb-kbd, into a controller or onto a device's bus."""
        self.qemu("device_add", driver=driver, id=id, bus=bus, **properties)

    def unplug(self, id: str) -> None:
        self.qemu("device_del", id=id)

    def plugged(self) -> list[str]:
        """What is plugged; not what went with its hub."""
        known = self.qemu("qom-list", path="/machine/peripheral")
        return [each["name"] for each in known if each["type"].startswith("child<usb-")]

    def plug_storage(self, *, id: str, megabytes: int = 16, **properties: object) -> None:
        """Plug a flash key, of zeros, with the serial number `id`."""
        self.plug("usb-storage", id=id, drive=self._drive(megabytes), serial=id, **properties)

    def plug_uas(self, *, id: str, megabytes: int = 16, **properties: object) -> None:
        """Plug a UAS disk, of zeros."""
        self.plug("usb-uas", id=id, **properties)
        self.qemu("device_add", driver="scsi-hd", bus=f"{id}.0", drive=self._drive(megabytes))
        self.qemu("qom-set", path=f"/machine/peripheral/{id}", property="attached", value=True)

    def plug_serial(self, *, id: str, **properties: object) -> socket.socket:
        """Plug a serial converter; what is at its other end."""
        name = self._name("line")
        path = Path(self._temporary, name)
        self.qemu("chardev-add", id=name, backend={
            "type": "socket",
            "data": {
                "addr": {"type": "unix", "data": {"path": str(path)}},
                "server": True,
                "wait": False,
            },
        })  # fmt: skip
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(path))
        line.settimeout(60)
        self.plug("usb-serial", id=id, chardev=name, **properties)
        return line

    def plug_net(self, *, id: str, **properties: object) -> None:
        """Plug an Ethernet adapter, with 10.0.3.2 at the other end of its line."""
        name = self._name("net")
        self.qemu("netdev_add", type="user", id=name, net="10.0.3.0/24")
        self.plug("usb-net", id=id, netdev=name, **properties)

    def _drive(self, megabytes: int) -> str:
        name = self._name("drive")
        path = Path(self._temporary, name)
        path.touch()
        os.truncate(path, megabytes << 20)
        file = {"driver": "file", "filename": str(path)}
        self.qemu("blockdev-add", node_name=name, driver="raw", file=file)
        return name

    def _name(self, kind: str) -> str:
        """A new one, of what is behind a device: ids come again, and QEMU keeps these."""
        self._number += 1
        return f"{kind}{self._number}"

    def key(self, *names: str) -> None:
        """Press keys together, and let them go (QEMU's QKeyCode: a, ret, shift)."""
        self.qemu("send-key", keys=[{"type": "qcode", "data": name} for name in names])

    def move_mouse(self, x: int, y: int) -> None:
        """Move a mouse that is relative."""
        move = {"x": x, "y": y}.items()
        self.qemu("input-send-event", events=[
            {"type": "rel", "data": {"axis": axis, "value": value}} for axis, value in move
        ])  # fmt: skip

    def quiet(self, bus: int = 0) -> int:
        """Wait until usbmon has seen no event for a while; how many it has seen. It counts while
        someone reads."""
        seen = f"sed 's/.*events \\([0-9]*\\).*/\\1/' /sys/kernel/debug/usb/usbmon/{bus}s"
        loop = f"until [ $a = $({seen}) ]; do a=$({seen}); sleep 0.3; done"
        return int(self.check(f"a=-1; {loop}; echo $a"))

    def ssh(self) -> Path:
        """A folder to be first in PATH: its `ssh guest` is a shell in the guest."""
        folder = Path(self._temporary, "ssh")
        if not folder.exists():
            self._serve_ssh(folder)
        return folder

    def _serve_ssh(self, folder: Path) -> None:
        folder.mkdir()
        self.check("mkdir -p /run/sshd /root/.ssh")
        self.check("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/key")
        self.check("cp /root/.ssh/key.pub /root/.ssh/authorized_keys")
        server = self.start("/usr/sbin/sshd -D -e")
        self.wait_for(f"grep -q listening {server.file}")
        shutil.copyfile(self.fetch("/root/.ssh/key"), folder / "key")
        (folder / "key").chmod(0o600)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        forward = f"hostfwd_add net tcp:127.0.0.1:{port}-:22"
        self.qemu("human-monitor-command", command_line=forward)
        (folder / "config").write_text(
            f"Host guest\n HostName 127.0.0.1\n Port {port}\n User root\n"
            f" IdentityFile {folder}/key\n StrictHostKeyChecking no\n"
            " UserKnownHostsFile /dev/null\n LogLevel ERROR\n BatchMode yes\n"
        )
        command = folder / "ssh"
        command.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        command.chmod(0o755)

    def attach(self, port: int, busid: str = "1-1") -> None:
        """Attach a device of a USB/IP server on the host's loopback address."""
        self.check(f"usbip --tcp-port {port} attach -r {HOST} -b {busid}")

    def detach(self) -> None:
        """Give all attached devices back, and unplug all plugged ones."""
        for id in set(self.plugged()) - CONTROLLERS.keys():
            self.unplug(id)
        self.run(
            "for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); "
            "do usbip detach -p $p; done; umount -ql /mnt; udevadm settle"
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
        if hasattr(self, "qemu"):
            self.qemu.close()
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
