"""One run of the bus, recorded by several readers at once: they agree about each event."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

import usbmon
from tests.helpers import corpus, readers

# Only a few records of another part of the recording, for the fillers between them.
_ELSEWHERE = {"storage-ehci/usbmon1.mmap.bin"}


def _bus(path: Path) -> str:
    return "".join(takewhile(str.isdigit, path.name.removeprefix("usbmon")))


def _readers() -> dict[tuple[Path, str], list[Path]]:
    """Recordings of the kernel's by run and bus; u text first, then t, then binary."""
    runs: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    captures = [path for path in corpus.captures() if path.name.startswith("usbmon")]
    for path in [*corpus.text_u(), *corpus.text_t(), *corpus.binary(), *captures]:
        ours = path in corpus.shipped() or path.parents[1].name == "traces"
        if ours and _bus(path) and corpus.name(path) not in _ELSEWHERE:
            runs[path.parent, _bus(path)].append(path)
    return runs


def _pairs_of_files() -> Iterator[tuple[Path, Path]]:
    """Each with the first text, and each binary one with the first of those."""
    for paths in _readers().values():
        binary = [path for path in paths if path.suffix != ".txt"]
        yield from ((paths[0], path) for path in paths[1:])
        yield from ((binary[0], path) for path in binary[1:] if binary[0] != paths[0])


@pytest.mark.parametrize(("one", "other"), list(_pairs_of_files()), ids=corpus.name)
def test_two_readers_of_a_run_agree(one, other):
    assert readers.differences(usbmon.read(one), usbmon.read(other)) == []
