"""Text analysis: the analyzers that a server can build, made from `mappings/analysis.json`.

A full distribution and the local node have the same filters, under the same names, so both get the same analyzers. What
only a plugin has (ICU, kuromoji, …) is used where it is installed. A server without these filters gets analyzers that
only ignore case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

Body = dict[str, Any]
#: Whether the server can build the analyzer of this request to `_analyze`.
Has = Callable[[Body], bool]

#: Prefix of the names that our analyzers and their parts have in the settings of an index.
PREFIX = "pagesight_"
#: Analyzers of every index: for text and names, and for what signs or line ends separate.
SHARED = ("text", "name", "text_search", "joined", "name_joined", "joined_search")
#: Name in `analysis.json` of the filter that folds accents, which depends on the server.
FOLD = "fold"
#: What any server has.
PLAIN: Body = {"tokenizer": "standard", "filter": ["lowercase"]}


@dataclass(frozen=True, slots=True)
class Analysis:
    """How a server analyses text."""

    shared: Body
    """Settings of an index's analysis, with the analyzers that every index has."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """Name of the analyzer of each language, by code."""
    settings: Mapping[str, Body] = field(default_factory=dict)
    """Settings of an index's analysis for each language, by code. Empty for an analyzer that a plugin has ready."""
    folds: bool = False
    """Whether accents are ignored."""


@dataclass(frozen=True, slots=True)
class LanguageSupport:
    """Languages, by code, whose words are found in their other forms, and those found as they are written."""

    analysed: tuple[str, ...]
    exact: tuple[str, ...]

    @classmethod
    def of(cls, analysed: Set[str]) -> LanguageSupport:
        """Return the support of an index that analyses these languages."""
        return cls(tuple(sorted(analysed)), tuple(sorted(languages().keys() - analysed)))

    def __str__(self) -> str:
        forms = f"forms of words are found in {', '.join(self.analysed) or 'no language'}"
        return forms + (f"; exact words only in {', '.join(self.exact)} and all others" if self.exact else "")


def choose(has: Has) -> Analysis:
    """Return the best analysis that a server can do."""
    data = _load("analysis.json")
    fold = next((name for name in data["fold"] if has({"tokenizer": "standard", "filter": [{"type": name}]})), None)
    shared = {name: data["analyzer"][name] for name in SHARED}
    if fold is None or not all(has(_request(spec, fold)) for spec in shared.values()):
        return Analysis(_settings(dict.fromkeys(SHARED, PLAIN), FOLD))
    chosen = dict(_languages(has, fold))
    return Analysis(
        shared=_settings(shared, fold),
        languages={code: spec.get("analyzer") or PREFIX + name for code, (name, spec) in chosen.items()},
        settings={
            code: {} if "analyzer" in spec else _settings({name: spec}, fold) for code, (name, spec) in chosen.items()
        },
        folds=True,
    )


def languages() -> dict[str, list[str]]:
    """Return the suitable analyzers by language code, best first."""
    return _load("languages.json")


def _languages(has: Has, fold: str) -> Iterator[tuple[str, tuple[str, Body]]]:
    """Yield name and description of the best analyzer of each language that the server can build."""
    known: dict[str, bool] = {}
    for code, names in languages().items():
        for name in names:
            spec = _language_spec(name)
            if name not in known:
                known[name] = has(_request(spec, fold))
            if known[name]:
                yield code, (name, spec)
                break


def _language_spec(name: str) -> Body:
    """Return the analyzer of a language. Filters that only it has are descriptions, not names.

    Words are stemmed as they are written and without accents, so each of both forms finds the other.
    """
    spec: Body = _load("analysis.json")["language"][name]
    if "filter" in spec or "analyzer" in spec:
        return {"tokenizer": "standard", "char_filter": ["line_ends"]} | spec
    stemmer = [{"type": "stemmer", "language": spec["stemmer"]}] if "stemmer" in spec else []
    return {
        "tokenizer": spec.get("tokenizer", "standard"),
        "char_filter": ["line_ends", *spec.get("char_filter", ())],
        "filter": [
            *spec.get("first", ()),
            spec.get("lowercase", "lowercase"),
            "decimal_digit",
            {"type": "stop", "stopwords": spec["stopwords"]},
            "keep_accents",
            *spec.get("normalisers", ()),
            *stemmer,
            *spec.get("last", ()),
            FOLD,
            "remove_duplicates",
        ],
    }


def _request(spec: Body, fold: str) -> Body:
    """Return the request to `_analyze` that an analyzer's parts answer, without an index."""
    if "analyzer" in spec:
        return {"analyzer": spec["analyzer"]}
    return {
        "tokenizer": _load("analysis.json")["tokenizer"].get(spec["tokenizer"], spec["tokenizer"]),
        "char_filter": [_part("char_filter", part, fold) for part in spec.get("char_filter", ())],
        "filter": [_part("filter", part, fold) for part in spec["filter"]],
    }


def _settings(specs: Mapping[str, Body], fold: str) -> Body:
    """Return the settings of an index's analysis that define these analyzers and their parts."""
    settings: Body = {"analyzer": {}, "char_filter": {}, "tokenizer": {}, "filter": {}}
    for name, spec in specs.items():
        analyzer: Body = {"type": "custom", "tokenizer": spec["tokenizer"]}
        own = _load("analysis.json")["tokenizer"].get(spec["tokenizer"])
        if own is not None:
            analyzer["tokenizer"] = PREFIX + spec["tokenizer"]
            settings["tokenizer"][analyzer["tokenizer"]] = own
        for kind in ("char_filter", "filter"):
            analyzer[kind] = [_named(part, name) for part in spec.get(kind, ())]
            settings[kind] |= {_named(part, name): _part(kind, part, fold) for part in spec.get(kind, ())}
        settings["analyzer"][PREFIX + name] = analyzer
    return {kind: body for kind, body in settings.items() if body}


def _named(part: str | Body, analyzer: str) -> str:
    return PREFIX + (part if isinstance(part, str) else f"{analyzer}_{part['type']}")


def _part(kind: str, part: str | Body, fold: str) -> Body:
    """Return the description of a part. A name that `analysis.json` does not describe is a type."""
    if not isinstance(part, str):
        return part
    return {"type": fold} if part == FOLD else _load("analysis.json")[kind].get(part, {"type": part})


@cache
def _load(name: str) -> Body:
    content: Body = json.loads((files("mappings") / name).read_text(encoding="utf-8"))
    return content
