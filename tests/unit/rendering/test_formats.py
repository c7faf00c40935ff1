"""Every kind of picture file shows the colours that were put into it, the right way up."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from PIL import ExifTags, Image, ImageChops, ImageCms

from pipeline.core.errors import OutcomeError, UnsupportedFormat
from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support import tiffs
from support.pictures import bmp, file_of, png_16_bit, psd
from support.profiles import green_ink, linear_grey
from support.rendering import LIMITS, encoded, opened, pixels, render

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
WIDTH, HEIGHT, ROWS = 64, 48, 16


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def quarters() -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    picture.paste(RED, (0, 0, 32, 24))
    picture.paste(GREEN, (32, 0, 64, 24))
    picture.paste(BLUE, (0, 24, 32, 48))
    return picture


def halves() -> Image.Image:
    """Black on the left, white on the right."""
    picture = Image.new("L", (WIDTH, HEIGHT), 255)
    picture.paste(0, (0, 0, 32, 48))
    return picture


def in_lab(picture: Image.Image) -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(picture, to_lab)
    assert lab is not None
    return lab


def shown(pool: SandboxPool, data: bytes, media_type: MediaType) -> list[tuple[int, ...]] | str:
    """The pure colours nearest to those of the four quarters, or what was said instead of a page."""
    try:
        page = render(pool, data, media_type)
    except OutcomeError as error:
        return f"{error.code}: {error}"
    return quarters_of(page)


def quarters_of(page: RenderedPage) -> list[tuple[int, ...]]:
    picture = pixels(page)
    places = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    found = [picture.getpixel((int(x * picture.width), int(y * picture.height))) for x, y in places]
    return [tuple(255 if level > 127 else 0 for level in colour) for colour in found]


def all_show(
    pool: SandboxPool, files: Mapping[str, bytes], media_type: MediaType, expected: list[tuple[int, ...]]
) -> None:
    wrong = {name: shown(pool, data, media_type) for name, data in files.items()}
    assert {name: found for name, found in wrong.items() if found != expected} == {}


COLOURS = [RED, GREEN, BLUE, WHITE]
GREYS = [BLACK, WHITE, BLACK, WHITE]


def strips(data: bytes, row_bytes: int) -> list[bytes]:
    return [data[start : start + ROWS * row_bytes] for start in range(0, len(data), ROWS * row_bytes)]


def tiles(picture: Image.Image) -> list[bytes]:
    """Of 48 x 32 pixels: those at the edges go beyond the picture."""
    places = [(left, top) for top in range(0, HEIGHT, 32) for left in range(0, WIDTH, 48)]
    return [picture.crop((left, top, left + 48, top + 32)).tobytes() for left, top in places]


def deep(data: bytes, order: str = "<", white_is_zero: bool = False) -> bytes:
    """Samples of 8 bits as ones of 16."""
    levels = [255 - level if white_is_zero else level for level in data]
    return struct.pack(f"{order}{len(data)}H", *(level * 257 for level in levels))


def deflated(blocks: list[bytes]) -> list[bytes]:
    return [zlib.compress(block) for block in blocks]


BASE = {tiffs.WIDTH: WIDTH, tiffs.LENGTH: HEIGHT, tiffs.ROWS_PER_STRIP: ROWS}
RAW, OLD_JPEG, JPEG, DEFLATE = ({tiffs.COMPRESSION: value} for value in (1, 6, 7, 8))
RGB = {**BASE, tiffs.BITS: (8, 8, 8), tiffs.SAMPLES: 3, tiffs.PHOTOMETRIC: 2}
INKS = {**BASE, tiffs.BITS: (8,) * 4, tiffs.SAMPLES: 4, tiffs.PHOTOMETRIC: 5}
YCC = {**BASE, tiffs.BITS: (8, 8, 8), tiffs.SAMPLES: 3, tiffs.PHOTOMETRIC: 6}
GREY = {**BASE, tiffs.BITS: 8, tiffs.SAMPLES: 1, tiffs.PHOTOMETRIC: 1}
SEPARATE = {tiffs.PLANAR: 2}
TILED = {tiffs.TILE_WIDTH: 48, tiffs.TILE_LENGTH: 32}


def test_tiffs_of_every_compression_and_layout(pool: SandboxPool) -> None:
    picture = quarters()
    rgb, planes = picture.tobytes(), [band.tobytes() for band in picture.split()]
    by_planes = [strip for plane in planes for strip in strips(plane, WIDTH)]
    no_strips = {tag: value for tag, value in RGB.items() if tag != tiffs.ROWS_PER_STRIP}
    tiled = {**no_strips, **TILED}
    files = {
        "big-endian": tiffs.tiff({**RGB, **RAW}, strips(rgb, 3 * WIDTH), order=">"),
        "BigTIFF": tiffs.tiff({**RGB, **RAW}, strips(rgb, 3 * WIDTH), big=True),
        "planes": tiffs.tiff({**RGB, **RAW, **SEPARATE}, by_planes),
        "planes, Deflate": tiffs.tiff({**RGB, **DEFLATE, **SEPARATE}, deflated(by_planes)),
        "tiles": tiffs.tiff({**tiled, **RAW}, tiles(picture)),
        "tiles, Deflate": tiffs.tiff({**tiled, **DEFLATE}, deflated(tiles(picture))),
        "tiles of planes": tiffs.tiff(
            {**tiled, **DEFLATE, **SEPARATE}, deflated([tile for band in picture.split() for tile in tiles(band)])
        ),
        "LZW with differences": encoded(picture, "TIFF", compression="tiff_lzw", tiffinfo={tiffs.PREDICTOR: 2}),
    }
    for name in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg", "lzma", "zstd"):
        files[name] = encoded(picture, "TIFF", compression=name)
    for order in "<>":
        sixteen, bits = deep(rgb, order), {tiffs.BITS: (16, 16, 16)}
        deep_planes = [strip for plane in planes for strip in strips(deep(plane, order), 2 * WIDTH)]
        files[f"16 bits {order}"] = tiffs.tiff({**RGB, **bits, **RAW}, strips(sixteen, 6 * WIDTH), order=order)
        files[f"16 bits {order}, planes"] = tiffs.tiff({**RGB, **bits, **RAW, **SEPARATE}, deep_planes, order=order)
    all_show(pool, files, MediaType.TIFF, COLOURS)


def test_tiffs_of_every_colour_space(pool: SandboxPool) -> None:
    picture = quarters()
    cmyk, rgba, ycc = (picture.convert(mode) for mode in ("CMYK", "RGBA", "YCbCr"))
    lab, palette = in_lab(picture), picture.quantize(4)
    inks, sampled = cmyk.tobytes(), halved_colour(ycc)
    jpeg = encoded(picture, "JPEG", quality=95, subsampling=0)
    whole = {tiffs.ROWS_PER_STRIP: HEIGHT, tiffs.SUBSAMPLING: (1, 1)}
    files = {
        "CMYK": tiffs.tiff({**INKS, **RAW}, strips(inks, 4 * WIDTH)),
        "CMYK, 16 bits": tiffs.tiff(
            {**INKS, **DEFLATE, tiffs.BITS: (16,) * 4}, deflated(strips(deep(inks), 8 * WIDTH))
        ),
        "CMYK, planes": tiffs.tiff(
            {**INKS, **RAW, **SEPARATE}, [strip for band in cmyk.split() for strip in strips(band.tobytes(), WIDTH)]
        ),
        "CMYK, JPEG": encoded(cmyk, "TIFF", compression="jpeg"),
        "Lab": encoded(lab, "TIFF"),
        "Lab, Deflate": encoded(lab, "TIFF", compression="tiff_adobe_deflate"),
        "YCbCr": tiffs.tiff({**YCC, **RAW, tiffs.SUBSAMPLING: (1, 1)}, strips(ycc.tobytes(), 3 * WIDTH)),
        "YCbCr, half the colours": tiffs.tiff({**YCC, **RAW, tiffs.SUBSAMPLING: (2, 2)}, sampled),
        "YCbCr, half the colours, Deflate": tiffs.tiff({**YCC, **DEFLATE}, deflated(sampled)),
        "JPEG of before 1995": tiffs.tiff({**YCC, **whole, **OLD_JPEG}, [jpeg], jpeg=jpeg),
        "palette": encoded(palette, "TIFF"),
        "palette of 4 bits": tiffs.tiff(
            {**GREY, **RAW, tiffs.BITS: 4, tiffs.PHOTOMETRIC: 3, tiffs.COLOR_MAP: colour_map(palette, 16)},
            strips(nibbles(palette.tobytes()), WIDTH // 2),
        ),
    }
    for kind, name in enumerate(("of no meaning", "premultiplied", "of its own")):
        four = {**RGB, tiffs.SAMPLES: 4, tiffs.EXTRA_SAMPLES: kind}
        files[f"RGB and alpha {name}"] = tiffs.tiff(
            {**four, **RAW, tiffs.BITS: (8,) * 4}, strips(rgba.tobytes(), 4 * WIDTH)
        )
        files[f"RGB and alpha {name}, 16 bits"] = tiffs.tiff(
            {**four, **RAW, tiffs.BITS: (16,) * 4}, strips(deep(rgba.tobytes()), 8 * WIDTH)
        )
    all_show(pool, files, MediaType.TIFF, COLOURS)


def halved_colour(ycc: Image.Image) -> list[bytes]:
    """Strips of YCbCr in which four pixels share a colour, as TIFF 6.0 lays them out."""
    luma, blue, red = (band.load() for band in ycc.split())
    assert luma is not None
    assert blue is not None
    assert red is not None
    units = [
        bytes((luma[x, y], luma[x + 1, y], luma[x, y + 1], luma[x + 1, y + 1], blue[x, y], red[x, y]))
        for y in range(0, HEIGHT, 2)
        for x in range(0, WIDTH, 2)
    ]
    return strips(b"".join(units), 3 * WIDTH // 2)


def colour_map(palette: Image.Image, size: int) -> list[int]:
    colours = (palette.getpalette() or [])[: 3 * size]
    return [level * 257 for channel in range(3) for level in (colours[channel::3] + [0] * size)[:size]]


def nibbles(data: bytes) -> bytes:
    return bytes(left << 4 | right for left, right in zip(data[::2], data[1::2], strict=True))


def test_tiffs_of_black_and_white_and_of_grey(pool: SandboxPool) -> None:
    grey, one_bit = halves(), halves().convert("1")
    levels, bits = grey.tobytes(), one_bit.tobytes()
    negative, mirrored = bytes(255 - byte for byte in bits), bytes(int(f"{byte:08b}"[::-1], 2) for byte in bits)
    white_is_zero, from_right = {tiffs.PHOTOMETRIC: 0}, {tiffs.FILL_ORDER: 2}
    one = {**GREY, **RAW, tiffs.BITS: 1}
    with_alpha = {**GREY, **RAW, tiffs.BITS: (8, 8), tiffs.SAMPLES: 2, tiffs.EXTRA_SAMPLES: 2}
    files = {
        "1 bit": tiffs.tiff(one, strips(bits, WIDTH // 8)),
        "1 bit, white is 0": tiffs.tiff({**one, **white_is_zero}, strips(negative, WIDTH // 8)),
        "1 bit, from the right": tiffs.tiff({**one, **from_right}, strips(mirrored, WIDTH // 8)),
        "8 bits, white is 0": tiffs.tiff(
            {**GREY, **DEFLATE, **white_is_zero}, deflated(strips(bytes(255 - level for level in levels), WIDTH))
        ),
        "4 bits": tiffs.tiff(
            {**GREY, **RAW, tiffs.BITS: 4}, strips(nibbles(bytes(level >> 4 for level in levels)), WIDTH // 2)
        ),
        "12 bits": tiffs.tiff(
            {**GREY, **RAW, tiffs.BITS: 12},
            strips(b"".join(bytes((level,) * 3) for level in levels[::2]), WIDTH * 3 // 2),
        ),
        "alpha": tiffs.tiff(with_alpha, strips(b"".join(bytes((level, 255)) for level in levels), 2 * WIDTH)),
        "fax, coded by two rows": encoded(one_bit, "TIFF", compression="group3", tiffinfo={292: 1}),
        "fax, from the right": encoded(one_bit, "TIFF", compression="group4", tiffinfo={tiffs.FILL_ORDER: 2}),
    }
    for compression in ("tiff_ccitt", "group3", "group4", "packbits", "tiff_lzw"):
        for photometric in (0, 1):
            tags = {tiffs.PHOTOMETRIC: photometric}
            files[f"{compression} {photometric}"] = encoded(one_bit, "TIFF", compression=compression, tiffinfo=tags)
    for order in "<>":
        for zero, turned in ((1, False), (0, True)):
            tags = {**GREY, **RAW, tiffs.BITS: 16, tiffs.PHOTOMETRIC: zero}
            data = strips(deep(levels, order, white_is_zero=turned), 2 * WIDTH)
            files[f"16 bits {order}, {zero}"] = tiffs.tiff(tags, data, order=order)
    all_show(pool, files, MediaType.TIFF, GREYS)


def test_pictures_that_nothing_here_decodes_are_named(pool: SandboxPool) -> None:
    floats = {**RGB, **RAW, tiffs.BITS: (32, 32, 32), tiffs.SAMPLE_FORMAT: (3, 3, 3)}
    lab = {**RGB, **RAW, **SEPARATE, tiffs.PHOTOMETRIC: 8}
    block = [bytes(WIDTH * HEIGHT)]
    files = {
        "samples of this kind": (tiffs.tiff(floats, block), MediaType.TIFF),
        "Lab with separate planes": (tiffs.tiff(lab, 9 * block), MediaType.TIFF),
        "big-endian BigTIFF": (tiffs.tiff({**RGB, **RAW}, block, big=True, order=">"), MediaType.TIFF),
        "PSD pictures of 16 bits": (psd(quarters(), bits=16), MediaType.PSD),
        "PSB": (psd(quarters(), version=2), MediaType.PSD),
    }
    for number, name in ((34661, "JBIG"), (34712, "JPEG 2000"), (34887, "LERC"), (50001, "WebP"), (50002, "JPEG XL")):
        files[f"compressed by {name}"] = (tiffs.tiff({**RGB, tiffs.COMPRESSION: number}, block), MediaType.TIFF)
    for words, (data, media_type) in files.items():
        with pytest.raises(UnsupportedFormat, match=re.escape(words)):
            render(pool, data, media_type)


def test_a_frame_that_nothing_here_decodes_costs_no_other(pool: SandboxPool) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    uncompressed, by_jbig = (struct.pack("<HHIHH", tiffs.COMPRESSION, 3, 1, value, 0) for value in (1, 34661))
    before, first, second, third = data.split(uncompressed)
    with opened(
        pool, before + uncompressed + first + by_jbig + second + uncompressed + third, MediaType.TIFF
    ) as document:
        assert document.pages == 3
        with pytest.raises(UnsupportedFormat, match="JBIG"):
            document.render(2)
        assert [quarters_of(document.render(number, with_pixels=True)) for number in (1, 3)] == [[RED] * 4, [BLUE] * 4]


def test_a_frame_has_nothing_of_the_frame_before(pool: SandboxPool) -> None:
    grey = Image.new("L", (20, 20), 128)
    first = encoded(grey, "TIFF", icc_profile=linear_grey(), dpi=(300, 300), software="a scanner's")
    both = two_frames(first, encoded(grey, "TIFF"))
    with opened(pool, both, MediaType.TIFF) as document:
        assert document.pages == 2
        pages = [document.render(number, with_pixels=True) for number in (1, 2, 1)]
    assert [page.original.dpi for page in pages] == [300, None, 300]
    assert [pixels(page).getpixel((9, 9))[0] for page in pages] == [188, 128, 188]


def two_frames(first: bytes, second: bytes) -> bytes:
    """Append a little-endian TIFF to another, its offsets moved."""
    start = len(first) + len(first) % 2
    moved = bytearray(second)
    (directory,) = struct.unpack_from("<I", moved, 4)
    (entries,) = struct.unpack_from("<H", moved, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count, value = struct.unpack_from("<HHII", moved, entry)
        if tag == tiffs.STRIP_OFFSETS or {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}[kind] * count > 4:
            struct.pack_into("<I", moved, entry + 8, value + start)
            struct.pack_into("<H", moved, entry + 2, 4 if tag == tiffs.STRIP_OFFSETS else kind)
    joined = bytearray(first.ljust(start, b"\0")) + moved
    (first_directory,) = struct.unpack_from("<I", joined, 4)
    (first_entries,) = struct.unpack_from("<H", joined, first_directory)
    struct.pack_into("<I", joined, first_directory + 2 + 12 * first_entries, start + directory)
    return bytes(joined)


def test_jpegs_of_every_kind(pool: SandboxPool) -> None:
    picture = quarters()
    cmyk = picture.convert("CMYK")
    by_adobe = encoded(cmyk, "JPEG", quality=95, subsampling=0)
    mark = by_adobe.index(b"\xff\xee")
    unmarked = encoded(ImageChops.invert(cmyk), "JPEG", quality=95, subsampling=0)
    files = {
        "baseline": encoded(picture, "JPEG", quality=95, subsampling=0),
        "half the colours": encoded(picture, "JPEG", quality=95),
        "progressive": encoded(picture, "JPEG", quality=95, progressive=True),
        "CMYK by Adobe, which inverts it": by_adobe,
        "CMYK by others": unmarked.replace(unmarked[mark : mark + 16], b"", 1),
        "YCCK": ycck(cmyk),
    }
    all_show(pool, files, MediaType.JPEG, COLOURS)
    all_show(pool, {"grey": encoded(halves(), "JPEG", quality=95)}, MediaType.JPEG, GREYS)


def ycck(cmyk: Image.Image) -> bytes:
    """Inks as luma and colours, by Adobe's inverted convention; Pillow inverts what it is given once more."""
    *inks, black = cmyk.split()
    luma_and_colours = Image.merge("RGB", inks).convert("YCbCr").split()
    given = [*map(ImageChops.invert, luma_and_colours), black]
    jpeg = encoded(Image.merge("CMYK", given), "JPEG", quality=95, subsampling=0)
    transform = jpeg.index(b"Adobe") + 11
    return jpeg[:transform] + b"\2" + jpeg[transform + 1 :]


def test_pngs_gifs_and_bmps_of_every_kind(pool: SandboxPool) -> None:
    picture = quarters()
    deep_ones = {mode: png_16_bit(picture.convert(mode)) for mode in ("RGB", "RGBA")}
    all_show(pool, deep_ones, MediaType.PNG, COLOURS)
    all_show(pool, {"87a": encoded(picture.quantize(4), "GIF")}, MediaType.GIF, COLOURS)
    bottom_up = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    blue_first = picture.convert("RGB").tobytes("raw", "BGR")
    words = [(r >> 3 << 11) | (g >> 2 << 5) | b >> 3 for r, g, b in zip(*[iter(bottom_up.tobytes())] * 3, strict=True)]
    files = {
        "24 bits": encoded(picture, "BMP"),
        "palette": encoded(picture.quantize(4), "BMP"),
        "top down": bmp((WIDTH, -HEIGHT), 24, blue_first),
        "16 bits": bmp(
            (WIDTH, HEIGHT), 16, struct.pack(f"<{len(words)}H", *words), compression=3, masks=(0xF800, 0x7E0, 0x1F)
        ),
    }
    all_show(pool, files, MediaType.BMP, COLOURS)
    all_show(
        pool, {"1 bit": encoded(halves().convert("1"), "BMP"), "8": encoded(halves(), "BMP")}, MediaType.BMP, GREYS
    )


def test_what_a_gif_leaves_transparent_is_white(pool: SandboxPool) -> None:
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette((0, 0, 0, 255, 0, 0))
    picture.paste(1, (0, 0, 20, 40))
    page = pixels(render(pool, encoded(picture, "GIF", transparency=0), MediaType.GIF))
    assert (page.getpixel((5, 20)), page.getpixel((35, 20))) == (RED, WHITE)


def test_portable_anymaps_of_every_kind(pool: SandboxPool) -> None:
    picture, grey, one_bit = quarters(), halves(), halves().convert("1")
    rgb, levels = picture.tobytes(), grey.tobytes()
    size = b"\n# a comment\n%d %d\n" % (WIDTH, HEIGHT)
    plain = b" ".join(b"%d" % level for level in rgb)
    colours = {
        "P3": b"P3" + size + b"255\n" + plain,
        "P6": b"P6" + size + b"255\n" + rgb,
        "P6, 16 bits": b"P6" + size + b"65535\n" + deep(rgb, ">"),
        "P6, up to 15": b"P6" + size + b"15\n" + bytes(level >> 4 for level in rgb),
    }
    greys = {
        "P1": b"P1" + size + b" ".join(b"01"[level == 0 :][:1] for level in levels),
        "P2": b"P2" + size + b"255\n" + b"\n".join(b"%d" % level for level in levels),
        "P4": b"P4" + size + bytes(255 - byte for byte in one_bit.tobytes()),
        "P5": b"P5" + size + b"255\n" + levels,
        "P5, 16 bits": b"P5" + size + b"65535\n" + deep(levels, ">"),
    }
    all_show(pool, colours, MediaType.PNM, COLOURS)
    all_show(pool, greys, MediaType.PNM, GREYS)


def test_psds_of_every_kind(pool: SandboxPool) -> None:
    picture = quarters()
    files = {mode: psd(picture.convert(mode)) for mode in ("RGB", "RGBA", "CMYK")}
    files |= {"Lab": psd(in_lab(picture)), "indexed": psd(picture.quantize(4)), "packed": psd(picture, packed=True)}
    all_show(pool, files, MediaType.PSD, COLOURS)
    all_show(pool, {"grey": psd(halves()), "bitmap": psd(halves().convert("1"))}, MediaType.PSD, GREYS)
    inks = psd(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), icc_profile=green_ink())
    red, green, blue = pixels(render(pool, inks, MediaType.PSD)).getpixel((4, 4))
    assert green > 150 > 60 > max(red, blue)


def test_jpeg_2000_of_every_kind(pool: SandboxPool) -> None:
    picture = quarters()
    files = {
        "file": encoded(picture, "JPEG2000"),
        "codestream": encoded(picture, "JPEG2000", no_jp2=True),
        "tiles": encoded(picture, "JPEG2000", tile_size=(32, 32)),
        "one resolution": encoded(picture, "JPEG2000", num_resolutions=1),
        "alpha": encoded(picture.convert("RGBA"), "JPEG2000"),
        "lossy": encoded(picture, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[4]),
    }
    all_show(pool, files, MediaType.JP2, COLOURS)
    grey = halves()
    sixteen = Image.frombytes("I;16", grey.size, deep(grey.tobytes()))
    files = {"grey": encoded(grey, "JPEG2000"), "16 bits": encoded(sixteen, "JPEG2000")}
    all_show(pool, {**files, "alpha": encoded(grey.convert("LA"), "JPEG2000")}, MediaType.JP2, GREYS)
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    assert pixels(render(pool, encoded(clear, "JPEG2000"), MediaType.JP2)).getpixel((4, 4)) == WHITE


def test_a_profile_in_jpeg_2000_is_honoured(pool: SandboxPool) -> None:
    plain = encoded(Image.new("L", (8, 8), 128), "JPEG2000")
    colr = plain.index(b"colr") - 4
    (size,) = struct.unpack_from(">I", plain, colr)
    told = b"colr\2\0\0" + linear_grey()
    box = struct.pack(">I", 4 + len(told)) + told
    header = plain.index(b"jp2h") - 4
    (header_size,) = struct.unpack_from(">I", plain, header)
    with_profile = bytearray(plain[:colr] + box + plain[colr + size :])
    struct.pack_into(">I", with_profile, header, header_size - size + len(box))
    assert pixels(render(pool, plain, MediaType.JP2)).getpixel((4, 4)) == (128,) * 3
    assert pixels(render(pool, bytes(with_profile), MediaType.JP2)).getpixel((4, 4)) == (188,) * 3


def test_jpeg_2000_is_read_at_the_size_that_is_wanted() -> None:
    # Whole, its samples would take 12 bytes a pixel beside Pillow's 4.
    data = encoded(quarters().resize((6000, 4500), Image.Resampling.NEAREST), "JPEG2000")
    pool = SandboxPool(1, replace(LIMITS, page_seconds=60, memory_mb=256, max_pages=1, max_pixels=50_000_000))
    try:
        page = render(pool, data, MediaType.JP2)
    finally:
        pool.close()
    assert (page.width_px, page.height_px, page.original.width) == (1156, 867, 6000)
    assert quarters_of(page) == COLOURS


def test_heif_and_avif_of_every_kind(pool: SandboxPool) -> None:
    for media_type in (MediaType.HEIF, MediaType.AVIF):
        colours = {mode: file_of(quarters().convert(mode), media_type) for mode in ("RGB", "RGBA")}
        all_show(pool, colours, media_type, COLOURS)
        all_show(pool, {"grey": file_of(halves(), media_type)}, media_type, GREYS)
        clear = file_of(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), media_type)
        assert pixels(render(pool, clear, media_type)).getpixel((30, 30)) == WHITE
        grey = file_of(Image.new("L", (64, 64), 128), media_type, icc_profile=linear_grey())
        assert abs(pixels(render(pool, grey, media_type)).getpixel((30, 30))[0] - 188) <= 2


def test_of_several_images_in_a_heif_file_the_primary_one_is_the_page(pool: SandboxPool) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, BLUE, GREEN)]
    data = file_of(frames[0], MediaType.HEIF, save_all=True, append_images=frames[1:], primary_index=1)
    with opened(pool, data, MediaType.HEIF) as document:
        assert document.pages == 1
        assert quarters_of(document.render(1, with_pixels=True)) == [BLUE] * 4


@pytest.mark.parametrize("media_type", [MediaType.HEIF, MediaType.AVIF])
def test_what_a_heif_file_turns_by_itself_exif_does_not_turn_again(pool: SandboxPool, media_type: MediaType) -> None:
    upright = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    exif = Image.Exif()
    found = {}
    for orientation, back in upright.items():
        exif[ExifTags.Base.Orientation], exif[UNUSED_TAG] = orientation, 0
        stored = quarters().transpose(TRANSPOSITIONS[back])
        data = file_of(stored, media_type, exif=exif.tobytes())
        found[orientation] = shown(pool, with_exif_orientation(data, orientation), media_type)
    assert found == dict.fromkeys(upright, COLOURS)


#: What an EXIF orientation asks for.
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


#: TIFF 6.0 gives it no meaning.
UNUSED_TAG = 0x0113


def with_exif_orientation(data: bytes, orientation: int) -> bytes:
    """Put the tag where the encoder may have dropped it: phones leave it in."""
    unused, left_in = (
        struct.pack(">HHIHH", tag, 3, 1, value, 0)
        for tag, value in ((UNUSED_TAG, 0), (ExifTags.Base.Orientation, orientation))
    )
    assert unused in data
    return data.replace(unused, left_in)


def test_profiles_of_inks_and_of_grey_are_honoured(pool: SandboxPool) -> None:
    inks, grey = Image.new("CMYK", (8, 8), (255, 0, 0, 0)), Image.new("L", (8, 8), 128)
    jpeg = {"quality": 95, "subsampling": 0}
    for data, media_type in (
        (encoded(inks, "TIFF", icc_profile=green_ink()), MediaType.TIFF),
        (encoded(inks, "JPEG", icc_profile=green_ink(), **jpeg), MediaType.JPEG),
    ):
        red, green, blue = pixels(render(pool, data, media_type)).getpixel((4, 4))
        assert green > 150 > 60 > max(red, blue)
    for picture in (grey, grey.convert("LA")):
        data = encoded(picture, "PNG", icc_profile=linear_grey())
        assert pixels(render(pool, data, MediaType.PNG)).getpixel((4, 4)) == (188, 188, 188)
    clear = encoded(Image.new("LA", (8, 8), (0, 0)), "PNG", icc_profile=linear_grey())
    assert pixels(render(pool, clear, MediaType.PNG)).getpixel((4, 4)) == WHITE
