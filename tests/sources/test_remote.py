"""What the script on another machine says, taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.sources.remote import Reply, script

MARK = "<usbmon 00ff>"


def said(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(f"{MARK}{name}\n".encode() + content for name, content in parts)


def fed(data: bytes, sizes: list[int]) -> tuple[Reply, bytes]:
    """In pieces of these sizes, then the rest."""
    reply, stream, at = Reply(MARK), b"", 0
    for size in sizes:
        stream += reply.feed(data[at : at + size])
        at += size
    stream += reply.feed(data[at:])
    return reply, stream + reply.rest()


@given(
    st.binary(max_size=60).map(lambda data: data + MARK[:5].encode()),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_however_it_is_cut_the_stream_and_the_parts_are_the_same(content, sizes):
    data = b"motd\n" + said(
        ("uname", b"Linux x\n"), ("stream", content), ("said", b"code 143\n"), ("end", b"")
    )
    reply, stream = fed(data, sizes)
    assert stream == content
    assert (reply.text("uname"), reply.code, reply.ended) == ("Linux x", 143, True)


@given(st.binary(max_size=80))
def test_of_a_stream_that_is_cut_off_nothing_is_kept_back(content):
    reply, stream = fed(said(("stream", content)), [])
    assert stream == content
    assert not reply.ended


@given(st.lists(st.sampled_from([MARK.encode(), b"\n", b"stream", b"\xff", b"code 1"]), max_size=9))
def test_whatever_a_machine_says_is_no_error(pieces):
    reply, _ = fed(b"".join(pieces), [3])
    assert reply.dropped(0) is None
    assert reply.files == {}


def test_of_a_part_that_does_not_end_only_so_much_is_kept():
    reply = Reply(MARK)
    reply.feed(said(("uname", b"x")))
    for _ in range(3):
        reply.feed(b"y" * Reply.LIMIT)
    assert len(reply.parts["uname"]) == Reply.LIMIT


@pytest.mark.parametrize(
    "name", ["../x/busnum", "/etc/passwd", "a/../b", "a/b/c/d", "busnum", "a/.b", "a/b\0"]
)
def test_files_that_are_none_of_sysfs_are_left_out(name):
    reply, _ = fed(said((f"file {name}", b"1\n"), ("file usb1/busnum", b"1\n")), [])
    assert reply.files == {"usb1/busnum": b"1\n"}


@pytest.mark.parametrize(
    ("way", "words", "dropped"),
    [
        ("tcpdump", "9 packets captured\n2 packets dropped by kernel\ncode 0", 2),
        ("text", "after nreaders 1 events 90 text_lost 12", 5),
        ("read", "after nreaders 1 events 90 text_lost 12", 10),
        ("read", "code 0", None),
    ],
)
def test_what_was_lost_there(way, words, dropped):
    before = b"nreaders 1 events 30 text_lost 7\n"
    reply, _ = fed(
        said(("way", way.encode()), ("before", before), ("said", words.encode()), ("end", b"")), []
    )
    assert reply.dropped(50) == dropped


def test_clocks_are_seconds_in_nanoseconds():
    reply, _ = fed(said(("clock", b"1700000000\n5000.12 99.0\n"), ("end", b"")), [])
    assert reply.clocks == (1_700_000_000 * 10**9, 5_000 * 10**9)


def test_the_mark_is_quoted_for_the_shell():
    assert script("a'b").startswith(b"T='a'\"'\"'b'\n{")
