"""Pages are cut into bands by geometry, each is read badly, and what is merged must hold every line once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from pipeline.rendering.sandbox.page_image.crops import OVERLAP, band_share
from pipeline.vision.quality import stitching
from pipeline.vision.quality.stitching import Merged, merge

#: Letters by script; words have 3 to 8 of them, and lines of scripts without spaces none between.
SCRIPTS = {
    "Latin": ("aaabcdeeeefghiiklmnooprstuvwäöü", " "),
    "Hebrew": ("אבגדהוזחטיכלמנסעפצקרשת", " "),
    "Arabic": ("ابتثجحخدذرزسشصضطظعغفقكلمنهوي", " "),
    "Han": ("".join(map(chr, range(0x4E00, 0x4F00))), ""),
    "digits": ("0123456789", " | "),
}


def test_the_overlap_is_that_of_the_crops() -> None:
    assert stitching.OVERLAP == OVERLAP


def page_of(script: str, count: int, chance: random.Random) -> list[str]:
    letters, space = SCRIPTS[script]
    return [
        space.join("".join(chance.choices(letters, k=chance.randint(3, 8))) for _ in range(chance.randint(6, 10)))
        for _ in range(count)
    ]


def bands_of(page: Sequence[str], count: int, chance: random.Random, noise: float) -> list[str]:
    """The page's bands as a model would read them: lines of one height; the outermost may be cut."""
    share = band_share(count)
    return [
        read(page, start * len(page), (start + share) * len(page), chance, noise)
        for start in (number * (1 - share) / (count - 1) for number in range(count))
    ]


def read(page: Sequence[str], top: float, bottom: float, chance: random.Random, noise: float) -> str:
    lines = []
    for number, line in enumerate(page):
        shown = min(number + 1, bottom) - max(number, top)
        if shown > 1 - 1e-9:
            lines.append(noisy(line, chance, noise))
        elif shown > 0 and chance.random() < 0.8:
            lines.append(cut(line, chance))
    return "\n".join(lines)


def noisy(line: str, chance: random.Random, noise: float) -> str:
    """A share of the characters is wrong or missing; blanks stay."""
    read = [chance.choice(line + "x") if chance.random() < noise else char for char in line]
    return "".join(char for char in read if chance.random() > noise / 2).strip() or "x"


def cut(line: str, chance: random.Random) -> str:
    """A possible reading of a line with only its upper or lower part."""
    return chance.choice(
        [line, noisy(line, chance, 0.3), noisy(line, chance, 0.9), "".join(chance.choices("_-'.,", k=9))]
    )


def assert_same_lines(merged: str, page: Sequence[str]) -> None:
    lines = merged.splitlines()
    assert len(lines) == len(page)
    for line, wanted in zip(lines, page, strict=True):
        assert Indel.normalized_similarity(line, wanted) > 0.5


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    script=st.sampled_from(sorted(SCRIPTS)),
    count=st.integers(60, 130),
    bands=st.integers(2, 4),
    seed=st.integers(0, 1 << 32),
    noise=st.sampled_from([0, 0.01, 0.03]),
)
def test_no_line_is_lost_and_none_is_there_twice(script: str, count: int, bands: int, seed: int, noise: float) -> None:
    assume(script != "digits" or noise <= 0.01)  # rows with more wrong digits are taken for other rows, and kept
    chance = random.Random(seed)
    page = page_of(script, count, chance)
    merged = merge(bands_of(page, bands, chance, noise))
    assert_same_lines(merged.text, page)
    assert all(merged.seams)


@settings(max_examples=100, deadline=None)
@given(script=st.sampled_from(sorted(SCRIPTS)), count=st.integers(20, 60), seed=st.integers(0, 1 << 32))
def test_no_line_is_lost_however_few_there_are_and_however_badly_they_are_read(
    script: str, count: int, seed: int
) -> None:
    chance = random.Random(seed)
    page = page_of(script, count, chance)
    lines = merge(bands_of(page, 3, chance, 0.03)).text.splitlines()
    for wanted in page:
        assert max(Indel.normalized_similarity(line, wanted) for line in lines) > 0.5


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(1, 4), every=st.integers(2, 5), seed=st.integers(0, 1 << 32))
def test_equal_rows_between_others_are_kept_as_often_as_they_are_there(rows: int, every: int, seed: int) -> None:
    chance = random.Random(seed)
    kinds = ["0.00 | 0.00 | none", "the same as above", "ditto | ditto", "-- | -- | --"][:rows]
    page = [
        line if number % every == 0 else chance.choice(kinds)
        for number, line in enumerate(page_of("Latin", 100, chance))
    ]
    assert merge(bands_of(page, 2, chance, 0)).text.splitlines() == page


@pytest.mark.parametrize("count", [60, 80, 100, 130])
@pytest.mark.parametrize("bands", [2, 3])
def test_a_table_of_equal_rows_has_about_as_many_as_the_page(count: int, bands: int) -> None:
    page = ["0.00 | 0.00 | 0.00"] * count
    merged = merge(bands_of(page, bands, random.Random(1), 0))
    assert abs(len(merged.text.splitlines()) - count) <= 2 * (bands - 1)


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        ("one\ntwo", "three\nfour"),
        ("1. first item\n2. second item\n3. third item", "4. fourth item\n5. fifth item\n6. sixth item"),
        ("Page 1001\nPage 1002\nPage 1003", "Page 1004\nPage 1005\nPage 1006"),
        ("2021 | 150 | 100 | 250\n2022 | 170 | 110 | 280", "2023 | 160 | 120 | 280\n2024 | 165 | 105 | 270"),
        ("the end", "0"),
        ("0", "0"),
    ],
)
def test_where_nothing_overlaps_both_are_kept_whole(upper: str, lower: str) -> None:
    merged = merge([upper, lower])
    assert (merged.text, merged.seams) == (f"{upper}\n{lower}", (None,))


def test_the_reading_further_from_the_edge_is_kept() -> None:
    upper = ["a page about ships", "harbour and quay", "ropes and anchors", "of masts and kee1s", "0f ste4n anb b0w"]
    lower = ["harb0ur anb qu4y", "r0pes and anchors", "of masts and keels", "of stern and bow", "and of the deck"]
    merged = merge(["\n".join(upper), "\n".join(lower)])
    assert merged.text.splitlines() == [*upper[:3], *lower[2:]]
    assert merged.seams == (4,)


def test_of_one_line_in_the_overlap_the_lower_bands_reading_is_kept() -> None:
    merged = merge(["harbour and quay\nropes anb anohors", "ropes and anchors\nof stern and bow"])
    assert merged == Merged("harbour and quay\nropes and anchors\nof stern and bow", (1,))


def test_a_line_within_the_overlap_that_only_one_band_has_is_kept() -> None:
    upper = ["a page about ships", "harbour and quay", "the second line", "ropes and anchors", "masts and keels"]
    lower = ["harbour and quay", "ropes and anchors", "the line between", "masts and keels", "of stern and bow"]
    merged = merge(["\n".join(upper), "\n".join(lower)])
    assert merged.text.splitlines() == [*upper[:4], *lower[2:]]


def test_blank_lines_stay_where_they_were() -> None:
    upper = "a heading\n\nharbour and quay\nropes and anchors\n\nmasts and keels\n"
    lower = "\nropes and anchors\n\nmasts and keels\n\nof stern and bow\n"
    assert merge([upper, lower]).text == (
        "a heading\n\nharbour and quay\nropes and anchors\n\nmasts and keels\n\nof stern and bow"
    )


def test_bands_without_text_take_nothing_away() -> None:
    assert merge(["", "a line", ""]) == Merged("a line", (None, None))
    assert merge(["a line"]) == Merged("a line", ())
    assert merge([]) == Merged("", ())
