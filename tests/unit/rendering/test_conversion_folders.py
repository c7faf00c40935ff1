"""The folders of conversions: those whose processes were all killed at once are removed by a later conversion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline.core.child_process import PACKAGE_HOME
from pipeline.rendering.conversion.confined import sweep

#: Locks the folder that is its argument, as a conversion's keeper does, and forks, as it does for its worker.
KEEPER = """
import os, sys
from pathlib import Path
sys.path.append(sys.argv[2])
from pipeline.rendering.conversion.confined import lock
lock(Path(sys.argv[1]))
if not os.fork():
    os.read(0, 1)
    os._exit(0)
print("locked", flush=True)
os._exit(0)
"""


def workspace(parent: Path, number: int, *, age_seconds: float = 3600) -> Path:
    folder = parent / f"pagesight-{number:032x}"
    (folder / "profile").mkdir(parents=True)
    (folder / "input.docx").write_bytes(b"somebody's document")
    then = folder.stat().st_mtime - age_seconds
    os.utime(folder, (then, then))
    return folder


def test_a_workspace_without_processes_is_removed_with_its_document(tmp_path: Path) -> None:
    abandoned = workspace(tmp_path, 1)
    sweep(tmp_path)
    assert not abandoned.exists()


def test_a_workspace_that_is_new_or_of_another_name_stays(tmp_path: Path) -> None:
    workspace(tmp_path, 1, age_seconds=0)
    (tmp_path / "pagesight-bench-1").mkdir()
    os.utime(tmp_path / "pagesight-bench-1", (0, 0))
    kept = workspace(tmp_path / "elsewhere", 2)
    (tmp_path / f"pagesight-{3:032x}").symlink_to(kept)
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_workspace_stays_until_the_last_process_has_ended(tmp_path: Path) -> None:
    used = workspace(tmp_path, 1)
    command = [sys.executable, "-c", KEEPER, str(used), str(PACKAGE_HOME)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"locked\n"
        keeper.wait(30)
        sweep(tmp_path)
        assert used.exists()
        keeper.stdin.close()
        assert keeper.stdout.read() == b""  # the worker has ended
    sweep(tmp_path)
    assert not used.exists()
