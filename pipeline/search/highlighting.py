"""Highlighting: matches are marked by tags made of a random marker, which the text of a page cannot contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.search.results import Fragment, Span

#: Fields in which matches are highlighted. A copy under `i18n` is shown as the field that it copies.
HIGHLIGHTED = ("description", "caption", "text", "translation", "layer_text", "document.title", "document.name")
#: Ending of the fields that are searched across signs and line ends.
JOINED = ".joined"
#: The server refuses to highlight beyond it (`index.highlight.max_analyzed_offset` is 1,000,000).
HIGHLIGHT_MAX_CHARACTERS = 999_999


def highlighting(marker: str) -> dict[str, Any]:
    """Return the part of a search request that highlights matches with tags of this marker."""
    return {
        "pre_tags": [_opening(marker)],
        "post_tags": [_closing(marker)],
        "fields": {field: {} for field in (*HIGHLIGHTED, "*.joined", "i18n.*")},
        "number_of_fragments": 3,
        "fragment_size": 160,
        "max_analyzed_offset": HIGHLIGHT_MAX_CHARACTERS,
    }


def highlights(found: Mapping[str, list[str]], marker: str) -> dict[str, tuple[Fragment, ...]]:
    """Return fragments by field.

    Fragments of a language's copy replace the neutral ones, because they match more. Fragments with matches across
    signs are shown if the field has no others.
    """
    shown: dict[str, tuple[Fragment, ...]] = {}
    for field in sorted(found, key=lambda name: (not name.endswith(JOINED), name.startswith("i18n."))):
        name = field.split(".")[1] if field.startswith("i18n.") else field.removesuffix(JOINED)
        shown["document.title" if name == "title" else name] = tuple(_fragment(text, marker) for text in found[field])
    return shown


def _opening(marker: str) -> str:
    return f"<{marker}>"


def _closing(marker: str) -> str:
    return f"</{marker}>"


def _fragment(text: str, marker: str) -> Fragment:
    """Split a fragment at its tags."""
    plain, *marked = text.split(_opening(marker))
    spans = [Span(plain, is_match=False)]
    for piece in marked:
        match, _, rest = piece.partition(_closing(marker))
        spans += [Span(match, is_match=True), Span(rest, is_match=False)]
    return tuple(span for span in spans if span.text)
