"""`SearchService`: the encyclopedia of an invented world, with the interface of a SearxNG server."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ludus.tools.services.search.encyclopedia import (
    NAMESAKES,
    OUTDATED,
    PAGES,
    Encyclopedia,
    encyclopedia,
)
from ludus.tools.services.search.ranking import find, snippet
from ludus.tools.services.service import Service, VirtualClock
from ludus.tools.text import uncarried

PER_PAGE = 10
MOST_FORM = 100_000
"""Bytes of a request that is sent as a form."""
ENGINE = "ludus"
"""The search engine that results are said to come from."""


class SearchService(Service):
    """Finds and shows pages.

    - `GET /search?q=…&format=json&pageno=…`, or a `POST` of the same as a form, or either at `/`: SearxNG's
      answer, ten results to a page.
    - `GET /page/ID`: a page as JSON: `id`, `title`, `publishedDate`, `content`.

    No call changes anything. An injected `stale` fault shows pages in their previous version.

    Args:
        seed: of the world. pages: their number, not counting earlier versions, 100 to 30,000. namesakes: the
            share of people and companies with nearly the same name as another. outdated: the share of pages
            of which the search also finds an earlier version.

    Raises:
        ValueError: for a number out of range.
        CacheError: the index cannot be read from or written to disk.
    """

    name = "search"

    def __init__(
        self,
        seed: int = 0,
        pages: int = PAGES,
        namesakes: float = NAMESAKES,
        outdated: float = OUTDATED,
        clock: VirtualClock | None = None,
    ) -> None:
        super().__init__(clock)
        self.book = encyclopedia(seed, pages, namesakes, outdated)
        self._app = Starlette(
            routes=[
                Route("/", self._search, methods=["GET", "POST"]),
                Route("/search", self._search, methods=["GET", "POST"]),
                Route("/page/{id:path}", self._page),
            ],
        )

    @property
    def app(self) -> ASGIApp:
        return self._app

    @property
    def state(self) -> None:
        return None

    @state.setter
    def state(self, state: None) -> None:
        pass

    async def _search(self, request: Request) -> Response:
        asked: Mapping[str, str] = request.query_params
        if request.method == "POST":
            body = await request.body()
            if len(body) > MOST_FORM:
                return _refusal(413, f"the form has {len(body)} bytes: {MOST_FORM} are taken at most")
            # Where a field is given twice, the last one counts.
            asked = {**asked, **dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))}
        query, form, pageno = asked.get("q", ""), asked.get("format", "json"), asked.get("pageno", "1")
        if not query.strip():
            return _refusal(400, "the query is empty: say what to search for")
        if wrong := uncarried(query):
            return _refusal(400, f"the query has a character that is no text: {wrong}")
        if form != "json":
            return _refusal(403, f"format {form[:40]!r} is not served here: ask for format=json")
        if not re.fullmatch("[1-9][0-9]{0,5}", pageno):
            return _refusal(400, f"page {pageno[:40]!r}: give a number from 1 on")
        base = f"{request.scope['scheme']}://{request.headers.get('host', self.name)}"
        base += request.scope.get("root_path", "")
        return _json(_results(self.book, query, int(pageno), base, self.is_stale))

    async def _page(self, request: Request) -> Response:
        id = request.path_params["id"]
        row = self.book.rows.get(id)
        if row is None:
            return _refusal(404, f"there is no page {id[:100]!r}: take the id of a search result")
        page = self.book.pages[self.book.earlier.get(row, row) if self.is_stale else row]
        return _json(
            json.dumps(
                {"id": id, "title": page.title, "publishedDate": _moment(page.date), "content": page.text}
            ).encode()
        )


@lru_cache(maxsize=4_096)
def _results(book: Encyclopedia, query: str, pageno: int, base: str, is_stale: bool) -> bytes:
    """The JSON of a SearxNG server's answer; a pure function of its arguments."""
    matches = find(book, query)
    results = []
    first = (pageno - 1) * PER_PAGE
    for number, match in enumerate(matches[first : first + PER_PAGE], 1):
        page = book.pages[match.row]
        content, written = snippet(book, match), page.date
        if is_stale and match.row in book.earlier:
            before = book.pages[book.earlier[match.row]]
            content, written = before.text.partition(". ")[0] + ".", before.date
        results.append(
            {
                "url": f"{base}/page/{page.id}",
                "title": page.title,
                "content": content,
                "publishedDate": _moment(written),
                "engine": ENGINE,
                "engines": [ENGINE],
                "positions": [number],
                "score": match.score,
                "category": "general",
            }
        )
    answer = {
        "query": query,
        "number_of_results": len(matches),
        "results": results,
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": [],
        "unresponsive_engines": [],
    }
    return json.dumps(answer).encode()


def _moment(day: str) -> str:
    """SearxNG's form of a date."""
    return f"{day}T00:00:00"


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _refusal(status: int, reason: str) -> Response:
    return _json(json.dumps({"error": True, "reason": reason}).encode(), status)
