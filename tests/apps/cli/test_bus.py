"""`usbmon bus`: what it tells of a virtual bus, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from tests.helpers.command import on_terminal
from usbmon.bus.devices import MODELS

LINE = re.compile(r"\[ *\d+\.\d{6}\] .+")
SCENARIO = """
[devices.keys]
model = "keyboard"
[[step]]
do = "type"
device = "keys"
text = "a"
[[step]]
at = 3
do = "unplug"
device = "keys"
"""


def test_it_tells_what_a_kernel_would_log(usbmon):
    said = usbmon("bus", "mouse")
    assert all(LINE.fullmatch(line) for line in said.lines)
    words = [line[15:] for line in said.lines]
    for expected in (
        "usb usb1: New USB device found, idVendor=1d6b, idProduct=0002",
        "usb 1-1: new full-speed USB device number 2 using usbmon-hcd",
        "usb 1-1: Product: Mouse",
        "-- unplug mouse",
        "usb 1-1: USB disconnect, device number 2",
    ):
        assert words.count(expected) == 1
    assert words[-1] == "usb 1-1: USB disconnect, device number 2"
    assert re.fullmatch(r"\d+ URBs in \d\.\d{3} s of the bus, \d+\.\d s of ours\n", said.err)


def test_times_are_in_their_order_and_the_same_each_time(usbmon):
    said = usbmon("bus", "hub", "keyboard", "flash")
    times = [float(line[1:13]) for line in said.lines]
    assert times == sorted(times)
    assert usbmon("bus", "hub", "keyboard", "flash").out == said.out


def test_devices_behind_a_hub_are_behind_it(usbmon):
    said = usbmon("bus", "hub", "keyboard")
    assert "usb 1-1.1: Product: Keyboard" in said.out


def test_a_scenario(usbmon, tmp_path):
    (tmp_path / "s.toml").write_text(SCENARIO)
    said = usbmon("bus", tmp_path / "s.toml")
    assert "[    3.000000] -- unplug keys\n" in said.out


def test_it_stops_after_a_time(usbmon, tmp_path):
    (tmp_path / "s.toml").write_text(SCENARIO)
    said = usbmon("bus", tmp_path / "s.toml", "-d", "1s")
    assert "unplug" not in said.out
    assert " URBs in 1.000 s of the bus" in said.err


def test_devices_are_listed_at_the_end(usbmon, tmp_path):
    (tmp_path / "s.toml").write_text(SCENARIO)
    said = usbmon("bus", tmp_path / "s.toml", "-q", "-d", "2s", "--devices")
    assert said.err == ""
    blocks = said.out.strip("\n").split("\n\n")
    assert [block.split("\n")[0].partition(" Spd=")[0] for block in blocks] == [
        "T:  Bus=01 Lev=00 Prnt=00 Port=00 Cnt=00 Dev#=  1",
        "T:  Bus=01 Lev=01 Prnt=01 Port=00 Cnt=01 Dev#=  2",
        "T:  Bus=02 Lev=00 Prnt=00 Port=00 Cnt=00 Dev#=  1",
    ]
    assert "S:  Product=Keyboard" in blocks[1]
    assert "Driver=usbhid" in blocks[1]


def test_quiet_is_quiet(usbmon):
    said = usbmon("bus", "-q", "mouse")
    assert (said.out, said.err) == ("", "")


def test_the_list_has_all_there_is(usbmon):
    said = usbmon("bus", "--list")
    for model in MODELS:
        assert re.search(rf"^  {model.name} +{re.escape(model.words)}: ", said.out, re.MULTILINE)
    assert re.search(
        r"^  copy +device \[file\] \[text\] \[size\] \[name\]$", said.out, re.MULTILINE
    )


def test_a_step_that_fails_is_told_with_its_place(usbmon, tmp_path):
    (tmp_path / "s.toml").write_text(SCENARIO.replace('do = "type"', 'do = "scroll"').replace(
        'text = "a"', "notches = 1"))  # fmt: skip
    said = usbmon("bus", tmp_path / "s.toml", code=1)
    assert said.err.splitlines()[-1] == (
        f"usbmon: {tmp_path}/s.toml: step 1: scroll: keys cannot scroll"
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 1, "virtual:nothing: no device is called 'nothing'; there are flash, "),
        (["missing.toml"], 1, "missing.toml: No such file or directory"),
        ([], 2, "Missing argument"),
        (["mouse", "-d", "never"], 2, "'never' is no time"),
    ],
)
def test_mistakes_are_one_line(usbmon, words, code, message):
    said = usbmon("bus", *words, code=code)
    assert message in said.err
    assert said.out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number):
    child = subprocess.Popen(
        [sys.executable, "-m", "usbmon", "bus", "keyboard", "--paced"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if "Product: Keyboard" in line:
            break
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0
    assert out.splitlines()[-1].endswith("] ended by you")
    assert re.match(r"\d+ URBs in ", err)


def test_on_a_terminal_the_time_goes_on_where_nothing_is_said(tmp_path):
    (tmp_path / "s.toml").write_text(SCENARIO.replace("at = 3", "at = 0.5"))
    code, got = on_terminal("bus", str(tmp_path / "s.toml"), "--paced")
    assert code == 0
    assert re.search(r"\r\x1b\[K\[ +0\.\d{6}\]  \(Ctrl-C ends\)", got)


def test_who_stops_reading_is_not_written_to():
    command = f"{sys.executable} -m usbmon bus flash | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, check=False, timeout=60)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")
