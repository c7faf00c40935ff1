"""Decodes image files with Pillow, and HEIF files with libheif. Runs in the sandbox process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from PIL import Image, TiffImagePlugin

from pipeline.core.errors import CorruptFile, LimitExceeded, OutcomeError, UnsupportedFormat
from pipeline.core.formats import MediaType
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.descriptors import reopen
from pipeline.rendering.sandbox.image import exif, jpeg2000
from pipeline.rendering.sandbox.image.raster import Picture, to_rgb
from pipeline.rendering.sandbox.image.resolution import Resolution, resolution
from pipeline.rendering.sandbox.image.subfiles import Frame, frame_of, pages_among
from pipeline.rendering.sandbox.page_image.build import DecodedPage, build_page_image, fit, placed
from pipeline.rendering.sandbox.page_image.crops import DecodedCrop, cut, page_size

if TYPE_CHECKING:
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

#: Kinds of pictures that are not decoded, by the first bytes of their files.
_UNREAD_HEADS = {
    b"8BPS\0\2": "PSB pictures, Photoshop's large ones,",
    b"MM\0+": "big-endian BigTIFF pictures",
}
#: Kinds of pictures that are not decoded, by Pillow's error message. It names a TIFF's kind of samples, the value of
#: a TIFF's tag Compression (as in libtiff's tiff.h), or a PSD's colour mode and bits per channel.
_UNREAD_KINDS = {
    "unknown pixel mode": "TIFF pictures with samples of this kind",
    "34661": "TIFF pictures compressed by JBIG",
    "34712": "TIFF pictures compressed by JPEG 2000",
    "34887": "TIFF pictures compressed by LERC",
    "50002": "TIFF pictures compressed by JPEG XL",
    **{f"({mode}, {bits})": f"PSD pictures of {bits} bits per channel" for mode in range(10) for bits in (16, 32)},
}
# Pillow's own reader of uncompressed TIFF files cannot read subsampled YCbCr, and reads 16-bit planes as 8-bit ones.
TiffImagePlugin.READ_LIBTIFF = True
# 16-bit grey in which white is zero: Pillow knows only little-endian files of this kind, and does not invert them.
TiffImagePlugin.OPEN_INFO[(TiffImagePlugin.MM, 0, (1,), 1, (16,), ())] = ("I;16B", "I;16B")
#: Parts of decoders' messages that mean refused memory: Pillow's text and number, libavif's, libheif's.
_OUT_OF_MEMORY = ("out of memory", "decoder error -9", "memory allocation")
_HEAD_BYTES = 8
_SEPARATE_PLANES = 2
_WHITE_IS_ZERO = 0
_TRANSPOSE = Image.Transpose
#: By EXIF orientation: the transposition that turns a picture upright, and its rotation in degrees clockwise.
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
    """An open image file.

    Every frame of a TIFF is a page, except thumbnails and masks. A file of another format has one page: the first frame
    of an animation, the primary picture of a HEIF file, the composite of a PSD file.
    """

    title: str | None = None
    members = 0

    def __init__(self, descriptor: int, media_type: MediaType, limits: RenderLimits, *, keep_gps: bool) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: Pillow cannot open it.
            UnsupportedFormat: Pillow does not know this kind of file.
            LimitExceeded: a TIFF has more frames than `limits` allow pages.
        """
        # Our own limit is checked before decoding. Pillow's would refuse genuine scans of 180 megapixels and more.
        Image.MAX_IMAGE_PIXELS = None
        self._descriptor = descriptor
        self._format = media_type.row.decoder
        self._limits = limits
        self._keep_gps = keep_gps
        self._decoded: int | None = None
        self._open()
        self._frames = [0]
        if self._format == "TIFF":
            self._frames = pages_among(self._read_frames())
            self._reopen()  # Pillow applies the tags of one frame to later ones
        self.pages = len(self._frames)

    def render(self, page_number: int) -> DecodedPage:
        """Decode and measure a frame.

        Raises:
            CorruptFile: Pillow cannot decode it.
            UnsupportedFormat: no decoder here supports its compression or its samples.
            LimitExceeded: its header declares more pixels than `limits` allow.
        """
        with self._frame(page_number) as image:
            return _render(image, self._limits.max_pixels, self._keep_gps)

    def render_crops(self, page_number: int, bands: int) -> tuple[DecodedCrop, ...]:
        """Decode a frame and cut it into `bands` bands, without enlarging it.

        Raises:
            CorruptFile, UnsupportedFormat, LimitExceeded: as `render` raises them.
        """
        with self._frame(page_number) as image:
            return _render_crops(image, bands, self._limits.max_pixels)

    def close(self) -> None:
        """Free the picture's memory."""
        self._image.close()
        self._file.close()

    @contextmanager
    def _frame(self, page_number: int) -> Iterator[Picture]:
        """Yield the picture of a page before it is decoded."""
        if page_number == self._decoded:  # decoding has changed its header
            self._reopen()
        try:
            with _pillow_errors():
                if self._format == "TIFF":
                    self._seek(self._frames[page_number - 1])
                self._decoded = page_number
                yield self._image
        except OutcomeError:
            # A failed frame leaves the file in a half-read state, which must not affect the next frame.
            self._reopen()
            raise

    def _open(self) -> None:
        file = reopen(self._descriptor)
        try:
            with _pillow_errors():
                self._image = _open_picture(file, self._format)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _reopen(self) -> None:
        self.close()
        self._decoded = None
        self._open()

    def _seek(self, frame: int) -> None:
        image = cast(Image.Image, self._image)
        if image.tell() != frame:
            image.info.clear()
            image.seek(frame)

    def _read_frames(self) -> list[Frame]:
        """Read what the directories say. The first unreadable one counts too: rendering it will fail."""
        frames: list[Frame] = []
        while len(frames) <= self._limits.max_pages:
            try:
                if frames:
                    with suppress(UnsupportedFormat), _pillow_errors():
                        self._seek(len(frames))
            except CorruptFile as error:
                return frames if isinstance(error.__cause__, EOFError) else [*frames, frame_of({})]
            frames.append(frame_of(cast(TiffImagePlugin.TiffImageFile, self._image).tag_v2))
        raise LimitExceeded(f"the TIFF has more frames than the limit of {self._limits.max_pages} pages")


def _open_picture(file: BinaryIO, image_format: str) -> Picture:
    if image_format == "HEIF":
        from pipeline.rendering.sandbox.image.heif import HeifPicture  # takes 30 MB of address space

        return HeifPicture(file)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    for start, kind in _UNREAD_HEADS.items():
        if head.startswith(start):
            raise UnsupportedFormat(f"{kind} are not decoded")
    Image.init()
    factory, _ = Image.OPEN[image_format]  # Image.open would hide the error
    return factory(file, "")


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Translate Pillow's errors.

    On invalid bytes it raises OSError, TypeError, ValueError, SyntaxError, struct.error and others. Its documentation
    has no complete list.
    """
    try:
        yield
    except (OutcomeError, MemoryError):
        raise
    except Exception as error:
        if kind := _UNREAD_KINDS.get(str(error)):
            raise UnsupportedFormat(f"{kind} are not decoded") from error
        if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            raise MemoryError from error
        raise CorruptFile(f"the picture cannot be decoded: {str(error)[:200] or type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class _Orientation:
    """The orientation of a decoded picture."""

    orientation: int | None
    """Value of its EXIF tag."""
    degrees: int
    """Clockwise rotation that turns it upright."""
    transposition: Image.Transpose | None
    """The transposition that still has to be applied."""
    shown: tuple[float, float]
    """Width and height of the upright picture in square pixels."""
    stored: tuple[int, int]
    resolution: Resolution
    """Of the stored picture."""


def _render(image: Picture, max_pixels: int, keep_gps: bool) -> DecodedPage:
    mode = image.mode
    turned = _load(image, max_pixels, lambda width, height: fit(width, height, enlarge=False).content)
    dpi = turned.resolution.dpi
    canvas = fit(*turned.shown, enlarge=False)
    tags = exif.flatten(image, keep_gps=keep_gps)
    page = placed(_upright(image, canvas.content, turned.transposition), canvas)
    return DecodedPage(
        image=build_page_image(page, page.tobytes()),
        own_properties={
            "dpi": dpi and max(dpi) * canvas.content[0] / turned.shown[0],
            "original": {
                "format": image.format,
                "mode": mode,
                "width": turned.stored[0],
                "height": turned.stored[1],
                "dpi": dpi and dpi[0],
                "dpi_y": dpi[1] if dpi and dpi[0] != dpi[1] else None,
                "rotation": turned.degrees,
                "orientation": turned.orientation,
                "captured_at": exif.captured_at(tags),
                "camera": exif.camera(tags),
            },
            "exif": tags,
        },
        own_facts={"is_vector": False, "picture_share": None},
    )


def _render_crops(image: Picture, bands: int, max_pixels: int) -> tuple[DecodedCrop, ...]:
    turned = _load(image, max_pixels, lambda width, height: page_size(width, height, bands, enlarge=False))
    size = page_size(*turned.shown, bands, enlarge=False)
    return cut(_upright(image, size, turned.transposition), bands)


def _load(image: Picture, max_pixels: int, wanted: Callable[[float, float], tuple[int, int]]) -> _Orientation:
    """Decode a picture, and return its orientation.

    `wanted` is given the picture's size in square pixels, and returns the smallest size that the decoded picture may
    have.
    """
    _check_size(image.size, max_pixels)
    size = image.size
    # EXIF of a PNG is read later: it may follow the pixels, and reading it now would decode them.
    tag, stored_as = (None, None) if image.format == "PNG" else (exif.orientation(image), resolution(image))
    _decode(image, wanted(*(stored_as.stretched(size) if stored_as else size)))
    tag, stored_as = tag or exif.orientation(image), stored_as or resolution(image)
    transposition, degrees = _UPRIGHT[tag or 1]
    is_sideways = degrees in (90, 270)
    turned, upright = (stored_as.turned(), size[::-1]) if is_sideways else (stored_as, size)
    if image.format == "TIFF":  # Pillow's size is that of the upright picture, and it turned the pixels
        return _Orientation(tag, degrees, None, turned.stretched(size), upright, stored_as)
    return _Orientation(tag, degrees, transposition, turned.stretched(upright), size, stored_as)


def _decode(image: Picture, size: tuple[int, int]) -> None:
    """Decode a picture, at a reduced scale of at least `size` if its format supports that."""
    if image.format in ("JPEG", "MPO"):
        cast(Image.Image, image).draft(None, size)
    if image.format == "JPEG2000":
        _reduce(cast("Jpeg2KImageFile", image), size)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _refuse_unread(image)
    image.load()


def _refuse_unread(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse pictures that Pillow opens but cannot decode, or decodes into wrong colours."""
    if image.info["compression"] == "webp":
        raise UnsupportedFormat("TIFF pictures compressed by WebP are not decoded")
    if image.mode == "LAB" and image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE_PLANES:
        raise UnsupportedFormat("TIFF pictures in Lab with separate planes are not decoded")


def _reduce(image: Jpeg2KImageFile, size: tuple[int, int]) -> None:
    """Prepare JPEG 2000 for decoding: halve it until just above `size`, and set the ICC profile that Pillow ignores."""
    assert image.fp is not None
    header = jpeg2000.inspect(image.fp)
    scale = max(1.0, min(image.width / size[0], image.height / size[1]))
    image.reduce = min(header.reductions, int(math.log2(scale)))
    if header.icc_profile:
        image.info["icc_profile"] = header.icc_profile


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise LimitExceeded(f"the picture has {width} x {height} = {width * height} pixels, the limit is {max_pixels}")
    if width * height == 0:
        raise CorruptFile("the picture has no pixels")


def _upright(image: Picture, size: tuple[int, int], transposition: Image.Transpose | None) -> Image.Image:
    """Return the picture in RGB, upright, at a size."""
    stored = size[::-1] if transposition in _SIDEWAYS else size
    upright = to_rgb(image, stored, image.info.get("icc_profile"), inverted=_is_inverted(image))
    return upright if transposition is None else upright.transpose(transposition)


def _is_inverted(image: Picture) -> bool:
    """Whether Pillow returns inverted samples: of inks, of one-bit PSD, and of 16-bit grey in which white is zero."""
    # Pillow inverts the inks of every JPEG, but only Adobe's programs store them inverted, with a marker.
    if image.format in ("JPEG", "MPO"):
        return image.mode == "CMYK" and "adobe" not in image.info
    if image.format == "PSD":
        return image.mode == "1"
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode.startswith("I;16"):
        return image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    return False
