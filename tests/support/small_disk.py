"""A disk that can be filled: a file system in memory, in a namespace of its own, and `pagesight` that runs in there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from support.pagesight_runs import Pagesight

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def needs_mounts(folder: Path) -> None:
    mount = f"mount -t tmpfs none {shlex.quote(str(folder))}"
    tried = subprocess.run([*NAMESPACE, "sh", "-c", mount], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {tried.stderr}")


class SmallDisk:
    """A disk at a folder, for as long as a process lives that holds it."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir(parents=True)
        script = f"mount -t tmpfs -o size={megabytes}m none {shlex.quote(str(folder))} && echo mounted && exec cat"
        self._holder = subprocess.Popen(
            [*NAMESPACE, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "mounted\n"
        pid = self._holder.pid
        #: What a command begins with that is to see the disk.
        self.enter = ["nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials"]
        #: Where others see it.
        self.seen_at = Path(f"/proc/{pid}/root{folder}")

    def fill(self) -> None:
        """Somebody else writes until nothing fits any more."""
        with (self.seen_at / "filler").open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                try:
                    while filler.write(bytes(size)):
                        continue
                except OSError:
                    continue

    def make_room(self) -> None:
        (self.seen_at / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class OnSmallDisk(Pagesight):
    """`pagesight` with its archive on such a disk, which only processes of another namespace see."""

    in_process = False

    def __init__(self, home: Path, disk: SmallDisk, place: Path, *given: object, **settings: object) -> None:
        super().__init__(home, *given, archive=place / "archive", **settings)  # type: ignore[arg-type]
        self._disk = disk

    @property
    def archive_folder(self) -> Path:
        return self._disk.seen_at / "archive"

    def command(self, *words: str | Path) -> list[str | Path]:
        return [*self._disk.enter, *super().command(*words)]


def assert_everything_in_it_is_whole(folder: Path) -> None:
    """No file of an archive is half-written, and no temporary one is left."""
    assert list((folder / "tmp").iterdir()) == []
    archive = Archive(Store(str(folder)))
    for collection in archive.collections.names():
        for identifier in archive.sources(collection).names():
            assert archive.sources(collection)[identifier].newest()
        for document in archive.documents(collection):
            assert list(archive.readings(collection, document).newest())
    for path in folder.glob("answers/*/*/*.json"):
        assert archive.answers.get(f"{path.parent.name}-{path.stem}")
    for path in folder.glob("images/*/*/*.jpg"):
        assert path.read_bytes().endswith(b"\xff\xd9")
    for path in folder.glob("images/*/*/*.webp"):
        assert int.from_bytes(path.read_bytes()[4:8], "little") == path.stat().st_size - 8
