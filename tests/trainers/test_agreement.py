"""Engine and trainer agree about what was sampled, in every mode: docs/models.md says how well."""

import asyncio
import importlib
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from ludus.agents.adapters.lora import adapter_terms, add_adapter
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import TrainingSequence
from ludus.agents.quantization import quantize
from ludus.trainers.batches.packing import flat_logprobs, pack
from ludus.trainers.models.forward import packs, score

from ..rounding import unit_roundoff

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WORDS = 96
ROUNDINGS = 16
"""On the way of a number through one layer: norms, products, rotation, attention, gate and residual sums."""


def qwen3(_: Any) -> Any:
    torch.manual_seed(0)
    model: Any = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=WORDS,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=128,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.12)
    return model


def adapted(model: Any) -> Any:
    """With an adapter, as if it had been trained."""
    add_adapter(model, 4, 2.0, ["all-linear"])
    generator = torch.Generator().manual_seed(0)
    for term in adapter_terms(model).values():
        term.b_OR.data.normal_(0, 0.1, generator=generator)
    return model


def quantized(model: Any) -> Any:
    quantize(model, torch.device("cpu"))
    return adapted(model)


MODES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "embedded": (qwen3, lambda model: model),
    "learned positions": (lambda build: build("gpt2"), lambda model: model),
    "own cache": (lambda build: build("lfm2"), lambda model: model),
    "adapter": (qwen3, adapted),
    "quantised": (qwen3, quantized),
}


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a tiny model of any architecture, of as many words."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("families").build


def episodes(model: Any) -> list[TrainingSequence]:
    """Sampled together, three turns each; the second and the third begin alike."""
    sampling = Sampling(max_tokens=6, temperature=1.0)
    generator = torch.Generator().manual_seed(1)
    engine = EmbeddedEngine(model, max_context=128)

    def words(count: int) -> list[int]:
        return torch.randint(3, WORDS, (count,), generator=generator).tolist()

    async def play(prompt: list[int], seed: int) -> TrainingSequence:
        ids, sampled, logprobs = list(prompt), [False] * len(prompt), [0.0] * len(prompt)
        with engine.session() as session:
            for turn in range(3):
                done = await session.generate(ids, sampling, seed + turn)
                ids += [*done.ids, 10 + turn]
                sampled += [True] * len(done.ids) + [False]
                logprobs += [*done.logprobs, 0.0]
        return TrainingSequence(tuple(ids), tuple(sampled), tuple(logprobs))

    async def together() -> list[TrainingSequence]:
        begun = words(40)
        prompts = (words(5), begun, [*begun, *words(3)], words(70))
        return await asyncio.gather(*(play(prompt, 10 * number) for number, prompt in enumerate(prompts)))

    try:
        return asyncio.run(together())
    finally:
        engine.close()


@torch.no_grad()
def disagreements(model: Any, temperature: float = 1.0) -> torch.Tensor:
    """Of the sampled tokens, [N], in nats; scored at another temperature than theirs, which is 1, if the
    trainer is to be wrong."""
    rows = episodes(model)
    sampled = flat_logprobs(rows).double()
    scored = torch.zeros_like(sampled)
    for part in pack(rows, 90, packs(model)):
        scored[part.token_N] = score(model, part, temperature).logprobs.double()
    assert len(sampled) == 4 * 3 * 6
    return (scored - sampled).abs()


@torch.no_grad()
def rounding(model: Any) -> float:
    """√n u σ: what n roundings, each off by u at most and this way as often as that, make of numbers whose
    standard deviation is σ, the logits of a token."""
    ids = torch.randint(3, WORDS, (4, 40), generator=torch.Generator().manual_seed(2))
    spread = model(input_ids=ids).logits.float().std(-1).square().mean().sqrt()
    return sqrt(ROUNDINGS * model.config.num_hidden_layers) * unit_roundoff(model.dtype) * float(spread)


@pytest.mark.parametrize("mode", MODES)
def test_in_float32_they_agree_to_a_hundred_thousandth(build: Any, mode: str) -> None:
    made, changed = MODES[mode]
    assert disagreements(changed(made(build))).max() <= 1e-5


@pytest.mark.parametrize("mode", MODES)
def test_in_bfloat16_they_agree_but_for_rounding(build: Any, mode: str) -> None:
    """The worst of some tokens is within 8 standard deviations, as in `likely_gamma`."""
    made, changed = MODES[mode]
    model = changed(made(build).bfloat16())
    off, bound = disagreements(model), rounding(model)
    assert off.mean() <= bound
    assert off.max() <= 8 * bound
    assert disagreements(model, temperature=1.3).mean() > bound  # which would be noticed


@pytest.mark.parametrize("mode", ["adapter", "quantised"])
def test_an_adapter_whose_b_is_0_changes_no_bit_in_engine_or_trainer(build: Any, mode: str) -> None:
    model, with_adapter = qwen3(build), qwen3(build)
    if mode == "quantised":
        for each in (model, with_adapter):
            quantize(each, torch.device("cpu"))
    add_adapter(with_adapter, 4, 2.0, ["all-linear"])
    rows = episodes(model)
    assert episodes(with_adapter) == rows
    (part,) = pack(rows, 1000)
    scored = [score(each, part, 1.0).logprobs for each in (model, with_adapter)]
    assert torch.equal(*scored)
