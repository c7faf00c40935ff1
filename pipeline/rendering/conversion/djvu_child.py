"""Has DjVuLibre make a PDF of a DjVu document. Runs in a confined process."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.rendering.conversion.confined import OUTPUT, ConversionError, Reply, Request, Workspace, died, serve

#: Colour pages get this long at most, 200 dpi on A4: the page image needs less, and crops of it no more. Pages of black
#: ink alone stay as they are, which takes less room than grey ones.
_LONG_EDGE_PX = 2_400
_QUALITY = "-quality=80"
#: `ddjvu` shrinks by whole factors up to this one.
_MAX_SHRINK = 12
_MAX_DUMP_CHARS = 64 << 20
_MAX_TEXT_CHARS = 100_000
_PAGE = re.compile(r"\bFORM:DJVU \[")
_SIZE = re.compile(r"\bINFO \[\d+\] +DjVu (\d+)x(\d+)")
#: Chunks that hold pictures in grey or colour, by wavelets or JPEG.
_PICTURE = re.compile(r"\b(?:BG44|FG44|BM44|PM44|BGjp|FGjp) \[")


def main() -> None:
    """Serve one request."""
    serve(convert)


def convert(place: Workspace, request: Request) -> Reply:
    """Convert the document of a workplace.

    Raises:
        Failed: there is no PDF of it.
    """
    tools = Path(request["tools"])
    document = str(place.document)
    dump = _output(place, tools / "djvudump", document)
    if "Document directory (indirect" in dump:
        raise ConversionError("unsupported", "its pages are files of their own; `djvmcvt -b` bundles them into one")
    pages = len(_PAGE.findall(dump))
    if not pages:
        raise ConversionError("corrupt", "no page can be found in it")
    shrink = f"-subsample={_shrink(dump)}"
    _output(place, tools / "ddjvu", "-format=pdf", _QUALITY, shrink, document, str(place.folder / OUTPUT))
    texts = _output(place, tools / "djvused", "-u", "-e", "print-pure-txt", document).split("\f")[:pages]
    return {
        "converter": request["converter"],
        "pages": pages,
        "notes": {number: text[:_MAX_TEXT_CHARS] for number, text in enumerate(texts, 1) if text.strip()},
    }


def _shrink(dump: str) -> int:
    """Return the factor by which the pages are shrunk; it is the same for all of them."""
    if not _PICTURE.search(dump):
        return 1
    edges = sorted(max(int(width), int(height)) for width, height in _SIZE.findall(dump)) or [1]
    return max(1, min(_MAX_SHRINK, -(-edges[len(edges) // 2] // _LONG_EDGE_PX)))


def _output(place: Workspace, tool: Path, *arguments: str) -> str:
    """Return what a tool prints.

    Raises:
        Failed: it crashed, or says that it cannot read the document.
    """
    path = place.folder / "printed"
    status = place.start((str(tool), *arguments), path).wait()
    if status < 0:
        raise died(tool.name, status)
    if status > 0:
        raise ConversionError("corrupt", f"{tool.name} cannot read it")
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return file.read(_MAX_DUMP_CHARS)
