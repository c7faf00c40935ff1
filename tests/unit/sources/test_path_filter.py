"""Patterns choose files by their paths below the named roots, in folders, buckets and containers."""

from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.file_patterns import parse_patterns
from pipeline.core.models import FilePatterns
from pipeline.core.retry import CancelToken
from pipeline.sources import PathFilter, display_path, source_url, walk

ROOT, BUCKET = "file:///scans", "s3://archive/1987/"


def chosen(
    *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), roots: tuple[str, ...] = (ROOT,)
) -> PathFilter:
    return PathFilter(FilePatterns(roots=roots, include=include, exclude=exclude))


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        ("*.pdf", "/a.pdf", True),
        ("*.pdf", "/deep/50%25%20%C3%BC.pdf", True),
        ("*.pdf", "/a.PDF", False),
        ("ü.pdf", "/deep/%C3%BC.pdf", True),
        ("/a.pdf", "/a.pdf", True),
        ("/a.pdf", "/deep/a.pdf", False),
        ("drafts/", "/deep/drafts/a.pdf", True),
        ("drafts/", "/drafts", False),
        ("**/old/*.tif", "/x/old/a.tif", True),
        ("?.pdf", "/ab.pdf", False),
        ("drafts/", "/box.zip#letters/drafts/a.pdf", True),
        ("/box.zip/letters/", "/box.zip#letters/a.pdf", True),
        ("*.png", "/box.zip#inner.zip#a.png", True),
        ("scans/", "/a.pdf", False),
    ],
)
def test_a_pattern_means_what_it_means_in_a_gitignore_file(pattern: str, url: str, *, matches: bool) -> None:
    assert chosen(exclude=(pattern,)).keeps(ROOT + url) is not matches
    if "#" not in url:
        assert chosen(include=(pattern,)).keeps(ROOT + url) is matches


def test_the_last_pattern_that_matches_counts() -> None:
    filter_ = chosen(exclude=("*.pdf", "!keep.pdf"))
    assert filter_.keeps(f"{ROOT}/deep/keep.pdf")
    assert not filter_.keeps(f"{ROOT}/deep/a.pdf")


def test_members_come_with_their_container_and_can_be_excluded() -> None:
    filter_ = chosen(include=("*.zip",), exclude=("*.png",))
    assert filter_.keeps(f"{ROOT}/box.zip#inner.zip#a.pdf")
    assert not filter_.keeps(f"{ROOT}/box.zip#a.png")
    assert not filter_.keeps(f"{ROOT}/letter.eml#a.zip")


def test_a_root_that_is_a_file_is_kept_and_buckets_are_like_folders() -> None:
    assert chosen(exclude=("*.pdf",), roots=(f"{ROOT}/a.pdf",)).keeps(f"{ROOT}/a.pdf")
    bucket = chosen(include=("*.pdf",), exclude=("/drafts/",), roots=(BUCKET,))
    assert bucket.keeps(f"{BUCKET}deep/drafts/a.pdf")
    assert not bucket.keeps(f"{BUCKET}drafts/a.pdf")
    assert not bucket.keeps_folder(f"{BUCKET}drafts/")
    assert bucket.keeps_folder(f"{BUCKET}deep/")


@pytest.mark.parametrize("pattern", ["", "  ", "# a comment", "!"])
def test_a_pattern_that_says_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(SettingsError, match="pattern"):
        parse_patterns([pattern])


def test_a_walk_counts_what_patterns_leave_out_and_does_not_enter_excluded_folders(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.txt", "drafts/c.pdf", "deep/d.pdf", "deep/e.txt", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    counts: list[int] = []
    root = source_url(tmp_path)
    choose = chosen(include=("*.pdf",), exclude=("drafts/",), roots=(root,)).listing
    found = [display_path(one.url) for one in walk([root], (), CancelToken(), counts.append, choose)]
    assert found == [f"{tmp_path}/a.pdf", f"{tmp_path}/deep/d.pdf"]
    assert sum(counts) == 4
