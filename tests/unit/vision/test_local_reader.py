import dataclasses

import pytest

from pipeline.core.errors import AnswerTimeout
from pipeline.core.models import LayerState, PageFacts, RenderedPage, TextSource
from pipeline.core.retry import CancelToken
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.ocr.text_lines import FoundLines, TextLine
from support.vision import AnswersInMemory, answer_cache, rendered_page

LAYER = "The dredging of the northern channel was finished in June, a month early."
SCAN = PageFacts(ink_share=0.1, picture_share=1.0, colours=("white", "grey"), is_vector=False)


def line(text: str, row: int, confidence: float = 0.99) -> TextLine:
    top = 10.0 * row
    return TextLine(text, ((2, top), (38, top), (38, top + 7), (2, top + 7)), confidence)


class OcrThatFinds:
    """Finds the same lines on every page and counts how often it was asked."""

    def __init__(self, *texts: str, revision: str = "fake-1") -> None:
        self.revision = revision
        self.asked = 0
        self.closed = False
        self._texts = texts

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        self.asked += 1
        return FoundLines(self.revision, tuple(line(text, row) for row, text in enumerate(self._texts)))

    def close(self) -> None:
        self.closed = True


class OcrThatSeesWhatItCannotRead(OcrThatFinds):
    """Two lines that it does not know a letter of, and one that it reads."""

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        self.asked += 1
        lines = (line("", 0, 0.0), line("V7", 1, 0.6), line("Harbour", 2))
        return FoundLines(self.revision, lines)


class OcrThatHangs(OcrThatFinds):
    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        raise AnswerTimeout("reading took longer than 120 s")


def scan(seed: int = 1) -> RenderedPage:
    return dataclasses.replace(rendered_page(seed), facts=SCAN, rgb=bytes(3 * 40 * 56))


def test_a_sound_text_layer_is_taken_and_nothing_is_read_or_archived() -> None:
    ocr, store = OcrThatFinds("never seen"), AnswersInMemory()
    base = rendered_page(1)
    facts = dataclasses.replace(base.facts, layer=LayerState.SOUND)
    page = dataclasses.replace(base, facts=facts, layer_text=f"\n{LAYER}\n")
    found = LocalReader(answer_cache(store), ocr).read(page, "en", CancelToken())
    assert found.text == LAYER
    assert found.text_source is TextSource.LAYER
    assert (ocr.asked, found.answers, store.by_key) == (0, (), {})


def test_a_scan_is_read_even_where_it_has_a_text_layer() -> None:
    ocr = OcrThatFinds("What is", "visible")
    page = dataclasses.replace(scan(), layer_text=LAYER)
    found = LocalReader(answer_cache(), ocr).read(page, "en", CancelToken())
    assert found.text == "What is\nvisible"
    assert found.text_source is TextSource.OCR


def test_the_same_pixels_are_read_once_and_give_the_same_page_again() -> None:
    ocr, store = OcrThatFinds("Ledger", "of berths"), AnswersInMemory()
    first = LocalReader(answer_cache(store), ocr).read(scan(), "de", CancelToken())
    second = LocalReader(answer_cache(store), ocr).read(scan(), "de", CancelToken())
    assert ocr.asked == 1
    assert (first.cached, second.cached) == (0, 1)
    assert dataclasses.replace(first, cached=1) == second
    assert [answer.key for answer in second.answers] == list(store.by_key)


def test_another_engine_or_other_pixels_are_another_question() -> None:
    store = AnswersInMemory()
    LocalReader(answer_cache(store), OcrThatFinds("a", revision="fake-1")).read(scan(), "en", CancelToken())
    LocalReader(answer_cache(store), OcrThatFinds("b", revision="fake-2")).read(scan(), "en", CancelToken())
    LocalReader(answer_cache(store), OcrThatFinds("c", revision="fake-1")).read(scan(2), "en", CancelToken())
    assert len(store.by_key) == 3


def test_the_language_of_the_description_is_no_part_of_the_question() -> None:
    ocr = OcrThatFinds("Ledger")
    reader = LocalReader(answer_cache(), ocr)
    german, french = reader.read(scan(), "de", CancelToken()), reader.read(scan(), "fr", CancelToken())
    assert ocr.asked == 1
    assert (german.description_language, french.description_language) == ("de", "fr")
    assert german.description != french.description


def test_another_engine_reads_what_the_first_one_only_sees() -> None:
    first, second = OcrThatSeesWhatItCannotRead(), OcrThatFinds("שלום עולם", revision="other-1-Hebrew")
    found = LocalReader(answer_cache(), first, second).read(scan(), "en", CancelToken())
    assert (found.text, found.text_source, found.read_by, found.doubts) == (
        "שלום עולם",
        TextSource.OCR,
        "other-1-Hebrew",
        (),
    )
    assert [answer.model for answer in found.answers] == ["fake-1", "other-1-Hebrew"]


def test_the_other_engine_is_not_asked_of_what_the_first_one_reads() -> None:
    other = OcrThatFinds("שלום")
    found = LocalReader(answer_cache(), OcrThatFinds("Ledger"), other).read(scan(), "en", CancelToken())
    assert (found.text, found.read_by, other.asked) == ("Ledger", "fake-1", 0)


@pytest.mark.parametrize("other", [None, OcrThatFinds(revision="other-1")], ids=["not installed", "cannot either"])
def test_a_page_that_no_engine_can_read_says_so(other: OcrThatFinds | None) -> None:
    found = LocalReader(answer_cache(), OcrThatSeesWhatItCannotRead(), other).read(scan(), "en", CancelToken())
    assert (found.text, found.doubts) == ("Harbour", ("text_unread",))
    assert found.description is not None
    assert "One word. It has text that could not be read." in found.description


def test_an_engine_that_is_installed_later_reads_only_the_pages_that_wait_for_it() -> None:
    store, first, second = AnswersInMemory(), OcrThatSeesWhatItCannotRead(), OcrThatFinds("שלום", revision="other-1")
    before = LocalReader(answer_cache(store), first)
    before.read(scan(), "en", CancelToken())
    after = LocalReader(answer_cache(store), first, second)
    found = after.read(scan(), "en", CancelToken())
    assert (found.text, found.cached, first.asked, second.asked) == ("שלום", 1, 1, 1)
    assert before.revision != after.revision  # so that the page is due again


def test_a_page_without_text_has_none_and_is_described_all_the_same() -> None:
    found = LocalReader(answer_cache(), OcrThatFinds()).read(scan(), "en", CancelToken())
    assert (found.text, found.text_source) == (None, None)
    assert found.description == "Picture in portrait format; mostly white and grey. No text was found."


def test_a_page_that_cannot_be_read_raises_and_leaves_nothing_in_the_archive() -> None:
    store = AnswersInMemory()
    reader = LocalReader(answer_cache(store), OcrThatHangs())
    with pytest.raises(AnswerTimeout):
        reader.read(scan(), "en", CancelToken())
    assert store.by_key == {}


def test_the_revision_names_the_engine() -> None:
    cache = answer_cache()
    assert (
        LocalReader(cache, OcrThatFinds(revision="x")).revision
        != LocalReader(cache, OcrThatFinds(revision="y")).revision
    )


def test_closing_the_reader_closes_the_engine() -> None:
    ocr, other = OcrThatFinds(), OcrThatFinds()
    LocalReader(answer_cache(), ocr, other).close()
    assert ocr.closed
    assert other.closed


@pytest.mark.parametrize("texts", [("—", "***"), ("!!!", "..", "|")])
def test_punctuation_alone_is_text_unread(texts: tuple[str, ...]) -> None:
    found = LocalReader(answer_cache(), OcrThatFinds(*texts)).read(scan(), "en", CancelToken())

    assert (found.text, found.doubts) == (None, ("text_unread",))


def test_a_sound_layer_is_used_where_ocr_lacks_its_script() -> None:
    layer = dataclasses.replace(SCAN, layer=LayerState.SOUND)
    page = dataclasses.replace(scan(), facts=layer, layer_text="यात्रियों से अनुरोध है")
    found = LocalReader(answer_cache(), OcrThatSeesWhatItCannotRead()).read(page, "en", CancelToken())

    assert (found.text, found.text_source, found.doubts) == ("यात्रियों से अनुरोध है", TextSource.LAYER, ())


def test_words_in_a_picture_are_read_beside_the_layer() -> None:
    facts = PageFacts(ink_share=0.2, picture_share=0.4, colours=(), is_vector=True, layer=LayerState.SOUND)
    page = dataclasses.replace(scan(), facts=facts, layer_text=LAYER)
    ocr = OcrThatFinds("northern channel was finlshed", "Granite quay", "12")
    found = LocalReader(answer_cache(), ocr).read(page, "en", CancelToken())

    assert found.text == f"{LAYER}\n\nGranite quay"
    assert found.text_source is TextSource.LAYER
