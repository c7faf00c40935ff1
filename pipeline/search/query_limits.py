"""Bounds of what people search for, so that a query costs a server little and is refused by its limit's name.

Elasticsearch makes of each word one clause for each field in which it searches. It allows a number of clauses that
depends on its memory and processors, and refuses a query beyond it as a whole.
"""

from __future__ import annotations

import re

from pipeline.core.errors import SettingsError
from pipeline.core.languages import KANA_AND_HAN

#: Most words of a query. A page with 100 given words is also found by a few of them.
MAX_WORDS = 100
#: Most characters of a query, a question, or a part of a name or path. 100 words and the longest paths are shorter.
MAX_CHARACTERS = 8192
#: Most hits of one answer, and most hits before it: Elasticsearch counts 10,000 together (`index.max_result_window`).
MAX_HITS, MAX_START = 1000, 9000
#: Text without spaces is searched by pairs of characters, as it is indexed. Parentheses, quotes and `|` end a word, as
#: in `query_language`.
_TERM = re.compile(f'[{KANA_AND_HAN}]+|[^\\s|()"{KANA_AND_HAN}]+')
_UNSPACED = re.compile(f"[{KANA_AND_HAN}]")
_REMEDY = "Search for a few words that are rare, or for a phrase in quotes."
#: Message about a part of a name or path that repeats itself many times.
_TOO_COMPLEX = "Determinizing automaton"
#: The number in the message of Elasticsearch.
_MOST_CLAUSES = re.compile(r"maxClauseCount is set to ([0-9]{1,9})")


def bounded_query(words: str) -> str:
    """Return a query as it is.

    Raises:
        SettingsError: it has too many words or characters.
    """
    count = sum(map(_terms, _TERM.findall(bounded_text(words))))
    if count > MAX_WORDS:
        raise SettingsError(
            f"the query has {count:,} words, counting Chinese and Japanese characters; at most {MAX_WORDS} are allowed",
            remedy=_REMEDY,
        )
    return words


def bounded_text(text: str) -> str:
    """Return a text that is looked for, as it is.

    Raises:
        SettingsError: it has too many characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise SettingsError(
            f"the text to search for has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed",
            remedy=_REMEDY,
        )
    return text


def too_large(answer: object) -> SettingsError | None:
    """Return the error for an answer of Elasticsearch that refuses a query by its size, or None."""
    if _TOO_COMPLEX in str(answer):
        return SettingsError("the text to search for is too long for Elasticsearch", remedy="Search for a part of it.")
    found = _MOST_CLAUSES.search(str(answer))
    if found is None:
        return None
    return SettingsError(
        f"the query has too many words for this cluster, which allows {int(found[1]):,} clauses: one for each word in "
        "each field and language",
        remedy=f"{_REMEDY} More memory for Elasticsearch allows more.",
    )


def _terms(run: str) -> int:
    return max(1, len(run) - 1) if _UNSPACED.match(run) else 1
