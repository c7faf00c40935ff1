"""Estimates the cost of reading a page with the model, before any call."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.core.models import RenderedPage
from pipeline.vision.profile import TEXT_QUESTION, Profile, Question
from pipeline.vision.profile.conditions import page_facts
from pipeline.vision.quality.stitching import DENSE_GLYPH_PX

#: The tile grid of the published processor: at most this number of tiles of 378 px, plus a small copy of the whole
#: page. Tiles overlap, so that n tiles in a row cover 266 px per tile and a margin.
MAX_TILES = 12
TILE_STEP_PX = 266
MARGIN_PX = 112
#: A tile has 10 tokens in each direction, and the margin 4 more. Each row ends with one token, and the grid begins and
#: ends with one. The small copy is a grid of one tile.
TOKENS_PER_TILE = 10
MARGIN_TOKENS = 4
FRAME_TOKENS = 2
#: A rough figure for English prompts, which are short compared with the image.
CHARACTERS_PER_TOKEN = 4

_GRIDS = [(rows, columns) for rows in range(1, MAX_TILES + 1) for columns in range(1, MAX_TILES // rows + 1)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls of the model and their tokens, if no answer is archived yet."""

    calls: int = 0
    tokens_in: int = 0
    """An estimate from the tile grid of the published processor."""
    tokens_out_max: int = 0
    """An upper bound: `max_tokens` of the profile. Most answers need much less."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out_max + other.tokens_out_max,
        )


NO_COST = Cost()


def page_cost(profile: Profile, language: str, page: RenderedPage) -> Cost:
    """Return the cost of a profile's questions about a page.

    This is an upper bound: it counts each question that may be asked, whatever the earlier answers will be.
    """
    facts = page_facts(page, language)
    costs = (
        call_cost(question.prompt_in(language), question.max_tokens, page.width_px, page.height_px)
        for question in profile.questions
        if question.may_be_asked(facts)
        for _ in range(first_bands(question, page))
    )
    return sum(costs, NO_COST)


def first_bands(question: Question, page: RenderedPage) -> int:
    """Return the number of bands of a question's first requests: two for the text of a dense page, else one."""
    glyph_px = page.facts.glyph_px
    return 2 if question.name == TEXT_QUESTION and glyph_px is not None and glyph_px < DENSE_GLYPH_PX else 1


def call_cost(prompt: str, max_tokens: int, width_px: int, height_px: int) -> Cost:
    """Return the cost of one question about a page image of this size."""
    tokens_in = image_tokens(width_px, height_px) + len(prompt) // CHARACTERS_PER_TOKEN
    return Cost(calls=1, tokens_in=tokens_in, tokens_out_max=max_tokens)


def image_tokens(width_px: int, height_px: int) -> int:
    """Return the tokens of a page image of at most 1,003,520 pixels."""
    rows, columns = _grid(max(width_px - MARGIN_PX, 1), max(height_px - MARGIN_PX, 1))
    return _tokens(rows, columns) + _tokens(1, 1)


def _grid(width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns of the grid that enlarges the image least or, if none enlarges, shrinks it least."""

    def scale(grid: tuple[int, int]) -> float:
        return min(grid[0] * TILE_STEP_PX / height, grid[1] * TILE_STEP_PX / width)

    def badness(grid: tuple[int, int]) -> tuple[float, int]:
        return (scale(grid) if scale(grid) >= 1 else math.inf, math.prod(grid))

    best = min(_GRIDS, key=badness)
    return best if scale(best) >= 1 else max(_GRIDS, key=lambda grid: (scale(grid), -math.prod(grid)))


def _tokens(rows: int, columns: int) -> int:
    high, wide = (TOKENS_PER_TILE * tiles + MARGIN_TOKENS for tiles in (rows, columns))
    return high * (wide + 1) + FRAME_TOKENS


#: Upper bound for a page image of any shape.
MAX_IMAGE_TOKENS = max(_tokens(rows, columns) for rows, columns in _GRIDS) + _tokens(1, 1)
