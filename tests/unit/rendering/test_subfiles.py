"""Frames of a TIFF that are not pages: thumbnails, smaller copies, masks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pytest
from PIL import Image, TiffImagePlugin

from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, encoded, opened

FULL, REDUCED, PAGE, REDUCED_PAGE, MASK = 0, 1, 2, 3, 4
LARGE, HALF, THUMBNAIL = (1200, 1600), (600, 800), (96, 128)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def tiff(frames: Sequence[tuple[tuple[int, int], int | None]], tag: int = 254) -> bytes:
    """A TIFF of frames, each of a size and with a value of a tag."""
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for size, value in frames:
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            if value is not None:
                tags[tag] = value
            Image.new("L", size, 200).save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    return buffer.getvalue()


def sizes(pool: SandboxPool, data: bytes, media_type: MediaType = MediaType.TIFF) -> list[tuple[int, int]]:
    with opened(pool, data, media_type) as document:
        pages = [document.render(number) for number in range(1, document.pages + 1)]
    return [(page.original.width or 0, page.original.height or 0) for page in pages]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([(LARGE, FULL), (THUMBNAIL, REDUCED)], [LARGE], id="thumbnail"),
        pytest.param([(THUMBNAIL, REDUCED), (LARGE, FULL)], [LARGE], id="thumbnail first"),
        pytest.param([((100, 100), REDUCED), (LARGE, None)], [LARGE], id="thumbnail of another shape"),
        pytest.param([(LARGE, FULL), (HALF, REDUCED), ((300, 400), REDUCED)], [LARGE], id="pyramid"),
        pytest.param([(LARGE, FULL), (LARGE, MASK), (HALF, REDUCED | MASK)], [LARGE], id="masks"),
        pytest.param(
            [(LARGE, PAGE), (THUMBNAIL, REDUCED_PAGE), (HALF, PAGE), (THUMBNAIL, REDUCED_PAGE)],
            [LARGE, HALF],
            id="a thumbnail for each page",
        ),
        pytest.param([(HALF, REDUCED), (HALF, REDUCED)], [HALF, HALF], id="all frames reduced"),
        pytest.param([(LARGE, FULL), (LARGE, REDUCED)], [LARGE, LARGE], id="as large as the page"),
        pytest.param([(LARGE, FULL), ((800, 600), REDUCED)], [LARGE, (800, 600)], id="large, of another shape"),
        pytest.param([(THUMBNAIL, MASK)], [THUMBNAIL], id="nothing but a mask"),
        pytest.param([(LARGE, None), (HALF, None)], [LARGE, HALF], id="no tags"),
    ],
)
def test_frames_that_belong_to_another_are_left_out(
    pool: SandboxPool, frames: list[tuple[tuple[int, int], int | None]], expected: list[tuple[int, int]]
) -> None:
    assert sizes(pool, tiff(frames)) == expected


def test_the_older_tag_counts_too(pool: SandboxPool) -> None:
    assert sizes(pool, tiff([(LARGE, 1), (THUMBNAIL, 2), (HALF, 3)], tag=255)) == [LARGE, HALF]


def test_a_mask_of_its_own_kind_of_samples_is_not_a_page(pool: SandboxPool) -> None:
    data = bytearray(tiff([(LARGE, FULL), (LARGE, FULL)]))
    photometric = data.rindex((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[photometric + 8] = 4
    assert sizes(pool, bytes(data)) == [LARGE]


def test_a_second_picture_of_a_camera_is_not_a_page(pool: SandboxPool) -> None:
    small = Image.new("RGB", THUMBNAIL)
    jpeg = encoded(Image.new("RGB", HALF), "MPO", save_all=True, append_images=[small])
    assert sizes(pool, jpeg, MediaType.JPEG) == [HALF]
