"""The engine and the chat policy against a real vLLM server of the small model, which `.ci/vllm.sh start`
brings up."""

import asyncio
import os
from typing import Any

import pytest

from ludus.agents.chat_policy import ChatPolicy
from ludus.agents.choose import choose_policy
from ludus.agents.engines.base import Completion, Engine, Sampling
from ludus.agents.engines.openai import OpenAIEngine
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.episode import StopReason
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.envs.chat import reply_tool_calls, user

URL, MODEL = os.environ.get("LUDUS_TEST_VLLM"), os.environ.get("LUDUS_TEST_VLLM_MODEL")
ARITHMETIC, TOOLS = EnvironmentSpec("ludus/Arithmetic-v0"), EnvironmentSpec("ludus/MathTool-v0")
STARTS = [EpisodeStart(seed) for seed in range(32)]
GREEDY = Sampling(max_tokens=24, temperature=0)


@pytest.fixture(scope="module")
def server() -> OpenAIServer:
    if not URL or not MODEL:
        reason = "needs a vLLM server: run `.ci/vllm.sh start` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return OpenAIServer.connect(URL, concurrency=32)


@pytest.fixture(scope="module")
def loaded(server: OpenAIServer) -> Any:
    from ludus.agents.models import load_model

    return load_model(str(MODEL))


@pytest.fixture(scope="module")
def prompts(loaded: Any) -> list[tuple[int, ...]]:
    env = ARITHMETIC.make()
    return [loaded.format.first_prompt(env.reset(seed=seed)[0]).ids for seed in range(16)]


def generate(engine: Engine, prompts: list[tuple[int, ...]], sampling: Sampling) -> list[Completion]:
    async def main() -> list[Completion]:
        sessions = [engine.session() for _ in prompts]
        try:
            return await asyncio.gather(
                *(
                    session.generate(ids, sampling, seed)
                    for seed, (session, ids) in enumerate(zip(sessions, prompts, strict=True))
                )
            )
        finally:
            for session in sessions:
                session.close()

    return asyncio.run(main())


def test_greedy_tokens_and_their_log_probabilities_are_the_embedded_engines(
    server: OpenAIServer, loaded: Any, prompts: Any
) -> None:
    from ludus.agents.engines.embedded import EmbeddedEngine

    theirs = generate(OpenAIEngine(server), prompts, GREEDY)
    ours = generate(EmbeddedEngine(loaded.model), prompts, GREEDY)
    assert [completion.ids for completion in theirs] == [completion.ids for completion in ours]
    for their, our in zip(theirs, ours, strict=True):
        assert their.logprobs == pytest.approx(our.logprobs, abs=1e-3)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=24),
        Sampling(max_tokens=24, temperature=0.6),
        Sampling(max_tokens=24, temperature=1.5, top_k=20),
        Sampling(max_tokens=24, temperature=0.8, top_p=0.7),
        Sampling(max_tokens=24, min_p=0.2),
    ],
    ids=str,
)
def test_seeds_repeat_and_log_probabilities_are_of_what_was_sampled_from(
    server: OpenAIServer, loaded: Any, prompts: Any, sampling: Sampling
) -> None:
    import torch

    from ludus.agents.engines.sampling import distribution

    engine = OpenAIEngine(server, processed_logprobs=True)
    completions = generate(engine, prompts, sampling)
    drawn = [completion.ids for completion in completions]
    assert [completion.ids for completion in generate(engine, prompts, sampling)] == drawn
    assert len({*drawn}) > 8
    for prompt, completion in zip(prompts, completions, strict=True):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*prompt, *completion.ids]])).logits[0, len(prompt) - 1 : -1]
        expected = distribution(logits, sampling).gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
        assert completion.logprobs == pytest.approx(expected.tolist(), abs=1e-3)


def test_a_stop_id_ends_a_completion_and_is_in_it(server: OpenAIServer, prompts: Any) -> None:
    engine = OpenAIEngine(server)
    whole = generate(engine, prompts[:1], GREEDY)[0].ids
    stop = whole[5]
    (cut,) = generate(engine, prompts[:1], Sampling(max_tokens=24, temperature=0, stop_ids=(stop,)))
    assert cut.ids == whole[: whole.index(stop) + 1]
    assert cut.finish == "stop"


def test_a_full_context_has_no_answer(server: OpenAIServer) -> None:
    engine = OpenAIEngine(server)
    longest = engine.max_context
    (full,) = generate(engine, [(40,) * longest], GREEDY)
    assert (full.ids, full.finish) == ((), "length")
    (nearly,) = generate(engine, [(40,) * (longest - 3)], GREEDY)
    assert (len(nearly.ids), nearly.finish) == (3, "length")


def test_32_episodes_at_once_are_played_from_tokens_to_tokens(server: OpenAIServer, loaded: Any) -> None:
    policy = EnginePolicy(OpenAIEngine(server), loaded.format, Sampling(max_tokens=24))
    episodes = rollout(policy, TOOLS, STARTS, concurrency=32)
    assert not [episode.fault for episode in episodes if episode.is_fault]
    for episode in episodes:
        context = 0
        for turn in episode.turns:
            assert len(turn.logprobs) == len(turn.completion_ids) == turn.completion_tokens > 0
            context += len(turn.prompt_ids)
            assert turn.prompt_tokens == context
            context += len(turn.completion_ids)


def test_chat_mode_gives_the_same_tokens_as_token_mode(server: OpenAIServer, loaded: Any) -> None:
    tokens = EnginePolicy(OpenAIEngine(server), loaded.format, GREEDY)
    chat = ChatPolicy(server, GREEDY, token_ids=True)
    for by_tokens, by_chat in zip(
        rollout(tokens, ARITHMETIC, STARTS), rollout(chat, ARITHMETIC, STARTS), strict=True
    ):
        ours, theirs = by_tokens.turns[0], by_chat.turns[0]
        assert theirs.prompt_ids == ours.prompt_ids
        assert theirs.completion_ids == ours.completion_ids
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-3)
        assert theirs.prompt_tokens == len(theirs.prompt_ids)
        assert theirs.completion_tokens == len(theirs.completion_ids)


def test_chat_mode_calls_tools_and_wrong_calls_are_no_faults(server: OpenAIServer) -> None:
    """The model has random weights: the server is told to make it call, with whatever arguments."""
    from dataclasses import replace

    forced = replace(server, options=replace(server.options, extra={"tool_choice": "required"}))
    episodes = rollout(ChatPolicy(forced, Sampling(max_tokens=120)), TOOLS, STARTS[:12])
    assert not [episode.fault for episode in episodes if episode.is_fault]
    calls = answers = 0
    for episode in episodes:
        follow = [*[turn.observation for turn in episode.turns[1:]], episode.final_observation]
        for turn, answer in zip(episode.turns, follow, strict=True):
            made = reply_tool_calls(turn.reply)
            calls += len(made)
            answered = [message.get("tool_call_id") for message in answer if message["role"] == "tool"]
            if episode.stop != StopReason.TOKEN_LIMIT:
                assert answered == [call["id"] for call in made]
            answers += len(answered)
    assert calls >= 12
    assert answers > 0


def test_a_conversation_that_is_too_long_has_no_answer(server: OpenAIServer) -> None:
    player = ChatPolicy(server, GREEDY).player(ARITHMETIC.make(), 0)
    action = asyncio.run(player.act([user("x " * 3000)], {}))
    assert action.is_empty


def test_the_url_is_all_that_it_takes(server: OpenAIServer) -> None:
    policy = choose_policy(str(URL), temperature=1.0, max_tokens=8, agent="best-of-2")
    (episode,) = rollout(policy, ARITHMETIC, STARTS[:1])
    assert episode.turns[0].completion_tokens == 16
