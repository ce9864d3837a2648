"""A token's weight, by hand: padded, packed, and split into parts."""

import pytest
import torch

from ludus.kernels import token_weights


@pytest.mark.parametrize(
    ("normaliser", "max_tokens", "expected"),
    [
        # Three sequences of 1, 4 and no tokens.
        ("sequence_mean", None, [1 / 3, 1 / 12, 1 / 3]),
        ("token_mean", None, [1 / 5, 1 / 5, 1 / 5]),
        ("constant", 77, [1 / 231, 1 / 231, 1 / 231]),
    ],
)
def test_weights_by_hand(normaliser, max_tokens, expected):
    weights = token_weights(normaliser, torch.tensor([1, 4, 0]), max_tokens)
    assert weights.dtype == torch.float64
    assert weights.tolist() == pytest.approx(expected)


def test_the_weights_of_a_mask_give_the_mean_over_rows_of_their_means():
    mask = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0]])
    values = torch.arange(8.0, dtype=torch.float64).view(2, 4)
    weights = mask * token_weights("sequence_mean", mask.sum(1))[:, None]
    assert (weights * values).sum().item() == pytest.approx(((0 + 1 + 3) / 3 + 5) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mean", [1]), "normaliser must be one of sequence_mean, token_mean, constant, not 'mean'"),
        (("constant", [1]), 'max_tokens is the divisor of "constant".*it is None'),
        (("token_mean", [1], 5), 'max_tokens is the divisor of "constant".*it is 5 for "token_mean"'),
        (("constant", [1], 0), "max_tokens must be 1 or more, not 0"),
        (("token_mean", [0, 0]), "no sequence has a token to train on"),
        (("token_mean", []), "no sequence has a token to train on"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    normaliser, tokens, *rest = arguments
    with pytest.raises(ValueError, match=message):
        token_weights(normaliser, torch.tensor(tokens), *rest)
