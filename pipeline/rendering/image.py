"""Image files, by Pillow. Runs in the sandbox process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.errors import CorruptFile, LimitExceeded, OutcomeError
from pipeline.rendering import exif
from pipeline.rendering.page_image import Canvas, DecodedPage, finish_page, fit
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.raster import to_rgb

#: Pillow's names for the formats, by media type.
FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
}
#: Files claim anything; a scanner's resolution lies within these.
_DPI = (1.0, 20_000.0)
_TRANSPOSE = Image.Transpose
#: What turns a picture upright, by EXIF orientation: the transposition, and the degrees clockwise in it.
_UPRIGHT = {
    1: (None, 0),
    2: (_TRANSPOSE.FLIP_LEFT_RIGHT, 0),
    3: (_TRANSPOSE.ROTATE_180, 180),
    4: (_TRANSPOSE.FLIP_TOP_BOTTOM, 180),
    5: (_TRANSPOSE.TRANSPOSE, 270),
    6: (_TRANSPOSE.ROTATE_270, 90),
    7: (_TRANSPOSE.TRANSVERSE, 90),
    8: (_TRANSPOSE.ROTATE_90, 270),
}
_SIDEWAYS = tuple(transposition for transposition, degrees in _UPRIGHT.values() if degrees in (90, 270))


class ImageFile:
    """An open image file. Every frame of a TIFF is a page; of all other formats the first frame is the only one."""

    title: str | None = None
    members = 0

    def __init__(self, descriptor: int, media_type: str, limits: RenderLimits, *, keep_gps: bool) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: Pillow cannot open it.
            LimitExceeded: a TIFF has more frames than `limits` allow pages.
        """
        # Ours is checked before anything is decoded; Pillow's own refuses genuine scans of 180 megapixels and more.
        Image.MAX_IMAGE_PIXELS = None
        self._path = Path(f"/proc/self/fd/{descriptor}")
        self._format = FORMATS[media_type]
        self._limits = limits
        self._keep_gps = keep_gps
        self._decoded: int | None = None
        self._open()
        self.pages = self._count_frames() if self._format == "TIFF" else 1

    def render(self, page_number: int) -> DecodedPage:
        """Decode and measure a frame.

        Raises:
            CorruptFile: Pillow cannot decode it.
            LimitExceeded: its header declares more pixels than `limits` allow.
        """
        if page_number == self._decoded:  # its header has been changed by decoding it
            self._reopen()
        try:
            with _pillow_errors():
                if self._format == "TIFF":
                    self._image.seek(page_number - 1)
                self._decoded = page_number
                return _render(self._image, self._limits.max_pixels, self._keep_gps)
        except OutcomeError:
            # A failed frame leaves a half-read state behind, which must not harm the next one.
            self._reopen()
            raise

    def close(self) -> None:
        """Give the picture's memory back."""
        self._image.close()
        self._file.close()

    def _open(self) -> None:
        file = self._path.open("rb")
        try:
            with _pillow_errors():
                self._image = Image.open(file, formats=(self._format,))
        except BaseException:
            file.close()
            raise
        self._file = file

    def _reopen(self) -> None:
        self.close()
        self._decoded = None
        self._open()

    def _count_frames(self) -> int:
        """Count by walking the directories. The first that cannot be read counts too, and then fails as a page."""
        for frame in range(1, self._limits.max_pages + 1):
            try:
                with _pillow_errors():
                    self._image.seek(frame)
            except CorruptFile as error:
                return frame if isinstance(error.__cause__, EOFError) else frame + 1
        raise LimitExceeded(f"the TIFF has more frames than the limit of {self._limits.max_pages} pages")


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Translate what Pillow raises on bad bytes: OSError, TypeError, ValueError, SyntaxError, struct.error, … are
    known, and its documentation promises no closed set.
    """
    try:
        yield
    except (OutcomeError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise CorruptFile("the picture's header cannot be read") from error
    except Exception as error:
        raise CorruptFile(f"the picture cannot be decoded: {str(error)[:200] or type(error).__name__}") from error


def _render(image: Image.Image, max_pixels: int, keep_gps: bool) -> DecodedPage:
    _check_size(image.size, max_pixels)
    by_pillow = image.format == "TIFF"  # which `load` turns upright, and forgets the tag
    told = exif.orientation(image) if image.format != "PNG" else None
    mode, size, dpi = image.mode, image.size, _dpi(image)
    if image.format in ("JPEG", "MPO"):
        image.draft(None, fit(*size, enlarge=False).content)
    image.load()
    # Only now for PNG, where it may stand behind the pixels: asking before would decode them.
    told = told or exif.orientation(image)
    transposition, degrees = _UPRIGHT[told or 1]
    turned = size[::-1] if degrees in (90, 270) else size
    shown, stored = (size, turned) if by_pillow else (turned, size)
    canvas = fit(*shown, enlarge=False)
    tags = exif.flatten(image, keep_gps=keep_gps)
    page = _upright(image, canvas, None if by_pillow else transposition)
    return DecodedPage(
        image=finish_page(page, page.tobytes()),
        dpi=dpi and dpi * canvas.content[0] / shown[0],
        original={
            "format": image.format,
            "mode": mode,
            "width": stored[0],
            "height": stored[1],
            "dpi": dpi,
            "rotation": degrees,
            "orientation": told,
            "captured_at": exif.captured_at(tags),
            "camera": exif.camera(tags),
        },
        is_vector=False,
        exif=tags,
    )


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise LimitExceeded(f"the picture has {width} x {height} = {width * height} pixels, the limit is {max_pixels}")
    if width * height == 0:
        raise CorruptFile("the picture has no pixels")


def _upright(image: Image.Image, canvas: Canvas, transposition: Image.Transpose | None) -> Image.Image:
    """Return the picture in RGB, turned, on its canvas."""
    content = canvas.content[::-1] if transposition in _SIDEWAYS else canvas.content
    upright = to_rgb(image, content, image.info.get("icc_profile"))
    if transposition is not None:
        upright = upright.transpose(transposition)
    if canvas.size == canvas.content:
        return upright
    page = Image.new("RGB", canvas.size, "white")
    page.paste(upright)
    return page


def _dpi(image: Image.Image) -> float | None:
    """Return the file's own resolution across, None where it tells none that a scanner could have."""
    try:
        dpi = float(image.info["dpi"][0])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    return dpi if _DPI[0] <= dpi <= _DPI[1] else None
