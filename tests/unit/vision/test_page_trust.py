"""The `trust` of a reading from the sandbox's measurements, before and after the page is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import LayerState, RenderedPage, TextSource, Trust
from pipeline.pages.readings import read_reading, rendered_reading
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.reader import PageAnswers
from support.readings import full_reading
from support.vision import answer_cache, rendered_page


class OcrThatIsNotAsked:
    revision = "none"

    def find_lines(self, rgb: bytes, width: int, height: int) -> NoReturn:
        raise AssertionError("asked")

    def close(self) -> None:
        pass


ANSWERS = PageAnswers(description="A page.", text="words", text_source=TextSource.OCR)


def page(layer: LayerState, *, blank: bool = False, placeholder: bool = False) -> RenderedPage:
    base = rendered_page(1)
    text = None if layer is LayerState.NONE else "words"
    facts = replace(base.facts, layer=layer, placeholder=placeholder)
    return replace(base, blank=blank, layer_text=text, facts=facts)


@pytest.mark.parametrize(
    ("rendered", "suspect", "reasons"),
    [
        (page(LayerState.NONE), False, ()),
        (page(LayerState.SOUND), False, ()),
        (page(LayerState.GARBAGE), False, ("layer_garbage",)),
        (page(LayerState.INVISIBLE), False, ("layer_invisible",)),
        (page(LayerState.INVISIBLE, blank=True), True, ("text_without_ink",)),
        (page(LayerState.SOUND, placeholder=True), True, ("xfa_placeholder",)),
    ],
)
def test_layers_that_are_no_evidence_are_told_and_pages_to_look_at_are_suspect(
    tmp_path: Path, rendered: RenderedPage, suspect: bool, reasons: tuple[str, ...]
) -> None:
    bare = full_reading().model_copy(update={"trust": Trust()})
    reading = rendered_reading(bare, rendered, Archive(Store(str(tmp_path))), 1)
    assert (reading.trust.suspect, reading.trust.reasons) == (suspect, reasons)

    reader = LocalReader(answer_cache(), OcrThatIsNotAsked())
    read = read_reading(reading, ANSWERS, reader)
    assert (read.trust.suspect, read.trust.reasons) == (suspect, reasons)
    doubted = read_reading(reading, replace(ANSWERS, doubts=("text_unread",)), reader)
    assert (doubted.trust.suspect, doubted.trust.reasons) == (True, (*reasons, "text_unread"))


def test_notes_are_found_beside_a_page_and_are_no_evidence_of_what_is_on_it(tmp_path: Path) -> None:
    slide = replace(page(LayerState.SOUND), notes="said aloud")
    empty = replace(page(LayerState.NONE, blank=True), notes="said aloud")
    archive = Archive(Store(str(tmp_path)))
    of_slide, of_empty = (rendered_reading(full_reading(), rendered, archive, 1) for rendered in (slide, empty))
    assert of_slide.layer_text == "words\n\nsaid aloud"
    assert of_empty.layer_text == "said aloud"
    assert not of_empty.trust.suspect
