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


@pytest.fixture
def make_model() -> Callable[[str], Any]:
    """`qwen3` has rotary positions and shared keys, `window` sees 8 positions back in one of its layers,
    `gpt2` has absolute positions and dropout."""

    def make(name: str) -> Any:
        if name == "gpt2":
            return _gpt2()
        if name == "window":
            return _qwen3(use_sliding_window=True, sliding_window=8, max_window_layers=1)
        return _qwen3()

    return make


@pytest.fixture
def model(make_model: Callable[[str], Any]) -> Any:
    return make_model("qwen3")
