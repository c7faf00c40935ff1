"""Values for the templates of the search page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from pipeline.core.url_signing import Signer, UrlPrefix, page_url
from pipeline.embedding import Embedder
from pipeline.search import Fragment, Hit, SearchResult, Span
from pipeline.search.index import Index
from pipeline.search.listings import CollectionSummary
from pipeline.search.query_builder import Filters
from pipeline.verbs.meaning import try_query_vector
from pipeline.web.rights import Rights

#: Hits on one page.
HITS = 20
#: Hits that can be reached by turning pages. Further ones are found by a narrower query.
MAX_HITS = 1000
#: Fields whose matches are shown, the most telling first.
_SHOWN = ("description", "text", "translation", "layer_text", "caption", "document.title")


@dataclass(frozen=True, slots=True)
class SearchForm:
    """The state of a search: everything that its address has."""

    words: str = ""
    collection: str = ""
    """Empty for every collection."""
    start: int = 0
    """Number of hits before the first one shown."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> SearchForm:
        """Return the state in the query of a URL. Values that cannot be used are left out."""
        start = query.get("start", "")
        number = int(start) if start.isdecimal() and len(start) < 6 else 0
        return cls(query.get("q", "").strip(), query.get("collection", ""), min(number, MAX_HITS - HITS))

    def url(self, *, words: str | None = None, start: int = 0) -> str:
        """Return the address of this search, or of one for other words, from a hit on."""
        values = {"q": words or self.words, "collection": self.collection, "start": start}
        return "/?" + urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class HitView:
    """A page that was found."""

    hit: Hit
    url: str
    """Address of the viewer."""
    name: Fragment
    """Name of its document, with matches."""
    thumbnail: str | None
    """URL of its thumbnail."""
    lines: tuple[Fragment, ...]
    """Passages with matches, or the beginning of the description."""


@dataclass(frozen=True, slots=True)
class SearchView:
    """Hits of one search."""

    form: SearchForm
    result: SearchResult
    hits: tuple[HitView, ...]
    before: str | None
    """Address of the hits before these."""
    after: str | None
    """Address of the hits after these."""
    names: tuple[str, ...]
    """Collections to choose from."""
    words_only: bool
    """Whether the model for vectors failed, so that pages were searched by words only."""

    @property
    def last(self) -> int:
        """Number of the last hit shown."""
        return self.form.start + len(self.hits)


@dataclass(frozen=True, slots=True)
class StartView:
    """The page before a search."""

    form: SearchForm
    collections: tuple[CollectionSummary, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Collections to choose from."""
        return tuple(summary.name for summary in self.collections)


def start_view(index: Index, rights: Rights) -> StartView:
    """Return the collections that a request may see."""
    return StartView(SearchForm(), _collections(index, rights))


def search_view(
    index: Index, rights: Rights, form: SearchForm, signer: Signer, embedder: Embedder | None
) -> SearchView:
    """Return the hits of a search.

    Raises:
        NotFound: there is no such collection, or the request may not see it.
        SettingsError: the query is too long.
    """
    only = rights.only(form.collection or None)
    vector, failure = try_query_vector(embedder, form.words)
    found = index.queries.search(form.words, Filters(collection=only), start=form.start, size=HITS, vector=vector)
    hits = tuple(_hit_view(hit, signer) for hit in found.hits)
    last = form.start + len(hits)
    return SearchView(
        form=form,
        result=found,
        hits=hits,
        before=form.url(start=max(form.start - HITS, 0)) if form.start else None,
        after=form.url(start=last) if last < min(found.total, MAX_HITS) else None,
        names=tuple(summary.name for summary in _collections(index, rights)),
        words_only=bool(failure or found.meaning_error),
    )


def _collections(index: Index, rights: Rights) -> tuple[CollectionSummary, ...]:
    allowed = rights.collections
    return tuple(one for one in index.listings.collections() if allowed is None or one.name in allowed)


def _hit_view(hit: Hit, signer: Signer) -> HitView:
    image = hit.thumbnail_key
    named = hit.highlights.get("document.name", ())
    return HitView(
        hit=hit,
        name=named[0] if named else (Span(hit.document.name, is_match=False),),
        url=page_url(hit.collection, hit.document.id, hit.page_number, signer),
        thumbnail=f"/{UrlPrefix.IMAGES.value}/{signer.signed(UrlPrefix.IMAGES, image)}" if image else None,
        lines=_lines(hit),
    )


def _lines(hit: Hit) -> tuple[Fragment, ...]:
    """Return passages of different fields, each text once: the text of a text layer is in two fields."""
    shown: dict[str, Fragment] = {}
    for field in _SHOWN:
        for fragment in hit.highlights.get(field, ()):
            shown.setdefault(" ".join(span.text for span in fragment), fragment)
    return tuple(shown.values())[:3]
