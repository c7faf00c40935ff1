"""Installs Pagesight's objects in Kibana. `tools/kibana` builds them into `mappings/kibana/`."""

from pipeline.kibana.bundle import Bundle
from pipeline.kibana.install import bundle, differences, install

__all__ = ["Bundle", "bundle", "differences", "install"]
