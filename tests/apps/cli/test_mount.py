"""`usbmon mount`: what it says, and of what cannot be mounted. What is in the folder is in
tests/apps/test_fuse.py."""

from __future__ import annotations

import os.path
import signal
import subprocess
import sys

import pytest

from tests.helpers.command import process


def test_it_says_that_it_is_mounted_and_how_to_end_it(tmp_path):
    words = [sys.executable, "-m", "usbmon", "mount", str(tmp_path), "-v"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        said = []
        for line in child.stderr:
            said.append(line.rstrip())
            if "Product: Flash Key" in line:
                break
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    assert f"{tmp_path}: mounted; Ctrl-C unmounts it" in said
    found = [line.partition("usb 1-")[2] for line in said if " Product: " in line]
    assert found == ["", "", "1: Product: Keyboard", "2: Product: Flash Key"]  # with no --with
    assert not os.path.ismount(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{}/missing"], 2, "missing' does not exist"),
        (["{}/file"], 2, "file' is a file"),
        (["{}", "--with", "nothing"], 1, "no device is called 'nothing'; there are flash, "),
        (["{}", "--with", "{}/missing.toml"], 1, "missing.toml: No such file or directory"),
    ],
)
def test_mistakes_are_told_and_nothing_is_mounted(words, code, message, tmp_path):
    (tmp_path / "file").touch()
    done = process("mount", *(word.format(tmp_path) for word in words))
    assert done.returncode == code
    assert message in done.stderr.decode()
    assert not os.path.ismount(tmp_path)


def test_without_fuse_it_says_what_to_install(tmp_path, usbmon, monkeypatch):
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    said = usbmon("mount", tmp_path, code=1)
    assert said.err.splitlines()[-1] == "usbmon: FUSE is missing: install usbmon[fuse]"


def test_a_folder_that_cannot_be_mounted_on(tmp_path, usbmon, monkeypatch):
    def refuse(*_words: object, **_options: object) -> None:
        """As mfusepy when libfuse has said why on standard error."""
        raise RuntimeError(1)

    monkeypatch.setattr("mfusepy.FUSE", refuse)
    said = usbmon("mount", tmp_path, code=1)
    assert said.err.splitlines()[-1].startswith(
        f"usbmon: {tmp_path}: cannot be mounted: /dev/fuse and fusermount3 are needed"
    )
