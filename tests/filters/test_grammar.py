"""Filters that are read, those that are not, and where they are wrong."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon import UsbmonError, filters
from usbmon.filters import FilterError, grammar
from usbmon.filters.fields import FIELDS
from usbmon.filters.tree import And, Compare, Has, Not, Or, Within


def tree(text):
    return filters.compile(text).tree


def test_not_binds_before_and_and_and_before_or():
    node = tree("not ep.in == 1 and setup or data")
    assert isinstance(node, Or)
    assert isinstance(node.parts[0], And)
    assert isinstance(node.parts[0].parts[0], Not)
    assert isinstance(node.parts[0].parts[0].part, Compare)
    assert isinstance(node.parts[1], Has)


def test_a_name_of_a_value_goes_before_one_of_a_field():
    assert tree("event == error") == tree("event == E")
    assert tree("event == ERROR") == tree("event == E")


def test_the_words_and_signs_of_others():
    assert tree("len ge 1 && len lt 5 || !(len eq 9)") == tree("len>=1 and len<5 or not len==9")
    assert tree("xfer_flags bitand 4") == tree("xfer_flags & 4")
    assert tree("len\n>\t5") == tree("len > 5")


def test_a_set_is_of_values_and_ranges():
    node = tree("len in {1, 4k, 7..9}")
    assert isinstance(node, Within)
    assert node.ranges == ((1, 1), (4000, 4000), (7, 9))


# The filter with what is wrong between «», and the message.
WRONG = [
    ("«»", "an empty filter; `usbmon filter --help` has examples"),
    ("  «»", "an empty filter"),
    ("dev == 1:5 and «stauts» != 0", "no field 'stauts'; did you mean status?"),
    ("«bRequest» == 6", "no field 'bRequest'; did you mean setup.bRequest?"),
    ("«qqqq»", "no field 'qqqq'; `usbmon filter --help` lists them"),
    ("«5» == len", "a condition begins with the name of a field"),
    ("«-5»", "a condition begins with the name of a field"),
    ('«"len"» == 5', "a condition begins with the name of a field"),
    ("«==» 5", "a condition begins with the name of a field"),
    ("ep.in and«»", "a condition is missing here"),
    ("not«»", "a condition is missing here"),
    ("(«)»", "a condition begins with the name of a field"),
    ("«(»len > 5", "this parenthesis is not closed"),
    ("(len > 5 «}»", "expected and, or, or ) before '}'"),
    ("len > 5«)»", "expected and, or, or the end before ')'"),
    ("ep.in «ep.out»", "expected and, or, or the end before 'ep.out'"),
    ("len ==«»", "a value is missing here"),
    ("len == «)»", "a value is missing here"),
    ("len > «5x»", "len: '5x' is no number; write one as 18, 0x12, 4k or 64Ki"),
    ("dev == «5»", "dev: '5' is no device"),
    ("type == «blk»", "type: no value 'blk'; did you mean bulk?"),
    ("type «>» 3", "type takes ==, !=, in; not >"),
    ("type «contains» 3", "type takes ==, !=, in; not contains"),
    ("ep.in «&» 1", "ep.in takes ==, !=, in; not &"),
    ("data «in» {55}", "data takes ==, !=, contains, matches; not in"),
    ("data «lt» 55", "data takes ==, !=, contains, matches; not lt"),
    ("len «~» 'x'", "len takes ==, !=, <, <=, >, >=, in, &; not ~"),
    ("len & 1 «&» 2", "len takes"),
    ("len & «0»", "bits are a number above 0"),
    ("len & «-1»", "bits are a number above 0"),
    ("len == «time»", "time is not comparable with len"),
    ("status «=» 3", "'=' has no meaning here; compare with =="),
    ("len > 5 «|» ep.in", "'|' has no meaning here; write or"),
    ("data«[»0] == 5", "'[' has no meaning here; write data matches for a place"),
    ("len «\x00»", "'\\x00' has no meaning here"),
    ("len > 5 and «'abc»", "a quote that is not closed"),
    ("len in «5..3»", "a range whose end lies before its start"),
    ("len in «{»5", "this brace is not closed"),
    ("len in {5 «6»}", "expected , or } before '6'"),
    ("len in {«}»", "a value is missing here"),
    ("len in 5..«»", "a value is missing here"),
    ("data matches «55»", 'a pattern in quotes is missing here, as "^USB[CS]"'),
    ('data matches «"("»', "no regular expression: missing ), unterminated subpattern"),
    ('data matches «"a{99999999999}"»', "no regular expression: the repetition number is too"),
    (f'data matches «"{"(" * 2000}"»', "no regular expression"),
    ("«" + "q" * 60 + "»", "no field '" + "q" * 40 + "…'"),
]


@pytest.mark.parametrize(("marked", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_place(marked, message):
    start = marked.index("«")
    end = marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    with pytest.raises(FilterError) as caught:
        filters.compile(text)
    error = caught.value
    assert isinstance(error, UsbmonError)
    assert str(error).startswith(message)
    assert (error.text, error.start, error.end) == (text, start, end)


def test_the_caret_stands_under_the_place():
    with pytest.raises(FilterError) as caught:
        filters.compile("dev == 1:5 and\tstauts != 0")
    assert caught.value.suggestion == "status"
    assert str(caught.value).splitlines() == [
        "no field 'stauts'; did you mean status?",
        "  dev == 1:5 and stauts != 0",
        "                 ^^^^^^",
    ]


@pytest.mark.parametrize("at", [0, 30, 500, 1000])
def test_of_a_long_text_what_stands_round_the_place_is_shown(at):
    text = "ep.in or " * at + "nope == 3" + " or ep.in" * 300
    with pytest.raises(FilterError) as caught:
        filters.compile(text[: grammar.LONGEST])
    _, shown, carets = str(caught.value).splitlines()
    assert len(shown) <= 76
    if len(text[: text.index("nope")]) < grammar.LONGEST:
        place = slice(carets.index("^"), carets.rindex("^") + 1)
        assert shown[place] == "nope"


def test_length_and_depth_are_bounded():
    longest = "len > 5" + " " * (grammar.LONGEST - 7)
    assert filters.compile(longest)
    with pytest.raises(FilterError, match="a filter has at most 4096 characters"):
        filters.compile(longest + " ")
    deep = grammar.DEEPEST - 1
    assert filters.compile("(" * deep + "ep.in" + ")" * deep)
    assert filters.compile("not " * deep + "ep.in")
    for opening in ("(", "not ", "! ( "):
        with pytest.raises(FilterError, match="nested deeper than 50 levels"):
            filters.compile(opening * (deep + 1) + "ep.in")


def test_a_long_chain_is_flat():
    chain = " or ".join(["ep.in"] * 450)
    assert len(tree(chain).parts) == 450


WORDS = st.one_of(
    st.sampled_from([*FIELDS, "and", "or", "not", "in", "contains", "matches", "(", ")", "{", "}"]),
    st.sampled_from(["==", "!=", "<", ">=", "&", "..", ",", "~", "!", "&&", "||", "=", '"', "'"]),
    st.sampled_from(["5", "0x80", "1:5", "10ms", "EPIPE", "bulk", "55:53", '"^a"', "true", "-1"]),
    st.text(max_size=4),
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=30).map(" ".join)))
def test_any_text_is_a_filter_or_a_filter_error(text):
    try:
        chosen = filters.compile(text)
    except FilterError as error:
        wrong = error
    else:
        assert filters.compile(str(chosen)).tree == chosen.tree
        return
    assert 0 <= wrong.start <= wrong.end <= len(text)
    assert re.fullmatch(r"[^\n]+\n  [^\n]*\n  [ ]*\^+", str(wrong))
