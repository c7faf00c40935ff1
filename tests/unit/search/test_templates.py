"""The templates as data: they hold together, and need nothing that only some servers have."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pipeline.search import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES, analysis, templates
from pipeline.search.names import Names

#: Types that the server itself has; others come with modules that the local node lacks.
TYPES = {"keyword", "text", "date", "boolean", "byte", "short", "integer", "long", "float", "flattened", "alias"}
ANALYZERS = {"de": "pagesight_german", "en": "pagesight_english"}
ANALYSIS = analysis.choose(lambda body: not {"icu_folding", "ukrainian"} & set(re.findall(r"\w+", str(body))))
ANALYSIS = replace(ANALYSIS, languages=ANALYZERS)
LAYOUT = templates.Layout()
COMPONENTS = templates.component_templates(LAYOUT, ANALYSIS)


def fields(properties: dict, prefix: str = ""):
    for name, field in properties.items():
        if "properties" in field:
            yield from fields(field["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name, field
            yield from fields(field.get("fields", {}), f"{prefix}{name}.")


def family_fields(family: str) -> dict:
    names = templates.index_templates(LAYOUT, ANALYSIS.languages)[templates.PREFIX + family]["composed_of"]
    ours = [name for name in names if not name.endswith(templates.CUSTOM)]
    mappings = [COMPONENTS[name]["template"].get("mappings", {}) for name in ours]
    return {path: field for mapping in mappings for path, field in fields(mapping.get("properties", {}))}


@pytest.mark.parametrize("family", templates.FAMILIES)
def test_every_type_is_one_that_any_server_has(family):
    assert {field["type"] for field in family_fields(family).values()} <= TYPES


@pytest.mark.parametrize("family", templates.FAMILIES)
def test_no_keyword_can_make_lucene_reject_a_record(family):
    for path, field in family_fields(family).items():
        indexed = field["type"] == "keyword" and field.get("index", True)
        assert not indexed or field["ignore_above"] * 4 <= 32_766, path


@pytest.mark.parametrize("family", templates.FAMILIES)
def test_every_mapping_is_closed_and_has_a_version(family):
    mapping = templates.load(f"components/{family}.json")["template"]["mappings"]
    assert mapping["dynamic"] == "strict"
    assert templates.schema_version(family) >= 1


@pytest.mark.parametrize("family", templates.FAMILIES)
def test_a_template_fits_the_indices_of_its_family_and_no_alias(family):
    (pattern,) = templates.load(f"templates/{family}.json")["index_patterns"]
    expression = re.compile(pattern.replace("*", ".*"))
    assert expression.fullmatch(Names().index(family, 7))
    assert not any(expression.fullmatch(alias) for alias in templates.aliases(family))


def test_the_aliases_are_those_that_the_code_names():
    named = {alias for family in templates.FAMILIES for alias in templates.aliases(family)}
    assert named == {PAGES, PAGES_WRITE, SOURCES, DOCUMENTS, BATCHES, RUNS}


def test_every_text_field_of_a_page_that_people_look_for_is_found_by_a_bare_word():
    defaults = templates.load("components/pages.json")["template"]["settings"]["index"]["query"]["default_field"]
    expressions = [re.compile(name.replace(".", r"\.").replace("*", ".*")) for name in defaults]
    missed = {
        path
        for path, field in family_fields(PAGES).items()
        if field["type"] == "text" and not any(expression.fullmatch(path) for expression in expressions)
    }
    assert missed == {"error.message"}


def test_each_language_has_its_own_copy_of_what_is_in_a_language():
    assert {path: field["analyzer"] for path, field in family_fields(PAGES).items() if path.startswith("i18n.")} == {
        f"i18n.{name}.{code}": analyzer
        for name in ("text", "description", "caption", "translation", "title")
        for code, analyzer in ANALYZERS.items()
    }


def test_a_language_without_analyzer_has_no_fields():
    assert "pagesight-pages-language-fr" not in COMPONENTS


def test_codes_of_languages_are_two_or_three_small_letters_with_at_least_one_analyzer():
    for code, analyzers in analysis.languages().items():
        assert re.fullmatch("[a-z]{2,3}", code)
        assert analyzers


def test_a_template_that_changes_has_another_digest():
    other = replace(ANALYSIS, languages=ANALYZERS | {"de": "cjk"})
    changed = templates.component_templates(templates.Layout(replicas=1), other)
    different = {name for name in COMPONENTS if changed[name]["_meta"] != COMPONENTS[name]["_meta"]}
    assert different == {"pagesight-settings", "pagesight-pages-language-de"}
    assert templates.component_templates(LAYOUT, ANALYSIS) == COMPONENTS


def test_each_index_template_ends_in_the_operators_own_and_does_without_them():
    for family in templates.FAMILIES:
        body = templates.index_templates(templates.Layout("museum-"), ANALYZERS)[f"museum-pagesight-{family}"]
        custom = ["museum-pagesight@custom", f"museum-pagesight-{family}@custom"]
        assert body["composed_of"][-2:] == body["ignore_missing_component_templates"] == custom
        assert body["priority"] == templates.PRIORITY
        assert (
            set(body["composed_of"][:-2]) <= templates.component_templates(templates.Layout("museum-"), ANALYSIS).keys()
        )


def test_each_template_says_what_it_is_and_who_manages_it():
    for body in (*COMPONENTS.values(), *templates.index_templates(LAYOUT, ANALYZERS).values()):
        assert body["_meta"].keys() == {"description", "managed_by", "version", "digest"}
        assert body["_meta"]["managed_by"] == "pagesight"


@pytest.mark.parametrize(
    ("replicas", "key", "value"), [(None, "auto_expand_replicas", "0-1"), (2, "number_of_replicas", 2)]
)
def test_copies_follow_the_cluster_unless_their_number_is_set(replicas, key, value):
    made = templates.component_templates(templates.Layout(replicas=replicas), ANALYSIS)
    settings = made["pagesight-settings"]["template"]["settings"]["index"]
    assert settings[key] == value
    assert not {"auto_expand_replicas", "number_of_replicas"} - {key} & settings.keys()
