"""Fixtures that several kinds of tests share."""

from collections.abc import Iterator

import pytest

from pipeline.core import masking

#: Assertions in helpers tell what differed, like those in tests.
pytest.register_assert_rewrite("support")

pytest_plugins = [
    "support.guardian",
    "support.browser",
    "support.elasticsearch_node",
    "support.object_store",
    "support.standin",
    "support.pagesight_runs",
    "support.redis_server",
    "support.fleet_runs",
    "support.secured_node",
]


@pytest.fixture(autouse=True)
def _secrets_of_one_test() -> Iterator[None]:
    """Forget the secrets of each test: a short one could be a word in the errors of another test."""
    masking.forget()
    yield
    masking.forget()
