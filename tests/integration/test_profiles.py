"""Profiles from the command to the index: kept with the collection, read by workers, typed fields in the records."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.models import AnswerKind
from pipeline.core.retry import CancelToken
from pipeline.search import BATCHES, PAGES
from pipeline.search.index import Index
from support.fleet_runs import Fleet
from support.page_records import page, page_write
from support.pagesight_runs import Pagesight, make_pdf
from support.question_profiles import INVOICE_QUESTIONS
from support.standin import Standin

SURVEY = f"""{INVOICE_QUESTIONS}[[questions]]
name = "document_type"
kind = "choice"
choices = ["invoice", "letter"]
max_tokens = 8
prompt = "What is it? Answer invoice or letter."
[[questions]]
name = "parties"
kind = "list"
language = "verbatim"
max_tokens = 64
prompt = "Who is named? Separate by commas."
[[questions]]
name = "remarks"
max_tokens = 64
prompt = "What is remarkable? In {{language}}."
"""
SAID = {"total": "1,234.50", "signed": "yes", "What is it": "an invoice", "Who is": "Harbour & Sons, Orchard"}
VALUES = {
    "invoice_total": 1234.5,
    "has_signature": True,
    "document_type": "invoice",
    "parties": ["Harbour & Sons", "Orchard"],
}


def write_profile(pagesight: Pagesight, text: str = SURVEY, name: str = "survey") -> Path:
    folder = pagesight.home / "state" / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


def prompts(standin: Standin, since: int = 0) -> list[str]:
    return [request["prompt"] for request in standin.requests()[since:]]


def answers(pagesight: Pagesight, collection: str = "default") -> list[dict[str, object]]:
    return [record.get("answers", {}) for record in pagesight.records(PAGES, collection).values()]


def types(pagesight: Pagesight) -> dict[str, str]:
    with pagesight.client() as client:
        (index,) = client.indices.get_mapping(index=PAGES).body.values()
    fields = index["mappings"]["properties"]["answers"].get("properties", {})
    return {name: field["type"] for name, field in fields.items()}


@pytest.fixture
def letter(pagesight: Pagesight, standin: Standin) -> Pagesight:
    """A home with a letter of two pages, of which the stand-in knows what to say."""
    make_pdf(pagesight.files / "letter.pdf", 2, seed=7)
    assert pagesight.index("--collection", "before", pagesight.files).code == 0
    standin.tell(answers={request["image_sha256"]: SAID for request in standin.requests()})
    return pagesight


def test_answers_become_typed_fields_that_reindexing_brings_back(letter: Pagesight, index: Index) -> None:
    write_profile(letter)

    ended = letter.index("--profile", "survey", letter.files)

    assert ended.code == 0, ended.stderr
    assert (ended.json["profile"], ended.json["model_calls"]) == ("survey", 10)
    first = answers(letter)
    assert [{name: found[name] for name in VALUES} for found in first] == [VALUES] * 2
    wanted = {
        "invoice_total": "double",
        "has_signature": "boolean",
        "document_type": "keyword",
        "parties": "keyword",
        "remarks": "text",
    }
    assert types(letter) == wanted
    assert {record["profile"] for record in letter.records(BATCHES).values()} == {"survey"}

    index.drop()
    assert letter.run("reindex").code == 0

    assert types(letter) == wanted
    assert answers(letter) == first


def test_the_collection_keeps_the_profile_as_it_was_when_it_was_named(letter: Pagesight, standin: Standin) -> None:
    file = write_profile(letter)
    assert letter.index("--profile", "survey", letter.files).code == 0
    file.unlink()

    ended = letter.index(letter.files)

    assert (ended.code, ended.json["profile"], ended.json["model_calls"]) == (0, "survey", 0)

    since = len(standin.requests())
    write_profile(letter, SURVEY.replace("Is it signed?", "Is there a signature?"))
    ended = letter.index("--profile", "survey", letter.files)

    assert (ended.json["model_calls"], ended.json["cached_answers"]) == (2, 8)
    assert prompts(standin, since) == ["Is there a signature? Answer yes or no."] * 2


def test_an_answer_of_another_type_is_refused_before_anything_is_begun(letter: Pagesight, standin: Standin) -> None:
    write_profile(letter)
    assert letter.index("--profile", "survey", letter.files).code == 0
    other = SURVEY.replace("survey", "other").replace('kind = "number"', 'kind = "list"\nlanguage = "verbatim"')
    write_profile(letter, other, "other")
    since, batches = len(standin.requests()), letter.archive.batches.names()

    ended = letter.index("--profile", "other", "--collection", "second", letter.files)

    assert ended.code == 2
    assert "answers.invoice_total" in ended.stderr
    assert "another name" in ended.stderr
    assert (prompts(standin, since), list(letter.archive.batches.names())) == ([], list(batches))


@pytest.mark.parametrize("command", ["index", "enqueue", "inspect"])
def test_a_profile_that_is_not_there_is_refused(pagesight: Pagesight, command: str) -> None:
    ended = pagesight.run(command, "--profile", "nobodys", pagesight.files)

    assert ended.code == 2
    assert "there is no profile 'nobodys'" in ended.stderr
    assert "accessible, standard" in ended.stderr


def test_inspecting_counts_the_questions_that_may_be_asked(letter: Pagesight) -> None:
    calls = {
        name: letter.run("inspect", "--json", "--profile", name, letter.files).json["totals"]["calls"]
        for name in ("text-only", "standard", "visual")
    }
    assert calls == {"text-only": 2, "standard": 4, "visual": 20}


def test_commands_about_profiles(pagesight: Pagesight) -> None:
    file = write_profile(pagesight)
    write_profile(pagesight, SURVEY.replace("max_tokens = 16", "max_tokens = 0"), "broken")

    listed = {entry["name"]: entry for entry in pagesight.run("profile", "list", "--json").json["profiles"]}
    assert list(listed) == ["accessible", "standard", "text-only", "visual", "broken", "survey"]
    assert listed["survey"]["questions"] == [*VALUES, "remarks"]
    assert "max_tokens" in listed["broken"]["error"]
    assert "yours" in pagesight.run("profile", "list").stdout

    shown = pagesight.run("profile", "show", "survey", "--language", "de")
    assert (shown.code, "What is remarkable? In German." in shown.stdout) == (0, True)
    shown = pagesight.run("profile", "show", "standard", "--json")
    assert [question["field"] for question in shown.json["questions"]] == ["description", "text"]

    checked = pagesight.run("profile", "check", file)
    assert (checked.code, "survey is valid" in checked.stdout) == (0, True)
    file.write_text(SURVEY.replace('kind = "number"', 'kind = "number"\nwhen = "has_txt"'))
    checked = pagesight.run("profile", "check", file)
    assert checked.code == 2
    assert "question invoice_total: the condition names 'has_txt'" in checked.stderr


def test_workers_read_each_batch_by_its_own_profile_and_need_no_file(fleet: Fleet, standin: Standin) -> None:
    pagesight = fleet.pagesight
    make_pdf(pagesight.files / "letter.pdf", 2, seed=7)
    file = write_profile(pagesight)
    batches = [
        fleet.enqueue("--collection", "surveyed", "--profile", "survey", pagesight.files),
        fleet.enqueue("--collection", "read", "--profile", "text-only", pagesight.files),
        fleet.enqueue("--collection", "plain", pagesight.files),
    ]
    file.unlink()

    fleet.start_worker()
    for batch in batches:
        assert fleet.until_ended(batch).state == "done", fleet.said()

    asked = {
        collection: {record["model"]["profile"] for record in pagesight.records(PAGES, collection).values()}
        for collection in ("surveyed", "read", "plain")
    }
    assert asked == {"surveyed": {"survey"}, "read": {"text-only"}, "plain": {"standard"}}
    # Two pages; five questions, and the two of the standard profile, of which one is asked for the text alone as well.
    assert len(standin.requests()) == 2 * (5 + 2)


def test_the_index_learns_fields_once_and_keeps_their_types(index: Index) -> None:
    kinds = {"total": AnswerKind.NUMBER, "kind": AnswerKind.CHOICE}
    index.require_answers(kinds)
    index.require_answers(kinds)
    assert index.install() == ()
    index.require_answers(kinds)
    record = page(answers={"total": 12.5, "kind": "invoice"})
    assert index.write([page_write(record)], CancelToken()).written == 1

    index.require_answers({"kind": AnswerKind.LIST})
    with pytest.raises(SettingsError, match=r"answers\.kind"):
        index.require_answers({"kind": AnswerKind.YES_NO})
    refused = index.write([page_write(page(2, answers={"mood": "calm"}))], CancelToken()).refused
    assert "mood" in next(iter(refused.values()))


def test_more_fields_than_an_index_may_have_are_refused(index: Index) -> None:
    with pytest.raises(SettingsError, match=r"[Ll]imit of total fields"):
        index.require_answers({f"question_{number}": AnswerKind.TEXT for number in range(1000)})
