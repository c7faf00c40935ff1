"""Installs `mappings/` into a cluster. A second call changes nothing, and two processes may install at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from pipeline.core.errors import ServiceRefused, SettingsError
from pipeline.core.models import AnswerKind
from pipeline.search import templates
from pipeline.search.analysis import Analysis, LanguageSupport, choose
from pipeline.search.client import AuthorizationException, BadRequestError, Elasticsearch
from pipeline.search.diagnosis import TEMPLATE_REMEDY, reason
from pipeline.search.errors import translated
from pipeline.search.names import SERVICE, Names
from pipeline.search.templates import Body, Layout

COMPONENT, TEMPLATE = "component template", "index template"
OTHER_SCHEMA_REMEDY = (
    "If the index is older, run `pagesight reindex`: it makes new indices from the archive, and searches keep working. "
    "If it is newer, install the version of Pagesight that made it; or stop its processes and use the same command."
)
NO_SCHEMA_REMEDY = (
    "Run `pagesight setup --check`: it names another application's template, if that shaped the index. Then run "
    "`pagesight reindex`, which makes new indices from the archive."
)
OUTDATED_TEMPLATES_REMEDY = (
    "Run `pagesight setup` with this version of Pagesight, as a user who may manage index templates: it updates the "
    "templates, or names the template of another application that takes precedence. Then run the same command again. "
    "If the index is live, delete it first."
)


def install(client: Elasticsearch, layout: Layout) -> tuple[str, ...]:
    """Create missing templates, indices and aliases; return a description of each change.

    The templates are updated even if the live indices are older, so that a re-index finds them.

    Raises:
        ServiceRefused: an index was made by another version of Pagesight or has the name of an alias, another
            application's template shapes our indices, or the API key lacks a privilege.
        ServiceUnavailable: the cluster is unavailable.
    """
    with translated():
        indices = our_indices(client, layout)
        _refuse_newer_schemas(indices, layout)
        changes = _update_templates(client, layout, indices)
        _refuse_other_schemas(indices, layout)
        return (*changes, *_create_indices(client, layout, indices))


def differences(client: Elasticsearch, layout: Layout) -> tuple[str, ...]:
    """Return the changes that `install` would make, in the same words.

    Raises:
        ServiceRefused: as `install` raises it.
        ServiceUnavailable: the cluster is unavailable.
    """
    with translated():
        indices = our_indices(client, layout)
        _refuse_indices_named_as_aliases(indices, layout)
        _refuse_foreign_templates(client, layout, indices)
        _refuse_other_schemas(indices, layout)
        differing = _templates_that_differ(client, layout, _choose_analysis(client))
        return (
            *(f"{kind} {name}" for kind, name, _ in differing),
            *(f"index {name}" for _, name in _missing_indices(layout, indices)),
            *(f"alias {alias}" for _, alias, _ in _missing_aliases(layout, indices)),
        )


class Precedence:
    """Whether our index templates take precedence over those of other applications."""

    def __init__(self, client: Elasticsearch, layout: Layout) -> None:
        self._client = client
        self._layout = layout

    def check(self) -> bool:
        """Simulate each index that the next re-index would create. Return False if the key may not read templates.

        Raises:
            ServiceRefused: another application's template would shape one of them.
            ServiceUnavailable: the cluster is unavailable.
        """
        with translated():
            try:
                _refuse_foreign_templates(self._client, self._layout, our_indices(self._client, self._layout))
            except AuthorizationException:
                return False
        return True


class SearchLanguages:
    """The languages in which searches find the forms of a word."""

    def __init__(self, client: Elasticsearch, layout: Layout) -> None:
        self._client = client
        self._layout = layout

    def live(self) -> LanguageSupport | None:
        """Return the languages of the live index, or None if nothing is installed yet.

        Raises:
            ServiceUnavailable: the cluster is unavailable.
        """
        alias = self._layout.prefix + templates.PAGES
        with translated():
            found = self._client.options(ignore_status=404).indices.get(index=alias, features=["mappings"]).body
        if "error" in found:
            return None
        (index,) = found.values()
        return LanguageSupport.of(languages_of(index).keys())

    def learnt(self, live: LanguageSupport) -> tuple[str, ...]:
        """Return the languages that the server can analyse and the live index does not, since it is older.

        Raises:
            ServiceRefused: the API key may not ask the server for an analysis.
            ServiceUnavailable: the cluster is unavailable.
        """
        with translated():
            best = _choose_analysis(self._client)
        return tuple(sorted(best.languages.keys() - set(live.analysed)))


def prepare(client: Elasticsearch, layout: Layout) -> tuple[str, ...]:
    """Update the templates if the key may, and create missing indices; live indices may have any schema.

    A key without the right to manage templates uses the installed ones. The schema of each new index is then checked.

    Raises:
        ServiceRefused: an index has the name of an alias, a template is outdated or another application's, or the API
            key lacks a privilege.
        ServiceUnavailable: the cluster is unavailable.
    """
    with translated():
        indices = our_indices(client, layout)
        _refuse_indices_named_as_aliases(indices, layout)
        changes: tuple[str, ...] = ()
        with suppress(
            AuthorizationException
        ):  # `_create_indices` and `Generations.create` check what the templates make
            changes = _update_templates(client, layout, indices)
        return (*changes, *_create_indices(client, layout, indices))


def _update_templates(client: Elasticsearch, layout: Layout, indices: Mapping[str, Any]) -> tuple[str, ...]:
    """Create or update the templates; return the changes."""
    _refuse_foreign_templates(client, layout, indices)
    return tuple(_put_templates(client, _templates_that_differ(client, layout, _choose_analysis(client))))


def is_installed(client: Elasticsearch, layout: Layout) -> bool:
    """Whether every alias leads to an index with this version's schema, as writers require. Nothing is changed.

    Raises:
        ServiceRefused: an index was made by another version of Pagesight or has the name of an alias, or the API key
            may not read metadata.
        ServiceUnavailable: the cluster is unavailable.
    """
    with translated():
        indices = our_indices(client, layout)
    _refuse_indices_named_as_aliases(indices, layout)
    _refuse_other_schemas(indices, layout)
    return not _missing_indices(layout, indices) and not _missing_aliases(layout, indices)


def our_indices(client: Elasticsearch, layout: Layout) -> dict[str, Any]:
    """Return Pagesight's indices by name, live or not, and any index that has the name of one of its aliases."""
    prefix = layout.prefix
    names = [name for family in templates.FAMILIES for name in (f"{prefix}{family}-v*", *_alias_names(layout, family))]
    answer = client.indices.get(
        index=names, features=["aliases", "mappings"], ignore_unavailable=True, expand_wildcards=["open", "closed"]
    )
    ours = Names(prefix)
    return {name: index for name, index in answer.body.items() if ours.number_of(name) is not None or name in names}


def live_index(indices: Mapping[str, Any], layout: Layout, family: str) -> str | None:
    """Return the name of the index behind the aliases of a family, or None."""
    aliases = _alias_names(layout, family)
    return next((name for name, index in indices.items() if aliases & index["aliases"].keys()), None)


def languages_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the analyzers of the analysed copies of texts in an index of pages, by language code."""
    fields = index["mappings"]["properties"]["i18n"]["properties"]["text"].get("properties", {})
    return {code: field["analyzer"] for code, field in fields.items()}


def schema_of(index: Mapping[str, Any]) -> int | None:
    """Return the schema version of an index, or None if it has none."""
    found = index["mappings"].get("_meta", {}).get("schema_version")
    return None if found is None else int(found)


def add_answers(client: Elasticsearch, alias: str, kinds: Mapping[str, AnswerKind]) -> None:
    """Add the fields of these questions to the mapping of pages behind an alias.

    Raises:
        SettingsError: one of the fields has another type in the mapping, or the mapping has too many fields.
        ServiceRefused: the index is missing, or the API key may not change its mapping.
        ServiceUnavailable: the cluster is unavailable.
    """
    mapping = templates.answers_mapping(kinds)
    with translated():
        if _has_answers(client, alias, kinds):  # checked first, since a writer's key may not change the mapping
            return
        try:
            client.indices.put_mapping(index=alias, properties=mapping["properties"])
        except BadRequestError as error:
            raise SettingsError(
                f"the answers of a profile do not fit into the index: {reason(error.body.get('error'))}",
                remedy="Pages were read with another kind of question of that name: give the question another name.",
            ) from error


class VectorFields:
    """The fields of vectors in the index that page records are written to. The server is queried once."""

    def __init__(self, client: Elasticsearch, names: Names) -> None:
        self._client = client
        self._names = names
        self._ready: bool | None = None

    def require(self, dimensions: int) -> bool:
        """Add the fields to the mapping, if it lacks them; return whether it takes vectors of these dimensions.

        It does not where it has other dimensions, or where the API key may not change it: then a re-index makes an
        index that does. Raises as `add_answers`, but for `SettingsError`.
        """
        if self._ready is None:
            self._ready = self._added(self._names.alias(templates.PAGES_WRITE), dimensions)
        return self._ready

    def _added(self, alias: str, dimensions: int) -> bool:
        with translated():
            (index,) = self._client.indices.get_mapping(index=alias).body.values()
            found = index["mappings"]["properties"].get("embedding", {}).get("properties", {}).get("words")
            if found is not None:
                return bool(found.get("dims") == dimensions)
            try:
                mapping = templates.vectors_mapping(dimensions)
                self._client.indices.put_mapping(index=alias, properties=mapping["properties"])
            except (AuthorizationException, BadRequestError):
                return False
        return True


def _has_answers(client: Elasticsearch, alias: str, kinds: Mapping[str, AnswerKind]) -> bool:
    """Whether the mapping has these fields with the right types."""
    wanted = templates.answers_mapping(kinds)["properties"]["answers"]["properties"]
    answer = client.indices.get_mapping(index=alias)
    (index,) = answer.body.values()
    found = index["mappings"]["properties"]["answers"].get("properties", {})
    return all(found.get(name, {}).get("type") == field["type"] for name, field in wanted.items())


def _refuse_newer_schemas(indices: Mapping[str, Any], layout: Layout) -> None:
    """Refuse live indices of a newer version: their templates must not be put back."""
    _refuse_indices_named_as_aliases(indices, layout)
    for name, found, ours in _other_schemas(indices, layout):
        if found is not None and found > ours:
            raise _other_schema(name, found, ours)


def _refuse_other_schemas(indices: Mapping[str, Any], layout: Layout) -> None:
    """Refuse live indices of another schema. Indices that are kept for a rollback may have any schema."""
    for name, found, ours in _other_schemas(indices, layout):
        raise _other_schema(name, found, ours)


def _other_schemas(indices: Mapping[str, Any], layout: Layout) -> Iterator[tuple[str, int | None, int]]:
    """Yield each live index of another schema, with its schema version and ours."""
    for family in templates.FAMILIES:
        name = live_index(indices, layout, family)
        ours = templates.schema_version(family)
        if name is not None and (found := schema_of(indices[name])) != ours:
            yield name, found, ours


def _other_schema(name: str, found: int | None, ours: int) -> ServiceRefused:
    if found is None:
        return ServiceRefused(
            SERVICE, f"the index {name} was made without Pagesight's mapping", remedy=NO_SCHEMA_REMEDY
        )
    return ServiceRefused(
        SERVICE,
        f"the index {name} has the schema version {found}; this version of Pagesight writes {ours}",
        remedy=OTHER_SCHEMA_REMEDY,
    )


def _refuse_indices_named_as_aliases(indices: Mapping[str, Any], layout: Layout) -> None:
    for family in templates.FAMILIES:
        for name in _alias_names(layout, family) & indices.keys():
            raise ServiceRefused(
                SERVICE,
                f"there is an index named {name}, but Pagesight needs that name for an alias",
                remedy="Delete that index, or set PAGESIGHT_ELASTICSEARCH_PREFIX, the prefix of all names.",
            )


def _alias_names(layout: Layout, family: str) -> set[str]:
    return {layout.prefix + alias for alias in templates.aliases(family)}


def _choose_analysis(client: Elasticsearch) -> Analysis:
    """Return the best analysis that the server can do."""
    return choose(lambda body: _can_analyse(client, body))


def _can_analyse(client: Elasticsearch, body: Body) -> bool:
    try:
        client.indices.analyze(**body, text="a")
    except BadRequestError as error:
        if "illegal_argument_exception" in str(error):  # an unknown part, or one without this language
            return False
        raise
    return True


def _templates_that_differ(
    client: Elasticsearch, layout: Layout, analysis: Analysis
) -> Iterator[tuple[str, str, Body]]:
    """Yield kind, name and body of every template that is missing or differs."""
    pattern = layout.prefix + templates.PREFIX + "*"
    lenient = client.options(ignore_status=404)  # the status if no template matches the pattern
    found = lenient.cluster.get_component_template(name=pattern).body.get("component_templates", ())
    there = {entry["name"]: _digest(entry["component_template"]) for entry in found}
    for name, body in templates.component_templates(layout, analysis).items():
        if there.get(name) != _digest(body):
            yield COMPONENT, name, body
    found = lenient.indices.get_index_template(name=pattern).body.get("index_templates", ())
    there = {entry["name"]: _digest(entry["index_template"]) for entry in found}
    for name, body in templates.index_templates(layout, analysis.languages).items():
        if there.get(name) != _digest(body):
            yield TEMPLATE, name, body


def _put_templates(client: Elasticsearch, differing: Iterable[tuple[str, str, Body]]) -> Iterator[str]:
    for kind, name, body in differing:
        if kind == COMPONENT:
            client.cluster.put_component_template(name=name, template=body["template"], meta=body["_meta"])
        else:
            client.indices.put_index_template(name=name, **_arguments(body))
        yield f"{kind} {name}"


def _refuse_foreign_templates(client: Elasticsearch, layout: Layout, indices: Mapping[str, Any]) -> None:
    """Refuse if another application's template would shape the next indices, and name that template.

    Only an index that such a template matches is simulated: a server makes every analyzer of an index for that.
    """
    foreign = _foreign_templates(client, layout)
    for family, name in _next_indices(layout, indices):
        if (winner := _winning(foreign, name)) and not _is_ours(client, family, name):
            raise ServiceRefused(
                SERVICE,
                f"the index template {winner} of another application also matches {name} and has priority over ours",
                remedy=TEMPLATE_REMEDY,
            )


def _foreign_templates(client: Elasticsearch, layout: Layout) -> dict[str, Body]:
    """Return the index templates of other applications, by name."""
    ours = layout.prefix + templates.PREFIX
    found = client.indices.get_index_template()["index_templates"]
    return {entry["name"]: entry["index_template"] for entry in found if not entry["name"].startswith(ours)}


def _winning(foreign: Mapping[str, Body], index: str) -> str | None:
    """Return the template, with its priority, that the server would choose for an index although ours also matches."""
    matching = {
        name: int(template.get("priority", 0))
        for name, template in foreign.items()
        if any(fnmatchcase(index, pattern) for pattern in template["index_patterns"])
    }
    winner = max(matching, key=lambda name: matching[name], default="")
    return f"{winner} (priority {matching[winner]})" if matching.get(winner, -1) >= templates.PRIORITY else None


def _is_ours(client: Elasticsearch, family: str, name: str) -> bool:
    """Whether an index of this name would be created with our mapping."""
    simulated = client.indices.simulate_index_template(name=name).body.get("template", {})
    found = simulated.get("mappings", {}).get("_meta", {}).get("schema_version")
    return bool(found == templates.schema_version(family))


def _next_indices(layout: Layout, indices: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return family and name of each index that the next re-index would create."""
    names = Names(layout.prefix)
    number = max((names.number_of(name) or 0 for name in indices), default=0) + 1
    return [(family, names.index(family, number)) for family in templates.FAMILIES]


def _digest(template: Mapping[str, Any]) -> object:
    return template.get("_meta", {}).get("digest")


def _arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("_"): value for key, value in body.items()}


def _create_indices(client: Elasticsearch, layout: Layout, indices: Mapping[str, Any]) -> Iterator[str]:
    for family, name in _missing_indices(layout, indices):
        if _create_index(
            client, name, {layout.prefix + alias: how for alias, how in templates.aliases(family).items()}
        ):
            yield f"index {name}"
            _require_schema(client, name, templates.schema_version(family))
    for name, alias, how in _missing_aliases(layout, indices):
        client.indices.put_alias(index=name, name=alias, **how)
        yield f"alias {alias}"


def _missing_indices(layout: Layout, indices: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each family without a live index, and the name of its new index. All new names have the same number."""
    names = Names(layout.prefix)
    live = {family: live_index(indices, layout, family) for family in templates.FAMILIES}
    numbers = [names.number_of(name) or 0 for name in live.values() if name is not None]
    taken = max((names.number_of(name) or 0 for name in indices), default=0)
    number = max(numbers, default=taken + 1)
    missing = [family for family, name in live.items() if name is None]
    if any(names.index(family, number) in indices for family in missing):
        number = taken + 1  # an index of that name exists, and is not live
    return [(family, names.index(family, number)) for family in missing]


def _missing_aliases(layout: Layout, indices: Mapping[str, Any]) -> list[tuple[str, str, Body]]:
    """Return index, name and options of aliases that are missing although the family has a live index."""
    missing: list[tuple[str, str, Body]] = []
    for family in templates.FAMILIES:
        name = live_index(indices, layout, family)
        if name is not None:
            wanted = {layout.prefix + alias: how for alias, how in templates.aliases(family).items()}
            there = indices[name]["aliases"]
            missing += [(name, alias, how) for alias, how in wanted.items() if alias not in there]
    return missing


def _create_index(client: Elasticsearch, name: str, aliases: Mapping[str, Any]) -> bool:
    """Create an index with its aliases in one request; return False if another process created it first."""
    try:
        client.indices.create(index=name, aliases=aliases)
    except BadRequestError as error:
        if "resource_already_exists_exception" in str(error):
            return False
        raise
    return True


def _require_schema(client: Elasticsearch, name: str, ours: int) -> None:
    (index,) = client.indices.get(index=name, features=["mappings"]).body.values()
    found = schema_of(index)
    if found != ours:
        raise made_otherwise(name, found, ours)


def made_otherwise(name: str, found: int | None, ours: int) -> ServiceRefused:
    """Return the refusal for a new index of another schema: its template is outdated or another application's."""
    how = "without Pagesight's mapping" if found is None else f"with the schema version {found} instead of {ours}"
    return ServiceRefused(SERVICE, f"the templates made the index {name} {how}", remedy=OUTDATED_TEMPLATES_REMEDY)
