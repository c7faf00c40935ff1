"""Dataclasses whose docstrings describe their fields to programs: OpenAPI shows them."""

from __future__ import annotations

from pydantic import ConfigDict

#: Set as `__pydantic_config__` of a dataclass, it makes the strings below fields their descriptions in JSON schemas.
DESCRIBED = ConfigDict(use_attribute_docstrings=True)
