"""docs/api.md is written from the API's OpenAPI description."""

from pathlib import Path

from tools.api_docs.page import api_page


def test_the_page_is_what_the_api_describes():
    page = Path(__file__).parents[3] / "docs" / "api.md"
    assert page.read_text(encoding="utf-8") == api_page(), "run `python -m tools.api_docs`"
