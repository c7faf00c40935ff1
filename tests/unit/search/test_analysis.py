"""The analyzers that a server gets, by what it has."""

from __future__ import annotations

from typing import Any

from pipeline.search import analysis

#: What only plugins have.
PLUGINS = ("icu_", "kuromoji", "nori", "smartcn", "polish", "ukrainian")


def types(body: dict[str, Any]) -> str:
    return str(body)


def full(body: dict[str, Any]) -> bool:
    """Whether a full distribution without plugins can do it."""
    return not any(name in types(body) for name in PLUGINS)


def test_a_full_distribution_stems_what_it_can_and_folds_ascii() -> None:
    chosen = analysis.choose(full)
    assert chosen.folds
    assert chosen.languages.keys() == analysis.languages().keys() - {"pl", "uk"}
    assert chosen.languages["ja"] == chosen.languages["zh"] == "pagesight_cjk"
    assert chosen.shared["filter"]["pagesight_fold"] == {"type": "asciifolding"}


def test_plugins_are_used_where_they_are() -> None:
    chosen = analysis.choose(lambda body: True)
    assert chosen.languages.keys() == analysis.languages().keys()
    assert (chosen.languages["ja"], chosen.languages["uk"]) == ("pagesight_kuromoji", "ukrainian")
    assert chosen.settings["uk"] == {}
    assert chosen.shared["filter"]["pagesight_fold"] == {"type": "icu_folding"}


def test_a_server_without_the_filters_has_analyzers_of_these_names_that_ignore_case() -> None:
    chosen = analysis.choose(lambda body: "asciifolding" not in types(body) and full(body))
    assert (chosen.languages, chosen.folds) == ({}, False)
    assert chosen.shared["analyzer"].keys() == {f"pagesight_{name}" for name in analysis.SHARED}
    assert chosen.shared["filter"] == {"pagesight_lowercase": {"type": "lowercase"}}


def test_a_language_that_the_server_cannot_stem_is_left_out() -> None:
    chosen = analysis.choose(lambda body: full(body) and "light_german" not in types(body))
    assert "de" not in chosen.languages
    assert "fr" in chosen.languages


def test_each_part_of_an_analyzer_is_described_in_its_settings() -> None:
    chosen = analysis.choose(full)
    for settings in (chosen.shared, *chosen.settings.values()):
        for analyzer in settings["analyzer"].values():
            for kind in ("char_filter", "filter"):
                assert set(analyzer[kind]) <= settings.get(kind, {}).keys()


def test_each_part_that_is_described_is_used() -> None:
    chosen = analysis.choose(full)
    used = str([chosen.shared, *chosen.settings.values()])
    described = analysis._load("analysis.json")
    for kind in ("char_filter", "filter", "tokenizer"):
        assert [name for name in described[kind] if f"pagesight_{name}'" not in used] == []
