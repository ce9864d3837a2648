"""The shapes at which every operator is measured."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Shape:
    """A batch of packed tokens in a model."""

    tokens: int
    """M"""
    hidden: int
    """H"""
    intermediate: int
    """I, of the feed-forward layers."""
    heads: int
    """Hq"""
    key_heads: int
    """Hk"""
    head_size: int
    """D"""
    vocabulary: int
    """V"""
    dtype: torch.dtype
    sequences: int
    """The number of sequences in the tokens."""


def _model(tokens: int, hidden: int, intermediate: int, heads: int, key_heads: int, head_size: int) -> Shape:
    return Shape(
        tokens, hidden, intermediate, heads, key_heads, head_size, 151_936, torch.bfloat16, tokens // 256
    )


MODELS = (
    (896, 4864, 14, 2, 64),  # Qwen2.5-0.5B
    (2048, 6144, 16, 8, 128),  # Qwen3-1.7B
    (4096, 12_288, 32, 8, 128),  # Qwen3-8B
)
TOKENS = (1024, 8192, 16_384)
COMPILED_TOKENS = 8192
"""torch.compile is measured at this many tokens only: it recompiles for every shape, for seconds."""

SHAPES = {
    "full": tuple(_model(tokens, *model) for model in MODELS for tokens in TOKENS),
    "tiny": (Shape(24, 64, 96, 4, 2, 32, 320, torch.float32, 3),),
}
"""`tiny` checks on a CPU that a script runs; its figures mean nothing."""
