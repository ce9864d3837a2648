"""Tiny models with random weights, scaled so that their distributions are far from flat."""

from collections.abc import Callable
from typing import Any

import pytest


def _sharpened(model: Any) -> Any:
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.eval()


def _qwen3(**changes: Any) -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": 300,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 160,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return _sharpened(Qwen3ForCausalLM(Qwen3Config(**{**shape, **changes})))


def _gpt2() -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=300, n_embd=48, n_layer=2, n_head=4, n_positions=160, bos_token_id=None, eos_token_id=None
    )
    return _sharpened(GPT2LMHeadModel(config))


def _gemma2() -> Any:
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=300,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=160,
        sliding_window=8,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=10.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _sharpened(Gemma2ForCausalLM(config))


def _gpt_oss() -> Any:
    import torch
    from transformers import GptOssConfig, GptOssForCausalLM

    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=300,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        num_local_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=160,
        sliding_window=8,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        bos_token_id=None,
        eos_token_id=None,
    )
    return _sharpened(GptOssForCausalLM(config))


@pytest.fixture
def make_model() -> Callable[[str], Any]:
    """`qwen3` has rotary positions and shared keys, `window` sees 8 positions back in one of its layers,
    `gpt2` has absolute positions and dropout, `gemma2` soft caps on scores and logits, `gpt_oss` attention
    sinks and experts; both have a window, too."""

    def make(name: str) -> Any:
        if name in (others := {"gpt2": _gpt2, "gemma2": _gemma2, "gpt_oss": _gpt_oss}):
            return others[name]()
        if name == "window":
            return _qwen3(use_sliding_window=True, sliding_window=8, max_window_layers=1)
        return _qwen3()

    return make


@pytest.fixture
def model(make_model: Callable[[str], Any]) -> Any:
    return make_model("qwen3")
