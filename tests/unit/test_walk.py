import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sources import Found, display_path, source_path, source_url, walk


def names(found: list[Found], root: Path) -> dict[str, str | None]:
    return {str(place.path.relative_to(root)): place.error.code if place.error else None for place in found}


def test_every_file_below_a_folder_is_found_in_the_same_order(tmp_path: Path) -> None:
    for name in ("b/2.pdf", "a.pdf", "b/1.pdf", "c/d/e.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    assert list(names(list(walk([tmp_path])), tmp_path)) == ["a.pdf", "b/1.pdf", "b/2.pdf", "c/d/e.pdf"]


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
    display_path(path).encode()
