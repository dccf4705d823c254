"""Entries of directories: names short and long, and whatever else may stand there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus import directory

WHEN = datetime(2009, 6, 5, 14, 1, 20, tzinfo=UTC)

NAMES = st.text(
    st.characters(
        codec="utf-16-le", exclude_categories=["Cs", "Cc"], exclude_characters='"*/:<>?\\|'
    ),
    min_size=1,
    max_size=120,
).filter(lambda name: name[-1] not in " .")


def entries(name: str, taken: set[bytes] | None = None) -> bytes:
    return directory.entries(name, 5, 1000, WHEN, taken or set())


@given(NAMES)
def test_name_survives_the_round_trip(name):
    raw = entries(name)
    assert len(raw) % 32 == 0
    (file,) = directory.files(raw)
    assert (file.name, file.size, file.cluster) == (name, 1000, 5)
    assert (file.index, file.count) == (0, len(raw) // 32)


def test_short_name_takes_one_entry():
    raw = entries("README.TXT")
    assert raw[:12] == b"README  TXT\x20"
    assert len(raw) == 32
    assert raw[22:26] == bytes.fromhex("2a70 c53a")  # 14:01:20, 2009-06-05


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("data.bin", b"DATA    BIN"),
        ("A long name.text", b"ALONGN~1TEX"),
        ("a+b.c", b"A_B~1   C  "),
        (".profile", b"PROFIL~1   "),
        ("two.dots.txt", b"TWODOT~1TXT"),
        ("übung", b"_BUNG~1    "),
    ],
)
def test_long_name_has_an_alias(name, alias):
    assert entries(name)[-32:-21] == alias


def test_alias_is_one_that_nobody_has():
    taken = {b"ALONGN~1   ", b"ALONGN~2   "}
    assert entries("a long name", taken)[-32:-21] == b"ALONGN~3   "


def test_long_name_is_written_as_the_specification_shows():
    """The example of its section on long names."""
    raw = entries("The quick brown.fox")
    assert raw[0:11] == b"\x42w\0n\0.\0f\0o\0"
    assert raw[32:43] == b"\x01T\0h\0e\0 \0q\0"
    assert raw[64:75] == b"THEQUI~1FOX"
    assert raw[13] == raw[45] == 0x07


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "nul\0", "dot.", "space ", "x" * 256]
)
def test_name_that_fat_cannot_have_is_refused(name):
    with pytest.raises(ValueError, match="no name of a file"):
        entries(name)


def test_dead_entries_and_labels_are_no_files():
    label = directory.entry_bytes(b"LABEL      ", directory.VOLUME_ID, 0, 0, WHEN)
    dead = b"\xe5" + entries("GONE")[1:]
    raw = label + dead + entries("HERE") + bytes(32) + entries("BEHIND")
    assert [(file.name, file.index) for file in directory.files(raw)] == [("HERE", 2)]


def test_small_letters_by_flags():
    raw = bytearray(entries("README.TXT"))
    raw[12] = 0x18
    assert [file.name for file in directory.files(bytes(raw))] == ["readme.txt"]


@given(st.binary(max_size=512))
def test_any_directory_is_read(raw):
    for file in directory.files(raw):
        assert 0 <= file.index < file.index + file.count <= len(raw) // 32
