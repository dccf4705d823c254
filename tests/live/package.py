"""usbmon for the guest's Python 3.11: a disk image of the package this Python has installed, and
of wheels of what it depends on.

The compiled kernel goes along where this Python is a CPython 3.11 too; another's compiled modules
mean nothing to the guest's, which then takes the interpreted kernel.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (3, 11)  # the guest's, see tests/live/build

_COMMAND = """#!/bin/sh
PYTHONPATH=/opt/usbmon exec python3 -B -m usbmon "$@"
"""


def make_image(path: Path, cache: Path) -> None:
    """Make the image at `path`. What it depends on is kept in the folder `cache`."""
    content = path.with_suffix(".content")
    shutil.copytree(_dependencies(cache), content, symlinks=True)
    spec = importlib.util.find_spec("usbmon")
    assert spec is not None
    assert spec.submodule_search_locations
    installed = Path(spec.submodule_search_locations[0])
    shutil.copytree(installed, content / "usbmon", ignore=shutil.ignore_patterns("__pycache__"))
    _byte_compile(content / "usbmon")
    command = content / "bin" / "usbmon"
    command.parent.mkdir(exist_ok=True)
    command.write_text(_COMMAND)
    command.chmod(0o755)
    size = sum(file.stat().st_size for file in content.rglob("*") if file.is_file())
    with path.open("wb") as file:
        file.truncate(size * 5 // 4 + (32 << 20))
    kind = ["-t", "ext4", "-O", "^has_journal", "-d", str(content)]
    subprocess.run(["mke2fs", "-q", *kind, str(path)], check=True)
    shutil.rmtree(content)


def _dependencies(cache: Path) -> Path:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # Without the markers, which pip would judge by the Python that runs it.
    wanted = [requirement.split(";")[0].strip() for requirement in project["dependencies"]]
    name = hashlib.sha256(" ".join([*wanted, sys.version]).encode()).hexdigest()[:12]
    folder = cache / f"python-{name}"
    if not folder.exists():
        made = cache / f"python-{name}.{os.getpid()}"
        version = ".".join(map(str, PYTHON))
        target = ["--target", str(made), "--python-version", version, "--implementation", "cp"]
        pip = [sys.executable, "-m", "pip", "--quiet", "install", "--only-binary=:all:"]
        subprocess.run([*pip, *target, *wanted], check=True)
        for tests in [path for path in made.rglob("tests") if path.is_dir()]:
            shutil.rmtree(tests)
        _byte_compile(made)
        made.rename(folder)
    return folder


def _byte_compile(folder: Path) -> None:
    """Into files that only a Python of this version reads: the guest's, or none."""
    if sys.version_info[:2] == PYTHON:
        unchecked = PycInvalidationMode.UNCHECKED_HASH  # an image has its files' times anew
        compileall.compile_dir(folder, quiet=2, invalidation_mode=unchecked)
