"""Fixtures that several kinds of tests share."""

import pytest

#: Assertions in helpers tell what differed, like those in tests.
pytest.register_assert_rewrite("support")

pytest_plugins = [
    "support.guardian",
    "support.elasticsearch_node",
    "support.object_store",
    "support.standin",
    "support.pagesight_runs",
    "support.redis_server",
    "support.fleet_runs",
    "support.secured_node",
]
