"""Sources and archive in a bucket: s3fs against moto's server over HTTP, with the same results as on disk."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.errors import (
    EmptyFile,
    LimitExceeded,
    RevisionTaken,
    ServiceRefused,
    ServiceUnavailable,
    SettingsError,
    SourceChanged,
    SourceUnreadable,
    SourceVanished,
    Stopped,
    UnsupportedFormat,
)
from pipeline.core.formats import MediaType
from pipeline.core.leases import FileLeases
from pipeline.core.models import Conversion, Reading
from pipeline.core.retry import CancelToken
from pipeline.documents.conversion import CONVERSION_REVISION, ArchivedConversions
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.rendering.host.pool import SandboxPool
from pipeline.search import DOCUMENTS, SOURCES
from pipeline.search.index import Index
from pipeline.sources import Containers, SourceCache, SourceFiles, display_path, identify, list_folder, root_url, walk
from support.containers import page, zipped
from support.conversions import CONVERTER
from support.object_store import KEYS, Bucket, FaultyStore, breaks_off, loses_the_answer, point_at, says
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.rendering import LIMITS
from support.standin import Standin

PDF = b"%PDF-1.7\n"
HOSTILE_KEYS = [
    "../../etc/passwd",
    "a/../b.pdf",
    "./dot",
    ".",
    "100%25 ready?.pdf",
    "#fragment.pdf",
    "q?versionId=3",
    "a//double",
    "/leading",
    "plus+ and & and ;.pdf",
    "escape-\x1b[31m\x07.pdf",
    "rechts-\u202egnp.pdf",
    "[bold]markup[red].pdf",
    "back\\slash",
    "x::file:///etc/passwd",
    " leading and trailing ",
]


def urls_below(root: str, page_keys: int = 1000) -> list[str]:
    """Every file of a bucket, listing after listing, as the queue goes through it."""
    found, waiting = [], [(root, "")]
    while waiting:
        url, cursor = waiting.pop(0)
        listing = list_folder(url, None, cursor, page_keys=page_keys)
        assert len(listing.found) + len(listing.folders) <= page_keys
        assert all(place.error is None for place in listing.found)
        found += [place.url for place in listing.found]
        waiting += [(folder, "") for folder in listing.folders]
        waiting += [(url, listing.cursor)] if listing.cursor else []
    return found


# -- listing


@pytest.mark.parametrize("page_keys", [1, 2, 3, 1000])
def test_pages_of_any_size_find_every_key_once(page_keys: int, bucket: Bucket) -> None:
    keys = [f"scans/{letter}/{number}.pdf" for letter in "ab" for number in range(3)]
    keys += ["scans/a0.pdf", "scans/a.pdf", "scans/b/deep/er.pdf", "scans/z.pdf", "scansion.pdf", "top.pdf"]
    for key in [*keys, "scans/", "scans/empty/"]:
        bucket.put(key, b"" if key.endswith("/") else b"x")

    found = urls_below(root_url(bucket.url), page_keys)

    assert sorted(found) == sorted(f"{bucket.url}/{key}" for key in keys)
    below = urls_below(root_url(f"{bucket.url}/scans"), page_keys)
    assert sorted(below) == sorted(f"{bucket.url}/{key}" for key in keys if key.startswith("scans/"))


def test_hostile_keys_lead_back_to_their_objects(bucket: Bucket, tmp_path: Path) -> None:
    for key in HOSTILE_KEYS:
        bucket.put(key, PDF + key.encode())
    files = source_files(tmp_path)

    found = urls_below(root_url(bucket.url))

    assert {display_path(url) for url in found} == {f"{bucket.url}/{key}" for key in HOSTILE_KEYS}
    for url in found:
        assert url.isascii()
        assert not any(letter in url for letter in " ?#\x1b\n")
        with files.open(url, files.state(url)) as file:
            assert file.read() == PDF + display_path(url).removeprefix(f"{bucket.url}/").encode()


def test_an_object_whose_key_ends_with_a_slash_is_an_object(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("odd/", PDF)
    files = source_files(tmp_path)

    (url,) = urls_below(root_url(f"{bucket.url}/odd/"))

    with files.open(url, files.state(url)) as file:
        assert file.read() == PDF


def test_the_archive_within_the_bucket_is_left_out(bucket: Bucket) -> None:
    bucket.put("pagesight/readings/1.json", b"{}")
    bucket.put("a.pdf", PDF)

    (found,) = walk([root_url(bucket.url)], [f"{bucket.url}/pagesight"], CancelToken())

    assert found.url == f"{bucket.url}/a.pdf"


def test_a_root_is_what_is_there(bucket: Bucket) -> None:
    bucket.put("scans/a.pdf", PDF)

    assert root_url(f"{bucket.url}/scans") == root_url(f"{bucket.url}/scans/") == f"{bucket.url}/scans/"
    assert root_url(f"{bucket.url}/scans/a.pdf") == f"{bucket.url}/scans/a.pdf"
    (found,) = walk([f"{bucket.url}/scans/a.pdf"], [], CancelToken())
    assert found.error is None
    for nothing in (
        f"{bucket.url}/scan",
        f"{bucket.url}/scans/b.pdf",
        "s3://no-such-bucket-at-all/x",
        "s3://no-such-b",
    ):
        with pytest.raises(SettingsError) as caught:
            root_url(nothing)
        assert caught.value.remedy


def test_an_object_that_is_gone_when_it_is_listed_is_an_outcome(bucket: Bucket) -> None:
    (found,) = walk([f"{bucket.url}/gone.pdf"], [], CancelToken())

    assert isinstance(found.error, SourceVanished)


def test_a_folder_that_may_not_be_listed_is_an_outcome(faulty_store: FaultyStore, bucket: Bucket) -> None:
    faulty_store.faults = [says(403, "AccessDenied")]

    (found,) = walk([f"{bucket.url}/shut/"], [], CancelToken())

    assert isinstance(found.error, SourceUnreadable)


# -- files


#: These files are no containers.
NO_OPENER = cast(Opener, None)


def source_files(
    folder: Path, max_bytes: int = 1 << 20, cancel: CancelToken | None = None, opener: Opener | None = None
) -> SourceFiles:
    cache = SourceCache(folder / "cache", 1 << 20)
    return SourceFiles(cache, max_bytes, cancel or CancelToken(), Containers(opener or NO_OPENER, cache, 3))


def gets(faulty_store: FaultyStore) -> int:
    return sum(command == "GET" for command, _ in faulty_store.requests)


def test_an_object_is_fetched_once_for_many_ranges(faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.pdf", PDF)
    url = f"{bucket.url}/a.pdf"
    state = source_files(tmp_path).state(url)
    with source_files(tmp_path).open(url, state) as file:
        document = identify(file, state, 1 << 20).document_id

    def read(_: int) -> bytes:
        with source_files(tmp_path).open_document(url, state, document) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(8))) == {PDF}
    assert gets(faulty_store) == 1


def test_a_container_is_fetched_once_for_all_its_members(
    faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("box.zip", zipped({"inner/a.pdf": page("a"), "b.pdf": page("b")}))
    with closing(SandboxPool(1, LIMITS)) as pool:
        files = source_files(tmp_path, opener=Opener(pool, Passwords(), CONVERTER))
        url = f"{bucket.url}/box.zip"
        members = files.members(url, files.state(url))
        assert [display_path(member.url) for member in members] == [
            f"{bucket.url}/box.zip/inner/a.pdf",
            f"{bucket.url}/box.zip/b.pdf",
        ]
        for member, data in zip(members, (page("a"), page("b")), strict=True):
            with files.open(member.url, files.state(member.url)) as file:
                assert file.read() == data
        assert gets(faulty_store) == 1


def test_what_becomes_no_page_is_not_fetched(faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("empty.pdf", b"")
    bucket.put("large.pdf", PDF + bytes(2000))
    bucket.put("film.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(1500))
    files = source_files(tmp_path, max_bytes=1600)

    def open_(name: str) -> None:
        url = f"{bucket.url}/{name}"
        files.open(url, files.state(url)).close()

    with pytest.raises(EmptyFile):
        open_("empty.pdf")
    with pytest.raises(LimitExceeded):
        open_("large.pdf")
    assert gets(faulty_store) == 0
    with pytest.raises(UnsupportedFormat, match="video/mp4"):
        open_("film.mp4")
    assert [*(tmp_path / "cache").rglob("*")] == [tmp_path / "cache" / "filling"]


def test_an_object_that_changed_or_vanished_is_an_outcome(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.pdf", PDF)
    url = f"{bucket.url}/a.pdf"
    files = source_files(tmp_path)
    state = files.state(url)
    with files.open(url, state) as file:
        document = identify(file, state, 1 << 20).document_id

    bucket.put("a.pdf", PDF + b"other")
    for call in (lambda: files.open(url, state), lambda: files.open_document(url, state, document)):
        with pytest.raises(SourceChanged):
            call()
    elsewhere = source_files(tmp_path / "another machine")
    with pytest.raises(SourceChanged):
        elsewhere.open_document(url, files.state(url), document)  # as if other bytes had the tag of those identified
    bucket.delete("a.pdf")
    for gone in (lambda: files.open(url, state), lambda: files.open_document(url, state, document)):
        with pytest.raises(SourceVanished):
            gone()


def test_an_object_that_may_not_be_read_is_an_outcome(
    faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("a.pdf", PDF)
    faulty_store.faults = [says(403, "AccessDenied"), says(403, "AccessDenied")]  # HEAD has no body: it is asked again

    with pytest.raises(SourceUnreadable):
        source_files(tmp_path).state(f"{bucket.url}/a.pdf")


def test_a_bucket_that_is_gone_is_not_taken_for_files_that_are_gone(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(ServiceRefused, match="no bucket"):
        source_files(tmp_path).state("s3://no-such-bucket-at-all/a.pdf")


def test_a_download_that_breaks_off_is_begun_again(faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path) -> None:
    data = PDF + bytes(300_000)
    bucket.put("a.pdf", data)
    files = source_files(tmp_path)
    state = files.state(f"{bucket.url}/a.pdf")
    faulty_store.faults = [breaks_off, says(503, "SlowDown")]

    with files.open(f"{bucket.url}/a.pdf", state) as file:
        assert file.read() == data


# -- services that are away, and those that say no


@dataclass
class Waited:
    """What a call in another thread came to."""

    cancel: CancelToken
    future: Any

    def until_it_waits(self) -> str:
        moment = threading.Event()
        while self.cancel.waiting is None:
            assert not self.future.done(), self.future.exception()
            moment.wait(0.02)
        return self.cancel.waiting.service


@pytest.mark.parametrize("door", ["source store", "archive"])
def test_an_endpoint_that_is_away_for_a_moment_is_waited_for(
    door: str, faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("a.pdf", PDF)
    cancel = CancelToken()
    calls: dict[str, Callable[[], Any]] = {
        "source store": lambda: source_files(tmp_path, cancel=cancel).state(f"{bucket.url}/a.pdf").bytes,
        "archive": lambda: len(Store(bucket.url, cancel).get("a.pdf") or b""),
    }
    faulty_store.close()
    with ThreadPoolExecutor(1) as pool:
        waited = Waited(cancel, pool.submit(calls[door]))
        assert waited.until_it_waits() == door
        faulty_store.open()
        assert waited.future.result(60) == len(PDF)


def test_who_has_no_patience_hears_at_once_that_the_archive_is_away(faulty_store: FaultyStore, bucket: Bucket) -> None:
    faulty_store.close()
    with pytest.raises(ServiceUnavailable) as caught:
        Store(bucket.url).get("a")
    assert caught.value.service == "archive"

    cancel = CancelToken()
    cancel.stop()
    with pytest.raises(Stopped):
        Store(bucket.url, cancel).get("a")


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "AccessDenied"])
def test_an_archive_that_says_no_is_refused_with_a_remedy(code: str, faulty_store: FaultyStore, bucket: Bucket) -> None:
    faulty_store.faults = [says(403, code)]
    with pytest.raises(ServiceRefused) as caught:
        Store(bucket.url, CancelToken()).put("a", b"x")
    assert caught.value.service == "archive"
    assert caught.value.remedy


def test_a_bucket_that_does_not_exist_is_refused_whatever_is_asked(bucket: Bucket) -> None:
    store = Store("s3://no-such-bucket-at-all/archive")
    for call in (lambda: store.get("a"), lambda: store.names("a"), lambda: store.create("a", b""), store.check):
        with pytest.raises(ServiceRefused, match="no bucket"):
            call()


def test_no_credentials_are_a_refusal(bucket: Bucket, object_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client is kept by endpoint: this one is new.
    point_at(object_store.url.replace("127.0.0.1", "localhost"), monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    with pytest.raises(ServiceRefused) as caught:
        Store(bucket.url).get("a")
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy


# -- the archive


@pytest.mark.parametrize("size", [10, 6 << 20])
def test_of_many_writers_of_one_name_exactly_one_succeeds(size: int, bucket: Bucket) -> None:
    stores = [Store(f"{bucket.url}/archive") for _ in range(4)]

    def create(number: int) -> bool:
        try:
            stores[number % 4].create("a/1.json", bytes([number]) * size)
        except RevisionTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(16)))

    assert won.count(True) == 1
    assert stores[0].get("a/1.json") == bytes([won.index(True)]) * size


def test_who_did_not_hear_that_he_won_has_won_all_the_same(faulty_store: FaultyStore, bucket: Bucket) -> None:
    store = Store(bucket.url, CancelToken())
    faulty_store.faults = [loses_the_answer]

    store.create("a/1.json", b"mine")

    with pytest.raises(RevisionTaken):
        store.create("a/1.json", b"mine")  # the same words of another writer are another's
    faulty_store.faults = [loses_the_answer]
    with pytest.raises(RevisionTaken):
        store.create("a/1.json", b"his")


def test_names_are_all_that_are_there_now(bucket: Bucket) -> None:
    store = Store(f"{bucket.url}/archive")
    assert store.names("a") == []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"a/{number:04}.json", b"x"), range(1003)))
    bucket.put("archive/a/b/1.json", b"x")
    bucket.put("archive/ab/1.json", b"x")

    assert store.names("a") == [*(f"{number:04}.json" for number in range(1003)), "b"]

    bucket.put("archive/a/later.json", b"x")
    store.delete("a/0000.json")
    assert store.names("a") == [*(f"{number:04}.json" for number in range(1, 1003)), "b", "later.json"]
    assert store.names("a/b") == ["1.json"]


def test_what_was_put_is_got_one_by_one_and_together(bucket: Bucket) -> None:
    store = Store(f"{bucket.url}/archive/")
    store.put("a/1.bin", b"one")
    store.put("a/1.bin", b"two")
    store.put("a/2.bin", b"")

    assert store.get("a/1.bin") == b"two"
    assert store.get("a/3.bin") is None
    assert store.get_many(["a/2.bin", "a/3.bin", "a/1.bin"]) == [b"", None, b"two"]
    assert store.location("a/1.bin") == f"{bucket.url}/archive/a/1.bin"
    assert "archive/a/1.bin" in bucket.all_keys()
    store.delete("a/1.bin")
    store.delete("a/1.bin")
    store.check()
    assert bucket.all_keys() == ["archive/a/2.bin"]


def test_a_pdf_in_a_bucket_is_fetched_once_and_opened_from_then_on(
    faulty_store: FaultyStore, bucket: Bucket, tmp_path: Path
) -> None:
    pdf = b"%PDF- of slides" * 100_000
    conversion = Conversion(
        converter="a test", sha256=hashlib.sha256(pdf).hexdigest(), pages=1, seconds=1, converted_at=datetime.now(UTC)
    )
    archive = Archive(Store(f"{bucket.url}/archive", CancelToken()))
    archive.conversions.save("d" * 64, CONVERSION_REVISION, io.BytesIO(pdf), conversion)
    cache = SourceCache(tmp_path / "cache", 1 << 30)
    conversions = ArchivedConversions(archive, FileLeases(tmp_path / "leases"), cache, CONVERTER)
    for _ in range(3):
        opened, told = conversions.get("d" * 64, io.BytesIO(), MediaType.PPTX, tuple, CancelToken())
        with opened:
            assert (opened.read(), told) == (pdf, conversion)
    fetched = [request for request in faulty_store.requests if request[0] == "GET" and request[1].endswith(".pdf")]
    assert len(fetched) == 1


def test_a_store_without_conditional_writes_is_found_out(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    store = Store("memory://forgets")
    objects = store._place._objects  # type: ignore[attr-defined]
    monkeypatch.setattr(objects, "create", lambda key, data, writer: objects.put(key, data))

    with pytest.raises(ServiceRefused) as caught:
        store.check()
    assert "conditional" in caught.value.remedy


# -- the whole way


class BucketPagesight(Pagesight):
    """`pagesight` with its archive in a bucket."""

    def __init__(self, bucket: Bucket, *given: Any) -> None:
        super().__init__(*given, archive=f"{bucket.url}/pagesight")
        self.store_url = bucket.store.url

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | KEYS | {"AWS_ENDPOINT_URL": self.store_url, "AWS_CONFIG_FILE": os.devnull}

    @property
    def archive(self) -> Archive:
        return Archive(Store(str(self._settings["archive"])))


@pytest.fixture
def in_bucket(
    bucket: Bucket, tmp_path: Path, index: Index, elasticsearch_url: str, standin: Standin
) -> Iterator[BucketPagesight]:
    pagesight = BucketPagesight(bucket, tmp_path / "in bucket", elasticsearch_url, standin)
    yield pagesight
    pagesight.close()


def write_files(folder: Path, scratch: Path) -> None:
    (folder / "letters").mkdir()
    make_pdf(folder / "book.pdf", 20, seed=1)
    make_pdf(folder / "letters" / "letter 50%.pdf", 2, seed=2)
    make_pdf(folder / "letters" / "copy.pdf", 2, seed=2)
    make_picture(folder / "plate.png", 3)
    (folder / "half.png").write_bytes(make_picture(scratch / "whole.png", 4).read_bytes()[:60])
    (folder / "empty.pdf").touch()
    (folder / "prose.pdf").write_text("a name is not a format")


def upload(folder: Path, bucket: Bucket, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put(f"{prefix}{path.relative_to(folder)}", path.read_bytes())


def readings(pagesight: Pagesight, top: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Every reading, without what a place, a moment or a batch decides."""
    found = {}
    for reading in pagesight.newest():
        assert isinstance(reading, Reading)
        paths = sorted(path.removeprefix(top) for path in reading.document.path)
        plain = reading.model_dump(mode="json", exclude={"batch", "archived_at", "document", "model", "revision"})
        plain["paths"], plain["bytes"] = paths, reading.document.bytes
        found[reading.document.id, reading.page_number] = plain
    return found


def test_a_bucket_comes_to_the_same_as_a_folder(
    pagesight: Pagesight, in_bucket: BucketPagesight, index: Index, bucket: Bucket, tmp_path: Path
) -> None:
    write_files(pagesight.files, tmp_path)
    local = pagesight.index()
    local_failures = {name: failure["type"] for name, failure in pagesight.failures().items()}
    local_readings = readings(pagesight, f"{pagesight.files}/")
    index.drop()
    upload(pagesight.files, bucket, "scans/")

    remote = in_bucket.index(f"{bucket.url}/scans")

    assert remote.code == local.code == 1, remote.stderr
    assert remote.json["documents"] == local.json["documents"]
    assert remote.json["pages"] == local.json["pages"]
    assert remote.json["model_calls"] == local.json["model_calls"]
    assert readings(in_bucket, f"{bucket.url}/scans/") == local_readings
    assert {name: failure["type"] for name, failure in in_bucket.failures().items()} == local_failures
    in_bucket.assert_archive_and_index_agree()
    in_bucket.assert_nothing_left()
    assert not in_bucket.archive_folder.exists()

    again = in_bucket.index(f"{bucket.url}/scans")
    assert again.json["model_calls"] == 0
    assert again.json["pages"] == remote.json["pages"]
    assert in_bucket.run("doctor").code == 0


def test_what_is_moved_or_removed_in_a_bucket_is_forgotten_there(in_bucket: BucketPagesight, bucket: Bucket) -> None:
    report = make_pdf(in_bucket.files / "report.pdf", 2, seed=1).read_bytes()
    bucket.put("scans/report.pdf", report)
    bucket.put("scans/bad.pdf", b"no PDF")
    assert in_bucket.index(f"{bucket.url}/scans/").code == 1

    bucket.put("scans/moved #1.pdf", report)
    for key in ("scans/report.pdf", "scans/bad.pdf"):
        bucket.delete(key)
    ended = in_bucket.index(f"{bucket.url}/scans/")

    assert ended.code == 0, ended.stderr
    assert ended.json["model_calls"] == 0
    (record,) = in_bucket.records(DOCUMENTS).values()
    assert record["document"]["path"] == [f"{bucket.url}/scans/moved #1.pdf"]
    assert len(in_bucket.records(SOURCES)) == 1
    in_bucket.assert_archive_and_index_agree()


def test_nothing_there_and_nobody_there_are_said_plainly(in_bucket: BucketPagesight, bucket: Bucket) -> None:
    nothing = in_bucket.index(f"{bucket.url}/scans")
    assert nothing.code == 2
    assert f"there is no {bucket.url}/scans/" in nothing.stderr

    in_bucket.store_url = "http://127.0.0.1:1"
    away = in_bucket.index(f"{bucket.url}/scans")
    assert away.code == 3
    assert "away" in away.stderr
