"""Values that are stored by content: page images, answers of models, and documents converted to PDF.

images/<2 digits>/<document>/<page>.<render revision>.<SHA-256 of the pixels>.jpg and .webp
answers/<2 digits>/<SHA-256 of the pixels>/<hash of the request>.json
conversions/<2 digits>/<document>/<conversion revision>.pdf and .json
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO

from pipeline.archive.chain import Records, decoded, decoder, encode
from pipeline.archive.store import Fetch, Store
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.models import Answer, Conversion

_IMAGE_KEY = re.compile(
    r"images/(?P<folder>[0-9a-f]{2})/(?P<document>(?P=folder)[0-9a-f]{62})/(?P<page>[1-9][0-9]{0,6})"
    r"\.[0-9]{1,6}\.[0-9a-f]{64}\.(?:jpg|webp)"
)


class PageImages:
    """Page images and their thumbnails. Their keys are their names in the archive."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> bytes | None:
        """Return a page image (JPEG) or a thumbnail (WebP) by its key."""
        return self._store.get(key)

    def keys(self, document: str) -> set[str]:
        """Return the keys of all page images and thumbnails of a document. Only names are read."""
        folder = _image_folder(document)
        return {f"{folder}/{name}" for name in self._store.names(folder)}

    def location(self, key: str) -> str:
        """Return the path or URL of a page image."""
        return self._store.location(key)

    def save(self, document: str, stem: str, jpeg: bytes, thumbnail: bytes) -> tuple[str, str]:
        """Archive a page image and its thumbnail; return their keys. `image_stem` makes the stem."""
        name = f"{_image_folder(document)}/{stem}"
        self._store.put(f"{name}.jpg", jpeg)
        self._store.put(f"{name}.webp", thumbnail)
        return f"{name}.jpg", f"{name}.webp"

    def delete(self, key: str) -> None:
        """Remove a page image or a thumbnail."""
        self._store.delete(key)


class Answers:
    """Answers of models by key: `<SHA-256 of the pixels>-<hash of the request>`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key, None without one."""
        pixels_sha256, request = _split(key)
        return self._about(pixels_sha256).get(request)

    def get_many(self, keys: Sequence[str]) -> list[Answer | None]:
        """Return the answer of each key, None without a readable one. A bucket is read concurrently."""
        names = [answer_name(key) for key in keys]
        found = self._store.get_many(names)
        return [_decoded(self._store, name, data) for name, data in zip(names, found, strict=True)]

    def add(self, answer: Answer) -> None:
        """Archive an answer; the first answer of a key stays."""
        pixels_sha256, request = _split(answer.key)
        self._about(pixels_sha256).add(request, answer)

    def keys(self, pixels_sha256: str) -> set[str]:
        """Return the keys of all answers about some pixels. Only names are read."""
        return {f"{pixels_sha256}-{name}" for name in self._about(pixels_sha256).names()}

    def delete(self, key: str) -> None:
        """Remove the answer of a key."""
        pixels_sha256, request = _split(key)
        self._about(pixels_sha256).delete(request)

    def delete_all(self, pixels_sha256: str) -> None:
        """Remove every answer about some pixels."""
        answers = self._about(pixels_sha256)
        for name in answers.names():
            answers.delete(name)

    def _about(self, pixels_sha256: str) -> Records[Answer]:
        return Records(self._store, _answer_folder(pixels_sha256), decoder(Answer))


class Conversions:
    """Documents converted to PDF, by document and conversion revision."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, document: str, revision: int) -> Conversion | None:
        """Return what a conversion reported, None without a readable report."""
        return Records(self._store, _conversion_folder(document), decoder(Conversion)).get(str(revision))

    def save(self, document: str, revision: int, pdf: BinaryIO, conversion: Conversion) -> None:
        """Archive a document's PDF, then the report: where there is a report, the PDF is complete."""
        name = f"{_conversion_folder(document)}/{revision}"
        self._store.put_file(f"{name}.pdf", pdf)
        self._store.put(f"{name}.json", encode(conversion))

    def open(self, document: str, revision: int, fetch: Fetch) -> BinaryIO | None:
        """Open a document's PDF, None without one; see `Store.open`."""
        return self._store.open(f"{_conversion_folder(document)}/{revision}.pdf", fetch)

    def delete_all(self, document: str) -> None:
        """Remove every conversion of a document, each report before its PDF."""
        folder = _conversion_folder(document)
        for name in self._store.names(folder):  # sorted: `1.json` comes before `1.pdf`
            self._store.delete(f"{folder}/{name}")


def image_stem(page_number: int, render_revision: int, pixels_sha256: str) -> str:
    """Return the name of a page image within its document, without suffix."""
    return f"{page_number}.{render_revision}.{pixels_sha256}"


def is_image_key(key: str) -> bool:
    """Whether a key has the form of a page image's or thumbnail's key, as `PageImages.save` makes it."""
    return _IMAGE_KEY.fullmatch(key) is not None


def page_of_image(key: str) -> tuple[str, int] | None:
    """Return document and page of a page image's or thumbnail's key; None for another key."""
    found = _IMAGE_KEY.fullmatch(key)
    return (found["document"], int(found["page"])) if found else None


def is_whole_image(image: bytes) -> bool:
    """Whether the bytes of a page image (JPEG) or thumbnail (WebP) are complete, by their marks and length."""
    if image.startswith(b"RIFF"):
        return image[8:12] == b"WEBP" and len(image) >= 8 + int.from_bytes(image[4:8], "little")
    return image.startswith(b"\xff\xd8") and image.endswith(b"\xff\xd9")


def render_revision_of(image_key: str) -> int:
    """Return the render revision in the key of a page image."""
    return int(image_key.rpartition("/")[2].split(".")[1])


def pixels_of(image_key: str) -> str:
    """Return the SHA-256 of the pixels in the key of a page image or thumbnail."""
    return image_key.rpartition("/")[2].split(".")[2]


def answer_name(key: str) -> str:
    """Return the name of an answer within the archive."""
    pixels_sha256, request = _split(key)
    return f"{_answer_folder(pixels_sha256)}/{request}.json"


def _decoded(store: Store, name: str, data: bytes | None) -> Answer | None:
    try:
        return None if data is None else decoded(store, name, data, decoder(Answer))
    except ArchiveDamaged:
        return None


def _split(answer_key: str) -> tuple[str, str]:
    pixels_sha256, _, request = answer_key.partition("-")
    return pixels_sha256, request


def _image_folder(document: str) -> str:
    return f"images/{document[:2]}/{document}"


def _answer_folder(pixels_sha256: str) -> str:
    return f"answers/{pixels_sha256[:2]}/{pixels_sha256}"


def _conversion_folder(document: str) -> str:
    return f"conversions/{document[:2]}/{document}"
