"""Bring a cluster to what `mappings/` says. A second call changes nothing; two at once do no harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch

from pipeline.errors import ServiceRefused, SettingsError
from pipeline.models import AnswerKind
from pipeline.search import templates
from pipeline.search.errors import SERVICE, reason, translated


def install(client: Elasticsearch, replicas: int) -> tuple[str, ...]:
    """Make templates, indices, aliases and language fields that are missing; return what was changed, in words.

    Raises:
        ServiceRefused: an index was made by another version of Pagesight, or the key may not do it.
        ServiceUnavailable: the cluster is away.
    """
    with translated():
        live = _live_indices(client)
        _refuse_other_schemas(live)
        mapped = mapped_languages(live)
        analyzers = _choose_analyzers(client, mapped)
        return (
            *_put_templates(client, replicas, analyzers),
            *_make_indices(client, live),
            *_add_languages(client, mapped, analyzers),
        )


def mapped_languages(indices: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the analyzer of each language in the index behind `pages-write`, or None where there is no such index."""
    for index in indices.values():
        if templates.PAGES_WRITE in index["aliases"]:
            fields = index["mappings"]["properties"]["i18n"]["properties"]["text"].get("properties", {})
            return {code: field["analyzer"] for code, field in fields.items()}
    return None


def add_answers(client: Elasticsearch, kinds: Mapping[str, AnswerKind]) -> None:
    """Have the live mapping of pages know the fields of these questions. What it knows already stays.

    Raises:
        SettingsError: one of them has another type there, or there are too many fields.
        ServiceRefused: there is no index, or the key may not do it.
        ServiceUnavailable: the cluster is away.
    """
    mapping = templates.answers_mapping(kinds)
    with translated():
        try:
            client.indices.put_mapping(index=templates.PAGES_WRITE, properties=mapping["properties"])
        except BadRequestError as error:
            raise SettingsError(
                f"the answers of a profile do not fit into the index: {reason(error.body.get('error'))}",
                remedy="Pages were read with another kind of question of that name: give the question another name.",
            ) from error


def _live_indices(client: Elasticsearch) -> dict[str, Any]:
    """Return what stands under our aliases, or under the names that we would give, by index name."""
    names = [
        name for family in templates.FAMILIES for name in (templates.first_index(family), *templates.aliases(family))
    ]
    answer = client.indices.get(index=names, features=["aliases", "mappings"], ignore_unavailable=True)
    return dict(answer.body)


def _refuse_other_schemas(live: Mapping[str, Any]) -> None:
    for name, index in live.items():
        found = index["mappings"].get("_meta", {}).get("schema_version")
        ours = templates.schema_version(_family(name))
        if found != ours:
            raise ServiceRefused(
                SERVICE,
                f"the index {name} has the schema version {found}; this version of Pagesight writes {ours}",
                remedy=f"Delete the index {name} and run `pagesight rebuild`: the archive holds everything.",
            )


def _family(index: str) -> str:
    return next(family for family in templates.FAMILIES if index.startswith(family))


def _choose_analyzers(client: Elasticsearch, mapped: Mapping[str, str] | None) -> dict[str, str]:
    """Return the analyzer of each language: the one that is mapped, since a live field cannot change it, else the best
    of those that the server has."""
    chosen = dict(mapped or {})
    known: dict[str, bool] = {}
    for code, names in templates.languages().items():
        for name in names:
            if code not in chosen and name not in known:
                known[name] = _has_analyzer(client, name)
            if code not in chosen and known[name]:
                chosen[code] = name
    return chosen


def _has_analyzer(client: Elasticsearch, name: str) -> bool:
    try:
        client.indices.analyze(analyzer=name, text="a")
    except BadRequestError as error:
        if "failed to find global analyzer" in str(error):
            return False
        raise
    return True


def _put_templates(client: Elasticsearch, replicas: int, analyzers: Mapping[str, str]) -> Iterator[str]:
    pattern = templates.PREFIX + "*"
    lenient = client.options(ignore_status=404)  # the answer where no template matches the pattern
    found = lenient.cluster.get_component_template(name=pattern).body.get("component_templates", ())
    there = {entry["name"]: _digest(entry["component_template"]) for entry in found}
    for name, body in templates.component_templates(replicas, analyzers).items():
        if there.get(name) != _digest(body):
            client.cluster.put_component_template(name=name, template=body["template"], meta=body["_meta"])
            yield f"component template {name}"
    found = lenient.indices.get_index_template(name=pattern).body.get("index_templates", ())
    there = {entry["name"]: _digest(entry["index_template"]) for entry in found}
    for name, body in templates.index_templates(analyzers).items():
        if there.get(name) != _digest(body):
            client.indices.put_index_template(name=name, **_arguments(body))
            yield f"index template {name}"


def _digest(template: Mapping[str, Any]) -> object:
    return template.get("_meta", {}).get("digest")


def _arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("_"): value for key, value in body.items()}


def _make_indices(client: Elasticsearch, live: Mapping[str, Any]) -> Iterator[str]:
    present = {alias for index in live.values() for alias in index["aliases"]}
    for family in templates.FAMILIES:
        aliases = templates.aliases(family)
        name = templates.first_index(family)
        if name not in live and not present & set(aliases):
            if _make_index(client, name, aliases):
                yield f"index {name}"
            continue
        missing = [alias for alias in aliases if alias not in present]
        target = next((index for index, state in live.items() if set(aliases) & set(state["aliases"])), name)
        for alias in missing:
            client.indices.put_alias(index=target, name=alias, **aliases[alias])
            yield f"alias {alias}"


def _make_index(client: Elasticsearch, name: str, aliases: Mapping[str, Any]) -> bool:
    """Make an index and its aliases in one step; return False where another installation was quicker."""
    try:
        client.indices.create(index=name, aliases=aliases)
    except BadRequestError as error:
        if "resource_already_exists_exception" in str(error):
            return False
        raise
    return True


def _add_languages(
    client: Elasticsearch, mapped: Mapping[str, str] | None, analyzers: Mapping[str, str]
) -> Iterator[str]:
    """Add to a live index what its server has learnt since; a new index has them from its template."""
    if mapped is None:
        return
    for code in sorted(analyzers.keys() - mapped.keys()):
        mapping = templates.language_mapping(code, analyzers[code])
        client.indices.put_mapping(index=templates.PAGES_WRITE, properties=mapping["properties"])
        yield f"language {code} ({analyzers[code]})"
