"""Mount points: which one a file is below, and when its files cannot be examined."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.core.models import Root
from pipeline.sources import is_unmounted, mount_of, source_url


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that count as mount points; all of them may be taken out."""
    folders = [tmp_path, tmp_path / "disk"]
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) in folders or str(path) == "/")
    (tmp_path / "disk" / "letters").mkdir(parents=True)
    return folders


def test_a_file_is_below_the_innermost_mount_point(tmp_path: Path, mounted: list[Path]) -> None:
    assert mount_of(source_url(tmp_path / "disk" / "letters" / "50%#.pdf")) == source_url(tmp_path / "disk")
    assert mount_of(source_url(tmp_path / "disk.pdf")) == source_url(tmp_path)
    mounted.clear()
    assert mount_of(source_url(tmp_path / "disk.pdf")) is None


def test_a_member_is_where_its_container_is_and_an_object_nowhere(tmp_path: Path, mounted: list[Path]) -> None:
    assert mount_of(source_url(tmp_path / "disk" / "box.zip") + "#letters/1.pdf") == source_url(tmp_path / "disk")
    assert mount_of("s3://bucket/disk/1.pdf") is None


def test_a_link_leads_to_the_disk_of_its_target(tmp_path: Path, mounted: list[Path]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "letters")
    assert mount_of(source_url(tmp_path / "link" / "1.pdf")) == source_url(tmp_path / "disk")


def test_a_disk_is_unmounted_where_its_folder_is_an_ordinary_one_or_missing(
    tmp_path: Path, mounted: list[Path]
) -> None:
    disk = mount_of(source_url(tmp_path / "disk" / "1.pdf"))
    assert not is_unmounted(disk)
    mounted.remove(tmp_path / "disk")
    assert is_unmounted(disk)
    (tmp_path / "disk" / "letters").rmdir()
    (tmp_path / "disk").rmdir()
    assert is_unmounted(disk)
    assert not is_unmounted(None)


def test_a_link_out_of_the_root_is_not_followed(tmp_path: Path, mounted: list[Path]) -> None:
    root = tmp_path / "in"
    (root / "inner").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path / "disk" / "letters")
    (root / "within").symlink_to("inner")
    mounted.append(root / "inner")
    named = Root(url=source_url(root))

    assert mount_of(source_url(root / "out" / "1.pdf"), named) == source_url(tmp_path)
    assert mount_of(source_url(root / "within" / "1.pdf"), named) == source_url(root / "inner")
    root.rename(tmp_path / "before")
    root.symlink_to(tmp_path / "disk")  # the root itself was exchanged
    assert mount_of(source_url(root / "letters" / "1.pdf"), named) == source_url(tmp_path)


def test_a_link_that_was_named_is_followed(tmp_path: Path, mounted: list[Path]) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(tmp_path / "disk")
    named = Root(url=source_url(alias), target=source_url(tmp_path / "disk"))

    assert mount_of(source_url(alias / "letters" / "1.pdf"), named) == source_url(tmp_path / "disk")
