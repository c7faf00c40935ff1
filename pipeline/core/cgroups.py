"""The bound of processes that the control groups of this process set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def most_tasks(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Return how many processes and threads the control groups allow together; None without a bound.

    Both versions of control groups are read: the first has a tree of its own for `pids`. `root` is where they are
    mounted, `own` the file that names those of this process, see cgroups(7).
    """
    return min(_bounds(root, own), default=None)


def _bounds(root: Path, own: Path) -> Iterator[int]:
    """Yield the bound of each group, from this process's own to the root."""
    for tree, group in _groups(root, own):
        for folder in (tree / group, *(tree / group).parents):
            with suppress(OSError, ValueError):  # no such file above the mounted root; "max" without a bound
                yield int((folder / "pids.max").read_text(encoding="ascii"))


def _groups(root: Path, own: Path) -> Iterator[tuple[Path, str]]:
    """Yield the trees that may bound processes, each with the path of this process's group in it."""
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield root, path.strip("/")
            elif "pids" in controllers.split(","):
                yield root / "pids", path.strip("/")
