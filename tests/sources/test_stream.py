"""Bytes of a pipe, and the events in them, whatever their format is."""

import os

import pytest

from tests.helpers.corpus import CAPTURES
from usbmon import Events, FormatError, read
from usbmon.sources.stream import Pipe, Unpacker, waiting

RUN = CAPTURES / "hid-xhci"


class TestPipe:
    def test_bytes_then_nothing_for_a_while_then_the_end(self):
        fd, feed = os.pipe()
        pipe = Pipe(fd)
        os.write(feed, b"some")
        assert pipe.take() == b"some"
        assert pipe.take() == b""
        os.close(feed)
        assert pipe.take() is None

    def test_to_stop_is_to_end_with_what_is_there(self):
        fd, feed = os.pipe()
        pipe = Pipe(fd)
        os.write(feed, b"some")
        assert waiting(fd) == 4
        pipe.stop()
        assert pipe.take() == b"some"
        os.write(feed, b"more")
        assert pipe.take() is None


class TestUnpacker:
    @pytest.mark.parametrize(
        "name", ["1u.txt", "1t.txt", "usbmon1.pcap", "usbmon1.getx.bin", "usbmon1.read.bin"]
    )
    @pytest.mark.parametrize("step", [1 << 20, 777])
    def test_what_comes_in_pieces_is_what_the_file_holds(self, name, step):
        data = (RUN / name).read_bytes()
        unpacker = Unpacker("there")
        got = [unpacker.feed(data[at : at + step]) for at in range(0, len(data), step)]
        got += unpacker.finish()
        assert Events.concat(got) == read(RUN / name)
        assert unpacker.notes() == []

    def test_a_known_format_gives_events_at_once(self):
        line = (RUN / "1u.txt").read_bytes().split(b"\n")[0] + b"\n"
        assert len(Unpacker("there", "u").feed(line * 2)) >= 1

    def test_what_is_no_trace_names_the_stream(self):
        unpacker = Unpacker("there")
        unpacker.feed(b"\x00\x01no trace at all" * 10)
        with pytest.raises(FormatError, match="there"):
            list(unpacker.finish())

    def test_what_was_left_out_is_told(self):
        unpacker = Unpacker("there", "u")
        unpacker.feed(b"no line of usbmon\n" + (RUN / "1u.txt").read_bytes())
        list(unpacker.finish())
        assert any("left out" in note for note in unpacker.notes())

    def test_nothing_is_no_error(self):
        assert [len(batch) for batch in Unpacker("there", "u").finish()] == [0]
