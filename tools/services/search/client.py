"""`SearchClient`: search and open, with the service of this package or any SearxNG server."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services.client import ask_json
from ludus.tools.services.search.webpage import read_html
from ludus.tools.text import carried

MAX_QUERY = 1_000
MAX_BYTES = 2_000_000
"""Bytes read of a web page."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result."""

    id: str
    """What `open` takes: an id of this server, or the URL of a page elsewhere."""
    title: str
    snippet: str
    date: str
    """`YYYY-MM-DD`, when this version was written; empty where nobody knows."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of up to ten search results."""

    query: str
    number: int
    """Of this page of results, from 1."""
    total: int
    """The total number of results, as far as the server knows."""
    results: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page about something."""

    id: str
    title: str
    text: str
    date: str
    """`YYYY-MM-DD`, when this version was written; empty where nobody knows."""


class SearchClient:
    """A client of a search service.

    Args:
        http: a client of the service: `connect(SearchService(…))`, `connect("http://localhost:8000/search")`,
            or `connect("https://searx.example")` for a SearxNG server whose settings allow `format: json`.
        web: a client for pages elsewhere, as all results of a SearxNG server are: with it, the agent can open
            any URL. Without one, only the server's own pages are opened.
    """

    def __init__(self, http: httpx.Client, web: httpx.Client | None = None) -> None:
        self._http = http
        self._web = web
        self._base = f"{str(http.base_url).rstrip('/')}/"
        self._pages = f"{self._base}page/"

    def search(self, query: str, page: int = 1) -> SearchPage:
        """The results of a query, best first.

        Raises:
            ToolError: the query is empty or too long, or the service failed in a way that a retry may fix.
            ToolFault: no search service is there.
        """
        query = carried("query", query)
        if len(query) > MAX_QUERY:
            raise ToolError(f"the query has {len(query)} characters: give {MAX_QUERY} at most")
        if not 1 <= page < 10**6:
            raise ToolError("there is no such page of results: give a number from 1 on")
        asked = urlencode({"q": query, "format": "json", "pageno": page})
        said = ask_json(self._http, "GET", f"search?{asked}")
        results = said.get("results") if isinstance(said, dict) else None
        if not isinstance(results, list) or not all(
            isinstance(result, dict) and "url" in result for result in results
        ):
            raise ToolFault(f"{self._base}search answers in another form than SearxNG's: is the URL right?")
        total = said.get("number_of_results")
        return SearchPage(
            query, page, total if isinstance(total, int) else len(results), tuple(map(self._hit, results))
        )

    def open(self, id: str) -> Page:
        """The page behind a search result's id.

        Raises:
            ToolError: there is no such page, or it is not text.
            ToolFault: no search service is there.
        """
        id = carried("id", id)
        if "://" in id:
            return self._open_elsewhere(id)
        # Dots alone would be read as a step in the path.
        if not id.strip(" .") or len(id) > MAX_QUERY:
            raise ToolError("that is no page's id: take the id of a search result")
        said = ask_json(self._http, "GET", f"page/{quote(id, safe='')}")
        try:
            return Page(str(said["id"]), said["title"], said["content"], said["publishedDate"][:10])
        except (KeyError, TypeError):
            raise ToolFault(
                f"{self._pages}{id[:100]} answers in another form than a page's: is the URL right?"
            ) from None

    def _hit(self, result: dict[str, Any]) -> Hit:
        url = str(result["url"])
        return Hit(
            url.removeprefix(self._pages),
            str(result.get("title") or url),
            str(result.get("content") or ""),
            str(result.get("publishedDate") or "")[:10],
        )

    def _open_elsewhere(self, url: str) -> Page:
        if url.startswith(self._pages):
            return self.open(url.removeprefix(self._pages))
        if self._web is None or not url.startswith(("http://", "https://")):
            raise ToolError(f"{url[:200]} lies elsewhere and cannot be opened here")
        try:
            with self._web.stream("GET", url, follow_redirects=True) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code >= 400:
                    raise ToolError(f"{url[:200]} cannot be opened (status {response.status_code})")
                if not kind.startswith("text/"):
                    raise ToolError(f"{url[:200]} is no text ({kind or 'unknown type'})")
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > MAX_BYTES:
                        break
                text = bytes(body[:MAX_BYTES]).decode(response.encoding or "utf-8", "replace")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolError(f"{url[:200]} cannot be opened: {type(error).__name__}") from None
        title, read = read_html(text) if kind.startswith("text/html") else ("", text)
        return Page(url, title or url, read, "")
