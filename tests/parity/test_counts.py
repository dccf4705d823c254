"""As many events as other programs count: capinfos packets, grep lines, the recorder its calls.

And of text that the kernel wrote, every byte: what is read and written back is the same file.
"""

import lzma
import subprocess
from pathlib import Path

import pytest

import usbmon
from tests.helpers import corpus, tshark
from usbmon import formats

_EVENT_LINE = r"^[^ ]+ +[0-9]+ [SCE] [CZIB][io]:[0-9]+:[0-9]+"

# Text that others' tools have changed: how many events more there are than lines that start one.
_MENDED = {
    # Kernel log cuts one line into three, the first of which is not yet an event to grep.
    "lkml-text/1u-audio-iso-dmesg-interleaved.txt": 1,
}


def _noted(trace: usbmon.Trace, kind: str) -> int:
    note = trace.decoder.notes.get(kind)
    return note.count if note else 0


def _count(path: Path) -> tuple[int, usbmon.Trace]:
    with usbmon.open(path) as trace:
        return sum(map(len, trace)), trace


@pytest.mark.parametrize("path", corpus.captures(), ids=corpus.name)
def test_packets_are_as_many_as_capinfos_counts(path, tmp_path):
    events, trace = _count(path)
    others = _noted(trace, "other link type") + _noted(trace, "no transfer")
    assert events + others == tshark.count(tshark.readable(path, tmp_path))


def _is_whole(path: Path) -> bool:
    """Of long recordings only the start ships, with the numbers of the whole."""
    info = corpus.info(path)
    return path.stat().st_size >= info["bytes"] - 16 * info["events"]


@pytest.mark.parametrize("path", list(filter(_is_whole, corpus.binary())), ids=corpus.name)
def test_records_are_as_many_as_the_recorder_counted(path):
    events, trace = _count(path)
    assert events + _noted(trace, "filler") == corpus.info(path)["events"]


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _lines(path: Path) -> int:
    grep = ["grep", "-acE", _EVENT_LINE]
    return int(subprocess.run(grep, input=_bytes(path), capture_output=True, check=False).stdout)


@pytest.mark.parametrize("path", [*corpus.text_u(), *corpus.text_t()], ids=corpus.name)
def test_lines_are_as_many_as_grep_counts(path):
    events, _ = _count(path)
    assert events - _lines(path) == _MENDED.get(corpus.name(path), 0)


@pytest.mark.parametrize(
    ("path", "format"),
    [(path, "u") for path in corpus.text_u()] + [(path, "t") for path in corpus.text_t()],
    ids=lambda value: value if isinstance(value, str) else corpus.name(value),
)
def test_text_comes_back_to_the_byte(path, format):
    encoder = formats.by_name(format).new_encoder()
    with usbmon.open(path) as trace:
        written = b"".join(bytes(encoder.encode(events)) for events in trace)
    if corpus.name(path) in _MENDED:
        assert trace.decoder.notes.repairs
    else:
        assert not trace.decoder.notes
        assert written == _bytes(path)
