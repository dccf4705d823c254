"""The recorded traces that tests read.

Those in `tests/captures` ship with the project and are always there. Beside a checkout there may be
a folder `shared` with more of them, our own long recordings and those of others; each function
gives these too where they are. For pytest: ``parametrize("path", text_u(), ids=name)``.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from usbmon._kernel import KERNEL

_ROOT = Path(__file__).resolve().parents[2]
CAPTURES = _ROOT / "tests" / "captures"
_SHARED = _ROOT.parent / "shared"

# A suite on the interpreted kernel leaves out the long ones, which show it nothing new.
_LIMIT = 1 << 30 if KERNEL == "compiled" else 40_000

_TEXT = re.compile(r"(\d+[ut]\.txt(\.xz)?|\d[ut]-.*\.txt|.*\.mon|.*\.usbmon|usbmon\.(log|txt))")
_BINARY = re.compile(r"usbmon\d+\.(read|get|getx|mmap)\.bin")
_CAPTURE = re.compile(r".*\.(pcap|cap|pcapng)(\.[gx]z)?")
_EVENT = re.compile(rb"^\S+ +\d+ [SCE] [CZIB][io]((?::\d+)+)", re.MULTILINE)


def name(path: Path) -> str:
    """A readable test id."""
    return f"{path.parent.name}/{path.name}"


@cache
def shipped() -> tuple[Path, ...]:
    """All trace files in `tests/captures`."""
    return tuple(sorted(_traces(CAPTURES)))


@cache
def _all() -> tuple[Path, ...]:
    others = (*_traces(_SHARED / "traces"), *_traces(_SHARED / "captures"))
    return shipped() + tuple(sorted(p for p in others if p.stat().st_size <= _LIMIT))


def _traces(folder: Path) -> Iterator[Path]:
    for path in folder.glob("*/*"):
        if any(pattern.fullmatch(path.name) for pattern in (_TEXT, _BINARY, _CAPTURE)):
            yield path


def _matching(pattern: re.Pattern[str], among: Iterable[Path]) -> list[Path]:
    return [path for path in among if pattern.fullmatch(path.name)]


def _colons(path: Path) -> int:
    """How many colons an address has in this text trace: three in format u, two in format t."""
    if path.suffix == ".xz":
        return 3 if "u.txt" in path.name else 2
    match = _EVENT.search(path.read_bytes()[:65536])
    return match[1].count(b":") if match else 0


def _text(colons: int, among: Iterable[Path]) -> list[Path]:
    found = [path for path in among if not _CAPTURE.fullmatch(path.name) and path.suffix != ".bin"]
    return [path for path in found if _colons(path) == colons]


def text_u(*, ours: bool = False) -> list[Path]:
    """Text traces of format u. `ours`: only those that ship; the kernel wrote every byte of them,
    while others' can have been through mail and editors."""
    return _text(3, shipped() if ours else _all())


def text_t(*, ours: bool = False) -> list[Path]:
    """Text traces of format t."""
    return _text(2, shipped() if ours else _all())


def binary(*, ours: bool = False) -> list[Path]:
    """Streams of the binary API."""
    return _matching(_BINARY, shipped() if ours else _all())


def captures(*, ours: bool = False) -> list[Path]:
    """pcap and pcapng files."""
    return _matching(_CAPTURE, shipped() if ours else _all())


def header_size(path: Path) -> int:
    """Of a binary stream, by the call that it was read with."""
    return 48 if path.name.split(".")[1] in {"read", "get"} else 64


def info(path: Path) -> dict[str, int]:
    """The numbers that were noted when a binary stream was recorded: `alloc`, `events`, …"""
    words = path.with_name(path.name + ".info").read_text().split()
    return {a: int(b) for a, b in pairwise(words) if b.isdigit()}
