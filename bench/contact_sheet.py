"""Draws the pages of a folder side by side: `make contact-sheet`, of the corpus beside the project if of no other.

Wrong rotations, inverted colours, missing glyphs and cut pages are seen at a glance, and by no test.
"""

from __future__ import annotations

import argparse
import io
import json
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from pydantic import SecretStr

from pipeline.core.errors import OutcomeError
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.core.signatures import HEAD_BYTES
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords, Patterned
from pipeline.services import open_inspector
from pipeline.sources import media_type_of

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared" / "corpus"
COLUMNS, ROWS = 5, 4
CELL = (310, 330)
CAPTION_PX = 34
GAP = 8
GROUND, INK, ALARM = "#c8ccd0", "black", "#a01010"
FONT = ImageFont.load_default(12)
LINE_CHARS = 48


@dataclass(frozen=True)
class Tile:
    """A page, or the reason why there is none."""

    name: str
    told: str
    picture: bytes | None


def tiles(opener: Opener, path: Path, name: str, most: int) -> list[Tile]:
    made: list[Tile] = []
    try:
        with path.open("rb") as file:
            media_type = opener.refine(file, media_type_of(file.read(HEAD_BYTES)), CancelToken())
            with opener.open(file, "", str(path), media_type, CancelToken()) as document:
                kind = media_type.rpartition("/")[2].rpartition(".")[2]
                for number in range(1, min(document.pages, most) + 1):
                    page = document.render(number)
                    facts = f"{page.width_px}x{page.height_px} {page.facts.layer}{' blank' if page.blank else ''}"
                    made.append(Tile(name, f"{kind} {number}/{document.pages} {facts}", page.jpeg))
    except OutcomeError as error:
        made.append(Tile(name, f"{error.code}: {error}", None))
    return made or [Tile(name, "no pages", None)]


def sheet(shown: list[Tile]) -> Image.Image:
    width, height = CELL[0] + GAP, CELL[1] + CAPTION_PX + GAP
    picture = Image.new("RGB", (COLUMNS * width + GAP, -(-len(shown) // COLUMNS) * height + GAP), GROUND)
    draw = ImageDraw.Draw(picture)
    for place, tile in enumerate(shown):
        left, top = GAP + place % COLUMNS * width, GAP + place // COLUMNS * height
        draw.text((left, top + CELL[1] + 2), tile.name[-LINE_CHARS:], INK, FONT)
        if tile.picture is None:
            draw.text((left, top), textwrap.fill(tile.told, LINE_CHARS - 4), ALARM, FONT)
            continue
        draw.text((left, top + CELL[1] + 17), tile.told, INK, FONT)
        page = Image.open(io.BytesIO(tile.picture))
        page.thumbnail(CELL, Image.Resampling.LANCZOS)
        picture.paste(page, (left + (CELL[0] - page.width) // 2, top))
    return picture


def passwords(folder: Path) -> Passwords:
    """Those that the corpus tells of its files."""
    manifest = folder / "manifest.jsonl"
    entries = map(json.loads, manifest.read_text(encoding="utf-8").splitlines()) if manifest.exists() else ()
    return Passwords([Patterned(one["file"], SecretStr(one["password"])) for one in entries if one.get("password")])


def files(folder: Path) -> Iterator[Path]:
    manifest = folder / "manifest.jsonl"
    if manifest.exists():  # what lies there beside its files is no document
        yield from (folder / json.loads(line)["file"] for line in manifest.read_text(encoding="utf-8").splitlines())
    else:
        yield from sorted(path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=CORPUS)
    parser.add_argument("--pages", type=int, default=3, help="of each file, at most")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "contact-sheets")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (
        open_inspector(Settings(), CancelToken()) as inspector,
        ThreadPoolExecutor(inspector.files_at_once) as executor,
    ):
        opener = replace(inspector.opener, passwords=passwords(arguments.folder))
        made = executor.map(
            lambda path: tiles(opener, path, str(path.relative_to(arguments.folder)), arguments.pages),
            files(arguments.folder),
        )
        shown = [tile for of_file in made for tile in of_file]
    size = COLUMNS * ROWS
    for number, first in enumerate(range(0, len(shown), size), 1):
        sheet(shown[first : first + size]).save(arguments.out / f"{number:02}.jpg", quality=85)
    failed = sum(tile.picture is None for tile in shown)
    print(f"{len(shown) - failed} pages and {failed} failures on {number} sheets in {arguments.out}")


if __name__ == "__main__":
    main()
