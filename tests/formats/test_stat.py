"""The statistics line, against those that the kernel printed."""

import pytest

from tests.helpers.corpus import CAPTURES
from usbmon import FormatError
from usbmon.formats import by_name, detect
from usbmon.formats.stat import Statistics, format, parse

STATISTICS_OF_THREE = (CAPTURES / "hid-xhci" / "usbmon-stat.txt").read_text()
RECORDED = [line.split(": ")[1] for line in STATISTICS_OF_THREE.splitlines()]


def test_the_numbers_are_those_of_the_kernel():
    assert parse("nreaders 6 events 368 text_lost 0\n") == Statistics(6, 368, 0)


@pytest.mark.parametrize("line", RECORDED)
def test_a_line_is_written_as_it_was_read(line):
    assert format(parse(line)) == line.encode() + b"\n"
    assert parse(line.encode()) == parse(line)


@pytest.mark.parametrize(
    "line",
    ["", "nreaders 1", "nreaders 1 events 2 text_lost -3", "events 1 nreaders 1 text_lost 0"],
)
def test_anything_else_is_a_format_error(line):
    with pytest.raises(FormatError, match=r"^1s: line 1: not a statistics line"):
        parse(line, file="1s")


def test_a_file_of_statistics_alone_is_told_from_a_trace():
    line = b"nreaders 6 events 368 text_lost 0\n"
    assert detect(line).name == "s"
    assert detect(line + b"a 1 S Bo:1:002:1 0 0\n").name == "u"


def test_between_events_it_is_kept_and_noted():
    decoder = by_name("u").new_decoder()
    decoder.feed(b"nreaders 6 events 368 text_lost 0\na 1 S Bo:1:002:1 0 0\n")
    assert decoder.statistics == [b"nreaders 6 events 368 text_lost 0"]
    assert decoder.notes["statistics"].places == ["line 1: nreaders 6 events 368 text_lost 0"]
    assert decoder.notes.repairs == 0


def test_a_script_may_have_put_the_file_in_front_of_each():
    assert [parse(line).events for line in STATISTICS_OF_THREE.splitlines()] == [404, 368, 36]
    decoder = by_name("s").new_decoder()
    decoder.feed(STATISTICS_OF_THREE.encode())
    assert len(decoder.close()) == 0
    assert decoder.notes["statistics"].count == 3
