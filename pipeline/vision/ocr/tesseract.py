"""Tesseract, for the scripts that RapidOCR's models do not know: what is installed, and for which scripts.

It is a program of the system rather than a package: `apt-get install tesseract-ocr tesseract-ocr-ara` and the like.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from shutil import which

from pipeline.core.child_process import python_command
from pipeline.vision.ocr.process import OcrProcess
from pipeline.vision.ocr.tesseract_child import MODELS, TESSERACT_REVISION, models_for

COMMAND = python_command("pipeline.vision.ocr.tesseract_child")
_ASK_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Tesseract:
    """An installation."""

    program: str
    version: str
    installed: tuple[str, ...]
    """Names of its models, as `tesseract --list-langs` has them."""

    @property
    def models(self) -> dict[str, str]:
        """What to hand over as `-l`, by script; scripts that nothing is installed for are left out."""
        return models_for(self.installed)

    def open(self) -> OcrProcess:
        """Return the engine; its process starts with the first page."""
        engine = f"tesseract-{self.version}-{TESSERACT_REVISION}"
        command = (*COMMAND, self.program, *self.installed)
        return OcrProcess(engine, command, revision=f"{engine}-{','.join(sorted(self.models.values()))}")


def find_tesseract() -> Tesseract | None:
    """Look for an installation that tells scripts apart and has a model for at least one of them."""
    program = which("tesseract")
    if program is None:
        return None
    try:
        first, *_ = _ask(program, "--version")
        installed = tuple(_ask(program, "--list-langs")[1:])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = Tesseract(program, first.removeprefix("tesseract "), installed)
    return found if found.models else None


def scripts_told() -> str:
    """Return which scripts are read here and which are not, for people."""
    found = find_tesseract()
    readable = sorted(found.models) if found else []
    missing = sorted(set(MODELS) - set(readable))
    told = f"Latin, Chinese and Japanese by RapidOCR; {', '.join(readable) or 'nothing'} by "
    told += f"Tesseract {found.version}" if found else "Tesseract, which is not installed or lacks its model osd"
    if missing:
        told += f"; not {', '.join(missing)}: install tesseract-ocr with the models of those that you need"
    return told


def _ask(program: str, *arguments: str) -> Sequence[str]:
    asked = subprocess.run(
        [program, *arguments], capture_output=True, timeout=_ASK_SECONDS, check=True, stdin=subprocess.DEVNULL
    )
    return (asked.stdout or asked.stderr).decode(errors="replace").splitlines()
