"""A small model behind the chat interface: the tokens of rollouts, whatever else is asked meanwhile."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ludus.agents import small_model
from ludus.agents.chat_policy import ChatPolicy
from ludus.agents.choose import load_policy
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, Limits, rollout
from ludus.agents.serving.app import chat_app
from ludus.agents.serving.model import ServedModel
from ludus.agents.small_model import build_small_model

from .served import TINY, on_a_port

GREEDY = Sampling(max_tokens=12, temperature=0.0)
SPECS = [EnvironmentSpec("ludus/MathTool-v0"), EnvironmentSpec("ludus/HiddenWord-v0")]
SLOTS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        # Hundreds of random episodes of an environment that runs programs take ten seconds.
        patch.setattr(small_model, "EPISODES", dict.fromkeys(small_model.EPISODES, 8))
        return build_small_model(SPECS, TINY, cache_directory=tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def policy(folder: Path) -> EnginePolicy:
    return load_policy(str(folder), GREEDY, concurrency=SLOTS, patience_s=0.0)


@pytest.fixture(scope="module")
def model(policy: EnginePolicy) -> ServedModel:
    return ServedModel("tiny", policy, SLOTS)


@pytest.fixture(scope="module")
def url(model: ServedModel) -> Iterator[str]:
    with on_a_port(chat_app(model)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as made:
        yield made


def ask(text: str = "What is 2 + 2?", **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 12, **changes}


def post(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def streamed(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    with client.stream("POST", "chat/completions", json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_a_chat_gets_the_tokens_of_a_rollout(spec: EnvironmentSpec, folder: Path, url: str) -> None:
    """In every turn: histories go on from the ids that were sampled, not from their text."""
    starts, limits = [EpisodeStart(seed) for seed in range(3)], Limits(turns=3)
    direct = rollout(load_policy(str(folder), GREEDY), spec, starts, limits)
    served = rollout(ChatPolicy(OpenAIServer.connect(url), GREEDY, token_ids=True), spec, starts, limits)
    for one, other in zip(direct, served, strict=True):
        assert len(one.turns) == len(other.turns) > 1
        for mine, theirs in zip(one.turns, other.turns, strict=True):
            assert (mine.prompt_ids, mine.completion_ids) == (theirs.prompt_ids, theirs.completion_ids)
            assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
            assert (mine.reward, mine.finish, mine.fork) == (theirs.reward, theirs.finish, theirs.fork)


def test_32_at_once_are_answered_as_one_by_one(url: str, client: httpx.Client) -> None:
    bodies = [ask(f"What is {number} + 2?", stream=number % 2 == 1) for number in range(32)]
    alone = [post(client, {**body, "stream": False})["choices"][0]["message"]["content"] for body in bodies]

    async def at_once() -> list[str]:
        async with httpx.AsyncClient(base_url=url, timeout=120) as many:
            answers = await asyncio.gather(*(many.post("chat/completions", json=body) for body in bodies))
        return [answer.text for answer in answers]

    together = asyncio.run(at_once())
    for body, expected, text in zip(bodies, alone, together, strict=True):
        if not body["stream"]:
            assert json.loads(text)["choices"][0]["message"]["content"] == expected
            continue
        chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line and line[6:] != "[DONE]"]
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == expected


def test_a_stream_and_a_whole_answer_say_the_same(client: httpx.Client) -> None:
    told = {"logprobs": True, "top_logprobs": 2, "return_token_ids": True}
    body = ask(temperature=1.5, seed=7, n=3, max_tokens=20, **told)
    whole = post(client, body)
    chunks = streamed(client, {**body, "stream_options": {"include_usage": True}})
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    contents = {choice["message"]["content"] for choice in whole["choices"]}
    assert len(contents) == 3
    for choice in whole["choices"]:
        mine = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(c["delta"].get("content", "") for c in mine) == choice["message"]["content"]
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == [choice["finish_reason"]]
        tokens = [token for c in mine if c["logprobs"] for token in c["logprobs"]["content"]]
        expected = choice["logprobs"]["content"]
        assert [token["token"] for token in tokens] == [token["token"] for token in expected]
        for token, other in zip(tokens, expected, strict=True):
            assert token["logprob"] == pytest.approx(other["logprob"], abs=1e-4)
            assert len(token["top_logprobs"]) == 2
        assert mine[-1]["token_ids"] == choice["token_ids"]
    assert whole["usage"]["completion_tokens"] == sum(len(c["token_ids"]) for c in whole["choices"])


def test_log_probabilities_are_of_the_tokens_and_the_likeliest_come_first(client: httpx.Client) -> None:
    (choice,) = post(client, ask(logprobs=True, top_logprobs=5, return_token_ids=True))["choices"]
    tokens = choice["logprobs"]["content"]
    assert len(tokens) == len(choice["token_ids"])
    spelled = b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace")
    assert spelled.startswith(choice["message"]["content"])
    for token in tokens:
        top = token["top_logprobs"]
        assert [top[0][name] for name in ("token", "logprob")] == [token["token"], token["logprob"]]  # greedy
        assert [entry["logprob"] for entry in top] == sorted((e["logprob"] for e in top), reverse=True)
    (cut,) = post(client, ask(temperature=1, top_k=2, seed=1, logprobs=True, top_logprobs=5))["choices"]
    assert all(len(token["top_logprobs"]) == 2 for token in cut["logprobs"]["content"])


def test_a_stop_ends_a_reply_and_is_no_part_of_it(client: httpx.Client) -> None:
    text = post(client, ask())["choices"][0]["message"]["content"]
    stop = text[7:9]
    body = ask(stop=["never said", stop])
    answer = post(client, body)
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < 12
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed(client, body))
    assert said == choice["message"]["content"]


def test_seeds_repeat_and_none_differ(client: httpx.Client) -> None:
    def said(**changes: Any) -> str:
        content: str = post(client, ask(temperature=1, **changes))["choices"][0]["message"]["content"]
        return content

    assert said(seed=3) == said(seed=3) != said(seed=4)
    assert said() != said()


def test_who_goes_away_frees_its_place(model: ServedModel, url: str, client: httpx.Client) -> None:
    engine: Any = model.policy.engine
    post(client, ask())
    kept = len(engine._sessions)

    async def give_up(stream: bool) -> None:
        async with httpx.AsyncClient(base_url=url) as leaving:
            long = ask("Count.", max_tokens=4000, stream=stream)
            asking = asyncio.ensure_future(leaving.post("chat/completions", json=long))
            while len(engine._sessions) == kept:  # until it is being answered
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    for stream in (False, True):
        asyncio.run(give_up(stream))
        while len(engine._sessions) > kept:
            time.sleep(0.01)
        while engine._waiting():
            time.sleep(0.01)
    assert post(client, ask())["choices"][0]["finish_reason"] in ("stop", "length")


def test_a_conversation_keeps_its_session_and_places_are_not_lost(
    model: ServedModel, client: httpx.Client
) -> None:
    messages, seen = [{"role": "user", "content": "One?"}], list[int]()
    more = {"role": "user", "content": [{"type": "text", "text": "And?"}]}
    for _ in range(3):
        body = ask(messages=messages, max_tokens=5, return_token_ids=True)
        answer = post(client, body)
        reply = answer["choices"][0]
        assert answer["prompt_token_ids"][: len(seen)] == seen
        seen = answer["prompt_token_ids"] + reply["token_ids"]
        messages = [*messages, reply["message"], more]
    for number in range(2 * SLOTS):
        post(client, ask(f"Number {number}", max_tokens=2))
    engine: Any = model.policy.engine
    assert len(engine._sessions) <= SLOTS


def test_the_limit_of_a_reply_is_the_runs_where_a_request_does_not_say(folder: Path) -> None:
    policy = load_policy(str(folder), GREEDY, concurrency=SLOTS, patience_s=0.0)
    short = ServedModel("tiny", policy, SLOTS, max_tokens=3)
    with on_a_port(chat_app(short)) as address, httpx.Client(base_url=address, timeout=60) as client:
        body = {key: value for key, value in ask().items() if key != "max_tokens"}
        assert post(client, body)["usage"]["completion_tokens"] == 3
        assert post(client, {**body, "max_completion_tokens": 5})["usage"]["completion_tokens"] == 5
