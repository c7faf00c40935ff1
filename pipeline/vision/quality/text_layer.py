"""Decides whether a file's own text layer can replace the text read from the page."""

from __future__ import annotations

import unicodedata

from pipeline.core.models import LayerState, PageFacts

#: A layer with fewer letters and digits may be only a header or page number beside text drawn as curves. It is trusted
#: only if its letters account for the ink. A letter of 24 points has about this share of an A4 page.
MIN_LETTERS = 24
MAX_INK_PER_LETTER = 0.0003


def stands_for_page(layer_text: str | None, facts: PageFacts) -> bool:
    """Return whether the text layer is the page's text.

    A layer over a scan (`facts.is_vector` is false) is OCR of unknown quality or invisible text. Its characters do not
    show its quality, so the visible text is read instead. The layer stays searchable as `layer_text`.
    """
    if layer_text is None or facts.layer is not LayerState.SOUND or not facts.is_vector:
        return False
    letters = sum(unicodedata.category(c)[0] in "LMN" for c in layer_text)
    return letters >= MIN_LETTERS or 0 < facts.ink_share <= MAX_INK_PER_LETTER * letters
