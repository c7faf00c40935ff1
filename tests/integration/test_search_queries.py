"""Questions to a real node, with language analysis."""

from __future__ import annotations

import pytest
from elasticsearch import Elasticsearch

from pipeline.core.errors import ServiceRefused, SettingsError
from pipeline.core.models import DocumentStatus, PageKind, PageStatus
from pipeline.core.retry import CancelToken
from pipeline.search import BATCHES, DOCUMENTS, PAGES, SOURCES, Write, query_limits
from pipeline.search.index import Index
from pipeline.search.query_builder import Filters, Order
from support import known_items
from support.page_records import DOCUMENT, error, failed_source, page, page_id, page_write


def fill(index: Index, *records: dict) -> None:
    assert not index.write(map(page_write, records), CancelToken()).refused
    index.refresh(PAGES)


def found(index: Index, words: str, **how: object) -> list[int]:
    return [hit.page_number for hit in index.queries.search(words, Filters(**how)).hits]


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("de", "Die Häuser am Hafen", "Haus"),
        ("de", "Ein Haus am Hafen", "Häuser"),
        ("de", "Jahresberichte der Hafenverwaltungen", "Jahresbericht Hafenverwaltung"),
        ("en", "Pipelines running through cities", "city pipeline runs"),
        ("fr", "les chevaux du roi", "cheval"),
        ("ar", "الكتب القديمة", "كتاب قديم"),
        ("ja", "東京都の地図", "東京"),
        ("zh", "北京大学图书馆", "大学"),
        ("ko", "대한민국 헌법", "민국"),
    ],
)
def test_words_are_found_in_their_other_forms(index, language, text, words):
    fill(
        index,
        page(1, text=text, i18n={"text": {language: text}}, language={"text": language}),
        page(2, text="something else", i18n={"text": {language: "something else"}}),
    )
    assert 1 in found(index, words)
    assert 2 not in found(index, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [("ภาษาไทย เอกสาร", "เอกสาร"), ("الكتب القديمة", "القديمة"), ("Żółta łódź", "łódź"), ("דוח שנתי", "שנתי")],
)
def test_languages_without_an_analyzer_are_found_as_they_stand(index, text, words):
    fill(index, page(1, text=text))
    assert found(index, words) == [1]


def test_the_words_of_a_query_may_stand_in_different_fields(index):
    fill(
        index,
        page(1, text="Umsatz der Häuser", description="A bar chart", i18n={"text": {"de": "Umsatz der Häuser"}}),
        page(2, text="Umsatz", description="A table"),
    )
    result = index.queries.search("chart Haus")
    assert [hit.page_number for hit in result.hits] == [1]
    assert result.all_words


def test_where_no_page_has_all_words_those_with_half_of_them_are_shown_and_that_is_said(index):
    fill(index, page(1, text="red green blue"), page(2, text="red"), page(3, text="yellow"))
    result = index.queries.search("red green violet")
    assert [hit.page_number for hit in result.hits] == [1]
    assert not result.all_words


def test_nothing_found_is_nothing_found(index):
    fill(index, page(1, text="red"))
    result = index.queries.search("violet orange")
    assert (result.total, result.hits, result.all_words) == (0, (), True)


def test_known_items_are_found_by_each_kind_of_query(index):
    """A part of `make bench ONLY=search_words`: some queries of each kind, in many languages."""
    index.write(map(page_write, known_items.records(index.languages)), CancelToken())
    index.refresh(PAGES)
    missed = [
        query
        for kind in (
            "exact",
            "inflected",
            "accentless",
            "file name",
            "number",
            "hyphenated",
            "misspelt",
            "OCR-confused",
        )
        for query in [query for query in known_items.queries() if query.kind == kind][::9]
        if query.document not in {hit.document.id for hit in index.queries.search(query.words).hits}
    ]
    assert missed == []


def test_a_word_that_no_page_has_is_forgiven_and_that_is_said(index):
    fill(index, page(1, text="The harbour master's ledger"), page(2, text="The ledger of the mill"))
    result = index.queries.search("harbor ledger")
    assert [hit.page_number for hit in result.hits] == [1]
    assert (result.all_words, result.corrected) == (True, {"harbor": "harbour"})


def test_words_that_pages_have_are_not_exchanged_for_others(index):
    fill(index, page(1, text="a form"), page(2, text="a farm"))
    result = index.queries.search("form")
    assert ([hit.page_number for hit in result.hits], result.corrected) == ([1], {})


def test_other_tools_find_models_tokens_and_times_by_their_own_names(index, elasticsearch_url):
    model = {"name": "jina-vlm", "tokens_in": 900, "tokens_out": 40}
    fill(index, page(1, model=model, indexed_at="2026-03-01T00:00:00Z"), page(2))
    wanted = [
        {"term": {"gen_ai.request.model": "jina-vlm"}},
        {"range": {"gen_ai.usage.input_tokens": {"gte": 900}}},
        {"term": {"gen_ai.usage.output_tokens": 40}},
        {"range": {"@timestamp": {"gte": "2026-03-01"}}},
    ]
    with Elasticsearch(elasticsearch_url) as client:
        assert client.count(index=PAGES, query={"bool": {"filter": wanted}})["count"] == 1


def test_half_of_the_words_may_be_misspelt_ones(index):
    fill(index, page(1, text="harbour dues"), page(2, text="a mill"))
    result = index.queries.search("harbor dues tariff xylophone")
    assert ([hit.page_number for hit in result.hits], result.all_words) == ([1], False)


def test_a_number_is_never_exchanged_for_another(index):
    fill(index, page(1, text="invoice 4711"))
    assert index.queries.search("4712").total == 0
    assert index.queries.search("4711").total == 1


def test_where_nothing_is_found_words_that_are_like_it_are_suggested(index):
    fill(index, page(1, text="The lighthouse keeper"))
    result = index.queries.search("mighthouse")
    assert (result.total, result.suggestions) == (0, ("lighthouse",))


def test_the_longest_words_and_signs_do_not_refuse_a_page(index):
    texts = (
        "a-" * 20_000,
        "9 " * 20_000,
        "x" * 60_000,
        "-\n" * 20_000,
        "A1b2" * 9_000,
        "١٢٣." * 9_000,
        "\u0300" * 40_000,
    )
    fill(index, *(page(number, text=text, i18n={"text": {"de": text}}) for number, text in enumerate(texts, 1)))


def test_captions_and_translations_are_found_and_shown(index):
    translation = {"translation": "Two harbours", "i18n": {"translation": {"en": "Two harbours"}}}
    fill(index, page(1, caption="A lighthouse by the sea"), page(2, text="Zwei Häfen", **translation))
    (first,) = index.queries.search("lighthouse").hits
    (second,) = index.queries.search("harbour").hits
    assert (first.page_number, set(first.highlights)) == (1, {"caption"})
    assert (second.page_number, set(second.highlights)) == (2, {"translation"})


def test_a_description_weighs_more_than_words_on_the_page(index):
    fill(index, page(1, text="a harbour at night"), page(2, description="a harbour at night"))
    assert found(index, "harbour") == [2, 1]


@pytest.mark.parametrize("words", ["", " ", '"', "(((", "a AND", "+", "-", "*", "\\", "field:x^", "~~", "a" * 5000])
def test_whatever_is_typed_is_no_syntax_error(index, words):
    fill(index, page(1, text="red"))
    assert index.queries.search(words).total in {0, 1}


def test_phrases_exclusions_and_beginnings_can_be_asked_for(index):
    fill(index, page(1, text="net income rose"), page(2, text="income net of tax"))
    assert found(index, '"net income"') == [1]
    assert found(index, "income -tax") == [1]
    assert sorted(found(index, "inco*")) == [1, 2]


def test_a_file_is_found_by_words_of_its_path(index):
    fill(index, page(1, text="red"))
    assert found(index, "quarterly") == [1]


def test_searches_keep_to_a_collection_and_a_language(index):
    fill(
        index,
        page(1, text="tax", language={"text": "en", "description": "de"}),
        page(2, text="tax", language={"text": "fr", "description": "fr"}),
        page(3, text="tax", collection="other", language={"text": "de", "description": "de"}),
    )
    assert found(index, "tax", collection="other") == [3]
    assert sorted(found(index, "tax", language="de")) == [1, 3]
    assert found(index, "tax", collection="default", language="de") == [1]


def test_the_total_counts_beyond_the_size(index):
    fill(index, *(page(number, text="tax") for number in range(1, 31)))
    result = index.queries.search("tax", size=7)
    assert (result.total, len(result.hits)) == (30, 7)
    assert [hit.page_number for hit in result.hits] == [1, 2, 3, 4, 5, 6, 7]


def test_a_hit_says_what_is_needed_to_show_it(index):
    record = page(
        2,
        text="tax",
        description="A form.",
        document={"title": "Annual report"},
        image={"key": "images/x.jpg", "thumbnail_key": "thumbnails/x.webp"},
    )
    record["page"]["label"] = "ii"
    fill(index, record)
    (hit,) = index.queries.search("tax").hits
    assert (hit.id, hit.collection, hit.page_number, hit.page_label) == (page_id(record), "default", 2, "ii")
    assert (hit.document.id, hit.document.name, hit.document.title) == (DOCUMENT, "report.pdf", "Annual report")
    assert (hit.status, hit.description) == ("described", "A form.")
    assert (hit.image_key, hit.thumbnail_key) == ("images/x.jpg", "thumbnails/x.webp")
    assert hit.score > 0


def test_matches_are_marked_in_the_language_of_the_text(index):
    fill(index, page(1, text="Die Häuser am Hafen", i18n={"text": {"de": "Die Häuser am Hafen"}}))
    (hit,) = index.queries.search("Haus Hafen").hits
    (fragment,) = hit.highlights["text"]
    assert [span.text for span in fragment if span.is_match] == ["Häuser", "Hafen"]
    assert "".join(span.text for span in fragment) == "Die Häuser am Hafen"


def test_markup_on_a_page_is_text_of_the_page(index):
    text = "<em>not</em> a match <script>alert(1)</script> \x1b[31m but tax is"
    fill(index, page(1, text=text))
    (hit,) = index.queries.search("tax").hits
    (fragment,) = hit.highlights["text"]
    assert "".join(span.text for span in fragment) == text
    assert [span.text for span in fragment if span.is_match] == ["tax"]


def test_a_very_long_text_can_be_highlighted(index):
    fill(index, page(1, text="tax " + "word " * 250_000))
    (hit,) = index.queries.search("tax").hits
    assert hit.highlights["text"]


def test_documents_are_found_by_id_name_and_path(index):
    document = page()["document"]
    other = document | {"id": "cd" * 32, "name": "50%*.pdf", "path": ["/Archive/50%*.pdf"]}
    records = [{"collection": "default", "document": kept, "status": "complete"} for kept in (document, other)]
    index.write([Write(DOCUMENTS, kept["document"]["id"], 1, kept) for kept in records], CancelToken())
    index.refresh(DOCUMENTS)

    def names(term: str, **how: str) -> list[str]:
        return [kept["document"]["name"] for kept in index.queries.find_documents(term, **how)]

    assert names("ABAB") == ["report.pdf"]
    assert names("REPORT") == ["report.pdf"]
    assert names("/quarterly/") == ["report.pdf"]
    assert names("*") == ["50%*.pdf"]
    assert names("archive") == ["50%*.pdf", "report.pdf"]
    assert names("archive", collection="other") == []
    assert index.queries.document_counts()[DocumentStatus.COMPLETE] == 2


def test_a_documents_pages_come_in_order_or_one_alone(index):
    fill(index, *(page(number) for number in range(1100, 0, -1)), page(1, collection="other"))
    pages = index.queries.document_pages(DOCUMENT, collection="default")
    assert [record["page"]["number"] for record in pages] == list(range(1, 1101))
    (one,) = index.queries.document_pages(DOCUMENT, collection="default", page_number=7)
    assert one == page(7)


def test_pages_are_counted_by_status(index):
    fill(index, page(1), page(2), page(3, status="failed"), page(4, status="blank", collection="other"))
    counts = {PageStatus.DESCRIBED: 2, PageStatus.FAILED: 1, PageStatus.BLANK: 1, PageStatus.TEXT_ONLY: 0}
    assert index.queries.page_counts() == counts
    assert index.queries.page_counts(collection="other")[PageStatus.DESCRIBED] == 0


def test_every_failure_is_listed_however_many_there_are(index):
    index.write((failed_source(number) for number in range(600)), CancelToken())
    index.refresh(SOURCES)
    fill(index, *(page(number, status="failed", error=error("render_timeout")) for number in range(1, 601)), page(601))
    failures = list(index.queries.failures())
    assert [failure.path for failure in failures[:600]] == [
        f"/archive/broken-{number:04d}.pdf" for number in range(600)
    ]
    assert [failure.page_number for failure in failures[600:]] == list(range(1, 601))
    assert {failure.type for failure in failures[600:]} == {"render_timeout"}
    assert failures[0].remedy == "Copy it again."
    assert list(index.queries.failures(collection="other")) == []


def test_who_stops_reading_failures_half_way_leaves_nothing_open(index):
    fill(index, *(page(number, status="failed", error=error()) for number in range(1, 4)))
    failures = index.queries.failures()
    assert next(failures).page_number == 1
    failures.close()


def test_failures_are_narrowed_down(index):
    fill(
        index,
        page(1, status="failed", error=error("render_timeout"), batch="b1"),
        page(2, status="failed", error=error("corrupt"), batch="b2"),
        page(2, status="failed", error=error("corrupt"), name="a*b.pdf", document={"id": "cd" * 32}),
    )
    index.write([failed_source(7)], CancelToken())
    index.refresh(SOURCES)

    def found(**wanted: object) -> list[tuple[str | None, int | None]]:
        """Documents and pages; nothing of either for a file."""
        return [(failed.document_id, failed.page_number) for failed in index.queries.failures(**wanted)]

    assert found(error="render_timeout") == [(DOCUMENT, 1)]
    assert found(batch="b2") == [(DOCUMENT, 2)]
    assert found(page_number=2) == [("cd" * 32, 2), (DOCUMENT, 2)]
    assert found(document="cdcd") == [("cd" * 32, 2)]
    assert found(document="a*b") == [("cd" * 32, 2)]
    assert found(document="broken-0007") == [(None, None)]
    assert found(document="*") == [("cd" * 32, 2)]  # a star is a star
    assert found(error="corrupt", document="REPORT") == [(DOCUMENT, 2)]


def test_ids_of_records_come_document_by_document_without_their_records(index):
    fill(index, *(page(number, document={"id": name * 32}) for number in (2, 1) for name in ("cd", "ab")))
    ids = list(index.queries.record_ids(PAGES))
    assert ids == [f"default:{name * 32}:{number:05d}" for name in ("ab", "cd") for number in (1, 2)]
    assert list(index.queries.record_ids(PAGES, collection="other")) == []
    assert list(index.queries.record_ids(BATCHES)) == []


def test_every_question_needs_an_installation(bare_index):
    queries = bare_index.queries
    for ask in (
        lambda: queries.search("x"),
        lambda: queries.record("x"),
        lambda: queries.find_documents("x"),
        queries.page_counts,
        lambda: list(queries.failures()),
        lambda: list(queries.record_ids(SOURCES)),
        lambda: list(queries.document_pages("x", collection="default")),
    ):
        with pytest.raises(ServiceRefused, match="nothing is installed yet"):
            ask()


@pytest.mark.parametrize(
    "words",
    [
        " ".join(f"word{number}" for number in range(1000)),
        "東京都の地図" * 200,
        "a* " * 101,
        "word " * 100_000,
        "a" * 10_000,
        '"' + "harbour " * 500 + '"',
    ],
    ids=["1,000 words", "unspaced", "prefixes", "100,000 words", "a long word", "a long phrase"],
)
def test_a_query_that_is_too_long_is_refused_by_its_limit(index, words):
    fill(index, page(1, text="harbour"))
    with pytest.raises(SettingsError, match=r"at most (100|8,192) ") as caught:
        index.queries.search(words)
    assert "few words" in caught.value.remedy


def test_the_longest_queries_are_answered(index):
    fill(index, page(1, text="harbour"))
    assert index.queries.search(" ".join(f"word{number}" for number in range(100))).total == 0


def test_a_query_that_is_too_large_for_the_cluster_is_refused_by_its_limit(index, monkeypatch):
    monkeypatch.setattr(query_limits, "MAX_WORDS", 5000)
    fill(index, page(1, text="harbour", i18n={"text": {"de": "Hafen", "en": "harbour"}}))
    with pytest.raises(SettingsError, match=r"allows [0-9,]+ clauses") as caught:
        index.queries.search(" ".join(f"w{number}" for number in range(1500)))
    assert "few words" in caught.value.remedy


def test_a_long_part_of_a_path_is_looked_for_or_refused(index):
    fill(index, page(1, text="harbour"))
    name = "/".join(f"folder {number}" for number in range(50))
    assert index.queries.find_documents(name) == ()
    assert list(index.queries.failures(document=name)) == []
    for term in ("a" * 8192, "*?\\" * 2000, "a" * 10_000):
        with pytest.raises(SettingsError, match=r"too long|at most 8,192"):
            index.queries.find_documents(term)


#: Pages by number, and the pages that each query finds.
LANGUAGE_PAGES = (
    page(
        1, text="harbour dues of the port", page={"number": 1, "kind": "scanned"}, document={"modified": "2020-03-01"}
    ),
    page(2, text="harbour fees and tariffs", description="An old ledger.", page={"number": 2, "kind": "born_digital"}),
    page(3, text="ledger of the lighthouse", trust={"suspect": True}, page={"number": 3, "kind": "scanned"}),
    page(4, name="invoice_4711.png", text="timber", document={"id": "cd" * 32, "media_type": "image/png"}),
    page(5, text="the dues are paid", collection="works", status="text_only", language={"text": "de"}),
)


QUERIES_OF_THE_LANGUAGE = {
    "harbour dues OR fees": [1, 2],
    "harbour -ledger": [1],
    "harbour NOT (dues OR ledger)": [],
    "text:ledger": [3],
    "description:ledger": [2],
    "description:ledger OR kind:scanned": [1, 2, 3],
    "kind:scanned -suspect:true": [1],
    "name:invoice*": [4],
    "file:4711": [4],
    "type:png": [4],
    "type:image/png OR lighthouse": [3, 4],
    "date:2020": [1],
    "date:..2019": [],
    "page:2..3": [2, 3],
    "status:text_only": [5],
    "collection:works dues": [5],
    "language:de": [5],
    "document:cdcd": [4],
    'text:"harbour dues"': [1],
    'text:"dues harbour"': [],
    '-"harbour dues" dues': [5],
    "(harbour fees) OR (lighthouse ledger)": [2, 3],
    "light* ledger": [3],
    "harbuor fees": [2],
    "harbuor -dues": [2],
    "kind:scanned xylophone": [],
}


def test_the_query_language(index):
    fill(index, *LANGUAGE_PAGES)
    assert {query: sorted(found(index, query)) for query in QUERIES_OF_THE_LANGUAGE} == QUERIES_OF_THE_LANGUAGE


def test_a_suggestion_is_a_word_of_a_page_that_may_be_found(index):
    fill(index, page(1, text="lighthouse"), page(2, text="harbour", collection="works"))
    suggested = index.queries.search("mighthouse").suggestions
    assert suggested == ("lighthouse",)
    assert index.queries.search("mighthouse", Filters(collection=frozenset({"works"}))).suggestions == ()


def test_filters_order_groups_and_explanations(index):
    fill(index, *LANGUAGE_PAGES)
    queries = index.queries

    def numbers(words: str, filters: Filters, **how: object) -> list[int]:
        return [hit.page_number for hit in queries.search(words, filters, **how).hits]

    assert numbers("", Filters(kind=PageKind.SCANNED), order=Order.NAME) == [1, 3]
    assert numbers("", Filters(type="png")) == [4]
    assert numbers("", Filters(date="2020-03-01..")) == [1]
    assert numbers("", Filters(document="invoice")) == [4]
    assert numbers("dues", Filters(collection=frozenset({"works", "other"}))) == [5]
    assert numbers("dues", Filters(status=PageStatus.TEXT_ONLY)) == [5]
    assert numbers("", Filters(suspect=True)) == [3]
    assert numbers("", Filters(), order=Order.OLDEST)[0] == 1
    assert numbers("", Filters(), order=Order.NAME, start=1, size=2) == [1, 2]
    grouped = queries.search("harbour OR timber", Filters(), grouped=True)
    assert (grouped.total, grouped.documents) == (3, 2)
    assert sorted((hit.document.name, len(hit.more)) for hit in grouped.hits) == [
        ("invoice_4711.png", 0),
        ("report.pdf", 1),
    ]
    (explained,) = queries.search("lighthouse", Filters(), explained=True).hits
    assert explained.explanation[0].term == "lighthouse"
    assert explained.explanation[0].score > 0
