"""Makes text fit for storage and search: the one door for text layers, OCR, model answers, titles and names.

Removed are characters that nobody sees and that keep a search from finding a word: control characters, terminal
escapes, zero-width characters, marks and overrides of direction. Marks of direction (U+200E, U+200F, U+061C) go too,
although they can help a display: a tokenizer keeps them within a word, and the viewer sets each passage's direction
by its language. Joiners stay where a script or an emoji needs them: between letters of Arabic and Persian, after
letters of Indic scripts, and between pictures.
"""

from __future__ import annotations

import re
import unicodedata

#: Sequences for terminals: colours and cursors (CSI), titles and links (OSC), and the shorter ones. Links are bounded,
#: so that an escape without an end is cut and not searched for.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]"
    "|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c\n]{0,512}(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/]{0,4}[0-~]"
)
#: Line ends of other systems, and separators of lines, paragraphs and pages.
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNFIT = re.compile(
    "["
    "\x00-\x08\x0e-\x1f\x7f-\x9f"  # controls
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff"  # soft hyphen, zero width, marks of direction
    "\u202a-\u202e\u2066-\u2069"  # embeddings, overrides and isolates of direction
    "\u206a-\u206f\ufff9-\ufffb\U000e0000-\U000e007f"  # deprecated formats, annotations, tags
    "\ud800-\udfff\ufffe\uffff"  # no characters
    "]"
)
_ARABIC = (
    "\u0620-\u065f\u066e-\u06d3\u06d5\u06fa-\u06ff\u0710-\u077f\u0840-\u085f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"
)
_INDIC = "\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1a20-\u1cff\ua840-\ua8ff\uaa00-\uaaff\uabc0-\uabff"
_PICTURES = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\ufe0f\U0001f000-\U0001faff"
_LOST_JOINER = re.compile(
    f"[\u200c\u200d](?<!(?=[{_ARABIC}].[{_ARABIC}])..)(?<![{_INDIC}].)(?<!(?=[{_PICTURES}]\u200d[{_PICTURES}])..)"
)


def clean_text(text: str) -> str:
    """Return text in Unicode's composed form (NFC), with `\\n` line ends, that can be encoded as UTF-8.

    PDFium joins the lines of a hyphenated word with U+0002. It is removed, as soft hyphens are: then a search finds the
    whole word.
    """
    return unicodedata.normalize("NFC", without_invisible(text))


def without_invisible(text: str) -> str:
    """Return text as `clean_text` does, but in the form in which its letters are written: for names of files."""
    text = _LINE_ENDS.sub("\n", _ESCAPES.sub("", text)).replace("\u00ad\n", "")
    return _LOST_JOINER.sub("", _UNFIT.sub("", text))


def clean_line(text: str, max_chars: int) -> str | None:
    """Return text as one line of at most `max_chars`, None if the line would be empty."""
    return " ".join(clean_text(text).split())[:max_chars].strip() or None
