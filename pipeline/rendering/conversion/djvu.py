"""Converts DjVu documents to PDFs by the tools of DjVuLibre."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from pipeline.core.child_process import ENVIRONMENT
from pipeline.core.errors import UnsupportedFormat
from pipeline.core.formats import MediaType
from pipeline.core.retry import CancelToken
from pipeline.rendering.conversion.confinement import ConversionJob, ConversionLimits, ConversionResult, run

REMEDY = "Install DjVuLibre (Debian's djvulibre-bin), then run `pagesight retry --error unsupported`."
_PROBE_SECONDS = 60


def convert(file: BinaryIO, limits: ConversionLimits, cancel: CancelToken) -> tuple[BufferedReader, ConversionResult]:
    """Return an open PDF of a DjVu document, with the text of its hidden layer as notes.

    Raises:
        UnsupportedFormat: this machine has no DjVuLibre, or the pages are in separate files.
        OutcomeError, Stopped: as `pipeline.rendering.conversion.confinement.run` raises them.
    """
    tools, version = find_tools()
    request = {"tools": str(tools), "converter": version}
    return run(
        ConversionJob("djvu_child", sys.executable, request, MediaType.DJVU.row.suffix, (str(tools),)),
        file,
        limits,
        cancel,
    )


@cache
def find_tools() -> tuple[Path, str]:
    """Return the folder of DjVuLibre's tools, and its name and version. If it is missing, the next call looks again.

    Raises:
        UnsupportedFormat: DjVuLibre is not installed.
    """
    found = shutil.which("ddjvu")
    if found is None:
        raise UnsupportedFormat("this machine has no DjVuLibre", remedy=REMEDY)
    printed = subprocess.run(
        [found, "--help"], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False, env=ENVIRONMENT
    )
    version = re.search(r"DjVuLibre-([\d.]+)", printed.stderr + printed.stdout)
    return Path(found).parent, f"DjVuLibre {version[1]}" if version else "DjVuLibre"
