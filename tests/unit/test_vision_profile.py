from __future__ import annotations

import pytest

from pipeline.errors import SettingsError
from pipeline.vision.profile import load_profile, parse_profile

PROFILE = """
name = "mine"
[[questions]]
name = "description"
max_tokens = 100
prompt = "Describe it in {language}."
"""


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
        ("name = ", "no TOML"),
        ('name = "mine"', "questions"),
        ('name = "mine"\nquestions = []', "questions"),
        (PROFILE + "temprature = 1", "temprature"),
        (PROFILE.replace("{language}", "German"), "must hold {language}"),
        (PROFILE.replace("{language}", "{language} {page}"), "no other placeholder"),
        (PROFILE.replace("{language}", "{language"), "prompt"),
        (PROFILE.replace("100", "0"), "max_tokens"),
        (PROFILE.replace("100", "100000"), "max_tokens"),
        (PROFILE.replace('"description"', '"mood"'), "name"),
        (PROFILE + 'empty_answer = "NOTHING"', "does not tell the empty_answer"),
        (PROFILE + PROFILE.split("\n", 2)[2], "two questions have one name"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match="the profile") as caught:
        parse_profile(text)

    assert words in str(caught.value)


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        load_profile("../standard")

    assert "standard" in caught.value.remedy
