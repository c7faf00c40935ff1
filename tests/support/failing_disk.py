"""A disk that fails: calls of the operating system on paths below a folder raise errors, by chance with a seed."""

from __future__ import annotations

import builtins
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pipeline.archive import store

#: The calls by which the archive reads and writes. A link, a rename and an fsync may fail after they were done.
CALLS = ("open", "link", "replace", "fsync", "listdir", "stat", "mkdir", "unlink")
_DONE_FIRST = ("link", "fsync")


class Patch(Protocol):
    """The method of `pytest.MonkeyPatch` that is used here."""

    def setattr(self, target: Any, name: str, value: Any, raising: bool = True) -> None: ...


class ForGood:
    """Patches a process of a test's own, for as long as it lives."""

    def setattr(self, target: Any, name: str, value: Any, raising: bool = True) -> None:
        setattr(target, name, value)


class FailingDisk:
    """Faults on paths below a folder, while `errors` is not empty."""

    def __init__(self, folder: Path, patch: Patch, seed: int = 1, one_in: int = 6) -> None:
        self.errors: tuple[int, ...] = ()
        self.raised: Counter[str] = Counter()
        self._folder = str(folder)
        self._chance = random.Random(seed)
        self._one_in = one_in
        self._lock = threading.Lock()
        for name in CALLS:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))
        patch.setattr(store, "open", self._failing("read", builtins.open), raising=False)

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*words: Any, **named: Any) -> Any:
            number = self._fault(words[0]) if words and self.errors else None
            if number is None:
                return call(*words, **named)
            self.raised[name] += 1
            if name in _DONE_FIRST:
                call(*words, **named)
            raise OSError(number, os.strerror(number), words[0])

        return failing

    def _fault(self, where: object) -> int | None:
        path = str(Path(f"/proc/self/fd/{where}").readlink()) if isinstance(where, int) else str(where)
        if not path.startswith(self._folder):
            return None
        with self._lock:
            return self._chance.choice(self.errors) if self._chance.randrange(self._one_in) == 0 else None


def wait_briefly(patch: Patch) -> None:
    """Have waits for the archive take no time: how long they are is not what a failing disk shows."""
    patch.setattr(store, "OBJECT_WAITS_SECONDS", (0.01,))
