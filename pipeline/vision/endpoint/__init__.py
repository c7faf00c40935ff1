"""The HTTP side of a model: client, errors, limits, requests, probing, cost."""
