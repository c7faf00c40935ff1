"""Texts of the search page in English and German, chosen by the browser's languages."""

from __future__ import annotations

from collections.abc import Mapping

Texts = Mapping[str, str]

_ENGLISH = {
    "language": "en",
    "title": "Search pages",
    "query": 'Words, "a phrase", -without',
    "search": "Search",
    "collection": "Collection",
    "every_collection": "All collections",
    "page": "page {number}",
    "found": "{total} pages found",
    "found_one": "1 page found",
    "range": "Hits {first} to {last}",
    "nothing": "Nothing found.",
    "suggestions": "Did you mean",
    "corrected": "No page has “{word}”; these pages have “{other}” or a word like it.",
    "by_meaning": "found by meaning",
    "words_only": "Searched by words only: the model for meaning fails now.",
    "half": "No page has all the words; these pages have at least half of them.",
    "before": "Previous hits",
    "after": "More hits",
    "collections": "Collections",
    "document": "1 document",
    "documents": "{count} documents",
    "one_page": "1 page",
    "pages": "{count} pages",
    "failed": "{count} failed",
    "empty": "There is no collection yet. `pagesight index FOLDER` makes one.",
    "away": "The search cannot be reached now",
    "no_image": "no image",
    "skip": "Skip to the hits",
}
_GERMAN = {
    "language": "de",
    "title": "Seiten suchen",
    "query": 'Wörter, "eine Wendung", -ohne',
    "search": "Suchen",
    "collection": "Sammlung",
    "every_collection": "Alle Sammlungen",
    "page": "Seite {number}",
    "found": "{total} Seiten gefunden",
    "found_one": "1 Seite gefunden",
    "range": "Treffer {first} bis {last}",
    "nothing": "Nichts gefunden.",
    "suggestions": "Meinten Sie",
    "corrected": "Keine Seite hat „{word}“; diese Seiten haben „{other}“ oder ein ähnliches Wort.",
    "by_meaning": "sinngemäß gefunden",
    "words_only": "Nur nach Wörtern gesucht: Das Modell für Bedeutungen versagt gerade.",
    "half": "Keine Seite hat alle Wörter; diese Seiten haben mindestens die Hälfte davon.",
    "before": "Vorige Treffer",
    "after": "Weitere Treffer",
    "collections": "Sammlungen",
    "document": "1 Dokument",
    "documents": "{count} Dokumente",
    "one_page": "1 Seite",
    "pages": "{count} Seiten",
    "failed": "{count} fehlgeschlagen",
    "empty": "Es gibt noch keine Sammlung. `pagesight index ORDNER` legt eine an.",
    "away": "Die Suche ist im Moment nicht erreichbar",
    "no_image": "kein Bild",
    "skip": "Zu den Treffern",
}
_CATALOGUES = {"en": _ENGLISH, "de": _GERMAN}
#: Characters of the header that are read.
_HEADER_CHARACTERS = 500


def texts_for(accept_language: str) -> Texts:
    """Return the texts in the browser's first language that there is a catalogue of; English without any.

    Args:
        accept_language: the request's `Accept-Language` header (RFC 9110, 12.5.4).
    """
    wanted = [entry.partition(";") for entry in accept_language[:_HEADER_CHARACTERS].split(",")]
    ordered = sorted(wanted, key=lambda parts: -_quality(parts[2]))
    tags = (tag.strip().lower().partition("-")[0] for tag, _, _ in ordered)
    return next((_CATALOGUES[tag] for tag in tags if tag in _CATALOGUES), _ENGLISH)


def _quality(parameter: str) -> float:
    """Return the weight in `q=0.8`; 1 without one, 0 for one that cannot be read."""
    value = parameter.strip().removeprefix("q=")
    try:
        return float(value) if value else 1.0
    except ValueError:
        return 0.0
