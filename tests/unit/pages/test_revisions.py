"""The rules by which a page's next revision is chosen, on a real archive in a folder."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store, source_id
from pipeline.core.formats import MediaType
from pipeline.core.models import DocumentInfo, Failure, PageStatus, Reading, Tombstone
from pipeline.pages.deletion import request_deletion
from pipeline.pages.revisions import (
    add_path,
    bury,
    forget_source,
    give_way,
    is_overtaken,
    remove_path,
    save_reading,
)
from support.readings import full_source

DOCUMENT = "d" * 64


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


def reading(path: str = "/a.pdf", fingerprint: str = "f1", **more: object) -> Reading:
    values: dict[str, object] = {
        "collection": "works",
        "document": DocumentInfo(
            id=DOCUMENT,
            name="a.pdf",
            path=(path,),
            title=None,
            media_type=MediaType.PDF,
            bytes=1,
            pages=1,
            modified=None,
        ),
        "page_number": 1,
        "page_label": None,
        "revision": 1,
        "fingerprint": fingerprint,
        "status": PageStatus.DESCRIBED,
        "batch": "b",
        "deletions_seen": 0,
        "language": "en",
        "archived_at": datetime.now(UTC),
    }
    return Reading.model_validate(values | more)


def newest(archive: Archive) -> Reading | Tombstone:
    (found,) = archive.readings("works", DOCUMENT).newest()
    return found


def test_the_first_reading_is_revision_1(archive: Archive) -> None:
    saved = save_reading(archive, reading(), None)

    assert saved == newest(archive)
    assert saved is not None
    assert saved.revision == 1


def test_an_equal_reading_of_another_writer_wins_and_learns_of_the_other_place(archive: Archive) -> None:
    save_reading(archive, reading("/a.pdf", text="first"), None)
    saved = save_reading(archive, reading("/b.pdf", text="second"), None)

    assert isinstance(saved, Reading)
    assert (saved.revision, saved.text, saved.document.path) == (2, "first", ("/a.pdf", "/b.pdf"))
    assert save_reading(archive, reading("/b.pdf"), None) == saved


def test_another_recipe_takes_the_next_revision_and_keeps_the_places(archive: Archive) -> None:
    first = save_reading(archive, reading("/a.pdf"), None)
    saved = save_reading(archive, reading("/b.pdf", fingerprint="f2"), first)

    assert isinstance(saved, Reading)
    assert (saved.revision, saved.fingerprint, saved.document.path) == (2, "f2", ("/a.pdf", "/b.pdf"))


def test_a_success_replaces_a_failure_but_a_failure_no_success(archive: Archive) -> None:
    failure = Failure(type="answer_timeout", message="m", remedy="r", transient=True)
    failed = reading(status=PageStatus.FAILED, error=failure)
    save_reading(archive, failed, None)
    good = save_reading(archive, reading(), None)
    late = save_reading(archive, failed, None)

    assert isinstance(good, Reading)
    assert (good.revision, good.status) == (2, PageStatus.DESCRIBED)
    assert late == good


def test_places_come_and_go_as_revisions(archive: Archive) -> None:
    first = save_reading(archive, reading("/a.pdf"), None)
    assert isinstance(first, Reading)
    other = full_source(failed=False).model_copy(update={"url": "file:///b.zip#c/d.pdf", "path": "/b.zip/c/d.pdf"})
    both = add_path(archive, first, other)
    assert isinstance(both, Reading)
    assert both.document.container == ("/b.zip",)
    assert add_path(archive, both, other) == both
    one = remove_path(archive, first, "/a.pdf")  # from an old reading: the newest one is what counts

    assert isinstance(one, Reading)
    assert (one.revision, one.document.path, one.document.container) == (3, ("/b.zip/c/d.pdf",), ("/b.zip",))
    none = remove_path(archive, one, "/b.zip/c/d.pdf")
    assert isinstance(none, Reading)
    assert (none.document.path, none.document.container) == ((), ())


def test_a_deletion_wins_over_a_batch_that_began_before_it(archive: Archive) -> None:
    before = save_reading(archive, reading(), None)
    assert before is not None
    deletion = request_deletion(archive, "works", None, purge=False)
    bury(archive, "works", DOCUMENT, 1, before, deletion)

    saved = save_reading(archive, reading(fingerprint="f2"), before)

    assert isinstance(saved, Tombstone)
    assert newest(archive) == saved


def test_a_page_saved_after_the_deletion_looked_is_buried_by_its_own_writer(archive: Archive) -> None:
    deletion = request_deletion(archive, "works", DOCUMENT, purge=False)

    saved = save_reading(archive, reading(), None)

    assert isinstance(saved, Tombstone)
    assert (saved.revision, saved.deletion) == (2, deletion.revision)


def test_a_document_is_overtaken_by_its_own_deletion_and_by_its_collections(archive: Archive) -> None:
    assert not is_overtaken(archive, "works", DOCUMENT, deletions_seen=0)
    request_deletion(archive, "works", "e" * 64, purge=False)
    assert not is_overtaken(archive, "works", DOCUMENT, deletions_seen=0)
    request_deletion(archive, "works", DOCUMENT, purge=False)
    assert is_overtaken(archive, "works", DOCUMENT, deletions_seen=0)
    assert not is_overtaken(archive, "works", DOCUMENT, deletions_seen=2)


def test_a_source_gives_way_to_the_deletion_of_its_collection_alone(archive: Archive) -> None:
    source = archive.sources("works")[source_id("file:///in/a.pdf")].append(lambda _: full_source(failed=False))
    request_deletion(archive, "works", DOCUMENT, purge=False)
    assert give_way(archive, source, deletions_seen=0) == source
    request_deletion(archive, "works", None, purge=False)
    assert give_way(archive, source, deletions_seen=2) == source

    forgotten = give_way(archive, source, deletions_seen=1)

    assert (forgotten.revision, forgotten.document, forgotten.error) == (2, None, None)
    assert forget_source(archive, source) == forgotten


def test_a_deletion_that_is_carried_out_late_leaves_alone_what_was_asked_for_since(archive: Archive) -> None:
    deletion = request_deletion(archive, "works", None, purge=False)
    saved = save_reading(archive, reading(deletions_seen=deletion.revision), None)
    assert saved is not None

    assert bury(archive, "works", DOCUMENT, 1, saved, deletion) == saved
    assert isinstance(
        bury(archive, "works", DOCUMENT, 1, saved, request_deletion(archive, "works", None, False)), Tombstone
    )


def test_a_revision_that_was_purged_meanwhile_is_read_as_the_newest_one(archive: Archive) -> None:
    before = save_reading(archive, reading(), None)
    assert before is not None
    tombstone = bury(archive, "works", DOCUMENT, 1, before, request_deletion(archive, "works", None, purge=True))
    archive.readings("works", DOCUMENT).purge({1: 2})

    assert archive.readings("works", DOCUMENT).page(1).revision(1) == tombstone
    with pytest.raises(KeyError):
        archive.readings("works", DOCUMENT).page(1).revision(3)


def test_a_deletion_of_another_document_is_of_no_account(archive: Archive) -> None:
    request_deletion(archive, "works", "e" * 64, purge=False)

    assert isinstance(save_reading(archive, reading(), None), Reading)


def test_a_request_after_the_deletion_lifts_it(archive: Archive) -> None:
    before = save_reading(archive, reading(), None)
    assert before is not None
    deletion = request_deletion(archive, "works", None, purge=False)
    bury(archive, "works", DOCUMENT, 1, before, deletion)

    saved = save_reading(archive, reading(deletions_seen=deletion.revision), None)

    assert isinstance(saved, Reading)
    assert saved.revision == 3
