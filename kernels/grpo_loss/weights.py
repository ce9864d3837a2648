"""The weight of a token in a batch's loss, for each way of taking the mean."""

from typing import Literal, get_args

import torch
from torch import Tensor

Normaliser = Literal["sequence_mean", "token_mean", "constant"]


def token_weights(normaliser: Normaliser, tokens: Tensor, max_tokens: int | None = None) -> Tensor:
    """The weight of each token of a sequence, [S] float64.

    `grpo_loss` adds up weighted terms. These weights turn the sum over a whole batch into its mean, so the
    sum over parts of the batch and its gradient are the same however the batch is cut.

        sequence_mean   1 / (S |o_s|)          the mean over sequences of each one's mean
        token_mean      1 / Σ |o|              the mean over all tokens
        constant        1 / (S max_tokens)     a token weighs the same whatever its sequence's length

    A padded batch takes `mask * token_weights(normaliser, mask.sum(1))[:, None]`, a packed one
    `token_weights(normaliser, lengths).repeat_interleave(lengths)`.

    Args:
        tokens: [S], how many tokens of each sequence are trained on, |o_s|. A sequence without any counts
            in S.
        max_tokens: The most tokens that a sequence may have; for `constant` alone.

    Raises:
        ValueError: for an unknown normaliser, a batch without a single token, or a `max_tokens` that is
            missing or not needed.
    """
    if normaliser not in get_args(Normaliser):
        raise ValueError(f"normaliser must be one of {', '.join(get_args(Normaliser))}, not {normaliser!r}")
    if (normaliser == "constant") != (max_tokens is not None):
        raise ValueError(
            f'max_tokens is the divisor of "constant": needed there and nowhere else, but it is {max_tokens} '
            f'for "{normaliser}"'
        )
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
    tokens_S = tokens.double()
    total = tokens_S.sum().item()
    if total == 0:
        raise ValueError("no sequence has a token to train on, so there is no mean over tokens")
    match normaliser:
        case "sequence_mean":
            return 1.0 / (len(tokens_S) * tokens_S.clamp(min=1.0))
        case "token_mean":
            return torch.full_like(tokens_S, 1.0 / total)
        case "constant":
            assert max_tokens is not None
            return torch.full_like(tokens_S, 1.0 / (len(tokens_S) * max_tokens))
