"""Small files made by hand for the rendering tests, and the faults among them by name."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil
from PIL import Image
from reportlab.pdfgen import canvas

from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.rendering.host.pool import OpenDocument, SandboxPool
from pipeline.rendering.protocol import RenderLimits

LIMITS = RenderLimits(
    page_seconds=30,
    wall_seconds=120,
    memory_mb=1024,
    max_pages=50,
    max_pixels=50_000_000,
    max_members=1_000,
    max_expansion=100,
)


def sandboxes() -> list[psutil.Process]:
    """The living sandbox processes of this process, known by the limits among their arguments."""
    return [child for child in psutil.Process().children() if _is_sandbox(child)]


def _is_sandbox(child: psutil.Process) -> bool:
    try:
        return "memory_mb" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # or a zombie
        return False


def the_sandbox() -> psutil.Process:
    (sandbox,) = sandboxes()
    return sandbox


@contextmanager
def opened(
    pool: SandboxPool,
    data: bytes,
    media_type: MediaType,
    cancel: CancelToken | None = None,
    passwords: Sequence[str] = (),
) -> Iterator[OpenDocument]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with pool.open(file, media_type, cancel, lambda: passwords) as document:
            yield document


def render(pool: SandboxPool, data: bytes, media_type: MediaType, page_number: int = 1) -> RenderedPage:
    with opened(pool, data, media_type) as document:
        return document.render(page_number, with_pixels=True)


def pixels(page: RenderedPage) -> Image.Image:
    assert page.rgb is not None
    return Image.frombytes("RGB", (page.width_px, page.height_px), page.rgb)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def drawn_pdf(
    *pages: Callable[[canvas.Canvas], object], size: tuple[float, float] = (595, 842), **options: object
) -> bytes:
    """A PDF by reportlab, one drawing function a page."""
    buffer = io.BytesIO()
    paper = canvas.Canvas(buffer, pagesize=size, **options)
    for draw in pages:
        draw(paper)
        paper.showPage()
    paper.save()
    return buffer.getvalue()


def raw_pdf(*objects: bytes) -> bytes:
    """A PDF of these objects, the first of which is the catalogue."""
    body, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (count, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % count + table + trailer


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def one_page_pdf(content: bytes, *more: bytes, entries: bytes = b"/MediaBox[0 0 200 200]") -> bytes:
    """A page whose content stream is object 4; `more` are objects 5 and on."""
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R%s>>" % entries,
        content,
        *more,
    )


def lettered_pdf(content: bytes, letters: dict[str, str], entries: bytes = b"/MediaBox[0 0 400 200]") -> bytes:
    """A page on which `content` sets text in the font /F, some of whose characters stand for other ones."""
    pairs = [f"<{ord(char):02x}> <{text.encode('utf-16-be').hex()}>" for char, text in letters.items()]
    to_unicode = (
        "/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange "
        f"{len(pairs)} beginbfchar {' '.join(pairs)} endbfchar endcmap end"
    )
    return one_page_pdf(
        stream(content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
        stream(to_unicode.encode()),
        entries=entries + b"/Resources<</Font<</F 5 0 R>>>>",
    )


def zero_page_pdf() -> bytes:
    return raw_pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>")


def shading_that_takes_minutes() -> bytes:
    """A page of a few kB on which every pixel is the result of 10,000 steps."""
    program = b"{ pop " + b"sin 1 add " * 5_000 + b"}"
    return one_page_pdf(
        stream(b"/S sh"),
        b"<</ShadingType 1/ColorSpace/DeviceGray/Domain[0 200 0 200]/Function 6 0 R>>",
        stream(program, b"/FunctionType 4/Domain[0 200 0 200]/Range[0 1]"),
        entries=b"/MediaBox[0 0 200 200]/Resources<</Shading<</S 5 0 R>>>>",
    )


def content_that_inflates() -> bytes:
    """A page whose content is 120 MB of strokes, each of which becomes an object: gigabytes, out of 300 kB."""
    return one_page_pdf(stream(zlib.compress(b"0 0 m 9 9 l S\n" * 9_000_000), b"/Filter/FlateDecode"))


def png_that_inflates(side: int) -> bytes:
    """A white one-bit PNG of side x side pixels, which takes a byte a pixel once it is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff" * (side // 8)) * side
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def slow_pages_pdf(pages: int, ordinary: int = 0) -> bytes:
    """Pages that share one shading of 2,000 steps for each pixel, in a few kB; `ordinary` empty pages come first."""
    program = b"{ pop " + b"sin 1 add " * 1_000 + b"}"
    kids = b" ".join(b"%d 0 R" % number for number in range(7, 7 + ordinary + pages))
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d/MediaBox[0 0 200 200]>>" % (kids, ordinary + pages),
        stream(b"/S sh"),
        b"<</Shading<</S 5 0 R>>>>",
        b"<</ShadingType 1/ColorSpace/DeviceGray/Domain[0 200 0 200]/Function 6 0 R>>",
        stream(program, b"/FunctionType 4/Domain[0 200 0 200]/Range[0 1]"),
        *[b"<</Type/Page/Parent 2 0 R>>"] * ordinary,
        *[b"<</Type/Page/Parent 2 0 R/Contents 3 0 R/Resources 4 0 R>>"] * pages,
    )
