"""Each script of `bench/` can be imported: no other check runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[3] / "bench"
#: A process of its own, since the scripts have plain names such as `memory`. `tests` and the root are what they add.
IMPORT_ALL = """
import importlib, sys
sys.path[:0] = sys.argv[1].split(":")
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


def test_each_script_can_be_imported() -> None:
    names = sorted(path.stem for path in BENCH.glob("*.py"))
    assert "run" in names
    command = [sys.executable, "-c", IMPORT_ALL, str(BENCH), *names]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
