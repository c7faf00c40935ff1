"""What makes PDFs of office files in tests, and whether this machine has it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pipeline.core.child_process import TimeLimit
from pipeline.core.errors import UnsupportedFormat
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.conversion import Converter
from pipeline.rendering.conversion import djvu, office
from pipeline.rendering.conversion.confinement import ConversionLimits

LIMITS = ConversionLimits(TimeLimit(120, 300), memory_mb=1024, sheet_pages=200)
CONVERTER = Converter(LIMITS, PrioritySemaphore(2))


def require_programs(*finders: Callable[[], object]) -> None:
    """Skip the test where LibreOffice or DjVuLibre is not installed, and fail it in CI."""
    for find in finders or (office.find_office, djvu.find_tools):
        try:
            find()
        except UnsupportedFormat as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
