"""What a truncated episode could still have earned: the value of the state that it was left in."""

import json
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from typing import Any

import torch
from transformers import PreTrainedModel

from ludus.agents.conversation import Conversation
from ludus.agents.episode import Episode, StopReason, TrainingSequence
from ludus.agents.formats.base import ChatFormat, FormatError
from ludus.agents.picture_ids import pictures_among
from ludus.agents.policy import tool_schemas
from ludus.agents.rollout import EnvironmentSpec
from ludus.trainers.batches.packing import pack
from ludus.trainers.batches.scoring import score_rows
from ludus.trainers.critic import Critic
from ludus.trainers.models.forward import packs, reach

TRUNCATIONS = frozenset(
    (StopReason.TRUNCATED, StopReason.TURN_LIMIT, StopReason.TOKEN_LIMIT, StopReason.TIME_LIMIT)
)
"""Ends that are no end of the task: the environment's own truncation, and our limits."""


def bootstraps(
    episodes: Sequence[Episode], model: PreTrainedModel, critic: Critic, token_budget: int
) -> list[float]:
    """The value of what would have followed each episode: 0 for one that terminated.

    Args:
        model: The policy.
        token_budget: The most tokens in one forward pass.
    """
    longest = (
        _longest(model) if critic.model.model is None else min(map(_longest, (model, critic.model.model)))
    )
    values = [0.0] * len(episodes)
    cut = [i for i, episode in enumerate(episodes) if episode.stop in TRUNCATIONS and episode.turns]
    rows = [next_row(episodes[i], critic.format, longest) for i in cut]
    _, _, values_B = score_rows(model, rows, pack(rows, token_budget, packs(model)), 1.0, critic.model)
    assert values_B is not None
    for i, value in zip(cut, values_B.tolist(), strict=True):
        values[i] = value
    return values


def next_row(episode: Episode, format: ChatFormat, longest: float) -> TrainingSequence:
    """The context in which the agent would have sampled its next token, with an id in that token's place.

    It ends with what the environment said last, rendered as in the episode. Where that is longer than a model
    can read, or cannot be rendered, it ends with what the agent said last.
    """
    row = next(row for row in episode.training_sequences() if len(episode.turns) - 1 in row.turns)
    context = row.ids
    if episode.final_observation:
        messages = [message for turn in episode.turns for message in (*turn.observation, turn.reply)]
        tools = _tools(episode.environment, json.dumps(episode.arguments))
        said = Conversation(format, tools, tuple(messages), row.ids)
        try:
            heard = said.hear(episode.final_observation)[0].context
        except FormatError:
            heard = context
        context = heard if len(heard) <= longest else context
    ids = (*context, format.pad_id)
    shown = (message for turn in episode.turns for message in turn.observation)
    pictures = pictures_among(ids, (*shown, *episode.final_observation))
    return TrainingSequence(ids, (False,) * len(context) + (True,), (0.0,) * len(ids), pictures=pictures)


@cache
def _tools(environment: str, arguments: str) -> list[dict[str, Any]]:
    with closing(EnvironmentSpec(environment, json.loads(arguments)).make()) as env:
        return tool_schemas(env)


def _longest(model: PreTrainedModel) -> float:
    """The most tokens that a model can read."""
    return float(reach(model).tokens or torch.inf)
