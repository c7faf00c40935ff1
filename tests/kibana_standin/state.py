"""What the stand-in holds, and what it does with an import."""

from __future__ import annotations

import json
import re
import uuid
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from support.kibana_schemas import ATTRIBUTES

Object = dict[str, Any]

#: Kibana 9.0 knows these versions; the newest one's are higher, and it changes what comes with lower ones.
OLDEST = {"index-pattern": "8.0.0", "search": "10.5.0", "lens": "8.9.0", "dashboard": "10.2.0", "tag": "8.0.0"}
NEWEST = {"index-pattern": "8.0.0", "search": "10.13.0", "lens": "10.1.0", "dashboard": "10.4.0", "tag": "8.0.0"}
#: References to other types may lead nowhere.
CHECKED_REFERENCES = ("index-pattern", "search")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[14][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RULE_KEYS = {"name", "rule_type_id", "consumer", "schedule", "params", "actions", "tags", "enabled"}
CHANGED_RULE_KEYS = {"name", "schedule", "params", "actions", "tags"}
ACTION_KEYS = {"id", "group", "params", "frequency", "uuid", "alerts_filter", "use_alert_data_for_template"}


class Refusal(Exception):
    """An answer other than 200, with the body that Kibana sends."""

    def __init__(self, status: int, error: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"statusCode": status, "error": error, "message": message} | more


def bad_request(message: str, **more: object) -> Refusal:
    return Refusal(400, "Bad Request", message, **more)


def not_found(message: str = "Not Found") -> Refusal:
    return Refusal(404, "Not Found", message)


class State:
    def __init__(self, versions: dict[str, str]) -> None:
        self.versions = versions
        self.spaces: dict[str, Object] = {"default": {"id": "default", "name": "Default"}}
        self.objects: dict[tuple[str, str], Object] = {}
        """By type and id: an id is one object's in the whole of Kibana."""
        self.rules: dict[tuple[str, str], Object] = {}
        """By space and id."""
        self.default_views: dict[str, str] = {}
        self.roles: dict[str, Object] | None = {}
        """None: Elasticsearch runs without security, and Kibana has none of these routes."""
        self.keeps_keys = True

    # --- spaces

    def space(self, id: str) -> Object:
        if id not in self.spaces:
            raise not_found(f"Saved object [space/{id}] not found")
        return self.spaces[id]

    def make_space(self, body: Object) -> Object:
        if not re.fullmatch(r"[a-z0-9_\-]+", body.get("id", "")) or not body.get("name"):
            raise bad_request("[request body]: a space needs id and name")
        if body["id"] in self.spaces:
            raise Refusal(409, "Conflict", f"A space with the identifier {body['id']} already exists.")
        self.spaces[body["id"]] = body
        return body

    # --- saved objects

    def import_objects(self, space: str, lines: list[Object], *, overwrite: bool) -> Object:
        sent = [line for line in lines if "exportedCount" not in line]
        errors = [self._unsupported(entry) for entry in sent if entry["type"] not in self.versions]
        errors += self._missing_references(space, sent)
        if not errors:
            sent = self._with_free_ids(space, sent)
            errors = [] if overwrite else [_failure(entry, "conflict") for entry in sent if self._there(space, entry)]
        if errors:
            return {"success": False, "successCount": 0, "errors": errors, "warnings": []}
        migrated = [self._migrated(entry) for entry in sent]
        errors = [failure for entry in sent if (failure := _invalid(entry))]
        for entry in migrated:
            if not any(error["id"] == entry["id"] for error in errors):
                self.objects[entry["type"], entry["id"]] = entry | {"space": space}
        results = [{"type": entry["type"], "id": entry["id"], "overwrite": True} for entry in sent]
        answer: Object = {"success": not errors, "successCount": len(sent) - len(errors), "successResults": results}
        return answer | ({"errors": errors} if errors else {})

    def export(self, space: str, body: Object) -> list[Object]:
        wanted = [(entry["type"], entry["id"]) for entry in body.get("objects", [])]
        if not wanted:
            raise bad_request("Either `type` or `objects` are required.")
        missing = [key for key in wanted if self.objects.get(key, {}).get("space") != space]
        if missing:
            named = [
                {"type": type, "id": id, "error": {"statusCode": 404, "error": "Not Found"}} for type, id in missing
            ]
            raise bad_request("Error fetching objects to export", attributes={"objects": named})
        found = [deepcopy(self.objects[key]) for key in sorted(wanted)]
        for entry in found:
            del entry["space"]
        return found if body.get("excludeExportDetails") else [*found, {"exportedCount": len(found)}]

    def _unsupported(self, entry: Object) -> Object:
        return _failure(entry, "unsupported_type")

    def _there(self, space: str, entry: Object) -> bool:
        return self.objects.get((entry["type"], entry["id"]), {}).get("space") == space

    def _missing_references(self, space: str, sent: list[Object]) -> list[Object]:
        coming = {(entry["type"], entry["id"]) for entry in sent}
        failures = []
        for entry in sent:
            missing = [
                {"type": reference["type"], "id": reference["id"]}
                for reference in entry["references"]
                if reference["type"] in CHECKED_REFERENCES
                and (reference["type"], reference["id"]) not in coming
                and not self._there(space, reference)
            ]
            if missing:
                failures.append(_failure(entry, "missing_references", references=missing))
        return failures

    def _with_free_ids(self, space: str, sent: list[Object]) -> list[Object]:
        """An id that is an object's in another space is replaced by a random one, here and in references."""
        taken = {
            key: str(uuid.uuid4())
            for key in ((entry["type"], entry["id"]) for entry in sent)
            if key in self.objects and self.objects[key]["space"] != space
        }
        renamed = deepcopy(sent)
        for entry in renamed:
            entry["id"] = taken.get((entry["type"], entry["id"]), entry["id"])
            for reference in entry["references"]:
                reference["id"] = taken.get((reference["type"], reference["id"]), reference["id"])
        return renamed

    def _migrated(self, entry: Object) -> Object:
        """Bring an object up to this version, refuse one from a later one."""
        kind, found = entry["type"], entry.get("typeMigrationVersion", "7.0.0")
        known = self.versions[kind]
        if _version(found) > _version(known):
            raise Refusal(
                422,
                "Unprocessable Entity",
                f'Document "{entry["id"]}" belongs to a more recent version of Kibana [{found}] when the last known '
                f"version is [{known}].",
            )
        new = deepcopy(entry) | {"typeMigrationVersion": known, "managed": False}
        if found == known:
            return new
        attributes = new["attributes"]
        if kind == "search":
            kept = {name: attributes.pop(name) for name in list(attributes) if name not in ("title", "description")}
            attributes["tabs"] = [{"id": "1", "label": "Untitled", "attributes": kept}]
        elif kind == "lens":
            attributes["version"] = 2
            attributes["state"].pop("internalReferences", None)
        elif kind == "dashboard":
            attributes["sections"] = []
        return new

    # --- what people do in Kibana

    def edit(self, type: str, id: str, **attributes: object) -> None:
        self.objects[type, id]["attributes"] |= attributes

    def delete(self, type: str, id: str) -> None:
        del self.objects[type, id]

    def choose_field(self, view: str, field: str) -> None:
        """Discover counts how often a field was added to its table, within the data view."""
        attributes = self.objects["index-pattern", view]["attributes"]
        fields = json.loads(attributes["fieldAttrs"])
        fields.setdefault(field, {})["count"] = fields.get(field, {}).get("count", 0) + 1
        attributes["fieldAttrs"] = json.dumps(fields)

    # --- data views and rules

    def set_default_view(self, space: str, body: Object) -> Object:
        view = body.get("data_view_id")
        if not isinstance(view, str) or body.keys() - {"data_view_id", "force"}:
            raise bad_request("[request body.data_view_id]: expected a string")
        if body.get("force") or space not in self.default_views:
            self.default_views[space] = view
        return {"acknowledged": True}

    def put_role(self, name: str, body: Object) -> str:
        _refuse_unknown(body, {"description", "metadata", "elasticsearch", "kibana"})
        spaces = [space for entry in body["kibana"] for space in entry["spaces"]]
        if len(spaces) != len(set(spaces)):
            raise bad_request("[request body.kibana]: the same space is named more than once")
        indices = [entry | {"allow_restricted_indices": False} for entry in body["elasticsearch"]["indices"]]
        elasticsearch = {"cluster": [], "run_as": []} | body["elasticsearch"] | {"indices": indices}
        assert self.roles is not None
        self.roles[name] = deepcopy(body) | {"name": name, "elasticsearch": elasticsearch, "transient_metadata": {}}
        return ""

    def rule(self, space: str, id: str) -> Object:
        if (space, id) not in self.rules:
            raise not_found(f"Saved object [alert/{id}] not found")
        return self.rules[space, id]

    def make_rule(self, space: str, id: str, body: Object) -> Object:
        _refuse_unknown(body, RULE_KEYS)
        if not UUID.fullmatch(id):
            raise bad_request(
                "Predefined IDs are not allowed for saved objects with encrypted attributes unless the ID is a UUID."
            )
        if any(id == there for _, there in self.rules):
            raise Refusal(409, "Conflict", f"Saved object [alert/{id}] conflict")
        _check_parameters(body["params"])
        self.rules[space, id] = deepcopy(body) | {"id": id, "enabled": True, "revision": 0}
        return self.rules[space, id]

    def change_rule(self, space: str, id: str, body: Object) -> Object:
        rule = self.rule(space, id)
        _refuse_unknown(body, CHANGED_RULE_KEYS)
        for action in body["actions"]:
            _refuse_unknown(action, ACTION_KEYS)
        _check_parameters(body["params"])
        actions = [action | {"connector_type_id": ".server-log"} for action in body["actions"]]
        rule |= deepcopy(body) | {"actions": actions, "revision": rule["revision"] + 1}
        return rule


def _check_parameters(parameters: Object) -> None:
    if "query" not in json.loads(parameters["esQuery"]):
        raise bad_request('params invalid: [esQuery]: must contain "query"')
    if parameters["thresholdComparator"] not in ("<", "<=", ">", ">=", "between", "notBetween"):
        raise bad_request("params invalid: [thresholdComparator]: invalid")


def _refuse_unknown(body: Object, known: set[str]) -> None:
    for key in body.keys() - known:
        raise bad_request(f"[request body.{key}]: definition for this key is missing")


def _failure(entry: Object, type: str, **more: object) -> Object:
    meta = {"title": entry["attributes"].get("title")}
    return {"type": entry["type"], "id": entry["id"], "meta": meta, "error": {"type": type} | more}


def _invalid(entry: Object) -> Object | None:
    try:
        ATTRIBUTES[entry["type"]].model_validate(entry["attributes"])
    except ValidationError as error:
        message = f"[attributes.{error.errors()[0]['loc'][0]}]: {error.errors()[0]['msg']}"
        return _failure(entry, "unknown", statusCode=400, error="Bad Request", message=message)
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
