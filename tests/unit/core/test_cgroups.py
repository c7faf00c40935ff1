"""The bound of processes: the smallest of the groups from this process's own to the root, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.cgroups import most_tasks


@pytest.mark.parametrize(
    ("own", "bounds", "most"),
    [
        ("0::/\n", {"": "512\n"}, 512),
        ("0::/system.slice/pagesight.service\n", {"system.slice": "max\n"}, None),
        ("0::/a/b\n", {"a/b": "max\n", "a": "900\n", "": "4000\n"}, 900),
        ("12:pids:/docker/x\n3:cpu,cpuacct:/y\n0::/z\n", {"pids/docker/x": "64\n", "cpu/y": "1\n"}, 64),
        ("", {"": "512\n"}, None),
    ],
)
def test_the_smallest_bound_counts(tmp_path: Path, own: str, bounds: dict[str, str], most: int | None) -> None:
    root = tmp_path / "root"
    for group, bound in bounds.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / "pids.max").write_text(bound)
    (tmp_path / "own").write_text(own)
    assert most_tasks(root, tmp_path / "own") == most


def test_a_machine_without_control_groups_has_no_bound(tmp_path: Path) -> None:
    assert most_tasks(tmp_path, tmp_path / "missing") is None
