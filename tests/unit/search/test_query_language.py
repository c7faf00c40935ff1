"""The query language: what each sign means, and that no input is an error."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import SettingsError
from pipeline.search.query_builder import Filters, query_of
from pipeline.search.query_fields import FIELDS, date_range, find_field
from pipeline.search.query_language import AllOf, AnyOf, FieldTerm, parse, plain_words
from pipeline.search.query_limits import bounded_query


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("harbour dues", "harbour dues"),
        ('"harbour dues" 1987', '"harbour dues" 1987'),
        ("invoice*", "invoice*"),
        ("dues OR fees", "( dues | fees )"),
        ("harbour dues OR fees 1987", "harbour ( dues | fees ) 1987"),
        ("dues | fees", "( dues | fees )"),
        ("(harbour dues) OR fees", "( ( harbour dues ) | fees )"),
        ("harbour AND dues", "harbour dues"),
        # Nothing here is an operator.
        ("or and not", "or and not"),
        ("OR dues OR", "dues"),
        ('harbour "dues', "harbour dues"),
        (")harbour( dues", "harbour dues"),
        ("10:30 http://x.example", "10:30 http://x.example"),
        ("a+b c~2 d|e f\\g", "a\\+b c\\~2 d\\|e f\\\\g"),
        ("INV-2024-0815", "INV\\-2024\\-0815"),
        ("50% * - +", "50%"),
        ("date:soon page:first", "date:soon page:first"),
        ('5"x7"', '5 "x7"'),
        ("港口 税", "港口 税"),
        ('"-5 degrees"', '"\\-5 degrees"'),
        ('date:"next week"', 'date "next week"'),
        ('foo:"bar baz"', 'foo: "bar baz"'),
        # What no page can meet is not a condition.
        ("file:///archive/report.pdf", "file:///archive/report.pdf"),
        ("status:open Kind:regards", "status:open Kind:regards"),
        ("text:!!! harbour", "text:!!! harbour"),
        ('harbour name:"--" "..." — € !!!', "harbour"),
        ("☃ naïve", "☃ naïve"),
    ],
)
def test_words_and_alternatives(query: str, words: str):
    assert parse(query) == AllOf(words)


@pytest.mark.parametrize(
    ("query", "excluded"),
    [
        ("harbour -ledger", "ledger"),
        ("harbour NOT ledger", "ledger"),
        ('harbour -"old ledger"', '"old ledger"'),
        ("harbour -(old ledger)", "old ledger"),
        ("NOT (old OR new) harbour", "( old | new )"),
    ],
)
def test_what_a_page_must_not_have(query: str, excluded: str):
    assert parse(query) == AllOf("harbour", excluded=(AllOf(excluded),))


def test_the_meaning_of_a_query_is_in_its_words_alone():
    query = 'harbour "annual dues" (fees OR rates*) -ledger kind:scanned INV-7'
    assert plain_words(parse(query)) == "harbour annual dues fees rates INV-7"


def test_a_negation_is_an_alternative_too():
    (either,) = parse("NOT old OR -kind:scanned OR new").required
    assert isinstance(either, AnyOf)
    assert [isinstance(node, AllOf) and bool(node.excluded) for node in either.nodes] == [True, True, False]


def test_two_negations_cancel_each_other():
    assert parse("NOT -harbour") == AllOf("harbour")


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("name:invoice*", "name", "invoice*"),
        ("File:invoice", "name", "invoice"),
        ("page.kind:scanned", "kind", "scanned"),
        ("date:2020..2021-05", "date", "2020..2021-05"),
        ("page:3..7", "page", "3..7"),
        ("suspect:yes", "suspect", "yes"),
        ("type:pdf", "type", "pdf"),
    ],
)
def test_fields_have_values(query: str, name: str, value: str):
    field = find_field(name)
    assert field is not None
    assert parse(query) == AllOf(required=(FieldTerm(field, value),))
    assert parse(f"-{query}") == AllOf(excluded=(FieldTerm(field, value),))


def test_fields_are_alternatives_too():
    found = parse("kind:scanned OR dues")
    (either,) = found.required
    assert isinstance(either, AnyOf)
    assert len(either.nodes) == 2


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2020", (2020, 1, 1), (2021, 1, 1)),
        ("2020-12", (2020, 12, 1), (2021, 1, 1)),
        ("2024-02-29", (2024, 2, 29), (2024, 3, 1)),
        ("2020..2021-05", (2020, 1, 1), (2021, 6, 1)),
        ("2020..", (2020, 1, 1), None),
        ("..2020-05-12", None, (2020, 5, 13)),
    ],
)
def test_periods(text: str, begin: tuple[int, int, int] | None, end: tuple[int, int, int] | None):
    moments = [datetime(*day, tzinfo=UTC) if day else None for day in (begin, end)]
    assert date_range(text) == tuple(moments)


@pytest.mark.parametrize("text", ["", "..", "2020-13", "2023-02-29", "0000", "9999", "20", "2020-1-1-1", "2020...2021"])
def test_what_is_not_a_period(text: str):
    assert date_range(text) is None


def test_a_filter_with_a_value_without_meaning_names_those_there_are():
    with pytest.raises(SettingsError, match="type: 'papyrus'") as refused:
        Filters(type="papyrus").clauses()
    assert "pdf" in refused.value.remedy
    with pytest.raises(SettingsError, match="date: 'soon'"):
        Filters(date="soon").clauses()


SIGNS = [*'a()-*:|\\é港 "', "OR", "NOT", "AND", "-(", "kind:x", "date:1", 'name:"']
PIECES = st.lists(st.sampled_from(SIGNS), max_size=60)


@given(st.one_of(st.text(max_size=200), PIECES.map(" ".join), PIECES.map("".join)))
def test_no_input_is_an_error_and_the_query_stays_small(query: str):
    built = query_of(parse(query), ["text"], lambda words: words)
    assert len(str(built)) <= 400 * (len(query) + 1) + 2000


@pytest.mark.parametrize("word", ["(a)", '"a"', "(kind:scanned)", "(document:a)", 'a"', "-(a)", "東(京)"])
def test_words_without_spaces_between_them_count(word: str):
    with pytest.raises(SettingsError, match="at most 100"):
        bounded_query(word * 101)


def test_a_negation_outlives_parentheses_that_are_too_deep():
    for deep in ("(" * 11 + "-(mill) harbour", "(" * 10 + "NOT (((mill harbour"):
        assert plain_words(parse(deep)) == ""
        assert "excluded=(AllOf(words='mill'" in repr(parse(deep))


def test_the_ends_of_a_range_may_be_given_in_either_order():
    assert date_range("2021-05..2020") == date_range("2020..2021-05")
    pages = find_field("page")
    assert pages is not None
    assert pages.clause("7..3") == pages.clause("3..7")


def test_known_values_are_accepted_whole_or_by_their_beginning():
    status = find_field("status")
    assert status is not None
    assert [status.accepts(value) for value in ("Described", "text_*", "*", "open", "descri")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_deep_parentheses_are_read_once():
    assert parse("(" * 4000 + "harbour") == AllOf("harbour")
    assert parse("(" * 5 + "harbour" + ")" * 5) == AllOf("harbour")


def test_every_field_and_its_other_names_are_documented():
    page = (Path(__file__).parents[3] / "docs" / "search.md").read_text(encoding="utf-8")
    names = {name for field in FIELDS for name in (field.name, *field.aliases)}
    table = page[page.index("| field | also | values |") :].partition("\n\n")[0]
    documented = {
        name
        for row in table.splitlines()[2:]
        for cell in row.split("|")[1:3]
        for name in re.findall(r"`([^`]+)`", cell)
    }
    assert names - documented <= {"page.section"}
    assert documented <= names
