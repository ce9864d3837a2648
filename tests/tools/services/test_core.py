"""What all services share: the transport without a socket, virtual time, injected faults, errors."""

import copy
import json
from collections import Counter
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services import Fault, FaultPlan, Service, connect
from ludus.tools.services.calendar import CalendarService, Item, VEvent, ics
from ludus.tools.services.calendar.model import Calendar
from ludus.tools.services.client import ask_json
from ludus.tools.services.faults import RETRY_AFTER_S, SLOW_S
from ludus.tools.services.mail import MailService
from ludus.tools.services.service import EPOCH
from ludus.tools.services.transport import DirectClient


class Echo(Service):
    """Counts the requests it gets."""

    name = "echo"

    def __init__(self) -> None:
        super().__init__()
        self.state = 0
        self.app = Starlette(
            routes=[
                Route("/echo/{word}", self.echo, methods=["GET", "POST"]),
                Route("/html", self.html),
                Route("/wrong", self.wrong),
            ]
        )

    app = None
    state = 0

    async def echo(self, request: Request) -> Response:
        self.state += 1
        body = (await request.body()).decode()
        stale = self.is_stale
        return JSONResponse(
            {
                "word": request.path_params["word"],
                "query": dict(request.query_params),
                "body": body,
                "stale": stale,
            }
        )

    async def html(self, request: Request) -> Response:
        return HTMLResponse("<h1>hello</h1>")

    async def wrong(self, request: Request) -> Response:
        return JSONResponse({"error": True, "reason": "no such place: 'x'"}, status_code=400)


def test_what_is_sent_arrives_as_it_was() -> None:
    with connect(Echo()) as http:
        said = ask_json(http, "POST", "/echo/é ü", params={"q": "a b&ü"}, json={"x": 1})
    assert said["query"] == {"q": "a b&ü"}
    assert json.loads(said["body"]) == {"x": 1}
    assert said["word"] == "é ü"


def test_a_snapshot_takes_state_clock_and_calls_back() -> None:
    service = Echo()
    with connect(service) as http:
        ask_json(http, "GET", "/echo/a")
        before = service.snapshot()
        service.clock.advance(60)
        ask_json(http, "GET", "/echo/b")
        assert service.snapshot() != before
        service.restore(before)
        assert service.snapshot() == before


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (FaultPlan(timeout=1), "did not answer in time"),
        (FaultPlan(refused=1), f"busy .*again in {RETRY_AFTER_S} seconds"),
        (FaultPlan(broken=1), "failed .*500"),
    ],
)
def test_a_fault_is_something_the_model_reads(plan: FaultPlan, words: str) -> None:
    with connect(Echo(), plan) as http, pytest.raises(ToolError, match=words):
        ask_json(http, "GET", "/echo/a")


def test_what_is_slow_takes_virtual_time_only() -> None:
    service = Echo()
    began = service.clock.now
    with connect(service, FaultPlan(slow=1)) as http:
        ask_json(http, "GET", "/echo/a")
    assert service.clock.now - began == timedelta(seconds=SLOW_S)


def test_stale_is_told_to_the_service_for_that_call_alone() -> None:
    service = Echo()
    with connect(service, FaultPlan(stale=1)) as http:
        assert ask_json(http, "GET", "/echo/a")["stale"]
    assert not service.is_stale


def test_faults_follow_from_seed_service_and_number_of_the_call() -> None:
    plan = FaultPlan(seed=3, slow=0.1, timeout=0.1, refused=0.2, broken=0.1, stale=0.1)
    drawn = [plan.draw("search", call) for call in range(4000)]
    assert drawn == [plan.draw("search", call) for call in range(4000)]
    assert drawn != [plan.draw("mail", call) for call in range(4000)]
    counts = Counter(drawn)
    assert 1500 < counts[None] < 1700
    assert 700 < counts[Fault.REFUSED] < 900


def test_a_repeated_call_draws_anew_and_a_rewound_one_the_same() -> None:
    service = Echo()
    plan = FaultPlan(seed=1, refused=0.5)
    with connect(service, plan) as http:
        begun = service.snapshot()
        first = [http.get("/echo/a").status_code for _ in range(20)]
        service.restore(begun)
        assert [http.get("/echo/a").status_code for _ in range(20)] == first
    assert {200, 429} == set(first)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_only_shares_are_taken(share: float) -> None:
    if 0 <= share <= 1:
        FaultPlan(broken=share)
    else:
        with pytest.raises(ValueError, match="share"):
            FaultPlan(broken=share)


def test_shares_add_up_to_one_at_most() -> None:
    with pytest.raises(ValueError, match=r"add up to 1\.2"):
        FaultPlan(slow=0.6, broken=0.6)


def test_a_wrong_request_is_told_in_the_service_s_words() -> None:
    with connect(Echo()) as http, pytest.raises(ToolError, match="no such place: 'x'"):
        ask_json(http, "GET", "/wrong")


def test_html_where_json_was_expected_is_a_fault_of_ours() -> None:
    with connect(Echo()) as http, pytest.raises(ToolFault, match=r"no JSON \(text/html.*is the URL right"):
        ask_json(http, "GET", "/html")


def test_nothing_behind_a_url_is_a_fault_of_ours() -> None:
    with connect("http://127.0.0.1:9") as http, pytest.raises(ToolFault, match=r"127\.0\.0\.1:9"):
        ask_json(http, "GET", "/echo/a")


def test_no_proxy_of_the_machine_is_asked_for_a_service_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with connect(Echo()) as http:
        assert isinstance(http.get("/echo/a"), httpx.Response)


def test_what_only_matters_between_machines_is_there_for_those_who_ask() -> None:
    service = Echo()
    with connect(service) as http:
        plain = http.get("/echo/a")
        assert (plain.request.url.path, plain.status_code) == ("/echo/a", 200)
        asked = http.get("/echo/a", auth=("name", "secret"), follow_redirects=True)
        assert asked.request.headers["authorization"].startswith("Basic ")
        with http.stream("GET", "/echo/a") as streamed:
            assert json.loads(streamed.read()) == plain.json()
    with connect(service, auth=("name", "secret")) as http:
        assert "authorization" in http.get("/echo/a").request.headers
    with pytest.raises(RuntimeError, match="closed"):
        http.get("/echo/a")
    with connect(service) as http:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        http.get("/echo/a")


def test_a_request_that_is_too_long_is_something_the_model_reads() -> None:
    with pytest.raises(ToolError, match="too long; write something shorter"):
        ask_json(connect(Echo()), "GET", "/echo/x", params={"query": "a" * 100_000})


def test_a_url_without_its_scheme_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"'localhost:8000/weather' is no URL.*http://"):
        connect("localhost:8000/weather")


@pytest.mark.parametrize("url", ["/a", "a", "", "?q=1", "/ä/x%2Fy?q= é", "a//b/../c", "//h/x", "/a:b#f"])
def test_addresses_are_read_as_httpx_reads_them(url: str) -> None:
    base = "http://tools.invalid/service"
    direct = DirectClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)), base_url=base)
    read, plain = direct.build_request("GET", url).url, httpx.Client(base_url=base).build_request("GET", url)
    assert read == plain.url
    assert read.raw_path == plain.url.raw_path


def test_a_services_key_is_that_of_what_it_holds_now() -> None:
    """However it came there; what only clients from outside synchronise by plays no part."""
    calendar = Calendar("a@example.org", "A", "Europe/Berlin")
    service = CalendarService({calendar: []})
    item = Item(VEvent(uid="1", start=EPOCH, end=EPOCH + timedelta(hours=1), summary="Lunch"))
    body, path = ics.write(item), "/a%40example.org/1.ics"
    client = connect(service)
    empty = service.key(service.state)
    client.put(path, content=body)
    full, stale = service.key(service.state), service.key(service.state, with_stale=True)
    assert full not in (empty, stale)
    client.delete(path)
    assert service.key(service.state) == empty
    client.put(path, content=body)
    assert service.key(service.state) == full
    assert service.key(copy.deepcopy(service.state)) == full
    assert CalendarService({calendar: []}).key(service.state) == full

    mail = MailService(3)
    before = mail.key(mail.state)
    folder = connect(mail)
    assert folder.get("/messages/1").status_code == 200  # is seen now
    seen = mail.key(mail.state)
    assert seen != before
    for name in ("archive", "inbox"):
        folder.patch("/messages/1", json={"folder": name})
    assert mail.key(mail.state) == seen
    assert MailService(3).key(copy.deepcopy(mail.state)) == seen
    assert MailService(4).key(MailService(4).state) != before
