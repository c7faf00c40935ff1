"""`pagesight search` and `show`: what the index knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from pipeline.archive import Archive
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import marked, one_line, plain, print_json, rows, stdout, table
from pipeline.core.errors import SettingsError
from pipeline.core.languages import normalise_tag
from pipeline.core.settings import Settings, load
from pipeline.search import Fragment, Hit, Index, SearchResult
from pipeline.services import open_archive, open_index

SEARCH_EXAMPLES = """
**Examples**

`pagesight search "harbour dues"` · pages with both words, best first

`pagesight search '"harbour dues" -ledger'` · the phrase, without another word

`pagesight search Hafen --language de --size 3`

Exit codes: 0 (also where nothing is found), 2 usage or settings, 3 the cluster refuses or is away.
"""
SHOW_EXAMPLES = """
**Examples**

`pagesight show annual-report.pdf` · a document by a part of its name

`pagesight show annual-report.pdf:3` · one page, with everything that is known of it

`pagesight show 9f86d081 --json` · by the beginning of its id

Exit codes: 0, 2 no or more than one such document, 3 the cluster refuses or is away.
"""


def search(
    words: Annotated[list[str], typer.Argument(help='Words, "phrases", begin*, -without.')],
    collection: CollectionFilter = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="Only pages whose text or description is in this language."),
    ] = None,
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=1000, help="Hits to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Find pages by what they show and say."""
    settings = load()
    tag = normalise_tag(language) if language else None
    with _index(settings) as index:
        found = index.queries.search(" ".join(words), collection=collection, language=tag, size=size)
    archive = open_archive(settings)
    if as_json:
        print_json({"total": found.total, "hits": [_hit_json(hit, archive) for hit in found.hits]})
    else:
        stdout().print(Group(*_found(found)))


def _found(found: SearchResult) -> Iterator[Text]:
    if not found.hits:
        yield plain("Nothing found.")
        return
    if not found.all_words:
        yield plain("No page has all the words; these have most of them.", "yellow")
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
    """Yield the highlights by field, each once: a text that was taken from the layer stands in both."""
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
        "image": archive.image_location(hit.image_key) if hit.image_key else None,
    }


def _emphasised(fragment: Fragment) -> list[dict[str, Any]]:
    """Return a fragment as pieces: marks inside the text could be part of the page."""
    return [{"text": span.text, "match": span.is_match} for span in fragment]


def show(
    place: Annotated[
        str, typer.Argument(metavar="DOCUMENT[:PAGE]", help="The beginning of an id, or a part of a name or path.")
    ],
    collection: CollectionFilter = None,
    as_json: Json = False,
) -> None:
    """Show what is known of a document or a page, and where the page image lies."""
    settings = load()
    term, page = _split(place)
    archive = open_archive(settings)
    with _index(settings) as index:
        document = find_document(index, term, collection)
        pages = index.queries.document_pages(
            document["document"]["id"], collection=document["collection"], page_number=page
        )
        records = [_with_location(record, archive) for record in pages]
    if page is not None and not records:
        raise SettingsError(
            f"the document has no page {page}", remedy="Page numbers begin with 1; see `pagesight show`."
        )
    if as_json:
        print_json({"document": document, "pages": records})
    elif page is None:
        _print_document(document, records)
    else:
        for key, value in _flattened(records[0]):
            stdout().print(Text.assemble((f"{key}: ", "bold"), plain(value)))


def find_document(index: Index, term: str, collection: str | None) -> dict[str, Any]:
    """Return the one document record that a person means.

    Raises:
        SettingsError: there is none, or more than one.
    """
    found = index.queries.find_documents(term, collection=collection)
    exact = [record for record in found if term in (record["document"]["name"], *record["document"].get("path", ()))]
    if len(exact or found) == 1:
        return dict((exact or found)[0])
    if not found:
        raise SettingsError(f"no document is called {term!r}", remedy="`pagesight search` and `pagesight status` help.")
    names = ", ".join(f"{record['document']['name']} ({record['document']['id'][:12]})" for record in found[:5])
    raise SettingsError(f"{term!r} could be {names} …", remedy="Give the whole name, the id, or --collection.")


def _split(place: str) -> tuple[str, int | None]:
    term, colon, page = place.rpartition(":")
    return (term, int(page)) if colon and term and page.isdecimal() else (place, None)


def _with_location(record: dict[str, Any], archive: Archive) -> dict[str, Any]:
    image = record.get("image")
    if image is None:
        return record
    locations = {
        "location": archive.image_location(image["key"]),
        "thumbnail_location": archive.image_location(image["thumbnail_key"]),
    }
    return record | {"image": image | locations}


def _print_document(document: dict[str, Any], records: list[dict[str, Any]]) -> None:
    facts = document["document"]
    console = stdout()
    console.print(
        Text.assemble((plain(facts["name"]).plain, "bold"), f"  {document['collection']}  {document['status']}")
    )
    for path in facts.get("path", ()):
        console.print(plain(f"  {path}", "dim"))
    console.print(plain(f"  id {facts['id']}", "dim"))
    grid = table("page", "status", "read by", "description or text")
    console.print(
        rows(
            grid,
            (
                (
                    record["page"]["number"],
                    record["status"],
                    record.get("model", {}).get("name"),
                    one_line(_first_words(record), 90),
                )
                for record in records
            ),
        )
    )


def _first_words(record: dict[str, Any]) -> str:
    error = record.get("error")
    return str(error["message"] if error else record.get("description") or record.get("text") or "")


def _flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, entry in value.items():
        if not (prefix == "" and key == "i18n"):  # copies for the analyzers
            yield from _flattened(entry, f"{prefix}.{key}" if prefix else key)


@contextmanager
def _index(settings: Settings) -> Iterator[Index]:
    with closing(open_index(settings)) as index:
        yield index
