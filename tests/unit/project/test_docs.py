"""The documentation names every command, option, setting, record field, error class and exit code there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.app import RootGroup
from pipeline.cli.exits import ExitCode
from pipeline.cli.lazy import load_command
from pipeline.core.errors import OutcomeError
from pipeline.core.settings import PREFIX, Settings
from pipeline.search.templates import vectors_mapping
from support.mappings import mapped

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"


def commands() -> Iterator[tuple[str, object]]:
    def below(name: str, command: object) -> Iterator[tuple[str, object]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        for word, sub in (inner or {}).items():
            yield from below(f"{name} {word}", sub)

    for entry in RootGroup.entries():
        yield from below(f"pagesight {entry.name}", load_command(entry.name))


#: Fields that an index learns with its first vectors.
VECTORS = {f"embedding.{name}" for name in vectors_mapping(384)["properties"]["embedding"]["properties"]}
COMMANDS = sorted(commands(), key=lambda named: named[0])


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_in_the_table_of_commands(name: str, command: object) -> None:
    table = (DOCS / "commands.md").read_text(encoding="utf-8")
    section = re.search(rf"^## `{re.escape(name)}[` ].*?(?=^## |\Z)", table, re.MULTILINE | re.DOTALL)
    assert section, f"docs/commands.md has no section for {name}"
    for parameter in command.params:  # type: ignore[attr-defined]
        option = max(parameter.opts, key=len)
        if option.startswith("--") and option != "--help":
            assert f"`{option}" in section[0], f"{name} {option}"


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help_with_examples_and_exit_codes(name: str, command: object) -> None:
    assert command.help  # type: ignore[attr-defined]
    epilog = command.epilog or ""  # type: ignore[attr-defined]
    assert f"`{name}" in epilog
    assert "Exit codes: 0" in epilog


def test_every_setting_is_in_the_table_and_every_row_is_a_setting() -> None:
    table = (DOCS / "settings.md").read_text(encoding="utf-8")
    rows = set(re.findall(rf"^\| `{PREFIX}(\w+)`", table, re.MULTILINE))
    assert rows == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("family", ["pages", "sources", "documents", "batches", "runs"])
def test_every_record_field_is_documented_and_every_row_is_a_field(family: str) -> None:
    text = (DOCS / "records.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {family.title()}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    names = {
        name
        for row in re.findall(r"^\| (`.*?`) \|", section[0], re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    learnt = VECTORS if family == "pages" else set()
    assert {name for name in names if not name.startswith(("i18n.", "answers."))} == mapped(family) | learnt


def test_every_error_class_is_in_the_readme() -> None:
    assert {error.code for error in OutcomeError.__subclasses__()} <= set(re.findall(r"`(\w+)`", README))


def test_every_exit_code_is_in_the_readme() -> None:
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", README, re.MULTILINE), code


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
