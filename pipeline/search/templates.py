"""The templates in `mappings/`, made ready for a server: plain functions from data to request bodies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pipeline.core.models import AnswerKind

Body = dict[str, Any]

_KEYWORD: Body = {"type": "keyword", "ignore_above": 256}
#: The field under `answers` for each kind of question; that of a list holds several.
_ANSWER_FIELDS: dict[AnswerKind, Body] = {
    AnswerKind.TEXT: {"type": "text", "analyzer": "standard", "fields": {"raw": _KEYWORD}},
    AnswerKind.CHOICE: _KEYWORD,
    AnswerKind.LIST: _KEYWORD,
    AnswerKind.YES_NO: {"type": "boolean"},
    AnswerKind.NUMBER: {"type": "double"},
}

#: The aliases, as `mappings/aliases.json` has them. Pages are read and written under different ones, so that a new
#: index can be filled before it is shown.
PAGES, PAGES_WRITE, SOURCES, DOCUMENTS, BATCHES, RUNS = (
    "pages",
    "pages-write",
    "sources",
    "documents",
    "batches",
    "runs",
)
#: Names of our templates begin so; they share their namespace with everybody's.
PREFIX = "pagesight-"
#: The families of indices, `<family>-v<number>` each, made from the template of the family's name.
FAMILIES = (PAGES, SOURCES, DOCUMENTS, BATCHES, RUNS)


@dataclass(frozen=True, slots=True)
class Layout:
    """What an installation decides of its indices."""

    prefix: str = ""
    """What every name of an index, alias or template begins with."""
    shards: int = 1
    replicas: int = 0
    """Copies of each shard."""


def load(name: str) -> Body:
    """Return the content of a file in `mappings/`, such as `components/pages.json`."""
    place = files("mappings")
    for part in name.split("/"):
        place = place / part
    content: Body = json.loads(place.read_text(encoding="utf-8"))
    return content


def languages() -> dict[str, list[str]]:
    """Return, by language code, the analyzers that suit the language, best first."""
    return load("languages.json")


def aliases(family: str) -> Body:
    """Return the aliases of a family, as a request that makes an index wants them."""
    body: Body = load("aliases.json")[family]
    return body


@cache
def family_of(alias: str) -> str:
    """Return the family that an alias belongs to."""
    return next(family for family in FAMILIES if alias in aliases(family))


def schema_version(family: str) -> int:
    """Return the version that an index of this family must carry in its mapping's `_meta`."""
    return int(load(f"components/{family}.json")["template"]["mappings"]["_meta"]["schema_version"])


def language_mapping(code: str, analyzer: str) -> Body:
    """Return the mapping that adds a language to every field under `i18n`."""
    fields = load("components/pages.json")["template"]["mappings"]["properties"]["i18n"]["properties"]
    language = {code: {"type": "text", "analyzer": analyzer}}
    return {"properties": {"i18n": {"properties": {field: {"properties": language} for field in fields}}}}


def answers_mapping(kinds: Mapping[str, AnswerKind]) -> Body:
    """Return the mapping that adds the fields of these questions under `answers`."""
    return {"properties": {"answers": {"properties": {name: _ANSWER_FIELDS[kind] for name, kind in kinds.items()}}}}


def component_templates(layout: Layout, analyzers: Mapping[str, str]) -> dict[str, Body]:
    """Return every component template by name; `analyzers` names the analyzer of each language."""
    names = {part for family in FAMILIES for part in load(f"templates/{family}.json")["composed_of"]}
    bodies = {name: load(f"components/{name.removeprefix(PREFIX)}.json") for name in sorted(names)}
    settings = bodies[PREFIX + "settings"]["template"]["settings"]["index"]
    settings |= {"number_of_shards": layout.shards, "number_of_replicas": layout.replicas}
    for code, analyzer in analyzers.items():
        bodies[_language_name(code)] = {"template": {"mappings": language_mapping(code, analyzer)}}
    return {layout.prefix + name: _signed(body) for name, body in bodies.items()}


def index_templates(layout: Layout, analyzers: Mapping[str, str]) -> dict[str, Body]:
    """Return every index template by name; that of the pages is composed of the languages as well."""
    bodies = {family: load(f"templates/{family}.json") for family in FAMILIES}
    bodies[PAGES]["composed_of"] += [_language_name(code) for code in sorted(analyzers)]
    for body in bodies.values():
        for key in ("index_patterns", "composed_of"):
            body[key] = [layout.prefix + name for name in body[key]]
    return {layout.prefix + PREFIX + family: _signed(body) for family, body in bodies.items()}


def _language_name(code: str) -> str:
    return f"{PREFIX}pages-language-{code}"


def _signed(body: Body) -> Body:
    """Add a digest under `_meta`, by which a later installation sees without comparing that nothing has changed."""
    canonical = json.dumps(body, sort_keys=True).encode()
    return {**body, "_meta": {"digest": hashlib.sha256(canonical).hexdigest()}}
