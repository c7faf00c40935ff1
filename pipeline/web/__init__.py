"""The server behind `pagesight serve`: shows pages and their images in a browser, from the archive alone."""

from pipeline.web.access import Access
from pipeline.web.app import make_app
from pipeline.web.tokens import TokenReader

__all__ = ["Access", "TokenReader", "make_app"]
