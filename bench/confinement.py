"""What confining a child costs: each start, by kind of child, and each page.

    python -m bench.confinement

A start is measured in the child, around `confine`, with its modules imported. Pages are those of a PDF made here, drawn
by a sandbox with its confinement and by one that keeps its limits of resources alone; the two take turns.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pipeline.core.child_process import PACKAGE_HOME
from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.host.process import CHILD_COMMAND
from pipeline.rendering.protocol import RenderLimits

LIMITS = RenderLimits(60, 300, 2048, 1000, 10**8, 100, 100)
STARTS, ROUNDS, PAGES = 20, 4, 13
RIGHTS = {
    "sandbox": f"sandbox_rights({LIMITS!r})",
    "RapidOCR": "ocr_rights(3072)",
    "Tesseract": "ocr_rights(2048, program=Path('/usr/bin/tesseract'))",
    "DjVu": "conversion_rights(Path('/tmp'), [], sockets=False, limits={})",
    "LibreOffice": "conversion_rights(Path('/tmp'), [], sockets=True, limits={})",
}
START = """
import time
from pathlib import Path
from pipeline.core.confinement import confine
from pipeline.rendering.conversion.confined import conversion_rights
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.child import sandbox_rights
from pipeline.vision.ocr.serving import ocr_rights
begun = time.perf_counter()
confine({rights})
print((time.perf_counter() - begun) * 1000)
"""
#: The sandbox with its limits of resources alone; it is given nothing but the PDF that is made here.
WITHOUT = (
    "import sys; sys.path.append(sys.argv.pop(1)); from pipeline.core import child_side as side, confinement;"
    "side.confine = lambda rights: confinement._limit(rights.limits);"
    "from pipeline.rendering.sandbox.child import main; main()"
)


def start_ms(kind: str) -> list[float]:
    """Return the milliseconds that each of some children took to confine itself."""
    command = [sys.executable, "-c", START.format(rights=RIGHTS[kind])]
    return [float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(STARTS)]


def page_ms(command: Sequence[str], pdf: Path) -> float:
    """Return the milliseconds of CPU time that a page took, with its share of the start of the sandbox."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (
        closing(SandboxPool(1, LIMITS, command=command)) as pool,
        pdf.open("rb") as file,
        pool.open(file, MediaType.PDF) as document,
    ):
        for number in range(1, PAGES + 1):
            document.render(number)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / PAGES


def _pdf(path: Path) -> Path:
    from PIL import Image, ImageDraw

    pages = []
    for number in range(PAGES):
        page = Image.new("RGB", (1240, 1754), "white")
        ImageDraw.Draw(page).multiline_text((90, 90), f"Page {number} of the harbour ledger\n" * 60, "black")
        pages.append(page)
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def main() -> None:
    """Print both tables."""
    for kind in RIGHTS:
        taken = start_ms(kind)
        print(f"{kind}: {statistics.median(taken):.1f} ms a start, at most {max(taken):.1f} ms")
    without = (sys.executable, "-IB", "-c", WITHOUT, str(PACKAGE_HOME))
    with tempfile.TemporaryDirectory() as folder:
        pdf = _pdf(Path(folder, "pages.pdf"))
        taken = [(page_ms(CHILD_COMMAND, pdf), page_ms(without, pdf)) for _ in range(ROUNDS)]
    held, bare = (statistics.median(column) for column in zip(*taken, strict=True))
    print(
        f"{held:.2f} ms of CPU a page confined, {bare:.2f} ms with limits of resources alone ({held / bare - 1:+.1%})"
    )


if __name__ == "__main__":
    main()
