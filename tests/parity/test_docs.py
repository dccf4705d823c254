"""The documents against the program: commands give the output that stands below them, and Python
runs. In a folder of its own, which has the examples of the source."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(pattern: re.Pattern[str]) -> list:
    return [
        pytest.param(
            match[1], id=f"{page.name}-{page.read_text()[: match.start()].count(chr(10)) + 1}"
        )
        for page in PAGES
        for match in pattern.finditer(page.read_text())
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A `usbmon` in the path that is the package under test."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "usbmon"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m usbmon "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.parametrize("block", blocks(CONSOLE))
def test_commands_give_what_stands_below_them(block, environment, folder):
    for part in block.split("$ ")[1:]:
        command, _, expected = part.partition("\n")
        said = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert said.stdout == expected


@pytest.mark.parametrize("block", blocks(PYTHON))
def test_python_runs(block, folder):
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", block], cwd=folder, capture_output=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, b"")
    assert said.stdout


def test_there_are_blocks_to_run():
    assert len(blocks(CONSOLE)) > 6
    assert len(blocks(PYTHON)) > 5
