"""`make bench [ONLY=throughput,rendering,memory,writing,fleet]`: prints the table that docs/benchmarks.md keeps.

`soak_fleet` takes an hour or more and is run only when it is named, as `make soak` does.
"""

from __future__ import annotations

import importlib
import sys

from common import machine

BENCHMARKS = ("rendering", "throughput", "writing", "memory", "fleet")


def main(chosen: list[str]) -> None:
    print(machine(), flush=True)
    print("\n| what | measured | ratio | aim |\n| --- | --- | --- | --- |", flush=True)
    for name in chosen or BENCHMARKS:
        for row in importlib.import_module(name).rows():
            print(f"| {row.what} | {row.measured} | {row.ratio} | {row.aim} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
