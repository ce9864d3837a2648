"""Search: the service, its index on disk, its client, and a SearxNG server in its place."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services import FaultPlan, connect
from ludus.tools.services.search import CacheError, Encyclopedia, SearchClient, SearchService, encyclopedia
from ludus.tools.services.search.ranking import find
from ludus.tools.services.search.webpage import read_html
from ludus.tools.text import uncarried

SMALL = 300


@pytest.fixture(scope="module")
def service() -> SearchService:
    return SearchService(seed=3, pages=1_000)


@pytest.fixture(scope="module")
def client(service: SearchService) -> Iterator[SearchClient]:
    with connect(service) as http:
        yield SearchClient(http)


def test_a_page_is_found_by_its_title_and_by_its_other_name(
    service: SearchService, client: SearchClient
) -> None:
    entities = service.book.world.entities
    for entity in entities[::7]:
        hits = client.search(entity.title).results
        assert entity.title in [hit.title for hit in hits[:2]], entity
        page = client.open(service.book.pages[entity.number].id)
        assert page.title == entity.title
        assert page.text == service.book.pages[entity.number].text
    aliased = [entity for entity in entities if entity.aliases][::3]
    found = sum(
        entity.title in [hit.title for hit in client.search(entity.aliases[0]).results] for entity in aliased
    )
    assert found / len(aliased) > 0.97


def test_all_versions_are_found_and_only_their_dates_tell_them_apart(
    service: SearchService, client: SearchClient
) -> None:
    book = service.book
    assert book.earlier
    for now, before in list(book.earlier.items())[:60]:
        hits = {hit.id: hit for hit in client.search(book.pages[now].title).results}
        assert {book.pages[now].id, book.pages[before].id} <= set(hits)
        assert hits[book.pages[before].id].date < hits[book.pages[now].id].date
        assert client.open(book.pages[before].id).date == book.pages[before].date


def test_a_relation_s_words_bring_up_the_page_that_states_it(
    service: SearchService, client: SearchClient
) -> None:
    world = service.book.world
    companies = [e for e in world.entities if e.kind == "company" and "headquarters" in e.facts][::5]
    found = 0
    for company in companies:
        place = world.name(company.facts["headquarters"])
        found += company.title in [hit.title for hit in client.search(f"headquarters {place}").results]
    # Some pages call the town by its other name.
    assert found / len(companies) > 0.8


def test_mentions_in_lists_come_last_and_are_shown_with_their_heading(
    service: SearchService, client: SearchClient
) -> None:
    book = service.book
    listed = 0
    for entity in book.world.entities[::23]:
        hits = client.search(entity.title).results
        lists = [hit for hit in hits if re.search(r"^[^.]*: [^.]*$", hit.snippet)]
        assert not any(hit.snippet.startswith("-") for hit in hits)
        for hit in lists:
            heading, _, name = hit.snippet.partition(": ")
            assert f"{heading}:\n" in book.pages[book.rows[hit.id]].text
            assert name in {each.title for each in book.world.entities}
        named = [hit for hit in hits if entity.title in hit.snippet and hit.title != entity.title]
        assert named == sorted(named, key=lambda hit: hit in lists), entity.title
        listed += any(hit in lists for hit in named)
    assert listed > 10


def test_the_answer_is_searxngs(service: SearchService) -> None:
    with connect(service) as http:
        answer = http.get("/search", params={"q": "poet", "format": "json", "pageno": "1"}).json()
    assert {"query", "number_of_results", "results", "answers", "infoboxes", "suggestions"} <= set(answer)
    assert answer["query"] == "poet"
    result = answer["results"][0]
    assert {"url", "title", "content", "engine", "score", "publishedDate", "category"} <= set(result)
    assert result["url"].startswith("http://search.invalid/page/")
    assert "poet" in result["content"]
    scores = [result["score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)


def test_all_addresses_of_searxng_answer_alike(service: SearchService) -> None:
    asked = {"q": "founder", "format": "json", "pageno": "2", "language": "en", "categories": "general"}
    with connect(service) as http:
        wanted = http.get("/search", params=asked).json()
        assert len(wanted["results"]) == 10
        assert wanted["results"][3]["engines"] == [wanted["results"][3]["engine"]]
        assert wanted["results"][3]["positions"] == [4]
        for answer in (
            http.get("/", params=asked),
            http.post("/search", data=asked),
            http.post("/", data=asked),
            http.post("/search?pageno=1", data=asked),
        ):
            assert answer.json() == wanted
        assert http.post("/search", data={"q": "x" * 100_000, "format": "json"}).status_code == 413
        assert http.post("/search", content=b"\xff\xfe=&&&q=%ff").status_code < 500


LANGCHAIN = """
import json, sys
from langchain_community.utilities import SearxSearchWrapper
search = SearxSearchWrapper(searx_host=sys.argv[1], headers={"Authorization": sys.argv[2]})
print(json.dumps([search.results("founder", num_results=3, engines=["ludus"]), search.run("founder")]))
"""


@pytest.mark.parametrize("path", ["", "/search"])
def test_langchain_s_wrapper_searches_with_it(path: str) -> None:
    programs = os.environ.get("LUDUS_TEST_LANGCHAIN", "")
    if not programs:
        pytest.skip('needs LangChain: peer=$(.ci/peers.sh start langchain); eval "$peer"')
    command = [sys.executable, "-m", "ludus", "serve", "tools", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LUDUS_TOKEN": "a-token"}
    ) as server:
        try:
            assert server.stdout is not None
            root = re.search(r"http://\S+", next(line for line in server.stdout if "http://" in line))
            assert root
            done = subprocess.run(
                [f"{programs}/python", "-c", LANGCHAIN, f"{root[0]}/search{path}", "Bearer a-token"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    results, text = json.loads(done.stdout)
    assert [sorted(result) for result in results] == [["category", "engines", "link", "snippet", "title"]] * 3
    assert results[0]["engines"] == ["ludus"]
    assert results[0]["snippet"] in text


def test_pages_of_results_follow_one_another_and_end(client: SearchClient) -> None:
    first, second, third = (client.search("born company festival mayor", number) for number in (1, 2, 3))
    assert (len(first.results), first.total) == (10, 20)
    assert not {hit.id for hit in first.results} & {hit.id for hit in second.results}
    assert third.results == ()


@pytest.mark.parametrize("page", [0, -1, 10**9])
def test_a_page_of_results_that_cannot_be(client: SearchClient, page: int) -> None:
    with pytest.raises(ToolError, match="give a number from 1 on"):
        client.search("poet", page)


@pytest.mark.parametrize("query", ["", "  ", "\n"])
def test_an_empty_query_is_told(client: SearchClient, query: str) -> None:
    with pytest.raises(ToolError, match="query is empty"):
        client.search(query)


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", "*", "a*", "NEAR(a b, 2)", "title:x", "-x", "^x", "(", "a AND", "OR", "NOT", "a OR", '"a',
        "{a b} : c", "rowid:1",
        "words MATCH x", "'; DROP TABLE page; --", "é́é", "Ω≈ç√", "𝔘𝔫𝔦",
        "_", "a_b", "%",
        "x" * 1_000, "the " * 250, "🙂", "in the of", "NULL", "+", "a + b", "\\", "\u202e",
    ],
)  # fmt: skip
def test_no_query_is_syntax(client: SearchClient, query: str) -> None:
    assert len(client.search(query).results) <= 10


@settings(max_examples=150)
@given(query=st.text(min_size=1, max_size=60))
def test_any_text_is_a_query(client: SearchClient, query: str) -> None:
    if uncarried(query.replace("\r", "\n")):
        with pytest.raises(ToolError, match="cannot be sent"):
            client.search(query)
    elif query.strip():
        assert client.search(query) == client.search(query)


def test_what_is_no_query_is_told(client: SearchClient) -> None:
    with pytest.raises(ToolError, match="100000 characters: give 1000 at most"):
        client.search("x" * 100_000)
    with pytest.raises(ToolError, match="no page's id"):
        client.open("x" * 100_000)


def test_operators_are_ordinary_words(service: SearchService) -> None:
    title = service.book.pages[400].title
    plain = find(service.book, title)
    assert plain[0].row == 400
    assert find(service.book, f'"{title}"*^:()') == plain


@pytest.mark.parametrize("id", ["nothing", "../search", "a/b", "%2e", "0" * 1_000, "é ü", "?", "#"])
def test_there_is_no_such_page(client: SearchClient, id: str) -> None:
    with pytest.raises(ToolError, match=r"no page|refused"):
        client.open(id)


def test_what_is_no_id_is_told(client: SearchClient) -> None:
    with pytest.raises(ToolError, match="no page's id"):
        client.open(" ")
    for url in ("http://127.0.0.1:1/", "file:///etc/passwd", "ftp://x"):
        with pytest.raises(ToolError, match="lies elsewhere"):
            client.open(url)


def test_stale_shows_what_was_written_before(service: SearchService) -> None:
    book = service.book
    row, before = next(iter(book.earlier.items()))
    now = book.pages[row]
    with connect(service, FaultPlan(stale=1.0)) as http:
        stale = SearchClient(http)
        page = stale.open(now.id)
        hits = {hit.id: hit for hit in stale.search(now.title).results}
    assert (page.id, page.date, page.text) == (now.id, book.pages[before].date, book.pages[before].text)
    assert hits[now.id].date == book.pages[before].date
    assert not service.is_stale


def test_calls_change_nothing_but_their_number(service: SearchService, client: SearchClient) -> None:
    before = service.snapshot()
    client.search("poet")
    assert (service.snapshot().state, service.snapshot().calls) == (before.state, before.calls + 1)
    service.restore(before)
    assert service.snapshot() == before


def test_instances_share_the_pages(service: SearchService) -> None:
    assert SearchService(seed=3, pages=1_000).book is service.book
    assert SearchService(seed=4, pages=SMALL).book is not service.book


def test_threads_find_the_same(service: SearchService) -> None:
    queries = [page.title for page in service.book.pages[:40]]
    expected = [find.__wrapped__(service.book, query) for query in queries]
    results: list[object] = []

    def work() -> None:
        results.append([find.__wrapped__(service.book, query) for query in queries])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_a_fork_has_a_connection_of_its_own(service: SearchService) -> None:
    mine = service.book.connection
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply(_is_another, (id(mine),))
    assert service.book.connection is mine


def _is_another(parent: int) -> bool:
    book = encyclopedia(3, 1_000)
    return id(book.connection) != parent and bool(find.__wrapped__(book, book.pages[7].title))


# On disk.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encyclopedias_built()
    yield tmp_path / "ludus" / "search"
    encyclopedias_built()


def encyclopedias_built() -> None:
    """Clear the caches in memory."""
    sys.modules["ludus.tools.services.search.encyclopedia"]._encyclopedia.cache_clear()


def opened() -> Encyclopedia:
    encyclopedias_built()
    return encyclopedia(1, SMALL)


def test_it_is_built_once_and_read_afterwards(cache) -> None:
    book = opened()
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    again = opened()
    assert again is not book
    assert again.pages == book.pages
    assert again.world == book.world
    assert file.stat().st_mtime_ns == written
    encyclopedia(2, SMALL)
    encyclopedia(1, SMALL, outdated=0.5)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "text", "more"])
def test_a_damaged_file_is_built_anew(cache, damage: str) -> None:
    expected = opened().pages
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "empty": b"",
            "cut": whole[:middle],
            "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "text": b"<html>not found</html>" * 100,
            "more": whole + b"more",
        }[damage]
    )
    assert opened().pages == expected
    assert file.read_bytes() == whole


def test_two_processes_that_build_at_once_both_find_it(cache) -> None:
    code = (
        f"from ludus.tools.services.search import encyclopedia; book = encyclopedia(1, {SMALL}); "
        "print(len(book.pages), book.pages[7].id)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = {process.communicate(timeout=60)[0] for process in running}
    book = opened()
    assert said == {f"{len(book.pages)} {book.pages[7].id}\n"}
    assert len(list(cache.iterdir())) == 1


def test_what_a_killed_process_left_is_removed(cache) -> None:
    import os

    left, fresh = cache / "building-old", cache / "building-new"
    for folder in (left, fresh):
        folder.mkdir(parents=True)
    os.utime(left, (1, 1))
    opened()
    assert not left.exists()
    assert fresh.exists()


def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"cannot be kept in .*/file/ludus-\d+ .*XDG_CACHE_HOME"):
        opened()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened()
    assert [*tmp_path.glob("ludus-*/search/*.sqlite")]


# Somebody else's server.

RESULTS = {
    "query": "x",
    "number_of_results": 0,
    "results": [
        {
            "url": "URL/article",
            "title": "An article",
            "content": "Some words",
            "publishedDate": "2020-05-06T00:00:00",
        },
        {"url": "URL/image", "title": "", "content": None, "publishedDate": None, "engines": ["a", "b"]},
    ],
    "answers": [],
}
ARTICLE = """<!doctype html><html><head><title>An
 article</title><style>p {}</style></head><body><nav>Menu</nav><h1>Head</h1><p>First &amp; <b>second</b>.</p>
<script>var x = "<p>no</p>";</script><ul><li>one<li>two</ul></body></html>"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        path = self.path.partition("?")[0]
        answers = {
            "/search": ("application/json", json.dumps(RESULTS).replace("URL", url)),
            "/article": ("text/html; charset=utf-8", ARTICLE),
            "/image": ("image/png", "x"),
            "/big": ("text/plain", "words " * 1_000_000),
            "/html/search": ("text/html", "<h1>hello</h1>"),
            "/list/search": ("application/json", "[1]"),
            "/other/search": ("application/json", '{"results": [{"title": "no url"}]}'),
        }
        kind, body = answers.get(path, ("text/html", "no"))
        self.send_response(200 if path in answers else 404)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def searx() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_searxng_server_takes_its_place(searx: str) -> None:
    with connect(searx) as http, httpx.Client() as web:
        client = SearchClient(http, web)
        found = client.search("x")
        article, image = found.results
        assert (article.title, article.snippet, article.date) == ("An article", "Some words", "2020-05-06")
        assert (image.title, image.snippet, image.date) == (f"{searx}/image", "", "")
        page = client.open(article.id)
        assert (page.title, page.text) == ("An article", "Head\nFirst & second.\none\ntwo")
        with pytest.raises(ToolError, match=r"is no text \(image/png\)"):
            client.open(image.id)
        with pytest.raises(ToolError, match="status 404"):
            client.open(f"{searx}/nothing")
        assert len(client.open(f"{searx}/big").text) == 2_000_000
        with pytest.raises(ToolError, match="cannot be opened: ConnectError"):
            client.open("http://127.0.0.1:9/")
        with pytest.raises(ToolError, match="cannot be opened"):
            client.open("http://[::")


@pytest.mark.parametrize("path", ["html", "list", "other"])
def test_what_is_no_search_server_is_a_fault_of_ours(searx: str, path: str) -> None:
    with connect(f"{searx}/{path}") as http, pytest.raises(ToolFault, match="is the URL right"):
        SearchClient(http).search("x")


def test_the_same_client_over_a_socket(service: SearchService, client: SearchClient) -> None:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(service.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        with connect(f"http://127.0.0.1:{port}") as http:
            served = SearchClient(http)
            found = served.search("poet")
            assert found == client.search("poet")
            assert served.open(found.results[0].id) == client.open(found.results[0].id)
            with pytest.raises(ToolError, match="no page"):
                served.open("nothing")
    finally:
        server.should_exit = True
        thread.join(10)


@settings(max_examples=100)
@given(st.text(alphabet="<>/ap&;\"'!- =\n", max_size=80))
def test_any_html_is_read(html: str) -> None:
    read_html(html)


def test_html_without_end() -> None:
    title, text = read_html("<title>T<p>" + "<div>" * 20_000 + "deep")
    assert isinstance(title, str)
    assert isinstance(text, str)
