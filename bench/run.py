"""`make bench [ONLY="rendering recall"]`: prints the tables that docs/benchmarks.md keeps.

`soak_fleet` takes an hour or more and is run only when it is named, as `make soak` does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import astuple

from common import machine

BENCHMARKS = (
    "commands",
    "rendering",
    "throughput",
    "writing",
    "reindexing",
    "memory",
    "fleet",
    "serving",
    "recall",
    "search_words",
    "search_meaning",
    "crops",
    "checks",
)
COLUMNS = ("what", "measured", "ratio", "aim")


def main(chosen: list[str]) -> None:
    print(machine(), flush=True)
    shown: tuple[str, ...] = ()
    for name in chosen or BENCHMARKS:
        benchmark = importlib.import_module(name)
        columns = getattr(benchmark, "COLUMNS", COLUMNS)
        if columns != shown:
            print(f"\n{_line(columns)}\n{_line(['---'] * len(columns))}", flush=True)
            shown = columns
        for row in benchmark.rows():
            print(_line(astuple(row)), flush=True)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
