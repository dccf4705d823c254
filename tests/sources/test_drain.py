"""The program that only reads: all of it, in order, and an end in any case."""

import errno
import os
import signal
import subprocess
import sys
import threading

from usbmon.sources import drain
from usbmon.sources.drain import Drain


def pipes():
    source, feed = os.pipe()
    result, out = os.pipe()
    for fd in (source, out):
        os.set_blocking(fd, False)
    return source, feed, result, out


def read_all(fd, into):
    while data := os.read(fd, 65536):
        into.append(data)


def test_what_comes_goes_out_however_slow_the_reader_is():
    source, feed, result, out = pipes()
    it = Drain(source, out)
    codes, got = [], []
    worker = threading.Thread(target=lambda: (codes.append(it.run()), os.close(out)))
    worker.start()
    sent = [b"%06d\n" % n * 40 for n in range(2000)]  # more than a pipe holds
    for piece in sent:
        os.write(feed, piece)
    os.close(feed)
    read_all(result, got)
    worker.join(30)
    assert (b"".join(got), codes) == (b"".join(sent), [0])


def test_it_holds_no_more_than_it_may():
    source, feed, _result, out = pipes()
    it = Drain(source, out, limit=1000)
    os.write(feed, b"x" * 60000)
    for _ in range(20):
        it._read()
    assert 1000 <= it._size <= 1000 + 65536
    it.stop()
    os.close(feed)


def test_to_stop_is_to_give_what_is_there_and_to_end():
    source, feed, result, out = pipes()
    os.write(feed, b"a line\n")
    it = Drain(source, out)
    it.stop()
    assert it.run() == 0
    assert os.read(result, 100) == b"a line\n"


def test_with_nothing_there_it_ends_too():
    source, _feed, _result, out = pipes()
    it = Drain(source, out)
    it.stop()
    assert it.run() == 0


def test_it_ends_when_nobody_reads():
    source, feed, result, out = pipes()
    os.close(result)
    os.write(feed, b"a line\n")
    assert Drain(source, out).run() == errno.EPIPE


def test_what_cannot_be_opened_is_the_exit_code(tmp_path):
    # In a process of its own: it changes what signals do.
    program = [sys.executable, "-I", "-S", drain.__file__, str(tmp_path / "1u")]
    assert subprocess.run(program, check=False).returncode == errno.ENOENT


def test_as_a_program_it_ends_at_sigterm_with_all_that_was_there(tmp_path):
    path = tmp_path / "1u"
    os.mkfifo(path)
    feed = os.open(path, os.O_RDWR)  # keeps it open
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", drain.__file__, str(path)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.read(1) == b"\n"
    os.write(feed, b"one\ntwo\n")
    child.send_signal(signal.SIGTERM)
    assert child.stdout.read() == b"one\ntwo\n"
    assert child.wait(30) == 0
    child.stdout.close()
    os.close(feed)
