"""The fused pass of common models: the same logits as their own forward, by the weights as they are."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from ludus.agents.adapters.lora import adapter_terms, add_adapter
from ludus.agents.attention import computing_with
from ludus.agents.engines import compiled
from ludus.agents.engines.base import Completion, Sampling
from ludus.agents.engines.compiled import TOKENS, bits
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.fused import FusedForward, can_fuse
from ludus.agents.engines.slots import ATTENTION, SlotStore, Step
from ludus.agents.engines.steps import forward_of

from ..serial_products import serial_products

UNIT = torch.finfo(torch.float32).eps / 2
SHAPE = {
    "vocab_size": 90,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return made(LlamaForCausalLM, LlamaConfig(**{**SHAPE, **changes}))


def qwen2(**changes: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    window = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
    return made(Qwen2ForCausalLM, Qwen2Config(**{**SHAPE, **window, **changes}))


def qwen3(**changes: Any) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return made(Qwen3ForCausalLM, Qwen3Config(**{**SHAPE, "head_dim": 8, **changes}))


def made(model: Any, config: Any) -> Any:
    torch.manual_seed(0)
    built = model(config).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return built


MODELS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "llama with biases, tied": lambda: llama(
        attention_bias=True, mlp_bias=True, tie_word_embeddings=True, num_key_value_heads=6
    ),
    "llama with scaled positions": lambda: llama(
        rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    ),
    "qwen2 with a window": qwen2,
    "qwen3": qwen3,
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest) -> Any:
    return request.param()


def passes(model: Any, forward: Callable[[Step], Tensor]) -> Tensor:
    """The logits of three passes over ragged rows: prompts, then a mixture, then single tokens."""
    store, logits, generator = SlotStore(), [], np.random.default_rng(3)
    length_N = np.zeros(4, np.int64)
    with torch.inference_mode(), computing_with(model, ATTENTION):
        for counts in ((1, 20, 13, 33), (1, 5, 1, 2), (1, 1, 1, 1), (1, 1, 1, 1)):
            count_N = np.array(counts)
            store.reserve(4, int((length_N + count_N).max()))
            ids = generator.integers(0, 90, count_N.sum())
            logits.append(forward(Step(store, np.arange(4), length_N, count_N, ids, model.device)))
            length_N = length_N + count_N
    return torch.stack(logits)


def own_logits(model: Any) -> Tensor:
    """The same, by the model's own forward over each whole row."""
    generator, rows, logits = np.random.default_rng(3), [list[int]() for _ in range(4)], []
    for counts in ((1, 20, 13, 33), (1, 5, 1, 2), (1, 1, 1, 1), (1, 1, 1, 1)):
        ids = iter(generator.integers(0, 90, sum(counts)).tolist())
        for row, count in zip(rows, counts, strict=True):
            row += [next(ids) for _ in range(count)]
        with torch.no_grad():
            logits.append(torch.stack([model(torch.tensor([row])).logits[0, -1] for row in rows]))
    return torch.stack(logits)


def test_logits_are_those_of_the_models_own_forward(model: Any) -> None:
    assert can_fuse(model)
    torch.testing.assert_close(passes(model, FusedForward(model)), own_logits(model), atol=2e-5, rtol=2e-5)


def test_nothing_depends_on_the_number_of_threads(model: Any, request: pytest.FixtureRequest) -> None:
    """But torch's matrix products, of models with biases and of many tokens: MKL cuts rows by threads."""
    before = torch.get_num_threads()
    already = request.config.getoption("--serial-products")
    try:
        found = []
        with nullcontext() if already else serial_products():
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(passes(model, FusedForward(model)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_every_weight_is_read_anew() -> None:
    model = qwen3()
    forward = FusedForward(model)
    for name, parameter in model.named_parameters():
        before = passes(model, forward)
        with torch.no_grad():
            parameter.mul_(-1.5)
        after = passes(model, forward)
        assert not torch.equal(before, after), name
    torch.testing.assert_close(after, own_logits(model), atol=2e-5, rtol=2e-5)


def test_weights_that_were_replaced_are_read_too() -> None:
    model = llama()
    forward = FusedForward(model)
    passes(model, forward)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone() * 0.7
    torch.testing.assert_close(passes(model, forward), own_logits(model), atol=2e-5, rtol=2e-5)


def test_adapters_are_part_of_it() -> None:
    model = llama()
    add_adapter(model, 2, 2.0, ["all-linear"])
    plain = passes(model, FusedForward(model))
    with torch.no_grad():
        for term in adapter_terms(model).values():
            term.b_OR.normal_()
    adapted = passes(model, forward_of(model))
    assert can_fuse(model)
    assert not torch.allclose(plain, adapted, atol=1e-2)
    torch.testing.assert_close(adapted, own_logits(model), atol=5e-5, rtol=5e-5)


def test_what_is_computed_otherwise_keeps_its_own_forward(make_model: Callable[[str], Any]) -> None:
    others = [
        llama(hidden_act="gelu"),
        llama().to(torch.bfloat16),
        *(make_model(name) for name in ("gpt2", "gemma2", "gpt_oss")),
    ]
    watched = llama()
    watched.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert not any(map(can_fuse, [*others, watched]))


USE = "compiled.positions(8, True), compiled.attention(8, 3), compiled.products()"
LOAD = f"""
from numba.core.ccallback import CFunc
from ludus.agents.engines import compiled
CFunc._compile_uncached = None
{USE}
"""


def test_another_process_loads_what_this_one_compiled() -> None:
    exec(USE)
    subprocess.run([sys.executable, "-c", LOAD], check=True)


def sampled(model: Any) -> list[Completion]:
    async def play(prompt: list[int], seed: int) -> Completion:
        with engine.session() as session:
            return await session.generate(prompt, Sampling(10, temperature=1.0), seed)

    async def main() -> list[Completion]:
        return await asyncio.gather(*(play(prompt, seed) for seed, prompt in enumerate(prompts)))

    engine = EmbeddedEngine(model)
    prompts = [[5], [7, 8, 9], [*range(30)], [*range(30)], [*range(40)]]
    return asyncio.run(main())


def test_an_engine_samples_the_same_by_either_forward() -> None:
    model = qwen3()
    fused = sampled(model)
    model.register_forward_hook(lambda *_: None)
    own = sampled(model)
    assert [one.ids for one in fused] == [other.ids for other in own]
    for one, other in zip(fused, own, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)


@settings(max_examples=25)
@given(
    st.integers(1, 600),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 8),
    st.sampled_from([8, 32]),
)
def test_attention_of_single_tokens(length: int, window: int, seed: int, scale: float, size: int) -> None:
    """Over tiles, windows and scores of any size."""
    heads, kv_heads, rows = 6, 2, 3
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, heads * size, generator=generator)
    keys, values = torch.randn(2, rows, length, kv_heads, size, generator=generator)
    out = torch.empty_like(query)
    row_N, position_N = torch.tensor([2, 0]), torch.tensor([length - 1, (length - 1) // 2])
    compiled.attention(size, heads // kv_heads)(
        2 * kv_heads,
        kv_heads,
        length,
        window,
        bits(scale),
        *(tensor.data_ptr() for tensor in (query, out, row_N, position_N, keys, values)),
    )
    for n, (row, position) in enumerate(zip(row_N.tolist(), position_N.tolist(), strict=True)):
        assert_attention(out[n], query[n], keys[row], values[row], position, window, scale)


def assert_attention(
    out_E: Tensor, query_E: Tensor, keys: Tensor, values: Tensor, position: int, window: int, scale: float
) -> None:
    """The token at a position attends to keys and values of its row, [length, kv_heads, head_dim], as
    torch's own attention does."""
    kv_heads, size = keys.shape[1:]
    shared = len(query_E) // size // kv_heads
    seen = slice(max(0, position + 1 - window) if window else 0, position + 1)
    expected = scaled_dot_product_attention(
        query_E.view(-1, 1, size).double(),
        keys[seen].repeat_interleave(shared, 1).transpose(0, 1).double(),
        values[seen].repeat_interleave(shared, 1).transpose(0, 1).double(),
        scale=scale,
    )
    # A score's error moves its weight by as much; sums of at most 1 · |value|.
    largest = float(scale * query_E.norm() * keys[seen].norm(dim=-1).max())
    bound = 4 * (size + position + 8) * UNIT * (1 + largest) * float(values.abs().max())
    assert (out_E.view(-1, 1, size) - expected).abs().max() <= bound


@settings(max_examples=25)
@given(
    st.integers(1, 600),
    st.integers(1, 45),
    st.sampled_from([0, 3, 300]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([(4, 32), (24, 3)]),
)
def test_attention_of_runs(length: int, count: int, window: int, seed: int, shape: tuple[int, int]) -> None:
    """Over tiles and windows; however the last tokens of a row are cut into runs, to the same bits."""
    size, shared = shape
    kv_heads, row, scale = 2, 1, size**-0.5
    count, most = min(count, length), compiled.run_length(shared)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(count, kv_heads * shared * size, generator=generator)
    keys, values = torch.randn(2, 2, length, kv_heads, size, generator=generator)
    positions = torch.arange(length - count, length)

    def computed(most: int) -> Tensor:
        firsts = range(0, count, most)
        runs_R3 = torch.tensor([[row, first, min(most, count - first)] for first in firsts])
        out = torch.empty_like(query)
        compiled.attention_of_runs(size, shared)(
            len(runs_R3) * kv_heads,
            kv_heads,
            length,
            window,
            bits(scale),
            *(tensor.data_ptr() for tensor in (query, out, runs_R3, positions, keys, values)),
        )
        return out

    found = computed(most)
    assert torch.equal(found, computed(1))
    for n, position in enumerate(positions.tolist()):
        assert_attention(found[n], query[n], keys[row], values[row], position, window, scale)


@settings(max_examples=25)
@given(st.integers(1, 3 * TOKENS), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_norm_of_a_sum_and_gated_activation(tokens: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden, added, up = torch.randn(3, tokens, width, generator=generator) * 10
    weight, out, total = torch.randn(width, generator=generator), torch.empty(tokens, width), hidden + added
    pieces = -(-tokens // TOKENS)
    compiled.add_norm()(
        pieces, tokens, width, bits(1e-6), *(x.data_ptr() for x in (hidden, added, out, weight))
    )
    assert torch.equal(hidden, total)
    wide = total.double()
    normed = weight * wide * (wide.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    assert ((out - normed).abs() <= (width + 8) * UNIT * normed.abs() + 1e-30).all()
    gated = hidden.clone()
    compiled.gate()(pieces, tokens, width, gated.data_ptr(), up.data_ptr())
    expected = silu(wide) * up
    assert ((gated - expected).abs() <= 16 * UNIT * expected.abs() + 1e-30).all()
