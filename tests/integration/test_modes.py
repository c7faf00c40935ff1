"""What commands leave is for its user only, whatever the umask: home, archive, caches, local Redis, temporary files."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pagesight_runs import MakePagesight, Pagesight, make_pdf


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def wide(root: Path) -> list[str]:
    """Return each file below a folder that another user may use, with its mode."""
    states = {path: path.lstat() for path in (root, *root.rglob("*"))}
    return [
        f"{stat.filemode(state.st_mode)} {path}"
        for path, state in states.items()
        if not stat.S_ISLNK(state.st_mode) and state.st_mode & 0o077
    ]


def fill(pagesight: Pagesight) -> None:
    make_pdf(pagesight.files / "a.pdf", 2, seed=3)
    with zipfile.ZipFile(pagesight.files / "inner.zip", "w") as container:
        container.write(pagesight.files / "a.pdf", "deep/b.pdf")
    (pagesight.files / "broken.pdf").write_bytes(b"%PDF-1.7\nbroken")


@pytest.mark.usefixtures("open_umask")
def test_nothing_that_commands_leave_is_for_others(
    make_pagesight: MakePagesight, elasticsearch_url: str, redis_executable: Path
) -> None:
    pagesight = make_pagesight(elasticsearch_url)
    fill(pagesight)
    state = pagesight.home / "state"
    assert pagesight.index().code == 1  # broken.pdf fails
    assert pagesight.run("redis", "start").code == 0
    try:
        assert pagesight.run("enqueue", pagesight.files).code == 0
        assert pagesight.run("doctor").code == 0
        assert pagesight.run("inspect", pagesight.files).code == 0
        assert wide(state) == []
    finally:
        pagesight.run("redis", "stop")

    assert len(list(state.rglob("*"))) > 40
    assert (state / "redis" / "data").is_dir()
    assert (state / "cache").is_dir()
    assert (state / "data-folders").is_file()
    assert wide(state) == []
    assert list(pagesight.temporary.iterdir()) == []
