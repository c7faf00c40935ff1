"""Starts the jina-vlm stand-in for a test and speaks to its control plane."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import pytest

PROGRAM = Path(__file__).resolve().parent.parent / "jina_standin"
KEY = "standin-key"


class Standin:
    """A stand-in in a process of its own, on a free port of this machine; it ends with the test.

    `url` is what `PAGESIGHT_VLM_URL` takes, `key` what `PAGESIGHT_VLM_API_KEY` takes.
    """

    key = KEY

    def __init__(self, *options: str) -> None:
        command = [sys.executable, str(PROGRAM), "--key", KEY, "--until-stdin-closes", *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.close()
            raise RuntimeError("the stand-in did not start")
        control = self.url.removesuffix("/v1") + "/_standin"
        self._control = httpx2.Client(base_url=control, trust_env=False, timeout=60)
        self._faults: list[dict[str, Any]] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, **settings: Any) -> None:
        """Set `latency_seconds`, `max_in_flight`, `manners` (as `jina_standin.protocol.Manners`), and `answers`: image
        SHA-256 to `{"description", "text"}` and to answers by a piece of their prompts.
        """
        self._control.post("/tell", json=settings).raise_for_status()

    def have(self, kind: str, **where: Any) -> None:
        """Have a fault besides those it has: a kind and conditions of `jina_standin.faults.Fault`."""
        self._faults.append({"kind": kind, **where})
        self.tell(faults=self._faults)

    def be_well(self) -> None:
        """Have no faults any more."""
        self._faults = []
        self.tell(faults=[])

    def release(self) -> None:
        """Answer those that hang now."""
        self._control.post("/release").raise_for_status()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Give no answer while the block runs, so that no run ends before it does."""
        self.have("hanging")
        try:
            yield
        finally:
            self.be_well()
            self.release()

    def reset_counters(self) -> None:
        self._control.post("/reset_counters").raise_for_status()

    def counters(self) -> dict[str, Any]:
        """Counts of all requests since the start or the last reset: see `jina_standin.state.State.counters`."""
        return dict(self._control.get("/counters").raise_for_status().json())

    def requests(self) -> list[dict[str, Any]]:
        """Every request, in order, with image, prompt, fault and status."""
        return list(self._control.get("/requests").raise_for_status().json())

    def close(self) -> None:
        if hasattr(self, "_control"):
            self._control.close()
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def __enter__(self) -> Standin:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


@pytest.fixture
def standin() -> Iterator[Standin]:
    """A jina-vlm stand-in of this test's own."""
    with Standin() as running:
        yield running
