"""`pagesight search`: search pages by description and text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text
from typer.core import TyperCommand

from pipeline.archive import Archive
from pipeline.cli.options import CollectionFilter, DocumentFilter, Json
from pipeline.cli.output import marked, plain, print_json, stdout
from pipeline.core.errors import SettingsError
from pipeline.core.languages import english_name, normalise_tag
from pipeline.core.models import PageKind, PageStatus
from pipeline.core.settings import Settings, load
from pipeline.core.url_signing import Signer, page_url
from pipeline.search import Hit, SearchResult
from pipeline.search.meaning import QueryVector
from pipeline.search.query_builder import Filters, Order
from pipeline.search.query_limits import MAX_HITS, MAX_START
from pipeline.services import open_archive, open_embedder, open_index
from pipeline.verbs.lookup import require_collection
from pipeline.verbs.meaning import page_vector, try_query_vector
from pipeline.verbs.pages import show_document, split_page
from pipeline.verbs.search import finds_exact_words_only, search_answer

if TYPE_CHECKING:
    from pipeline.search.index import Index

EXAMPLES = """
**Examples**

`pagesight search "harbour dues"` · pages with both words, best first

`pagesight search harbour -ledger` · pages without a word; `-l` and the other options of one letter take a space

`pagesight search '"harbour dues" -ledger'` · a phrase, excluding a word

`pagesight search 'Hafen OR Werft' --language de --size 3` · pages with one of two words

`pagesight search 'name:invoice* date:2020..2022 dues'` · a field, a period and a word; docs/search.md lists the fields

`pagesight search dues --kind scanned --type pdf --sort newest --group document` · the best pages of each document

Exit codes: 0 done (also if nothing is found), 2 usage or settings, 3 the cluster refuses or is unreachable.
"""


#: A word to exclude. An option of one letter is followed by a space; only a number may follow at once, as in `-n3`.
_EXCLUDED = re.compile(r"-(?!n\d+\Z)[^-].+", re.DOTALL)


class Grouping(StrEnum):
    """Ways of grouping hits."""

    DOCUMENT = "document"


class Command(TyperCommand):
    """Reads `-word` as a word of the query."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep excluded words from being read as options, by a space that the query ignores."""
        return super().parse_args(ctx, [f" {arg}" if _EXCLUDED.fullmatch(arg) else arg for arg in args])


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(help='Words, "phrases", begin*, -without, a OR b, NOT, field:value.', show_default=False),
    ] = None,
    collection: CollectionFilter = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="Only pages whose text or description is in this language."),
    ] = None,
    kind: Annotated[
        PageKind | None, typer.Option("--kind", help="Only pages made this way.", show_default="all")
    ] = None,
    status: Annotated[
        PageStatus | None, typer.Option("--status", help="Only pages with this status.", show_default="all")
    ] = None,
    media_type: Annotated[
        str | None,
        typer.Option("--type", help="Only files of this format, such as pdf or a media type.", show_default="all"),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="FROM..TO",
            help="Only files that were modified then: 2020, 2020-05, 2020..2022, 2020-05-12.. .",
            show_default="all",
        ),
    ] = None,
    document: DocumentFilter = None,
    suspect: Annotated[
        bool | None,
        typer.Option("--suspect/--not-suspect", help="Only pages that should be looked at.", show_default="all"),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like", metavar="DOCUMENT:PAGE", help="Only pages like this page in meaning.", show_default="none"
        ),
    ] = None,
    words_only: Annotated[bool, typer.Option("--words-only", help="Search by words, not by meaning.")] = False,
    order: Annotated[Order, typer.Option("--sort", help="Order of the hits.")] = Order.RELEVANCE,
    group: Annotated[
        Grouping | None, typer.Option("--group", help="Show the best pages of each document.", show_default="pages")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the words and fields that give the score.")] = False,
    start: Annotated[int, typer.Option("--from", min=0, max=MAX_START, help="Number of hits to leave out first.")] = 0,
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=MAX_HITS, help="Number of hits to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Search pages by description and text."""
    query = " ".join(words or ())
    if not words and not like:
        raise SettingsError("there is nothing to search for", remedy="Name words, or a page with --like DOCUMENT:PAGE.")
    if words and like:
        raise SettingsError("words and --like cannot be used together", remedy="Search for one of them.")
    settings = load()
    tag = normalise_tag(language) if language else None
    filters = Filters(collection, tag, kind, status, media_type, date, document, suspect)
    archive = open_archive(settings, require=False)
    with closing(open_index(settings)) as index:
        require_collection(archive, collection, index)
        vector, meaning_error = None, None
        if like:
            vector = _vector_of_page(settings, index, archive, like, collection)
        elif not words_only:
            vector, meaning_error = _vector_of_words(settings, query)
        found = index.queries.search(
            query,
            filters,
            order=order,
            start=start,
            size=size,
            grouped=group is not None,
            explained=explain,
            vector=vector,
        )
        exact = finds_exact_words_only(index, tag)
    if as_json:
        answer = search_answer(
            found,
            archive,
            partial(page_address, settings=settings),
            exact_words_only=exact,
            meaning_error=meaning_error,
        )
        print_json(asdict(answer))
    else:
        stdout().print(Group(*_notes(found, tag if exact else None, meaning_error), *_found(found, settings, start)))


def _vector_of_page(settings: Settings, index: Index, archive: Archive, like: str, only: str | None) -> QueryVector:
    """Return the vector of a page.

    Raises:
        SettingsError: there is no such page, it has no words, or no model for vectors is available.
        ServiceRefused, ServiceUnavailable: the model fails.
    """
    term, page = split_page(like)
    embedder = open_embedder(settings)
    if embedder is None:
        raise SettingsError("no model for vectors is available", remedy="docs/search.md says how to configure one.")
    if page is None:
        raise SettingsError("--like needs a page", remedy="Name one as DOCUMENT:PAGE, such as report.pdf:3.")
    (record,) = show_document(index, archive, term, only, page).pages
    return page_vector(embedder, record)


def _vector_of_words(settings: Settings, query: str) -> tuple[QueryVector | None, str | None]:
    """Return the vector of a query, or None and why there is none. Without a model there is no cause to name."""
    try:
        embedder = open_embedder(settings)
    except SettingsError as error:
        return None, str(error)
    return try_query_vector(embedder, query)


def _notes(found: SearchResult, exact: str | None, meaning_error: str | None) -> Iterator[Text]:
    """Yield how the hits were found, if not by the words as they were typed. `exact`: a language without analysis."""
    if exact is not None:
        yield plain(f"In {english_name(exact)}, only exact words are found: the index does not analyse it.", "yellow")
    if error := found.meaning_error or meaning_error:
        yield plain(f"Searched by words only: {error}", "yellow")
    if found.by_meaning:
        yield plain(f"{found.by_meaning} of the pages are found by meaning, not by all words.", "dim")
    for word, other in found.corrected.items():
        yield plain(f"No page has “{word}”; these pages have “{other}” or a word like it.", "yellow")
    if not found.all_words:
        yield plain("No page has all the words; these pages have at least half of them.", "yellow")
    if found.suggestions:
        yield plain(f"Did you mean {' or '.join(found.suggestions)}?", "yellow")


def _found(found: SearchResult, settings: Settings, start: int) -> Iterator[Text]:
    if not found.hits:
        yield plain("Nothing found.")
        return
    for number, hit in enumerate(found.hits, start + 1):
        yield Text.assemble(f"{number:>2}. ", (plain(hit.document.name).plain, "bold"), *_about(hit))
        yield from _lines(hit)
        for other in hit.more:
            yield Text.assemble("      ", *_about(other))
            yield from _lines(other)
        yield plain(f"    {page_address(hit, settings)}", "dim")
    yield plain(_totals(found, start), "dim")


def _about(hit: Hit) -> Iterator[str | tuple[str, str]]:
    yield f"  page {hit.page_number}"
    by = "  by meaning" if hit.found_by == "meaning" else ""
    yield (f"  {hit.collection}  score {hit.score:.{3 if hit.score < 0.1 else 2}f}{by}", "dim")


def _lines(hit: Hit) -> Iterator[Text]:
    for field, line in _highlights(hit):
        yield Text("    ") + plain(f"{field}: ", "dim") + line
    for match in hit.explanation:
        yield plain(f"    {match.score:8.3f}  {match.field}: {match.term}", "dim")


def _totals(found: SearchResult, start: int) -> str:
    pages = "1 page" if found.total == 1 else f"{found.total} pages"
    of = "" if found.documents is None else f" in {found.documents} document{'s' * (found.documents != 1)}"
    all_hits = found.total if found.documents is None else found.documents
    rest = max(0, all_hits - start - len(found.hits))
    return f"{pages} found{of}" + (f", {rest} not shown (--size, --from)" if rest else "")


def page_address(hit: Hit, settings: Settings) -> str:
    """Return the address of a page in `pagesight serve`, with its key if there is a secret."""
    signer = Signer(settings.serve_secret)
    return page_url(hit.collection, hit.document.id, hit.page_number, signer, settings.pages_url)


def _highlights(hit: Hit) -> Iterator[tuple[str, Text]]:
    """Yield highlights by field, without duplicates: text from the text layer is in two fields."""
    shown: list[str] = []
    for field, fragments in hit.highlights.items():
        line = marked(fragments)
        if line.plain not in shown:
            shown.append(line.plain)
            yield field, line
