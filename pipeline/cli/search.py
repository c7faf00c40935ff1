"""`pagesight search`: search pages by description and text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text
from typer.core import TyperCommand

from pipeline.archive import Archive
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import marked, plain, print_json, stdout
from pipeline.core.languages import base, english_name, normalise_tag
from pipeline.core.settings import load
from pipeline.search import Fragment, Hit, SearchResult
from pipeline.services import open_archive, open_index

EXAMPLES = """
**Examples**

`pagesight search "harbour dues"` · pages with both words, best first

`pagesight search harbour -ledger` · pages without a word; `-l` and the other options of one letter take a space

`pagesight search '"harbour dues" -ledger'` · a phrase, excluding a word

`pagesight search Hafen --language de --size 3`

Exit codes: 0 done (also if nothing is found), 2 usage or settings, 3 the cluster refuses or is unreachable.
"""


#: A word to exclude. An option of one letter is followed by a space; only a number may follow at once, as in `-n3`.
_EXCLUDED = re.compile(r"-(?!n\d+\Z)[^-].+", re.DOTALL)


class Command(TyperCommand):
    """Reads `-word` as a word of the query."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep excluded words from being read as options, by a space that the query ignores."""
        return super().parse_args(ctx, [f" {arg}" if _EXCLUDED.fullmatch(arg) else arg for arg in args])


def search(
    words: Annotated[list[str], typer.Argument(help='Words, "phrases", begin*, -without.')],
    collection: CollectionFilter = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="Only pages whose text or description is in this language."),
    ] = None,
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=1000, help="Number of hits to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Search pages by description and text."""
    settings = load()
    tag = normalise_tag(language) if language else None
    with closing(open_index(settings)) as index:
        found = index.queries.search(" ".join(words), collection=collection, language=tag, size=size)
        languages = index.search_languages.live() if tag else None
    exact = bool(tag and languages and base(tag) not in languages.analysed)
    archive = open_archive(settings, require=False)
    if as_json:
        how = {
            "all_words": found.all_words,
            "corrected": found.corrected,
            "suggestions": found.suggestions,
            "exact_words_only": exact,
        }
        print_json({"total": found.total, **how, "hits": [_hit_json(hit, archive) for hit in found.hits]})
    else:
        stdout().print(Group(*_notes(found, tag if exact else None), *_found(found)))


def _notes(found: SearchResult, exact: str | None) -> Iterator[Text]:
    """Yield how the hits were found, if not by the words as they were typed. `exact`: a language without analysis."""
    if exact is not None:
        yield plain(f"In {english_name(exact)}, only exact words are found: the index does not analyse it.", "yellow")
    for word, other in found.corrected.items():
        yield plain(f"No page has “{word}”; these pages have “{other}” or a word like it.", "yellow")
    if not found.all_words:
        yield plain("No page has all the words; these pages have at least half of them.", "yellow")
    if found.suggestions:
        yield plain(f"Did you mean {' or '.join(found.suggestions)}?", "yellow")


def _found(found: SearchResult) -> Iterator[Text]:
    if not found.hits:
        yield plain("Nothing found.")
        return
    for number, hit in enumerate(found.hits, 1):
        yield Text.assemble(
            f"{number:>2}. ",
            (plain(hit.document.name).plain, "bold"),
            f"  page {hit.page_number}",
            (f"  {hit.collection}  score {hit.score:.2f}", "dim"),
        )
        for field, line in _highlights(hit):
            yield Text("    ") + plain(f"{field}: ", "dim") + line
    rest = found.total - len(found.hits)
    yield plain(f"{found.total} pages found" + (f", {rest} not shown (--size)" if rest else ""), "dim")


def _highlights(hit: Hit) -> Iterator[tuple[str, Text]]:
    """Yield highlights by field, without duplicates: text from the text layer is in two fields."""
    shown: list[str] = []
    for field, fragments in hit.highlights.items():
        line = marked(fragments)
        if line.plain not in shown:
            shown.append(line.plain)
            yield field, line


def _hit_json(hit: Hit, archive: Archive) -> dict[str, Any]:
    return {
        "id": hit.id,
        "collection": hit.collection,
        "document": asdict(hit.document),
        "page": hit.page_number,
        "label": hit.page_label,
        "status": hit.status,
        "score": hit.score,
        "description": hit.description,
        "highlights": {field: [_emphasised(part) for part in parts] for field, parts in hit.highlights.items()},
        "image": archive.images.location(hit.image_key) if hit.image_key else None,
    }


def _emphasised(fragment: Fragment) -> list[dict[str, Any]]:
    """Return a fragment as pieces. Marks inside one string could be confused with page text."""
    return [{"text": span.text, "match": span.is_match} for span in fragment]
