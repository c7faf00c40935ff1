"""Processor seconds of quick commands, each against an interpreter that does nothing, started in turn with it.

`enqueue` and `status` have a Redis; no command has a cluster, so each ends when Elasticsearch refuses the connection.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common import ROOT, Row, workplace

from pipeline.local.redis import find_redis_server
from support.redis_server import RedisServer

ROUNDS = 9
COMMANDS = (("--version",), ("--help",), ("search", "harbour"), ("status",), ("enqueue", "letter.txt"))
PROGRAM = "from pipeline.cli.app import main; main()"
#: For a machine on which importing every command takes 2.3 s.
AIMS = {
    "--version": "<= 0.3 s",
    "--help": "<= 0.3 s",
    "search": "<= 0.8 s",
    "status": "<= 0.8 s",
    "enqueue": "<= 0.8 s",
}


def rows() -> Iterator[Row]:
    with workplace() as folder, redis(folder / "redis") as server:
        (folder / "letter.txt").write_text("harbour")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PAGESIGHT_", "JINA_"))
        }
        environment |= {"PAGESIGHT_ELASTICSEARCH_URL": "http://127.0.0.1:9", "PAGESIGHT_REDIS_URL": server.url}
        environment["PYTHONPATH"] = str(ROOT)
        for words in COMMANDS:
            bare, ours = [], []
            for _ in range(ROUNDS):
                bare.append(seconds(["pass"], folder, environment))
                ours.append(seconds([PROGRAM, *words], folder, environment))
            took = statistics.median(ours)
            yield Row(
                f"processor seconds of `pagesight {' '.join(words)}`, against `python -c pass`",
                f"{took:.2f} s",
                f"{took / statistics.median(bare):.0f}",
                AIMS[words[0]],
            )


@contextmanager
def redis(folder: Path) -> Iterator[RedisServer]:
    """Yield a Redis of the benchmark's own."""
    folder.mkdir()
    server = RedisServer(find_redis_server(), folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def seconds(program: list[str], folder: Path, environment: Mapping[str, str]) -> float:
    """Run an interpreter to its end; return the processor seconds that it took, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", *program], cwd=folder, env=dict(environment), capture_output=True, timeout=120
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
