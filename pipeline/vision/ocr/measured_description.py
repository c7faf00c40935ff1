"""Describes a page from measurements only, in the words of a message catalogue.

    Born-digital page in portrait format; mostly white and black, with blue. About 240 words. Begins: “Goods handled”.

The description states only measured facts. Quoted words are from the page.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pipeline.core.languages import base
from pipeline.core.models import RenderedPage

#: Raise it by hand if a change of a catalogue or of a rule below changes the description of a page.
DESCRIPTION_REVISION = "2"
CATALOGUES = ("en", "de", "fr", "es")
FALLBACK = "en"

#: A raster page with fewer words than this, and not on white, is a picture with lettering.
SCAN_WORDS = 15
#: Formats of scanners. A PNG with text is more likely a screenshot.
SCAN_FORMATS = ("PDF", "TIFF", "JPEG")
#: Largest difference of the sides of a square page, as a share of the longer side.
SQUARE_SHARE = 0.03
#: Least share of pictures that is mentioned. Logos and rules have less.
NAMED_PICTURE_SHARE = 0.05
#: Length at which first lines are cut, in characters.
MAX_LINE_CHARS = 80
#: Mean word length above which the script has no spaces, and characters are counted instead of words.
MAX_MEAN_WORD = 15

_WORD = re.compile(r"\w+")
_LETTERS = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """Measurements of the text of a page."""

    text: str
    columns: int | None = None
    """None if only the text layer was read, which does not show columns."""
    share: float | None = None
    """Share of the page under text, 0 to 1; None if it was not measured."""
    unread: bool = False
    """Whether most of the detected text could not be read."""


def describe(page: RenderedPage, measures: TextMeasures, language: str) -> tuple[str, str]:
    """Describe a page in the language of a BCP 47 tag, or in English if that language has no catalogue.

    Returns:
        the description, and the tag of its language.
    """
    tag = base(language) if base(language) in CATALOGUES else FALLBACK
    words = load_catalogue(tag)
    sentence = words["sentence"]
    sentences = [_opening(page, measures, words)]
    if measures.text or not measures.unread:
        sentences.append(_amount(measures.text, sentence))
    if measures.unread:
        sentences.append(sentence["unread"])
    if measures.share is not None and measures.text:
        sentences.append(sentence["text_share"].format(percent=_percent(measures.share)))
    picture_share = page.facts.picture_share
    if page.facts.is_vector and picture_share is not None and picture_share >= NAMED_PICTURE_SHARE:
        sentences.append(sentence["picture_share"].format(percent=_percent(picture_share)))
    if line := first_line(measures.text):
        sentences.append(sentence["begins"].format(line=line))
    return " ".join(sentences), tag


@cache
def load_catalogue(language: str) -> dict[str, Any]:
    """Return the messages of one of `CATALOGUES`."""
    return tomllib.loads(files("pipeline.vision.ocr").joinpath("catalogues", f"{language}.toml").read_text("utf-8"))


def page_kind(page: RenderedPage, measures: TextMeasures) -> str:
    """Return the kind of a page: a key of the catalogues' `kind`."""
    words = len(_WORD.findall(measures.text)) or int(measures.unread)
    if page.facts.is_vector:
        return "page" if words else "drawing"
    if page.original.camera is not None:
        return "photograph"
    is_paper = words > 0 and page.facts.colours[:1] == ("white",)
    return "scan" if page.original.format in SCAN_FORMATS and (is_paper or words >= SCAN_WORDS) else "picture"


def first_line(text: str) -> str | None:
    """Return the first line with at least two letters, shortened at a word's end."""
    for line in map(str.strip, text.splitlines()):
        if len(_LETTERS.findall(line)) >= 2:
            return line if len(line) <= MAX_LINE_CHARS else line[:MAX_LINE_CHARS].rsplit(" ", 1)[0] + " …"
    return None


def _opening(page: RenderedPage, measures: TextMeasures, words: dict[str, Any]) -> str:
    features = [words["kind"][page_kind(page, measures)], words["orientation"][_orientation(page)]]
    if measures.columns is not None and measures.columns > 1:
        features.append(words["columns"][{2: "two", 3: "three"}.get(measures.columns, "more")])
    colours = [words["colour"][name] for name in page.facts.colours][:3]
    if not colours:
        return str(words["sentence"]["opening_plain"].format(features=" ".join(features)))
    listed = words["colours"][("one", "two", "three")[len(colours) - 1]].format(*colours)
    return str(words["sentence"]["opening"].format(features=" ".join(features), colours=listed))


def _orientation(page: RenderedPage) -> str:
    if abs(page.width_px - page.height_px) <= SQUARE_SHARE * max(page.width_px, page.height_px):
        return "square"
    return "portrait" if page.height_px > page.width_px else "landscape"


def _amount(text: str, sentence: dict[str, str]) -> str:
    words = _WORD.findall(text)
    characters = sum(map(len, words))
    if not words:
        return sentence["no_words"]
    if characters > MAX_MEAN_WORD * len(words):
        return sentence["characters"].format(count=_round(characters))
    return sentence["one_word"] if len(words) == 1 else sentence["words"].format(count=_round(len(words)))


def _round(count: int) -> int:
    """Keep two digits: more would suggest a precision that the count does not have."""
    return round(count, min(0, 2 - len(str(count))))


def _percent(share: float) -> int:
    """Round to 5 %, and to at least 5 %."""
    return max(5, round(min(share, 1.0) * 20) * 5)
