"""Request bodies for a server, made from the templates in `mappings/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from pipeline.core.models import AnswerKind
from pipeline.search.analysis import Analysis

Body = dict[str, Any]

_KEYWORD: Body = {"type": "keyword", "ignore_above": 256}
#: The field under `answers` for each kind of question. The field of a list holds several values.
_ANSWER_FIELDS: dict[AnswerKind, Body] = {
    AnswerKind.TEXT: {"type": "text", "analyzer": "standard", "fields": {"raw": _KEYWORD}},
    AnswerKind.CHOICE: _KEYWORD,
    AnswerKind.LIST: _KEYWORD,
    AnswerKind.YES_NO: {"type": "boolean"},
    AnswerKind.NUMBER: {"type": "double"},
}

#: The aliases in `mappings/aliases.json`. Pages are read and written under different aliases, so a new index can be
#: filled before it is shown.
PAGES, PAGES_WRITE, SOURCES, DOCUMENTS, BATCHES, RUNS = (
    "pages",
    "pages-write",
    "sources",
    "documents",
    "batches",
    "runs",
)
#: Prefix of our templates' names: the whole cluster shares one namespace for templates.
PREFIX = "pagesight-"
#: Families of indices. An index is named `<family>-v<number>` and created from the template named as its family.
FAMILIES = (PAGES, SOURCES, DOCUMENTS, BATCHES, RUNS)
#: Priority of our index templates over others that match the same index, as `mappings/templates/` has it.
PRIORITY = 200
#: Ending of the component templates that belong to the operator. Ours end in them, and nothing of Pagesight writes one.
CUSTOM = "@custom"
#: `_meta.managed_by` of our templates.
MANAGED_BY = "pagesight"


@dataclass(frozen=True, slots=True)
class Layout:
    """Settings of an installation that shape its indices."""

    prefix: str = ""
    """Prefix of every name of an index, alias or template."""
    shards: int = 1
    replicas: int | None = None
    """Copies of each shard. With None, one copy where the cluster has a second node for it."""


def load(name: str) -> Body:
    """Return the content of a file in `mappings/`, such as `components/pages.json`."""
    file = files("mappings")
    for part in name.split("/"):
        file = file / part
    content: Body = json.loads(file.read_text(encoding="utf-8"))
    return content


def aliases(family: str) -> Body:
    """Return the aliases of a family, in the form of a request that creates an index."""
    body: Body = load("aliases.json")[family]
    return body


@cache
def family_of(alias: str) -> str:
    """Return the family of an alias."""
    return next(family for family in FAMILIES if alias in aliases(family))


def schema_version(family: str) -> int:
    """Return the version that this version of Pagesight requires in the `_meta` of the family's mappings."""
    return int(load(f"components/{family}.json")["template"]["mappings"]["_meta"]["schema_version"])


def language_mapping(code: str, analyzer: str) -> Body:
    """Return the mapping that adds a language to every field under `i18n`."""
    fields = load("components/pages.json")["template"]["mappings"]["properties"]["i18n"]["properties"]
    language = {code: {"type": "text", "analyzer": analyzer}}
    return {"properties": {"i18n": {"properties": {field: {"properties": language} for field in fields}}}}


def answers_mapping(kinds: Mapping[str, AnswerKind]) -> Body:
    """Return the mapping that adds the fields of these questions under `answers`."""
    return {"properties": {"answers": {"properties": {name: _ANSWER_FIELDS[kind] for name, kind in kinds.items()}}}}


def vectors_mapping(dimensions: int) -> Body:
    """Return the mapping that adds vectors of pages.

    Elasticsearch keeps one bit for each dimension in memory and compares the best again by the whole vectors
    (`bbq_hnsw`); it recommends that from 384 dimensions on, and one byte below.
    """
    index_type = "bbq_hnsw" if dimensions >= 384 else "int8_hnsw"
    words = {
        "type": "dense_vector",
        "dims": dimensions,
        "index": True,
        "similarity": "cosine",
        "index_options": {"type": index_type},
    }
    model = {"type": "keyword", "ignore_above": 256}
    return {"properties": {"embedding": {"properties": {"model": model, "words": words}}}}


def component_templates(layout: Layout, analysis: Analysis) -> dict[str, Body]:
    """Return every component template by name. A server checks each alone, so each has the analyzers that it uses."""
    names = {part for family in FAMILIES for part in load(f"templates/{family}.json")["composed_of"]}
    bodies = {name: load(f"components/{name.removeprefix(PREFIX)}.json") for name in sorted(names)}
    for body in bodies.values():
        if "mappings" in body["template"]:
            _index_settings(body)["analysis"] = analysis.shared
    _index_settings(bodies[PREFIX + "settings"]).update({"number_of_shards": layout.shards, **_copies(layout)})
    for code, analyzer in analysis.languages.items():
        bodies[_language_name(code)] = body = {"template": {"mappings": language_mapping(code, analyzer)}}
        if analysis.settings[code]:
            _index_settings(body)["analysis"] = analysis.settings[code]
    return {layout.prefix + name: _signed(body, "Part of Pagesight's indices.") for name, body in bodies.items()}


def _index_settings(body: Body) -> Body:
    settings: Body = body["template"].setdefault("settings", {}).setdefault("index", {})
    return settings


def _copies(layout: Layout) -> Body:
    if layout.replicas is None:
        return {"auto_expand_replicas": "0-1"}
    return {"number_of_replicas": layout.replicas}


def index_templates(layout: Layout, languages: Iterable[str]) -> dict[str, Body]:
    """Return every index template by name. The template of pages includes a component for each of these languages.

    Each ends in the operator's own component templates, which override ours and may be missing.
    """
    bodies = {family: load(f"templates/{family}.json") for family in FAMILIES}
    bodies[PAGES]["composed_of"] += [_language_name(code) for code in sorted(languages)]
    for family, body in bodies.items():
        custom = [PREFIX.rstrip("-") + CUSTOM, PREFIX + family + CUSTOM]
        body["composed_of"] += custom
        body["ignore_missing_component_templates"] = custom
        for key in ("index_patterns", "composed_of", "ignore_missing_component_templates"):
            body[key] = [layout.prefix + name for name in body[key]]
    return {layout.prefix + PREFIX + family: _signed(body, f"Pagesight's {family}.") for family, body in bodies.items()}


def _language_name(code: str) -> str:
    return f"{PREFIX}pages-language-{code}"


def _signed(body: Body, description: str) -> Body:
    """Add `_meta` for people, and a digest: a later installation compares digests instead of templates."""
    canonical = json.dumps(body, sort_keys=True).encode()
    about = {"description": description, "managed_by": MANAGED_BY, "version": version("pagesight")}
    return {**body, "_meta": about | {"digest": hashlib.sha256(canonical).hexdigest()}}
