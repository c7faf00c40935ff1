"""Text layers of the corpus' right-to-left and vertical files, against their truth: words, and which follows which."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from pipeline.core.formats import MediaType
from pipeline.core.models import LayerState
from pipeline.rendering.host.pool import SandboxPool
from support.corpus import CORPUS, manifest
from support.rendering import LIMITS


@pytest.fixture(scope="module")
def layers() -> dict[str, tuple[str, LayerState]]:
    """The first page's layer of each PDF that is asked for, by name."""
    manifest()
    pool, found = SandboxPool(1, LIMITS), {}
    names = ("ArabicCIDTrueType", "right_to_left_01", "right_to_left_03", "issue11656", "bidi_arabic_lorem_ipsum")
    try:
        for name in (*names, "vertical", "habibi", "invisible_text_layer", "truetype_font_nomapping", "scan-bad"):
            with (CORPUS / f"pdf/{name}.pdf").open("rb") as file, pool.open(file, MediaType.PDF) as document:
                page = document.render(1)
                found[name] = (page.layer_text or "", page.facts.layer)
    finally:
        pool.close()
    return found


def words(text: str) -> list[str]:
    return re.findall(r"[\w/.%]+", text)


def recall(found: str, truth: str) -> tuple[float, float]:
    """Return the shares of the truth's words, and of its pairs of neighbouring words, that were found."""
    pairs, wanted = set(pairwise(words(found))), list(pairwise(words(truth)))
    singles = [word in set(words(found)) for word in words(truth)]
    return sum(singles) / len(singles), sum(pair in pairs for pair in wanted) / len(wanted)


@pytest.mark.parametrize(
    ("name", "truth", "least_words", "least_pairs"),
    [
        ("ArabicCIDTrueType", "ArabicCIDTrueType.pdf.txt", 1, 1),
        # "Python" and the word before it have no space between them in the file, and marks stand apart.
        ("right_to_left_01", "right_to_left_01.md", 0.95, 0.9),
        # The truth reads the table's cells in another order.
        ("right_to_left_03", "right_to_left_03.md", 0.95, 0.8),
    ],
)
def test_words_of_right_to_left_pages_are_whole_and_in_order(
    layers: dict[str, tuple[str, LayerState]], name: str, truth: str, least_words: float, least_pairs: float
) -> None:
    text, layer = layers[name]
    found = recall(text, (CORPUS / "truth" / truth).read_text(encoding="utf-8"))
    assert found[0] >= least_words
    assert found[1] >= least_pairs
    assert layer is LayerState.SOUND


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("issue11656", "לחיוב פעולות אלה לפי סעיף 15(ב)(4) לחוק מבקר המדינה"),
        ("bidi_arabic_lorem_ipsum", '"lorem ipsum" في أي محرك بحث ستظهر العديد من المواقع الحديثة'),
        ("bidi_arabic_lorem_ipsum", "Finibus Bonorum et Malorum) للمفكر شيشيرون (Cicero) والذي"),
        ("habibi", "حَبيبي"),
        ("vertical", "あいうえお\n日本語"),
    ],
)
def test_lines_read_as_the_page_shows_them(layers: dict[str, tuple[str, LayerState]], name: str, line: str) -> None:
    assert line in layers[name][0]


def test_layers_that_are_no_evidence_are_told(layers: dict[str, tuple[str, LayerState]]) -> None:
    found = {name: layers[name][1] for name in ("invisible_text_layer", "scan-bad", "truetype_font_nomapping")}
    assert found == {
        "invisible_text_layer": LayerState.INVISIBLE,
        "scan-bad": LayerState.INVISIBLE,
        "truetype_font_nomapping": LayerState.GARBAGE,
    }
