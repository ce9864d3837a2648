"""Readings of the tokens of a batch: what was sampled is what is trained on, each token once.

The truth is in the episodes' turns. Rows, packing and minibatches are all derived from them by code that
masks, cuts and reorders; this compares where they arrive.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.trainers.batches.groups import Group
from ludus.trainers.batches.minibatch import Minibatch
from ludus.trainers.checks.trust import Reading, Readings


def token_readings(parts: Sequence[Sequence[Group]], minibatches: Sequence[Minibatch]) -> Readings:
    """How many sampled tokens are not there exactly once, and how many others are trained on.

    Args:
        parts: The groups of each minibatch.
    """
    missing = wrong = 0
    for groups, minibatch in zip(parts, minibatches, strict=True):
        turns = [[turn.completion_ids for turn in e.turns] for group in groups for e in group.episodes]
        starts = _starts(map(len, chain.from_iterable(turns)))
        first_turn = _starts(map(len, turns))
        truth = np.fromiter(chain.from_iterable(chain.from_iterable(turns)), np.int64, int(starts[-1]))

        # Where each token of the minibatch is among all that were sampled.
        episode_A, turn_A, position_A = minibatch.places_A3.numpy().T
        place_A = starts[first_turn[episode_A] + turn_A] + position_A
        missing += int((np.bincount(place_A, minlength=len(truth)) != 1).sum())

        scored = len(minibatch.weights_S)
        token_N = [micro.token_N for micro in minibatch.micro_batches]
        arrived = torch.cat(token_N).numpy() if token_N else np.zeros(0, dtype=np.int64)
        missing += int((np.bincount(arrived, minlength=scored) != 1).sum())
        ids = [micro.targets_P[micro.prediction_N] for micro in minibatch.micro_batches]
        if ids:
            wrong += int((torch.cat(ids).numpy() != truth[place_A[:scored][arrived]]).sum())
    return {"untrained_tokens": Reading(missing), "unsampled_tokens": Reading(wrong)}


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """Where each part of a sequence begins, and where the last one ends; [0] without a part."""
    return np.fromiter(accumulate(lengths, initial=0), np.int64)
