import pytest

from usbmon import FormatError, SourceError, UsbmonError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FormatError("no event", file="a.txt", line=7), "a.txt: line 7: no event"),
        (FormatError("no record", file="a.bin", offset=64), "a.bin: byte 64: no record"),
        (FormatError("no record", offset=0), "byte 0: no record"),
        (FormatError("no trace", file="a"), "a: no trace"),
        (FormatError("no trace"), "no trace"),
        (SourceError("no such file", file="a"), "a: no such file"),
        (SourceError("no such device"), "no such device"),
    ],
)
def test_a_message_says_where_and_what(error, text):
    assert str(error) == text


def test_they_are_what_python_programs_catch():
    assert issubclass(FormatError, UsbmonError)
    assert issubclass(FormatError, ValueError)
    assert issubclass(SourceError, UsbmonError)
    assert issubclass(SourceError, OSError)


def test_what_strict_reading_refused_can_be_told_from_what_is_broken():
    assert FormatError("quoted", mendable=True).mendable
    assert not FormatError("damaged").mendable
