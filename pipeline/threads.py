"""A pool whose threads know what they work for: log lines of a page name its task, though another thread works it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ContextThreads(ThreadPoolExecutor):
    """Runs each call in a copy of the context variables of whoever submitted it."""

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in one of the threads."""
        context = copy_context()
        return super().submit(lambda: context.run(call, *args, **kwargs))
