"""The one door for text: what is removed, and what stays where a script needs it."""

from __future__ import annotations

import pytest

from pipeline.core.text import clean_line, clean_text, without_invisible


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\0b\x1fc\x7f", "abc"),
        ("\x1b[1;31mred\x1b[0m \x1b]8;;http://h\x07link\x1b]8;;\x07", "red link"),
        ("\x9b31mred", "red"),
        ("one\r\ntwo\rthree\x85four\u2028five\x0csix", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\u2067שלום\u2069 \u200fא", "שלום א"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("Ka\u0308se", "Käse"),
        ("soft\u00ad\nhyphen", "softhyphen"),
        ("lone \ud800 half", "lone  half"),
    ],
)
def test_what_nobody_sees_is_removed(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    "text",
    ["می\u200cخواهم", "क्\u200dष", "ශ්\u200dරී", "👩\u200d💻", "❤\ufe0f\u200d🔥", "ന്\u200d"],
    ids=["Persian", "Hindi", "Sinhala", "emoji", "emoji with a selector", "Malayalam at a word's end"],
)
def test_joiners_stay_where_a_script_or_an_emoji_needs_them(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize("text", ["a\u200db", "\u200cfoo", "می\u200c "])
def test_joiners_between_others_are_removed(text: str) -> None:
    assert clean_text(text) == text.replace("\u200c", "").replace("\u200d", "")


def test_names_keep_the_form_of_their_letters() -> None:
    assert without_invisible("Ka\u0308se\u202e.pdf") == "Ka\u0308se.pdf"
    assert clean_line(" Ka\u0308se \n\x1b[0m blau ", 40) == "Käse blau"
