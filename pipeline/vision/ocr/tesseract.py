"""Finds Tesseract, which reads the scripts that RapidOCR's models do not know, and the scripts of its models.

Tesseract is a program of the system, not a Python package: `apt-get install tesseract-ocr tesseract-ocr-ara`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from shutil import which

from pipeline.core.child_process import TimeLimit, python_command
from pipeline.vision.ocr.process import OcrProcess, environment
from pipeline.vision.ocr.tesseract_child import MODELS, TESSERACT_REVISION, models_for

COMMAND = python_command("pipeline.vision.ocr.tesseract_child")
_QUERY_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Tesseract:
    """An installation of Tesseract."""

    program: str
    version: str
    installed: tuple[str, ...]
    """Names of its models, as `tesseract --list-langs` prints them."""

    @property
    def models(self) -> dict[str, str]:
        """The value of `-l` by script, for scripts with an installed model."""
        return models_for(self.installed)

    def open(self, limit: TimeLimit) -> OcrProcess:
        """Return the engine, with a limit for each page; its process starts with the first page."""
        engine = f"tesseract-{self.version}-{TESSERACT_REVISION}"
        command = (*COMMAND, f"{limit.cpu_seconds:.0f}", self.program, *self.installed)
        return OcrProcess(engine, command, limit, revision=f"{engine}-{','.join(sorted(self.models.values()))}")


def find_tesseract() -> Tesseract | None:
    """Return an installation that can detect scripts and has a model for at least one of them, or None."""
    program = which("tesseract")
    if program is None:
        return None
    try:
        first, *_ = _query(program, "--version")
        installed = tuple(_query(program, "--list-langs")[1:])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = Tesseract(program, first.removeprefix("tesseract "), installed)
    return found if found.models else None


def describe_scripts() -> str:
    """Return which scripts can be read on this machine and which cannot, for people."""
    found = find_tesseract()
    readable = sorted(found.models) if found else []
    missing = sorted(set(MODELS) - set(readable))
    text = f"Latin, Chinese and Japanese by RapidOCR; {', '.join(readable) or 'nothing'} by "
    text += f"Tesseract {found.version}" if found else "Tesseract, which is not installed or lacks its model osd"
    if missing:
        text += f"; not {', '.join(missing)}: install tesseract-ocr with the models of those that you need"
    return text


def _query(program: str, *arguments: str) -> Sequence[str]:
    completed = subprocess.run(
        [program, *arguments],
        capture_output=True,
        timeout=_QUERY_SECONDS,
        check=True,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    return (completed.stdout or completed.stderr).decode(errors="replace").splitlines()
