import io
import os

import pytest

from tests.helpers.command import on_terminal
from usbmon import FormatError, SourceError
from usbmon.apps.cli import _common
from usbmon.formats.base import Notes


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (155_516, "155.5 kB"),
        (2_564_304_130, "2.6 GB"),
        (7 * 10**12, "7.0 TB"),
    ],
)
def test_sizes_are_for_people(size, words):
    assert _common.size_words(size) == words


@pytest.mark.parametrize(
    ("clock", "ns", "words"),
    [
        ("wall", 1_700_000_000_123_456_789, "2023-11-14 22:13:20.123456 UTC"),
        ("monotonic", 12_345_678_000, "12.345678 s"),
        ("unknown", 0, "0.000000 s"),
    ],
)
def test_times_are_for_people(clock, ns, words):
    assert _common.clock_words(clock, ns) == words


def test_notes_have_a_count_words_and_places():
    notes = Notes("a")
    for line in (3, 9):
        notes.add("quoting", line=line)
    assert (
        _common.note_words(notes["quoting"]) == "2 lines with mail quoting removed (line 3, line 9)"
    )
    for line in range(10, 20):
        notes.add("quoting", line=line)
    words = _common.note_words(notes["quoting"])
    assert words == (
        "12 lines with mail quoting removed (line 3, line 9, line 10, line 11, line 12, …)"
    )
    notes.add("filler", count=1000)
    assert _common.note_words(notes["filler"]) == "1,000 fillers of the mapped ring passed over"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceError("x"), 1),
        (FormatError("x"), 3),
        (FormatError("x", mendable=True), 4),
    ],
)
def test_each_error_has_its_exit_code(error, code):
    assert _common.exit_code(error) == code


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "wish", "expected"),
    [
        (_Terminal(), {}, "auto", True),
        (io.StringIO(), {}, "auto", False),
        (_Terminal(), {"NO_COLOR": "1"}, "auto", False),
        (_Terminal(), {"NO_COLOR": ""}, "auto", True),
        (_Terminal(), {"TERM": "dumb"}, "auto", False),
        (_Terminal(), {}, "never", False),
        (io.StringIO(), {"NO_COLOR": "1"}, "always", True),
    ],
)
def test_colour_is_a_matter_of_the_stream_the_environment_and_the_wish(
    stream, environment, wish, expected, monkeypatch
):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _common.use_colour(stream, wish) == expected


def test_a_long_read_shows_progress_on_a_terminal_and_wipes_it_away(monkeypatch):
    terminal = _Terminal()
    clock = iter(range(1000))
    monkeypatch.setattr(_common.sys, "stderr", terminal)
    monkeypatch.setattr(_common.time, "monotonic", lambda: next(clock))

    class Trace:
        size, position = 1000, 0

        def __iter__(self):
            for self.position in (250, 1000):
                yield b"four"

    assert list(_common.tracked(Trace())) == [b"four", b"four"]
    assert terminal.getvalue() == (
        "\r\x1b[K 25%  4 events  3 s left\r\x1b[K100%  8 events  0 s left\r\x1b[K"
    )


@pytest.mark.parametrize("size", [None, 0, 1000])
def test_there_is_none_in_a_pipe_nor_for_an_unknown_size(size, monkeypatch):
    stream = io.StringIO() if size else _Terminal()
    monkeypatch.setattr(_common.sys, "stderr", stream)
    monkeypatch.setattr(_common, "_QUIET_SECONDS", -1)

    class Trace:
        position = 1

        def __init__(self) -> None:
            self.size = size

        def __iter__(self):
            yield b""

    assert list(_common.tracked(Trace())) == [b""]
    assert stream.getvalue() == ""


def test_the_width_is_that_of_a_terminal_and_else_unlimited(monkeypatch):
    monkeypatch.setattr(_common.os, "get_terminal_size", lambda _fd: os.terminal_size((80, 24)))
    terminal = _Terminal()
    terminal.fileno = lambda: 1
    assert _common.width(terminal) == 80
    assert _common.width(io.StringIO()) == 0
    assert _common.width(_Terminal()) == 0  # one that is none of the system's


def test_an_error_on_a_terminal_is_red(tmp_path):
    code, said = on_terminal("info", tmp_path / "nope")
    assert code == 1
    assert said == f"\x1b[31m\x1b[1musbmon:\x1b[0m {tmp_path / 'nope'}: no such file\n"
