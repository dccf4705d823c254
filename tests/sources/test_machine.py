"""What is seen of a machine, and what is not made out of what it does not show."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.machines import RELEASE, WELL, Built
from usbmon.sources.machine import Facts, Machine


@pytest.fixture
def built(tmp_path) -> Built:
    return Built(tmp_path)


def test_buses_devices_and_text_files_are_numbers_in_order(built):
    for path in ("dev/usbmon10", "dev/usbmonitor", "dev/usbmon", "sys/bus/usb/devices/usb10/x"):
        built.put(path)
    machine = built.machine
    assert machine.buses == [1, 2, 10]
    assert machine.nodes == [0, 1, 2, 10]
    assert [path.rpartition("/")[2] for path in machine.texts] == ["1u", "2u", "0u"]


@pytest.mark.parametrize("left", ["sys/module/usbmon", "sys/class/usbmon", "proc/devices"], ids=str)
def test_any_trace_of_usbmon_means_that_it_is_loaded(built, left):
    text = (built.root / "proc/devices").read_text()
    built.unload()
    assert not built.machine.loaded
    built.put(left if left == "proc/devices" else f"{left}/x", text)
    assert built.machine.loaded


def test_a_module_is_one_that_modprobe_can_load_or_that_is_built_in(built):
    assert built.machine.has_module("usbmon")
    assert not built.machine.has_module("mon")
    built.cut(f"lib/modules/{RELEASE}/modules.dep")
    assert not built.machine.has_module("usbmon")
    built.put(f"lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/usb/mon/usbmon.ko\n")
    assert built.machine.has_module("usbmon")
    built.changes["release"] = "6.1.0"
    assert not built.machine.has_module("usbmon")


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", 'engine="podman-4.3.1"\n', "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("run/systemd/container", "wsl\n", ""),
        ("run/systemd/container", "oci; reboot\nmore", "oci"),
        ("proc/1/cgroup", "9:pids:/docker/0123456789abcdef\n", "docker"),
        ("proc/1/cgroup", "0::/machine.slice/libpod-0123.scope\n", "podman"),
        ("proc/1/cgroup", "4:memory:/lxc/web\n", "lxc"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "kubernetes"),
        ("proc/1/cgroup", "0::/init.scope\n", ""),
    ],
)
def test_containers_are_told_apart(built, path, text, kind):
    built.put(path, text)
    assert built.machine.container == kind


def test_a_container_may_tell_in_its_environment(built):
    built.changes["environ"] = {"container": "lxc"}
    assert built.machine.container == "lxc"


@pytest.mark.parametrize(
    ("line", "group"),
    [
        ('SUBSYSTEM=="usbmon", GROUP="usb", MODE="0640"', "usb"),
        ('KERNEL=="usbmon*", MODE="640", GROUP:="net-mon"', "net-mon"),
        ('#SUBSYSTEM=="usbmon", GROUP="usb", MODE="0640"', ""),
        ('SUBSYSTEM=="usb", GROUP="plugdev", MODE="0660"', ""),
        ('SUBSYSTEM=="usbmon", TAG+="uaccess"', ""),
    ],
)
def test_the_group_of_a_rule_of_udev(built, line, group):
    built.put("usr/lib/udev/rules.d/50-usb.rules", f"# rules\n{line}\n")
    assert built.machine.rule_group == group


def test_commands_for_root_are_without_sudo_for_root(built):
    assert built.machine.sudo("reboot") == ("reboot",)
    built.as_user()
    assert built.machine.sudo("reboot") == ("sudo reboot",)


def everything(machine: Machine) -> list:
    """All that is looked at; a list, so that none of it is left out for being empty."""
    names = ("buses", "loaded", "nodes", "texts", "modules", "wsl", "container", "rule_group")
    return [*(getattr(machine, name) for name in names), list(machine.groups())]


def test_of_nothing_nothing_is_made(tmp_path):
    built = Built(tmp_path)
    shutil.rmtree(tmp_path)
    assert everything(built.machine) == [[], False, [], [], "", False, "", "", []]
    assert not built.machine.has_module("usbmon")
    assert not built.machine.can_read("dev/usbmon0")


@pytest.mark.parametrize("path", sorted(WELL))
def test_a_folder_where_a_file_should_be_is_no_error(built, path):
    (built.root / path).unlink()
    (built.root / path).mkdir()
    everything(built.machine)
    (built.root / path).rmdir()
    (built.root / path).symlink_to(path.rpartition("/")[2])  # to itself
    everything(built.machine)


@given(data=st.binary(max_size=200), path=st.sampled_from(sorted(WELL)))
def test_any_bytes_are_looked_at(tmp_path_factory, data, path):
    built = Built(tmp_path_factory.mktemp("machine"))
    built.put(path, data)
    assert all(number > 0 for number in built.machine.buses)
    everything(built.machine)


def test_of_an_endless_file_only_the_beginning_is_read(built):
    built.put("etc/group", b"usb:x:7:\n" + b"\0" * (8 << 20))
    assert len(built.machine.read("etc/group")) < 5 << 20
    assert next(built.machine.groups()) == ("usb", 7, [""])


def test_the_facts_of_this_process():
    facts = Facts.here()
    assert facts.uid == os.geteuid()
    assert os.getegid() in facts.groups
    assert facts.release == os.uname().release
    assert facts.version.startswith("usbmon ")


def test_rights_and_owners_are_those_of_the_file_system(tmp_path):
    facts = Facts.here()
    file = tmp_path / "node"
    assert not facts.readable(file)
    assert facts.owner(file) == (0, 0)
    file.touch(0o640)
    assert facts.readable(file)
    assert facts.owner(file) == (file.stat().st_gid, 0o100640)


def test_a_user_without_a_name_is_a_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert Facts.here().user == "4000000"
