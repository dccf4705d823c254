"""Files: what is opened, in which pieces it is read, and what is left behind when writing fails."""

import bz2
import gzip
import io
import lzma
import os
import re
import resource
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import usbmon
from tests.helpers import corpus
from usbmon import Events, FormatError, SourceError, compression, files
from usbmon._kernel import KERNEL
from usbmon.compression import Compressor
from usbmon.formats import FORMATS
from usbmon.formats.base import Interface

TEXT = corpus.CAPTURES / "storage-ehci" / "1u.txt"
PCAP = corpus.CAPTURES / "hid-xhci" / "usbmon1.pcap"


def zst(data: bytes) -> bytes:
    compressor = Compressor("zst")
    return compressor.compress(data) + compressor.end()


PACK = {"": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zst}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that a short trace has many, and a record or a line stands across them."""
    monkeypatch.setattr(files, "BLOCK", 1000)
    monkeypatch.setattr(compression, "PIECE", 1000)
    monkeypatch.setattr(files.formats, "HEAD_SIZE", 200)


class TestReading:
    @pytest.mark.parametrize("packed", PACK)
    @pytest.mark.parametrize("path", [TEXT, PCAP], ids=corpus.name)
    @pytest.mark.usefixtures("small_blocks")
    def test_blocks_and_compression_change_nothing(self, path, packed, tmp_path):
        copy = tmp_path / "trace"
        copy.write_bytes(PACK[packed](path.read_bytes()))
        with usbmon.open(copy) as trace:
            batches = list(trace)
            assert trace.compression == packed
        assert len(batches) > 5
        assert Events.concat(batches) == usbmon.decode(path.read_bytes())

    def test_a_trace_says_what_it_is(self):
        with usbmon.open(PCAP) as trace:
            assert repr(trace) == f"<Trace {PCAP}: pcap>"
            assert (trace.format.name, trace.compression) == ("pcap", "")
            assert trace.size == PCAP.stat().st_size
            assert trace.position <= trace.size
            events = trace.read()
            assert trace.position == trace.size
        assert events == usbmon.read(PCAP)

    def test_a_name_of_its_own_decides_where_the_content_says_nothing(self, tmp_path):
        empty = tmp_path / "empty.pcap"
        empty.touch()
        with usbmon.open(empty) as trace:
            assert trace.format.name == "pcap"
            assert len(trace.read()) == 0

    def test_a_format_that_is_given_is_taken(self):
        with pytest.raises(FormatError, match="not a pcap file"):
            usbmon.read(TEXT, format="pcap")

    @pytest.mark.parametrize("path", [TEXT, PCAP], ids=corpus.name)
    def test_a_pipe_is_read_as_a_file_is(self, path, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
        writer.start()
        with usbmon.open(pipe) as trace:
            assert trace.size is None
            assert trace.read() == usbmon.read(path)
        writer.join()

    @pytest.mark.parametrize("path", [TEXT, PCAP], ids=corpus.name)
    def test_what_a_pipe_has_had_so_far_is_given_before_more_comes(self, path, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        data, seen = path.read_bytes(), threading.Event()

        def write() -> None:
            with pipe.open("wb", buffering=0) as stream:
                stream.write(data[:2000])
                assert seen.wait(30)
                stream.write(data[2000:])

        writer = threading.Thread(target=write)
        writer.start()
        with usbmon.open(pipe) as trace:
            batches = iter(trace)
            first = next(batches)
            seen.set()
            assert len(first) > 2
            assert Events.concat([first, *batches]) == usbmon.read(path)
        writer.join()

    def test_standard_input_is_a_dash(self):
        program = "import usbmon; print(len(usbmon.read('-')), usbmon.open('-').name)"
        with TEXT.open("rb") as stream:
            said = subprocess.run(
                [sys.executable, "-c", program], stdin=stream, capture_output=True, check=True
            )
        assert said.stdout.split() == [b"%d" % len(usbmon.read(TEXT)), b"standard", b"input"]

    def test_standard_input_stays_open(self, monkeypatch):
        with TEXT.open() as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            with usbmon.open("-") as trace:
                assert trace.read() == usbmon.read(TEXT)
            assert not stream.buffer.closed

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("workers", [True, False])
    def test_text_on_two_threads_is_the_same(self, workers, monkeypatch, tmp_path):
        dirty = tmp_path / "dirty.txt"
        lines = TEXT.read_bytes().splitlines(keepends=True)
        lines[20:20] = [b"[   12.345678] usb 1-1: new device\n"]
        lines[40] = b"> " + lines[40]
        dirty.write_bytes(b"".join(lines)[:-20])
        monkeypatch.setattr(files, "KERNEL", "compiled")
        monkeypatch.setattr(files, "_PARALLEL_FROM", 0 if workers else 1 << 40)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
        with usbmon.open(dirty) as trace:
            events, notes = trace.read(), trace.decoder.notes
        whole = usbmon.formats.by_name("u").new_decoder()
        expected = Events.concat([whole.feed(dirty.read_bytes()), whole.close()])
        assert events == expected
        assert {n.kind: (n.count, n.places) for n in notes.values()} == {
            n.kind: (n.count, n.places) for n in whole.notes.values()
        }

    @pytest.mark.parametrize("workers", [True, False])
    def test_a_line_without_end_is_refused_before_it_fills_the_memory(
        self, workers, monkeypatch, tmp_path
    ):
        path = tmp_path / "long.txt"
        path.write_bytes(TEXT.read_bytes() + b"5" * (8 << 20))
        monkeypatch.setattr(files, "KERNEL", "compiled")
        monkeypatch.setattr(files, "_PARALLEL_FROM", 0 if workers else 1 << 40)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
        with usbmon.open(path) as trace, pytest.raises(FormatError, match="a line of more than"):
            list(trace)
        assert trace.position < 4 << 20

    def test_a_file_that_grows_is_followed(self, monkeypatch, tmp_path):
        path, data = tmp_path / "grows.txt", TEXT.read_bytes()
        path.write_bytes(data[:700])
        more = iter([data[700:1500], b"", data[1500:2000], KeyboardInterrupt])

        def wait(_seconds: float) -> None:
            part = next(more)
            if part is KeyboardInterrupt:
                raise KeyboardInterrupt
            with path.open("ab") as stream:
                stream.write(part)

        monkeypatch.setattr(files.time, "sleep", wait)
        seen = []
        with usbmon.open(path, follow=True) as trace, pytest.raises(KeyboardInterrupt):
            seen.extend(trace)
        whole_lines = data[: data.rfind(b"\n", 0, 2000) + 1]
        assert Events.concat(seen) == usbmon.decode(whole_lines)[: len(Events.concat(seen))]
        assert len(Events.concat(seen)) >= whole_lines.count(b"\n") - 1

    @pytest.mark.parametrize("packed", ["gz", "xz", "zst", "bz2"])
    def test_a_compressed_file_that_is_cut_gives_what_there_is_and_says_so(self, packed, tmp_path):
        path = tmp_path / "cut"
        data = PACK[packed](TEXT.read_bytes() * 100)
        path.write_bytes(data[:-12])
        with usbmon.open(path) as trace:
            assert len(list(trace)) > 0 or packed == "bz2"
            assert "cut stream" in trace.decoder.notes

    def test_memory_does_not_grow_with_the_file(self, monkeypatch, tmp_path):
        monkeypatch.setattr(files, "BLOCK", 1 << 12)
        monkeypatch.setattr(files.formats, "HEAD_SIZE", 1 << 12)
        peaks = []
        for times in (3, 9):
            path = tmp_path / f"{times}.pcap"
            head, body = PCAP.read_bytes()[:24], PCAP.read_bytes()[24:]
            path.write_bytes(head + body * times)
            tracemalloc.start()
            with usbmon.open(path) as trace:
                count = sum(map(len, trace))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert count == times * len(usbmon.read(PCAP))
        assert peaks[1] < peaks[0] * 1.5


class TestWhatCannotBeRead:
    def test_no_such_file(self, tmp_path):
        with pytest.raises(SourceError, match=r"nope\.txt: no such file"):
            usbmon.open(tmp_path / "nope.txt")

    def test_a_directory(self, tmp_path):
        with pytest.raises(SourceError, match="is a directory; name a file in it"):
            usbmon.open(tmp_path)

    def test_no_permission(self, monkeypatch):
        def refuse(*_args: object, **_kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(files.builtins, "open", refuse)
        with pytest.raises(SourceError, match="no permission to read it"):
            usbmon.open(TEXT)

    def test_an_error_at_the_start_names_the_file(self):
        # At address 0 there is nothing to be read.
        with pytest.raises(SourceError, match="/proc/self/mem: Input/output error"):
            usbmon.open("/proc/self/mem")

    def test_an_error_while_reading_names_the_file(self, monkeypatch):
        with usbmon.open(PCAP) as trace:
            trace._stream.close()
            trace._stream = _Broken()
            with pytest.raises(SourceError, match=r"usbmon1\.pcap: Input/output error"):
                list(trace)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"\x7fELF\x02\x01\x01" + bytes(99), r"a program \(ELF\) is no trace"),
            (b"PK\x03\x04" + bytes(99), "a zip archive: unpack it first"),
            (bytes(5000), "binary data that is no trace"),
            (b"hello\nworld\n", "text that starts with 'hello' is no trace"),
        ],
    )
    def test_another_kind_of_file_is_named(self, content, words, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"{path}: {words}"):
            usbmon.open(path)


class _Broken(io.RawIOBase):
    def readinto(self, _buffer: object) -> int:
        raise OSError(5, "Input/output error")


class _Keeping(io.RawIOBase):
    """Passes on what it is given, and shows thereby what was left in a buffer."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        return self._target.write(data)


class _Standard:
    """A standard stream, as far as usbmon looks at it."""

    def __init__(self, buffer: io.RawIOBase) -> None:
        self.buffer = buffer


class TestWriting:
    @pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
    @pytest.mark.parametrize("name", [f.name for f in FORMATS if f.encoder])
    def test_what_is_written_can_be_read(self, name, suffix, tmp_path):
        events = usbmon.read(PCAP)
        path = tmp_path / f"out{suffix}"
        encoder = usbmon.write(path, events, format=name)
        assert encoder.format == name
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        again = usbmon.read(path)
        assert again.status.tolist() == events.status.tolist()
        assert [event.setup for event in again] == [event.setup for event in events]

    def test_the_suffix_decides_the_format(self, tmp_path):
        usbmon.write(tmp_path / "out.pcapng.gz", usbmon.read(TEXT))
        with usbmon.open(tmp_path / "out.pcapng.gz") as trace:
            assert (trace.format.name, trace.compression) == ("pcapng", "gz")

    def test_an_unknown_suffix_lists_the_formats(self, tmp_path):
        with pytest.raises(SourceError, match="choose one of pcapng, pcap, u, t, bin"):
            usbmon.Writer(tmp_path / "out.what")

    def test_nothing_written_is_an_empty_trace(self, tmp_path):
        usbmon.write(tmp_path / "out.pcap", [])
        assert len(usbmon.read(tmp_path / "out.pcap")) == 0

    def test_batches_are_written_as_they_come(self, tmp_path):
        events = usbmon.read(TEXT)
        usbmon.write(tmp_path / "out.txt", (events[n : n + 7] for n in range(0, len(events), 7)))
        assert (tmp_path / "out.txt").read_bytes() == TEXT.read_bytes()

    def test_a_file_that_exists_is_kept(self, tmp_path):
        path = tmp_path / "out.txt"
        path.write_text("mine")
        with pytest.raises(SourceError, match="exists already; --force replaces it"):
            usbmon.write(path, usbmon.read(TEXT))
        assert path.read_text() == "mine"
        usbmon.write(path, usbmon.read(TEXT), force=True)
        assert path.read_bytes() == TEXT.read_bytes()

    def test_a_failure_leaves_nothing_and_what_was_there_before(self, tmp_path):
        path = tmp_path / "out.txt"
        path.write_text("mine")

        def broken():
            yield usbmon.read(TEXT)
            raise FormatError("damaged")

        for force in (True, False):
            target = path if force else tmp_path / "new.txt"
            with pytest.raises(FormatError):
                usbmon.write(target, broken(), force=force)
        assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"out.txt": "mine"}

    def test_a_trace_can_be_replaced_by_its_own_conversion(self, tmp_path):
        path = tmp_path / "same.txt"
        path.write_bytes(TEXT.read_bytes())
        with usbmon.open(path) as trace:
            usbmon.write(path, trace, format="pcap", force=True)
        assert len(usbmon.read(path)) == len(usbmon.read(TEXT))

    @pytest.mark.parametrize("where", ["no/such/folder/out.txt", "."])
    def test_a_place_that_cannot_be_written_is_named(self, where, tmp_path):
        with pytest.raises(SourceError, match=r"cannot be written: (No such file|Is a dir)"):
            usbmon.write(tmp_path / where, usbmon.read(TEXT), format="u")

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(SourceError, match=r"file/out\.txt: Not a directory"):
            usbmon.write(tmp_path / "file" / "out.txt", usbmon.read(TEXT))

    def test_a_full_disk_is_told_and_leaves_nothing(self):
        with pytest.raises(SourceError, match=r"/dev/full: cannot be written: No space left"):
            usbmon.write("/dev/full", usbmon.read(TEXT), format="u")

    def test_another_users_file_in_a_shared_folder_is_kept(self, monkeypatch, tmp_path):
        path = tmp_path / "out.txt"
        path.write_text("theirs")

        def refuse(_source: str, _target: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(files.os, "replace", refuse)
        with pytest.raises(SourceError, match=r"out\.txt: cannot be written: Operation not perm"):
            usbmon.write(path, usbmon.read(TEXT), force=True)
        assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"out.txt": "theirs"}

    def test_a_device_is_written_to_and_stays(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        got = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
        reader.start()
        usbmon.write(pipe, usbmon.read(TEXT), format="u")
        reader.join()
        assert got == [TEXT.read_bytes()]
        assert pipe.is_fifo()

    def test_standard_output_is_a_dash(self):
        program = f"import usbmon; usbmon.write('-', usbmon.read({str(TEXT)!r}), format='u')"
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert said.stdout == TEXT.read_bytes()

    def test_standard_output_is_flushed_and_stays_open(self, monkeypatch):
        got = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(_Keeping(got))))
        usbmon.write("-", usbmon.read(TEXT), format="u")
        assert got.getvalue() == TEXT.read_bytes()
        assert not sys.stdout.buffer.closed

    def test_a_pipe_that_nobody_reads_any_more_is_for_the_caller_to_judge(self, monkeypatch):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            monkeypatch.setattr(sys, "stdout", _Standard(pipe))
            with pytest.raises(BrokenPipeError):
                usbmon.write("-", usbmon.read(TEXT), format="u")

    def test_interfaces_are_described(self, tmp_path):
        path = tmp_path / "out.pcapng"
        with usbmon.Writer(path, interfaces=[Interface(220, "usbmon1", "bus 1")]) as writer:
            writer.write(usbmon.read(PCAP))
        with usbmon.open(path) as trace:
            trace.read()
            (interface,) = trace.decoder.interfaces
        assert (interface.name, interface.description) == ("usbmon1", "bus 1")


SUFFIXES = ["", ".gz", ".bz2", ".xz", ".zst"]
PARTS = [usbmon.read(PCAP)[n : n + 60] for n in range(0, 300, 60)]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files can be no larger than this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_all(writer: usbmon.Writer, parts: list[Events] = PARTS) -> None:
    for part in parts:
        writer.write(part)
        writer.flush()


class TestLive:
    """What cannot be had a second time."""

    def test_the_file_is_there_at_once_for_its_owner_alone(self, tmp_path):
        path = tmp_path / "x.pcapng"
        with usbmon.Writer(path, live=True):
            assert path.stat().st_mode & 0o777 == 0o600
            assert [p.name for p in tmp_path.iterdir()] == [path.name]

    @pytest.mark.parametrize("name", [f.name for f in FORMATS if f.encoder])
    def test_each_batch_is_in_the_file_when_it_was_written(self, name, tmp_path):
        path = tmp_path / "x"
        with usbmon.Writer(path, format=name, live=True) as writer:
            for number, part in enumerate(PARTS, 1):
                writer.write(part)
                assert writer.events == 60 * number
                assert len(usbmon.read(path)) == writer.events

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_what_was_flushed_is_in_a_compressed_file_too(self, suffix, tmp_path):
        path = tmp_path / f"x.pcapng{suffix}"
        with usbmon.Writer(path, live=True) as writer:
            for number, part in enumerate(PARTS, 1):
                writer.write(part)
                writer.flush()
                assert writer.events == 60 * number
                assert usbmon.read(path) == Events.concat(PARTS[:number])
        with usbmon.open(path, strict=True) as trace:
            assert trace.read() == Events.concat(PARTS)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("form", ["pcapng", "pcap", "txt", "bin"])
    def test_a_program_that_is_killed_leaves_what_it_flushed(self, form, suffix, tmp_path):
        path = tmp_path / f"x.{form}{suffix}"
        program = (
            "import sys, usbmon\n"
            "events = usbmon.read(sys.argv[1])\n"
            "writer = usbmon.Writer(sys.argv[2], live=True)\n"
            "writer.write(events[:100])\n"
            "writer.flush()\n"
            "writer.write(events[100:])\n"
            "print('written', flush=True)\n"
            "sys.stdin.read()\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", program, PCAP, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout.readline() == b"written\n"
            child.kill()
        events = usbmon.read(path)
        assert len(events) >= 100
        whole = usbmon.read(PCAP)[: len(events)]
        assert [e.setup for e in events] == [e.setup for e in whole]

    def test_an_error_elsewhere_leaves_a_file_that_has_its_end(self, tmp_path):
        path = tmp_path / "x.pcapng.gz"
        writer = usbmon.Writer(path, live=True)
        writer.write(PARTS[0])
        writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert len(usbmon.read(path, strict=True)) == 60

    @pytest.mark.parametrize("name", [f.name for f in FORMATS if f.encoder])
    def test_a_full_disk_leaves_what_is_whole_and_says_how_much(self, name, tmp_path):
        lengths = set()
        for room in range(3000, 3300, 50):
            path = tmp_path / f"{room}"
            with usbmon.Writer(path, format=name, live=True) as writer:
                with room_for(room), pytest.raises(SourceError) as caught:
                    write_all(writer)
                said = re.search(
                    r"File too large; (\d+) events are in it, (\d+)", str(caught.value)
                )
                assert int(said[1]) == writer.events
                assert (int(said[1]) + int(said[2])) % 60 == 0
            events = usbmon.read(path, strict=True)
            assert len(events) == writer.events
            assert path.stat().st_size == writer.size <= room
            following = Events.concat(PARTS)[len(events) : len(events) + 1]
            assert writer.size + len(writer.encoder.encode(following)) > room
            lengths.add(len(events))
        assert len(lengths) > 1

    @pytest.mark.parametrize("suffix", SUFFIXES[1:])
    def test_a_full_disk_leaves_a_compressed_file_up_to_its_last_flush(self, suffix, tmp_path):
        path = tmp_path / f"x.pcapng{suffix}"
        with usbmon.Writer(path, live=True) as writer:
            writer.write(PARTS[0])
            writer.flush()
            with (
                room_for(writer.size + 30),
                pytest.raises(SourceError, match="60 events are in it"),
            ):
                write_all(writer, PARTS[1:])
        assert usbmon.read(path, strict=True) == PARTS[0]

    def test_no_room_is_told_as_such(self, monkeypatch, tmp_path):
        def full(*_args: object) -> int:
            raise OSError(28, "No space left on device")

        with usbmon.Writer(tmp_path / "x.pcapng", live=True) as writer:
            writer.write(PARTS[0])
            monkeypatch.setattr(files.os, "pwrite", full)
            for _ in range(2):  # and it stays so
                with pytest.raises(SourceError, match="disk full; 60 events are in it, 60 that"):
                    writer.write(PARTS[1])

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_an_interrupt_in_the_middle_of_a_write_leaves_no_half_of_it(
        self, suffix, monkeypatch, tmp_path
    ):
        path = tmp_path / f"x.pcapng{suffix}"
        real = os.pwrite

        def interrupted(number: int, data: bytes, offset: int) -> int:
            real(number, data[: len(data) // 2], offset)
            raise KeyboardInterrupt

        with usbmon.Writer(path, live=True) as writer:
            writer.write(PARTS[0])
            writer.flush()
            monkeypatch.setattr(files.os, "pwrite", interrupted)
            with pytest.raises(KeyboardInterrupt):
                write_all(writer, PARTS[1:2])
            monkeypatch.setattr(files.os, "pwrite", real)
            writer.write(PARTS[2])
        events = usbmon.read(path, strict=True)
        assert [e.id for e in events] == [e.id for e in Events.concat([PARTS[0], PARTS[2]])]

    def test_a_file_that_exists_is_kept_unless_it_is_to_be_replaced(self, tmp_path):
        path = tmp_path / "x.pcapng"
        path.write_text("mine")
        with pytest.raises(SourceError, match="exists already; --force replaces it"):
            usbmon.Writer(path, live=True)
        assert path.read_text() == "mine"
        with usbmon.Writer(path, live=True, force=True) as writer:
            assert path.read_bytes() == b""
            assert path.stat().st_mode & 0o777 == 0o600
            writer.write(PARTS[0])
        assert usbmon.read(path) == PARTS[0]
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    def test_it_is_kept_too_where_it_cannot_be_replaced(self, monkeypatch, tmp_path):
        path = tmp_path / "x.pcapng"
        path.write_text("theirs")

        def refuse(_source: str, _target: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(files.os, "replace", refuse)
        with pytest.raises(SourceError, match="cannot be written: Operation not permitted"):
            usbmon.Writer(path, live=True, force=True)
        assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {path.name: "theirs"}

    def test_a_file_of_the_temporary_name_is_somebody_elses(self, tmp_path):
        other = tmp_path / f"x.pcapng.{os.getpid()}.part"
        other.write_text("theirs")
        with pytest.raises(SourceError, match="cannot be written: File exists"):
            usbmon.Writer(tmp_path / "x.pcapng")
        assert other.read_text() == "theirs"

    def test_a_device_that_is_full_has_no_file_to_tell_of(self):
        writer = usbmon.Writer("/dev/full", format="u", live=True)
        with writer, pytest.raises(SourceError, match="/dev/full: cannot be written: No space"):
            writer.write(PARTS[0])

    def test_a_pipe_is_written_to_as_it_comes(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
        reader.start()
        with usbmon.Writer(pipe, format="u", live=True) as writer:
            writer.write(PARTS[0])
            writer.flush()
            assert writer.events == 60
        reader.join()
        assert got[0].count(b"\n") == 60

    def test_what_is_said_between_events_stands_between_them(self, tmp_path):
        path = tmp_path / "x.pcapng"
        about, comments = {"os": "Linux"}, ["of the file"]
        mine = [Interface(220, "usbmon1")]
        with usbmon.Writer(
            path, live=True, interfaces=mine, about=about, comments=comments
        ) as writer:
            writer.note("before anything", 3)
            writer.write(PARTS[0])
            writer.drops(0, 5, 10**18)
            writer.write(PARTS[1])
        told: list[object] = []
        with usbmon.open(path) as trace:
            trace.decoder.on_report = told.append
            told += [number for batch in trace for number in (len(batch),)]
            assert trace.decoder.about == about
            assert trace.decoder.own_comments == comments
        assert told[-2:] == [60, 60]
        assert [report.comments or report.dropped for report in told[:2]] == [
            ("before anything",),
            5,
        ]


class TestBytes:
    def test_bytes_are_decoded_by_what_they_are(self):
        assert usbmon.decode(PCAP.read_bytes()) == usbmon.read(PCAP)
        assert usbmon.decode(TEXT.read_bytes(), format="u") == usbmon.read(TEXT)

    def test_strict_reading_refuses_what_needs_mending(self):
        with pytest.raises(FormatError, match="line 1: lines with mail quoting removed") as caught:
            usbmon.decode(b"> " + TEXT.read_bytes(), strict=True)
        assert caught.value.mendable
        assert len(usbmon.decode(b"> " + TEXT.read_bytes())) == len(usbmon.read(TEXT))


def test_threads_are_for_large_text_on_a_compiled_kernel(monkeypatch):
    monkeypatch.setattr(files, "_PARALLEL_FROM", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    for path, expected in ((TEXT, KERNEL == "compiled"), (PCAP, False)):
        with usbmon.open(Path(path)) as trace:
            assert trace._is_worth_threads() == expected
