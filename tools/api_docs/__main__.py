"""`python -m tools.api_docs`: write docs/api.md again."""

from pathlib import Path

from tools.api_docs.page import api_page

Path("docs/api.md").write_text(api_page(), encoding="utf-8")
