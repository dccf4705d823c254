"""Which kernel is used, and that it makes no difference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from usbmon import _kernel

ROOT = Path(__file__).parents[2]


def run(*arguments: str, kernel: str | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "USBMON_KERNEL"}
    if kernel is not None:
        environment["USBMON_KERNEL"] = kernel
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_both_kernels_give_the_same():
    compiled = run("-m", "tests.helpers.digests").splitlines()
    interpreted = run("-m", "tests.helpers.digests", kernel="interpreted").splitlines()
    assert (compiled[0], interpreted[0]) == ("kernel\tcompiled", "kernel\tinterpreted")
    assert compiled[1:] == interpreted[1:]
    assert len(compiled) > 300


@pytest.mark.parametrize("kernel", ["interpreted", "compiled", None])
def test_the_environment_chooses_the_kernel(kernel):
    program = (
        "from usbmon import _kernel\n"
        "from usbmon._kernel import lines, pairs, records, tally, textprint, textscan\n"
        "print(_kernel.KERNEL, all(hasattr(_kernel, name) for name in _kernel.MODULES))\n"
        "print({m.__file__.endswith('.py') for m in (lines, pairs, records, tally)})\n"
    )
    chosen = kernel or "compiled"
    wanted = f"{chosen} True\n{{{chosen == 'interpreted'}}}\n"
    assert run("-c", program, kernel=kernel) == wanted


# Compiled modules beside others that are not would be a kernel that nobody has tested.
def test_a_kernel_that_is_compiled_in_part_is_interpreted(monkeypatch):
    monkeypatch.delenv("USBMON_KERNEL", raising=False)
    monkeypatch.setattr(_kernel, "MODULES", (*_kernel.MODULES, "not_compiled"))
    assert not _kernel._is_compiled()


@pytest.mark.parametrize("installed", [True, False])
def test_the_interpreted_kernel_leaves_a_cython_that_is_installed_alone(installed):
    program = (
        "import sys, types\n"
        f"theirs = types.ModuleType('cython') if {installed} else None\n"
        "if theirs: sys.modules['cython'] = theirs\n"
        "from usbmon._kernel import KERNEL, lines\n"
        "print(KERNEL, sys.modules.get('cython') is theirs, lines.cython.__name__)\n"
    )
    assert run("-c", program, kernel="interpreted") == "interpreted True usbmon._cython\n"
