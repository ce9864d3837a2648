"""Search: the encyclopedia of an invented world, with full-text search."""

from ludus.tools.services.search.client import Hit, Page, SearchClient, SearchPage
from ludus.tools.services.search.encyclopedia import CacheError, Encyclopedia, encyclopedia
from ludus.tools.services.search.service import SearchService

__all__ = [
    "CacheError",
    "Encyclopedia",
    "Hit",
    "Page",
    "SearchClient",
    "SearchPage",
    "SearchService",
    "encyclopedia",
]
