import dataclasses

import pytest

from pipeline.errors import AnswerTimeout
from pipeline.models import PageFacts, RenderedPage, TextSource
from pipeline.retry import Patience
from pipeline.vision.local_reader import LocalReader
from pipeline.vision.text_lines import TextLine
from support.vision import AnswersInMemory, answer_cache, rendered_page

LAYER = "The dredging of the northern channel was finished in June, a month early."
SCAN = PageFacts(ink_share=0.1, picture_share=1.0, colours=("white", "grey"), is_vector=False)


class OcrThatFinds:
    """Finds the same lines on every page and counts how often it was asked."""

    def __init__(self, *texts: str, revision: str = "fake-1") -> None:
        self.revision = revision
        self.asked = 0
        self.closed = False
        self._texts = texts

    def find_lines(self, rgb: bytes, width: int, height: int) -> tuple[TextLine, ...]:
        self.asked += 1
        return tuple(
            TextLine(text, ((2, 10 * row), (38, 10 * row), (38, 10 * row + 7), (2, 10 * row + 7)))
            for row, text in enumerate(self._texts)
        )

    def close(self) -> None:
        self.closed = True


class OcrThatHangs(OcrThatFinds):
    def find_lines(self, rgb: bytes, width: int, height: int) -> tuple[TextLine, ...]:
        raise AnswerTimeout("reading took longer than 120 s")


def scan(seed: int = 1) -> RenderedPage:
    return dataclasses.replace(rendered_page(seed), facts=SCAN, rgb=bytes(3 * 40 * 56))


def test_a_sound_text_layer_is_taken_and_nothing_is_read_or_archived() -> None:
    ocr, store = OcrThatFinds("never seen"), AnswersInMemory()
    page = dataclasses.replace(rendered_page(1), layer_text=f"\n{LAYER}\n")
    found = LocalReader(answer_cache(store), ocr).read(page, "en", Patience())
    assert found.text == LAYER
    assert found.text_source is TextSource.LAYER
    assert (ocr.asked, found.answers, store.by_key) == (0, (), {})


def test_a_scan_is_read_even_where_it_has_a_text_layer() -> None:
    ocr = OcrThatFinds("What is", "visible")
    page = dataclasses.replace(scan(), layer_text=LAYER)
    found = LocalReader(answer_cache(), ocr).read(page, "en", Patience())
    assert found.text == "What is\nvisible"
    assert found.text_source is TextSource.OCR


def test_the_same_pixels_are_read_once_and_give_the_same_page_again() -> None:
    ocr, store = OcrThatFinds("Ledger", "of berths"), AnswersInMemory()
    first = LocalReader(answer_cache(store), ocr).read(scan(), "de", Patience())
    second = LocalReader(answer_cache(store), ocr).read(scan(), "de", Patience())
    assert ocr.asked == 1
    assert (first.cached, second.cached) == (0, 1)
    assert dataclasses.replace(first, cached=1) == second
    assert [answer.key for answer in second.answers] == list(store.by_key)


def test_another_engine_or_other_pixels_are_another_question() -> None:
    store = AnswersInMemory()
    LocalReader(answer_cache(store), OcrThatFinds("a", revision="fake-1")).read(scan(), "en", Patience())
    LocalReader(answer_cache(store), OcrThatFinds("b", revision="fake-2")).read(scan(), "en", Patience())
    LocalReader(answer_cache(store), OcrThatFinds("c", revision="fake-1")).read(scan(2), "en", Patience())
    assert len(store.by_key) == 3


def test_the_language_of_the_description_is_no_part_of_the_question() -> None:
    ocr = OcrThatFinds("Ledger")
    reader = LocalReader(answer_cache(), ocr)
    german, french = reader.read(scan(), "de", Patience()), reader.read(scan(), "fr", Patience())
    assert ocr.asked == 1
    assert (german.description_language, french.description_language) == ("de", "fr")
    assert german.description != french.description


def test_a_page_without_text_has_none_and_is_described_all_the_same() -> None:
    found = LocalReader(answer_cache(), OcrThatFinds()).read(scan(), "en", Patience())
    assert (found.text, found.text_source) == (None, None)
    assert found.description == "Picture in portrait format; mostly white and grey. No text was found."


def test_a_page_that_cannot_be_read_raises_and_leaves_nothing_in_the_archive() -> None:
    store = AnswersInMemory()
    reader = LocalReader(answer_cache(store), OcrThatHangs())
    with pytest.raises(AnswerTimeout):
        reader.read(scan(), "en", Patience())
    assert store.by_key == {}


def test_the_revision_names_the_engine() -> None:
    cache = answer_cache()
    assert (
        LocalReader(cache, OcrThatFinds(revision="x")).revision
        != LocalReader(cache, OcrThatFinds(revision="y")).revision
    )


def test_closing_the_reader_closes_the_engine() -> None:
    ocr = OcrThatFinds()
    LocalReader(answer_cache(), ocr).close()
    assert ocr.closed
