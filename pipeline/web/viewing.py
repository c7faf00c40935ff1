"""Values for the viewer's template, from the newest readings in the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.archive import Archive, render_revision_of
from pipeline.core.languages import direction, english_name
from pipeline.core.models import Reading, Tombstone
from pipeline.core.url_signing import Signer, UrlPrefix, page_path, page_url

#: Number of thumbnails on either side of a page. With it, a document of 2,000 pages costs no more than one of 30 pages.
STRIP_PAGES = 12


@dataclass(frozen=True, slots=True)
class Link:
    """Another page of the document."""

    number: int
    url: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A page in the strip."""

    number: int
    url: str
    image: str | None
    """URL of its thumbnail; None for a page without image."""
    failed: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with its title, language and direction."""

    title: str
    text: str | None
    language: str | None = None
    name: str = ""
    """Name of its style."""

    @property
    def direction(self) -> str:
        """Value of HTML's `dir`. With `auto` the browser decides by the letters."""
        return direction(self.language) if self.language else "auto"

    @property
    def language_name(self) -> str:
        """The language's English name; empty if unknown."""
        return english_name(self.language) if self.language else ""


@dataclass(frozen=True, slots=True)
class PageView:
    """One page, and links to other pages of its document."""

    reading: Reading
    image: str | None
    """URL of the page image."""
    alternative: Passage
    """Alternative text of the image."""
    descriptions: tuple[Passage, ...]
    """Caption and description."""
    answers: tuple[Passage, ...]
    texts: tuple[Passage, ...]
    """Text and translation."""
    layer: Passage | None
    """The text layer, if it differs from the text."""
    facts: tuple[tuple[str, str], ...]
    """Origin of the reading, as name and value."""
    file: tuple[tuple[str, str], ...]
    strip: tuple[Thumbnail, ...]
    previous: Link | None
    next: Link | None
    earlier: Link | None
    """Link to the pages before the strip."""
    later: Link | None

    @property
    def title(self) -> str:
        """Name of the document, and number of the page."""
        return f"{self.reading.document.name}, page {self.reading.page_number}"


def find_page(archive: Archive, collection: str, document: str, number: int) -> tuple[Reading | Tombstone, ...]:
    """Return the newest readings of a page and its neighbours, in the order of their numbers. The page may be missing.

    Names are listed once, and only readings in the strip are opened.
    """
    around = range(max(number - STRIP_PAGES, 1), number + STRIP_PAGES + 1)
    return tuple(archive.readings(collection, document).newest(around))


def view_page(reading: Reading, around: Sequence[Reading], signer: Signer) -> PageView:
    """Return the view of a page. `around` contains the pages of the strip in order, including the page itself."""
    number, last, source = reading.page_number, reading.document.pages, reading.trust.text_source

    def link(to: int) -> Link:
        return Link(to, page_url(reading.collection, reading.document.id, to, signer))

    before = [page.page_number for page in around if page.page_number < number]
    after = [page.page_number for page in around if page.page_number > number]
    return PageView(
        reading=reading,
        image=_image_url(reading.image.key, signer) if reading.image else None,
        alternative=_alternative(reading),
        descriptions=_passages(
            Passage("Caption", reading.caption, reading.language, "caption"),
            Passage("Description", reading.description, reading.description_language),
        ),
        answers=tuple(Passage(name.replace("_", " "), value.words) for name, value in reading.values.items()),
        texts=_passages(
            Passage(f"Text from the {source.value}" if source else "Text", reading.text, reading.text_language),
            Passage("Translation", reading.translation, reading.language),
        ),
        layer=_layer(reading),
        facts=tuple(_facts(reading)),
        file=tuple(_file(reading)),
        strip=tuple(_thumbnail(page, signer) for page in around),
        previous=link(before[-1]) if before else None,
        next=link(after[0]) if after else None,
        earlier=link(max(number - 2 * STRIP_PAGES, 1)) if number - STRIP_PAGES > 1 else None,
        later=link(min(number + 2 * STRIP_PAGES, last)) if number + STRIP_PAGES < last else None,
    )


def original_url(reading: Reading, signer: Signer) -> str | None:
    """Return the URL of a page's file; None for a file that no longer exists or is inside another one."""
    document = reading.document
    if not document.path or document.container:
        return None
    path = f"{page_path(reading.collection, document.id, reading.page_number)}/original"
    return f"/{UrlPrefix.PAGES.value}/{signer.signed(UrlPrefix.PAGES, path)}"


def _image_url(key: str, signer: Signer) -> str:
    return f"/{UrlPrefix.IMAGES.value}/{signer.signed(UrlPrefix.IMAGES, key)}"


def _thumbnail(page: Reading, signer: Signer) -> Thumbnail:
    return Thumbnail(
        page.page_number,
        page_url(page.collection, page.document.id, page.page_number, signer),
        _image_url(page.image.thumbnail_key, signer) if page.image else None,
        page.error is not None,
    )


def _alternative(reading: Reading) -> Passage:
    if reading.caption:
        return Passage("Caption", reading.caption, reading.language)
    if reading.description:
        return Passage("Description", reading.description, reading.description_language)
    return Passage("Page", f"Page {reading.page_number} of {reading.document.name}", "en")


def _passages(*found: Passage) -> tuple[Passage, ...]:
    """Return the passages without those whose text is unknown (None). Empty texts are kept."""
    return tuple(passage for passage in found if passage.text is not None)


def _layer(reading: Reading) -> Passage | None:
    layer = reading.layer_text
    return Passage("Text layer of the file", layer) if layer and layer != reading.text else None


def _facts(reading: Reading) -> list[tuple[str, str]]:
    by, image = reading.model, reading.image
    facts: list[tuple[str, str | None]] = [
        ("read by", f"{by.name}, revision {by.revision}" if by else "no model"),
        ("profile", f"{by.profile}, prompts {by.prompt_revision[:12]}" if by else None),
        ("asked at", _time(by.described_at) if by else None),
        ("took", _cost(reading)),
        ("language asked for", english_name(reading.language)),
        ("page image", f"{image.width} × {image.height} px, {image.bytes / 1000:.0f} kB" if image else None),
        ("render revision", str(render_revision_of(image.key)) if image else None),
        ("reading", f"revision {reading.revision}, archived {_time(reading.archived_at)}"),
        ("batch", reading.batch),
        ("collection", reading.collection),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _cost(reading: Reading) -> str | None:
    by = reading.model
    if by is None or not by.attempts:
        return None
    calls = f"{by.attempts} {'call' if by.attempts == 1 else 'calls'}"
    return f"{calls}, {by.tokens_in:,} tokens in, {by.tokens_out:,} out, {by.seconds:.1f} s"


def _file(reading: Reading) -> list[tuple[str, str]]:
    document = reading.document
    facts: list[tuple[str, str | None]] = [
        ("title", document.title),
        ("path", "\n".join(document.path) or "no longer exists"),
        ("within", "\n".join(document.container) or None),
        ("format", document.media_type.value),
        ("size", f"{document.bytes:,} bytes"),
        ("modified", _time(document.modified) if document.modified else None),
        ("fonts missing", ", ".join(document.substituted_fonts) or None),
        ("SHA-256", document.id),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _time(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else None
