"""`ludus serve tools` and `ludus serve mcp`: the real commands, how they stop and what they refuse."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ludus.tools.services import connect
from ludus.tools.services.all import all_services
from ludus.tools.services.call_log import read_calls
from ludus.tools.services.mail import MailClient
from ludus.tools.services.search import SearchClient

from .served import served

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served("tools", "--seed", "3", "--control", ending=signal.SIGINT) as address:
        yield address


@pytest.mark.parametrize(
    ("workers", "ending"),
    [
        ("1", signal.SIGTERM),
        ("2", signal.SIGINT),
        pytest.param("1", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("2", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_right_after_the_address_was_printed_ends_the_server(workers: str, ending: int) -> None:
    with served("tools", "--workers", workers, ending=ending):
        pass


def test_every_service_answers_as_it_does_in_process(url: str) -> None:
    here = all_services(3)
    assert [*httpx.get(url).json()["services"]] == [*here]
    asked = {
        "search": ("/search?q=the+river&format=json", "/page/none"),
        "weather": ("/v1/search?name=Kyiv", "/v1/forecast?latitude=1&longitude=2&daily=precipitation_sum"),
        "mail": ("/folders", "/messages?limit=5", "/messages/1/raw", "/messages/999"),
        "calendar": ("/nobody/", "/nobody/x.ics"),
    }
    for name, paths in asked.items():
        with connect(f"{url}/{name}") as there, connect(here[name]) as direct:
            for path in paths:
                answers = [client.get(path) for client in (there, direct)]
                assert answers[0].status_code == answers[1].status_code
                # A result's links name the server that gave them.
                texts = [answer.text.replace(f"{url}/{name}", f"http://{name}.invalid") for answer in answers]
                assert texts[0] == texts[1], path


def test_the_clients_work_over_a_port(url: str) -> None:
    with connect(f"{url}/search") as http, connect(all_services(3)["search"]) as direct:
        there, here = SearchClient(http), SearchClient(direct)
        query = here.open(next(iter(all_services(3)["search"].book.rows))).title  # type: ignore[attr-defined]
        found = there.search(query).results
        assert [hit.id for hit in found] == [hit.id for hit in here.search(query).results]
        assert there.open(found[0].id) == here.open(found[0].id)


def test_what_one_world_sends_another_does_not_see(url: str) -> None:
    worlds = ("one", "another")
    clients = [MailClient(connect(f"{url}/mail", headers={"x-ludus-world": world})) for world in worlds]
    clients[0].send(to=["somebody@office.example"], subject="Hello", text="Are you there?")
    assert [client.folders()["sent"]["messages"] for client in clients] == [1, 0]


def test_several_processes_serve_what_no_call_changes() -> None:
    with served("tools", "--workers", "2") as address:
        assert [*httpx.get(address).json()["services"]] == ["search", "weather"]
        assert httpx.get(f"{address}/weather/v1/search", params={"name": "Kyiv"}).status_code == 200


def test_faults_are_options() -> None:
    with served("tools", "--faults.refused", "1") as address:
        refused = httpx.get(f"{address}/weather/v1/search", params={"name": "Kyiv"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")


@pytest.mark.parametrize("words", [("tools",), ("mcp", "ludus/Arithmetic-v0", "--transport", "http")])
def test_a_port_in_use_is_one_line(run: Run, words: tuple[str, ...]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run("serve", *words, "--port", port).assert_refused(1, f"127.0.0.1:{port}", "in use", "--port")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("tools", "--faults.slow", "1.5"), ("--faults", "slow = 1.5")),
        (("tools", "--faults.slow", "0.6", "--faults.broken", "0.6"), ("--faults", "1.2")),
        (("tools", "--seed", "-1"), ("--seed -1",)),
        (("tools", "--workers", "0"), ("--workers 0",)),
        (("tools", "--workers", "2", "--control"), ("--workers 2 --control",)),
        (("mcp", "ludus/NoSuch-v0"), ("ludus/NoSuch-v0",)),
        (("mcp", "ludus/PacMan-v0"), ("ludus/PacManChat-v0",)),
        (("mcp", "ludus/Arithmetic-v0", "--arg", "nope=1"), ("nope",)),
        (("mcp", "ludus/Arithmetic-v0", "--seed", "-1"), ("--seed -1",)),
        (("mcp", "ludus/Arithmetic-v0", "--port", "9000"), ("--port", "--transport http")),
        (("mcp", "ludus/Arithmetic-v0", "--token", "x"), ("--token", "--transport http")),
        (("tools", "--token", "a b"), ("--token", "spaces")),
        (
            ("tools", "--allow-host", "http://rig.example"),
            ("--allow-host http://rig.example", "give only a name"),
        ),
        (("tools", "--allow-origin", "rig.example"), ("--allow-origin rig.example", "https://rig.example")),
    ],
)
def test_wrong_options_are_one_line(run: Run, words: tuple[str, ...], names: tuple[str, ...]) -> None:
    run("serve", *words).assert_refused(2, *names)


def test_a_port_out_of_range_is_one_line(run: Run) -> None:
    run("serve", "tools", "--port", "99999").assert_refused(1, "99999", "65535")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may listen anywhere")
def test_a_port_that_is_not_allowed_is_one_line(run: Run) -> None:
    run("serve", "tools", "--port", "80").assert_refused(1, "80")


def test_pages_in_browsers_and_strangers_are_refused() -> None:
    with served("tools", "--token", "secret", "--allow-origin", "https://rig.example") as address:
        key = {"authorization": "Bearer secret"}
        own = {**key, "origin": "https://rig.example"}
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, headers=key).status_code == 200
        # A page whose name was made to point to this machine.
        rebound = httpx.get(address, headers={**key, "host": "pages.example:8000"})
        assert (rebound.status_code, "--allow-host" in rebound.json()["reason"]) == (421, True)
        form = {"origin": "https://pages.example", "content-type": "text/plain"}
        mail = f"{address}/mail/messages"
        posted = httpx.post(mail, headers={**key, **form}, content='{"to": ["a@b.example"], "text": "x"}')
        assert posted.status_code == 403
        assert httpx.get(mail, headers=key, params={"folder": "sent"}).json()["messages"] == []
        assert httpx.get(address, headers=own).headers["access-control-allow-origin"] == own["origin"]


@pytest.mark.parametrize("command", ["tools", "mcp", "model"])
def test_the_commands_explain_themselves(run: Run, command: str) -> None:
    printed = run("serve", command, "--help")
    assert printed.code == 0
    assert f"usage: ludus serve {command}" in printed.out


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_every_call_is_logged_and_summed_up(run: Run, tmp_path: Path, workers: str) -> None:
    log = tmp_path / "calls.log"
    with served("tools", "--log", str(log), "--workers", workers) as url:
        world = {"X-Ludus-World": "mine"}
        for _ in range(3):
            httpx.get(f"{url}/search/search?q=river&format=json", headers=world).raise_for_status()
        assert httpx.get(f"{url}/weather/v1/forecast?latitude=900&longitude=2").status_code == 400
    calls = [*read_calls(log)]
    assert [(call.world, call.service, call.status) for call in calls] == [
        *[("mine", "search", 200)] * 3,
        ("", "weather", 400),
    ]
    assert calls[0].path == "/search/search?q=river&format=json"
    assert all(call.seconds > 0 for call in calls)
    table = run("bench", "score", log)
    assert table.code == 0, table.err
    rows = [line.split() for line in table.out.splitlines()]
    assert ["mine", "/search", "3", "3", "0", "0", "0"] in [row[:7] for row in rows]
    assert ["(shared)", "/weather", "1", "0", "1", "0", "0"] in [row[:7] for row in rows]
    log.write_text('{"time": 1}\n')
    run("bench", "score", log).assert_refused(1, "line 1 is no call")
    run("bench", "score", tmp_path / "none").assert_refused(2, "there is no log")
    run("serve", "tools", "--log", tmp_path / "no" / "log").assert_refused(2, "--log")
