"""Other spellings of the words of a query."""

from __future__ import annotations

import pytest

from pipeline.search.spelling import (
    MAX_MISTAKEN,
    MAX_SPELLINGS,
    confusions,
    equal_spellings,
    forgiving,
    is_spelled,
    nearest,
    words_of,
)


@pytest.mark.parametrize(
    ("query", "spelled"),
    [
        ("Müller", "(Müller | Mueller)"),
        ("Mueller Hafen", "(Mueller | Muller) Hafen"),
        ("Øresund", "Øresund"),
        ("søgning", "(søgning | soegning)"),
        ("neue toe does quer", "neue toe does quer"),
        ('"Herr Müller" -Müller Mül*', '"Herr Müller" -Müller Mül*'),
        ("a | Köln", "a | (Köln | Koeln)"),
        ('"open Müller', '"open Müller'),
        ("", ""),
    ],
)
def test_umlauts_and_their_digraphs_are_equal(query: str, spelled: str) -> None:
    assert equal_spellings(query) == spelled


def test_only_words_that_no_page_has_are_forgiven() -> None:
    query = forgiving("hanbour ledger", ["hanbour"])
    assert query.startswith("(hanbour | hanbour~2 | ")
    assert query.endswith(") ledger")


@pytest.mark.parametrize(
    ("word", "read_as"),
    [
        ("modern", "modem"),
        ("modem", "modern"),
        ("Invoice", "lnvoice"),
        ("lnvoice", "invoice"),
        ("clay", "day"),
        ("0hio", "ohio"),
    ],
)
def test_what_ocr_confuses_is_found_at_the_first_letter_and_across_letters(word: str, read_as: str) -> None:
    assert read_as in confusions(word)


def test_the_spellings_of_a_word_and_of_a_query_are_few() -> None:
    assert len(confusions("illimitable" * 20)) <= MAX_SPELLINGS
    words = [f"illimitable{letter}" for letter in "abcdefgh"]
    query = forgiving(" ".join(words), words)
    assert query.count("~2") == MAX_MISTAKEN
    assert query.count("|") <= MAX_MISTAKEN + MAX_SPELLINGS


def test_numbers_codes_and_operators_are_not_words_to_forgive() -> None:
    assert words_of('ledger 4711 INV2024 -quay "old mill" har* b0rder ledger') == ("ledger", "b0rder")
    assert not is_spelled("A4711")


def test_the_nearest_word_ignores_accents_and_capitals() -> None:
    assert nearest("cafe", ["Coffee", "Café", "face"]) == "Café"
    assert nearest("cafe", []) is None
    assert nearest("cafe", ["lighthouse"]) is None
