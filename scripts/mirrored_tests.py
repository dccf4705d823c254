#!/usr/bin/env python3
"""Hold the tests to the shape of the source.

src/usbmon/formats/pcap.py has its tests in tests/formats/test_pcap.py, src/usbmon/_kernel/x.py in
tests/kernel/test_x.py (a leading underscore is dropped), and a test file that mirrors no source is
astray. __init__, __main__ and _cython may have tests, but need none. Not of one module, and so free
of the rule: tests/captures, helpers, live and parity.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path, PurePath

OPTIONAL = {"__init__.py", "__main__.py", "_cython.py"}
FREE = {"captures", "helpers", "live", "parity"}
SUPPORT = {"__init__.py", "conftest.py"}


def mirror(source: PurePath) -> PurePath:
    """The path under tests/ of the tests of `source`, a path under src/usbmon/."""
    folders = [name.removeprefix("_") for name in source.parent.parts]
    return PurePath(*folders, f"test_{source.stem.strip('_')}.py")


def problems(root: Path) -> list[str]:
    package, tests = root / "src/usbmon", root / "tests"
    sources = {mirror(p): p for p in (q.relative_to(package) for q in package.rglob("*.py"))}
    present = {path.relative_to(tests) for path in tests.rglob("*.py")}
    missing = [
        f"src/usbmon/{source} has no tests/{test}"
        for test, source in sources.items()
        if source.name not in OPTIONAL and test not in present
    ]
    astray = [
        f"tests/{test} mirrors no file of src/usbmon"
        for test in present - sources.keys()
        if test.parts[0] not in FREE and test.name not in SUPPORT
    ]
    return sorted(missing) + sorted(astray)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "root",
        nargs="?",
        type=Path,
        default=Path(__file__).parents[1],
        help="the tree to look at (default: the one this script is of)",
    )
    root = parser.parse_args().root
    if not (root / "src/usbmon").is_dir():
        parser.error(f"{root} has no src/usbmon")
    found = problems(root)
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
