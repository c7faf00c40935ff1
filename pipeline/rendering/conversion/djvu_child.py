"""Converts a DjVu document to a PDF by DjVuLibre. Runs in a confined process."""

from __future__ import annotations

import re
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
    texts = _output(workspace, tools / "djvused", "-u", "-e", "print-pure-txt", document).split("\f")[:pages]
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


def _output(workspace: Workspace, tool: Path, *arguments: str) -> str:
    """Return what a tool prints.

    Raises:
        ConversionError: the tool crashed, or cannot read the document.
    """
    path = workspace.folder / "printed"
    status = workspace.start((str(tool), *arguments), path).wait()
    if status < 0:
        raise died(tool.name, status)
    if status > 0:
        raise ConversionError("corrupt", f"{tool.name} cannot read it")
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return file.read(_MAX_DUMP_CHARS)
