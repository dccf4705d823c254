"""`usbmon mount`: what it says, and of what cannot be mounted. What is in the folder is in
tests/apps/test_fuse.py."""

from __future__ import annotations

import os.path
import signal
import subprocess
import sys

import pytest


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
        ([], 2, "Missing argument 'DIR'"),
        (["{}/missing"], 1, "missing: No such file or directory"),
        (["{}/file"], 1, "file: Not a directory"),
        (["{}"], 1, ": not empty, or mounted on already: take an empty folder"),
        (["{}", "--with", "nothing"], 1, "no device is called 'nothing'; there are flash, "),
        (["{}", "--with", "{}/missing.toml"], 1, "missing.toml: No such file or directory"),
        (["{}", "--with", "{}/bad.toml"], 1, "bad.toml: 'x' means nothing; there are seed, "),
    ],
)
def test_mistakes_are_told_and_nothing_is_mounted(words, code, message, tmp_path, usbmon):
    (tmp_path / "file").touch()
    (tmp_path / "bad.toml").write_text("x = 1")
    said = usbmon("mount", *(word.format(tmp_path) for word in words), code=code)
    assert message in said.err.splitlines()[-1]
    assert not os.path.ismount(tmp_path)


def test_what_a_killed_mount_left_behind_is_told(tmp_path, usbmon):
    command = [sys.executable, "-m", "usbmon", "mount", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr.readline() == f"{tmp_path}: mounted; Ctrl-C unmounts it\n"
        child.kill()
    try:
        said = usbmon("mount", tmp_path, code=1).err
    finally:
        subprocess.run(["fusermount3", "-u", tmp_path], check=True)
    assert said == (
        f"usbmon: {tmp_path}: left behind by a mount that was killed: fusermount3 -u {tmp_path}\n"
    )


def test_without_fuse_it_says_what_to_install(tmp_path, usbmon, monkeypatch):
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    said = usbmon("mount", tmp_path, code=1)
    assert said.err == "usbmon: FUSE is missing: install usbmon[fuse]\n"


def test_without_libfuse_3_it_says_what_to_install(tmp_path, usbmon, monkeypatch):
    monkeypatch.delitem(sys.modules, "mfusepy", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", {"fuse": "libfuse.so.2"}.get)
    said = usbmon("mount", tmp_path, code=1)
    assert said.err == ("usbmon: libfuse is missing: install it (on Debian: libfuse3-3 fuse3)\n")


def test_a_folder_that_cannot_be_mounted_on(tmp_path, usbmon, monkeypatch):
    def refuse(*_words: object, **_options: object) -> None:
        """As mfusepy when libfuse has said why on standard error."""
        raise RuntimeError(1)

    monkeypatch.setattr("mfusepy.FUSE", refuse)
    said = usbmon("mount", tmp_path, code=1)
    assert said.err.splitlines()[-1].startswith(
        f"usbmon: {tmp_path}: cannot be mounted: /dev/fuse and fusermount3 are needed"
    )
