"""Converts a DjVu document to a PDF by DjVuLibre. Runs in a confined process."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from pipeline.rendering.conversion.confined import OUTPUT, ConversionError, Reply, Request, Workspace, died, serve

#: Longest side of a colour page, 200 dpi on A4: crops of the page image need this, the page image needs less. Pages of
#: black ink alone keep their size: they are smaller than grey pages.
_LONG_EDGE_PX = 2_400
_QUALITY = "-quality=80"
#: `ddjvu` shrinks by whole factors up to this one.
_MAX_SHRINK = 12
_MAX_DUMP_CHARS = 64 << 20
_MAX_TEXT_CHARS = 100_000
#: Damaged texts after which the texts of further pages are left out.
_MAX_DAMAGED_TEXTS = 100
#: Signals by which a tool ends at a damaged text.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT)
_PAGE = re.compile(r"\bFORM:DJVU \[")
_SIZE = re.compile(r"\bINFO \[\d+\] +DjVu (\d+)x(\d+)")
#: Chunks with pictures in grey or colour, encoded as wavelets or JPEG.
_PICTURE = re.compile(r"\b(?:BG44|FG44|BM44|PM44|BGjp|FGjp) \[")


def main() -> None:
    """Serve one request."""
    serve(convert)


def convert(workspace: Workspace, request: Request) -> Reply:
    """Convert the document of a workspace.

    Raises:
        ConversionError: no PDF was made.
    """
    tools = Path(request["tools"])
    document = str(workspace.document)
    dump = _output(workspace, tools / "djvudump", document)
    if "Document directory (indirect" in dump:
        raise ConversionError("unsupported", "its pages are files of their own; `djvmcvt -b` bundles them into one")
    pages = len(_PAGE.findall(dump))
    if not pages:
        raise ConversionError("corrupt", "it holds no page")
    shrink = f"-subsample={_shrink(dump)}"
    _output(workspace, tools / "ddjvu", "-format=pdf", _QUALITY, shrink, document, str(workspace.folder / OUTPUT))
    texts = _texts(workspace, tools / "djvused", document, pages)
    return {
        "converter": request["converter"],
        "pages": pages,
        "notes": {number: text[:_MAX_TEXT_CHARS] for number, text in enumerate(texts, 1) if text.strip()},
    }


def _shrink(dump: str) -> int:
    """Return the factor by which all pages are shrunk."""
    if not _PICTURE.search(dump):
        return 1
    edges = sorted(max(int(width), int(height)) for width, height in _SIZE.findall(dump)) or [1]
    return max(1, min(_MAX_SHRINK, -(-edges[len(edges) // 2] // _LONG_EDGE_PX)))


def _texts(workspace: Workspace, tool: Path, document: str, pages: int) -> list[str]:
    """Return the hidden texts of the pages. A damaged one is empty: the page's picture may be sound.

    At a damaged text the tool ends, so it starts again behind it.
    """
    texts: list[str] = []
    script = workspace.folder / "script"
    for _ in range(_MAX_DAMAGED_TEXTS):
        commands = (f"select {number}; print-pure-txt" for number in range(len(texts) + 1, pages + 1))
        script.write_text("\n".join(commands), encoding="ascii")
        status, printed = _run(workspace, tool, "-u", "-f", str(script), document)
        if status < 0 and -status not in _CRASHES:
            raise died(tool.name, status)
        texts += printed.split("\f")[:-1]
        if status == 0 or len(texts) + 1 >= pages:
            break
        texts.append("")
    return texts[:pages]


def _output(workspace: Workspace, tool: Path, *arguments: str) -> str:
    """Return what a tool prints.

    Raises:
        ConversionError: the tool crashed, or cannot read the document.
    """
    status, printed = _run(workspace, tool, *arguments)
    if status < 0:
        raise died(tool.name, status)
    if status > 0:
        raise ConversionError("corrupt", f"{tool.name} cannot read it")
    return printed


def _run(workspace: Workspace, tool: Path, *arguments: str) -> tuple[int, str]:
    """Return a tool's exit status, negative for a signal, and what it prints."""
    path = workspace.folder / "printed"
    status = workspace.start((str(tool), *arguments), path).wait()
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return status, file.read(_MAX_DUMP_CHARS)
