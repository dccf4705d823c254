"""`usbmon filter`, and `-F` on the terminal. What a filter lets through is in tests/filters."""

import re

import pytest

from tests.helpers.command import on_terminal
from usbmon import filters
from usbmon.apps.cli import filter as page
from usbmon.filters.fields import listed


def test_the_help_has_every_field_with_its_names(usbmon):
    said = usbmon("filter", "--help").out
    fields = said.split("Fields:\n")[1].split("\n\n")[0]
    for field in listed():
        (line,) = (text for text in fields.splitlines() if text.split()[0] == field.name)
        assert line.split()[1] == field.kind.name
        assert all(re.search(rf"\s{re.escape(alias)}\s", said) for alias in field.aliases)


def test_columns_are_aligned_and_fit_a_terminal(usbmon):
    lines = usbmon("filter", "-h").lines
    assert max(map(len, lines)) <= 80
    first = lines.index("  Fields:") + 1
    column = lines[first].index("device")
    kinds = {field.kind.name for field in listed()}
    for line in lines[first : lines.index("", first)]:
        assert not line[:column].strip() or line[column:].split()[0] in kinds


@pytest.mark.parametrize("text", [example for example, _ in page.EXAMPLES])
def test_its_examples_are_filters(text):
    assert filters.compile(text)


def test_without_a_filter_it_says_the_same(usbmon):
    assert usbmon("filter").out == usbmon("filter", "--help").out


def test_a_filter_is_said_in_its_normal_form(usbmon):
    assert usbmon("filter", "type==bulk&&!ep.in").out == "type == bulk and not ep.in\n"


@pytest.mark.parametrize("words", [("filter",), ("show", "x", "-F"), ("info", "x", "--filter")])
def test_a_wrong_one_is_wrong_usage_with_the_place(usbmon, words):
    said = usbmon(*words, "len > 5 adn ep.in", code=2)
    assert said.out == ""
    assert said.err.splitlines()[-2:] == ["  len > 5 adn ep.in", "          ^^^"]


def test_on_a_terminal_the_caret_stands_under_the_place():
    code, got = on_terminal("filter", "status = 3")
    assert code == 2
    assert got.splitlines()[-2:] == ["  status = 3", "         ^"]
