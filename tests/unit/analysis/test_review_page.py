"""The HTML file of `pagesight review`, looked at with a parser: it shows what pages say and loads nothing."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.analysis.review import Review, ReviewedPage, write_review
from pipeline.archive import Archive, Store
from pipeline.archive.content import PageImages
from pipeline.core.errors import SettingsError
from pipeline.core.models import AnswerKind, PageStatus, Reading, Trust, Value
from support.readings import FAILURE, NOW, full_reading

HOSTILE = "</div><script>alert(1)</script><img src=\"http://127.0.0.1/x\" onerror='go()'>{{ 7 * 7 }} &amp; \"q\" 'a'"
ARABIC = "السفن التي ترسو على الرصيف"
#: Attributes by which HTML loads or leads somewhere.
LOADING = {"src", "srcset", "href", "action", "formaction", "data", "poster", "background", "ping"}
VOID = {"meta", "input", "img", "br", "link"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Every element in order, each with all the text in it."""

    elements: list[Element] = field(default_factory=list)
    open_ones: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        if tag not in VOID:
            self.open_ones.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open_ones.pop().tag == tag, "elements are closed in the order in which they were opened"

    def handle_data(self, data: str) -> None:
        for element in self.open_ones:
            element.text += data

    def of(self, *, tag: str = "", name: str = "") -> Iterator[Element]:
        for element in self.elements:
            classes = (element.attributes.get("class") or "").split()
            if tag in ("", element.tag) and (not name or name in classes):
                yield element


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


def reading(archive: Archive, number: int = 1, **more: object) -> Reading:
    """A reading whose page image is archived."""
    key, thumbnail = archive.images.save("d" * 64, f"{number}.1.{'c' * 64}", b"jpeg" * 10, b"webp")
    base = full_reading()
    assert base.image is not None
    image = base.image.model_copy(update={"key": key, "thumbnail_key": thumbnail})
    return base.model_copy(update={"page_number": number, "image": image, "error": None} | more)


def written(archive: Archive, tmp_path: Path, *pages: ReviewedPage) -> Page:
    output = tmp_path / "review.html"
    size = write_review(Review("works", pages, 1234, 0, NOW, "0.1"), archive, output)
    assert size == output.stat().st_size
    page = Page()
    page.feed(output.read_text(encoding="utf-8"))
    page.close()
    assert page.open_ones == []
    return page


def test_what_a_page_says_is_shown_and_is_never_markup(archive: Archive, tmp_path: Path) -> None:
    base = reading(archive)
    hostile = base.model_copy(
        update={
            "document": base.document.model_copy(update={"name": HOSTILE, "title": HOSTILE}),
            "page_label": HOSTILE,
            "description": HOSTILE,
            "caption": HOSTILE,
            "text": HOSTILE,
            "translation": HOSTILE,
            "layer_text": HOSTILE + " of the layer",
            "trust": Trust(suspect=True, reasons=(HOSTILE,)),
            "values": {HOSTILE: Value(kind=AnswerKind.TEXT, value=HOSTILE)},
        }
    )
    failed = hostile.model_copy(
        update={
            "page_number": 2,
            "status": PageStatus.FAILED,
            "error": FAILURE.model_copy(update={"type": HOSTILE, "message": HOSTILE, "remedy": HOSTILE}),
        }
    )
    page = written(archive, tmp_path, ReviewedPage((hostile,)), ReviewedPage((failed,)))
    assert len(list(page.of(tag="script"))) == 1
    assert [image.attributes["src"][:23] for image in page.of(tag="img")] == ["data:image/jpeg;base64,"] * 2
    said = [element.text for element in page.of(name="said")]
    assert said == [HOSTILE] * 5 + [HOSTILE + " of the layer"] * 2
    assert all(HOSTILE in heading.text for heading in page.of(tag="h2"))
    assert HOSTILE in next(page.of(name="error")).text


def test_nothing_is_loaded_and_only_its_own_script_and_style_may_run(archive: Archive, tmp_path: Path) -> None:
    page = written(archive, tmp_path, ReviewedPage((reading(archive),)))
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in LOADING & element.attributes.keys():
            assert (element.tag, name) == ("img", "src")
    metas = [meta.attributes for meta in page.of(tag="meta")]
    (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script", "style"):
        (element,) = page.of(tag=kind)
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
        assert not re.search(r"https?:|url\(|@import|import\(|fetch|XMLHttp|eval", element.text)


def test_image_and_facts_stand_beside_the_answers(archive: Archive, tmp_path: Path) -> None:
    page = written(archive, tmp_path, ReviewedPage((reading(archive),)))
    (image,) = page.of(tag="img")
    assert base64.b64decode((image.attributes["src"] or "").partition(",")[2]) == b"jpeg" * 10
    assert image.attributes["loading"] == "lazy"
    (sheet,) = page.of(name="sheet")
    assert (sheet.attributes["data-kind"], sheet.attributes["data-language"]) == ("mixed", "de")
    assert "data-suspect" in sheet.attributes
    for fact in ("a.pdf", "page 1 of 3", "German", "jina-vlm", "3500 tokens in, 200 out", "4.5 s"):
        assert fact in sheet.text
    assert {"described", "suspect", "cut off:text"} <= {chip.text for chip in page.of(name="chip")}
    assert "1 of 1234 pages" in next(page.of(name="facts")).text


def test_texts_have_their_direction_and_language(archive: Archive, tmp_path: Path) -> None:
    right_to_left = reading(archive, text=ARABIC, text_language="ar")
    page = written(archive, tmp_path, ReviewedPage((right_to_left,)))
    said = {element.text: element.attributes for element in page.of(name="said")}
    assert said[ARABIC] == {"class": "said", "dir": "auto", "lang": "ar"}
    assert all(attributes["dir"] == "auto" for attributes in said.values())


def test_an_empty_answer_is_told_from_one_that_was_not_asked_for(archive: Archive, tmp_path: Path) -> None:
    page = written(archive, tmp_path, ReviewedPage((reading(archive, description=None, text="", layer_text=None),)))
    passages = [passage.text.split() for passage in page.of(name="passage")]
    assert ["Description", "English", "none"] in passages
    assert ["Text", "from", "the", "model", "German", "empty"] in passages


def test_two_readings_stand_side_by_side_with_a_mark_each(archive: Archive, tmp_path: Path) -> None:
    first = reading(archive)
    assert first.model is not None
    second = first.model_copy(update={"model": first.model.model_copy(update={"profile": "accessible"})})
    page = written(archive, tmp_path, ReviewedPage((first, second)))
    columns = list(page.of(name="reading"))
    identities = [json.loads(column.attributes["data-identity"] or "") for column in columns]
    assert [identity["profile"] for identity in identities] == ["standard", "accessible"]
    assert identities[0]["page"] == f"works:{'d' * 64}:00001"
    assert len({column.attributes["data-key"] for column in columns}) == 2
    assert len(list(page.of(tag="img"))) == 1


def test_a_mark_is_about_what_was_shown(archive: Archive, tmp_path: Path) -> None:
    def key(shown: Reading) -> str | None:
        return next(written(archive, tmp_path, ReviewedPage((shown,))).of(name="reading")).attributes["data-key"]

    shown = reading(archive)
    assert key(shown) == key(shown)
    assert key(shown) != key(shown.model_copy(update={"description": "A line chart."}))
    assert key(shown) != key(shown.model_copy(update={"values": {"seen": Value(kind=AnswerKind.YES_NO, value=True)}}))


def test_a_page_whose_image_is_gone_says_so(archive: Archive, tmp_path: Path) -> None:
    gone = reading(archive)
    assert gone.image is not None
    gone = gone.model_copy(update={"image": gone.image.model_copy(update={"key": "images/dd/d/9.jpg"})})
    page = written(archive, tmp_path, ReviewedPage((gone,)))
    assert list(page.of(tag="img")) == []
    assert "not in the archive any more" in next(page.of(tag="figure")).text


def test_a_folder_that_is_not_there_is_an_error_with_a_remedy(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written") as caught:
        write_review(Review("works", [], 0, 0, NOW, "0.1"), archive, tmp_path / "nowhere" / "review.html")
    assert "--output" in caught.value.remedy


def test_what_was_there_stays_until_the_new_page_is_complete(archive: Archive, tmp_path: Path) -> None:
    output = tmp_path / "review.html"
    output.write_text("before")

    class Broken(PageImages):
        def get(self, key: str) -> bytes | None:
            raise KeyError(key)

    pages = [ReviewedPage((reading(archive),))]
    archive.images = Broken(Store(str(tmp_path / "archive")))
    with pytest.raises(KeyError):
        write_review(Review("works", pages, 1, 0, NOW, "0.1"), archive, output)
    assert output.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["review.html"]
