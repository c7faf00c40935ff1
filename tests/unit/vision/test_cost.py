"""The cost of a page by its size."""

from dataclasses import replace

import pytest

from pipeline.vision.endpoint.cost import Cost, image_tokens, page_cost
from pipeline.vision.profile import load_profile, parse_profile
from support.vision import rendered_page


# The figures that the published processor gives for these page images.
@pytest.mark.parametrize(
    ("width_px", "height_px", "tokens"),
    [
        (842, 1190, 1754),  # A4
        (595, 842, 1064),  # A4 at 72 dpi
        (1190, 842, 1744),  # half of A4
        (1330, 750, 1744),  # a wide slide
        (1156, 867, 1744),  # one of 4:3
        (1459, 688, 1534),  # a third of A4
        (512, 512, 814),
        (64, 64, 424),
        (1, 1, 424),
        (20_000, 50, 2 * 212 + 110 * 14),  # a strip: as many tiles as there may be, in one row
    ],
)
def test_an_image_has_the_tokens_of_its_tiles(width_px: int, height_px: int, tokens: int) -> None:
    assert image_tokens(width_px, height_px) == tokens


A4 = replace(rendered_page(1), width_px=842, height_px=1190)


def test_each_question_costs_a_call_with_the_whole_image() -> None:
    profile = load_profile()
    cost = page_cost(profile, "de", A4)
    assert cost.calls == len(profile.questions) == 2
    assert 2 * 1754 < cost.tokens_in < 2 * 1754 + 500
    assert cost.tokens_out_max == 512 + 4096
    assert cost + cost == Cost(4, 2 * cost.tokens_in, 2 * cost.tokens_out_max)


CONDITIONS = """
name = "mine"
[[questions]]
name = "has_text"
kind = "yes_no"
max_tokens = 1
prompt = "Is there text? Answer yes or no."
[[questions]]
name = "text"
when = 'has_text and page.kind == "scanned"'
max_tokens = 10
prompt = "Write down the text."
[[questions]]
name = "caption"
when = 'not (page.kind == "scanned" or has_text)'
max_tokens = 100
prompt = "One sentence in {language}."
"""


@pytest.mark.parametrize(("is_vector", "tokens_out_max"), [(False, 11), (True, 101)])
def test_the_cost_counts_what_may_be_asked_of_such_a_page(is_vector: bool, tokens_out_max: int) -> None:
    page = replace(A4, facts=replace(A4.facts, is_vector=is_vector))

    assert page_cost(parse_profile(CONDITIONS), "de", page).tokens_out_max == tokens_out_max
