import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.models import Root
from pipeline.core.retry import CancelToken
from pipeline.sources import (
    FoundFile,
    Listing,
    argument_url,
    display_path,
    list_folder,
    named_root,
    root_url,
    source_path,
    source_url,
)
from pipeline.sources import walk as walk_urls


def names(found: list[FoundFile], root: Path) -> dict[str, str | None]:
    return {str(source_path(place.url).relative_to(root)): place.error.code if place.error else None for place in found}


def walk(roots: list[Path], excluded: list[Path] | None = None) -> Iterator[FoundFile]:
    return walk_urls(map(source_url, roots), map(source_url, excluded or []), CancelToken())


def test_every_file_below_a_folder_is_found_in_the_same_order(tmp_path: Path) -> None:
    for name in ("b/2.pdf", "a.pdf", "b/1.pdf", "c/d/e.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    assert list(names(list(walk([tmp_path])), tmp_path)) == ["a.pdf", "b/1.pdf", "b/2.pdf", "c/d/e.pdf"]


def test_one_listing_is_one_folder(tmp_path: Path) -> None:
    for name in ("b/2.pdf", "a.pdf", "c/d/e.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    url = source_url(tmp_path)

    root = named_root(url)
    assert root == Root(url=url)
    assert list_folder(url, root) == Listing((FoundFile(f"{url}/a.pdf", root=root),), (f"{url}/b", f"{url}/c"))
    assert list_folder(f"{url}/b", root) == Listing((FoundFile(f"{url}/b/2.pdf", root=root),))
    assert named_root(f"{url}/a.pdf") == root
    assert list_folder(f"{url}/a.pdf", root) == Listing((FoundFile(f"{url}/a.pdf", root=root),))


def test_a_folder_that_is_gone_when_it_is_listed_is_an_outcome(tmp_path: Path) -> None:
    url = source_url(tmp_path)

    (found,) = list_folder(f"{url}/gone", named_root(url)).found

    assert found.url == f"{url}/gone"
    assert found.error is not None
    assert found.error.code == "vanished"


def test_links_out_of_the_tree_and_to_nowhere_are_outcomes(tmp_path: Path) -> None:
    outside = tmp_path / "outside.pdf"
    outside.write_bytes(b"x")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.pdf").write_bytes(b"x")
    (tree / "inside.pdf").symlink_to(tree / "a.pdf")
    (tree / "outside.pdf").symlink_to(outside)
    (tree / "nowhere.pdf").symlink_to(tree / "missing")
    (tree / "loop").symlink_to(tree / "loop")
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "folder").symlink_to(tmp_path)

    assert names(list(walk([tree])), tree) == {
        "a.pdf": None,
        "folder": "outside_link",
        "inside.pdf": None,
        "loop": "outside_link",
        "nowhere.pdf": "outside_link",
        "outside.pdf": "outside_link",
    }


def test_pipes_and_sockets_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert names(list(walk([tmp_path])), tmp_path) == {"pipe": "unsupported", "socket": "unsupported"}


def test_a_named_file_that_is_gone_is_an_outcome(tmp_path: Path) -> None:
    assert names(list(walk([tmp_path / "gone.pdf"])), tmp_path) == {"gone.pdf": "vanished"}


@pytest.fixture
def somebody() -> Iterator[None]:
    """Root may list every folder: become a user who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_listed_is_an_outcome(somebody: None) -> None:
    with tempfile.TemporaryDirectory() as name:
        shut = Path(name) / "shut"
        shut.mkdir(mode=0)

        assert names(list(walk([Path(name)])), Path(name)) == {"shut": "unreadable"}


def test_the_archive_itself_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".pagesight").mkdir()
    (tmp_path / ".pagesight" / "1.json").write_bytes(b"{}")
    (tmp_path / "a.pdf").write_bytes(b"x")

    assert names(list(walk([tmp_path], [tmp_path / ".pagesight"])), tmp_path) == {"a.pdf": None}


@pytest.mark.parametrize(
    "name", [b"empty#hash.pdf", b"enc-R2,V1,U=view,O=view.pdf", b"a b%20c?.pdf", b"caf\xe9.pdf", b"\xe2\x82\xac.pdf"]
)
def test_any_name_has_a_url_that_leads_back_to_it(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)

    assert source_path(source_url(path)) == path
    assert source_url(path).isascii()
    display_path(source_url(path)).encode()


def test_what_a_person_types_becomes_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "50% ready").mkdir()
    monkeypatch.chdir(tmp_path)

    assert root_url("50% ready") == source_url(tmp_path / "50% ready")
    assert root_url(source_url(tmp_path / "50% ready")) == source_url(tmp_path / "50% ready")
    with pytest.raises(SettingsError, match="missing"):
        root_url("missing")


@pytest.mark.parametrize(
    ("argument", "url"),
    [
        ("s3://bucket", "s3://bucket/"),
        ("s3a://bucket/a b/50%.pdf", "s3://bucket/a%20b/50%25.pdf"),
        ("s3://bucket/../#x?versionId=1\n", "s3://bucket/../%23x%3FversionId%3D1%0A"),
        ("s3://bucket//double//", "s3://bucket//double//"),
    ],
)
def test_a_place_in_a_bucket_is_typed_as_it_is_and_leads_back_to_it(argument: str, url: str) -> None:
    assert argument_url(argument) == url
    assert display_path(url) == argument.replace("s3a:", "s3:") + ("/" if argument == "s3://bucket" else "")


@pytest.mark.parametrize("argument", ["sftp://me:secret@host/x", "memory://a::file:///b", "nonsense://x/y"])
def test_a_place_that_cannot_be_used_is_refused_without_showing_what_it_holds(argument: str) -> None:
    with pytest.raises(SettingsError) as caught:
        root_url(argument)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.core.objects.s3", None)

    with pytest.raises(SettingsError) as caught:
        root_url("s3://bucket/")
    assert "pagesight[s3]" in caught.value.remedy
