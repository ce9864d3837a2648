"""Models that keep other things of a row than keys and values, in the embedded engine: nothing of another
row, of padding, or of a context that was left shows in what is sampled."""

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ludus.agents.engines.base import Completion, EngineError, Sampling
from ludus.agents.engines.cores import core_of
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.own_cache import OwnCacheBatch
from ludus.agents.engines.sampling import distribution

from .test_embedded_engine import GREEDY, play, together

ATOL = 5e-4
"""Nats. Over whole rows, linear attention itself rounds by 4e-5 in float32, on weights far from zero."""
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = {
    "mamba2": "a recurrent state, and nothing else; no positions",
    "lfm2": "convolutions, and attention in other layers",
    "qwen3_5_text": "linear attention, and attention in other layers",
    "falcon_h1": "a recurrent state beside the attention of each layer",
    "lfm3": "convolutions, and attention with a window",
    "diffllama": "two attentions in each layer",
    "bloom": "positions that cannot be given to it",
}


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a tiny model of any architecture, of 96 words."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("families").build


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, build: Any) -> Any:
    return build(request.param)


@pytest.fixture
def recurrent(build: Any) -> Any:
    return build("qwen3_5_text")


def engine_of(model: Any, **options: Any) -> EmbeddedEngine:
    return EmbeddedEngine(model, max_context=128, **options)


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(3, 96, (length,), generator=generator).tolist() for length in lengths]


class Passes:
    """Watches a model: the ids of every forward pass, but for those by which an engine tries a new model."""

    def __init__(self, model: Any) -> None:
        core_of(model)
        self.ids: list[list[list[int]]] = []
        model.register_forward_pre_hook(
            lambda _, args, kwargs: self.ids.append(kwargs["input_ids"].tolist()), with_kwargs=True
        )

    @property
    def tokens(self) -> int:
        return sum(len(row) for rows in self.ids for row in rows)


def test_logprobs_are_those_of_a_plain_forward_over_ragged_episodes_of_several_turns(model: Any) -> None:
    assert core_of(model).batch is OwnCacheBatch
    engine, sampling = engine_of(model, slots=4), Sampling(max_tokens=6, temperature=0.7)
    starts = prompts(1, 31, 12, 12, 25, 2)
    played = together(*(play(engine, start, sampling, seed=50) for start in starts))
    for start, (_, completions) in zip(starts, played, strict=True):
        context = list(start)
        for turn, completion in enumerate(completions):
            ids = [*context, *completion.ids]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, len(context) - 1 : -1]
            expected = distribution(logits, sampling)[range(len(completion.ids)), list(completion.ids)]
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=ATOL, rtol=0)
            context = [*ids, *range(10, 13 + turn)]


@pytest.mark.parametrize("kind", ["mamba2", "qwen3_5_text", "bloom"])
def test_a_request_draws_the_same_tokens_alone_and_in_any_company(build: Any, kind: str) -> None:
    engine, sampling = engine_of(build(kind)), Sampling(max_tokens=6, temperature=1.0)
    starts = prompts(4, 40, 17)
    alone = [together(play(engine, start, sampling, seed=i))[0][0] for i, start in enumerate(starts)]
    company = together(*(play(engine, start, sampling, seed=i) for i, start in enumerate(starts)))
    assert [context for context, _ in company] == alone


def test_later_turns_compute_only_what_was_added_and_single_tokens_go_together(recurrent: Any) -> None:
    passes = Passes(recurrent)
    starts = prompts(30, 9)
    (context, _), *_ = together(play(engine_of(recurrent), starts[0]))
    assert passes.tokens == len(context) - 5 - 1  # neither the last answer nor the last sampled token
    engine = engine_of(recurrent)
    del passes.ids[:]
    together(*(play(engine, start, turns=1) for start in starts))
    assert [[len(row) for row in rows] for rows in passes.ids] == [[30], [9], *[[1, 1]] * 5]


def test_equal_prompts_are_computed_once_and_go_on_by_themselves(recurrent: Any) -> None:
    passes, engine = Passes(recurrent), engine_of(recurrent)
    start = prompts(30)[0]
    sampling = Sampling(max_tokens=5, temperature=1.5)
    played = together(*(play(engine, start, sampling, seed=10 * i, turns=2) for i in range(3)))
    assert [len(rows) for rows in passes.ids[:2]] == [1, 3]
    assert len({tuple(context) for context, _ in played}) == 3
    alone = [together(play(engine, start, sampling, seed=10 * i, turns=2))[0][0] for i in range(3)]
    assert [context for context, _ in played] == alone


@pytest.mark.parametrize("kind", ["qwen3_5_text", "lfm3", "diffllama"])
def test_a_context_that_was_rewritten_sees_nothing_of_what_it_was(build: Any, kind: str) -> None:
    model = build(kind)
    engine = engine_of(model)
    first, rewritten = prompts(40, 30)

    async def fork() -> list[Completion]:
        with engine.session() as session:
            await session.generate(first, GREEDY, 0)
            shorter = await session.generate([*first[:10], *rewritten], GREEDY, 0)
            same = await session.generate(first, GREEDY, 0)
            prefix = await session.generate(first[:20], GREEDY, 0)
        return [shorter, same, prefix]

    forked = together(fork())[0]
    for context, completion in zip([[*first[:10], *rewritten], first, first[:20]], forked, strict=True):
        (_, fresh), *_ = together(play(engine, context, turns=1))
        assert completion.ids == fresh[0].ids
        assert completion.logprobs == pytest.approx(fresh[0].logprobs, abs=ATOL)


def test_a_context_is_shortened_where_every_token_has_a_place_of_its_own(build: Any) -> None:
    model, (start,) = build("diffllama"), prompts(40)
    passes, engine = Passes(model), engine_of(model)

    async def shorten() -> None:
        with engine.session() as session:
            await session.generate(start, Sampling(max_tokens=1), 0)
            await session.generate([*start[:30], 5, 6], Sampling(max_tokens=1), 0)

    together(shorten())
    assert [len(rows[0]) for rows in passes.ids] == [40, 2]


@pytest.mark.parametrize("slots", [1, 2])
def test_more_sessions_than_slots(recurrent: Any, slots: int) -> None:
    starts = prompts(5, 9, 30, 14)
    expected = [together(play(engine_of(recurrent), start))[0][0] for start in starts]
    engine = engine_of(recurrent, slots=slots)
    assert [context for context, _ in together(*(play(engine, start) for start in starts))] == expected


def test_sessions_that_stay_open_lose_their_slot_and_their_state_with_it(recurrent: Any) -> None:
    engine = engine_of(recurrent, slots=2, patience_s=0.02)
    starts = prompts(5, 9, 30, 14)

    async def main() -> list[list[Completion]]:
        sessions = [engine.session() for _ in starts]
        rounds = []
        for _ in range(2):
            calls = (s.generate(start, GREEDY, 0) for s, start in zip(sessions, starts, strict=True))
            rounds.append(await asyncio.gather(*calls))
        return rounds

    first, second = asyncio.run(main())
    assert [completion.ids for completion in first] == [completion.ids for completion in second]
    assert len(engine._batch._caches._kept) <= 2


def test_changed_weights_and_sleep_leave_no_state(recurrent: Any) -> None:
    engine, (start,) = engine_of(recurrent), prompts(25)

    async def main() -> tuple[Completion, Completion, Completion]:
        with engine.session() as session:
            before = await session.generate(start, GREEDY, 0)
            with torch.no_grad():
                recurrent.model.layers[0].linear_attn.out_proj.weight.neg_()
            engine.weights_changed()
            after = await session.generate(start, GREEDY, 0)
            assert engine._batch._caches._kept
            engine.sleep()
            assert not engine._batch._caches._kept
            engine.wake()
            return before, after, await session.generate(start, GREEDY, 0)

    before, after, woken = together(main())[0]
    (_, fresh), *_ = together(play(engine_of(recurrent), start, turns=1))
    assert before.logprobs != after.logprobs
    assert after.logprobs == pytest.approx(fresh[0].logprobs, abs=ATOL)
    assert woken.logprobs == pytest.approx(after.logprobs, abs=ATOL)
    assert not engine._batch._caches._kept


def test_what_breaks_in_a_forward_pass_leaves_the_engine_whole(recurrent: Any) -> None:
    engine, (start,) = engine_of(recurrent), prompts(12)

    async def main() -> Completion:
        with engine.session() as one, engine.session() as other:
            calls = one.generate(start, GREEDY, 0), other.generate([5, 100_000], GREEDY, 0)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, IndexError) for outcome in outcomes)
            other.close()
            return await one.generate(start, GREEDY, 0)

    (_, expected), *_ = together(play(engine_of(recurrent), start, turns=1))
    assert asyncio.run(main()).ids == expected[0].ids


@pytest.mark.parametrize("kind", ["rwkv", "recurrent_gemma"])
def test_a_state_in_a_form_of_its_own_is_refused_in_one_line(build: Any, kind: str) -> None:
    model = build(kind)
    with pytest.raises(EngineError, match=type(model).__name__) as refusal:
        EmbeddedEngine(model)
    assert "\n" not in str(refusal.value)
