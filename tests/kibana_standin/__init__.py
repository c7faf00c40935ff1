"""A stand-in for Kibana 9, as far as Pagesight speaks to it: its routes, its answers, its refusals.

It keeps what is imported and brings it up to its own version, as Kibana does, so that what is read back is not what was
sent. Shapes and words are those of Kibana's own routes (`saved_objects`, `spaces`, `data_views`, `alerting`).
"""

from kibana_standin.server import Kibana

__all__ = ["Kibana"]
