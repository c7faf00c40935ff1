"""What the archive knows of a folder against what lies there: real folders, a real archive."""

import hashlib
import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store, source_id
from pipeline.core.errors import SettingsError, SourceUnreadable
from pipeline.core.formats import MediaType
from pipeline.core.models import Document, Failure, FilePatterns, Root, Source
from pipeline.core.retry import CancelToken
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.maintenance.folder_sync import FEW, FolderComparison, compare, is_below, require_few, require_folder
from pipeline.pages.revisions import forget_source
from pipeline.rendering.host.pool import SandboxPool
from pipeline.sources import Containers, PathFilter, SourceCache, SourceFiles, file_state, source_url, walk
from pipeline.sources.members import member_state
from support.containers import page, zipped
from support.conversions import CONVERTER
from support.pagesight_runs import make_pdf
from support.rendering import LIMITS

PAGE = page("one")


class Place:
    """A folder of files, and an archive that knows some of them."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "scans"
        self.folder.mkdir()
        self.archive = Archive(Store(str(root / "archive")))
        self._cache = SourceCache(root / "cache", 1 << 20)

    def pdf(self, name: str, seed: int) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        return make_pdf(path, 1, seed)

    def know_members(self, path: Path, *names: str) -> None:
        """Archive what registering members of a container would have found."""
        container = self.know(path)
        assert container.state is not None
        assert container.document is not None
        document = container.document.model_copy(update={"pages": 0, "members": len(names)})
        container = self.know(path, document=document, revision=2)
        for name in names:
            url = f"{container.url}#{name}"
            state = member_state(container.state, len(PAGE))
            document = container.document.model_copy(
                update={"id": hashlib.sha256(url.encode()).hexdigest(), "members": 0}
            )
            source = container.model_copy(
                update={"document": document, "url": url, "path": f"{path}/{name}", "state": state}
            )
            self.archive.sources("works")[source_id(url)].append(lambda _, source=source: source)

    def know(self, path: Path, **more: object) -> Source:
        """Archive what registering the file would have found."""
        data = path.read_bytes()
        document = Document(
            id=hashlib.sha256(data).hexdigest(), bytes=len(data), media_type=MediaType.PDF, pages=1, title=None
        )
        source = Source(
            collection="works",
            url=source_url(path),
            path=str(path),
            state=None if path.is_symlink() else file_state(path),
            document=document,
            batch="b",
            revision=1,
            observed_at=datetime.now(UTC),
        ).model_copy(update=more)
        return self.archive.sources("works")[source_id(source.url)].append(lambda _: source)

    def compare(
        self, folder: Path | None = None, *, unattended: bool = False, exclude: tuple[str, ...] = ()
    ) -> FolderComparison:
        url = source_url(folder or self.folder)
        with closing(SandboxPool(1, LIMITS)) as pool:
            opener = Opener(pool, Passwords(), CONVERTER)
            files = SourceFiles(self._cache, 1 << 30, CancelToken(), Containers(opener, self._cache, 3))
            patterns = FilePatterns(roots=(url,), exclude=exclude)
            found = walk([url], (), CancelToken(), choose=PathFilter(patterns).listing)
            return compare(self.archive, files, "works", url, found, unattended=unattended, patterns=patterns)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def told(comparison: FolderComparison) -> dict[str, list[str]]:
    def name(url: str) -> str:
        return url.rsplit("/", 1)[-1]

    return {
        "new": [name(found.url) for found in comparison.new],
        "changed": [name(found.url) for found in comparison.changed],
        "moved": [f"{name(move.source.url)} > {name(move.url)}" for move in comparison.moved],
        "vanished": sorted(name(source.url) for source in comparison.vanished),
    }


def nothing(**but: list[str]) -> dict[str, list[str]]:
    return {"new": [], "changed": [], "moved": [], "vanished": []} | but


def test_a_folder_that_is_as_it_was_has_no_differences(place: Place) -> None:
    place.know(place.pdf("a.pdf", 1))
    place.know(place.pdf("below/b.pdf", 2))
    comparison = place.compare()

    assert told(comparison) == nothing()
    assert (comparison.known, comparison.unchanged) == (2, 2)


def test_a_file_that_nobody_knows_is_new(place: Place) -> None:
    place.pdf("a.pdf", 1)

    assert told(place.compare()) == nothing(new=["a.pdf"])


def test_a_forgotten_file_is_new(place: Place) -> None:
    forget_source(place.archive, place.know(place.pdf("a.pdf", 1)))

    assert told(place.compare()) == nothing(new=["a.pdf"])


@pytest.mark.parametrize("what", ["bytes", "mtime", "inode"])
def test_another_size_time_or_inode_makes_a_file_changed(place: Place, what: str) -> None:
    path = place.pdf("a.pdf", 1)
    before = place.know(path).state
    assert before is not None
    if what == "bytes":
        path.write_bytes(path.read_bytes() + b"%")
        os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    elif what == "mtime":
        os.utime(path, ns=(before.mtime_ns, before.mtime_ns + 1))
    else:
        shutil.copy2(path, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
    after = file_state(path)
    differing = [field for field in ("bytes", "mtime_ns", "inode") if getattr(before, field) != getattr(after, field)]
    assert differing == ["mtime_ns" if what == "mtime" else what]

    assert told(place.compare()) == nothing(changed=["a.pdf"])


def test_a_moved_file_is_told_by_its_bytes_not_by_its_size(place: Place) -> None:
    path = place.pdf("a.pdf", 1)
    place.know(path)
    size = path.stat().st_size
    path.rename(place.folder / "renamed.pdf")
    other = place.pdf("other.pdf", 1)
    other.write_bytes(b"%PDF-" + b"x" * (size - 5))

    assert told(place.compare()) == nothing(new=["other.pdf"], moved=["a.pdf > renamed.pdf"])


def test_a_copy_of_a_file_that_is_still_there_is_new(place: Place) -> None:
    path = place.pdf("a.pdf", 1)
    place.know(path)
    shutil.copy(path, place.folder / "copy.pdf")

    assert told(place.compare()) == nothing(new=["copy.pdf"])


def test_of_two_copies_of_a_vanished_file_one_is_the_move(place: Place) -> None:
    path = place.pdf("a.pdf", 1)
    place.know(path)
    shutil.copy(path, place.folder / "b.pdf")
    path.rename(place.folder / "c.pdf")

    assert told(place.compare()) == nothing(moved=["a.pdf > b.pdf"], new=["c.pdf"])


def test_two_moves_of_equal_files_are_two(place: Place) -> None:
    for name in ("a.pdf", "b.pdf"):
        place.know(place.pdf(name, 1))
    (place.folder / "a.pdf").rename(place.folder / "x.pdf")
    (place.folder / "b.pdf").rename(place.folder / "y.pdf")
    comparison = place.compare()

    assert sorted(move.url.rsplit("/", 1)[-1] for move in comparison.moved) == ["x.pdf", "y.pdf"]
    assert sorted(move.source.url.rsplit("/", 1)[-1] for move in comparison.moved) == ["a.pdf", "b.pdf"]


def test_what_is_gone_has_vanished(place: Place) -> None:
    place.pdf("a.pdf", 1)
    place.know(place.folder / "a.pdf")
    (place.folder / "a.pdf").unlink()

    assert told(place.compare()) == nothing(vanished=["a.pdf"])


def test_what_patterns_leave_out_is_neither_new_nor_vanished(place: Place) -> None:
    for name in ("a.pdf", "drafts/b.pdf", "drafts/gone.pdf"):
        place.know(place.pdf(name, 1))
    place.pdf("drafts/c.pdf", 2)
    (place.folder / "drafts/gone.pdf").unlink()
    comparison = place.compare(exclude=("drafts/",))

    assert told(comparison) == nothing()
    assert (comparison.known, comparison.unchanged) == (1, 1)


def test_only_the_folder_itself_counts(place: Place) -> None:
    inside, beside = place.pdf("in/a.pdf", 1), place.pdf("in2/b.pdf", 2)
    place.know(inside)
    place.know(beside)
    beside.unlink()

    assert told(place.compare(place.folder / "in")) == nothing()
    assert place.compare(place.folder / "in").known == 1


def test_nothing_has_vanished_in_a_folder_that_may_not_be_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may list everything, so the refusal is made."""
    place.know(place.pdf("shut/a.pdf", 1))
    real, shut = os.scandir, (place.folder / "shut").stat()

    def refusing(descriptor: int) -> object:
        if os.path.samestat(os.fstat(descriptor), shut):
            raise PermissionError(13, "Permission denied")
        return real(descriptor)

    monkeypatch.setattr(os, "scandir", refusing)

    assert told(place.compare()) == nothing(new=["shut"])


def test_a_failure_that_is_still_the_same_is_no_change(place: Place) -> None:
    failure = Failure.of(SourceUnreadable("no right"))
    place.know(place.pdf("a.pdf", 1), document=None, error=failure)

    assert told(place.compare()) == nothing()


def test_a_link_that_leads_out_is_enqueued_once_with_its_reason(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "secret.pdf"
    outside.write_bytes(b"%PDF-")
    (place.folder / "link.pdf").symlink_to(outside)
    (entry,) = place.compare().entries

    assert entry.error is not None
    assert entry.error.type == "outside_link"

    link = place.folder / "link.pdf"
    place.know(link, document=None, error=entry.error, state=None)
    assert told(place.compare()) == nothing()


def test_an_empty_folder_is_taken_for_one_that_is_not_mounted(place: Place) -> None:
    place.know(place.pdf("a.pdf", 1))
    (place.folder / "a.pdf").unlink()

    with pytest.raises(SettingsError, match="is empty"):
        require_folder(place.compare(), source_url(place.folder))


def test_a_folder_of_which_nothing_is_known_may_be_empty(place: Place) -> None:
    require_folder(place.compare(), source_url(place.folder))


@pytest.mark.parametrize(
    ("vanished", "known", "passes"),
    [(FEW, FEW, True), (FEW + 1, FEW + 1, False), (20, 200, True), (21, 200, False), (0, 0, True)],
)
def test_more_than_a_few_and_more_than_a_tenth_are_too_many(
    place: Place, vanished: int, known: int, passes: bool
) -> None:
    source = place.know(place.pdf("a.pdf", 1))
    comparison = FolderComparison(known=known, vanished=[source] * vanished)

    if passes:
        require_few(comparison)
    else:
        with pytest.raises(SettingsError, match=f"{vanished} of {known}"):
            require_few(comparison)


@pytest.mark.parametrize(
    ("url", "folder", "below"),
    [
        ("file:///a/b", "file:///a", True),
        ("file:///a", "file:///a", True),
        ("file:///ab", "file:///a", False),
        ("s3://b/a/x", "s3://b/a/", True),
        ("s3://b/ab", "s3://b/a/", False),
        ("s3://b/x", "s3://b/", True),
    ],
)
def test_what_lies_below_a_folder(url: str, folder: str, below: bool) -> None:
    assert is_below(url, folder) is below


def test_what_lies_in_containers_goes_with_them(place: Place) -> None:
    still, changed, moved, gone = (place.folder / f"{name}.zip" for name in ("still", "changed", "moved", "gone"))
    for number, path in enumerate((still, changed, moved, gone)):
        path.write_bytes(zipped({"a.pdf": PAGE, "b.pdf": PAGE, "number.txt": bytes([number])}))
        place.know_members(path, "a.pdf", "b.pdf")
    changed.write_bytes(zipped({"b.pdf": PAGE, "new.pdf": PAGE}))
    moved.rename(place.folder / "elsewhere.zip")
    gone.unlink()
    comparison = place.compare()
    assert told(comparison) == {
        "new": [],
        "changed": ["changed.zip"],
        "moved": [
            "moved.zip > elsewhere.zip",
            "moved.zip#a.pdf > elsewhere.zip#a.pdf",
            "moved.zip#b.pdf > elsewhere.zip#b.pdf",
        ],
        "vanished": ["changed.zip#a.pdf", "gone.zip", "gone.zip#a.pdf", "gone.zip#b.pdf"],
    }
    # The members of one at rest, and the one that the changed archive still holds.
    assert (comparison.known, comparison.unchanged) == (12, 4)
    assert [entry.url.rsplit("/", 1)[-1] for entry in comparison.entries] == ["changed.zip", "elsewhere.zip"]


def test_a_schedule_follows_no_link_that_replaced_its_folder(place: Place, tmp_path: Path) -> None:
    place.know(place.pdf("a.pdf", 1), root=Root(url=source_url(place.folder)))
    assert place.compare(unattended=True).unchanged == 1
    theirs = tmp_path / "theirs"
    place.folder.rename(tmp_path / "before")
    theirs.mkdir()
    make_pdf(theirs / "secret.pdf", 1, 9)
    place.folder.symlink_to(theirs)

    with pytest.raises(SettingsError, match=f"{place.folder} now leads to {theirs}, unlike before"):
        place.compare(unattended=True)
    assert told(place.compare())["new"] == ["secret.pdf"]  # a person names the folder now


def test_a_schedule_follows_the_link_that_was_recorded(place: Place, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(place.folder)
    path = place.pdf("a.pdf", 1)
    root = Root(url=source_url(alias), target=source_url(place.folder))
    place.know(path, url=source_url(alias / "a.pdf"), root=root)

    assert place.compare(alias, unattended=True).known == 1
