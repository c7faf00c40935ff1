"""What can be said of a page without understanding it, in the words of a message catalogue.

    Born-digital page in portrait format; mostly white and black, with blue. About 240 words. Begins: “Goods handled”.

Only what was measured is said. Words quoted from the page are its own.
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

#: Raised by hand whenever a catalogue or a rule below would describe the same page otherwise.
DESCRIPTION_REVISION = "2"
CATALOGUES = ("en", "de", "fr", "es")
FALLBACK = "en"

#: What was photographed or scanned and has fewer words than this, and not on white, is a picture with lettering.
SCAN_WORDS = 15
#: What scanners write; a PNG with text on it is more likely a screenshot.
SCAN_FORMATS = ("PDF", "TIFF", "JPEG")
#: Below this difference of sides, as a share of the longer one, a page is square.
SQUARE_SHARE = 0.03
#: Smaller shares of pictures are logos and rules.
NAMED_PICTURE_SHARE = 0.05
#: Longer first lines are cut, in characters.
MAX_LINE_CHARS = 80
#: Words longer than this on average are lines of a script without spaces: characters are counted instead.
MAX_MEAN_WORD = 15

_WORD = re.compile(r"\w+")
_LETTERS = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """What was found out about the text of a page."""

    text: str
    columns: int | None = None
    """None where only the text layer was read, which does not tell."""
    share: float | None = None
    """Share of the page under text, 0 to 1; None where that was not measured."""
    unread: bool = False
    """Whether most of the text that was seen could not be read."""


def describe(page: RenderedPage, found: TextMeasures, language: str) -> tuple[str, str]:
    """Describe a page in the language of a BCP 47 tag, or in English where there is no catalogue for it.

    Returns:
        the description, and the tag of the language that it is in.
    """
    tag = base(language) if base(language) in CATALOGUES else FALLBACK
    words = load_catalogue(tag)
    sentence = words["sentence"]
    sentences = [_opening(page, found, words)]
    if found.text or not found.unread:
        sentences.append(_amount(found.text, sentence))
    if found.unread:
        sentences.append(sentence["unread"])
    if found.share is not None and found.text:
        sentences.append(sentence["text_share"].format(percent=_percent(found.share)))
    picture_share = page.facts.picture_share
    if page.facts.is_vector and picture_share is not None and picture_share >= NAMED_PICTURE_SHARE:
        sentences.append(sentence["picture_share"].format(percent=_percent(picture_share)))
    if line := first_line(found.text):
        sentences.append(sentence["begins"].format(line=line))
    return " ".join(sentences), tag


@cache
def load_catalogue(language: str) -> dict[str, Any]:
    """Return the messages of one of `CATALOGUES`."""
    return tomllib.loads(files("pipeline.vision.ocr").joinpath("catalogues", f"{language}.toml").read_text("utf-8"))


def kind_of(page: RenderedPage, found: TextMeasures) -> str:
    """Return what kind of page it is: a key of the catalogues' `kind`."""
    words = len(_WORD.findall(found.text)) or int(found.unread)
    if page.facts.is_vector:
        return "page" if words else "drawing"
    if page.original.camera is not None:
        return "photograph"
    is_paper = words > 0 and page.facts.colours[:1] == ("white",)
    return "scan" if page.original.format in SCAN_FORMATS and (is_paper or words >= SCAN_WORDS) else "picture"


def first_line(text: str) -> str | None:
    """Return the first line that holds letters, shortened at a word's end."""
    for line in map(str.strip, text.splitlines()):
        if len(_LETTERS.findall(line)) >= 2:
            return line if len(line) <= MAX_LINE_CHARS else line[:MAX_LINE_CHARS].rsplit(" ", 1)[0] + " …"
    return None


def _opening(page: RenderedPage, found: TextMeasures, words: dict[str, Any]) -> str:
    features = [words["kind"][kind_of(page, found)], words["orientation"][_orientation(page)]]
    if found.columns is not None and found.columns > 1:
        features.append(words["columns"][{2: "two", 3: "three"}.get(found.columns, "more")])
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
    found = _WORD.findall(text)
    characters = sum(map(len, found))
    if not found:
        return sentence["no_words"]
    if characters > MAX_MEAN_WORD * len(found):
        return sentence["characters"].format(count=_round(characters))
    return sentence["one_word"] if len(found) == 1 else sentence["words"].format(count=_round(len(found)))


def _round(count: int) -> int:
    """Keep two digits: more would pretend to more than was counted."""
    return round(count, min(0, 2 - len(str(count))))


def _percent(share: float) -> int:
    """Round to 5 %, and never to nothing."""
    return max(5, round(min(share, 1.0) * 20) * 5)
