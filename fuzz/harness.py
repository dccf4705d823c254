"""What the fuzz targets share: where examples come from, and how a target is run.

With the interpreted kernel (the default) atheris sees every branch of the codecs and steers by
them. With ``USBMON_KERNEL=compiled`` it sees those of the Python part only, but the compiled kernel
is what runs: for memory errors, with the examples found before (see README.md).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

os.environ.setdefault("USBMON_KERNEL", "interpreted")
if os.environ["USBMON_KERNEL"] == "compiled":
    del os.environ["USBMON_KERNEL"]

import atheris

with atheris.instrument_imports(include=["usbmon"]):
    from usbmon import _kernel, compression, files, formats, merge, summary
    from usbmon.errors import FormatError, UsbmonError
    from usbmon.events import Events
    from usbmon.formats import binary, mend, pcap, pcapng, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from usbmon.formats.base import Decoder

__all__ = [  # what is instrumented, for the targets
    "binary", "compression", "files", "formats", "mend", "merge", "pcap", "pcapng", "summary",
    "text",
]  # fmt: skip

_CAPTURES = Path(__file__).resolve().parents[1] / "tests" / "captures"
_MOST = 600  # bytes of an example: a few events, so that a turn is quick


def _instrument_kernel() -> None:
    """The interpreted kernel is not loaded by an import that atheris could look into."""
    for name in _kernel.MODULES:
        for value in vars(sys.modules[f"usbmon._kernel.{name}"]).values():
            methods = vars(value).values() if isinstance(value, type) else (value,)
            for function in methods:
                if isinstance(function, FunctionType):
                    atheris.instrument_func(function)


def examples(pattern: str) -> list[bytes]:
    """The starts of the recordings whose names match."""
    return [path.read_bytes()[:_MOST] for path in sorted(_CAPTURES.glob(f"*/{pattern}"))]


def whole_and_cut(new_decoder: Callable[[], Decoder], data: bytes) -> Events | None:
    """The events in `data`, which must be the same however it is cut, and within bounds; None where
    it is refused, which must not depend on the cuts either."""
    whole = _decode(new_decoder(), data, len(data) + 1)
    size = 1 + len(data) // (2 + (data[-1] if data else 0) % 6)
    cut = _decode(new_decoder(), data, size)
    assert (whole is None) == (cut is None), f"cut at {size}: refused once only"
    if whole is None or cut is None:
        return None
    assert whole == cut, f"cut at {size}: other events"
    assert len(whole) <= len(data)
    assert sum(event.ndesc or 0 for event in whole) * 3 <= len(data)
    return whole


def _decode(decoder: Decoder, data: bytes, size: int) -> Events | None:
    batches: list[Events] = []
    try:
        batches.extend(decoder.feed(data[at : at + size]) for at in range(0, len(data), size))
        batches.append(decoder.close())
    except FormatError as error:
        check(error)
        return None
    return Events.concat(batches)


def check(error: UsbmonError) -> None:
    """An error says in one line what was wrong."""
    assert len(str(error).splitlines()) == 1


def run(target: Callable[[bytes], object], seeds: Iterable[bytes]) -> None:
    """Fuzz `target` with libFuzzer's arguments; the first folder among them gets the seeds."""
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    if folders:
        folders[0].mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folders[0] / f"seed-{number}").write_bytes(seed)
    if _kernel.KERNEL == "interpreted":
        _instrument_kernel()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
