"""Figures over texts: what they count, and what they leave out of account."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.text_metrics import character_error_rate, line_recall, word_recall, words


@pytest.mark.parametrize(
    ("expected", "text", "share"),
    [
        ("the quay in winter", "in Winter: THE quay!", 1.0),
        ("the quay in winter", "the quay", 0.5),
        ("ship ship ship", "ship", 1 / 3),  # a word counts as often as it is expected
        ("ship", "ship ship ship", 1.0),
        ("ﬁne ①", "fine 1", 1.0),  # compatibility forms
        ("港湾の船", "の船", 0.5),  # no spaces: each character is a word
        ("word", "", 0.0),
    ],
)
def test_word_recall(expected: str, text: str, share: float) -> None:
    assert word_recall(expected, text) == pytest.approx(share)


def test_lines_are_found_word_for_word_wherever_they_break() -> None:
    assert line_recall("the quay in winter\nthe lamp", "See the quay\nin winter, and the old lamp") == 0.5


@pytest.mark.parametrize(
    ("expected", "text", "rate"),
    [
        ("quay", "quay", 0.0),
        ("a  b\nc", "a b c", 0.0),  # blanks and line ends
        ("e\u0301te\u0301", "été", 0.0),  # composed or not
        ("quay", "Quay", 0.25),  # case counts
        ("quay", "", 1.0),
        ("ab", "abcdef", 2.0),  # more than there is
        ("one two", "two one", 6 / 7),  # and so does the order
    ],
)
def test_character_error_rate(expected: str, text: str, rate: float) -> None:
    assert character_error_rate(expected, text) == pytest.approx(rate)


@pytest.mark.parametrize(
    "nothing",
    [
        "",
        " \n",
    ],
)
def test_where_nothing_is_expected_there_is_no_figure(nothing: str) -> None:
    assert word_recall(nothing, "text") is None
    assert line_recall(nothing, "text") is None
    assert character_error_rate(nothing, "text") is None


@given(st.text(min_size=1), st.text())
def test_a_text_has_all_of_itself_and_of_what_it_is_a_part_of(text: str, more: str) -> None:
    if words(text):
        assert word_recall(text, f"{text} {more}") == 1.0
        assert line_recall(text, text) == 1.0
    assert character_error_rate(text, text) in (0.0, None)
