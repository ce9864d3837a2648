"""Weights in four bits: what they stand for, what changes them, and adapters on them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ludus.agents.adapters.files import save_adapter, sharing_base
from ludus.agents.adapters.lora import adapter_terms, add_adapter
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.models import LoadedModel, ModelLoadError, load_model
from ludus.agents.quantization import BLOCK, is_quantized, quantize, source, whole_layer, whole_weight
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.cli import main

TINY = SmallModelShape(hidden=64, layers=2, heads=2, kv_heads=1, head_dim=32, intermediate=96)
"""All layers but those behind 96 activations have rows of whole blocks."""
IDS = torch.arange(3, 12)[None]
ADAPTED = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
CPU = torch.device("cpu")
LARGEST_STEP = 1 - 0.6961928
"""Between the two codes that are furthest apart: -1 and the next (arXiv:2305.14314, appendix E)."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_model(
        [EnvironmentSpec("ludus/Arithmetic-v0", {})], TINY, cache_directory=tmp_path_factory.mktemp("models")
    )


@pytest.fixture
def quantized(base: Path) -> LoadedModel:
    return load_model(base, quantize="nf4")


def quantized_layers(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if is_quantized(module)}


def learned(model: Any, seed: int = 0) -> Any:
    """As if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for term in adapter_terms(model).values():
            for matrix in (term.a_RI, term.b_OR):
                matrix.add_(torch.empty_like(matrix).normal_(0, 0.2, generator=generator))
    return model


def saved(model: Any, folder: Path) -> Path:
    folder.mkdir()
    save_adapter(model, folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def everything(model: nn.Module) -> int:
    frozen = [(name, p) for name, p in model.named_parameters() if not p.requires_grad]
    return weights_fingerprint([*frozen, *model.named_buffers()])


class One(nn.Module):
    """One layer, and a head."""

    def __init__(self, weight_OI: torch.Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(weight_OI.shape[1], len(weight_OI), bias=False)
        self.layer.weight = nn.Parameter(weight_OI)

    def get_output_embeddings(self) -> None:
        return None


@given(rows=st.integers(1, 9), blocks=st.integers(1, 3), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_weight_is_off_by_half_a_step_at_most(rows: int, blocks: int, scale: float, seed: int) -> None:
    """Scales are in 8 bits themselves, whose steps are 2% of the largest one at most."""
    generator = torch.Generator().manual_seed(seed)
    weight_OI = scale * torch.randn(rows, blocks * BLOCK, generator=generator)
    model: Any = One(weight_OI.clone())
    quantize(model, CPU)
    back_OI = whole_weight(model.layer)
    assert back_OI.shape == weight_OI.shape
    assert model.layer.weight.numel() == weight_OI.numel() // 2
    got, wanted = back_OI.view(-1, BLOCK), weight_OI.view(-1, BLOCK)
    most = wanted.abs().amax(1, keepdim=True)
    assert ((got - wanted).abs() <= (LARGEST_STEP / 2 + 2**-8) * most + 0.02 * most.max()).all()


def test_the_bits_do_not_depend_on_the_type_that_a_model_is_loaded_in(base: Path) -> None:
    made = [load_model(base, dtype, quantize="nf4").model for dtype in ("float32", "bfloat16")]
    wide, short = (quantized_layers(model) for model in made)
    assert {name.rpartition(".")[2] for name in wide} == ADAPTED - {"down_proj"}
    for name, layer in wide.items():
        assert torch.equal(layer.weight, short[name].weight)
        assert torch.equal(source(layer), source(short[name]))
        assert torch.equal(whole_weight(layer), whole_weight(short[name]))
    assert logits(made[1]).dtype == torch.bfloat16
    assert not is_quantized(made[0].get_output_embeddings())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_after_an_evaluation_are_those_of_whole_weights(base: Path, dtype: str) -> None:
    """To a few roundings: both multiply by the same numbers. An evaluation repacks weights where a processor
    has instructions for that, if it is let, which halves these gradients; elsewhere the flag tells."""
    four_bits, whole = (load_model(base, dtype, quantize="nf4").model for _ in range(2))
    for name, layer in quantized_layers(whole).items():
        assert layer.support_avx512bf16_for_cpu is False
        whole.set_submodule(name, whole_layer(layer, whole_weight(layer)))
    gradients = []
    for model in (four_bits, whole):
        add_adapter(model, 4, 2.0, ["all-linear"])
        before = everything(model)
        logits(learned(model))
        model(IDS).logits.float().square().sum().backward()
        assert everything(model) == before
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert len(gradients[0]) == 28
    unit = torch.finfo(getattr(torch, dtype)).eps
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() <= 8 * unit * other.norm()


def test_every_bit_of_the_base_counts(quantized: LoadedModel) -> None:
    model = quantized.model
    add_adapter(model, 4, 2.0, ["all-linear"])
    before = everything(model)
    layer = quantized_layers(model)["model.layers.1.mlp.up_proj"]
    state = layer.quant_state
    parts = (layer.weight, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
    for part in parts:
        with torch.no_grad():
            kept = part.clone()
            part.view(-1)[-1] += 1
            assert everything(model) != before
            part.copy_(kept)
    assert everything(model) == before
    assert not [name for name in model.state_dict() if name.endswith(("scales", "offset", "source"))]


def test_the_engine_samples_from_what_the_model_computes(quantized: LoadedModel) -> None:
    model = quantized.model
    add_adapter(model, 4, 2.0, ["all-linear"])

    async def generate() -> Any:
        with EmbeddedEngine(learned(model)).session() as session:
            return await session.generate(IDS[0].tolist(), Sampling(12, temperature=1.0), seed=3)

    completion = asyncio.run(generate())
    ids = torch.tensor([[*IDS[0].tolist(), *completion.ids]])
    with torch.no_grad():
        own = model(ids).logits[0, IDS.shape[1] - 1 : -1].log_softmax(-1)
    expected = own.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(completion.logprobs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", ["default", "pissa"])
def test_an_adapter_brings_its_quantised_base_along(
    quantized: LoadedModel, base: Path, tmp_path: Path, start: Any
) -> None:
    model = quantized.model
    before = logits(model)
    assert not torch.equal(before, logits(load_model(base).model))
    add_adapter(model, 4, 2.0, ["all-linear"], start)
    torch.testing.assert_close(logits(model), before)
    folder = saved(learned(model), tmp_path / "adapter")
    again = load_model(folder).model
    assert quantized_layers(again).keys() == quantized_layers(model).keys()
    assert torch.equal(logits(again), logits(model))
    other = sharing_base(model, folder)
    assert torch.equal(logits(other), logits(model))
    ours = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    for layer in quantized_layers(other).values():
        state = layer.quant_state
        assert {layer.weight.data_ptr(), state.absmax.data_ptr(), state.state2.absmax.data_ptr()} <= ours


def test_it_is_merged_into_whole_weights(
    quantized: LoadedModel, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_adapter(quantized.model, 4, 2.0, ["q_proj"])
    folder = saved(learned(quantized.model), tmp_path / "adapter")
    before = {file.name: file.read_bytes() for file in base.iterdir()}
    assert main(["merge", str(folder), "--out", str(tmp_path / "whole")]) == 0
    whole = load_model(tmp_path / "whole").model
    assert not quantized_layers(whole)
    assert not adapter_terms(whole)
    assert whole.state_dict().keys() == load_model(base).model.state_dict().keys()
    torch.testing.assert_close(logits(whole), logits(quantized.model), rtol=1e-4, atol=1e-5)
    assert {file.name: file.read_bytes() for file in base.iterdir()} == before


def test_another_base_is_noticed(quantized: LoadedModel, tmp_path: Path) -> None:
    model = quantized.model
    add_adapter(model, 4, 2.0, ["all-linear"])
    folder = saved(model, tmp_path / "adapter")
    config = folder / "adapter_config.json"
    other = load_model(model.config.name_or_path)
    with torch.no_grad():
        other.model.model.layers[0].self_attn.q_proj.weight[0, 0] += 1
    other.model.save_pretrained(tmp_path / "base")
    other.tokenizer.save_pretrained(tmp_path / "base")
    config.write_text(config.read_text().replace(model.config.name_or_path, str(tmp_path / "base")))
    with pytest.raises(ModelLoadError, match="was trained on other weights than"):
        load_model(folder)


def test_rows_that_end_within_a_block_are_refused() -> None:
    model: Any = One(torch.ones(3, BLOCK + 16))
    with pytest.raises(ModelLoadError, match="multiple of 64, so there is nothing to quantise"):
        quantize(model, CPU)
