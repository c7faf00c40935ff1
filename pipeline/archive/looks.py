"""Where pages stand by how they look, so that those that look alike are found by names alone.

    looks/<collection>/<document>/<page>.<width>x<height>.<hash>           what of a document stands in the lists below
    alike/<collection>/<width>x<height>/<band>.<bits>/<hash>.<document>.<page>

A page's perceptual hash is cut into `BANDS` bands, and the page stands in the list of each. Two hashes that differ in
fewer bits than there are bands have a band in common: so a page meets all that are so near in its own lists.

All objects are empty. They are hints: a reading tells whether a page is there and what it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.archive.store import Store
from pipeline.core.models import ImageInfo

#: Bands of 16 bits. In 8 bands of 8 bits, which would do for distances up to 7, a page's lists have more entries than
#: there are pages; in these 0.4 times as many, over a corpus of all kinds of pages.
BANDS = 4
#: The largest distance at which no page is missed.
MAX_DISTANCE = BANDS - 1
_ROWS = 8


class Looks:
    """The pages of all collections by how they look. Threads and processes share one archive without locks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def note(self, collection: str, document: str, page: int, image: ImageInfo) -> None:
        """Note how a page looks. What leads to its other names comes first, so that `forget` finds them all."""
        self._store.put(f"looks/{collection}/{document}/{page}.{_size(image)}.{image.phash}", b"")
        for name in _names(collection, document, page, _size(image), image.phash):
            self._store.put(name, b"")

    def near(self, collection: str, image: ImageInfo, distance: int) -> list[tuple[str, int]]:
        """Return document and number of the pages of this size whose hash is within a distance, the nearest first.

        `distance` is in bits, 0 to `MAX_DISTANCE`.
        """
        found = {name for folder in _lists(collection, _size(image), image.phash) for name in self._store.names(folder)}
        pages = []
        for name in found:
            phash, document, page = name.split(".")
            if (apart := hash_distance(phash, image.phash)) <= distance:
                pages.append((apart, document, int(page)))
        return [(document, page) for _, document, page in sorted(pages)]

    def forget(self, collection: str, document: str) -> None:
        """Remove all that was noted of a document's pages."""
        folder = f"looks/{collection}/{document}"
        for name in self._store.names(folder):
            page, size, phash = name.split(".")
            for entry in _names(collection, document, int(page), size, phash):
                self._store.delete(entry)
            self._store.delete(f"{folder}/{name}")


def hash_distance(first: str, second: str) -> int:
    """Return in how many bits two perceptual hashes of 16 hex digits differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def _size(image: ImageInfo) -> str:
    return f"{image.width}x{image.height}"


def _names(collection: str, document: str, page: int, size: str, phash: str) -> Iterator[str]:
    for folder in _lists(collection, size, phash):
        yield f"{folder}/{phash}.{document}.{page}"


def _lists(collection: str, size: str, phash: str) -> Iterator[str]:
    """Yield the folder of each band.

    A band is two diagonals of the hash's 8 x 8 bits. Neighbours are much alike, in a margin or along a column, so that
    bands of whole rows would put a third of all pages into one list.
    """
    bits = int(phash, 16)
    for band in range(BANDS):
        places = (8 * row + (band + BANDS * half + row) % 8 for half in range(2) for row in range(_ROWS))
        value = "".join(str(bits >> place & 1) for place in places)
        yield f"alike/{collection}/{size}/{band}.{int(value, 2):04x}"
