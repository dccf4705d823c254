"""`usbmon doctor`: the list, what to do, the verdict, JSON, and the rule."""

import json
import re

import pytest

from tests.helpers.command import on_terminal, process
from tests.helpers.machines import Built
from usbmon.apps.cli import doctor
from usbmon.sources.doctor import PROBLEM, examine, specs, udev_rule

COMMAND = re.compile(r"    \S")


@pytest.fixture
def built(tmp_path, monkeypatch) -> Built:
    """The machine that the command looks at."""
    built = Built(tmp_path)
    monkeypatch.setattr(doctor, "examine", lambda **o: examine(built.root, built.facts, **o))
    monkeypatch.setattr(doctor, "specs", lambda: specs(built.root, built.facts))
    return built


def test_all_is_well(usbmon, built):
    lines = usbmon("doctor").lines
    assert lines[1] == "✓ ok       usb          buses 1, 2"
    assert "What to do" not in lines
    assert lines[-1] == "capture works: `usbmon capture 1` (or 2, all)"


def test_text_files_are_named_where_there_is_no_more(usbmon, built):
    built.cut("dev/usbmon")
    verdict = usbmon("doctor").lines[-1]
    assert verdict == "capture works: `usbmon capture text:/sys/kernel/debug/usb/usbmon/1u`"


def test_what_to_do_is_in_the_order_of_the_list(usbmon, built):
    built.unload()
    built.as_user()
    said = usbmon("doctor", code=1)
    assert "✗ problem  module       the usbmon module is not loaded" in said.lines
    assert [line.strip() for line in said.lines if COMMAND.match(line)] == [
        "sudo modprobe usbmon",
        "sudo usermod -aG wireshark ann",
        "usbmon doctor --udev-rule | sudo tee /etc/udev/rules.d/99-usbmon.rules",
        "sudo udevadm control --reload",
        "sudo udevadm trigger --subsystem-match=usbmon",
        "newgrp wireshark",
    ]
    assert said.lines[-1] == (
        "capture does not work here yet; `usbmon capture virtual:flash` needs no kernel"
    )
    assert said.err == ""


def test_what_is_needed_comes_before_what_is_not(usbmon, built):
    built.cut("sys/kernel/debug/usb", "dev/usbmon")
    built.put("proc/mounts", "")
    built.put(".dockerenv")
    commands = [line for line in usbmon("doctor", code=1).lines if COMMAND.match(line)]
    assert commands == [
        "    docker run --device=/dev/usbmon0 IMAGE",
        "    sudo mount -t debugfs none /sys/kernel/debug",
    ]


def test_lines_fit_and_stand_below_one_another(usbmon, built):
    built.as_user()
    lines = usbmon("doctor", code=1).lines
    assert all(len(line) <= 80 for line in lines)
    listed = lines[: lines.index("")]
    assert all(line[:2] in ("✓ ", "! ", "✗ ", "  ") for line in listed)
    assert {line[23] for line in listed} == {" "}
    assert " " not in {line[24] for line in listed}


def test_another_group(usbmon, built):
    built.as_user()
    said = usbmon("doctor", "--group", "usb-mon", code=1).out
    assert "sudo groupadd --system usb-mon\n" in said
    assert "usbmon doctor --udev-rule --group usb-mon | sudo tee" in said


def test_json(usbmon, built):
    told = json.loads(usbmon("doctor", "--json").out)
    assert told["works"] is True
    assert told["specs"][:3] == ["1", "2", "all"]
    built.unload()
    told = json.loads(usbmon("doctor", "--json", code=1).out)
    assert (told["works"], told["specs"]) == (False, [])
    assert [finding for finding in told["findings"] if finding["state"] == PROBLEM] == [
        {
            "id": "module",
            "state": "problem",
            "words": "the usbmon module is not loaded",
            "why": "It is loaded at each boot once /etc/modules-load.d/usbmon.conf holds the word "
            "usbmon.",
            "commands": ["modprobe usbmon"],
            "where": "",
        }
    ]


def test_the_rule_alone(usbmon):
    assert usbmon("doctor", "--udev-rule").out == udev_rule()
    assert 'GROUP="usb"' in usbmon("doctor", "--udev-rule", "--group", "usb").out


@pytest.mark.parametrize("name", ["", "a b", 'x", RUN="/bin/sh', "$(id)", "-x", "x" * 33, "ä"])
def test_what_is_no_name_of_a_group_gets_into_no_rule(usbmon, name):
    said = usbmon("doctor", "--udev-rule", f"--group={name}", code=2)
    assert "is no name of a group" in said.err
    assert said.out == ""


def test_colours_are_for_terminals():
    code, said = on_terminal("doctor")
    assert "\033[" in said
    assert on_terminal("doctor", NO_COLOR="1") == (code, re.sub(r"\033\[[0-9;]*m", "", said))
    piped = process("doctor")
    assert (piped.returncode, piped.stderr) == (code, b"")
    assert b"\033" not in piped.stdout
