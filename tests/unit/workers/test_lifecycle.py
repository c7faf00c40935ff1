"""A worker that cannot begin ends: Celery alone would log the error, take messages and fail each of them."""

from __future__ import annotations

import os

import pytest

from pipeline.core.errors import ServiceRefused, SettingsError
from workers import lifecycle
from workers.process import WorkerProcess


class _Ended(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "code"),
    [(ServiceRefused("redis", "no", remedy=""), 3), (SettingsError("wrong"), 2), (OSError(5, "Input/output error"), 1)],
)
def test_a_worker_that_cannot_begin_ends_with_a_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    codes: list[int] = []

    def leave(number: int) -> None:
        codes.append(number)
        raise _Ended

    def begin() -> None:
        raise error

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(WorkerProcess, "begin", begin)
    with pytest.raises(_Ended):
        lifecycle._begin()
    assert codes == [code]
