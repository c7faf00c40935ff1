"""Opening beneath a root. Each test runs with `openat2` and with the way of kernels without it."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import cast

import pytest

from pipeline.core.errors import LinkOutOfTree, SourceUnreadable, SourceVanished, UnsupportedFormat
from pipeline.core.models import FileState, Root
from pipeline.sources import beneath, file_state, list_folder, named_root, open_unchanged, source_url
from pipeline.sources.beneath import READ, open_beneath


@pytest.fixture(params=["openat2", "stepwise"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = cast("str", request.param)
    beneath._has_openat2.cache_clear()
    if name == "stepwise":
        monkeypatch.setattr(beneath, "_has_openat2", lambda: False)
    elif not beneath._has_openat2():
        pytest.skip("this kernel has no openat2")
    return name


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A folder with a file, beside a folder of somebody else with a file of the same name."""
    for owner in ("ours", "theirs"):
        (tmp_path / owner / "in").mkdir(parents=True)
        (tmp_path / owner / "in" / "a.pdf").write_bytes(owner.encode())
    return tmp_path / "ours"


def read(path: Path, root: Root | None) -> bytes:
    with os.fdopen(open_beneath(path, root, READ), "rb") as file:
        return file.read()


def exchange(path: Path, target: Path) -> None:
    """Replace a file or folder by a link."""
    kept = next(parent for parent in target.parents if parent.name == "theirs") if target.name != "theirs" else target
    path.rename(kept.parent / "before")
    path.symlink_to(target)


def test_a_file_beneath_its_root_is_opened(ours: Path) -> None:
    root = named_root(source_url(ours))

    assert root == Root(url=source_url(ours))
    assert read(ours / "in" / "a.pdf", root) == b"ours"
    assert read(ours / "in" / "a.pdf", None) == b"ours"
    with pytest.raises(FileNotFoundError):
        open_beneath(ours / "in" / "b.pdf", root)
    with pytest.raises(NotADirectoryError):
        open_beneath(ours / "in" / "a.pdf" / "b", root)


@pytest.mark.parametrize("where", ["in/a.pdf", "in", "."])
def test_a_link_that_replaces_the_file_a_folder_or_the_root_is_refused(where: str, ours: Path) -> None:
    path, root = ours / "in" / "a.pdf", named_root(source_url(ours))
    state = file_state(path, root)

    exchange(ours / where, ours.parent / "theirs" / where)

    assert path.read_bytes() == b"theirs"
    for call in (lambda: file_state(path, root), lambda: open_unchanged(path, state, root)):
        with pytest.raises(LinkOutOfTree):
            call()
    (found,) = list_folder(source_url(path.parent), root).found
    assert isinstance(found.error, LinkOutOfTree)


def test_without_a_root_no_link_may_lead_to_the_folder_of_the_file(ours: Path) -> None:
    exchange(ours / "in", ours.parent / "theirs" / "in")
    with pytest.raises(LinkOutOfTree):
        open_beneath(ours / "in" / "a.pdf", None)


def test_links_within_the_root_are_followed(ours: Path) -> None:
    root = named_root(source_url(ours))
    (ours / "absolute.pdf").symlink_to(ours / "in" / "a.pdf")
    (ours / "relative.pdf").symlink_to("in/a.pdf")
    (ours / "there-and-back.pdf").symlink_to("../ours/in/a.pdf")
    (ours / "folder").symlink_to("in")

    for name in ("absolute.pdf", "relative.pdf", "there-and-back.pdf", "folder/a.pdf"):
        assert read(ours / name, root) == b"ours"


def test_a_root_that_was_named_through_a_link_keeps_the_folder_it_led_to(ours: Path) -> None:
    alias = ours.parent / "alias"
    alias.symlink_to(ours)
    root = named_root(source_url(alias))

    assert root == Root(url=source_url(alias), target=source_url(ours))
    assert read(alias / "in" / "a.pdf", root) == b"ours"
    alias.unlink()
    alias.symlink_to(ours.parent / "theirs")
    with pytest.raises(LinkOutOfTree, match="alias") as caught:
        open_beneath(alias / "in" / "a.pdf", root)
    assert "Index the folder again" in caught.value.remedy
    alias.unlink()
    ours.rename(alias)  # on another machine the folder itself may be there
    assert read(alias / "in" / "a.pdf", root) == b"ours"


def test_parent_folders_in_a_path_are_refused(ours: Path) -> None:
    root = named_root(source_url(ours))
    for path in (ours / ".." / "theirs" / "in" / "a.pdf", ours / "in" / ".." / "in" / "a.pdf", ours.parent / "theirs"):
        with pytest.raises(LinkOutOfTree):
            open_beneath(path, root)


def test_links_of_proc_are_refused(ours: Path) -> None:
    root = named_root(source_url(ours))
    with (ours.parent / "theirs" / "in" / "a.pdf").open("rb") as file:
        (ours / "descriptor.pdf").symlink_to(f"/proc/self/fd/{file.fileno()}")
        (ours / "working").symlink_to("/proc/self/root")
        for name in ("descriptor.pdf", "working/etc/passwd"):
            with pytest.raises(LinkOutOfTree):
                open_beneath(ours / name, root)


def test_a_link_that_is_exchanged_while_it_is_followed_is_refused(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = named_root(source_url(ours))
    (ours / "link.pdf").symlink_to("in/a.pdf")
    lead = beneath._target

    def exchanging(*arguments: Path) -> Path:
        target = lead(*arguments)  # type: ignore[arg-type]
        exchange(ours / "in", ours.parent / "theirs" / "in")
        return target

    monkeypatch.setattr(beneath, "_target", exchanging)
    with pytest.raises(LinkOutOfTree, match="exchanged"):
        open_beneath(ours / "link.pdf", root)


def test_broken_links_and_loops_lead_nowhere(ours: Path) -> None:
    root = named_root(source_url(ours))
    (ours / "broken.pdf").symlink_to("missing.pdf")
    (ours / "loop.pdf").symlink_to("loop.pdf")

    with pytest.raises(SourceVanished):
        file_state(ours / "broken.pdf", root)
    with pytest.raises(SourceUnreadable):
        file_state(ours / "loop.pdf", root)


def test_pipes_sockets_devices_and_folders_are_not_read_and_never_block(ours: Path) -> None:
    root, state = named_root(source_url(ours)), FileState(bytes=1, mtime_ns=1)
    os.mkfifo(ours / "pipe")
    (ours / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(ours / "socket"))
        for name in ("pipe", "folder", "socket"):
            with pytest.raises(UnsupportedFormat):
                file_state(ours / name, root)
        for name in ("pipe", "folder"):
            with pytest.raises(UnsupportedFormat):
                open_unchanged(ours / name, state, root)
        with pytest.raises(SourceUnreadable):
            open_unchanged(ours / "socket", state, root)
    device = Path("/dev/null")
    assert stat.S_ISCHR(device.stat().st_mode)
    with pytest.raises(UnsupportedFormat):
        file_state(device)


def test_no_descriptor_is_left_open(ours: Path) -> None:
    root, state = named_root(source_url(ours)), file_state(ours / "in" / "a.pdf")
    (ours / "inside.pdf").symlink_to("in/a.pdf")
    (ours / "outside.pdf").symlink_to("/etc/passwd")
    os.mkfifo(ours / "pipe")
    before = set(os.listdir("/proc/self/fd"))

    list_folder(source_url(ours), root)
    for name in ("in/a.pdf", "inside.pdf", "outside.pdf", "pipe", "in", "in/b.pdf", "in/a.pdf/b"):
        try:
            open_unchanged(ours / name, state, root).close()
        except (LinkOutOfTree, SourceVanished, SourceUnreadable, UnsupportedFormat):
            continue

    assert set(os.listdir("/proc/self/fd")) == before


def test_a_filter_of_system_calls_that_refuses_openat2_leaves_the_other_way(
    way: str, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "stepwise":
        pytest.skip("it has no filter")

    def refuse(_path: Path, _flags: int) -> int:
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(beneath, "_openat2", refuse)
    beneath._has_openat2.cache_clear()
    try:
        assert read(ours / "in" / "a.pdf", named_root(source_url(ours))) == b"ours"
    finally:
        beneath._has_openat2.cache_clear()
