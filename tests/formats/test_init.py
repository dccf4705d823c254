"""The table of formats: which of them given bytes are, and the words where they are none."""

import gzip
import struct

import pytest

from tests.helpers.corpus import binary, captures, header_size, name, text_t, text_u
from tests.helpers.matrix import MATRIX
from usbmon import FormatError, UsbmonError, formats
from usbmon.formats import FORMATS, HEAD_SIZE, by_name, by_suffix, detect

LINE = b"ffff8cc704d36500 22374186 C Ii:1:002:1 0:8 4 = 00000400\n"


class TestContent:
    @pytest.mark.parametrize(
        ("path", "format"),
        [(path, "u") for path in text_u(ours=True) + text_t(ours=True)]
        + [(path, "bin") for path in binary(ours=True)]
        + [(path, "pcap") for path in captures(ours=True)],
        ids=lambda value: value if isinstance(value, str) else name(value),
    )
    def test_recorded_traces_are_recognised_without_their_names(self, path, format):
        assert detect(path.read_bytes()[:HEAD_SIZE]).name == format

    @pytest.mark.parametrize("path", binary(ours=True), ids=name)
    def test_the_header_size_of_a_binary_stream_is_found(self, path):
        decoder = by_name("bin").new_decoder()
        decoder.feed(path.read_bytes())
        decoder.close()
        assert decoder.header == header_size(path)

    @pytest.mark.parametrize(
        ("head", "format"),
        [
            (b"\xa1\xb2\xc3\xd4", "pcap"),
            (b"\xd4\xc3\xb2\xa1", "pcap"),
            (b"\xa1\xb2\x3c\x4d", "pcap"),
            (b"\x4d\x3c\xb2\xa1", "pcap"),
            (b"\x0a\x0d\x0d\x0a", "pcapng"),
            (LINE, "u"),
            (b"Hello list,\n\n> " + LINE, "u"),
            (b"1.log:" + LINE, "u"),
            (b"\xef\xbb\xbf" + LINE, "u"),
            (b"nreaders 6 events 368 text_lost 0\n", "s"),
        ],
    )
    def test_the_first_bytes_tell(self, head, format):
        assert detect(head).name == format

    def test_content_goes_before_the_name(self):
        assert detect(LINE, "trace.pcap").name == "u"

    def test_an_empty_file_is_an_empty_trace_of_what_its_name_says(self):
        assert detect(b"", "trace.pcapng").name == "pcapng"
        assert detect(b" \r\n", "trace").name == "u"

    @pytest.mark.parametrize("path", ["trace.txt", "trace.t"])
    def test_a_text_without_an_event_so_far_is_taken_by_its_name(self, path):
        assert detect(b"waiting for the device\n", path).decoder == "TextDecoder"


class TestWhatIsNoTrace:
    @pytest.mark.parametrize(
        ("head", "words"),
        [
            (b"\x7fELF\x02\x01", "a program (ELF) is no trace"),
            (b"PK\x03\x04\x14\x00", "a zip archive: unpack it first; is no trace"),
            (b"\x89PNG\r\n\x1a\n", "a picture (PNG) is no trace"),
            (b"%PDF-1.7", "a PDF is no trace"),
            (b"PAR1\x15\x04", "a Parquet file is no trace"),
            (b"LPKF", "a log of another analyser is no trace"),
            (b"\x00\x01\x02\x03" * 40, "binary data that is no trace"),
            (gzip.compress(LINE), "binary data that is no trace"),
            (b"  Dear list,\nhello", "text that starts with 'Dear list,' is no trace"),
            (b"x" * 60_000, "text that starts with '" + "x" * 40 + "' is no trace"),
        ],
        ids=lambda value: value[:20] if isinstance(value, str) else "",
    )
    def test_the_message_says_what_it_looks_like(self, head, words):
        with pytest.raises(FormatError) as caught:
            detect(head, "some/file")
        assert str(caught.value).startswith(f"some/file: {words} that usbmon knows")

    def test_a_record_that_cannot_be_one_is_no_stream_of_records(self):
        record = bytearray(64)
        record[8] = ord("S")
        record[24:28] = struct.pack("=i", 1_000_000)  # no microsecond
        with pytest.raises(FormatError):
            detect(bytes(record))


class TestNames:
    @pytest.mark.parametrize("format", FORMATS, ids=lambda row: row.name)
    def test_each_is_found_by_its_name(self, format):
        assert by_name(format.name) is format

    def test_an_unknown_name_is_answered_with_those_there_are(self):
        with pytest.raises(UsbmonError, match=r"^no format 'x'; there are pcapng, pcap, u, t, "):
            by_name("x")

    @pytest.mark.parametrize(
        ("path", "format"),
        [
            ("a.pcapng", "pcapng"),
            ("a.PCAP", "pcap"),
            ("a.cap", "pcap"),
            ("dir.pcap/1.mon", "u"),
            ("1.t", "t"),
            ("1.bin", "bin"),
            ("1.bin48", "bin48"),
            ("1.s", "s"),
        ],
    )
    def test_a_suffix_suggests_a_format(self, path, format):
        assert by_suffix(path).name == format

    @pytest.mark.parametrize("path", ["", "trace", "pcap", "a.doc", "a.pcap.gz"])
    def test_other_suffixes_suggest_none(self, path):
        assert by_suffix(path) is None

    def test_no_suffix_is_of_two_formats(self):
        suffixes = [suffix for format in FORMATS for suffix in format.suffixes]
        assert len(suffixes) == len(set(suffixes))


class TestCodecs:
    @pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.name)
    def test_each_row_has_the_codecs_it_names(self, row):
        assert row.encoder().format == row.name
        assert row.decoder(file="x").file == "x"

    def test_what_can_only_be_read_says_so(self):
        with pytest.raises(UsbmonError, match="the format s can be read only"):
            by_name("s").new_encoder()

    def test_what_can_only_be_written_says_so(self):
        with pytest.raises(UsbmonError, match="the format u can be written only"):
            by_name("u")._replace(decoder="").new_decoder()

    def test_is_text_tells_by_one_event(self):
        assert formats.is_text(LINE)
        assert not formats.is_text(b"ffff8cc704d36500 22374186 C")


class TestLiveStreams:
    """Of a pipe, a few bytes have to do; more may be long in coming."""

    @pytest.mark.parametrize(
        "head",
        [LINE, b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a", gzip.compress(LINE), b"\x28\xb5\x2f\xfd"],
        ids=["text", "pcap", "pcapng", "gzip", "zstd"],
    )
    def test_what_starts_so_is_clear(self, head):
        assert formats.is_clear(head)

    @pytest.mark.parametrize("head", [b"", b"ffff8cc7", LINE[:-1], b"Dear list,\n", bytes(100)])
    def test_what_starts_so_is_not(self, head):
        assert not formats.is_clear(head)
