"""Models behind a server, against a small server on loopback with prescribed answers."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import gymnasium
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.chat_messages import read_action
from ludus.agents.chat_policy import ChatPolicy
from ludus.agents.choose import choose_policy
from ludus.agents.engines import retries
from ludus.agents.engines.base import EngineFault, Sampling
from ludus.agents.engines.openai import OpenAIEngine
from ludus.agents.engines.options import ServerListener, ServerOptions
from ludus.agents.engines.retries import LONGEST_S, backoff_s, retry_after_s
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.episode import Episode, StopReason
from ludus.agents.formats.calls.registry import named
from ludus.agents.formats.calls.reply import Call
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import user
from ludus.envs.rubric import Rubric
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.errors import UserError
from ludus.tools.tool import tool

Respond = Callable[[int, Any], bytes | None]
"""(number of the request, its JSON) → what is written back; None: nothing, ever."""


def http(body: Any, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {kind}", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def chat(content: Any = "hello", finish: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish,
    }
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def calls(*functions: tuple[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": f"id-{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(functions)
    ]


MODELS = {"data": [{"id": "m", "max_model_len": 50}]}


@dataclass
class Loopback:
    """Speaks just enough HTTP/1.1 with keep-alive; what is not a POST gets the list of models."""

    respond: Respond = lambda number, body: http(chat())
    models: bytes = field(default_factory=lambda: http(MODELS))
    delay_s: float = 0.0
    bodies: list[Any] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = next(
                    (
                        int(line[15:])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length:")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                if not head.startswith("POST"):
                    answer: bytes | None = self.models
                else:
                    self.in_flight += 1
                    self.most_in_flight = max(self.in_flight, self.most_in_flight)
                    number = len(self.bodies)
                    self.bodies.append(json.loads(body))
                    self.times.append(time.monotonic())
                    await asyncio.sleep(self.delay_s)
                    answer = self.respond(number, self.bodies[number])
                    self.in_flight -= 1
                if answer is None:
                    await reader.read()
                    return
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setattr(retries, "FIRST_S", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = Loopback()
    loop, ready = asyncio.new_event_loop(), threading.Event()

    def run() -> None:
        async def main() -> None:
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            ready.set()
            async with listening:
                await stop.wait()

        loop.run_until_complete(main())

    stop = asyncio.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    assert not thread.is_alive()
    loop.close()


class Lamp(ToolEnv):
    """Press the right button."""

    scripted: ClassVar[dict[str, Any]] = {}
    rubric = Rubric({"tool_errors": -0.1, "lit": 1.0})
    max_turns = 4

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user("Light the lamp.")], "lamp", 0)

    def respond(self, state: int, text: str) -> Outcome:
        return Outcome(state + 1, [user(f"You said {text!r}.")], {})

    @tool
    def press(self, state: int, button: Literal["left", "right"]) -> Answer:
        """Press a button.

        Args:
            button: which one.
        """
        lit = button == "right"
        return Answer(state + 1, "light" if lit else "dark", {"lit": float(lit)}, lit, lit)


gymnasium.register("tests/Lamp-v0", entry_point=Lamp)
LAMP = EnvironmentSpec("tests/Lamp-v0")


def play(policy: Any, n: int = 1, **options: Any) -> list[Episode]:
    return rollout(policy, LAMP, [EpisodeStart(seed) for seed in range(n)], **options)


def talk(loopback: Loopback, respond: Respond, **options: Any) -> Episode:
    loopback.respond = respond
    (episode,) = play(ChatPolicy(OpenAIServer.connect(loopback.url, **options)))
    return episode


# Success


def test_native_calls_go_out_and_back_with_their_ids_and_usage_is_counted(loopback: Loopback) -> None:
    def respond(number: int, body: Any) -> bytes:
        button = '{"button": "left"}' if number == 0 else '{"button": "right"}'
        return http(chat(None, "tool_calls", tool_calls=calls(("press", button), ("press", button))))

    episode = talk(loopback, respond)
    assert episode.success
    assert episode.stop == StopReason.TERMINATED
    assert [(turn.prompt_tokens, turn.completion_tokens) for turn in episode.turns] == [(7, 3)] * 2
    first, second = loopback.bodies
    assert first["tools"] == [Lamp.tools[0].openai]
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("m", 0.0, 16384)
    assert second["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": calls(*[("press", '{"button": "left"}')] * 2)},
        {"role": "tool", "tool_call_id": "id-0", "content": "dark"},
        {"role": "tool", "tool_call_id": "id-1", "content": "dark"},
    ]


def test_a_malformed_call_is_that_calls_error_and_goes_back_as_an_object(loopback: Loopback) -> None:
    malformed = [
        ("press", '{"button": '),
        ("press", "43759"),
        ("nothing", "{}"),
        ("press", '{"button":"left"}'),
    ]

    def respond(number: int, body: Any) -> bytes:
        return http(chat("x", tool_calls=calls(*malformed)) if number == 0 else chat("enough"))

    episode = talk(loopback, respond)
    answers = [message["content"] for message in episode.turns[1].observation]
    assert [str(answer).startswith("Error: ") for answer in answers] == [True, True, True, False]
    assert episode.turns[0].reward_terms["tool_errors"] == 3
    sent = loopback.bodies[1]["messages"][1]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in sent] == [
        {"malformed": '{"button": '},
        {"malformed": "43759"},
        {},
        {"button": "left"},
    ]


@pytest.mark.parametrize(
    "strange", [[None], [3], [{}], [{"function": None}], [{"function": {"name": 3}}], "x", {}]
)
def test_calls_of_any_form_are_no_crash(loopback: Loopback, strange: Any) -> None:
    episode = talk(loopback, lambda number, body: http(chat("x", tool_calls=strange)))
    assert episode.stop == StopReason.TRUNCATED


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, ""), ("", ""), ([{"type": "text", "text": "hi"}], "hi"), ("\ud800", "\ufffd")],
)
def test_whatever_was_said_is_a_text(loopback: Loopback, content: Any, text: str) -> None:
    episode = talk(loopback, lambda number, body: http(chat(content)))
    assert [turn.reply["content"] for turn in episode.turns] == [text] * 4
    assert episode.stop == StopReason.TRUNCATED


def test_a_reply_that_is_cut_off_is_still_a_reply(loopback: Loopback) -> None:
    answer = {"choices": chat("I would", "length")["choices"]}
    episode = talk(loopback, lambda number, body: http(answer))
    assert episode.stop == StopReason.TRUNCATED
    assert {(turn.finish, turn.completion_tokens) for turn in episode.turns} == {("length", 16384)}


@pytest.mark.parametrize("form", ["hermes", "qwen_coder", "mistral", "llama", "pythonic", "openai"])
def test_calls_may_stand_in_the_text(loopback: Loopback, form: str) -> None:
    def respond(number: int, body: Any) -> bytes:
        button = "right" if number else "left"
        return http(chat(named(form).render([Call("press", {"button": button})])))

    loopback.respond = respond
    (episode,) = play(ChatPolicy(OpenAIServer.connect(loopback.url), written_calls=form))
    assert episode.success
    assert len(episode.turns) == 2
    first, second = loopback.bodies
    assert "tools" not in first
    assert all(word in first["messages"][0]["content"] for word in ("press", "which one", "tool_name"))
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == named(form).render([Call("press", {"button": "left"})])
    assert "dark" in second["messages"][3]["content"]


def test_seeds_differ_by_turn_and_episode_and_repeat(loopback: Loopback) -> None:
    policy = ChatPolicy(OpenAIServer.connect(loopback.url), Sampling(temperature=0.5, top_p=0.9), seed=5)
    for _ in range(2):
        play(policy, 2, concurrency=1)
    seeds = [body["seed"] for body in loopback.bodies]
    assert len(set(seeds)) == 8
    assert seeds[:8] == seeds[8:]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert {(body["top_p"], "top_k" in body) for body in loopback.bodies} == {(0.9, False)}


def test_extra_fields_replace_and_remove(loopback: Loopback) -> None:
    talk(loopback, lambda number, body: http(chat()), extra={"max_tokens": None, "max_completion_tokens": 9})
    assert loopback.bodies[0]["max_completion_tokens"] == 9
    assert "max_tokens" not in loopback.bodies[0]


def test_requests_are_bounded_and_connections_kept(loopback: Loopback) -> None:
    loopback.delay_s = 0.01
    server = OpenAIServer.connect(loopback.url, concurrency=5)
    before = loopback.connections
    play(ChatPolicy(server), 12, concurrency=12)
    assert len(loopback.bodies) == 48
    assert loopback.most_in_flight == 5
    assert loopback.connections - before == 5


def test_ids_of_a_chat_append_or_fork(loopback: Loopback) -> None:
    prompts = [[1, 2], [1, 2, 8, 9, 3], [1, 7, 3], [1, 7, 3, 8, 9]]

    def respond(number: int, body: Any) -> bytes:
        assert body["return_token_ids"]
        answer = chat() | {"prompt_token_ids": prompts[number]}
        answer["choices"][0] |= {
            "token_ids": [8, 9],
            "logprobs": {"content": [{"logprob": -1}, {"logprob": -2.5}]},
        }
        return http(answer)

    loopback.respond = respond
    (episode,) = play(ChatPolicy(OpenAIServer.connect(loopback.url), token_ids=True))
    assert [(turn.prompt_ids, turn.fork) for turn in episode.turns] == [
        ((1, 2), False),
        ((3,), False),
        ((1, 7, 3), True),
        ((), False),
    ]
    rows = episode.training_sequences()
    assert [row.ids for row in rows] == [(1, 2, 8, 9, 3, 8, 9), (1, 7, 3, 8, 9, 8, 9)]
    assert rows[0].logprobs == (0, 0, -1, -2.5, 0, -1, -2.5)


def test_a_policy_is_used_in_one_event_loop_after_the_other(loopback: Loopback) -> None:
    server = OpenAIServer.connect(loopback.url)
    assert [play(ChatPolicy(server))[0].stop for _ in range(2)] == [StopReason.TRUNCATED] * 2
    assert not server._connections


def test_ludus_eval_plays_a_model_behind_a_url(
    loopback: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    from ludus.cli import main

    words = ["eval", "tests/Lamp-v0", "--model", loopback.url, "--episodes", "3", "--agent", "react"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"{loopback.url} · react" in shown
    assert "environment:truncated" in shown
    loopback.models = http({}, 401)
    assert main(words) == 1
    assert capsys.readouterr().err.startswith(f"error: {loopback.url}/v1 refuses access")


def test_proxies_of_the_environment_are_used(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", loopback.url)
    (episode,) = play(ChatPolicy(OpenAIServer.connect("http://model.invalid/v1")))
    assert episode.stop == StopReason.TRUNCATED
    assert loopback.heads[-1].startswith("POST http://model.invalid/v1/chat/completions ")


# Transient errors

NOT_YET = {
    "500": http({"error": {"message": "oops"}}, 500),
    "an error page": http(b"<html><title>Bad gateway</title></html>", 502, "text/html"),
    "html": http(b"<html>we are down</html>", 200, "text/html"),
    "no choice": http({"choices": []}),
    "a list": http([1, 2]),
    "no message": http({"choices": [{"message": None}]}),
    "half a JSON": http(b'{"choices": [{"mess'),
    "cut in the body": http(chat())[:-20].replace(b"\r\n", b"\r\nconnection: close\r\n", 1),
    "cut in the head": b"HTTP/1.1 200 OK\r\nconnection: close\r\n",
    "no HTTP": b"220 smtp ready\r\nconnection: close\r\n\r\n",
}


@pytest.mark.parametrize("trouble", NOT_YET)
def test_what_may_pass_is_tried_again_and_then_a_fault_of_the_episode(
    loopback: Loopback, trouble: str
) -> None:
    good, bad = http(chat()), NOT_YET[trouble]
    episode = talk(loopback, lambda number, body: bad if number in (1, 2) else good)
    assert episode.stop == StopReason.TRUNCATED
    assert loopback.bodies[1] == loopback.bodies[2] == loopback.bodies[3]
    loopback.bodies.clear()
    episode = talk(loopback, lambda number, body: bad if number else good, retries=2)
    assert episode.stop == StopReason.ENGINE_FAULT
    assert len(loopback.bodies) == 1 + 3
    assert "(3 attempts)" in episode.fault
    assert loopback.url in episode.fault
    assert len(episode.turns) == 1


def test_no_answer_is_waited_for_twice(loopback: Loopback) -> None:
    episode = talk(loopback, lambda number, body: None, timeout_s=0.1)
    assert episode.stop == StopReason.ENGINE_FAULT
    assert "no answer within 0.1 s (2 attempts)" in episode.fault


def test_a_server_that_dies_is_a_fault(loopback: Loopback) -> None:
    server = OpenAIServer("http://127.0.0.1:9/v1", "m", options=ServerOptions(retries=2))
    (episode,) = play(ChatPolicy(server))
    assert episode.stop == StopReason.ENGINE_FAULT
    assert "no connection: [Errno 111]" in episode.fault


def test_retry_after_is_honoured(loopback: Loopback) -> None:
    busy = http({}, 429, retry_after="0.4")
    talk(loopback, lambda number, body: http(chat()) if number else busy)
    assert loopback.times[1] - loopback.times[0] >= 0.4


def test_a_server_that_wants_to_be_left_alone_for_long_is_left_alone(loopback: Loopback) -> None:
    episode = talk(loopback, lambda number, body: http({"error": "quota"}, 429, retry_after="86400"))
    assert episode.stop == StopReason.ENGINE_FAULT
    assert len(loopback.bodies) == 1
    assert "quota" in episode.fault


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 99 Oct 2026 07:28:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_s(header, 1792567680.0) == seconds


@given(st.integers(0, 2000), st.integers(0, 2**63))
def test_backoff_grows_to_a_bound_with_a_seeded_jitter(attempt: int, seed: int) -> None:
    wait_s = backoff_s(attempt, seed)
    assert wait_s == backoff_s(attempt, seed)
    assert 0.5 <= wait_s / min(LONGEST_S, 0.5 * 2.0 ** min(attempt, 100)) <= 1


def test_jitter_differs_between_requests() -> None:
    assert len({backoff_s(3, seed) for seed in range(50)}) == 50


# Permanent errors


def test_no_access_names_the_variable_and_never_the_key(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="set its key in OPENAI_API_KEY"):
        talk(loopback, lambda number, body: http({"error": {"message": "who are you?"}}, 401))
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with pytest.raises(UserError, match="the key in MY_KEY is not valid") as refused:
        talk(loopback, lambda number, body: http({}, 403), key_variable="MY_KEY")
    assert "sk-secret" not in str(refused.value)
    assert "sk-secret" not in repr(OpenAIServer.connect(loopback.url, key_variable="MY_KEY"))
    assert "authorization: bearer sk-secret" in loopback.heads[-1].lower()
    assert all("sk-secret" not in json.dumps(body) for body in loopback.bodies)


def test_a_key_that_is_none_is_refused_unseen(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\nsecret")
    with pytest.raises(UserError, match="OPENAI_API_KEY") as refused:
        OpenAIServer.connect(loopback.url)
    assert "secret" not in str(refused.value)


def test_no_such_model_lists_those_that_there_are(loopback: Loopback) -> None:
    with pytest.raises(UserError, match=r"no model 'n': name one that it has \(m\)"):
        OpenAIServer.connect(loopback.url + "#n")
    loopback.models = http({"data": [{"id": "a"}, {"id": "b"}]})
    with pytest.raises(UserError, match=r"2 models: name one as .*#NAME \(a, b\)"):
        OpenAIServer.connect(loopback.url)
    missing = http({"error": {"message": "The model `a` does not exist."}}, 404)
    with pytest.raises(UserError, match=r"no model 'a': name another \(a, b\)"):
        talk(loopback, lambda number, body: missing, model="a")


def test_a_name_that_is_nearly_right_gets_a_hint(loopback: Loopback) -> None:
    loopback.models = http({"data": [{"id": "qwen3-8b"}, {"id": "gemma-3-4b"}]})
    with pytest.raises(UserError, match=r"no model 'qwen3-8B-fp8': did you mean qwen3-8b\?"):
        OpenAIServer.connect(loopback.url, "qwen3-8B-fp8")
    assert OpenAIServer.connect(loopback.url, "gemma-3-4b").model == "gemma-3-4b"


def test_a_list_that_moved_is_followed_to_the_same_host(loopback: Loopback) -> None:
    loopback.models = http(b"", 307, location="/v1/models")
    assert OpenAIServer.connect(loopback.url, "m").name == f"{loopback.url}/v1#m"
    with pytest.raises(UserError, match=r"redirects in a circle: name its model, as .*#NAME"):
        OpenAIServer.connect(loopback.url)


def test_a_server_without_a_list_needs_a_name(loopback: Loopback) -> None:
    loopback.models = http({"error": "not found"}, 404)
    assert OpenAIServer.connect(loopback.url + "/v1#m").name == f"{loopback.url}/v1#m"
    with pytest.raises(UserError, match="no list of its models"):
        OpenAIServer.connect(loopback.url)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models"])
def test_the_url_may_be_given_in_many_ways(loopback: Loopback, end: str) -> None:
    assert OpenAIServer.connect(loopback.url + end).url == f"{loopback.url}/v1"


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (http(b"<html><title>Hi</title></html>", 200, "text/html"), "is not a list of models"),
        (http(b"<html>none</html>", 404, "text/html"), "is not a list of models"),
        (http(b'{"data": [', 200), "is not a list of models"),
        (http({"data": 3}), "is not a list of models"),
        (http({}, 401), "refuses access"),
        (http({}, 503), "status 503"),
        (b"220 smtp ready\r\nconnection: close\r\n\r\n", "is the server running there"),
    ],
)
def test_what_is_no_such_server_is_said_at_once(loopback: Loopback, models: bytes, says: str) -> None:
    loopback.models = models
    with pytest.raises(UserError, match=says):
        OpenAIServer.connect(loopback.url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9", "is the server running there"),
        ("http://", "URL"),
        ("http://[::1/", "URL"),
        ("http://me:pw@127.0.0.1:9/v1", "set OPENAI_API_KEY"),
        ("http://127.0.0.1:9/v1?key=pw", "--query"),
    ],
)
def test_a_url_where_nobody_is(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        choose_policy(url)
    assert "pw" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_list_of_models_on_another_host_does_not_get_the_key(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-host")
    asked: list[str] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://elsewhere.example/v1/models"})

    original = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **given: original(**given | {"transport": httpx.MockTransport(elsewhere)})
    )
    with pytest.raises(UserError, match=r"another host, elsewhere\.example: name its model"):
        OpenAIServer.connect("https://here.example/v1", headers={"x-key": "also secret"})
    assert asked == ["here.example"]


def test_what_is_refused_from_the_beginning_ends_the_rollout(loopback: Loopback) -> None:
    refusal = http({"error": {"message": "tool choice needs --enable-auto-tool-choice"}}, 400)
    with pytest.raises(UserError, match=r"status 400.*--enable-auto-tool-choice"):
        talk(loopback, lambda number, body: refusal)
    with pytest.raises(UserError, match="use that URL"):
        talk(loopback, lambda number, body: http(b"", 308, location="https://there/v1"))
    with pytest.raises(UserError, match="is the URL right"):
        talk(loopback, lambda number, body: http(b"<html>hi</html>", 200, "text/html"))


def test_what_is_refused_later_is_one_episodes_fault(loopback: Loopback) -> None:
    refusal = http({"error": {"message": "no such thing"}}, 400)
    episode = talk(loopback, lambda number, body: refusal if number else http(chat()))
    assert episode.stop == StopReason.ENGINE_FAULT
    assert "no such thing" in episode.fault


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 1024 tokens. However, your prompt contains 2000 input tokens",
        "max_tokens=2000 cannot be greater than max_model_len=1024. Please request fewer output tokens.",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_context_that_is_too_long_ends_the_episode_at_the_token_limit(
    loopback: Loopback, message: str
) -> None:
    refusal = http({"error": {"message": message, "code": 400}}, 400)
    episode = talk(loopback, lambda number, body: refusal if number else http(chat()))
    assert episode.stop == StopReason.TOKEN_LIMIT
    assert len(episode.turns) == 1


def test_an_unknown_refusal_of_a_long_conversation_is_its_length(loopback: Loopback) -> None:
    full = chat() | {"usage": {"prompt_tokens": 40, "completion_tokens": 8}}
    refusal = http({"error": {"message": "cannot do that"}}, 400)
    episode = talk(loopback, lambda number, body: refusal if number else http(full))
    assert (episode.stop, len(episode.turns)) == (StopReason.TOKEN_LIMIT, 1)
    half = chat() | {"usage": {"prompt_tokens": 10, "completion_tokens": 8}}
    episode = talk(loopback, lambda number, body: http(half) if number % 2 == 0 else refusal)
    assert episode.stop == StopReason.ENGINE_FAULT


# Tokens in, tokens out


def completion(prompt: Any, ids: Any = (5, 6), finish: str = "stop", **changes: Any) -> dict[str, Any]:
    choice = {"token_ids": ids, "prompt_token_ids": prompt, "finish_reason": finish, "text": "not looked at"}
    return {"choices": [choice | {"logprobs": {"token_logprobs": [-0.5] * len(ids or ())}} | changes]}


def generate(
    loopback: Loopback,
    respond: Respond,
    sampling: Sampling | None = None,
    ids: Any = (1, 2),
    processed_logprobs: bool = False,
) -> Any:
    loopback.respond = respond
    engine = OpenAIEngine(OpenAIServer.connect(loopback.url, retries=1), processed_logprobs)
    return asyncio.run(engine.session().generate(ids, sampling or Sampling(max_tokens=9, stop_ids=(6,)), 77))


def test_a_completion_is_what_was_sampled(loopback: Loopback) -> None:
    done = generate(loopback, lambda number, body: http(completion(body["prompt"])))
    assert (done.ids, done.logprobs, done.finish) == ((5, 6), (-0.5, -0.5), "stop")
    body = loopback.bodies[0]
    assert (body["prompt"], body["seed"], body["max_tokens"]) == ([1, 2], 77, 9)
    assert (body["stop_token_ids"], body["ignore_eos"], body["repetition_penalty"]) == ([6], True, 1.0)
    assert (
        generate(loopback, lambda n, body: http(completion(body["prompt"], [5], "length"))).finish == "length"
    )


def test_the_room_in_the_context_is_kept(loopback: Loopback) -> None:
    def respond(number: int, body: Any) -> bytes:
        return http(completion(body["prompt"], [5] * body["max_tokens"], "length"))

    assert len(generate(loopback, respond, ids=[1] * 47).ids) == 3
    asked = len(loopback.bodies)
    assert generate(loopback, respond, ids=[1] * 50).ids == ()
    assert len(loopback.bodies) == asked


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_token_ids": [1, 3]},
        {"token_ids": []},
        {"finish_reason": "abort"},
        {"logprobs": None},
        {"logprobs": {"token_logprobs": [-1.0]}},
    ],
)
def test_an_answer_that_does_not_fit_is_no_completion(loopback: Loopback, changes: Any) -> None:
    with pytest.raises(EngineFault, match=r"2 attempts"):
        generate(loopback, lambda number, body: http(completion([1, 2], **changes)))


def test_a_server_without_ids_is_refused(loopback: Loopback) -> None:
    with pytest.raises(UserError, match="gives no token ids"):
        generate(loopback, lambda number, body: http(completion([1, 2], ids=None)))
    loopback.models = http({"data": [{"id": "m"}]})
    with pytest.raises(UserError, match="max_context"):
        OpenAIEngine(OpenAIServer.connect(loopback.url))


def test_log_probabilities_of_another_distribution_are_refused(loopback: Loopback) -> None:
    def respond(number: int, body: Any) -> bytes:
        return http(completion(body["prompt"]))

    for sampling in (Sampling(temperature=0.7), Sampling(top_p=0.9), Sampling(top_k=3), Sampling(min_p=0.1)):
        with pytest.raises(UserError, match="processed_logprobs"):
            generate(loopback, respond, sampling)
        assert generate(loopback, respond, sampling, processed_logprobs=True).ids == (5, 6)


# Invalid answers


@pytest.mark.parametrize(
    "usage",
    [
        5,
        "x",
        [1],
        {"prompt_tokens": "7"},
        {"prompt_tokens": 1.5, "completion_tokens": -5},
        {"prompt_tokens": [1]},
    ],
)
def test_a_usage_that_is_none_counts_nothing(loopback: Loopback, usage: Any) -> None:
    episode = talk(loopback, lambda number, body: http({**chat(), "usage": usage}))
    assert episode.stop == StopReason.TRUNCATED
    assert {(turn.prompt_tokens, turn.completion_tokens) for turn in episode.turns} == {(0, 0)}


def test_a_server_that_does_not_count_tokens_is_told_of_once(loopback: Loopback) -> None:
    notes: list[str] = []

    class Notes(ServerListener):
        def note(self, text: str) -> None:
            notes.append(text)

    talk(loopback, lambda number, body: http(chat()), listener=Notes())
    assert notes == []
    talk(loopback, lambda number, body: http({**chat(), "usage": None}), listener=Notes())
    assert len(loopback.bodies) > 2
    assert len(notes) == 1
    assert "figures for tokens and cost" in notes[0]


@pytest.mark.parametrize(
    ("usage", "sampled", "reasoning", "cached", "cost"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 1000}}, 3, 0, 7, 0),
        ({"completion_tokens_details": {"reasoning_tokens": 50}}, 53, 50, 0, 0),
        ({"cost": 0.5}, 3, 0, 0, 0.5),
        *(({"cost": cost}, 3, 0, 0, 0) for cost in (-1, math.nan, math.inf, "1", True)),
        ({"cost": math.nan, "estimated_cost": 0.25}, 3, 0, 0, 0.25),
    ],
)
def test_parts_do_not_exceed_their_whole_and_costs_are_amounts(
    usage: dict[str, Any], sampled: int, reasoning: int, cached: int, cost: float
) -> None:
    action = read_action({**chat(), "usage": {"prompt_tokens": 7, "completion_tokens": 3, **usage}}, 100)
    found = (action.completion_tokens, action.reasoning_tokens, action.cached_tokens, action.cost)
    assert found == (sampled, reasoning, cached, cost)


def test_calls_with_one_id_get_others(loopback: Loopback) -> None:
    twins = [{"id": "a", "function": {"name": "press", "arguments": {"button": "left"}}}] * 3
    episode = talk(loopback, lambda number, body: http(chat(tool_calls=[*twins, {**twins[0], "id": None}])))
    ids = [call["id"] for call in episode.turns[0].reply["tool_calls"]]
    assert ids == ["a", "call_1", "call_2", "call_3"]
    assert [message["tool_call_id"] for message in episode.turns[1].observation] == ids


@pytest.mark.parametrize("depth", [200, 950, 5000])
def test_arguments_that_are_nested_deeply_go_back_as_malformed(loopback: Loopback, depth: int) -> None:
    deep = '{"button": ' + "[" * depth + "]" * depth + "}"
    episode = talk(loopback, lambda number, body: http(chat(tool_calls=calls(("press", deep)))))
    assert episode.stop == StopReason.TRUNCATED
    (sent,) = loopback.bodies[1]["messages"][-2]["tool_calls"]
    assert json.loads(sent["function"]["arguments"]) == {"malformed": deep}


@pytest.mark.parametrize(
    ("ids", "prompt", "logprobs"),
    [
        (5, [1], {"content": []}),
        (["a"], [1], {"content": [{"logprob": -1}]}),
        ([8], 5, {"content": [{"logprob": -1}]}),
        ([8], "ab", {"content": [{"logprob": -1}]}),
        ([8], [1], {"content": 5}),
        ([8], [1], {"content": [{"logprob": None}]}),
        ([8], [1], {"content": [{"logprob": float("nan")}]}),
        ([8], [1], {"content": [{"logprob": 2.0}]}),
    ],
)
def test_ids_and_logprobs_that_are_none_are_a_fault(
    loopback: Loopback, ids: Any, prompt: Any, logprobs: Any
) -> None:
    answer = chat() | {"prompt_token_ids": prompt}
    answer["choices"][0] |= {"token_ids": ids, "logprobs": logprobs}
    loopback.respond = lambda number, body: http(answer)
    server = OpenAIServer.connect(loopback.url, retries=1)
    (episode,) = play(ChatPolicy(server, token_ids=True))
    assert episode.stop == StopReason.ENGINE_FAULT
    assert "these are not" in episode.fault
    completion = {"token_ids": ids, "prompt_token_ids": prompt, "finish_reason": "stop"}
    completion["logprobs"] = {"token_logprobs": [2.0] if logprobs["content"] else [None]}
    loopback.respond = lambda number, body: http({"choices": [completion]})
    with pytest.raises(EngineFault, match="these are not"):
        asyncio.run(OpenAIEngine(server).session().generate([1], Sampling(temperature=1.0), 0))


def test_an_answer_without_end_is_cut_off(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    from ludus.agents.engines import server

    monkeypatch.setattr(server, "MAX_ANSWER", 2**20)
    episode = talk(loopback, lambda number, body: http(b" " * 2**21), retries=1)
    assert episode.fault.endswith("an answer of more than 1 MiB (2 attempts)")


@pytest.mark.parametrize("charset", ["hex", "idna", "nonsense"])
def test_error_pages_in_any_encoding_are_read(loopback: Loopback, charset: str) -> None:
    page = http(b"\xff busy", 500, f"text/html; charset={charset}")
    assert "\ufffd busy" in talk(loopback, lambda number, body: page, retries=1).fault


@pytest.mark.parametrize("status", [401, 404, 500, 200])
def test_a_key_that_the_server_repeats_is_not_shown(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    answer = http({"error": {"message": "bad sk-0123456789"}}, status)
    try:
        told = talk(loopback, lambda number, body: answer, retries=1).fault
    except UserError as error:
        told = str(error)
    assert "bad $OPENAI_API_KEY" in told
    assert "sk-0123456789" not in told


def test_connections_are_kept_where_their_server_is_forgotten(
    loopback: Loopback, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    import gc

    gc.collect()  # leftovers of earlier tests, so that none are reported below
    caplog.clear()

    async def main() -> None:
        for _ in range(3):
            server = OpenAIServer(f"{loopback.url}/v1", "m")
            await server.post("chat/completions", {}, lambda answer: answer)
            del server
            gc.collect()

    asyncio.run(main())
    assert not caplog.records
