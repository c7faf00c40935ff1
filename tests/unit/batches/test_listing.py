"""The walk of a queued batch on a real archive: killed between any two records, it loses and doubles no source."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.archive import Archive, Store
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.listing import (
    CHUNK_SOURCES,
    all_due_messages,
    first_messages,
    is_live,
    is_of_batch,
    name_sources,
    walk_folder,
)
from pipeline.batches.messages import Message, Pages, Part, Project, Walk, folder_id, from_json, kind_of, split, to_json
from pipeline.core.models import Batch, BatchEntry, Lane
from pipeline.sources import FoundFile, Listing, list_folder, named_root, source_url

ROOT = "s3://bucket/scans/"
FOLDER = "file:///scans"


class Killed(Exception):
    """What a process that is killed leaves undone."""


class DyingStore(Store):
    """Its process is killed when it would write the record after so many."""

    def __init__(self, url: str, records: int) -> None:
        super().__init__(url)
        self._left = records

    def create(self, name: str, data: bytes) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        super().create(name, data)


def begun(archive: Archive, roots: Iterable[str] = (ROOT,)) -> Batch:
    return begin_batch(archive, "default", None, "en", ["scans"], lane=Lane.NORMAL, roots=roots)


def walked(batch: Batch, archive: Archive, lister: Callable[[Walk], Listing]) -> list[Part]:
    """Work every walk message as the queue would; return the parts that are to be worked."""
    parts: list[Part] = []
    queue: list[Message] = list(first_messages(batch))
    while queue:
        message = queue.pop()
        if isinstance(message, Walk):
            queue += walk_folder(message, archive, lister)
        else:
            assert isinstance(message, Part)
            parts.append(message)
    assert len(set(parts)) == len(parts)
    return parts


def sources_of(parts: Iterable[Part], archive: Archive) -> list[str]:
    urls = []
    for message in parts:
        chunk = archive.journal(message.batch).chunk(message.chunk)
        assert chunk is not None
        entries = chunk.entries[16 * message.part : 16 * message.part + 16]
        assert entries
        urls += [entry.url for entry in entries]
    return urls


def url_of(number: int) -> str:
    """Names that a bucket lists by their bytes, `ä` behind `z`, while their URLs begin with `%`."""
    return f"{ROOT}{'%C3%A4' if number % 7 == 3 else ''}{number:05}.pdf"


def key_of(url: str) -> bytes:
    return url.replace("%C3%A4", "ä").encode()


def bucket(urls: Iterable[str], page_keys: int) -> Callable[[Walk], Listing]:
    """Lists one folder in pages of so many keys, as a bucket does."""
    keys = sorted(urls, key=key_of)

    def lister(walk: Walk) -> Listing:
        rest = [url for url in keys if key_of(url) > walk.cursor.encode()]
        page = rest[:page_keys]
        cursor = key_of(page[-1]).decode() if len(rest) > page_keys else ""
        return Listing(tuple(map(FoundFile, page)), cursor=cursor)

    return lister


#: A stretch of files, and in which of the lives of the walk each of them is there.
Stretch = tuple[int, tuple[bool, bool, bool]]
STRETCHES: st.SearchStrategy[list[Stretch]] = st.lists(
    st.tuples(st.integers(1, 400), st.tuples(st.booleans(), st.booleans(), st.booleans())), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(
    stretches=STRETCHES, kills=st.tuples(st.integers(0, 5), st.integers(0, 5)), page_keys=st.sampled_from([1000, 9999])
)
# The first page ended behind 999; while the walk was dead, files came before it, so that it ends earlier.
@example(stretches=[(7, (False, True, True)), (1400, (True, True, True))], kills=(2, 3), page_keys=1000)
# Files went: the page reaches further, to names whose URLs come first.
@example(stretches=[(7, (True, False, False)), (1400, (True, True, True))], kills=(1, 3), page_keys=1000)
# What the first chunk ended with is gone.
@example(stretches=[(400, (True, True, True)), (200, (True, False, True))], kills=(1, 1), page_keys=9999)
def test_a_walk_that_is_killed_loses_and_doubles_nothing(
    stretches: list[Stretch], kills: tuple[int, int], page_keys: int
) -> None:
    lives: list[list[str]] = [[], [], []]
    first = 0
    for length, there in stretches:
        for life in range(3):
            if there[life]:
                lives[life] += map(url_of, range(first, first + length))
        first += length
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Store(folder))
        batch = begun(archive)
        for urls, records in zip(lives, kills, strict=False):
            try:
                walked(batch, Archive(DyingStore(folder, records)), bucket(urls, page_keys))
            except Killed:
                continue
        found = Counter(sources_of(walked(batch, archive, bucket(lives[2], page_keys)), archive))
    assert set(found.values()) <= {1}
    assert set(found) >= set(lives[0]) & set(lives[1]) & set(lives[2])
    assert set(found) <= set(lives[0]) | set(lives[1]) | set(lives[2])


def test_a_folder_of_1200_files_gives_three_chunks(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(1200):
        (files / f"{number}.pdf").touch()
    archive = Archive(Store(str(tmp_path / "archive")))
    batch = begun(archive, [source_url(files)])
    parts = walked(batch, archive, lambda walk: list_folder(walk.url, named_root(walk.root)))
    identifier = folder_id(source_url(files), source_url(files), "")
    folder = archive.journal(batch.id).folders.get(identifier)
    assert folder is not None
    assert folder.sources == (CHUNK_SOURCES, CHUNK_SOURCES, 200)
    assert Counter(part.chunk for part in parts) == {
        f"{identifier}.0": 32,
        f"{identifier}.1": 32,
        f"{identifier}.2": 13,
    }
    assert sorted(sources_of(parts, archive)) == sorted(source_url(files / f"{number}.pdf") for number in range(1200))


def test_a_page_of_a_bucket_may_hold_nothing_but_folders(tmp_path: Path) -> None:
    pages = {
        (ROOT, ""): Listing(folders=(f"{ROOT}a/", f"{ROOT}b/"), cursor="scans/b/"),
        (ROOT, "scans/b/"): Listing((FoundFile(url_of(1)),), (f"{ROOT}c/",)),
        (f"{ROOT}a/", ""): Listing((FoundFile(f"{ROOT}a/1.pdf"),)),
    }
    archive = Archive(Store(str(tmp_path)))
    batch = begun(archive)
    parts = walked(batch, archive, lambda walk: pages.get((walk.url, walk.cursor), Listing()))
    assert sorted(sources_of(parts, archive)) == [url_of(1), f"{ROOT}a/1.pdf"]
    assert len(archive.journal(batch.id).folders.names()) == 5


def test_what_cannot_be_had_keeps_its_reason(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "nowhere").symlink_to(tmp_path / "nothing")
    archive = Archive(Store(str(tmp_path / "archive")))
    batch = begun(archive, [source_url(tmp_path / "files")])
    (part,) = walked(batch, archive, lambda walk: list_folder(walk.url, named_root(walk.root)))
    chunk = archive.journal(batch.id).chunk(part.chunk)
    assert chunk is not None
    (entry,) = chunk.entries
    assert entry.error is not None
    assert entry.error.type == "outside_link"


def test_a_listing_that_cannot_be_had_now_leaves_nothing(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))
    batch = begun(archive)

    def away(_: Walk) -> Listing:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        walked(batch, archive, away)
    assert archive.journal(batch.id).folders.names() == []
    assert list(all_due_messages(batch, archive)) == [Walk(batch.id, ROOT, ROOT)]


@given(count=st.sampled_from([0, 1, 16, 17, 500, 501, 1100]))
@settings(max_examples=7, deadline=None)
def test_sources_that_a_batch_names_itself_are_all_due(count: int) -> None:
    entries = [BatchEntry(url=url_of(number), pages=(1, 3)) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Store(folder))
        batch = begun(archive, ())
        name_sources(archive, batch.id, iter(entries))
        parts = walked(batch, archive, lambda _: pytest.fail("nothing is to be listed"))
        assert sorted(sources_of(parts, archive)) == sorted(entry.url for entry in entries)
        assert list(all_due_messages(batch, archive)) == parts[::-1]


@pytest.mark.parametrize("state", ["paused", "cancelled", "done", "halted"])
def test_only_batches_at_work_are_live(tmp_path: Path, state: str) -> None:
    batch = begun(Archive(Store(str(tmp_path))))
    assert is_live(batch)
    assert not is_live(batch.model_copy(update={"state": state}))
    assert not is_live(None)


# -- messages

PART = Part("b", "c" * 32 + ".1", 2)
PAGES = Pages("b", "c" * 32 + ".1", 2, 5, "d" * 64, tuple(range(1985, 2001)))
MESSAGES: list[Message] = [
    Walk("b", ROOT, ROOT),
    Walk("b", ROOT, ROOT, "cursor"),
    Walk("b", ROOT, f"{ROOT}a/"),
    PART,
    replace(PART, entry=5),
    replace(PART, part=3),
    PAGES,
    replace(PAGES, suspect=True),
    replace(PAGES, pages=(1,)),
    replace(PAGES, entry=4),
    Project("default", ("d" * 64,)),
    Project("default", (), ("d" * 64,)),
    Project("works", ("d" * 64,)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.id)
def test_a_message_goes_through_the_queue_unchanged_and_small(message: Message) -> None:
    text = json.dumps(to_json(message))
    again = from_json(kind_of(message), json.loads(text))
    assert (again, again.id) == (message, message.id)
    assert len(text) < 1024
    assert len(message.id) < 256


def test_each_message_has_an_id_of_its_own() -> None:
    assert len({message.id for message in MESSAGES}) == len(MESSAGES)


def test_an_id_stays_the_same_from_process_to_process() -> None:
    assert Walk("b", "file:///scans", "file:///scans/a").id == "b/walk/b57969283900eee98ac764e4dbbc7b3d"
    assert replace(PART, entry=5).id == f"b/{'c' * 32}.1/2/5"


def test_messages_of_the_longest_path_stay_below_a_few_kilobytes() -> None:
    longest = "file:///" + "%C3%A4" * 2000  # 4,000 bytes, PATH_MAX of Linux
    message = Walk("20261124T065448-612691", "file:///" + "%C3%A4" * 20, longest)
    assert len(json.dumps(to_json(message))) < 13_000
    assert len(message.id) < 256


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("part", {"batch": "b"}), ("part", {"batch": "b", "chunk": "c", "part": "two"}), ("walk", {"root": None})],
)
def test_what_is_no_message_of_ours_is_refused(kind: str, fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        from_json(kind, fields)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (PART, {"batch": "../b"}),
        (PART, {"batch": "b\n"}),
        (PART, {"batch": "b" * 65}),
        (PART, {"chunk": "../" + "c" * 29 + ".1"}),
        (PART, {"chunk": "c" * 32}),
        (PART, {"part": -1}),
        (PART, {"part": 10**9}),
        (PART, {"entry": 16}),
        (PAGES, {"document": "../../other"}),
        (PAGES, {"document": "D" * 64}),
        (PAGES, {"pages": (0,)}),
        (PAGES, {"pages": (10**9,)}),
        (PAGES, {"entry": -1}),
        (Project("default", ()), {"collection": "../other"}),
        (Project("default", ()), {"documents": ("d",)}),
        (Project("default", ()), {"sources": ("../" + "d" * 61,)}),
    ],
)
def test_identifiers_that_do_not_match_their_pattern_are_refused(message: Message, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        from_json(kind_of(message), to_json(message) | changes)


@pytest.mark.parametrize(
    "message",
    [
        Walk("b", ROOT, f"{ROOT}a/"),
        Walk("b", ROOT, f"{ROOT}../a/"),
        Walk("b", ROOT, ROOT),
        Walk("b", FOLDER, FOLDER),
        Walk("b", FOLDER, f"{FOLDER}/a..b/%2E%2Ec"),
        Walk("b", "", ""),
    ],
)
def test_a_listing_below_a_root_of_its_batch_is_allowed(message: Walk) -> None:
    roots = [ROOT, FOLDER] if message.root else []
    assert is_of_batch(message, roots)


@pytest.mark.parametrize(
    "walk",
    [
        Walk("b", "file:///etc/", "file:///etc/"),
        Walk("b", ROOT, "file:///etc/"),
        Walk("b", FOLDER, f"{FOLDER}/../../etc"),
        Walk("b", FOLDER, f"{FOLDER}/a/%2e%2e/%2E./b"),
        Walk("b", FOLDER, f"{FOLDER}/./a"),
        Walk("b", FOLDER, f"{FOLDER}s"),
        Walk("b", ROOT, f"s3://bucket/{ROOT}"),
        Walk("b", "", "file:///etc/"),
    ],
)
def test_a_listing_elsewhere_is_not(walk: Walk) -> None:
    assert not is_of_batch(walk, [ROOT, FOLDER])
    assert not is_of_batch(walk, [])


@pytest.mark.parametrize(("part", "sources"), [(0, 16), (1, 16), (2, 3)])
def test_a_part_that_kills_is_cut_into_its_sources(part: int, sources: int) -> None:
    messages = split(replace(PART, part=part), 35)
    assert [message.entry for message in messages] == list(range(sources))
    assert all(message.suspect for message in messages)


def test_pages_that_kill_are_cut_into_single_ones() -> None:
    messages = split(PAGES, 35)
    assert [message.pages for message in messages if isinstance(message, Pages)] == [(page,) for page in PAGES.pages]
    assert all(message.suspect for message in messages)
