"""The lock has every dependency in a version that `pyproject.toml` allows, with hashes, and names no index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUN = [*PROJECT["project"]["dependencies"], *EXTRAS["local"], *EXTRAS["s3"], *PROJECT["dependency-groups"]["build"]]
DEV = [*RUN, *PROJECT["dependency-groups"]["test"], *PROJECT["dependency-groups"]["lint"]]


@pytest.mark.parametrize(("name", "wanted"), [("run.txt", RUN), ("dev.txt", DEV)])
def test_the_lock_is_that_of_the_project(name: str, wanted: list[str]) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)(?: ;[^\\]*)? \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^\w", text, re.MULTILINE))
    assert "://" not in text
    for requirement in map(Requirement, wanted):
        versions = [version for package, version in pinned if package == requirement.name.lower()]
        assert versions, requirement
        assert all(requirement.specifier.contains(version) for version in versions), requirement
