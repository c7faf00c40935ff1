"""Finds the encoding of text that names none: names in archives, fields of mail, plain text files.

A guess compares the readings of all candidates. Letters that are common in a language count for a reading; mixed
scripts within a word, capitals after small letters, drawing characters and rare signs count against it. The lists of
letters and the weights are the project's own; `tests/unit/rendering/test_code_pages.py` lists the languages that they
tell apart. Standard library only: the conversion's processes import this module too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

#: Encodings of programs for Windows and UNIX, and of mail. Of two readings with the same score the first one counts.
TEXT = (
    "cp1252 cp1250 cp1251 koi8_u cp1253 cp1254 cp1255 cp1256 cp932 gb18030 big5 cp949 euc_jp cp437 cp866 mac_roman"
).split()
#: Encodings of programs that write ZIP archives: of DOS first, since the format began there.
ARCHIVE_NAMES = (
    "cp437 cp850 cp852 cp866 cp932 gb18030 big5 cp949 cp1252 cp1250 cp1251 koi8_u cp737 cp1253 cp862 cp857"
).split()
#: Bytes that a guess looks at.
SAMPLE_BYTES = 1 << 16
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
#: Least score per byte with which a guess is trusted.
_TRUSTED = 0.5
_HINT_BONUS = 0.3
#: Share of a Latin word's letters that may be beyond ASCII.
_MOST_BEYOND_ASCII = 0.67
_WORD = re.compile(r"[^\W\d_]+")
#: Letters beyond ASCII of languages in Latin script, in small. The letters of a text should be those of one language.
_ALPHABETS = tuple(
    frozenset(letters)
    for letters in (
        "äöüß àâæçéèêëîïôœùûü áéíñóúü àáâãçéêíóôõúü àèéìíîòóù æøåéè åäöé áðéíóúýþæö éëïöüè ąćęłńóśźż "
        "áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű ăâîșțşţ çğıöşüâî čćđšž àçèéíïòóúü õäöüšž āčēģīķļņšūž ąčęėįšųūž"
    ).split()
)
#: Letters of Icelandic alone, whose bytes are common ones in Turkish.
_SELDOM = frozenset("þðý")
_LATIN = frozenset().union(*_ALPHABETS)
#: Letters of Cyrillic and Greek by how often they occur in Russian (Ukrainian letters beside them) and in Greek.
_FREQUENT = frozenset("оеаинтсрвлкмдпαοιετσνηυρπκλμςόάίέή")
_RARE = frozenset("юцщэфъξψζ")
_CYRILLIC_AND_GREEK = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґαβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ")
_BOX_DRAWING = range(0x2500, 0x25A0)
#: Signs between the words of texts; within a word only the apostrophe.
_PUNCTUATION = frozenset("„“”‚‘’–—…«»•§°€£№·®©™¿¡\xa0")
#: First bytes of the characters that a wide encoding's standard calls common: JIS X 0208 and GB 2312 level 1, Big5
#: level 1, KS X 1001's Hangul.
_COMMON_ROWS = {
    "cp932": range(0x88, 0x98),
    "gb18030": range(0xB0, 0xD8),
    "big5": range(0xA4, 0xC7),
    "cp949": range(0xB0, 0xC9),
    "euc_jp": range(0xB0, 0xD0),
}


def decode_text(data: bytes) -> str:
    """Return a text file's text: by its byte order mark, as UTF-8, else by a guess over its first `SAMPLE_BYTES`."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(guess([data], TEXT), "replace")


def guess(samples: Iterable[bytes], candidates: Sequence[str], hint: str | None = None) -> str:
    """Return the encoding that all samples have together; the first candidate if no reading of them is convincing.

    Args:
        samples: texts without a declared encoding; ASCII ones say nothing.
        candidates: names of Python's codecs.
        hint: a codec that is more likely than the others.
    """
    undeclared = [sample[:SAMPLE_BYTES] for sample in samples if not sample.isascii()]
    names = dict.fromkeys((*((hint,) if hint else ()), *candidates))
    scores = {name: _score(undeclared, name) + (_HINT_BONUS if name == hint else 0) for name in names}
    best = max(scores, key=lambda name: scores[name], default=candidates[0])
    return best if scores[best] >= _TRUSTED else _readable(undeclared, hint, candidates)


def _readable(samples: Sequence[bytes], hint: str | None, candidates: Sequence[str]) -> str:
    """Return the first encoding in which the samples can be read at all."""
    names = [hint, *candidates] if hint else list(candidates)
    return next((name for name in names if all(_read(sample, name) is not None for sample in samples)), candidates[0])


def _score(samples: Sequence[bytes], encoding: str) -> float:
    """Return how likely a reading is, per byte beyond ASCII; minus infinity if a sample cannot be read."""
    total, size = 0.0, 0
    for sample in samples:
        text = _read(sample, encoding)
        if text is None:
            return float("-inf")
        size += sum(byte > 127 for byte in sample)
        total += sum(_weight(letter, encoding) for letter in text if letter > "\x7f") + _shape(text)
        total += _language_bonus(text)
    return total / size if size else 0.0


def _read(sample: bytes, encoding: str) -> str | None:
    """Return a reading, None where there is none. A sample may be cut within its last character."""
    for end in (len(sample), len(sample) - 1):
        try:
            return sample[:end].decode(encoding)
        except (UnicodeDecodeError, LookupError):
            if len(sample) < SAMPLE_BYTES:
                return None
    return None


@lru_cache(maxsize=1 << 14)
def _weight(letter: str, encoding: str) -> float:
    """Return what a character beyond ASCII says for a reading."""
    if letter in _PUNCTUATION:
        return 0.5
    if not letter.isalpha():
        return -4.0 if ord(letter) in _BOX_DRAWING or unicodedata.category(letter)[0] == "C" else -2.0
    return _weight_of_letter(letter, encoding)


def _weight_of_letter(letter: str, encoding: str) -> float:
    small, script = letter.lower(), _script(letter)
    if small in _LATIN:
        return 1.8 if small in _SELDOM else 2.2
    if small in _CYRILLIC_AND_GREEK:
        return 2.9 if small in _FREQUENT else 1.4 if small in _RARE else 2.4
    if script in ("HEBREW", "ARABIC"):
        return 2.75
    if script in ("HIRAGANA", "KATAKANA"):
        return 6.0 if encoding in ("cp932", "euc_jp") else 1.0
    if script in ("CJK", "HANGUL"):
        return _weight_of_ideograph(letter, script, encoding)
    return -1.0  # also half-width katakana: pairs of Cyrillic letters look like them


def _weight_of_ideograph(letter: str, script: str, encoding: str) -> float:
    """Return what a character of two bytes says."""
    row = letter.encode(encoding, "replace")[0]
    common = row in _COMMON_ROWS.get(encoding, ())
    if script == "HANGUL":
        return 5.0 if common else -2.0
    return 4.0 if common and encoding != "cp949" else -2.0


def _language_bonus(text: str) -> float:
    """Return more the more of the Latin letters belong to one language."""
    letters = [letter for letter in text.lower() if letter in _LATIN]
    if not letters:
        return 0.0
    most = max(sum(letter in alphabet for letter in letters) for alphabet in _ALPHABETS)
    return 0.8 * most if most == len(letters) else 0.4 * most


def _shape(text: str) -> float:
    """Return what the words say against a reading: scripts that meet, capitals within, signs between letters."""
    against = 0.0
    for word in _WORD.findall(text):
        if word.isascii():
            continue
        against += 4.0 * (len({_kind(letter) for letter in word}) - 1)
        beyond = sum("\x7f" < letter < "\u0250" for letter in word)
        if len(word) > 2 and beyond > _MOST_BEYOND_ASCII * len(word):
            against += 2.0 * beyond
        against += 4.0 * sum(a.islower() and b.isupper() for a, b in pairwise(word))
    for before, sign, after in zip(text, text[1:], text[2:], strict=False):
        if sign > "\x7f" and not sign.isalpha() and sign not in "’·" and before.isalpha() and after.isalpha():
            against += 3.0
    return -against


def _kind(letter: str) -> str:
    """Return the script of a letter; those of Japanese count as one."""
    script = "LATIN" if letter.isascii() else _script(letter)
    return "CJK" if script in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else script


@lru_cache(maxsize=1 << 14)
def _script(letter: str) -> str:
    """Return the first word of a character's name in Unicode, which for letters is the script."""
    return unicodedata.name(letter, "").partition(" ")[0]
