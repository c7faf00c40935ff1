"""HEIF and HEIC files, by libheif. Runs in the sandbox process, which imports this when such a file comes."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

import pillow_heif
from PIL import ExifTags, Image

# Thumbnails, depth maps and gain maps are not used. One thread, since several sandboxes share the processors.
pillow_heif.options.THUMBNAILS = False
pillow_heif.options.DEPTH_IMAGES = False
pillow_heif.options.AUX_IMAGES = False
pillow_heif.options.DECODE_THREADS = 1


class HeifPicture:
    """The primary image of a file, with the part of Pillow's interface that is used here.

    Its rows stay in libheif's buffer: a copy as Pillow's image would take 800 MB for 200 megapixels. Other images
    of the file, of a burst or a sequence, do not become pages. libheif turns and mirrors the image (irot, imir);
    an EXIF orientation in addition to that must be ignored (ISO/IEC 23000-22:2024, 7.3.10.1).
    """

    format = "HEIF"

    def __init__(self, file: BinaryIO) -> None:
        """Read the file's structure.

        Raises:
            Exception: libheif cannot read it; the binding raises several kinds.
        """
        container = pillow_heif.open_heif(file, remove_stride=False)
        self._image = container[container.primary_index]
        self.mode = self._image.mode
        self.size = self._image.size
        self.info: dict[Any, Any] = self._image.info
        self._exif: Any = self.info.pop("exif", None)

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.size[1]

    def load(self) -> None:
        """Decode the picture, whose size may turn out to be another one."""
        self._image.load()
        self.size = self._image.size

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Return a part of the decoded picture."""
        left, top, right, bottom = box
        stride = self._image.stride
        rows = cast(bytes, memoryview(self._image.data)[top * stride : bottom * stride])
        band = Image.frombuffer(self.mode, (self.width, bottom - top), rows, "raw", self.mode, stride, 1)
        return band.crop((left, 0, right, bottom - top))

    def getexif(self) -> Image.Exif:
        """Return the EXIF tags without an orientation."""
        exif = Image.Exif()
        if self._exif:
            exif.load(self._exif)
        exif.pop(ExifTags.Base.Orientation, None)
        return exif

    def close(self) -> None:
        """Give the memory back."""
        del self._image
