"""Compile the kernel where that is possible; otherwise go on with the same files interpreted.

All else of the package is declared in pyproject.toml. USBMON_NO_COMPILE=1 leaves the kernel
interpreted. Either every kernel module is compiled or none is, and one line says which and why.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = Path("src/usbmon/_kernel/fields.py")
KERNEL = sorted(set(FIELDS.parent.glob("*.py")) - {FIELDS, FIELDS.with_name("__init__.py")})
DIRECTIVES = {
    "boundscheck": False,
    "cdivision": True,
    "initializedcheck": False,
    "language_level": 3,
    "wraparound": False,
}
INTERPRETED = "installing the interpreted kernel, slower but with the same results"
# No debug symbols: they are most of the size and of the time.
FLAGS = [] if os.name == "nt" else ["-O3", "-g0"]


class BuildPackage(build_py):
    """Starts from an empty folder, so that a module that is no more is not installed either."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "usbmon"), ignore_errors=True)
        super().run()


class BuildKernel(build_ext):
    """Compiles all kernel modules or, whatever goes wrong, none."""

    def run(self) -> None:
        log = Path("build/kernel.log")
        inplace = self.inplace
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with quiet(log):
                self.compile()
        except (Exception, SystemExit):  # noqa: BLE001  Cython and distutils raise what they like
            self.inplace = inplace  # setuptools clears it while at work
            self.withdraw()
            say(f"{INTERPRETED}: {obstacle(log)}")
        else:
            say("the kernel is compiled")

    def compile(self) -> None:
        from Cython.Build import cythonize

        constants = Path(self.build_temp, "usbmon/_kernel/fields.pxd")
        constants.parent.mkdir(parents=True, exist_ok=True)
        constants.write_text(as_pxd(FIELDS))
        compiled = cythonize(
            self.extensions,
            build_dir=self.build_temp,
            include_path=[self.build_temp],
            compiler_directives=DIRECTIVES,
            force=True,
        )
        sources = {extension.name: extension.sources for extension in compiled}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        self.force = True
        self.parallel = self.parallel or os.cpu_count()
        super().run()

    def withdraw(self) -> None:
        """Remove what this build or an earlier one has compiled."""
        folders = {Path(self.build_lib, "usbmon/_kernel")}
        if self.inplace:
            folders.add(Path("src/usbmon/_kernel"))
        for folder in folders:
            for path in KERNEL:
                for suffix in EXTENSION_SUFFIXES:
                    folder.joinpath(path.stem + suffix).unlink(missing_ok=True)
        self.extensions = []


def as_pxd(module: Path) -> str:
    """The constants of a Python module as those of C."""
    sys.path.insert(0, "src")
    try:
        names = runpy.run_path(str(module))
    finally:
        sys.path.remove("src")
    lines = [f"    {name} = {value}" for name, value in names.items() if name[0] in ascii_uppercase]
    return "\n".join(["cdef enum:", *lines, ""])


@contextlib.contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send what compilers print to `log`: an error of theirs is not one of the install."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, fd in enumerate(kept, start=1):
            os.dup2(fd, number)
            os.close(fd)


def obstacle(log: Path) -> str:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers are missing (python3-dev)"
    return f"compiling failed, see {log}"


def say(line: str) -> None:
    """Tell whoever installs; pip swallows what a build prints, so tell their terminal, too."""
    print(f"usbmon: {line}", file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        with contextlib.suppress(OSError), Path("/dev/tty").open("w") as terminal:
            print(f"\nusbmon: {line}", file=terminal)


if os.environ.get("USBMON_NO_COMPILE", "0") not in {"", "0"}:
    say(f"{INTERPRETED}: USBMON_NO_COMPILE is set")
    KERNEL.clear()

setup(
    cmdclass={"build_ext": BuildKernel, "build_py": BuildPackage},
    ext_modules=[
        Extension(f"usbmon._kernel.{path.stem}", [str(path)], extra_compile_args=FLAGS)
        for path in KERNEL
    ],
)
