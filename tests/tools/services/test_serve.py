"""Services on a rack: worlds, control, faults that really wait, on a real port."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ludus.tools.errors import ToolError, UserError
from ludus.tools.services import FaultPlan, Service, connect
from ludus.tools.services.client import ask_json
from ludus.tools.services.faults import RETRY_AFTER_S, SLOW_S
from ludus.tools.services.rack import MOST_BODY, Rack
from ludus.tools.services.serve import address, listen


class Counter(Service):
    """Counts what it is told to."""

    name = "counter"

    def __init__(self) -> None:
        super().__init__()
        self._state = 0
        self._app = Starlette(routes=[Route("/add/{number:int}", self._add, methods=["POST"])])

    @property
    def app(self) -> ASGIApp:
        return self._app

    @property
    def state(self) -> int:
        return self._state

    @state.setter
    def state(self, state: int) -> None:
        self._state = state

    async def _add(self, request: Request) -> Response:
        padding = await request.body()
        self._state += request.path_params["number"]
        return JSONResponse({"count": self._state, "now": str(self.clock.now), "bytes": len(padding)})


@contextmanager
def served(faults: FaultPlan | None = None, control: bool = False) -> Iterator[str]:
    listening = listen("127.0.0.1", 0)
    rack = Rack({"counter": Counter()}, faults, control)
    config = uvicorn.Config(rack, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield address(listening)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(control=True) as address:
        yield address


def client(url: str, world: str = "", **options: Any) -> httpx.Client:
    headers = {"x-ludus-world": world} if world else {}
    return connect(f"{url}/counter", headers=headers, **options)


def add(http: httpx.Client, number: int = 1) -> int:
    count: int = ask_json(http, "POST", f"/add/{number}")["count"]
    return count


def steer(http: httpx.Client, action: str, **given: Any) -> Any:
    return ask_json(http, "POST", f"/_control/{action}", json=given)


def test_the_first_page_and_health(url: str) -> None:
    about = httpx.get(url).json()
    assert about["services"] == {"counter": {"url": "/counter/", "about": "Counts what it is told to."}}
    assert about["control"][0] == "/NAME/_control/reset"
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    nothing = httpx.get(f"{url}/conter")
    assert (nothing.status_code, nothing.json()["reason"]) == (
        404,
        "there is nothing at /conter; there are: /counter",
    )


def test_a_service_answers_as_it_does_in_process(url: str) -> None:
    with client(url, "as in process") as there, connect(Counter()) as here:
        for number in (1, 5, 0):
            answers = [http.post(f"/add/{number}", content=b"x" * 70_000) for http in (there, here)]
            assert answers[0].json() == answers[1].json()
            assert answers[0].status_code == answers[1].status_code == 200
        assert there.get("/no").status_code == here.get("/no").status_code == 404


@pytest.mark.parametrize("path", ["/add/1", "/_control/reset"])
def test_a_body_that_is_too_large_is_refused_with_the_reason(url: str, path: str) -> None:
    with client(url, "large") as http:
        refused = http.post(path, content=b" " * (MOST_BODY + 1))
        assert refused.status_code == 413
        assert f"may have {MOST_BODY} bytes" in refused.json()["reason"]
        assert http.post("/add/1", content=b" " * MOST_BODY).json()["bytes"] == MOST_BODY


def test_worlds_do_not_mix(url: str) -> None:
    def count(world: str) -> list[int]:
        with client(url, world) as http:
            return [add(http) for _ in range(50)]

    with ThreadPoolExecutor(8) as threads:
        for counted in threads.map(count, [f"mixed {number}" for number in range(8)]):
            assert counted == list(range(1, 51))


def test_requests_without_a_name_share_a_world() -> None:
    with served() as url, client(url) as first, client(url) as another, client(url, "other") as third:
        assert (add(first), add(another), add(third), add(first)) == (1, 2, 1, 3)


def test_a_world_can_be_steered(url: str) -> None:
    with client(url, "steered") as http, client(url, "branch") as branch:
        add(http, 5)
        taken = steer(http, "snapshot")
        assert add(http, 5) == 10
        assert steer(branch, "restore", **taken) == {}
        assert (add(branch, 1), add(http, 1)) == (6, 11)
        steer(http, "restore", **taken)
        assert add(http, 1) == 6
        steer(http, "reset")
        assert add(http, 1) == 1
        assert steer(http, "advance", seconds=90) == {"now": "2031-03-03T08:01:30+00:00"}
        assert ask_json(http, "POST", "/add/1")["now"] == "2031-03-03 08:01:30+00:00"
        assert ask_json(branch, "POST", "/add/1")["now"] == "2031-03-03 08:00:00+00:00"


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("restore", '{"snapshot": 999999}', "an ID that `snapshot` answered, not 999999"),
        ("restore", "{}", "not None"),
        ("restore", "[1]", "not None"),
        ("restore", "{", "restore: Expecting"),
        ("restore", "\xff", "restore: "),
        ("advance", '{"seconds": -1}', "not -1"),
        ("advance", '{"seconds": NaN}', "not nan"),
        ("advance", '{"seconds": 1e99}', "not 1e+99"),
        ("advanse", "{}", "no control 'advanse'; there are: reset, snapshot, restore, advance"),
    ],
)
def test_wrong_steering_is_told(url: str, action: str, body: str, words: str) -> None:
    with client(url, "wrong") as http:
        refused = http.post(f"/_control/{action}", content=body.encode("latin-1"))
        assert refused.status_code in (400, 404)
        assert words in refused.json()["reason"]
        assert http.get("/_control/reset").status_code == 405
        assert http.post("/add/1").status_code == 200


@pytest.fixture(scope="module")
def anybody(url: str) -> Iterator[httpx.Client]:
    with client(url, "any") as http:
        yield http


@given(st.binary(max_size=200))
def test_nothing_that_is_sent_to_the_control_breaks_it(anybody: httpx.Client, body: bytes) -> None:
    for action in ("restore", "advance"):
        assert anybody.post(f"/_control/{action}", content=body).status_code in (200, 400)


def test_a_body_nested_deeply_is_refused(anybody: httpx.Client) -> None:
    answer = anybody.post("/_control/restore", content="[" * 100_000)
    assert (answer.status_code, answer.json()["reason"]) == (400, "restore: the body is nested too deeply")


def test_control_is_off_unless_it_is_wanted() -> None:
    with served() as url, client(url) as http:
        refused = http.post("/_control/reset")
        assert refused.status_code == 404
        assert "start the server with --control" in refused.json()["reason"]


def test_too_many_worlds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludus.tools.services.rack.MOST_WORLDS", 2)
    with (
        served(control=True) as url,
        client(url, "1") as first,
        client(url, "2") as second,
        client(url, "3") as third,
    ):
        assert (add(first), add(second)) == (1, 1)
        assert third.post("/add/1").status_code == 503
        assert add(first) == 2
        steer(second, "reset")
        assert add(third) == 1


def test_what_is_slow_keeps_the_client_waiting_and_nobody_else() -> None:
    plan = FaultPlan(seed=0, slow=0.5)
    hit = [plan.draw("counter", call) is not None for call in range(20)]
    with served(plan) as url, ThreadPoolExecutor(20) as threads:

        def ask(number: int) -> float:
            with client(url, f"{number}") as http:
                for _ in range(hit.index(True)):  # the world's calls before the first that is hit
                    add(http)
                began = time.monotonic()
                assert add(http) == hit.index(True) + 1
                return time.monotonic() - began

        began = time.monotonic()
        for seconds in threads.map(ask, range(20)):
            assert seconds >= SLOW_S
        assert time.monotonic() - began < 4 * SLOW_S  # in sequence they would take 20


def test_a_call_that_its_client_gave_up_has_no_effect() -> None:
    plan = next(
        plan
        for seed in range(1000)
        if [(plan := FaultPlan(seed=seed, timeout=0.5)).draw("counter", call) is None for call in range(3)]
        == [True, False, True]
    )
    with served(plan) as url, client(url, timeout=0.3) as http:
        assert add(http) == 1
        with pytest.raises(ToolError, match="did not answer in time"):
            add(http)
        assert add(http) == 2


def test_refusals_say_when_to_come_back() -> None:
    with served(FaultPlan(refused=1)) as url, client(url) as http:
        refused = http.post("/add/1")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, str(RETRY_AFTER_S))
        with pytest.raises(ToolError, match=f"try again in {RETRY_AFTER_S} seconds"):
            add(http)
    with served(FaultPlan(broken=1)) as url, client(url) as http:
        assert http.post("/add/1").status_code == 500


def test_faults_follow_from_the_worlds_own_calls() -> None:
    plan = FaultPlan(seed=4, refused=0.5)
    drawn = [plan.draw("counter", call) is None for call in range(10)]
    with served(plan) as url, client(url, "a") as first, client(url, "b") as another:
        seen: list[list[bool]] = [[], []]
        for _ in range(10):
            for asked, http in zip(seen, (first, another), strict=True):
                asked.append(http.post("/add/1").status_code == 200)
    assert seen == [drawn, drawn]


def test_a_port_in_use_is_named() -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    try:
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}: the port is in use: .*another --port"):
            listen("127.0.0.1", port)
    finally:
        listening.close()


@pytest.mark.parametrize(
    ("host", "port"), [("no.such.host.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 99999)]
)
def test_an_address_that_is_none_of_ours_is_named(host: str, port: int) -> None:
    with pytest.raises(UserError, match=host.replace(".", r"\.")):
        listen(host, port)
