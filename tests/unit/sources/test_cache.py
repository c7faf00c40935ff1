"""The cache of sources: bounded, filled once, and never trusted beyond the hash of its bytes."""

import hashlib
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.core.errors import ServiceRefused, ServiceUnavailable, SourceChanged, Stopped, UnsupportedFormat
from pipeline.core.models import FileState
from pipeline.core.retry import CancelToken
from pipeline.sources import SourceCache

Pieces = Callable[[], Generator[bytes]]


def state(data: bytes) -> FileState:
    return FileState(bytes=len(data), mtime_ns=1, etag='"1"')


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pieces(data: bytes) -> Pieces:
    def send() -> Generator[bytes]:
        yield data[:3]
        yield data[3:]

    return send


def fetch(cache: SourceCache, data: bytes, document: str | None = None) -> bytes:
    with cache.fetch(sha256(data), state(data), document, pieces(data), CancelToken()) as file:
        return file.read()


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_what_was_fetched_is_there_under_its_hash(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, 1000)
    assert cache.get(sha256(b"document")) is None

    assert fetch(cache, b"document") == b"document"

    found = SourceCache(tmp_path, 1000).get(sha256(b"document"))
    assert found is not None
    with found:
        assert found.read() == b"document"
        with pytest.raises(OSError):
            os.write(found.fileno(), b"poison")
    assert list((tmp_path / "filling").iterdir()) == []


def test_those_used_least_recently_go_first_and_the_bound_holds(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, 1000)
    documents = [bytes([number]) * 300 for number in range(5)]
    for number, data in enumerate(documents[:3]):
        fetch(cache, data)
        os.utime(tmp_path / sha256(data), (number, number))
    used = cache.get(sha256(documents[0]))
    assert used is not None
    used.close()

    fetch(cache, documents[3])

    assert held(tmp_path) == {sha256(documents[number]) for number in (0, 2, 3)}
    for number in range(5, 50):
        fetch(cache, bytes([number]) * 300)
        assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.is_file()) <= 1000


def test_an_open_file_is_read_to_its_end_after_it_was_removed(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, 100)
    data = bytes(90)
    with cache.fetch("a", state(data), None, pieces(data), CancelToken()) as file:
        fetch(cache, b"x" * 90)
        assert sha256(data) not in held(tmp_path)
        assert file.read() == data


def test_a_file_larger_than_the_whole_cache_is_read_all_the_same(tmp_path: Path) -> None:
    assert fetch(SourceCache(tmp_path, 10), b"x" * 100) == b"x" * 100
    assert held(tmp_path) == set()


def test_many_who_want_the_same_object_fetch_it_once(tmp_path: Path) -> None:
    fetches: list[int] = []
    begun, go_on = threading.Event(), threading.Event()
    data = b"wanted by many"

    def slow() -> Generator[bytes]:
        fetches.append(1)
        begun.set()
        assert go_on.wait(30)
        yield data

    def want(cache: SourceCache) -> bytes:
        with cache.fetch("a", state(data), sha256(data), slow, CancelToken()) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        # Caches of their own: as of several processes.
        wanted = [pool.submit(want, SourceCache(tmp_path, 1000)) for _ in range(8)]
        assert begun.wait(30)
        go_on.set()
        assert [future.result() for future in wanted] == [data] * 8
    assert len(fetches) == 1


def test_who_waits_for_another_stops_when_asked_to(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    cancel = CancelToken()

    def slow() -> Generator[bytes]:
        begun.set()
        assert go_on.wait(30)
        yield b"x"

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(SourceCache(tmp_path, 100).fetch, "a", state(b"x"), None, slow, CancelToken())
        assert begun.wait(30)
        cancel.stop()
        with pytest.raises(Stopped):
            SourceCache(tmp_path, 100).fetch("a", state(b"x"), None, slow, cancel)
        go_on.set()
        first.result().close()


@pytest.mark.parametrize("sent", [b"other bytes", b"too few", b"too many bytes", b""])
def test_other_bytes_than_those_identified_are_not_kept(sent: bytes, tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, 1000)
    wanted = b"these bytes"

    with pytest.raises(SourceChanged):
        cache.fetch("a", state(wanted), sha256(wanted), pieces(sent), CancelToken())

    assert held(tmp_path) == set()
    assert list((tmp_path / "filling").iterdir()) == []


@pytest.mark.parametrize(
    "error", [ServiceUnavailable("source store", "away"), UnsupportedFormat("no"), KeyboardInterrupt()]
)
def test_what_was_fetched_by_half_is_not_kept(error: BaseException, tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, 1000)

    def breaks() -> Generator[bytes]:
        yield b"ha"
        raise error

    with pytest.raises(type(error)):
        cache.fetch("a", state(b"half"), None, breaks, CancelToken())

    assert held(tmp_path) == set()
    assert list((tmp_path / "filling").iterdir()) == []
    assert fetch(cache, b"half") == b"half"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "filling").mkdir()
    (tmp_path / "filling" / "left").write_bytes(b"half")

    fetch(SourceCache(tmp_path, 1000), b"document")

    assert list((tmp_path / "filling").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file in its place")

    with pytest.raises(ServiceRefused) as caught:
        fetch(SourceCache(tmp_path / "cache", 1000), b"document")
    assert "PAGESIGHT_SOURCE_CACHE_MB" in caught.value.remedy
