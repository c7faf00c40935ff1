"""Readings held against expected texts: which file is about which page, and what the figures come to."""

from pathlib import Path

import pytest

from pipeline.analysis.evaluate import evaluate
from pipeline.archive import Archive, Store
from pipeline.core.errors import SettingsError
from pipeline.core.formats import MediaType
from pipeline.core.models import PageStatus, Reading, Tombstone
from support.readings import FAILURE, full_reading

GERMAN = "Die Häuser am Kai werden im Winter von den Lotsen bewohnt"
ENGLISH = "The harbour master counts the ships that lie at the quay"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "expected").mkdir()
    return tmp_path / "expected"


def keep(archive: Archive, document: str, name: str, *texts: str | None, media_type: MediaType = MediaType.PDF) -> None:
    """Archive a document with a reading for each text; None is a page that failed."""
    base = full_reading()
    for number, text in enumerate(texts, 1):
        info = base.document.model_copy(update={"id": document * 64, "name": name, "media_type": media_type})
        status = PageStatus.DESCRIBED if text is not None else PageStatus.FAILED
        reading = base.model_copy(
            update={
                "document": info,
                "page_number": number,
                "revision": 1,
                "text": text,
                "status": status,
                "error": None if text is not None else FAILURE,
            }
        )
        append(archive, reading)


def append(archive: Archive, reading: Reading | Tombstone) -> None:
    document = reading.document.id if isinstance(reading, Reading) else reading.document_id
    known = None
    if reading.revision > 1:
        known = archive.readings(reading.collection, document).page(reading.page_number).revision(reading.revision - 1)
    archive.readings(reading.collection, document).page(reading.page_number).advance(known, lambda _: reading)


def test_a_file_is_about_a_document_or_about_one_page_of_it(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "report.pdf", ENGLISH, GERMAN)
    (folder / "report.pdf.txt").write_text(f"{ENGLISH}\n{GERMAN}", encoding="utf-8")
    (folder / "report.pdf.2.txt").write_text(GERMAN, encoding="utf-8")
    page, whole = evaluate(folder, archive, "works").scored
    assert (page.file, page.page, page.pages, page.recall, page.error_rate) == ("report.pdf.2.txt", 2, 1, 1.0, 0.0)
    assert (whole.file, whole.page, whole.pages, whole.recall, whole.error_rate) == (
        "report.pdf.txt",
        None,
        2,
        1.0,
        0.0,
    )
    assert (page.language, page.language_read, page.language_agrees) == ("de", "de", True)


def test_a_document_of_that_very_name_comes_before_a_page_of_another(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "plan", ENGLISH, ENGLISH)
    keep(archive, "b", "plan.2", GERMAN)
    (folder / "plan.2.txt").write_text(GERMAN, encoding="utf-8")
    (scored,) = evaluate(folder, archive, "works").scored
    assert (scored.document, scored.page, scored.recall) == ("plan.2", None, 1.0)


def test_names_are_the_same_composed_or_not(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "Häuser.pdf", GERMAN)
    (folder / "Ha\u0308user.pdf.txt").write_text(GERMAN, encoding="utf-8-sig")
    (scored,) = evaluate(folder, archive, "works").scored
    assert scored.error_rate == 0.0


def test_what_belongs_to_no_page_is_told_with_the_reason(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "report.pdf", ENGLISH)
    keep(archive, "b", "twice.pdf", ENGLISH)
    keep(archive, "c", "twice.pdf", GERMAN)
    for name in ("report.pdf.7.txt", "twice.pdf.txt", "unknown.pdf.txt", "report.txt", "notes.md"):
        (folder / name).write_text(ENGLISH)
    found = evaluate(folder, archive, "works")
    assert found.scored == ()
    assert {one.file: one.reason for one in found.unmatched} == {
        "report.pdf.7.txt": "page 7 of the document was not read",
        "report.txt": "no document has this name",
        "twice.pdf.txt": "2 documents have this name",
        "unknown.pdf.txt": "no document has this name",
    }


def test_the_newest_readings_count_and_a_page_that_failed_has_no_text(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "report.pdf", "nonsense", None)
    first = archive.readings("works", "a" * 64).page(1).revision(1)
    assert isinstance(first, Reading)
    append(archive, first.model_copy(update={"revision": 2, "text": ENGLISH}))
    (folder / "report.pdf.txt").write_text(f"{ENGLISH} {ENGLISH}", encoding="utf-8")
    (scored,) = evaluate(folder, archive, "works").scored
    assert (scored.recall, scored.pages, scored.failed) == (0.5, 2, 1)


def test_deleted_documents_are_not_there(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "report.pdf", ENGLISH)
    gone = Tombstone(collection="works", document_id="a" * 64, page_number=1, revision=2, deletion=1)
    append(archive, gone)
    (folder / "report.pdf.txt").write_text(ENGLISH)
    assert evaluate(folder, archive, "works").scored == ()


def test_means_are_over_texts_of_one_language_and_format(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "one.pdf", ENGLISH)
    keep(archive, "b", "two.pdf", "")
    keep(archive, "c", "three.png", ENGLISH, media_type=MediaType.PNG)
    for name, text in {"one.pdf": ENGLISH, "two.pdf": ENGLISH, "three.png": GERMAN}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    found = evaluate(folder, archive, "works")
    german, english = found.groups
    assert (english.language, english.media_type, english.texts) == ("en", MediaType.PDF, 2)
    assert (english.recall, english.error_rate, english.language_agrees) == (0.5, 0.5, 0.5)
    assert (german.language, german.media_type, german.language_agrees) == ("de", MediaType.PNG, 0.0)
    assert found.total.texts == 3
    assert found.total.recall == pytest.approx(sum(one.recall or 0 for one in found.scored) / 3)


def test_a_text_that_is_no_utf_8_is_named(archive: Archive, folder: Path) -> None:
    keep(archive, "a", "report.pdf", GERMAN)
    (folder / "report.pdf.txt").write_bytes(GERMAN.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"report\.pdf\.txt"):
        evaluate(folder, archive, "works")


def test_a_folder_that_is_not_there_is_an_error(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        evaluate(tmp_path / "nowhere", archive, "works")
