"""What a page would cost to be read by the model, told before anything is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.core.models import RenderedPage
from pipeline.vision.profile import TEXT_QUESTION, Profile, Question
from pipeline.vision.profile.conditions import page_facts
from pipeline.vision.quality.stitching import DENSE_GLYPH_PX

#: The tile grid of the published processor: at most so many tiles of 378 px beside a small copy of the whole page. They
#: overlap, so that a grid of n tiles covers 266 px a tile and a margin.
MAX_TILES = 12
TILE_STEP_PX = 266
MARGIN_PX = 112
#: A tile gives 10 tokens each way, and the margin 4 more; a row ends with a token, and begin and end have one each. The
#: small copy is one tile with all of that.
TOKENS_A_TILE = 10
MARGIN_TOKENS = 4
FRAME_TOKENS = 2
#: Of prompts in English, roughly; they are short beside the image.
CHARACTERS_A_TOKEN = 4

_GRIDS = [(rows, columns) for rows in range(1, MAX_TILES + 1) for columns in range(1, MAX_TILES // rows + 1)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls of the model and their tokens, where nothing is archived yet."""

    calls: int = 0
    tokens_in: int = 0
    """An estimate: by the grid that the published processor cuts a page into."""
    tokens_out_max: int = 0
    """A bound: what the profile lets answers have. Most need much less."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out_max + other.tokens_out_max,
        )


NO_COST = Cost()


def page_cost(profile: Profile, language: str, page: RenderedPage) -> Cost:
    """Return what the questions of a profile cost, asked about a page.

    An upper bound: all questions count that may be asked of such a page, whatever the answers before them will be.
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
    """Return into how many parts a page is cut when a question is first asked: a dense one, for its text, into two."""
    glyph_px = page.facts.glyph_px
    return 2 if question.name == TEXT_QUESTION and glyph_px is not None and glyph_px < DENSE_GLYPH_PX else 1


def call_cost(prompt: str, max_tokens: int, width_px: int, height_px: int) -> Cost:
    """Return what one question costs, asked about a page image of this size."""
    tokens_in = image_tokens(width_px, height_px) + len(prompt) // CHARACTERS_A_TOKEN
    return Cost(calls=1, tokens_in=tokens_in, tokens_out_max=max_tokens)


def image_tokens(width_px: int, height_px: int) -> int:
    """Return the tokens of a page image, which has 1,003,520 pixels at most."""
    rows, columns = _grid(max(width_px - MARGIN_PX, 1), max(height_px - MARGIN_PX, 1))
    return _tokens(rows, columns) + _tokens(1, 1)


def _grid(width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns of tiles: those that enlarge the image least, else those that shrink it least."""

    def scale(grid: tuple[int, int]) -> float:
        return min(grid[0] * TILE_STEP_PX / height, grid[1] * TILE_STEP_PX / width)

    def badness(grid: tuple[int, int]) -> tuple[float, int]:
        return (scale(grid) if scale(grid) >= 1 else math.inf, math.prod(grid))

    best = min(_GRIDS, key=badness)
    return best if scale(best) >= 1 else max(_GRIDS, key=lambda grid: (scale(grid), -math.prod(grid)))


def _tokens(rows: int, columns: int) -> int:
    high, wide = (TOKENS_A_TILE * tiles + MARGIN_TOKENS for tiles in (rows, columns))
    return high * (wide + 1) + FRAME_TOKENS


#: No page image has more, whatever its shape.
MAX_IMAGE_TOKENS = max(_tokens(rows, columns) for rows, columns in _GRIDS) + _tokens(1, 1)
