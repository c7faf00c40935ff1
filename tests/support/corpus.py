"""The corpus of real files beside the project, and what its manifest expects of each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
#: Formats, by the manifest's names, whose pages are counted as laid out with the fonts of one machine.
REFLOWED = ("doc", "docx", "rtf", "odt", "ooxml-encrypted", "iwork")
#: What the manifest calls an outcome, by ours. A limit that stops a bomb may be any of the three.
WORDS = {
    "corrupt": "corrupt",
    "encrypted": "encrypted",
    "unsupported": "unsupported",
    "empty": "corrupt",
    "render_crashed": "corrupt",
    "limit": "bomb",
    "render_timeout": "bomb",
    "render_memory": "bomb",
}


def manifest() -> list[dict[str, Any]]:
    """One entry a file; skips the test as `corpus_file` does."""
    lines = corpus_file("manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def corpus_file(name: str) -> Path:
    """The path of a file of the corpus; skips the test where the corpus is not here, and fails it in CI."""
    if not CORPUS.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no corpus at {CORPUS}")
        pytest.skip("the corpus is not here")
    return CORPUS / name


def accepted(entry: dict[str, Any]) -> list[str]:
    """The outcomes that are right for a file."""
    return entry.get("accept") or [entry["expected"]]
