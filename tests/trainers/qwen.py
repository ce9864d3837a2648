"""Tiny models of the families whose pictures lie in grids, with random weights."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from ludus.agents.formats.small import CONTROL_TOKENS, END
from ludus.agents.models import quiet_transformers
from ludus.agents.small_model import small_tokenizer, vocabulary
from ludus.agents.small_vision import TEMPLATE

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
BEGIN, PAD, FINISH = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
WIDTH, LAYERS, KEY_HEADS, HEAD = 16, 2, 1, 8
UNSAID = 3
"""Ids at the end of the vocabulary that a test's engine does not sample: the model's own forward takes one of
them for a picture."""
SQUARE = 8
"""Pixels of a side of what becomes a token: two patches."""


def build(folder: Path, family: str, most: int = 16 * SQUARE**2) -> Path:
    """Both kinds of attention in the tower of Qwen2.5-VL; two layers that are given more in Qwen3-VL.

    Args:
        most: Pixels of a picture.
    """
    own = [BEGIN, PAD, FINISH]
    tokens = [*vocabulary([], CONTROL_TOKENS, 512), *own]
    template = TEMPLATE.replace("<image>", "".join(own))
    tokenizer = small_tokenizer([*CONTROL_TOKENS, *own], tokens, template, 2048)
    text: dict[str, Any] = {
        "vocab_size": len(tokens),
        "hidden_size": WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // HEAD,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]},
        "bos_token_id": None,
        "eos_token_id": tokens.index(END),
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": WIDTH,
        "intermediate_size": 24,
        "num_heads": WIDTH // HEAD,
        "patch_size": SQUARE // 2,
        "spatial_merge_size": 2,
        "out_hidden_size": WIDTH,
    }
    shared = {
        "image_token_id": tokens.index(PAD),
        "vision_start_token_id": tokens.index(BEGIN),
        "vision_end_token_id": tokens.index(FINISH),
        "eos_token_id": tokens.index(END),
        "pad_token_id": tokenizer.pad_token_id,
    }
    config: Any
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        model: Any
        if family == "qwen2_5_vl":
            vision |= {"window_size": 2 * SQUARE, "fullatt_block_indexes": [1]}
            config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **shared)
            model = Qwen2_5_VLForConditionalGeneration(config)
        else:
            text["head_dim"] = HEAD
            vision |= {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
            config = Qwen3VLConfig(text_config=text, vision_config=vision, **shared)
            model = Qwen3VLForConditionalGeneration(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        images = Qwen2VLImageProcessorPil(
            size={"shortest_edge": SQUARE**2, "longest_edge": most}, patch_size=SQUARE // 2, merge_size=2
        )
        images.save_pretrained(folder)
    return folder
