import dataclasses
import itertools
import string
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from pipeline.core.models import OriginalImage, PageFacts, RenderedPage
from pipeline.rendering.sandbox.page_image.measure import colour_names
from pipeline.vision.ocr.measured_description import CATALOGUES, TextMeasures, describe, load_catalogue
from support.vision import rendered_page

TEXT = "Goods handled\nContainers grew in every quarter; grain follows the harvest and peaks in the third of them."


def page(
    *colours: str,
    is_vector: bool = True,
    picture_share: float | None = 0.0,
    width: int = 840,
    height: int = 1188,
    original: OriginalImage | None = None,
) -> RenderedPage:
    facts = PageFacts(ink_share=0.1, picture_share=picture_share, colours=colours, is_vector=is_vector)
    original = original or OriginalImage(format="PDF")
    return dataclasses.replace(rendered_page(1), facts=facts, width_px=width, height_px=height, original=original)


def messages(catalogue: dict[str, Any], path: str = "") -> Iterator[tuple[str, list[str]]]:
    for key, value in catalogue.items():
        if isinstance(value, dict):
            yield from messages(value, f"{path}{key}.")
        else:
            yield path + key, sorted(str(field) for _, field, _, _ in string.Formatter().parse(value) if field)


def test_a_born_digital_page_is_described() -> None:
    assert describe(page("white", "blue", "orange"), TextMeasures(TEXT), "en") == (
        "Born-digital page in portrait format; mostly white and blue, with orange. About 18 words. "
        "Begins: “Goods handled”.",
        "en",
    )


def test_a_scan_is_described_with_its_columns_and_its_text() -> None:
    scan = page("white", is_vector=False, picture_share=1.0)
    assert describe(scan, TextMeasures(TEXT, columns=2, share=0.31), "de-AT") == (
        "Gescannte Seite im Hochformat mit Text in zwei Spalten; überwiegend weiß. Etwa 18 Wörter. "
        "Text bedeckt etwa 30 % der Seite. Beginnt mit: „Goods handled“.",
        "de",
    )


def test_a_photograph_is_one_where_a_camera_took_it() -> None:
    camera = OriginalImage(format="JPEG", camera="Lantern Pocket 2")
    photograph = page("grey", "blue", is_vector=False, picture_share=None, width=1200, height=800, original=camera)
    text, tag = describe(photograph, TextMeasures("", 1, 0.0), "fr")
    assert text == "Photographie au format paysage ; couleurs dominantes : gris et bleu. Aucun texte n'a été trouvé."
    assert tag == "fr"


@pytest.mark.parametrize(
    ("original", "colour", "text", "kind"),
    [
        ("PDF", "white", "Page 3", "Scanned page"),
        ("TIFF", "grey", TEXT, "Scanned page"),
        ("JPEG", "blue", "Open", "Picture"),  # a sign in a picture
        ("PNG", "white", TEXT, "Picture"),  # a screenshot
        ("PDF", "white", "", "Picture"),
    ],
)
def test_what_was_not_drawn_is_a_scan_or_a_picture(original: str, colour: str, text: str, kind: str) -> None:
    raster = page(colour, is_vector=False, picture_share=None, original=OriginalImage(format=original))
    assert describe(raster, TextMeasures(text, 1, 0.1), "en")[0].startswith(kind)


def test_a_drawn_page_without_words_is_a_drawing() -> None:
    square = page("red", width=1000, height=1002)
    assert describe(square, TextMeasures("", 1, 0.0), "es")[0].startswith("Dibujo en formato cuadrado")


def test_pictures_on_a_born_digital_page_are_measured() -> None:
    assert "Pictures cover about 30 % of the page." in describe(page(picture_share=0.29), TextMeasures(TEXT), "en")[0]
    assert "cover" not in describe(page(picture_share=0.01), TextMeasures(TEXT), "en")[0]


def test_a_language_without_catalogue_falls_back_to_english_and_says_so() -> None:
    assert describe(page("white"), TextMeasures(TEXT), "zh-Hant")[1] == "en"
    assert (
        describe(page("white"), TextMeasures(TEXT), "pt-BR")[0] == describe(page("white"), TextMeasures(TEXT), "en")[0]
    )


def test_counts_are_rounded_and_scripts_without_spaces_are_counted_in_characters() -> None:
    assert "About 1200 words." in describe(page(), TextMeasures("word " * 1234), "en")[0]
    assert "One word." in describe(page(), TextMeasures("Word"), "en")[0]
    assert (
        "About 38 characters." in describe(page(), TextMeasures("新鲜甘草黄酮养分是扫除肌肤代谢物的最佳" * 2), "en")[0]
    )


def test_a_long_first_line_is_cut_at_a_word_and_one_without_letters_is_passed_over() -> None:
    text = f"17\n* * *\n{'harbour dues ' * 20}"
    assert describe(page(), TextMeasures(text), "en")[0].endswith("harbour dues …”.")


def test_braces_in_a_page_are_quoted_and_not_filled_in() -> None:
    assert describe(page(), TextMeasures("{line} {0}"), "en")[0].endswith("Begins: “{line} {0}”.")


@pytest.mark.parametrize("language", CATALOGUES)
def test_every_catalogue_has_the_same_messages_with_the_same_places(language: str) -> None:
    assert dict(messages(load_catalogue(language))) == dict(messages(load_catalogue("en")))


def test_every_colour_that_is_measured_has_a_name_in_the_catalogues() -> None:
    levels = range(0x10, 0x100, 0x20)
    names = {
        name
        for colour in itertools.product(levels, repeat=3)
        for name in colour_names(Image.new("RGB", (96, 96), colour))
    }
    assert names == set(load_catalogue("en")["colour"])
