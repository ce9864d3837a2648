"""`ludus serve tools --env`: clients of the services' own protocols, judged by the environment."""

import json
import signal
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gymnasium
import httpx
import pytest

from ludus.agents.bench.journal import read_journal
from ludus.agents.episode import Episode, StopReason

Run = Callable[..., Any]
MAIN = "import sys; from ludus.cli import main; sys.exit(main())"
CALENDAR, WEATHER, SEARCH = "ludus/Calendar-v0", "ludus/Weather-v0", "ludus/Search-v0"
ASSISTANT = "ludus/Assistant-v0"
SMALL = {"pages": 200}


@dataclass
class Served:
    """A server in its own process."""

    process: subprocess.Popen[str]
    announced: str
    last: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.announced.split(" at ")[1].split()[0]

    def act(self, name: str, **arguments: Any) -> dict[str, Any]:
        call = {"name": name, "arguments": arguments}
        return dict(httpx.post(f"{self.url}/episode/call", json=call).raise_for_status().json())

    def end(self, signal_number: int = signal.SIGTERM) -> str:
        self.process.send_signal(signal_number)
        out, errors = self.process.communicate(timeout=30)
        assert errors == ""
        return out


@contextmanager
def served(log: Path, id: str, seed: int = 7, **arguments: Any) -> Iterator[Served]:
    words = ["--env", id, "--seed", str(seed), "--log", str(log), "--port", "0"]
    for name, value in arguments.items():
        words += ["--arg", f"{name}={json.dumps(value)}"]
    command = [sys.executable, "-c", MAIN, "serve", "tools", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert " at " in line, process.stderr.read()
        yield Served(process, line)
    finally:
        process.kill()
        process.wait()


def oracle(id: str, seed: int = 7, **arguments: Any) -> tuple[Any, list[dict[str, Any]]]:
    """An environment at the end of the oracle's episode, and the calls and texts that it made."""
    env: Any = gymnasium.make(id, disable_env_checker=True, **arguments).unwrapped
    agent = env.scripted["oracle"](env)
    agent.begin()
    observation, info = env.reset(seed=seed)
    made, over = [], False
    while not over:
        reply = agent.act(observation, info)
        calls = reply.get("tool_calls", ()) if isinstance(reply, dict) else ()
        made += [call["function"] for call in calls] or [{"name": "", "arguments": reply}]
        observation, _, terminated, truncated, info = env.step(reply)
        over = terminated or truncated
    assert info["success"]
    return env, made


def write_calendars(url: str, begun: Any, ended: Any) -> None:
    """By CalDAV: the changes that lead from some calendars to others."""
    for person, shelf in ended.by_person.items():
        before = begun.by_person[person].objects
        for name in before.keys() | shelf.objects.keys():
            if shelf.objects.get(name) != before.get(name):
                where = f"{url}/calendar/{quote(person)}/{quote(name)}"
                if name in shelf.objects:
                    headers = {"content-type": "text/calendar"}
                    httpx.put(where, content=shelf.objects[name].encode(), headers=headers).raise_for_status()
                else:
                    httpx.delete(where).raise_for_status()


def only(log: Path) -> Episode:
    (episode,) = read_journal(log)
    return episode


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_what_a_caldav_client_did_is_judged_when_the_server_ends(tmp_path: Path, ending: int) -> None:
    env, _ = oracle(CALENDAR, kinds=["move"])
    with served(tmp_path / "log", CALENDAR, kinds=["move"]) as server:
        write_calendars(server.url, env._state.begun, env.services["calendar"].state)
        assert "The episode is over: success, return 0.99." in server.end(ending)
    episode = only(tmp_path / "log")
    assert (episode.success, episode.stop) == (True, StopReason.TERMINATED)
    calls = [turn.reply["tool_calls"][0]["function"] for turn in episode.turns]
    assert {call["name"] for call in calls} == {"calendar", "finish"}
    assert "PUT" in {call["arguments"].get("method") for call in calls}


def test_wrong_changes_are_a_failure_with_its_reason(run: Run, tmp_path: Path) -> None:
    with served(tmp_path / "log", CALENDAR, kinds=["cancel"]) as server:
        task = httpx.get(f"{server.url}/episode").json()
        person = task["messages"][0]["content"].split("(")[1].split(")")[0]
        report = (
            '<C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav"><C:filter>'
            '<C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>'
        )
        home = f"{server.url}/calendar/{quote(person)}/"
        found = httpx.request("REPORT", home, content=report, headers={"depth": "1"}).text
        for place in found.split("<href>")[1:]:
            httpx.delete(server.url + place.split("<")[0]).raise_for_status()
        out = server.end()
    assert "The episode is over: no success, return -1.01." in out
    assert "expected: gone: " in out
    assert "failure: " in out
    episode = only(tmp_path / "log")
    assert "wrongly gone" in episode.failure
    assert episode.expected.startswith("gone: ")
    scored = run("bench", "score", tmp_path / "log", "--name", "mine", "--out", tmp_path / "scored")
    assert scored.code == 0
    assert "1 wrong" in scored.out
    assert "1/1" in scored.out


@pytest.mark.parametrize("looks", [True, False])
def test_a_right_answer_counts_only_after_the_calendars_were_read(tmp_path: Path, looks: bool) -> None:
    env, _ = oracle(CALENDAR, kinds=["ask_slot"])
    report = (
        '<C:free-busy-query xmlns:C="urn:ietf:params:xml:ns:caldav">'
        '<C:time-range start="20300101T000000Z" end="20330101T000000Z"/></C:free-busy-query>'
    )
    with served(tmp_path / "log", CALENDAR, kinds=["ask_slot"]) as server:
        for person in env._state.people if looks else ():
            where = f"{server.url}/calendar/{quote(person)}/"
            httpx.request("REPORT", where, content=report).raise_for_status()
        answered = server.act("finish", answer=env.verdict.expected)
        assert answered["over"]
        assert ("no success" in answered["end"]) is not looks
        late = httpx.get(f"{server.url}/calendar/")
        assert (late.status_code, "/episode/next" in late.json()["reason"]) == (409, True)
        assert server.end().count("The episode is over") == 1
    episode = only(tmp_path / "log")
    assert episode.success is looks
    assert ("not looked at" in episode.failure) is not looks


def test_weather_by_http_then_the_next_task(tmp_path: Path) -> None:
    with served(tmp_path / "log", WEATHER) as server:
        for number in range(2):
            _, made = oracle(WEATHER, 7 + number)
            for call in made:
                if call["name"] == "forecast":
                    listed = {
                        key: ",".join(value) if isinstance(value, list) else value
                        for key, value in call["arguments"].items()
                    }
                    where = f"{server.url}/weather/v1/forecast"
                    httpx.get(where, params={**listed, "timezone": "auto"}).raise_for_status()
            assert "success" in server.act("submit", **made[-1]["arguments"])["end"]
            begun = httpx.post(f"{server.url}/episode/next").json()
            assert (begun["seed"], begun["steps"]) == (8 + number, 0)
        server.end()
    assert [(episode.seed, episode.success) for episode in read_journal(tmp_path / "log")] == [
        (7, True),
        (8, True),
    ]


def test_pages_opened_by_http_are_proof(tmp_path: Path) -> None:
    _, made = oracle(SEARCH, **SMALL)
    with served(tmp_path / "log", SEARCH, **SMALL) as server:
        for call in made:
            if call["name"] == "open":
                page = call["arguments"]["page"]
                httpx.get(f"{server.url}/search/page/{quote(page, safe='')}").raise_for_status()
        assert "The episode is over: success" in server.act("submit", **made[-1]["arguments"])["end"]
    assert only(tmp_path / "log").success


def test_an_office_by_caldav_smtp_and_forecasts(tmp_path: Path) -> None:
    env, _ = oracle(ASSISTANT, kinds=["outdoors"], vague=0.0)
    with served(tmp_path / "log", ASSISTANT, kinds=["outdoors"], vague=0.0) as server:
        place = env._state.office.place
        days = sorted(env._state.foreseen)
        asked = {
            "latitude": place.latitude,
            "longitude": place.longitude,
            "hourly": "precipitation",
            "timezone": "auto",
            "start_date": str(days[0]),
            "end_date": str(days[-1]),
        }
        httpx.get(f"{server.url}/weather/v1/forecast", params=asked).raise_for_status()
        write_calendars(server.url, env._state.begun, env.services["calendar"].state)
        port = int(server.announced.split("SMTP at 127.0.0.1:")[1].split()[0])
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            for mail in env.mail_service.messages("sent"):
                letter = EmailMessage()
                letter["From"] = mail["sender"]
                letter["To"] = ", ".join(mail["recipients"])
                letter["Subject"] = mail["subject"]
                letter["In-Reply-To"] = mail["in_reply_to"]
                letter.set_content(mail["text"])
                smtp.send_message(letter)
        assert "The episode is over: success" in server.end()
    assert only(tmp_path / "log").success


def test_a_server_that_is_killed_leaves_a_log_without_the_episode(run: Run, tmp_path: Path) -> None:
    with served(tmp_path / "log", CALENDAR) as server:
        httpx.request("PROPFIND", f"{server.url}/calendar/").raise_for_status()
    refused = run("bench", "score", tmp_path / "log", "--out", tmp_path / "out")
    refused.assert_refused(1, "no finished episodes", "when it ends")


def test_a_torn_log_of_calls_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"time": "2031')
    run("bench", "score", tmp_path / "log").assert_refused(1, "no whole line")


def test_a_log_in_use_is_one_line(run: Run, tmp_path: Path) -> None:
    with served(tmp_path / "log", CALENDAR):
        words = ("serve", "tools", "--env", CALENDAR, "--log", tmp_path / "log", "--port", "0")
        run(*words).assert_refused(1, "another process", tmp_path / "log")


def test_requests_about_the_episode_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with served(tmp_path / "log", CALENDAR) as server:
        where = f"{server.url}/episode"
        for path, body in (
            ("call", b"[]"),
            ("call", b"{"),
            ("call", b'{"nme": "x"}'),
            ("say", b'{"text": 1}'),
        ):
            assert httpx.post(f"{where}/{path}", content=body).status_code == 400
        assert httpx.get(f"{where}/call").status_code == 405
        assert httpx.post(f"{where}/nothing").status_code == 404
        world = httpx.get(f"{server.url}/calendar/", headers={"x-ludus-world": "another"})
        assert (world.status_code, "X-Ludus-World" in world.json()["reason"]) == (503, True)
        assert "there is no tool" in server.act("finnish")["messages"][0]["content"]
        assert httpx.get(where).json()["steps"] == 2  # the refused one, too


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--env", "ludus/NoSuch-v0"), ("ludus/NoSuch-v0",)),
        (("--env", "ludus/Arithmetic-v0"), ("ludus/Arithmetic-v0", "no services", "serve mcp")),
        (("--env", SEARCH, "--arg", "worlds=[0, 1]"), ("search-0, search-1", "single world")),
        (("--env", CALENDAR, "--arg", "nope=1"), ("nope",)),
        (("--env", CALENDAR, "--arg", "people=99"), ("people=99",)),
        (("--env", CALENDAR, "--seed", "-1"), ("--seed -1",)),
        (("--env", CALENDAR, "--log", "/"), ("--log /", "name a file")),
        (("--env", CALENDAR, "--control"), ("--control", "--env")),
        (("--env", CALENDAR, "--workers", "2"), ("--workers 2", "--env")),
        (("--arg", "people=3"), ("--arg people=3", "--env ID")),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(run: Run, words: tuple[str, ...], names: tuple[str, ...]) -> None:
    run("serve", "tools", *words).assert_refused(2, *names)
