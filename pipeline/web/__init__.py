"""Pages and their images in a browser: what `pagesight serve` serves, from the archive alone."""

from pipeline.web.access import Access
from pipeline.web.app import make_app

__all__ = ["Access", "make_app"]
