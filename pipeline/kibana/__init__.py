"""Pagesight's objects in Kibana: declared, built into `mappings/kibana/`, installed."""

from pipeline.kibana.bundle import Bundle
from pipeline.kibana.install import bundle, differences, install

__all__ = ["Bundle", "bundle", "differences", "install"]
