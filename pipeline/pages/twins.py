"""Pages that look the same take one another's answers, where that is wanted: the same scan, saved once more otherwise.

Perceptual hashes only find candidates. Forms with the same letterhead have the same hash, so what decides is how the
two page images differ where they differ most, and what their sound text layers say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.archive import Archive
from pipeline.core.errors import OutcomeError
from pipeline.core.models import LayerState, PageStatus, Reading, RenderedPage, TextSource
from pipeline.core.retry import CancelToken
from pipeline.pages.recipe import Recipe
from pipeline.rendering.host.pool import SandboxPool
from pipeline.vision.quality.stitching import DENSE_GLYPH_PX

#: Levels of 255, averaged over 3 x 3 pixels, by which a page may differ from its twin at its worst place. The same scan
#: as a JPEG of quality 75 differs by 22, with grain of 12 levels by 21; another digit, in 10 points, by 67 or more.
MAX_DIFFERENCE = 24
#: Candidates that are looked at, the nearest first: beyond that asking is simpler.
MAX_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Twins:
    """Finds twins by what the archive holds. Built once per process, its threads share it."""

    archive: Archive
    sandboxes: SandboxPool
    """Where page images are compared."""
    distance: int
    """How many bits of the perceptual hashes may differ, at most `pipeline.archive.looks.MAX_DISTANCE`."""

    def offer(self, reading: Reading) -> None:
        """Let a page be found, if others may take its answers. Done before its reading is archived, none is missed."""
        if reading.image is not None and _may_be_taken(reading):
            self.archive.looks.note(reading.collection, reading.document.id, reading.page_number, reading.image)

    def find(self, page: RenderedPage, reading: Reading, recipe: Recipe, cancel: CancelToken) -> Reading | None:
        """Return the reading whose answers a page can take; None where it has to be asked about.

        `reading` is what is known of the page before anyone is asked.

        Raises:
            ServiceRefused, Stopped: as `SandboxPool.difference` raises them.
        """
        if reading.trust.suspect or _is_dense(page):
            return None
        candidates = [one for one in self._candidates(reading, recipe) if _say_the_same(one, reading)]
        # What was asked about these very pixels is found by the answers' keys, and is no twin's.
        if not candidates or self.archive.answer_keys(page.pixels_sha256):
            return None
        return next((one for one in candidates if self._looks_like(one, page, cancel)), None)

    def _candidates(self, reading: Reading, recipe: Recipe) -> Iterator[Reading]:
        """Yield the newest readings of pages with a hash like that of this one, of those that may be taken."""
        assert reading.image is not None
        places = self.archive.looks.near(reading.collection, reading.image, self.distance)
        # Pages of one document that look alike are more likely leaves of one form than one leaf twice.
        others = [place for place in places if place[0] != reading.document.id]
        for document, number in others[:MAX_CANDIDATES]:
            for found in self.archive.readings(reading.collection, document, {number}):
                if (
                    isinstance(found, Reading)
                    and _may_be_taken(found)
                    and found.fingerprint == recipe.fingerprint_of(found)
                ):
                    yield found

    def _looks_like(self, candidate: Reading, page: RenderedPage, cancel: CancelToken) -> bool:
        assert candidate.image is not None
        jpeg = self.archive.image(candidate.image.key)
        if jpeg is None:
            return False
        try:
            return self.sandboxes.difference(jpeg, page.jpeg, cancel) <= MAX_DIFFERENCE
        except OutcomeError:  # it cannot be compared, so it is asked about
            return False


def _may_be_taken(reading: Reading) -> bool:
    """Whether a reading is the model's own, and beyond doubt."""
    return (
        reading.status is PageStatus.DESCRIBED
        and not reading.trust.suspect
        and reading.trust.text_source in (None, TextSource.MODEL)
        and not reading.is_by_twin
    )


def _say_the_same(first: Reading, second: Reading) -> bool:
    """Whether two pages are of one kind, and their sound layers, where one has any, say the same word for word."""
    return first.page_kind is second.page_kind and _sound_words(first) == _sound_words(second)


def _sound_words(reading: Reading) -> list[str]:
    is_no_evidence = any(state.reason in reading.trust.reasons for state in LayerState)
    return [] if is_no_evidence else (reading.layer_text or "").split()


def _is_dense(page: RenderedPage) -> bool:
    """Whether letters are so small that another one would hardly be seen, and no sound layer tells."""
    glyph_px, layer = page.facts.glyph_px, page.facts.layer
    return layer is not LayerState.SOUND and glyph_px is not None and glyph_px < DENSE_GLYPH_PX
