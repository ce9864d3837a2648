"""Who may call an application on a port: names, pages in browsers, tokens."""

import base64

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ludus.tools.services.guard import Access, guarded

OPEN = Access()


def ask(access: Access, method: str = "GET", host: str = "127.0.0.1:8000", **headers: str) -> int:
    client = TestClient(guarded(lambda: PlainTextResponse("here"), access))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request(method, "/", headers={"host": host, **named}).status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST.", "[::1]:8000", "10.0.0.7"]
)
def test_addresses_and_this_machine_are_no_strangers(host: str) -> None:
    assert ask(OPEN, host=host) == 200


@pytest.mark.parametrize(
    "host", ["pages.example", "pages.example:8000", "127.0.0.1.pages.example", "localhost.x", ""]
)
def test_a_name_that_points_to_this_machine_is_refused(host: str) -> None:
    assert ask(OPEN, host=host) == 421
    assert ask(Access(hosts=("pages.example", "")), host="pages.example:8000") == 200


@pytest.mark.parametrize(
    "origin", ["https://pages.example", "null", "http://127.0.0.1:8000", "https://rig.example:1"]
)
def test_a_page_from_elsewhere_is_refused(origin: str) -> None:
    for access in (OPEN, Access(origins=("https://rig.example",))):
        assert ask(access, "POST", origin=origin, content_type="text/plain") == 403
        assert ask(access, "OPTIONS", origin=origin, access_control_request_method="PUT") == 403


def test_a_picture_in_a_page_is_refused() -> None:
    assert ask(OPEN, sec_fetch_site="cross-site") == 403
    assert ask(OPEN, sec_fetch_site="none") == 200


def test_a_page_that_is_allowed_calls_with_the_token_alone() -> None:
    access = Access(token="secret", origins=("https://rig.example",))
    page = {"origin": "https://rig.example"}
    assert ask(access, "OPTIONS", access_control_request_method="REPORT", **page) == 200
    assert ask(access, **page) == 401
    assert ask(access, authorization="Bearer secret", **page) == 200


def test_the_token_is_asked_for() -> None:
    access = Access(token="secret")
    basic = base64.b64encode(b"anybody:secret").decode()
    for right in ("Bearer secret", "bearer secret", f"Basic {basic}"):
        assert ask(access, authorization=right) == 200
    for wrong in (
        "Bearer secre",
        "Bearer ",
        "secret",
        "Basic secret",
        "Basic !",
        "Digest secret",
        "Bearer secret secret",
    ):
        assert ask(access, authorization=wrong) == 401
    assert ask(access) == 401


async def talking(scope: Scope, receive: Receive, send: Send) -> None:
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    await socket.send_text("here")
    await socket.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer secret", "origin": "https://pages.example"}, 403),
        ({"authorization": "Bearer secret", "host": "pages.example"}, 421),
    ],
)
def test_a_websocket_is_asked_what_a_request_is(headers: dict[str, str], status: int) -> None:
    client = TestClient(guarded(lambda: talking, Access(token="secret")))
    named = {"host": "127.0.0.1:8000", **headers}
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/", headers=named):
        pass
    assert refused.value.status_code == status
    named = {"host": "127.0.0.1:8000", "authorization": "Bearer secret"}
    with client.websocket_connect("/", headers=named) as socket:
        assert socket.receive_text() == "here"
