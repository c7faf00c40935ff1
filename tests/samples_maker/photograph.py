"""The sample photograph: a harbour at sunset, drawn and then stored as a camera would."""

from __future__ import annotations

import io
import math
import random
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Return the picture as JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def blend(stops: list[tuple[float, tuple[int, int, int]]], at: float) -> tuple[int, int, int]:
    """Return the colour at `at` between the stops (position, colour), positions rising from 0 to 1."""
    for (start, first), (end, second) in pairwise(stops):
        if at <= end:
            share = (at - start) / (end - start)
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
            return red, green, blue
    return stops[-1][1]


def draw_harbour() -> Image.Image:
    """Return a harbour at sunset, 1200 by 800, drawn at twice that and reduced."""
    width, height, horizon = 2400, 1600, 900
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    sky = [(0.0, (38, 70, 128)), (0.45, (110, 130, 178)), (0.75, (240, 168, 104)), (1.0, (255, 206, 128))]
    for y in range(horizon):
        draw.line((0, y, width, y), blend(sky, y / horizon))
    sea = [(0.0, (214, 150, 110)), (0.12, (96, 110, 146)), (1.0, (16, 38, 74))]
    for y in range(horizon, height):
        draw.line((0, y, width, y), blend(sea, (y - horizon) / (height - horizon)))
    picture = add_sun(picture, 1600, horizon - 130)
    add_land(ImageDraw.Draw(picture), width, horizon)
    picture = add_water(picture, horizon)
    draw = ImageDraw.Draw(picture)
    add_lighthouse(draw, 330, horizon - 40)
    for x, y, size, hull in ((760, 1120, 1.0, "#7a2a24"), (1950, 1240, 1.5, "#20303f"), (1260, 990, 0.55, "#e8e2d4")):
        add_boat(draw, x, y, size, hull)
    add_jetty(draw, width, height)
    small = picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    grain = Image.frombytes("L", small.size, random.Random(5).randbytes(small.width * small.height))
    return ImageChops.add(small, Image.merge("RGB", [grain.point(lambda value: value * 9 // 255)] * 3), offset=-4)


def add_sun(picture: Image.Image, x: int, y: int) -> Image.Image:
    glow = Image.new("L", picture.size, 0)
    painter = ImageDraw.Draw(glow)
    for radius, light in ((420, 40), (260, 80), (150, 150)):
        painter.ellipse((x - radius, y - radius, x + radius, y + radius), fill=light)
    glow = glow.filter(ImageFilter.GaussianBlur(70))
    lit = Image.composite(Image.new("RGB", picture.size, (255, 236, 176)), picture, glow)
    ImageDraw.Draw(lit).ellipse((x - 78, y - 78, x + 78, y + 78), fill=(255, 246, 214))
    return lit


def add_land(draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    for base, swing, colour, phase in ((120, 46, (108, 96, 122), 0.4), (64, 30, (62, 62, 88), 2.1)):
        ridge = [
            (x, horizon - base - swing * math.sin(x / 310 + phase) - swing / 2 * math.sin(x / 97 + phase))
            for x in range(0, width + 1, 20)
        ]
        shift = 0 if phase < 1 else 300
        draw.polygon([(0, horizon + 4), *((x, y + x / width * shift) for x, y in ridge), (width, horizon + 4)], colour)
        draw.rectangle((0, horizon, width, horizon + 4), colour)


def add_water(picture: Image.Image, horizon: int) -> Image.Image:
    """Lay the sky's reflection over the water, broken by waves that grow towards the viewer."""
    width, height = picture.size
    mirror = picture.crop((0, horizon - 420, width, horizon)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mirror = mirror.resize((width, height - horizon)).filter(ImageFilter.GaussianBlur(8))
    fade = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize(mirror.size)
    picture.paste(mirror, (0, horizon), fade.point(lambda value: value * 7 // 10))
    waves = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(waves)
    chance = random.Random(7)
    for _ in range(1500):
        depth = chance.random() ** 1.6
        x, y = chance.uniform(0, width), horizon + 6 + depth * (height - horizon)
        length = 14 + 130 * depth * chance.random()
        near_sun = math.exp(-(((x - 1600) / (120 + 260 * depth)) ** 2))
        colour = (255, 214, 150, 40 + int(170 * near_sun)) if chance.random() < 0.25 + near_sun else (12, 30, 62, 70)
        draw.ellipse((x - length, y - 1 - 3 * depth, x + length, y + 1 + 3 * depth), fill=colour)
    return Image.alpha_composite(picture.convert("RGBA"), waves).convert("RGB")


def add_lighthouse(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.polygon([(x - 210, y + 64), (x - 120, y + 6), (x + 130, y), (x + 260, y + 64)], "#3a3640")
    top, foot = y - 420, y + 10
    for band in range(5):
        upper, lower = top + band * (foot - top) / 5, top + (band + 1) * (foot - top) / 5
        wide = [34 + 26 * (edge - top) / (foot - top) for edge in (upper, lower)]
        corners = [(x - wide[0], upper), (x + wide[0], upper), (x + wide[1], lower), (x - wide[1], lower)]
        draw.polygon(corners, "#b8402f" if band % 2 else "#efe6d8")
    draw.rectangle((x - 48, top - 12, x + 48, top), "#2c2a33")
    draw.rectangle((x - 26, top - 62, x + 26, top - 12), "#ffe9a8")
    draw.polygon([(x - 36, top - 62), (x, top - 100), (x + 36, top - 62)], "#b8402f")


def add_boat(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, hull: str) -> None:
    """Draw a sailing boat whose water line is at (x, y), with its dark reflection below."""

    def points(*corners: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + across * size, y + up * size) for across, up in corners]

    draw.polygon(points((-150, 8), (160, 8), (70, 66), (-90, 66)), "#15253f")
    draw.polygon(points((-190, -58), (205, -66), (150, 12), (-140, 12)), hull)
    draw.polygon(points((-190, -58), (205, -66), (199, -52), (-186, -44)), "#f0e8da")
    draw.line(points((0, -60), (0, -440)), "#2a2226", max(2, round(9 * size)))
    draw.polygon(points((12, -430), (12, -92), (178, -92)), "#f6eddb")
    draw.polygon(points((-12, -400), (-12, -92), (-130, -92)), "#e3d3b8")
    draw.polygon(points((0, -470), (0, -440), (54, -456)), "#d9822b")


def add_jetty(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    draw.polygon([(0, height - 250), (760, height - 170), (820, height - 120), (0, height - 130)], "#5d4633")
    draw.polygon([(0, height - 130), (820, height - 120), (820, height - 92), (0, height - 60)], "#3a2b20")
    for index in range(9):
        start = 90 * index
        draw.line((start, height - 244 + start // 9, start + 40, height - 124), "#46341f", 5)
    for post in (120, 420, 720):
        draw.rectangle((post, height - 300 + post // 8, post + 34, height), "#2d211a")
        draw.ellipse((post - 3, height - 314 + post // 8, post + 37, height - 288 + post // 8), "#6a5038")


def exif() -> Image.Exif:
    """Return what a camera held upright would write: time, make and model, orientation 6, a position at sea."""
    tags = Image.Exif()
    tags[0x010F] = "Lantern"
    tags[0x0110] = "Lantern Pocket 2"
    tags[0x0112] = 6
    tags[0x0132] = "2024:09:14 19:42:07"
    tags.get_ifd(0x8769).update({0x9003: "2024:09:14 19:42:07", 0x9011: "+02:00", 0x8827: 200, 0x920A: 35.0})
    tags.get_ifd(0x8825).update({1: "N", 2: (54.0, 30.0, 0.0), 3: "E", 4: (12.0, 0.0, 0.0)})
    return tags


def harbour_photograph(upright: Image.Image) -> bytes:
    """The harbour as the camera stored it: lying on its side, with EXIF that says how to turn it."""
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    out = io.BytesIO()
    lying.save(out, "JPEG", quality=84, optimize=True, exif=exif(), dpi=(72, 72))
    return out.getvalue()
