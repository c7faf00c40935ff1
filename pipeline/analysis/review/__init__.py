"""Makes an HTML page for review: a sample of pages, each with its image beside its reading.

archive ─┐
         ├─▶ candidates ─▶ draw ─▶ read what was not read ─▶ one HTML file
files ───┘
"""

from pipeline.analysis.review.candidates import FileCandidates, Unreadable, collection_candidates
from pipeline.analysis.review.page import Review, write_review
from pipeline.analysis.review.reading import PageReaders, ReviewedPage, archived_page, read_pages
from pipeline.analysis.review.sampling import SampleCandidate, draw

__all__ = [
    "FileCandidates",
    "PageReaders",
    "Review",
    "ReviewedPage",
    "SampleCandidate",
    "Unreadable",
    "archived_page",
    "collection_candidates",
    "draw",
    "read_pages",
    "write_review",
]
