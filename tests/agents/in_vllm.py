"""vLLM in the process, for real: run by `test_vllm_engine.py` in an interpreter that has vLLM.

Its engine takes seconds to start, and one at a time: every test of a mode has the same one, and leaves the
model's weights as they were."""

import asyncio
import os
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding  # noqa: F401  # of numba, which vLLM stumbles over
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from ludus.agents.adapters.lora import adapter_terms, add_adapter
from ludus.agents.engines.base import Completion, EngineError, Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.engines.sampling import distribution
from ludus.agents.engines.vllm import build
from ludus.agents.engines.vllm import engine as engine_module
from ludus.agents.engines.vllm.engine import VllmEngine
from ludus.trainers.checks.identity import engine_readings
from ludus.trainers.parallel.play import EngineState

GREEDY = Sampling(max_tokens=6, temperature=0)
CLOSE = 1e-5
"""Nats: what float32 leaves between two orders of summation in models of this size."""
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": None,
}


def make_model(mode: str) -> Any:
    """`shared`: a Qwen3 whose embeddings are tied. `pushed`: a Llama whose are not, and whose weights another
    process could map. `adapter`: the same with LoRA."""
    torch.manual_seed(0)
    if mode == "shared":
        model: Any = Qwen3ForCausalLM(Qwen3Config(**SHAPE, tie_word_embeddings=True))
    else:
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # so that distributions are far from flat
    if mode == "pushed":
        model.share_memory()
    if mode == "adapter":
        add_adapter(model, 4, 2.0, ["q_proj", "down_proj", "v_proj"])
    return model.eval()


@dataclass(frozen=True)
class Case:
    mode: str
    model: Any
    engine: VllmEngine


@pytest.fixture(scope="module", params=["shared", "pushed", "adapter"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    model = make_model(request.param)
    engine = VllmEngine(model, slots=8, patience_s=0.02, cache_gib=0.02)
    yield Case(request.param, model, engine)
    engine.close()


@contextmanager
def trained(case: Case, *, told: bool = True) -> Iterator[None]:
    """Inside, an optimiser has taken three large steps on what is trained; afterwards, none."""
    parameters = [parameter for parameter in case.model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    for step in range(3):
        torch.manual_seed(step)
        case.model(torch.randint(0, 300, (2, 20))).logits.logsumexp(-1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if told:
        case.engine.weights_changed()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(parameters, before, strict=True):
                parameter.copy_(values)
        case.engine.weights_changed()


def together(*jobs: Coroutine[Any, Any, Any]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*jobs)

    return asyncio.run(main())


async def play(
    engine: Any, prompt: Sequence[int], sampling: Sampling = GREEDY, seed: int = 0, turns: int = 3
) -> tuple[list[int], list[Completion]]:
    """One episode whose environment answers each completion with as many ids as the turn's number, and
    three."""
    context, completions = list(prompt), []
    with engine.session() as session:
        for turn in range(turns):
            completion = await session.generate(context, sampling, seed + turn)
            completions.append(completion)
            context += [*completion.ids, *range(10, 13 + turn)]
    return context, completions


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


def of_trainer(case: Case) -> int:
    return weights_fingerprint(case.model.named_parameters())


def readings(case: Case) -> dict[str, float]:
    """What the trust report reads off the engine before a rollout."""
    state = EngineState(case.engine.weights_fingerprint(), case.engine.cached_tokens, 0)
    return {name: reading.value for name, reading in engine_readings([state], of_trainer(case)).items()}


SOUND = {"engine_weights": 0, "stale_cache": 0, "stale_episodes": 0}


def assert_embedded(case: Case) -> None:
    """It plays greedy episodes of ragged lengths as the embedded engine does."""
    starts = prompts(1, 40, 7, 9, 70)
    theirs = together(*(play(case.engine, start) for start in starts))
    ours = together(*(play(EmbeddedEngine(case.model), start) for start in starts))
    for (context, completions), (expected, wanted) in zip(theirs, ours, strict=True):
        assert context == expected
        for completion, want in zip(completions, wanted, strict=True):
            assert completion.finish == want.finish
            assert completion.logprobs == pytest.approx(want.logprobs, abs=CLOSE)


def test_it_plays_as_the_embedded_engine_before_and_after_updates(case: Case) -> None:
    assert_embedded(case)
    version = case.engine.weights_version
    before = of_trainer(case)
    with trained(case):
        assert of_trainer(case) != before
        assert readings(case) == SOUND
        assert case.engine.weights_version == version + 1
        assert_embedded(case)
    assert readings(case) == SOUND
    assert_embedded(case)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=8),
        Sampling(max_tokens=8, temperature=0.6),
        Sampling(max_tokens=8, temperature=1.5, top_k=20),
        Sampling(max_tokens=8, temperature=0.8, top_p=0.7),
        Sampling(max_tokens=8, min_p=0.2),
    ],
    ids=str,
)
def test_log_probabilities_are_of_the_distribution_that_was_sampled_from(
    case: Case, sampling: Sampling
) -> None:
    starts = prompts(5, 31, 12)
    played = together(*(play(case.engine, start, sampling, 50 * i) for i, start in enumerate(starts)))
    for start, (_, completions) in zip(starts, played, strict=True):
        context = list(start)
        for turn, completion in enumerate(completions):
            ids = [*context, *completion.ids]
            with torch.no_grad():
                logits = case.model(torch.tensor([ids])).logits[0, len(context) - 1 : -1]
            expected = distribution(logits, sampling)[range(len(completion.ids)), list(completion.ids)]
            assert completion.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
            context = [*ids, *range(10, 13 + turn)]


def test_a_seed_repeats_its_tokens_and_members_of_a_group_draw_their_own(case: Case) -> None:
    sampling = Sampling(max_tokens=12, temperature=1.2)
    (start,) = prompts(40)
    group = together(*(play(case.engine, start, sampling, 100 * i) for i in range(6)))
    assert len({completions[0].ids for _, completions in group}) == 6
    for number in (3, 5):
        ((again, _),) = together(play(case.engine, start, sampling, 100 * number))
        assert again == group[number][0]


def test_turns_and_groups_find_their_prefix_in_the_cache(case: Case) -> None:
    case.engine.weights_changed()
    (start,) = prompts(100)
    ((context, turns),) = together(play(case.engine, start))
    assert turns[0].cached_tokens == 0
    assert turns[1].cached_tokens == 96  # whole blocks of 32
    assert 96 <= case.engine.cached_tokens <= len(context)
    ((_, (other, *_)),) = together(play(case.engine, start, seed=9))
    assert other.cached_tokens == 96
    case.engine.weights_changed()
    assert case.engine.cached_tokens == 0
    ((_, (first, *_)),) = together(play(case.engine, start))
    assert first.cached_tokens == 0


def test_a_cache_that_was_not_emptied_is_noticed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    together(play(case.engine, prompts(100)[0]))
    with monkeypatch.context() as patch:
        patch.setattr(case.engine._vllm, "reset_prefix_cache", lambda *_, **__: True)
        case.engine.weights_changed()
        assert readings(case)["stale_cache"] >= 96
    case.engine.weights_changed()
    assert readings(case) == SOUND


def test_weights_that_were_not_pushed_or_replaced_are_noticed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.mode == "shared":
        pytest.skip("an update is there at once")
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "push", lambda *_: None)
        patch.setattr(engine_module.Adapter, "replace", lambda _: case.engine._requests.adapter)
        with trained(case):
            assert readings(case)["engine_weights"] == 1
    assert readings(case) == SOUND


def test_shared_weights_are_one_memory(case: Case, tmp_path: Path) -> None:
    if case.mode != "shared":
        pytest.skip("for the shared mode")
    theirs = {
        parameter.untyped_storage().data_ptr()
        for parameter in build.worker_of(case.engine._vllm).model_runner.model.parameters()
    }
    assert {p.untyped_storage().data_ptr() for p in case.model.parameters()} <= theirs
    with trained(case, told=False):  # the cache alone is stale
        assert case.engine.weights_fingerprint() == of_trainer(case)
    case.model.save_pretrained(tmp_path)
    again = Qwen3ForCausalLM.from_pretrained(tmp_path)
    assert weights_fingerprint(again.named_parameters()) == of_trainer(case)


def test_a_parameter_that_left_the_shared_memory_is_noticed(case: Case) -> None:
    if case.mode != "shared":
        pytest.skip("for the shared mode")
    weight = case.model.model.layers[0].self_attn.k_proj.weight
    shared = weight.data
    weight.data = shared.clone()
    with torch.no_grad():
        weight.neg_()
    assert readings(case)["engine_weights"] == 1
    weight.data = shared
    assert readings(case) == SOUND


def test_one_adapter_at_a_time_each_of_its_own_name(case: Case) -> None:
    if case.mode != "adapter":
        pytest.skip("for adapters")
    engine, base = case.engine, dict(case.engine._places)
    before = weights_fingerprint(base.items())
    names = set()
    for _ in range(5):
        with trained(case):
            adapter = engine._requests.adapter
            names.add((adapter.lora_name, adapter.lora_int_id))
            assert build.worker_of(engine._vllm).list_loras() == {adapter.lora_int_id}
    assert len(names) == 5
    assert weights_fingerprint(base.items()) == before
    assert all(term.b_OR.abs().max() == 0 for term in adapter_terms(case.model).values())
    assert_embedded(case)


def test_a_stop_id_ends_a_completion_and_is_part_of_it(case: Case) -> None:
    start, sampling = prompts(9)[0], Sampling(max_tokens=12)
    ((_, (whole,)),) = together(play(case.engine, start, sampling, seed=3, turns=1))
    stop = whole.ids[4]
    stopping = Sampling(max_tokens=12, stop_ids=(299, stop))
    ((_, (cut,)),) = together(play(case.engine, start, stopping, seed=3, turns=1))
    assert cut.ids == whole.ids[: whole.ids.index(stop) + 1]
    assert (whole.finish, cut.finish) == ("length", "stop")


def test_a_full_context_gives_few_tokens_or_none(case: Case) -> None:
    async def generate(length: int) -> Completion:
        with case.engine.session() as session:
            return await session.generate([7] * length, GREEDY, 0)

    longest = case.engine.max_context
    room, full, over = together(generate(longest - 2), generate(longest), generate(longest + 50))
    assert (len(room.ids), room.finish) == (2, "length")
    assert full == over == Completion((), (), "length", case.engine.weights_version)


def test_more_sessions_than_slots_and_sessions_that_leave(case: Case) -> None:
    starts = prompts(*range(3, 23))
    expected = together(*(play(EmbeddedEngine(case.model), start) for start in starts))
    played = together(*(play(case.engine, start) for start in starts))
    assert [context for context, _ in played] == [context for context, _ in expected]

    async def main() -> None:
        long = Sampling(max_tokens=150, temperature=0)
        cancelled, closed = case.engine.session(), case.engine.session()
        jobs = [asyncio.ensure_future(s.generate([1, 2, 3], long, 0)) for s in (cancelled, closed)]
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="while completions were being generated: wait for them"):
            case.engine.weights_changed()
        with pytest.raises(RuntimeError, match="busy with another"):
            await cancelled.generate([1], GREEDY, 0)
        jobs[0].cancel()
        closed.close()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        completion = await cancelled.generate(starts[4], GREEDY, 0)
        assert completion.ids == expected[4][1][0].ids
        cancelled.close()

    asyncio.run(main())
    case.engine.weights_changed()  # nothing of them is left
    assert readings(case) == SOUND


def test_a_sleeping_engine_says_so_and_takes_over_weights_when_it_wakes(case: Case) -> None:
    case.engine.sleep()
    case.engine.sleep()
    with pytest.raises(RuntimeError, match=r"asleep: call its wake\(\)"):
        together(play(case.engine, [1, 2, 3]))
    with trained(case):
        case.engine.wake()
        assert readings(case) == SOUND
        assert_embedded(case)


def test_the_process_stays_as_it_was(case: Case) -> None:
    """Of everything that vLLM touches, also while it computes."""
    before = process()
    together(*(play(case.engine, start, Sampling(max_tokens=8)) for start in prompts(5, 31, 12)))
    case.engine.weights_changed()
    assert process() == before


def process() -> dict[str, Any]:
    return {
        "functions": [
            torch.set_num_threads,
            torch.accelerator.synchronize,
            torch.accelerator.empty_cache,
        ],
        "generators": [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()],
        # Without what torch's compiler notes there for itself when it is first loaded.
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("_")},
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
    }


def test_an_engine_that_is_made_and_closed_leaves_nothing_behind() -> None:
    model = make_model("shared")
    before = process()
    engine = VllmEngine(model, slots=2, cache_gib=0.01, max_context=64)
    assert process() == before
    together(play(engine, [1, 2, 3]))
    engine.close()
    engine.close()
    assert process() == before
    assert not torch.distributed.is_initialized()
    with pytest.raises(RuntimeError, match="this engine is closed"):
        engine.session()
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_ids_that_pad_a_vocabulary_are_never_sampled() -> None:
    model = make_model("shared")
    engine = VllmEngine(model, slots=2, cache_gib=0.01, words=40)
    (start,) = prompts(9)
    sampling = Sampling(max_tokens=12, temperature=1.3)
    ((_, (completion,)),) = together(play(engine, [id % 40 for id in start], sampling, turns=1))
    engine.close()
    assert max(completion.ids) < 40
    ids = torch.tensor([[*(id % 40 for id in start), *completion.ids]])
    with torch.no_grad():
        logits = model(ids).logits[0, len(start) - 1 : -1, :40]
    expected = distribution(logits, sampling)[range(12), list(completion.ids)]
    assert completion.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_packed_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(build, "_keeping_weights", nullcontext)
    with pytest.raises(EngineError, match=r"vLLM packed model.* into a form of its own.*\"embedded\""):
        VllmEngine(make_model("shared"), slots=2, cache_gib=0.01)


def test_a_model_that_is_another_in_vllm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(model: Any, folder: Path) -> None:
        written(model, folder)
        file = folder / "config.json"
        file.write_text(file.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1.0'))

    written: Callable[[Any, Path], None] = build._write_config
    monkeypatch.setattr(build, "_write_config", other)
    with pytest.raises(EngineError, match="Qwen3ForCausalLM in vLLM is another model than in transformers"):
        VllmEngine(make_model("shared"), slots=2, cache_gib=0.01)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_context": 300}, "max_context=300, but Qwen3ForCausalLM was built for 256 positions"),
        ({"cache_gib": 1e-6}, r"vLLM cannot run Qwen3ForCausalLM like this \(.*memory"),
    ],
)
def test_what_vllm_does_not_take_is_one_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told) as refused:
        VllmEngine(make_model("shared"), slots=2, **options)
    assert "\n" not in str(refused.value)
