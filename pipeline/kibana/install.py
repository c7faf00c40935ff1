"""Installs `mappings/kibana/` into a space of Kibana. A second call changes nothing.

Kibana migrates each imported object to its own version, so the stored object differs from the sent one. So the
description of Pagesight's tag records two digests: one of the objects as sent, one of the objects as stored. The first
changes with Pagesight's version or settings, the second if somebody edits an object in Kibana.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings
from pipeline.kibana.bundle import Bundle, digest, lines
from pipeline.kibana.client import KibanaClient
from pipeline.kibana.errors import no_encryption_key
from pipeline.search.roles import kibana_reader

Object = dict[str, Any]

#: Parameters of alert rules that people adjust. An installation keeps their values, and also intervals and actions.
_THEIR_PARAMETERS = frozenset({"threshold", "thresholdComparator", "timeWindowSize", "timeWindowUnit", "size"})
_KINDS = {
    "index-pattern": "data view",
    "search": "saved search",
    "lens": "chart",
    "dashboard": "dashboard",
}


@dataclass(frozen=True, slots=True)
class Step:
    """Differences: their descriptions, and the action that removes them."""

    words: tuple[str, ...]
    take: Callable[[], None]


def install(settings: Settings, space: str) -> tuple[str, ...]:
    """Create or update space, objects, default data view, role and alert rules; return a description of each change.

    Raises:
        SettingsError: no Kibana is configured, or a setting cannot be used.
        ServiceRefused: Kibana does not accept the objects or has no encryption key, or the API key lacks a privilege.
        ServiceUnavailable: Kibana is unavailable.
    """
    changes: list[str] = []
    with _open(settings, space) as kibana:
        for step in _steps(kibana, bundle(settings, space)):
            step.take()
            changes += step.words
    return tuple(changes)


def differences(settings: Settings, space: str) -> tuple[str, ...]:
    """Return the changes that `install` would make, in the same words.

    Raises:
        SettingsError, ServiceRefused, ServiceUnavailable: as `install` raises them.
    """
    with _open(settings, space) as kibana:
        return tuple(words for step in _steps(kibana, bundle(settings, space)) for words in step.words)


def bundle(settings: Settings, space: str) -> Bundle:
    """Return the objects of an installation."""
    return Bundle(space, settings.elasticsearch_prefix, settings.pages_url)


def _open(settings: Settings, space: str) -> KibanaClient:
    if not settings.kibana_url:
        raise SettingsError(
            "no Kibana is configured", remedy="Set PAGESIGHT_KIBANA_URL, or use `pagesight kibana export`."
        )
    return KibanaClient(
        settings.kibana_url,
        space=space,
        api_key=settings.kibana_api_key,
        ca_certs=settings.elasticsearch_ca_certs,
    )


def _steps(kibana: KibanaClient, wanted: Bundle) -> Iterator[Step]:
    """Yield the steps. The caller may take each step before the next comparison starts."""
    if not kibana.has_space():
        yield Step((f"space {wanted.space}",), kibana.make_space)
    yield from _object_steps(kibana, wanted)
    if kibana.default_view() is None:
        yield Step(("default data view",), partial(kibana.set_default_view, wanted.default_view))
    yield from _role_steps(kibana, wanted)
    yield from _rule_steps(kibana, wanted)


def _object_steps(kibana: KibanaClient, wanted: Bundle) -> Iterator[Step]:
    tag, objects = _stored(kibana, wanted)
    present = {(entry["type"], entry["id"]) for entry in objects}
    missing = [entry for entry in wanted.objects if (entry["type"], entry["id"]) not in present]
    words = [f"{_KINDS[entry['type']]} {_name(entry)}" for entry in missing]
    sent, _, kept = _state(tag).partition(" ")
    if tag is None:
        words.append("tag Pagesight")
    elif sent != wanted.digest:
        words.append("objects of another version or of other settings")
    elif not missing and kept != digest(objects):
        words.append("objects that were changed in Kibana")
    if words:
        yield Step(tuple(words), partial(_import, kibana, wanted))


def _stored(kibana: KibanaClient, wanted: Bundle) -> tuple[Object | None, list[Object]]:
    found = kibana.stored([{"type": entry["type"], "id": entry["id"]} for entry in (wanted.tag, *wanted.objects)])
    tag = next((entry for entry in found if entry["type"] == "tag"), None)
    return tag, [entry for entry in found if entry["type"] != "tag"]


def _import(kibana: KibanaClient, wanted: Bundle) -> None:
    """Import every object, then record both digests on the tag.

    The first import sets a tag without digests, so the next run detects a crash in between.
    """
    kibana.import_objects(wanted.ndjson())
    _, objects = _stored(kibana, wanted)
    tag = wanted.tag
    description = f"{tag['attributes']['description']}: {wanted.digest} {digest(objects)}"
    kibana.import_objects(lines([tag | {"attributes": tag["attributes"] | {"description": description}}]))


def _state(tag: Object | None) -> str:
    """Return the part of the tag's description that contains both digests."""
    return tag["attributes"].get("description", "").partition(": ")[2] if tag else ""


def _name(entry: Object) -> str:
    return str(entry["attributes"].get("name") or entry["attributes"]["title"])


def _role_steps(kibana: KibanaClient, wanted: Bundle) -> Iterator[Step]:
    """Yield the step that updates the role of people who search, if the API key may manage roles."""
    name, role = kibana_reader(wanted.space, wanted.index_prefix)
    roles = kibana.roles()
    if roles is None:
        return
    (rights,) = role["kibana"]
    found = roles.get(name, {"elasticsearch": {}, "kibana": []})
    # The role covers every space with Pagesight's objects.
    spaces = {space for entry in found["kibana"] if entry["feature"] == rights["feature"] for space in entry["spaces"]}
    same = _indices(found) == _indices(role) and wanted.space in spaces
    if not same:
        role = role | {"kibana": [rights | {"spaces": sorted(spaces | {wanted.space})}]}
        yield Step((f"role {name}",), partial(kibana.put_role, name, role))


def _indices(role: Object) -> list[tuple[list[str], list[str]]]:
    entries = role["elasticsearch"].get("indices", ())
    return sorted((sorted(entry["names"]), sorted(entry["privileges"])) for entry in entries)


def _rule_steps(kibana: KibanaClient, wanted: Bundle) -> Iterator[Step]:
    if not kibana.keeps_keys():
        raise no_encryption_key()
    for rule in wanted.rules:
        id, body = rule["id"], {key: value for key, value in rule.items() if key != "id"}
        found = kibana.rule(id)
        if found is None:
            yield Step((f"alert rule {rule['name']}",), partial(kibana.make_rule, id, body))
        elif changed := _changed_rule(found, body):
            yield Step((f"alert rule {rule['name']}",), partial(kibana.change_rule, id, changed))


def _changed_rule(found: Object, wanted: Object) -> Object | None:
    """Return the request that restores a rule, or None if none is needed. Settings that people adjust are kept."""
    ours = {name: value for name, value in wanted["params"].items() if name not in _THEIR_PARAMETERS}
    same = all(found["params"].get(name) == value for name, value in ours.items())
    if same and found["name"] == wanted["name"]:
        return None
    return {
        "name": wanted["name"],
        "tags": found["tags"],
        "schedule": found["schedule"],
        "params": found["params"] | ours,
        "actions": [_action(action) for action in found["actions"]],
    }


def _action(action: Object) -> Object:
    """Return an action for a request. Kibana returns the connector's type, but refuses it in requests."""
    return {name: value for name, value in action.items() if name != "connector_type_id"}
