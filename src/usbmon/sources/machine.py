"""What this machine is, as far as capture is concerned: a process, a kernel, and files of /proc,
/sys, /dev and /etc.

Here: looking, below a root folder, at files that may be absent, shut, cut or of another form: then
what they would tell is empty. Nothing is opened but to be read, and nothing changed. Not here: what
it means, and what to do about it (`usbmon.sources.doctor`).
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PROGRAMS: Final = ("wireshark", "tshark", "tcpdump")
LIBRARIES: Final = ("pyudev", "mfusepy")

_ENOUGH: Final = 1 << 22  # of any file of /proc, /sys and /etc; modules.dep has some 500 kB
TEXT_FOLDER: Final = "sys/kernel/debug/usb/usbmon"
_RULES: Final = (
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/local/lib/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
)
MODULE_FOLDERS: Final = (
    "lib/modules",
    "usr/lib/modules",
    "run/booted-system/kernel-modules/lib/modules",
)


@dataclass(frozen=True)
class Facts:
    """What is known of this process and its kernel beside files."""

    system: str
    release: str
    user: str
    uid: int
    groups: frozenset[int]
    environ: Mapping[str, str]
    # Whether a file can be read by this process, and its group and mode.
    readable: Callable[[Path], bool]
    owner: Callable[[Path], tuple[int, int]]
    programs: tuple[str, ...]
    libraries: tuple[str, ...]
    version: str

    @classmethod
    def here(cls) -> Facts:
        import platform
        from importlib.util import find_spec
        from shutil import which

        from usbmon import __version__
        from usbmon._kernel import KERNEL

        python = ".".join(map(str, sys.version_info[:3]))
        windows = sys.platform == "win32"
        return cls(
            system=platform.system() or sys.platform,
            release=platform.release(),
            user=_user(),
            uid=-1 if windows else os.geteuid(),
            groups=frozenset() if windows else frozenset({os.getegid(), *os.getgroups()}),
            environ=os.environ,
            readable=_readable,
            owner=_owner,
            programs=tuple(filter(which, PROGRAMS)),
            libraries=tuple(filter(find_spec, LIBRARIES)),
            version=f"usbmon {__version__}, {KERNEL} kernel, Python {python}",
        )


class Machine:
    """The machine, as far as files and facts tell."""

    def __init__(self, root: Path, facts: Facts, group: str) -> None:
        self.root = root
        self.facts = facts
        self.group = group

    def has(self, path: str) -> bool:
        try:
            return (self.root / path).exists()
        except OSError:  # of a folder that we may not look into
            return False

    def read(self, path: str) -> str:
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_ENOUGH).decode(errors="replace")
        except OSError:
            return ""

    def names(self, path: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except OSError:
            return []

    def numbers(self, path: str, form: str) -> list[int]:
        """The numbers in the names of that form, as those of usb1 and usb2."""
        found = (re.fullmatch(form, name, re.ASCII) for name in self.names(path))
        return sorted(int(match[1]) for match in found if match)

    def can_read(self, path: str) -> bool:
        return self.has(path) and self.facts.readable(self.root / path)

    def sudo(self, *commands: str) -> tuple[str, ...]:
        """Commands for root, as root or any other user gives them."""
        return commands if self.facts.uid == 0 else tuple(f"sudo {line}" for line in commands)

    @cached_property
    def buses(self) -> list[int]:
        return self.numbers("sys/bus/usb/devices", r"usb(\d{1,9})")

    @cached_property
    def loaded(self) -> bool:
        """A usbmon that is built in has no /sys/module of its own."""
        devices = re.search(r"^ *\d+ usbmon$", self.read("proc/devices"), re.MULTILINE)
        return devices is not None or self.has("sys/module/usbmon") or self.has("sys/class/usbmon")

    @cached_property
    def nodes(self) -> list[int]:
        return self.numbers("dev", r"usbmon(\d{1,9})")

    @cached_property
    def texts(self) -> list[str]:
        """The text files, those of one bus before 0u, which has all buses."""
        numbers = sorted(
            self.numbers(TEXT_FOLDER, r"(\d{1,9})u"), key=lambda number: (not number, number)
        )
        return [f"{TEXT_FOLDER}/{number}u" for number in numbers]

    @cached_property
    def modules(self) -> str:
        """The folder of the running kernel's modules; empty if it is not here."""
        folders = (f"{folder}/{self.facts.release}" for folder in MODULE_FOLDERS)
        return next(filter(self.has, folders), "")

    def has_module(self, name: str) -> bool:
        """Whether it is built in, or modprobe can load it."""
        if not self.modules:
            return False
        lists = (self.read(f"{self.modules}/modules.{what}") for what in ("dep", "builtin"))
        return any(re.search(rf"/{name}\.ko\b", text) for text in lists)

    @cached_property
    def wsl(self) -> bool:
        return "microsoft" in self.facts.release.lower()

    @cached_property
    def container(self) -> str:
        """What kind of container this is; empty if it is none, as far as can be seen."""
        told = self.read("run/systemd/container") or self.facts.environ.get("container", "")
        word = re.match(r"[\w-]+", told, re.ASCII)
        if word:
            return "" if word[0] == "wsl" else word[0]
        for file, kind in (("run/.containerenv", "podman"), (".dockerenv", "docker")):
            if self.has(file):
                return kind
        group = re.search(r"docker|libpod|lxc|kubepods", self.read("proc/1/cgroup"))
        return (
            {"libpod": "podman", "kubepods": "kubernetes"}.get(group[0], group[0]) if group else ""
        )

    @cached_property
    def rule_group(self) -> str:
        """The group that a rule of udev gives the devices to; empty if there is no such rule."""
        for folder in _RULES:
            for name in self.names(folder):
                for line in self.read(f"{folder}/{name}").splitlines():
                    match = re.search(r'GROUP:?="([\w-]+)"', line)
                    if match and '"usbmon' in line and not line.lstrip().startswith("#"):
                        return match[1]
        return ""

    def groups(self) -> Iterator[tuple[str, int, list[str]]]:
        """Name, number and members of each group."""
        for line in self.read("etc/group").splitlines():
            fields = line.split(":")
            if len(fields) == 4 and re.fullmatch(r"\d{1,10}", fields[2], re.ASCII):
                yield fields[0], int(fields[2]), fields[3].split(",")


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a number without a name, as in containers
        return str(os.getuid()) if sys.platform != "win32" else ""


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _owner(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # it has gone since
        return 0, 0
    return status.st_gid, status.st_mode
