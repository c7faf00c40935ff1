"""Converts slides, office documents, drawings and HTML to PDFs by LibreOffice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

from pipeline.core.errors import UnsupportedFormat
from pipeline.core.formats import MediaType
from pipeline.core.retry import CancelToken
from pipeline.rendering.conversion.confinement import ConversionJob, ConversionLimits, ConversionResult, run

REMEDY = (
    "Install LibreOffice with its Python bindings (Debian's libreoffice-calc-nogui, libreoffice-draw-nogui, "
    "libreoffice-impress-nogui, libreoffice-writer-nogui and python3-uno), then run "
    "`pagesight retry --error unsupported`."
)
_PROBE_SECONDS = 60
#: Folders into which distributions and LibreOffice's own packages install it.
_FOLDERS = ("usr/lib*/libreoffice/program", "opt/libreoffice*/program")
_SECURITY = "Office.Common/Security/Scripting"
#: Without macros, links and network: each request goes to a proxy that does not exist.
_SETTINGS = (
    (_SECURITY, "DisableMacrosExecution", "true"),
    (_SECURITY, "DisableActiveContent", "true"),
    (_SECURITY, "BlockUntrustedRefererLinks", "true"),
    (_SECURITY, "MacroSecurityLevel", "3"),
    ("Office.Writer/Content/Update", "Link", "2"),
    ("Office.Calc/Content/Update", "Link", "2"),
    ("Office.Common/Misc", "UseOpenCL", "false"),
    ("Inet/Settings", "ooInetProxyType", "1"),
    ("Inet/Settings", "ooInetNoProxy", ""),
    *(
        ("Inet/Settings", f"ooInet{protocol}Proxy{part}", value)
        for protocol in ("HTTP", "HTTPS", "FTP")
        for part, value in (("Name", "127.0.0.1"), ("Port", "9"))
    ),
)


@dataclass(frozen=True, slots=True)
class Office:
    """An installed LibreOffice, and an interpreter that has its bindings."""

    program: Path
    """Folder of `soffice.bin`."""
    interpreter: Path


@cache
def find_office() -> Office:
    """Return the LibreOffice of this machine. If it is missing, the next call looks again.

    Raises:
        UnsupportedFormat: it is not installed, or no interpreter has its bindings.
    """
    commands = filter(None, map(shutil.which, ("soffice", "libreoffice")))
    # The command may be a link into the folder, or a script that calls a program in it.
    folders = [Path(command).resolve().parent for command in commands]
    folders += [folder for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern), reverse=True)]
    program = next((folder for folder in folders if (folder / "soffice.bin").exists()), None)
    if program is None:
        raise UnsupportedFormat("this machine has no LibreOffice", remedy=REMEDY)
    for interpreter in (program / "python", Path("/usr/bin/python3")):
        if interpreter.exists() and _has_bindings(interpreter):
            return Office(program, interpreter)
    raise UnsupportedFormat("this machine has no LibreOffice that Python can speak to", remedy=REMEDY)


def convert(
    file: BinaryIO, media_type: MediaType, passwords: Sequence[str], limits: ConversionLimits, cancel: CancelToken
) -> tuple[BufferedReader, ConversionResult]:
    """Return an open PDF of a document, and the report about it.

    Raises:
        UnsupportedFormat: this machine has no LibreOffice, or the document has no pages.
        OutcomeError, Stopped: as `pipeline.rendering.conversion.confinement.run` raises them.
    """
    office = find_office()
    request = {"program": str(office.program), "settings": _settings(), "passwords": list(passwords)}
    job = ConversionJob(
        "office_child", str(office.interpreter), request, media_type.row.suffix, (str(office.program.parent),)
    )
    return run(job, file, limits, cancel)


def _has_bindings(interpreter: Path) -> bool:
    command = [str(interpreter), "-I", "-c", "import uno"]
    # In a writable home the bindings would make `.config`.
    elsewhere = {"HOME": os.devnull}
    probed = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False, env=elsewhere)
    return probed.returncode == 0


def _settings() -> str:
    """Return the initial settings of a profile, in the format of `registrymodifications.xcu`."""
    items = (
        f'<item oor:path="/org.openoffice.{path}"><prop oor:name="{name}" oor:op="fuse"><value>{escape(value)}</value>'
        "</prop></item>"
        for path, name, value in _SETTINGS
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry" '
        'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        + "".join(items)
        + "</oor:items>"
    )
