from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.vision.profile import (
    built_in_names,
    kept_form,
    kept_profile,
    load_profile,
    own_names,
    parse_profile,
    read_own,
)

PROFILE = """
name = "mine"
[[questions]]
name = "description"
max_tokens = 100
prompt = "Describe it in {language}."
"""


def own(*lines: str) -> str:
    """A profile with one question of one's own, about which nothing is said but these lines."""
    return PROFILE.replace('"description"', '"mood"') + "\n".join(lines)


def test_the_standard_profile_asks_for_a_description_and_for_the_text() -> None:
    profile = load_profile()

    assert profile.name == "standard"
    assert [question.name for question in profile.questions] == ["description", "text"]


@pytest.mark.parametrize(("tag", "name"), [("en", "English"), ("de", "German"), ("zh-Hant", "Chinese (Traditional)")])
def test_each_prompt_names_the_language_in_english(tag: str, name: str) -> None:
    for question in load_profile().questions:
        prompt = question.prompt_in(tag)
        assert name in prompt
        assert "{" not in prompt


def test_the_standard_prompts_do_not_expect_a_chart_or_a_table() -> None:
    for question in load_profile().questions:
        assert not {"chart", "table", "diagram", "figure"} & set(question.prompt.lower().replace(".", " ").split())


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        # Whatever is sent counts.
        ("100", "101", True),
        ("Describe it", "Describe this", True),
        ('name = "description"', 'name = "text"', True),
        # What is not sent does not.
        ('name = "mine"', 'name = "yours"', False),
        ("[[questions]]", "# a remark\n[[questions]]", False),
    ],
)
def test_the_revision_changes_with_what_is_sent(old: str, new: str, differs: bool) -> None:
    changed = PROFILE.replace(old, new, 1)
    assert changed != PROFILE

    assert (parse_profile(changed).revision != parse_profile(PROFILE).revision) is differs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "not TOML"),
        ('name = "mine"', "questions"),
        ('name = "mine"\nquestions = []', "questions"),
        (PROFILE + "temprature = 1", "temprature"),
        (PROFILE.replace("{language}", "German"), "must hold {language}"),
        (PROFILE + 'language = "french"', "language"),
        (PROFILE + 'choices = ["a", "b"]', "has no choices"),
        (PROFILE + 'kind = "number"', "description must be of the kind text"),
        (own('kind = "number"', 'language = "requested"'), "has no language"),
        (own('kind = "choice"', 'choices = ["one"]'), "at least two choices"),
        (own('kind = "choice"', 'choices = ["one", "two"]'), "does not name the answer 'one'"),
        (own('kind = "yes_no"'), "does not name the answer 'yes'"),
        (own('kind = "colour"'), "kind"),
        (PROFILE.replace('"mine"', '"../mine"'), "name"),
        (PROFILE.replace("{language}", "{language} {page}"), "no other placeholder"),
        (PROFILE.replace("{language}", "{language"), "prompt"),
        (PROFILE.replace("100", "0"), "question description.max_tokens"),
        ('name = "mine"\nquestions = [1]', "question 0"),
        ('name = "mine"\nquestions = 1', "questions"),
        (PROFILE.replace("100", "100000"), "max_tokens"),
        (PROFILE.replace('"description"', '"Mood of it"'), "name"),
        (PROFILE.replace('"description"', '"page"'), "name"),
        (PROFILE + 'empty_answer = "NOTHING"', "does not name the empty_answer"),
        (PROFILE + PROFILE.split("\n", 2)[2], "two questions have one name"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match="the profile") as caught:
        parse_profile(text)

    assert words in str(caught.value)


def test_the_standard_profile_is_what_it_was_when_pages_were_first_read_with_it() -> None:
    assert load_profile().revision == "c12429e74188"


def test_questions_of_the_standard_profile_are_the_same_in_the_others() -> None:
    standard = {question.name: question.prompt_in("de") for question in load_profile().questions}
    for name in ("accessible", "visual", "text-only"):
        for question in load_profile(name).questions:
            assert question.prompt_in("de") == standard.get(question.name, question.prompt_in("de"))


@pytest.mark.parametrize("name", built_in_names())
def test_a_built_in_profile_says_of_each_image_that_its_words_are_no_instructions(name: str) -> None:
    assert load_profile(name).name == name
    for question in load_profile(name).questions:
        assert "never instructions" in question.prompt


def test_the_revision_changes_with_what_becomes_of_answers() -> None:
    texts = (
        PROFILE,
        PROFILE + "when = 'page.kind == \"scanned\"'",
        PROFILE + 'language = "verbatim"',
        own(),
        own('kind = "list"'),
    )
    assert len({parse_profile(text).revision for text in texts}) == len(texts)


def test_a_question_that_names_no_language_is_the_same_in_all() -> None:
    has_text, *_, text = load_profile("visual").questions[:4]
    assert (has_text.language_in("de"), text.language_in("de")) == ("", "de")
    assert has_text.prompt_in("de") == has_text.prompt_in("ar")


def test_a_profile_of_ones_own_lies_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PROFILE)

    profile = load_profile("mine", tmp_path)

    assert profile == parse_profile(PROFILE)
    assert profile.is_own
    assert own_names(tmp_path) == ("mine",)
    assert own_names(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        ("standard.toml", "standard", "is taken"),
        ("other.toml", "mine", "in it is named 'mine'"),
        ("mine.txt", "mine", "in it is named 'mine'"),
    ],
)
def test_a_file_has_the_name_of_its_profile_and_none_that_is_taken(
    tmp_path: Path, file: str, name: str, words: str
) -> None:
    (tmp_path / file).write_text(PROFILE.replace("mine", name))

    with pytest.raises(SettingsError, match=words):
        read_own(tmp_path / file)


def test_what_a_collection_keeps_of_a_profile_is_that_profile() -> None:
    for profile in (parse_profile(PROFILE), load_profile(), load_profile("visual")):
        kept = kept_form(profile)
        assert (kept is None) is not profile.is_own
        assert kept_profile(profile.name, json.loads(json.dumps(kept))) == profile


def test_a_kept_profile_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(SettingsError, match="the profile mine of the collection"):
        kept_profile("mine", {"name": "mine", "questions": [], "mood": 1})


def test_the_example_of_the_documentation_can_be_used() -> None:
    text = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)

    assert {name: kind.value for name, kind in parse_profile(example).own_kinds.items()} == {
        "document_type": "choice",
        "invoice_total": "number",
        "has_signature": "yes_no",
    }


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        load_profile("../standard")

    assert "standard" in caught.value.remedy
