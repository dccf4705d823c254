"""For each way in which capture does not work: that it is found, and the commands that mend it."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.machines import RELEASE, WELL, Built
from usbmon.sources.doctor import (
    OK,
    PROBLEM,
    WARNING,
    Finding,
    advice,
    examine,
    specs,
    udev_rule,
)

BESIDE = {"package", "programs", "libraries"}


@pytest.fixture
def built(tmp_path) -> Built:
    return Built(tmp_path)


def found(built: Built, state: str, group: str = "wireshark") -> list[Finding]:
    findings = examine(built.root, built.facts, group=group)
    return [finding for finding in findings if finding.state == state and finding.id not in BESIDE]


def problem(built: Built) -> Finding:
    """The only one."""
    (finding,) = found(built, PROBLEM)
    return finding


def works(built: Built) -> list[str]:
    return specs(built.root, built.facts)


def said(built: Built, path: str = "/dev/usbmon1", number: int | None = errno.ENOENT) -> str:
    error = None if number is None else OSError(number, os.strerror(number), path)
    return advice(error, path, built.root, built.facts)


def test_where_all_is_well(built):
    assert not found(built, PROBLEM)
    assert not found(built, WARNING)
    assert works(built) == [
        "1",
        "2",
        "all",
        *(f"text:/sys/kernel/debug/usb/usbmon/{name}" for name in ("1u", "2u", "0u")),
    ]
    assert said(built).startswith("all that capture needs is there now: try again")


def test_what_is_of_use_beside_it_is_told(built):
    tell = {finding.id: finding.words for finding in examine(built.root, built.facts)}
    assert tell["programs"] == "tcpdump; not here, not needed: wireshark, tshark"
    assert tell["libraries"] == "not here, not needed: pyudev, mfusepy"
    built.changes["programs"] = ("wireshark", "tshark", "tcpdump")
    built.changes["version"] = "usbmon 1, interpreted kernel, Python 3"
    last = {finding.id: finding for finding in examine(built.root, built.facts)}
    assert last["programs"].words == "wireshark, tshark, tcpdump"
    assert last["package"].state == WARNING
    assert "C compiler" in last["package"].why


# The system


def test_no_linux(built):
    built.changes |= {"system": "Darwin", "release": "23.1.0"}
    assert problem(built).words == "Darwin 23.1.0: usbmon is a part of the Linux kernel"
    assert "USBPcap" in problem(built).why
    assert {finding.id for finding in examine(built.root, built.facts)} == {"system", *BESIDE}


def test_wsl_1(built):
    built.changes["release"] = "4.4.0-19041-Microsoft"
    assert problem(built).commands == ("wsl --set-version NAME 2",)
    assert problem(built).where == "in PowerShell on Windows"


@pytest.mark.parametrize(
    "release", ["5.15.153.1-microsoft-standard-WSL2", "4.19.104-microsoft-standard"]
)
def test_wsl_2_has_neither_a_bus_nor_usbmon(built, release):
    built.changes["release"] = release
    built.unload()
    built.cut("sys/bus/usb", "lib/modules")
    usb, module = found(built, PROBLEM)
    assert said(built).endswith("no USB bus: WSL has none of its own; do as `usbmon doctor` says")
    assert usb.commands[0] == "usbipd list"
    assert usb.commands[-1] == "usbipd attach --wsl --busid BUSID"
    assert usb.where == "in PowerShell on Windows, as administrator"
    assert "CONFIG_USB_MON=y" in module.why
    assert "USBPcap" in module.why


def test_sys_not_mounted(built):
    built.cut("sys")
    assert problem(built).commands == ("mount -t sysfs sysfs /sys",)
    assert not works(built)


# Buses


def test_no_host_controller(built):
    built.cut("sys/bus/usb/devices")
    built.put("sys/bus/usb/drivers/hub/bind")
    assert problem(built).words == "no USB host controller was found, so there is no bus"
    assert not works(built)


def test_usb_switched_off(built):
    built.unload()
    built.cut("sys/bus/usb")
    built.put("proc/cmdline", "root=/dev/sda1 nousb quiet\n")
    assert found(built, PROBLEM)[0].words.startswith("USB is switched off by `nousb`")


def test_a_kernel_without_usb(built):
    built.unload()
    built.cut("sys/bus/usb", f"lib/modules/{RELEASE}/modules.dep")
    assert problem(built).id == "kernel"
    assert problem(built).words == f"this kernel has no USB support ({RELEASE})"
    assert "CONFIG_USB_MON" in problem(built).why


def test_a_container_on_a_kernel_without_usb(built):
    built.unload()
    built.cut("sys/bus/usb", "lib/modules")
    built.put(".dockerenv")
    assert problem(built).id == "kernel"
    assert "a container cannot change that" in problem(built).why


# The module


def test_module_not_loaded(built):
    built.unload()
    assert problem(built).commands == ("modprobe usbmon",)
    assert "/etc/modules-load.d/usbmon.conf" in problem(built).why
    assert not works(built)
    assert said(built) == "the usbmon module is not loaded; run: modprobe usbmon"


def test_a_device_left_over_from_a_module_that_is_not_loaded(built):
    built.unload()
    built.put("dev/usbmon1")
    assert problem(built).commands == ("modprobe usbmon",)
    assert not works(built)
    assert said(built, number=errno.ENXIO).startswith("the usbmon module is not loaded")


def test_module_not_loaded_and_then_no_right_to_it(built):
    built.unload()
    built.as_user()
    module, access = found(built, PROBLEM)
    assert module.commands == ("sudo modprobe usbmon",)
    assert access.words == "once loaded, /dev/usbmon* are for root alone"
    assert access.commands[0] == "sudo usermod -aG wireshark ann"


def test_module_not_loaded_but_a_rule_will_give_the_right(built):
    built.unload()
    built.as_user(120)
    built.put("etc/udev/rules.d/99-usbmon.rules", udev_rule())
    assert problem(built).id == "module"


def test_ubuntu_has_the_module_in_a_package_of_its_own(built):
    built.unload()
    built.as_user(0)
    built.cut("lib/modules")
    built.put("etc/os-release", 'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n')
    built.put("lib/modules/6.8.0-31-generic/modules.dep", "kernel/drivers/usb/core/usbcore.ko:\n")
    built.changes |= {"release": "6.8.0-31-generic"}
    assert found(built, PROBLEM)[0].commands == (
        "sudo apt install linux-modules-extra-6.8.0-31-generic",
        "sudo modprobe usbmon",
    )


def test_debians_cloud_kernel(built):
    built.unload()
    built.cut("lib/modules", "sys/bus/usb")
    built.put("lib/modules/6.1.0-18-cloud-arm64/modules.dep")
    built.changes["release"] = "6.1.0-18-cloud-arm64"
    assert problem(built).id == "kernel"
    assert problem(built).commands == ("apt install linux-image-arm64", "reboot")


def test_a_kernel_of_ones_own_is_no_package_of_the_distribution(built):
    built.unload()
    built.put("etc/os-release", "ID=ubuntu\n")
    built.changes["release"] = "6.12.0"
    built.put("lib/modules/6.12.0/modules.dep")
    assert problem(built).id == "module"
    assert not problem(built).commands
    assert "CONFIG_USB_MON" in problem(built).why


def test_the_kernel_was_updated_and_not_booted(built):
    built.unload()
    built.changes["release"] = "6.12.1-arch1-1"
    assert problem(built).commands == ("reboot",)


# Containers


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("docker", "docker run --device=/dev/usbmon0 IMAGE"),
        ("podman", "podman run --device=/dev/usbmon0 --group-add keep-groups IMAGE"),
        ("lxc", "lxc config device add NAME usbmon0 unix-char path=/dev/usbmon0"),
        (
            "systemd-nspawn",
            "systemd-nspawn --bind=/dev/usbmon0 --property=DeviceAllow='/dev/usbmon0 r' -D TREE",
        ),
    ],
)
def test_a_container_is_to_be_given_the_device(built, kind, command):
    built.put("run/systemd/container", f"{kind}\n")
    built.cut("dev/usbmon", "sys/kernel/debug/usb")
    assert problem(built).words == (
        f"this is a container ({kind}), and it was not given /dev/usbmon0"
    )
    assert problem(built).commands == (command,)
    assert problem(built).where.startswith("on the host")
    assert said(built, "/dev/usbmon0").endswith(f": {command}")


def test_a_container_that_has_the_device_but_no_right_to_it(built):
    built.put(".dockerenv")
    built.shut = {"dev/usbmon0", "dev/usbmon1", "dev/usbmon2"}
    assert problem(built).words.endswith("it was not given /dev/usbmon0, or no right to it")
    assert said(built, number=errno.EPERM).startswith("this is a container (docker)")


def test_a_container_that_was_given_a_device(built):
    built.put("run/.containerenv")
    built.cut("dev/usbmon1", "dev/usbmon2", "sys/kernel/debug/usb")
    assert not found(built, PROBLEM)
    assert works(built) == ["all"]


def test_in_a_container_the_module_is_the_hosts(built):
    built.unload()
    built.put(".dockerenv")
    module, container = found(built, PROBLEM)
    assert (module.where, module.commands) == ("on the host", ("sudo modprobe usbmon",))
    assert container.id == "container"


def test_an_unknown_container_has_no_command_made_up_for_it(built):
    built.changes["environ"] = {"container": "oci"}
    built.cut("dev/usbmon")
    assert not problem(built).commands
    assert "(oci)" in problem(built).words


# Devices and rights


def test_devices_missing_though_loaded(built):
    built.cut("dev/usbmon", "sys/kernel/debug/usb")
    assert problem(built).commands == tuple(
        f"mknod -m 600 /dev/usbmon{number} c 238 {number}" for number in (0, 1, 2)
    )
    assert not works(built)


def test_one_device_missing(built):
    built.cut("dev/usbmon1")
    (finding,) = found(built, WARNING)
    assert finding.commands == ("mknod -m 600 /dev/usbmon1 c 238 1",)
    assert said(built) == (
        "/dev/usbmon1 missing, though the kernel has the devices; "
        "run: mknod -m 600 /dev/usbmon1 c 238 1"
    )


@pytest.mark.parametrize("number", ["", "238", "238:1; reboot", "$(id):1", "٢٣٨:1"])
def test_what_is_no_number_of_a_device_goes_into_no_command(built, number):
    built.put("sys/class/usbmon/usbmon1/dev", number)
    built.cut("dev/usbmon1")
    (finding,) = found(built, WARNING)
    assert not finding.commands


def test_devices_for_root_alone(built):
    built.as_user()
    assert problem(built).words == "no right to read /dev/usbmon0, 1, 2"
    assert problem(built).commands == (
        "sudo usermod -aG wireshark ann",
        "usbmon doctor --udev-rule | sudo tee /etc/udev/rules.d/99-usbmon.rules",
        "sudo udevadm control --reload",
        "sudo udevadm trigger --subsystem-match=usbmon",
        "newgrp wireshark",
    )
    assert not works(built)
    assert said(built, number=errno.EACCES) == (
        "no right to read /dev/usbmon0, 1, 2; run it with sudo, or once for all as "
        "`usbmon doctor` says"
    )


def test_a_group_that_is_not_there_is_made_and_named_to_the_rule(built):
    built.as_user()
    (finding,) = found(built, PROBLEM, group="usb-mon")
    assert finding.commands[:3] == (
        "sudo groupadd --system usb-mon",
        "sudo usermod -aG usb-mon ann",
        "usbmon doctor --udev-rule --group usb-mon | sudo tee /etc/udev/rules.d/99-usbmon.rules",
    )


def test_a_name_with_blanks_stays_one_word_of_the_command(built):
    built.as_user()
    built.changes["user"] = "ann o'hara; reboot"
    assert problem(built).commands[0].endswith(" 'ann o'\"'\"'hara; reboot'")


def test_a_rule_that_was_not_applied_yet(built):
    built.as_user(120)
    built.put("etc/udev/rules.d/99-usbmon.rules", udev_rule())
    assert problem(built).commands == (
        "sudo udevadm control --reload",
        "sudo udevadm trigger --subsystem-match=usbmon",
    )


def test_without_udev_the_devices_are_changed_themselves(built):
    built.as_user(120)
    built.cut("run/udev")
    assert problem(built).commands == (
        "sudo chgrp wireshark /dev/usbmon*",
        "sudo chmod 640 /dev/usbmon*",
    )


def test_devices_of_a_group_that_the_user_is_to_join(built):
    built.as_user()
    built.owners = dict.fromkeys(("dev/usbmon0", "dev/usbmon1", "dev/usbmon2"), (120, 0o20640))
    assert problem(built).commands == ("sudo usermod -aG wireshark ann", "newgrp wireshark")


def test_a_user_who_joined_but_did_not_log_in_again(built):
    built.as_user()
    built.owners = dict.fromkeys(("dev/usbmon0", "dev/usbmon1", "dev/usbmon2"), (120, 0o20640))
    built.put("etc/group", "root:x:0:\nwireshark:x:120:bob,ann\n")
    assert problem(built).commands == ("newgrp wireshark",)
    assert problem(built).words.endswith(
        "you are in group wireshark, but this session began before that"
    )
    assert said(built, number=errno.EACCES).endswith("; run: newgrp wireshark")


def test_a_right_to_one_device_is_enough_for_that_one(built):
    built.as_user()
    built.shut.discard("dev/usbmon2")
    assert not found(built, PROBLEM)
    assert works(built) == ["2"]
    assert said(built, "/dev/usbmon1", errno.EACCES).startswith("no right to read /dev/usbmon0, 1;")


def test_a_device_that_not_even_root_may_read(built):
    built.shut = {"dev/usbmon0", "dev/usbmon1", "dev/usbmon2"}
    assert "Not even root" in problem(built).why
    assert not problem(built).commands


# Text files


def test_debugfs_not_mounted(built):
    built.cut("sys/kernel/debug/usb")
    built.put("proc/mounts", "proc /proc proc rw 0 0\n")
    assert not found(built, PROBLEM)
    (finding,) = found(built, WARNING)
    assert finding.commands == ("mount -t debugfs none /sys/kernel/debug",)
    assert "not needed" in finding.words
    assert works(built) == ["1", "2", "all"]
    assert said(built, "/sys/kernel/debug/usb/usbmon/1u").endswith(
        "; run: mount -t debugfs none /sys/kernel/debug"
    )
    assert "debugfs" not in said(built)


@pytest.mark.parametrize("level", ["integrity", "confidentiality"])
def test_lockdown_closes_the_text_files_and_not_the_devices(built, level):
    line = "none integrity confidentiality\n".replace(level, f"[{level}]")
    built.put("sys/kernel/security/lockdown", line)
    built.shut = {path for path in WELL if "debug" in path}
    assert not found(built, PROBLEM)
    (finding,) = found(built, WARNING)
    assert finding.words == f"the text files are closed by the kernel's lockdown ({level})"
    assert works(built) == ["1", "2", "all"]
    assert said(built, "/sys/kernel/debug/usb/usbmon/0u", errno.EPERM).startswith(finding.words)


def test_text_files_for_root_alone(built):
    built.as_user(120)
    built.shut = {path for path in WELL if "debug" in path}
    assert not found(built, WARNING)
    assert works(built) == ["1", "2", "all"]
    assert said(built, "/sys/kernel/debug/usb/usbmon/1u", errno.EACCES).startswith(
        "the text files of debugfs are for root alone (not needed, /dev/usbmon* have all that"
    )


# Advice


def test_a_bus_that_is_not_there(built):
    assert said(built, "/dev/usbmon7") == "there is no bus 7, only buses 1, 2"
    assert said(built, "/sys/kernel/debug/usb/usbmon/7u") == "there is no bus 7, only buses 1, 2"


def test_an_error_of_another_kind_is_not_put_down_to_capture(built):
    built.unload()
    assert "modprobe" not in said(built, number=errno.EMFILE)


def test_without_an_error_what_is_missing_is_told(built):
    built.unload()
    assert said(built, number=None).startswith("the usbmon module is not loaded")


def test_the_rule_is_wiresharks_and_tells_how_to_install_it():
    *comment, rule = udev_rule().splitlines()
    assert rule == 'SUBSYSTEM=="usbmon", GROUP="wireshark", MODE="0640"'
    assert all(line.startswith("#") for line in comment)
    assert "#   usbmon doctor --udev-rule | sudo tee /etc/udev/rules.d/99-usbmon.rules" in comment
    assert 'GROUP="usb"' in udev_rule("usb")


@given(
    cut=st.sets(st.sampled_from(sorted(WELL)), max_size=8),
    texts=st.dictionaries(st.sampled_from(sorted(WELL)), st.text(max_size=40), max_size=4),
    shut=st.sets(st.sampled_from(sorted(WELL))),
    user=st.booleans(),
    container=st.booleans(),
    path=st.sampled_from(["/dev/usbmon0", "/dev/usbmon1", "/sys/kernel/debug/usb/usbmon/1u", ""]),
)
def test_whatever_is_there_one_line_is_said_and_a_problem_is_no_success(
    tmp_path_factory, *, cut, texts, shut, user, container, path
):
    built = Built(tmp_path_factory.mktemp("machine"))
    for name, text in texts.items():
        built.put(name, text)
    built.cut(*cut, "none")
    if user:
        built.as_user()
    built.shut = shut
    if container:
        built.put(".dockerenv")
    findings = examine(built.root, built.facts)
    assert {finding.state for finding in findings} <= {OK, WARNING, PROBLEM}
    assert all("\n" not in words for f in findings for words in (f.words, *f.commands))
    line = said(built, path, errno.EACCES)
    assert line
    assert "\n" not in line
    binary = [spec for spec in works(built) if not spec.startswith("text:")]
    if not works(built):
        assert any(finding.state != OK and finding.id not in BESIDE for finding in findings)
    if binary:
        assert not any(finding.state == PROBLEM for finding in findings)
