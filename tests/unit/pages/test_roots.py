"""Roots: which folder a known file is opened beneath, also where an archive of an earlier version has none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import Batch, Root, Source
from pipeline.pages.roots import folder_of, root_of, with_root
from pipeline.sources import source_url


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    return tmp_path / "in"


def batch(archive: Archive, name: str, **fields: object) -> Batch:
    """Archive a batch of an earlier version, unless it has `folders`."""
    old = Batch(
        id=name,
        collection="works",
        language="en",
        sources=(),
        deletions_seen=0,
        state="done",
        started_at=datetime.now(UTC),
        revision=1,
    ).model_copy(update=fields)
    archive.batches[name].create(old)
    return old


def source(path: Path, root: Root | None = None) -> Source:
    return Source(
        collection="works",
        url=source_url(path),
        path=str(path),
        root=root,
        state=None,
        mount=None,
        batch="first",
        revision=1,
        observed_at=datetime.now(UTC),
    )


def test_a_source_keeps_its_own_root(archive: Archive, folder: Path) -> None:
    own = Root(url=source_url(folder), target="file:///elsewhere")
    batch(archive, "first", folders=(Root(url=source_url(folder / "deep")),))

    assert root_of(source_url(folder / "a.pdf"), source(folder / "a.pdf", own), "first", archive) == own


def test_an_object_has_no_root(archive: Archive) -> None:
    assert root_of("s3://bucket/a.pdf", None, "first", archive) is None
    assert folder_of(batch(archive, "first"), "s3://bucket/") is None


@pytest.mark.parametrize("field", ["roots", "sources"])
def test_an_old_source_is_beneath_the_innermost_folder_that_its_batch_named(
    archive: Archive, folder: Path, field: str
) -> None:
    urls = (source_url(folder.parent), source_url(folder))
    named = urls if field == "roots" else ("the files of a schedule", str(folder.parent), str(folder))
    batch(archive, "first", **{field: named})

    assert with_root(source(folder / "deep" / "a.pdf"), archive).root == Root(url=source_url(folder))
    assert with_root(source(folder.parent / "b.pdf"), archive).root == Root(url=source_url(folder.parent))


def test_the_batch_at_work_is_looked_at_before_the_one_that_registered_the_source(
    archive: Archive, folder: Path
) -> None:
    batch(archive, "first", roots=(source_url(folder),))
    batch(archive, "second", folders=(Root(url=source_url(folder / "deep")),))
    old = source(folder / "deep" / "a.pdf")

    assert root_of(old.url, old, "second", archive) == Root(url=source_url(folder / "deep"))
    assert root_of(old.url, old, "unknown", archive) == Root(url=source_url(folder))


def test_without_a_folder_around_it_there_is_no_root_and_so_no_link_is_followed(archive: Archive, folder: Path) -> None:
    batch(archive, "first", roots=(source_url(folder / "deep"),))

    assert with_root(source(folder / "a.pdf"), archive).root is None
    assert with_root(source(folder / "deeper.pdf"), archive).root is None


def test_a_link_that_an_old_batch_named_is_followed_and_a_recorded_folder_is_not(
    archive: Archive, folder: Path, tmp_path: Path
) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(folder)
    old = batch(archive, "first", roots=(source_url(alias),))
    new = batch(archive, "second", roots=(source_url(alias),), folders=(Root(url=source_url(alias)),))

    assert folder_of(old, source_url(alias)) == Root(url=source_url(alias), target=source_url(folder))
    assert folder_of(new, source_url(alias)) == Root(url=source_url(alias))
