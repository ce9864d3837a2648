import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import torch

from ludus.agents.engines import steps
from ludus.agents.engines.base import Completion, EngineError, Sampling, Tokens
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.sampling import distribution
from ludus.agents.engines.schedule import EngineSession

GREEDY = Sampling(max_tokens=6, temperature=0)
MODELS = ["qwen3", "window", "gpt2", "gemma2", "gpt_oss"]


def together(*jobs: Coroutine[Any, Any, Any]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*jobs)

    return asyncio.run(main())


async def play(
    engine: EmbeddedEngine,
    prompt: Sequence[int],
    sampling: Sampling = GREEDY,
    seed: int = 0,
    turns: int = 3,
    delays: random.Random | None = None,
) -> tuple[list[int], list[Completion]]:
    """One episode whose environment answers each completion with as many ids as the turn's number, and
    three."""
    context, completions = list(prompt), []
    with engine.session() as session:
        for turn in range(turns):
            completion = await session.generate(context, sampling, seed + turn)
            completions.append(completion)
            context += [*completion.ids, *range(10, 13 + turn)]
            if delays:
                await asyncio.sleep(delays.random() * 0.02)
    return context, completions


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


class Passes:
    """Watches a model: the ids of every forward pass, but for those by which an engine checks a new model."""

    def __init__(self, model: Any) -> None:
        steps.reach(model)
        self.ids: list[list[int]] = []
        model.register_forward_pre_hook(
            lambda _, args, kwargs: self.ids.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
        )

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))


@pytest.mark.parametrize("name", MODELS)
def test_greedy_equals_generate_over_ragged_episodes_of_several_turns(
    name: str, make_model: Callable[[str], Any]
) -> None:
    model = make_model(name)
    engine = EmbeddedEngine(model, slots=8)
    starts = prompts(1, 40, 7, 9, 22)
    played = together(*(play(engine, start) for start in starts))
    for start, (_, completions) in zip(starts, played, strict=True):
        context = list(start)
        for turn, completion in enumerate(completions):
            ids = torch.tensor([context])
            generated = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0
            )
            assert list(completion.ids) == generated[0, len(context) :].tolist()
            context = [*generated[0].tolist(), *range(10, 13 + turn)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=6, temperature=0.7), Sampling(max_tokens=6, temperature=1.4, top_p=0.8)]
)
def test_logprobs_are_those_of_a_plain_forward_under_the_sampled_distribution(
    name: str, sampling: Sampling, make_model: Callable[[str], Any]
) -> None:
    model = make_model(name)
    engine = EmbeddedEngine(model)
    starts = prompts(5, 31, 12)
    for start, (_, completions) in zip(
        starts, together(*(play(engine, s, sampling, seed=50) for s in starts)), strict=True
    ):
        context = list(start)
        for turn, completion in enumerate(completions):
            ids = [*context, *completion.ids]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, len(context) - 1 : -1]
            expected = distribution(logits, sampling)[range(len(completion.ids)), list(completion.ids)]
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=2e-5, rtol=1e-5)
            assert (completion.kept is None) == (not sampling.is_truncated)
            for place, kept in enumerate(completion.kept or ()):
                among = torch.log_softmax(logits[place, kept.tolist()] / sampling.temperature, -1)
                drawn = among[kept.tolist().index(completion.ids[place])]
                assert drawn.item() == pytest.approx(completion.logprobs[place], abs=2e-5)
            context = [*ids, *range(10, 13 + turn)]


def test_a_request_draws_the_same_tokens_alone_and_in_any_company(model: Any) -> None:
    sampling = Sampling(max_tokens=8, temperature=1.0)
    engine = EmbeddedEngine(model, slots=16)
    starts = prompts(4, 60, 17, 33, 8)
    alone = [together(play(engine, start, sampling, seed=i * 10))[0] for i, start in enumerate(starts)]
    company = together(*(play(engine, start, sampling, seed=i * 10) for i, start in enumerate(starts)))
    reverse = together(
        *(play(engine, starts[i], sampling, seed=i * 10) for i in reversed(range(len(starts))))
    )[::-1]
    for single, joined, reversed_ in zip(alone, company, reverse, strict=True):
        assert single[0] == joined[0] == reversed_[0]
        for a, b in zip(single[1], joined[1], strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)


def test_another_seed_draws_other_tokens(model: Any) -> None:
    engine = EmbeddedEngine(model)
    sampling = Sampling(max_tokens=12, temperature=1.5)
    (one, _), (other, _) = together(*(play(engine, [1, 2, 3], sampling, seed=s) for s in (1, 100)))
    assert one != other


def test_later_turns_compute_only_what_was_added(model: Any) -> None:
    passes = Passes(model)
    (context, completions), *_ = together(play(EmbeddedEngine(model), prompts(50)[0]))
    computed = len(context) - 5  # the model never sees the environment's last answer
    # The last id of a completion is computed only when something follows it.
    assert passes.tokens == computed - 1
    assert len(completions) == 3


def test_a_start_that_several_sessions_share_is_computed_once(model: Any) -> None:
    passes = Passes(model)
    engine = EmbeddedEngine(model)
    start, other = prompts(50, 20)
    sampling = Sampling(max_tokens=5, temperature=1.0)
    played = together(
        *(play(engine, start, sampling, seed=i, turns=1) for i in range(4)),
        play(engine, other, sampling, turns=1),
    )
    assert sorted(passes.ids[0]) == sorted(start + other)
    assert passes.tokens == 70 + 5 * 4
    assert len({context[50] for context, _ in played[:4]} | {context[51] for context, _ in played[:4]}) > 1
    again = [together(play(engine, start, sampling, seed=i, turns=1))[0][0] for i in range(4)]
    assert [context for context, _ in played[:4]] == again


def test_what_several_prompts_have_in_common_is_computed_once(model: Any) -> None:
    passes = Passes(model)
    common, one, other = prompts(40, 9, 13)
    starts = [common + one, common + other, common[:35] + other, common[:20] + one]
    engine = EmbeddedEngine(model)
    played = together(*(play(engine, start, turns=1) for start in starts))
    assert sorted(passes.ids[0]) == sorted(starts[0] + starts[3])
    assert passes.tokens == len(starts[0]) + len(other) * 2 + len(starts[3]) + 5 * 4
    for start, (context, completions) in zip(starts, played, strict=True):
        ((alone, fresh),) = together(play(EmbeddedEngine(model), start, turns=1))
        assert context == alone
        assert completions[0].logprobs == pytest.approx(fresh[0].logprobs, abs=2e-5)


def test_a_context_that_was_rewritten_is_computed_from_where_it_differs(model: Any) -> None:
    engine = EmbeddedEngine(model)
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
        assert completion.logprobs == pytest.approx(fresh[0].logprobs, abs=2e-5)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_more_sessions_than_slots(model: Any, slots: int) -> None:
    starts = prompts(5, 9, 30, 14, 21, 3)
    expected = together(*(play(EmbeddedEngine(model), start) for start in starts))
    engine = EmbeddedEngine(model, slots=slots)
    actual = together(*(play(engine, start) for start in starts))
    assert [context for context, _ in actual] == [context for context, _ in expected]


def test_sessions_that_stay_open_lose_their_slot_to_those_that_wait(model: Any) -> None:
    engine = EmbeddedEngine(model, slots=2, patience_s=0.02)
    starts = prompts(5, 9, 30, 14)

    async def main() -> list[list[Completion]]:
        sessions = [engine.session() for _ in starts]
        rounds = []
        for _ in range(2):
            rounds.append(
                await asyncio.gather(
                    *(s.generate(p, GREEDY, 0) for s, p in zip(sessions, starts, strict=True))
                )
            )
        return rounds

    first, second = asyncio.run(main())
    assert [c.ids for c in first] == [c.ids for c in second]


def test_a_forward_pass_is_bounded_and_the_rest_waits(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = prompts(30, 40, 25, 40)
    expected = together(*(play(EmbeddedEngine(model), start) for start in [*starts, starts[3]]))
    monkeypatch.setattr(steps, "_STEP_TOKENS", 48)
    passes = Passes(model)
    engine = EmbeddedEngine(model)
    actual = together(*(play(engine, start) for start in [*starts, starts[3]]))
    assert [context for context, _ in actual] == [context for context, _ in expected]
    assert max(map(len, passes.ids)) <= 48


def test_the_stop_id_ends_a_completion_and_is_part_of_it_once(model: Any) -> None:
    engine = EmbeddedEngine(model)
    start = prompts(9)[0]
    (_, free), *_ = together(play(engine, start, Sampling(max_tokens=12, temperature=1.0), seed=3, turns=1))
    stop = free[0].ids[4]
    at = free[0].ids.index(stop)
    sampling = Sampling(max_tokens=12, temperature=1.0, stop_ids=(299, stop))
    (_, stopped), *_ = together(play(engine, start, sampling, seed=3, turns=1))
    assert stopped[0].ids == free[0].ids[: at + 1]
    assert stopped[0].logprobs == pytest.approx(free[0].logprobs[: at + 1], abs=2e-5)
    assert (free[0].finish, stopped[0].finish) == ("length", "stop")


def test_a_full_context_gives_few_tokens_or_none(model: Any) -> None:
    engine = EmbeddedEngine(model, max_context=20)

    async def generate(length: int) -> Completion:
        with engine.session() as session:
            return await session.generate(list(range(length)), GREEDY, 0)

    room, full, over = together(generate(18), generate(20), generate(90))
    assert (len(room.ids), room.finish) == (2, "length")
    assert full == over == Completion((), (), "length", 0)


def test_changed_weights_are_used_at_once_and_counted(model: Any) -> None:
    engine = EmbeddedEngine(model)
    start = prompts(25)[0]

    async def change() -> tuple[Completion, Completion]:
        with engine.session() as session:
            before = await session.generate(start, GREEDY, 0)
            with torch.no_grad():
                model.model.layers[0].self_attn.v_proj.weight.neg_()
            engine.weights_changed()
            return before, await session.generate(start, GREEDY, 0)

    before, after = together(change())[0]
    (_, fresh), *_ = together(play(EmbeddedEngine(model), start, turns=1))
    assert (before.weights_version, after.weights_version) == (0, 1)
    assert before.logprobs != after.logprobs
    assert after.ids == fresh[0].ids
    assert after.logprobs == pytest.approx(fresh[0].logprobs, abs=2e-5)


def test_a_sleeping_engine_holds_no_memory_and_goes_on_with_the_same_tokens(model: Any) -> None:
    sampling = Sampling(max_tokens=5, temperature=1.0)

    async def two_turns(engine: EmbeddedEngine, pause: Callable[[], None]) -> tuple[Completion, Completion]:
        with engine.session() as session:
            first = await session.generate([1, 2, 3], sampling, 0)
            pause()
            return first, await session.generate([1, 2, 3, *first.ids, 9], sampling, 1)

    engine = EmbeddedEngine(model)

    def nap() -> None:
        assert engine._batch._store.layers > 0
        engine.sleep()
        engine.sleep()
        assert engine._batch._store.layers == 0
        engine.wake()

    (awake,) = together(two_turns(EmbeddedEngine(model), lambda: None))
    (slept,) = together(two_turns(engine, nap))
    assert [completion.ids for completion in slept] == [completion.ids for completion in awake]
    assert slept[1].logprobs == pytest.approx(awake[1].logprobs, abs=2e-5)
    assert engine.weights_version == 0


def test_a_sleeping_engine_says_so(model: Any) -> None:
    engine = EmbeddedEngine(model)
    engine.sleep()
    with pytest.raises(RuntimeError, match=r"asleep: call its wake\(\)"):
        together(play(engine, [1, 2, 3]))
    engine.wake()
    together(play(engine, [1, 2, 3]))


@pytest.mark.parametrize("change", ["weights_changed", "sleep"])
def test_weights_and_memory_stay_while_somebody_generates(model: Any, change: str) -> None:
    engine = EmbeddedEngine(model)

    async def main() -> None:
        with engine.session() as session:
            job = asyncio.ensure_future(session.generate([1, 2, 3], Sampling(max_tokens=50), 0))
            await asyncio.sleep(0.01)
            with pytest.raises(RuntimeError, match="while completions were being generated: wait for them"):
                getattr(engine, change)()
            await job
            getattr(engine, change)()

    asyncio.run(main())


def test_a_closed_engine_drops_what_it_was_at_and_ends_its_thread(model: Any) -> None:
    engine = EmbeddedEngine(model)

    async def main() -> None:
        session = engine.session()
        job = asyncio.ensure_future(session.generate([1, 2, 3], Sampling(max_tokens=100), 0))
        await asyncio.sleep(0.01)
        engine.close()
        engine.close()
        with pytest.raises(asyncio.CancelledError):
            await job
        session.close()

    asyncio.run(main())
    assert engine._batch._store.layers == 0
    assert engine._thread._shutdown
    with pytest.raises(RuntimeError, match="this engine is closed"):
        engine.session()


def test_the_trainers_model_runs_without_dropout_and_is_left_as_it_was(
    make_model: Callable[[str], Any],
) -> None:
    model = make_model("gpt2")
    start = prompts(12)[0]
    (_, expected), *_ = together(play(EmbeddedEngine(model), start, turns=1))
    attention = model.config._attn_implementation
    model.train()
    (_, actual), *_ = together(play(EmbeddedEngine(model), start, turns=1))
    assert actual == expected
    assert model.training
    assert all(module.training for module in model.modules())
    assert model.config._attn_implementation == attention
    assert all(parameter.grad is None and not parameter.is_inference() for parameter in model.parameters())


def test_batches_do_not_depend_on_timing(make_model: Callable[[str], Any]) -> None:
    """Rounding depends on what is computed together: the passes themselves must be the same."""
    sampling = Sampling(max_tokens=9, temperature=1.2, stop_ids=tuple(range(100)))
    starts = prompts(5, 30, 30, 12, 44, 8, 19)

    async def seat(engine: EmbeddedEngine, todo: Any, delays: random.Random, results: dict[int, Any]) -> None:
        for i in todo:
            results[i] = await play(engine, starts[i % 7], sampling, i * 10, delays=delays)

    def run(delay_seed: int, slots: int) -> tuple[list[list[int]], dict[int, Any]]:
        model = make_model("qwen3")
        passes, results = Passes(model), dict[int, Any]()
        engine = EmbeddedEngine(model, slots=slots)
        todo = iter(range(14))
        together(*(seat(engine, todo, random.Random(delay_seed * 100 + i), results) for i in range(5)))
        return passes.ids, results

    for slots in (8, 3):
        first = run(1, slots)
        assert run(2, slots) == first
        assert run(3, slots) == first


def test_a_session_that_stays_away_is_waited_for_no_longer_than_the_patience(model: Any) -> None:
    engine = EmbeddedEngine(model, patience_s=0.02)
    others_done = asyncio.Event()

    async def slow() -> Completion:
        with engine.session() as session:
            first = await session.generate([1, 2, 3], GREEDY, 0)
            await others_done.wait()  # forever, if the others waited for this session
            return await session.generate([1, 2, 3, *first.ids, 9], GREEDY, 0)

    async def others() -> None:
        await asyncio.gather(*(play(engine, start) for start in prompts(5, 11)))
        others_done.set()

    completion, _ = together(slow(), others())
    (_, alone), *_ = together(play(engine, [1, 2, 3], turns=1))
    (_, expected), *_ = together(play(engine, [1, 2, 3, *alone[0].ids, 9], turns=1))
    assert completion.ids == expected[0].ids


def test_an_engine_without_patience_waits_for_nobody(model: Any) -> None:
    starts = prompts(5, 9, 30, 14)
    expected = together(*(play(EmbeddedEngine(model), start) for start in starts))
    engine = EmbeddedEngine(model, slots=3, patience_s=0)
    actual = together(*(play(engine, s, delays=random.Random(i)) for i, s in enumerate(starts)))
    assert [context for context, _ in actual] == [context for context, _ in expected]


def test_cancelled_and_closed_requests_leave_the_engine_whole(model: Any) -> None:
    engine = EmbeddedEngine(model, patience_s=0.02)
    long = Sampling(max_tokens=100, temperature=0)

    async def main() -> Completion:
        cancelled, closed = engine.session(), engine.session()
        jobs = [asyncio.ensure_future(s.generate([1, 2, 3], long, 0)) for s in (cancelled, closed)]
        await asyncio.sleep(0.01)
        jobs[0].cancel()
        closed.close()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        with pytest.raises(RuntimeError, match="closed"):
            await closed.generate([1], GREEDY, 0)
        return await cancelled.generate([1, 2, 3], GREEDY, 0)

    (_, expected), *_ = together(play(EmbeddedEngine(model), [1, 2, 3], turns=1))
    assert asyncio.run(main()).ids == expected[0].ids
    # A program that was interrupted in the middle of it starts a new event loop.
    (_, again), *_ = together(play(engine, [1, 2, 3], turns=1))
    assert again[0].ids == expected[0].ids


def test_what_breaks_in_a_forward_pass_reaches_everyone_who_waits(model: Any) -> None:
    engine = EmbeddedEngine(model)

    async def attempt(session: EngineSession, ids: list[int]) -> str:
        try:
            await session.generate(ids, GREEDY, 0)
        except Exception as error:
            return type(error).__name__
        return ""

    async def main() -> list[str]:
        sessions = [engine.session() for _ in range(3)]
        broken = await asyncio.gather(
            attempt(sessions[0], [1, 2]), attempt(sessions[1], [1, 100_000]), attempt(sessions[2], [5])
        )
        return [*broken, *await asyncio.gather(*(attempt(session, [1, 2]) for session in sessions))]

    assert asyncio.run(main()) == ["IndexError"] * 3 + [""] * 3


def test_requests_of_different_sampling_share_a_batch(model: Any) -> None:
    engine = EmbeddedEngine(model)
    samplings = [GREEDY, Sampling(max_tokens=4, temperature=0.8), Sampling(max_tokens=7, top_k=3)]
    start = prompts(10)[0]
    mixed = together(*(play(engine, start, sampling, seed=5) for sampling in samplings))
    for sampling, (context, _) in zip(samplings, mixed, strict=True):
        assert together(play(engine, start, sampling, seed=5))[0][0] == context


def test_who_listens_is_told_every_token_and_nobody_gets_others(model: Any) -> None:
    """While another one, who does not listen, shares the batch."""
    sampling = Sampling(max_tokens=9, likeliest=4, top_k=3)
    engine, (one, other) = EmbeddedEngine(model), prompts(5, 12)
    told: list[Tokens] = []

    async def listening() -> Completion:
        with engine.session() as session:
            return await session.generate(one, sampling, 3, told=told.append)

    heard, _ = together(listening(), play(engine, other, turns=2))
    assert [len(tokens.ids) for tokens in told] == [1] * 9
    assert sum((tokens.ids for tokens in told), ()) == heard.ids
    assert sum((tokens.logprobs for tokens in told), ()) == heard.logprobs
    assert sum((tokens.likeliest for tokens in told), ()) == heard.likeliest
    ((_, (alone,)),) = together(play(engine, one, sampling, 3, turns=1))
    assert alone.ids == heard.ids
    for id, logprob, likeliest in zip(heard.ids, heard.logprobs, heard.likeliest, strict=True):
        assert len(likeliest) == 3  # no more could be drawn
        assert dict(likeliest)[id] == pytest.approx(logprob)
        assert [value for _, value in likeliest] == sorted((v for _, v in likeliest), reverse=True)


def test_memory_is_given_back_when_the_last_session_closes(model: Any) -> None:
    engine = EmbeddedEngine(model)
    together(play(engine, [1, 2, 3]))
    assert engine._batch._store.layers == 0
    assert engine._batch.rows == []


def test_refusals_name_the_cause(model: Any) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    with pytest.raises(EngineError, match="max_context=161, but Qwen3ForCausalLM was built for 160"):
        EmbeddedEngine(model, max_context=161)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2))
    with pytest.raises(EngineError, match=r"sets no max_position_embeddings: set engine\.max_context"):
        EmbeddedEngine(bloom)
    with pytest.raises(EngineError, match="slots=0: an engine needs at least one"):
        EmbeddedEngine(model, slots=0)
    engine = EmbeddedEngine(model)
    with pytest.raises(ValueError, match="at least one id"):
        asyncio.run(engine.session().generate([], GREEDY, 0))
