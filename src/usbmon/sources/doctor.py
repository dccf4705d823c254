"""Whether the buses of this kernel can be captured here and, if not, the commands that mend it.

Here: what the files and facts of a machine mean, and the one line that a failed capture ends with.
Nothing is loaded or changed. Not here: the looking (`usbmon.sources.machine`), how it is shown
(`usbmon.apps.cli.doctor`), and capturing.

To look at one more thing, write a check and add it to `_CHECKS`: checks are in the order in which
things are to be mended, and one that nothing can follow ends the row.
"""

from __future__ import annotations

import errno
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon.sources.machine import LIBRARIES, MODULE_FOLDERS, PROGRAMS, TEXT_FOLDER, Facts, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Check = Callable[[Machine], Iterator["Finding"]]

# Wireshark's convention: members of this group may capture.
GROUP: Final = "wireshark"
RULE_FILE: Final = "/etc/udev/rules.d/99-usbmon.rules"

OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"


class Finding(NamedTuple):
    """What one look gave: `commands` mend it, `where` they are to be run if not here."""

    id: str
    state: str
    words: str
    why: str = ""
    commands: tuple[str, ...] = ()
    where: str = ""


def examine(
    root: str | Path = "/", facts: Facts | None = None, *, group: str = GROUP
) -> list[Finding]:
    """All that was looked at, in the order in which it is to be mended."""
    return _findings(Machine(Path(root), facts or Facts.here(), group))


def specs(root: str | Path = "/", facts: Facts | None = None) -> list[str]:
    """The sources of the kernel that can be captured now; none if capture does not work."""
    here = Machine(Path(root), facts or Facts.here(), GROUP)
    if not here.loaded or not here.buses:
        return []
    numbers = [number for number in here.nodes if here.can_read(f"dev/usbmon{number}")]
    binary = [str(number) for number in numbers if number] + ["all"] * (0 in numbers)
    return binary + [f"text:/{path}" for path in here.texts if here.can_read(path)]


def udev_rule(group: str = GROUP) -> str:
    """The file that lets the members of a group capture."""
    return (
        "# Members of this group may capture what happens on all USB buses, and so also what is\n"
        "# typed on USB keyboards: choose them with care.\n"
        "# To install this file, and to have it work at once:\n"
        f"#   usbmon doctor --udev-rule{_option(group)} | sudo tee {RULE_FILE}\n"
        "#   sudo udevadm control --reload\n"
        "#   sudo udevadm trigger --subsystem-match=usbmon\n"
        f'SUBSYSTEM=="usbmon", GROUP="{group}", MODE="0640"\n'
    )


def advice(
    error: OSError | None, path: str, root: str | Path = "/", facts: Facts | None = None
) -> str:
    """What a capture that could not open or read `path` ends with: what is wrong here, and the
    command that mends it. One line."""
    here = Machine(Path(root), facts or Facts.here(), GROUP)
    if error is not None and error.errno not in _MENDABLE:
        return "this has to do with the system as a whole; `usbmon doctor` looks at capture only"
    bus = re.search(r"(?:usbmon|/)(\d{1,9})[a-z]?$", path, re.ASCII)
    if here.loaded and here.buses and bus and int(bus[1]) not in (0, *here.buses):
        return f"there is no bus {int(bus[1])}, only {_listed(here.buses, 'bus', 'buses')}"
    others = _BINARY if f"/{TEXT_FOLDER}" in path else _OF_TEXT
    for finding in _findings(here):
        wrong = finding.state != OK or (finding.id == "text" and not here.can_read(path[1:]))
        if wrong and finding.id not in others and finding.id not in _BESIDE:
            return _line(finding)
    return "all that capture needs is there now: try again (`usbmon doctor` says what it looked at)"


# What only the one way to capture needs, what only the other, and what neither does.
_BINARY: Final = ("nodes", "access")
_OF_TEXT: Final = ("text",)
_BESIDE: Final = ("package", "programs", "libraries")
# What lack of a module, a node, a device or a right looks like to whoever opens it.
_MENDABLE: Final = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENXIO)


def _line(finding: Finding) -> str:
    if not finding.commands:
        return f"{finding.words}; `usbmon doctor` says more"
    if len(finding.commands) > 2:
        once = "run it with sudo, or once for all as" if finding.id == "access" else "do as"
        return f"{finding.words}; {once} `usbmon doctor` says"
    where = f" {finding.where}" if finding.where else ""
    return f"{finding.words}; run{where}: {' && '.join(finding.commands)}"


def _findings(here: Machine) -> list[Finding]:
    findings: list[Finding] = []
    for check in _CHECKS:
        findings += check(here)
        if findings and findings[-1].id in _LAST and findings[-1].state == PROBLEM:
            break
    return findings + list(_beside(here))


# The checks


def _system(here: Machine) -> Iterator[Finding]:
    facts = here.facts
    words = f"{facts.system} {facts.release}".strip()
    if facts.system != "Linux":
        yield Finding(
            "system",
            PROBLEM,
            f"{words}: usbmon is a part of the Linux kernel",
            "Capture on a Linux machine, or on Windows with USBPcap: usbmon reads its files. The "
            "virtual bus and the monitor of USB/IP work on any system.",
        )
    elif facts.release.endswith("-Microsoft"):  # that of WSL 2 is -microsoft-standard-WSL2
        yield Finding(
            "system",
            PROBLEM,
            f"{words}: WSL 1 has no Linux kernel, and so no usbmon",
            "WSL 2 has a kernel; put the name of your distribution (wsl --list) in place of NAME.",
            ("wsl --set-version NAME 2",),
            "in PowerShell on Windows",
        )
    else:
        yield Finding("system", OK, f"{words}{' (WSL 2)' if here.wsl else ''}")


def _sysfs(here: Machine) -> Iterator[Finding]:
    if not here.has("sys/kernel"):
        yield Finding(
            "sysfs",
            PROBLEM,
            "/sys is not mounted, so that no bus can be seen",
            "As in a chroot. The kernel lists its buses there.",
            here.sudo("mount -t sysfs sysfs /sys"),
        )


def _usb(here: Machine) -> Iterator[Finding]:
    if here.buses:
        yield Finding("usb", OK, f"{_listed(here.buses, 'bus', 'buses')}")
        return
    off = {"nousb", "usbcore.nousb", "usbcore.nousb=1", "usbcore.nousb=Y"}
    if off & set(here.read("proc/cmdline").split()):
        yield Finding(
            "usb",
            PROBLEM,
            "USB is switched off by `nousb` on the kernel's command line",
            "Take the word out of the boot loader's configuration, and boot again.",
        )
    elif here.wsl:
        yield Finding("usb", PROBLEM, "no USB bus: WSL has none of its own", *_WSL_USB)
    elif here.has("sys/bus/usb") or here.has_module("usbcore"):
        yield Finding(
            "usb",
            PROBLEM,
            "no USB host controller was found, so there is no bus",
            "A virtual machine needs one in its settings (QEMU: -device qemu-xhci), and the device "
            "handed on to it.",
        )
    elif here.container:
        yield Finding(
            "kernel",
            PROBLEM,
            f"the kernel of this container's host ({here.facts.release}) shows no USB",
            "It has no USB support, or has not loaded it; a container cannot change that. On the "
            "host, `usbmon doctor` says more.",
        )
    else:
        yield _other_kernel(here, "kernel", "this kernel has no USB support")


_WSL_USB: Final = (
    (
        "Windows hands a device on with usbipd-win (`winget install usbipd`); put what the first "
        "command shows in place of BUSID. In WSL, `sudo modprobe vhci-hcd` comes before it."
    ),
    ("usbipd list", "usbipd bind --busid BUSID", "usbipd attach --wsl --busid BUSID"),
    "in PowerShell on Windows, as administrator",
)


def _module(here: Machine) -> Iterator[Finding]:
    if here.loaded:
        yield Finding("module", OK, "usbmon is there")
    elif here.container:
        yield Finding(
            "module",
            PROBLEM,
            "the usbmon module is not loaded, and it is the host's to load",
            "A container has the kernel of its host.",
            ("sudo modprobe usbmon",),
            "on the host",
        )
    elif here.has_module("usbmon"):
        yield Finding(
            "module",
            PROBLEM,
            "the usbmon module is not loaded",
            "It is loaded at each boot once /etc/modules-load.d/usbmon.conf holds the word usbmon.",
            here.sudo("modprobe usbmon"),
        )
    elif here.wsl:
        yield Finding(
            "module",
            PROBLEM,
            "this kernel of WSL has no usbmon",
            "Build one with CONFIG_USB_MON=y (github.com/microsoft/WSL2-Linux-Kernel) and name it "
            "in .wslconfig, as `kernel=`. Or capture on Windows with USBPcap: usbmon reads its "
            "files.",
        )
    else:
        yield _other_kernel(here, "module", "this kernel has no usbmon module")


class _Package(NamedTuple):
    """Where a distribution keeps what is missing, by the release of its kernels."""

    distribution: str
    release: str
    why: str
    commands: tuple[str, ...]


_PACKAGES: Final = (
    _Package(
        "ubuntu",
        r"[\d.]+-\d+-(?P<flavour>[a-z-]+)",
        "Ubuntu keeps the less usual modules in a package of their own.",
        ("apt install linux-modules-extra-{release}", "modprobe usbmon"),
    ),
    _Package(
        "debian",
        r"\S+-cloud-(?P<arch>\w+)",
        "Debian's cloud kernels are built without USB, its other kernels with it. Choose the new "
        "one in the boot menu if it is not the first.",
        ("apt install linux-image-{arch}", "reboot"),
    ),
)


def _other_kernel(here: Machine, id: str, words: str) -> Finding:
    release = here.facts.release
    words = f"{words} ({release})"
    others = [name for folder in MODULE_FOLDERS for name in here.names(folder)]
    if not here.modules and others:
        why = "Its modules are gone, those of another kernel are there, as after an update."
        return Finding(id, PROBLEM, words, why, here.sudo("reboot"))
    told = re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', here.read("etc/os-release"), re.MULTILINE)
    families = " ".join(told).split()
    for row in _PACKAGES:
        match = re.fullmatch(row.release, release, re.ASCII)
        if match and row.distribution in families:
            commands = (line.format(release=release, **match.groupdict()) for line in row.commands)
            return Finding(id, PROBLEM, words, row.why, here.sudo(*commands))
    why = "Boot a kernel that has CONFIG_USB and CONFIG_USB_MON, as those of most distributions."
    return Finding(id, PROBLEM, words, why)


_AGAIN: Final = "on the host, to start the container anew"
_CONTAINERS: Final[dict[str, tuple[str, str]]] = {
    "docker": (_AGAIN, "docker run --device=/dev/usbmon0 IMAGE"),
    "podman": (_AGAIN, "podman run --device=/dev/usbmon0 --group-add keep-groups IMAGE"),
    "lxc": ("on the host", "lxc config device add NAME usbmon0 unix-char path=/dev/usbmon0"),
    "systemd-nspawn": (
        _AGAIN,
        "systemd-nspawn --bind=/dev/usbmon0 --property=DeviceAllow='/dev/usbmon0 r' -D TREE",
    ),
}


def _container(here: Machine) -> Iterator[Finding]:
    if not here.container:
        return
    words = f"this is a container ({here.container})"
    if any(here.can_read(f"dev/usbmon{number}") for number in here.nodes):
        yield Finding("container", OK, f"{words} that was given the device")
        return
    where, command = _CONTAINERS.get(here.container, ("", ""))
    yield Finding(
        "container",
        PROBLEM,
        f"{words}, and it was not given /dev/usbmon0" + (", or no right to it" * bool(here.nodes)),
        "usbmon0 has all buses, usbmon1 only bus 1. The module has to be loaded before the "
        "container starts. What runs in there then sees all that passes on USB, keyboards too.",
        (command,) if command else (),
        where,
    )


def _nodes(here: Machine) -> Iterator[Finding]:
    if not here.loaded or here.container:
        return
    wanted = here.numbers("sys/class/usbmon", r"usbmon(\d{1,9})")
    missing = [number for number in wanted if number not in here.nodes]
    if not missing:
        yield Finding("nodes", OK, f"/dev/usbmon{_listed(here.nodes)}")
        return
    devices = ((n, here.read(f"sys/class/usbmon/usbmon{n}/dev").strip()) for n in missing)
    yield Finding(
        "nodes",
        WARNING if here.nodes else PROBLEM,
        f"/dev/usbmon{_listed(missing)} missing, though the kernel has the devices",
        "devtmpfs or udev makes them; here neither has done so.",
        here.sudo(
            *(
                f"mknod -m 600 /dev/usbmon{number} c {device.replace(':', ' ')}"
                for number, device in devices
                if re.fullmatch(r"\d{1,9}:\d{1,9}", device, re.ASCII)
            )
        ),
    )


def _access(here: Machine) -> Iterator[Finding]:
    if here.container:
        return
    shut = [number for number in here.nodes if not here.can_read(f"dev/usbmon{number}")]
    if not here.loaded:
        known = here.has_module("usbmon")
        if known and here.facts.uid != 0 and not _is_in(here, here.rule_group):
            yield _right(here, "once loaded, /dev/usbmon* are for root alone", PROBLEM)
    elif not here.nodes:
        return
    elif not shut:
        yield Finding("access", OK, "the devices can be read")
    else:
        state = WARNING if len(shut) < len(here.nodes) else PROBLEM
        words = f"no right to read /dev/usbmon{_listed(shut)}"
        if here.facts.uid == 0:
            why = "Not even root has it: a cgroup of devices or a security module forbids it."
            yield Finding("access", state, words, why)
        else:
            yield _right(here, words, state, here.root / f"dev/usbmon{shut[0]}")


def _is_in(here: Machine, group: str) -> bool:
    return any(name == group and number in here.facts.groups for name, number, _ in here.groups())


def _right(here: Machine, words: str, state: str, node: Path | None = None) -> Finding:
    """What gives this user the right to read: a rule, a group, and being in it."""
    gid, mode = here.facts.owner(node) if node else (0, 0)
    owners = [name for name, number, _ in here.groups() if number == gid]
    given = owners[0] if owners and gid and mode & 0o040 else ""
    group = given or here.rule_group or here.group
    steps: list[str] = []
    if group not in {name for name, _, _ in here.groups()}:
        steps.append(f"sudo groupadd --system {group}")
    user = here.facts.user
    joined = any(name == group and user in members for name, _, members in here.groups())
    if not joined and not _is_in(here, group):
        steps.append(f"sudo usermod -aG {group} {shlex.quote(user)}")
    if not given:
        steps += _rule_steps(here, group)
    if not _is_in(here, group):
        steps.append(f"newgrp {group}")
    if given and joined:
        words = f"{words}: you are in group {group}, but this session began before that"
    why = (
        f"Members of group {group} may read them; newgrp is for this shell, all others need a new "
        "login. A trace of USB holds what is typed on keyboards. Once, without all this: "
        'sudo "$(command -v usbmon)" capture …'
    )
    return Finding("access", state, words, why, tuple(steps))


def _rule_steps(here: Machine, group: str) -> list[str]:
    if not here.has("run/udev"):
        return [f"sudo chgrp {group} /dev/usbmon*", "sudo chmod 640 /dev/usbmon*"]
    write = f"usbmon doctor --udev-rule{_option(group)} | sudo tee {RULE_FILE}"
    return [
        *([] if here.rule_group else [write]),
        "sudo udevadm control --reload",
        "sudo udevadm trigger --subsystem-match=usbmon",
    ]


def _text(here: Machine) -> Iterator[Finding]:
    """The text files of debugfs. The devices have all that these have and more, so that none of it
    is a problem where those can be read."""
    if not here.loaded:
        return
    mounted = re.search(r"^\S+ /sys/kernel/debug debugfs ", here.read("proc/mounts"), re.MULTILINE)
    lockdown = re.search(
        r"\[(integrity|confidentiality)\]", here.read("sys/kernel/security/lockdown")
    )
    enough = "not needed, /dev/usbmon* have all that it has, and more"
    where = "on the host" if here.container else ""
    # debugfs_locked_down() of fs/debugfs/file.c, at both levels: the files are of mode 0600.
    if lockdown:
        words = f"the text files are closed by the kernel's lockdown ({lockdown[1]})"
        yield Finding("text", WARNING, words, f"No command opens them; they are {enough}.")
    elif not mounted and not here.texts:
        words = f"no text files, as debugfs is not mounted ({enough})"
        commands = ("mount -t debugfs none /sys/kernel/debug",)
        sudo = tuple(f"sudo {line}" for line in commands) if where else here.sudo(*commands)
        yield Finding("text", WARNING, words, "For who wants them all the same.", sudo, where)
    elif any(map(here.can_read, here.texts)):
        yield Finding("text", OK, f"the text files in /{TEXT_FOLDER} can be read")
    else:
        yield Finding("text", OK, f"the text files of debugfs are for root alone ({enough})")


_CHECKS: Final[tuple[_Check, ...]] = (
    _system,
    _sysfs,
    _usb,
    _module,
    _container,
    _nodes,
    _access,
    _text,
)
# Where one of these is a problem, there is nothing to look at further on.
_LAST: Final = ("system", "sysfs", "kernel")


def _beside(here: Machine) -> Iterator[Finding]:
    """What else is of use here; none of it is needed for a capture."""
    facts = here.facts
    if "interpreted" in facts.version:
        why = "A busy bus may be too fast for it. With a C compiler here, install usbmon again."
        yield Finding("package", WARNING, facts.version, why)
    else:
        yield Finding("package", OK, facts.version)
    yield Finding("programs", OK, _there(facts.programs, PROGRAMS))
    yield Finding("libraries", OK, _there(facts.libraries, LIBRARIES))


def _there(found: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    absent = [name for name in wanted if name not in found]
    parts = [", ".join(found)] if found else []
    if absent:
        parts.append(f"not here, not needed: {', '.join(absent)}")
    return "; ".join(parts)


def _listed(numbers: list[int], one: str = "", many: str = "") -> str:
    word = one if len(numbers) == 1 else many
    return f"{word} {', '.join(map(str, numbers))}".strip()


def _option(group: str) -> str:
    return "" if group == GROUP else f" --group {group}"
