"""No message is ever delayed: it would wait in a worker's memory, out of sight, and run twice after a kill."""

import re
from pathlib import Path

import pytest

import pipeline
import workers

DELAY = re.compile(r"\b(countdown|eta|default_retry_delay)\s*[=:\"']|\.(retry|apply_async)\(|autoretry_for")
#: The command line shows an ETA of another kind, and sends nothing but through `workers`.
SOURCES = [
    path
    for package in (pipeline, workers)
    for path in Path(package.__path__[0]).rglob("*.py")
    if path.parent.name != "cli"
]


@pytest.mark.parametrize(
    "line", ["send_task(name, countdown=5)", 'options = {"eta": due}', "task.retry(", "tick.apply_async((), eta=due)"]
)
def test_the_pattern_finds_what_delays(line: str) -> None:
    assert DELAY.search(line)


def test_nothing_is_delayed_anywhere() -> None:
    assert len(SOURCES) > 50
    found = [
        f"{path}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DELAY.search(line)
    ]
    assert found == []
