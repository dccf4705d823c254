"""The source `text:`: FIFOs, files that grow, and files of a monitor."""

import os
import threading

import pytest

from tests.helpers.corpus import CAPTURES
from usbmon import Events, SourceError, read, sources
from usbmon.sources import text

TEXT = CAPTURES / "hid-xhci/1u.txt"
LINES = TEXT.read_bytes().splitlines(keepends=True)


def collected(source):
    with source:
        return Events.concat(source)


def test_a_fifo_ends_when_all_who_wrote_have_gone(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)
    source = sources.open(f"text:{path}")

    def write():
        with path.open("wb") as file:
            file.write(TEXT.read_bytes())
        os.close(keep)

    writer = threading.Thread(target=write)
    writer.start()
    events = collected(source)
    writer.join(30)
    assert events == read(TEXT)
    assert source.interfaces[0].dropped is None


def test_a_file_is_followed_as_it_grows_until_it_is_stopped(tmp_path):
    path = tmp_path / "1u.txt"
    path.write_bytes(b"".join(LINES[:10]))
    with sources.open(f"text:{path}") as source:
        batches = iter(source)
        got = []
        while sum(map(len, got)) < 9:
            got.append(next(batches))
        with path.open("ab") as file:
            file.write(b"".join(LINES[10:20]))
        source.stop()
        got += batches
    assert Events.concat(got) == read(TEXT)[:20]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(b""), "was cut short to 0 bytes"),
        (lambda path: path.unlink(), "was removed or replaced"),
        (lambda path: path.rename(path.with_name("elsewhere")), "was moved while it was read"),
    ],
)
def test_what_becomes_of_a_file_is_told_when_all_events_were_given(tmp_path, change, words):
    path = tmp_path / "1u.txt"
    path.write_bytes(b"".join(LINES[:10]))
    got = []
    with sources.open(f"text:{path}") as source:
        batches = iter(source)
        while sum(map(len, got)) < 9:
            got.append(next(batches))
        change(path)
        with pytest.raises(SourceError, match=words):
            got.extend(batches)
    assert sum(map(len, got)) == 10


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "no file; name one"), ("{}/none", "no such file"), ("{}", "is a directory")],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, words):
    with pytest.raises(SourceError, match=words) as caught:
        sources.open("text:" + name.format(tmp_path))
    assert "\n" not in str(caught.value)


class TestLosses:
    def test_what_is_counted_beside_the_file_since_the_start(self, tmp_path):
        beside = tmp_path / "1s"
        beside.write_text("nreaders 1 events 10 text_lost 5\n")
        losses = text.Losses(str(tmp_path / "1u"), lambda _line: None)
        beside.write_text("nreaders 1 events 90 text_lost 12\n")
        losses.look(now=True)
        assert losses.count == 7

    def test_other_readers_are_told_of_once(self, tmp_path):
        said = []
        (tmp_path / "1s").write_text("nreaders 3 events 10 text_lost 5\n")
        losses = text.Losses(str(tmp_path / "1u"), said.append)
        losses.look(now=True)
        assert len(said) == 1
        assert "3 readers of this bus" in said[0]

    @pytest.mark.parametrize("content", [None, "", "nonsense\n"])
    def test_where_nothing_is_told_it_is_not_known(self, tmp_path, content):
        if content is not None:
            (tmp_path / "1s").write_text(content)
        assert text.Losses(str(tmp_path / "1u"), lambda _line: None).count is None
