"""Machines of files: a root folder with what the kernel and the distribution would show there."""

from pathlib import Path

from usbmon.sources.machine import Facts, Machine

RELEASE = "6.12.43+deb13-amd64"

# A Debian desktop where all is well for root: two buses, the module loaded, the files mounted.
WELL = {
    "sys/kernel/debug/usb/usbmon/0u": "",
    "sys/kernel/debug/usb/usbmon/1u": "",
    "sys/kernel/debug/usb/usbmon/2u": "",
    "sys/kernel/debug/usb/usbmon/1t": "",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "sys/bus/usb/devices/usb1/speed": "480\n",
    "sys/bus/usb/devices/usb2/speed": "5000\n",
    "sys/bus/usb/devices/1-0:1.0/bInterfaceClass": "09\n",
    "sys/module/usbmon/refcnt": "0\n",
    "sys/class/usbmon/usbmon0/dev": "238:0\n",
    "sys/class/usbmon/usbmon1/dev": "238:1\n",
    "sys/class/usbmon/usbmon2/dev": "238:2\n",
    "dev/usbmon0": "",
    "dev/usbmon1": "",
    "dev/usbmon2": "",
    "run/udev/control": "",
    "proc/devices": "Character devices:\n  1 mem\n238 usbmon\n\nBlock devices:\n  8 sd\n",
    "proc/mounts": "debugfs /sys/kernel/debug debugfs rw,nosuid 0 0\n",
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n",
    "proc/1/cgroup": "0::/init.scope\n",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "etc/group": "root:x:0:\nann:x:1000:\nwireshark:x:120:\n",
    f"lib/modules/{RELEASE}/modules.dep": (
        "kernel/drivers/usb/core/usbcore.ko.xz:\n"
        "kernel/drivers/usb/mon/usbmon.ko.xz: kernel/drivers/usb/core/usbcore.ko.xz\n"
    ),
    f"lib/modules/{RELEASE}/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
}


class Built:
    """A machine in a folder; files are added with `put` and removed, also folders, with `cut`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: dict = {"uid": 0, "user": "root", "groups": frozenset({0})}
        self.shut: set[str] = set()
        self.owners: dict[str, tuple[int, int]] = {}
        for path, text in WELL.items():
            self.put(path, text)

    def put(self, path: str, text: str | bytes = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def cut(self, *words: str) -> None:
        """Take away all whose path begins with one of these."""
        for path in sorted(self.root.rglob("*"), reverse=True):
            if str(path.relative_to(self.root)).startswith(words):
                path.rmdir() if path.is_dir() else path.unlink()

    def unload(self) -> None:
        """As without the module."""
        self.cut("sys/module/usbmon", "sys/class/usbmon", "sys/kernel/debug/usb", "dev/usbmon")
        self.put("proc/devices", "Character devices:\n  1 mem\n")

    def as_user(self, *groups: int) -> None:
        """Whoever looks is ann, who may read no device and no file of debugfs."""
        self.changes |= {"uid": 1000, "user": "ann", "groups": frozenset({1000, *groups})}
        self.shut = {path for path in WELL if path.startswith(("dev/", "sys/kernel/debug"))}

    @property
    def facts(self) -> Facts:
        facts = {
            "system": "Linux",
            "release": RELEASE,
            "environ": {},
            "readable": lambda path: str(path.relative_to(self.root)) not in self.shut,
            "owner": lambda path: self.owners.get(str(path.relative_to(self.root)), (0, 0o600)),
            "programs": ("tcpdump",),
            "libraries": (),
            "version": "usbmon 1, compiled kernel, Python 3",
        }
        return Facts(**(facts | self.changes))

    @property
    def machine(self) -> Machine:
        return Machine(self.root, self.facts, "wireshark")
