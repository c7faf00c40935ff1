"""The search page: a form, hits with thumbnails, collections. It is made on the server and needs no script."""

from pipeline.web.search.texts import Texts, texts_for
from pipeline.web.search.view import SearchForm, SearchView, StartView, search_view, start_view

__all__ = ["SearchForm", "SearchView", "StartView", "Texts", "search_view", "start_view", "texts_for"]
