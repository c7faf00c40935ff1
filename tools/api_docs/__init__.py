"""Writes docs/api.md from the API's OpenAPI description."""
