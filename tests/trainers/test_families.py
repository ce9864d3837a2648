"""Engine and trainer compute a model as the model does itself, or refuse it in one line."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3Config,
    GPT2Config,
    GPT2LMHeadModel,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ludus.agents import families
from ludus.agents.engines import steps
from ludus.agents.engines.base import EngineError
from ludus.agents.engines.cores import core_of
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.own_cache import OwnCacheBatch
from ludus.agents.episode import TrainingSequence
from ludus.tools.errors import UserError
from ludus.trainers.batches.packing import pack
from ludus.trainers.models import forward
from ludus.trainers.models.attention import UnsupportedModel
from ludus.trainers.models.forward import score

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STATE = "keeps more of a row than keys and values"
MASK = "its attention is not plain causal attention"
ROUTE = "does not route its attention"
FORM = "in a form of its own"
THOSE_THAT_MATTER = [
    *("cohere", "deepseek_v3", "exaone4", "gemma", "gemma2", "gemma3", "gemma3_text", "glm4", "glm4_moe"),
    *("gpt2", "gpt_oss", "granite", "granitemoe", "llama", "mistral", "mixtral", "nanochat", "olmo2", "phi3"),
    *("qwen2", "qwen3", "qwen3_moe", "smollm3"),
    *("diffllama", "falcon_h1", "kimi_linear", "lfm2", "mamba2", "minicpm3", "minimax", "nemotron_h"),
    *("qwen3_5_text", "qwen3_next", "stablelm"),
]


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that builds a tiny model of any architecture."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("families")


def row(length: int, words: int = 90) -> TrainingSequence:
    return TrainingSequence(
        tuple(place % (words - 3) + 3 for place in range(length)),
        (False, *[True] * (length - 1)),
        (0.0,) * length,
    )


def qwen3(**changes: Any) -> Any:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 90,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
    }
    model = Qwen3ForCausalLM(Qwen3Config(**shape | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return model


@pytest.mark.parametrize(
    ("model_type", "words"),
    [
        ("lfm2", STATE),
        ("diffllama", STATE),
        ("doge", MASK),
        ("falcon", "FalconForCausalLM cannot be computed by"),
        ("mamba", ROUTE),
        ("deepseek_v32", "its forward fails on plain rows"),
        ("nemotron", "does not pass keyword arguments on"),
    ],
)
def test_what_packed_rows_would_make_another_model_of_computes_by_itself(
    sweep: Any, model_type: str, words: str
) -> None:
    model = sweep.build(model_type)
    with pytest.raises(EngineError, match=words):
        steps.reach(model)
    assert core_of(model).batch is OwnCacheBatch
    assert 100 in core_of(model).reach
    assert 100 in forward.reach(model)
    assert forward.packs(model) == (model_type == "diffllama")


@pytest.mark.parametrize(
    ("model_type", "engine", "training"),
    [
        ("recurrent_gemma", FORM, ""),
        ("bert", "", "changes its hidden states before the output embedding"),
    ],
)
def test_what_would_be_another_model_is_refused_in_one_line(
    sweep: Any, model_type: str, engine: str, training: str
) -> None:
    model = sweep.build(model_type)
    for reach, error, words in (
        (lambda model: core_of(model).reach, EngineError, engine),
        (forward.reach, UnsupportedModel, training),
    ):
        if not words:
            assert 100 in reach(model)
            continue
        with pytest.raises(error, match=words) as refusal:
            reach(model)
        assert isinstance(refusal.value, UserError)
        assert "\n" not in str(refusal.value)


def test_a_model_that_changes_its_weights_is_refused_however_often_it_is_tried(sweep: Any) -> None:
    model = sweep.build("rwkv")
    for _ in range(2):
        with pytest.raises(
            UnsupportedModel, match="RwkvForCausalLM changes its own weights in a forward pass"
        ):
            forward.reach(model)


@pytest.mark.parametrize(
    ("model_type", "name"), [("qwen2_moe", "sliding_window"), ("llama4_text", "attention_chunk_size")]
)
def test_rows_are_no_longer_than_what_is_computed_right(sweep: Any, model_type: str, name: str) -> None:
    model = sweep.build(model_type)
    assert EmbeddedEngine(model).max_context == 24
    with pytest.raises(EngineError, match=f"max_context=25, but .* right up to its {name} of 24 only"):
        EmbeddedEngine(model, max_context=25)
    score(model, *pack([row(25)]), 1.0)  # its last token is not an input
    with pytest.raises(UnsupportedModel, match=rf"a row has 25 tokens, but .* its {name} of 24 only"):
        score(model, *pack([row(26)]), 1.0)


def test_a_window_that_is_too_long_to_be_tried_is_believed_if_attention_gets_it(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "_CHEAP_TOKENS", 20)
    window = qwen3(use_sliding_window=True, sliding_window=24, max_window_layers=1)
    assert EmbeddedEngine(window).max_context == 64
    assert forward.reach(window).tokens == 64
    masked = sweep.build("qwen2_moe")
    assert EmbeddedEngine(masked).max_context == 24
    assert forward.reach(masked).tokens == 24


def test_rows_of_longrope_end_where_its_factors_change() -> None:
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=90,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        original_max_position_embeddings=32,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "short_factor": [1.0] * 4,
            "long_factor": [3.0] * 4,
            "original_max_position_embeddings": 32,
        },
        pad_token_id=0,
    )
    model = Phi3ForCausalLM(config)
    assert EmbeddedEngine(model).max_context == 32
    with pytest.raises(UnsupportedModel, match="original_max_position_embeddings of 32 only"):
        score(model, *pack([row(40)]), 1.0)


@pytest.mark.parametrize("learned", [True, False])
def test_a_row_beyond_the_positions_is_named_with_the_limit(learned: bool) -> None:
    if learned:
        model: Any = GPT2LMHeadModel(
            GPT2Config(vocab_size=90, n_embd=16, n_layer=1, n_head=2, n_positions=32)
        )
    else:
        model = qwen3(max_position_embeddings=32)
    score(model, *pack([row(33)]), 1.0)
    name = type(model).__name__
    with pytest.raises(UnsupportedModel, match=f"a row has 40 tokens, but {name} was built for 32 positions"):
        score(model, *pack([row(41)]), 1.0)


def test_the_context_of_a_model_that_also_sees_is_that_of_its_text_part(sweep: Any) -> None:
    model = sweep.build("gemma3")
    assert isinstance(model.config, Gemma3Config)
    assert EmbeddedEngine(model).max_context == model.config.text_config.max_position_embeddings
    assert 100 in forward.reach(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    model = qwen3()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = value
    with pytest.raises(EngineError, match="Qwen3ForCausalLM gives logits that are NaN or infinite"):
        EmbeddedEngine(model)
    with pytest.raises(UnsupportedModel, match="NaN or infinite"):
        score(model, *pack([row(9)]), 1.0)


@pytest.mark.parametrize(
    ("model_type", "dtype"),
    [
        ("qwen3", torch.bfloat16),
        ("gpt2", torch.bfloat16),
        *[("gemma2", dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)],
    ],
)
def test_rounding_is_no_difference_in_any_type(sweep: Any, model_type: str, dtype: torch.dtype) -> None:
    model = sweep.build(model_type).to(dtype)
    assert 100 in steps.reach(model)
    assert 100 in forward.reach(model)


def test_the_check_is_made_once_and_leaves_the_model_and_the_random_state_alone() -> None:
    model = qwen3(attention_dropout=0.5).train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    weights = [parameter.clone() for parameter in model.parameters()]
    attention, state = model.config._attn_implementation, torch.get_rng_state()
    passes: list[int] = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    for _ in range(2):
        EmbeddedEngine(model)
        forward.reach(model)
        made = len(passes)
    assert made == len(passes) < 20
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == attention
    assert all(map(torch.equal, model.parameters(), weights))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("model_type", THOSE_THAT_MATTER)
def test_the_families_that_matter_are_right_in_engine_and_training(sweep: Any, model_type: str) -> None:
    family = sweep.examine(model_type, "")
    assert family.skipped == ""
    for verdict in (family.engine, family.training):
        assert verdict.words == ""
        assert verdict.right
