"""Reward models: a number for a conversation, or for each step of its replies.

Both are `transformers` sequence-classification models with one label. An *outcome* model's reward is the
label's logit for a whole conversation, as any program with `transformers` computes it. A *process* model's
value of a step is the probability of success from there on: the sigmoid of the logit at the token that ends
the step, which in a causal model is that of the conversation up to there. What ends a step is in its
`config.json`.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.agents.conversation import Conversation
from ludus.agents.episode import Episode, Turn
from ludus.agents.formats.base import ChatFormat
from ludus.agents.formats.sampled_text import sampled_text
from ludus.agents.models import LoadedModel, ModelLoadError, load_model
from ludus.agents.scorers.base import StepScore

Ids = tuple[int, ...]

SEPARATOR = "step_separator"
"""The key of a process model's `config.json`: the text that ends a step; the end of a reply always does."""

TOKENS = 4096
"""In one forward pass, padding included, where no gradient is wanted."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one row of an episode."""

    ids: Ids
    """Up to the end of the last step."""
    places: tuple[int, ...]
    """The token that ends each step."""
    turns: tuple[int, ...]
    """Whose reply it is in."""
    ends: tuple[int, ...]
    """How many characters of that reply's sampled text there are up to its end."""


@dataclass(frozen=True)
class RewardModel:
    """A loaded reward model."""

    loaded: LoadedModel

    @property
    def separator(self) -> str | None:
        """What ends a step; None: it is an outcome model."""
        found: str | None = getattr(self.loaded.model.config, SEPARATOR, None)
        return found

    @property
    def context(self) -> int:
        """The longest conversation, in tokens."""
        return context_of(self.loaded.model)

    @torch.no_grad()
    def rewards(self, rows: Sequence[Ids]) -> list[float]:
        """Of whole conversations; equal ones are computed once."""
        distinct = [*dict.fromkeys(rows)]
        found: dict[Ids, float] = {}
        for part in batches([*map(len, distinct)], TOKENS):
            chosen = [distinct[index] for index in part]
            found |= dict(zip(chosen, rewards(self.loaded.model, chosen).tolist(), strict=True))
        return [found[row] for row in rows]

    @torch.no_grad()
    def step_values(self, episodes: Sequence[Episode]) -> list[list[StepScore]]:
        """Of each episode's steps, in the order of its rows: the probability of success after them. Equal
        rows are computed once.

        Args:
            episodes: Whose replies have ids of this model's tokenizer.
        """
        assert self.separator is not None
        rows = [episode_steps(episode, self.loaded.format, self.separator) for episode in episodes]
        distinct = [*dict.fromkeys(chain.from_iterable(rows))]
        found: dict[Steps, list[StepScore]] = {}
        for part in batches([len(row.ids) for row in distinct], TOKENS):
            chosen = [distinct[index] for index in part]
            places = [row.places for row in chosen]
            logits_S = step_logits(self.loaded.model, [row.ids for row in chosen], places)
            pieces = logits_S.double().sigmoid().split([*map(len, places)])
            for row, values in zip(chosen, pieces, strict=True):
                steps = zip(row.turns, row.ends, values.tolist(), strict=True)
                found[row] = [StepScore(*step) for step in steps]
        return [[step for row in of_episode for step in found[row]] for of_episode in rows]


def step_gains(values: Sequence[StepScore]) -> list[StepScore]:
    """What each step adds to the value before it, which is 0 at first. Together they are the value of the
    last step, so that no number of steps is worth anything by itself."""
    before, gains = 0.0, []
    for step in values:
        if step.end:  # of a turn in which nothing was said, only the end was sampled
            gains.append(step._replace(value=step.value - before))
            before = step.value
    return gains


def load_reward_model(path: str | Path, device: str = "cpu", dtype: str = "float32") -> RewardModel:
    """
    Args:
        path: A folder in `transformers`' form, or a name on the hub, of a sequence-classification model with
            one label whose tokenizer has a chat template.

    Raises:
        ModelLoadError: as `load_model`; or if its layers are a language model's that nothing was trained for.
    """
    loaded = load_model(path, dtype, device, head="reward")
    layers = f"{loaded.model.base_model_prefix}."
    named = loaded.model.named_parameters()
    if not any(parameter.any() for name, parameter in named if not name.startswith(layers)):
        raise ModelLoadError(
            f"{path} is a language model, which gives no rewards yet: train one on it with [reward_model], "
            "or name a sequence-classification model with one label"
        )
    return RewardModel(loaded)


def context_of(model: PreTrainedModel) -> int:
    """The longest row of a model, in tokens."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31


def rewards(model: PreTrainedModel, rows: Sequence[Ids]) -> Tensor:
    """The reward of each row, [R] float32, in one forward pass; differentiable."""
    ids_RL, mask_RL = _padded(model, rows)
    rewards_R: Tensor = model(input_ids=ids_RL, attention_mask=mask_RL).logits[:, 0]
    return rewards_R.float()


def step_logits(model: PreTrainedModel, rows: Sequence[Ids], places: Sequence[Sequence[int]]) -> Tensor:
    """The logits at the places of all rows, end to end, [S] float32, in one forward pass; differentiable.

    Args:
        model: One that `refuse_without_steps` lets pass.
    """
    ids_RL, mask_RL = _padded(model, rows)
    hidden_RLH = model.base_model(input_ids=ids_RL, attention_mask=mask_RL).last_hidden_state
    row_S = torch.tensor([row for row, of_row in enumerate(places) for _ in of_row])
    place_S = torch.tensor([place for of_row in places for place in of_row])
    hidden_SH = hidden_RLH[row_S.to(hidden_RLH.device), place_S.to(hidden_RLH.device)]
    logits_S: Tensor = model.score(hidden_SH)[:, 0]
    return logits_S.float()


def refuse_without_steps(model: PreTrainedModel) -> None:
    """
    Raises:
        ModelLoadError: if tokens see what comes after them, or the label is not made of each token's hidden
            state.
    """
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise ModelLoadError(
            f"{type(model).__name__} makes its label of a whole text, so it has no value for a step of one: "
            'take a causal language model for kind = "process", such as the policy'
        )


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """The rows in parts of similar lengths: at most `tokens` tokens each with padding, at least one row."""
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        if part and (len(part) + 1) * lengths[index] > tokens:
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def conversation_ids(turns: Sequence[Turn], chat_format: ChatFormat, tools: Sequence[object] = ()) -> Ids:
    """A conversation up to the end of its last reply, as this format writes it.

    Args:
        tools: In OpenAI's form.

    Raises:
        FormatError: the format cannot express it.
    """
    conversation = Conversation(chat_format, tools)
    for turn in turns:
        conversation, _ = conversation.hear(turn.observation)
        conversation = conversation.say(turn.reply, chat_format.demonstrate(turn.reply))
    return conversation.context


def step_ends(text: str, separator: str) -> list[int]:
    """Where the steps of a reply end: behind each separator that something comes before, and at its end,
    which is there even where the reply is empty."""
    ends: list[int] = []
    begin = at = 0
    while separator and (at := text.find(separator, at)) >= 0:
        at += len(separator)
        if text[begin:at].strip() and text[at:].strip():
            ends.append(at)
            begin = at
    return [*ends, len(text)]


def turn_steps(turn: Turn, chat_format: ChatFormat, separator: str) -> list[tuple[int, int]]:
    """(end in characters, token that ends it) of each step of a reply. The reply's end is that of all its
    tokens, what ends the turn included."""
    text, complete = sampled_text(chat_format, turn.completion_ids)
    *inner, last = step_ends(text, separator)
    places = [(end, bisect_left(complete, end)) for end in inner]
    return [*places, (last, len(turn.completion_ids) - 1)]


def episode_steps(episode: Episode, chat_format: ChatFormat, separator: str) -> list[Steps]:
    """The steps of each row of an episode, see `Episode.row_turns`; turns without ids have none."""
    rows = []
    for turns in episode.row_turns():
        ids: list[int] = []
        found: list[tuple[int, int, int]] = []
        for index in turns:
            turn = episode.turns[index]
            ids += turn.prompt_ids
            if turn.completion_ids:
                steps = turn_steps(turn, chat_format, separator)
                found += [(len(ids) + place, index, end) for end, place in steps]
            ids += turn.completion_ids
        if found:
            places, of_turns, ends = zip(*found, strict=True)
            rows.append(Steps(tuple(ids[: places[-1] + 1]), places, of_turns, ends))
    return rows


def _padded(model: PreTrainedModel, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """On the right, which no token of a causal model sees, and others mask."""
    pad, longest = model.config.get_text_config().pad_token_id, max(map(len, rows))
    ids_RL = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    mask_RL = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids_RL.to(model.device), mask_RL.to(model.device)
