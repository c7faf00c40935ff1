"""The HTTP API below `/api/v1`: what the commands print, as JSON, described by OpenAPI."""

from pipeline.web.api.app import API_PREFIX, make_api

__all__ = ["API_PREFIX", "make_api"]
