"""Fixtures that several kinds of tests share."""

pytest_plugins = [
    "support.elasticsearch_node",
    "support.object_store",
    "support.standin",
    "support.pagesight_runs",
    "support.redis_server",
    "support.fleet_runs",
    "support.secured_node",
]
