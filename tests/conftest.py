"""Fixtures that several kinds of tests share."""

pytest_plugins = ["support.elasticsearch_node", "support.standin", "support.pagesight_runs"]
