"""A reward model as a scorer."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from ludus.agents.episode import Episode
from ludus.agents.formats.base import FormatError
from ludus.agents.policy import tool_schemas
from ludus.agents.rendering import render
from ludus.agents.reward_model import Ids, RewardModel, conversation_ids, step_gains
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.scorers.base import Score, ScoreFault, StepScore
from ludus.envs.chat import content_text
from ludus.tools.content import content_key
from ludus.tools.wording import first_line


class RewardModelScorer:
    """Scores a batch of episodes in few forward passes, on the model's own device.

    An outcome model's score is its reward for the whole conversation, rendered by its own chat template. A
    process model's is the value after the last step; each step has what it added to the value before it, from
    0 on (`step_gains`).

    Equal contents in a batch are computed once. Between batches nothing is kept: in other company the last
    bits of a sum are others, and a resumed run, which begins with nothing known, would not end in the same
    ones. A search, which meets its states again and again, takes `Cached`.

    A process model reads the ids that were sampled where they are of its own tokenizer, else the replies as
    it would have written them.
    """

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self._tools: dict[int, list[dict[str, Any]]] = {}

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        """Computed here, not in a thread of its own, whose sums torch would round in another way."""
        try:
            if self._model.separator is None:
                return self._outcomes(episodes)
            return self._steps(episodes)
        except torch.OutOfMemoryError as error:
            return [ScoreFault(f"the reward model's device is full: {first_line(error)}")] * len(episodes)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _outcomes(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        rows = [self._row(episode) for episode in episodes]
        values = iter(self._model.rewards([row for row in rows if not isinstance(row, ScoreFault)]))
        return [row if isinstance(row, ScoreFault) else _score(next(values)) for row in rows]

    def _row(self, episode: Episode) -> Ids | ScoreFault:
        try:
            ids = conversation_ids(episode.turns, self._model.loaded.format, self._tools_of(episode))
        except FormatError as error:
            return ScoreFault(f"the reward model cannot read the conversation: {error}")
        return self._too_long(len(ids)) or ids

    def _tools_of(self, episode: Episode) -> list[dict[str, Any]]:
        key = content_key([episode.environment, episode.arguments])
        if key not in self._tools:
            env = EnvironmentSpec(episode.environment, episode.arguments).make()
            self._tools[key] = tool_schemas(env)
            env.close()
        return self._tools[key]

    def _steps(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        readable = [self._sampled(episode) for episode in episodes]
        found = iter(self._model.step_values([one for one in readable if not isinstance(one, ScoreFault)]))
        return [one if isinstance(one, ScoreFault) else _of_steps(next(found)) for one in readable]

    def _sampled(self, episode: Episode) -> Episode | ScoreFault:
        """With the ids that the model would have sampled, where there are none of its own tokenizer."""
        if not self._has_own_ids(episode):
            try:
                episode = render(episode, self._model.loaded.format, self._tools_of(episode))
            except FormatError as error:
                return ScoreFault(f"the reward model cannot read the conversation: {error}")
        longest = max(len(row.ids) for row in episode.training_sequences())
        return self._too_long(longest) or episode

    def _has_own_ids(self, episode: Episode) -> bool:
        """Whether the first prompt, by this model's tokenizer, says what the agent was told last."""
        first = episode.turns[0]
        prompt = b"".join(self._model.loaded.format.pieces(first.prompt_ids)).decode(errors="replace")
        told = content_text(first.observation[-1]).strip()
        return bool(first.completion_ids) and told in prompt

    def _too_long(self, tokens: int) -> ScoreFault | None:
        if tokens <= self._model.context:
            return None
        return ScoreFault(
            f"the conversation has {tokens:,} tokens, and the reward model reads {self._model.context:,}"
        )


def _score(value: float, steps: tuple[StepScore, ...] = ()) -> Score | ScoreFault:
    return Score(value, steps) if math.isfinite(value) else ScoreFault(f"the reward model gave {value}")


def _of_steps(values: Sequence[StepScore]) -> Score | ScoreFault:
    return _score(values[-1].value, tuple(step_gains(values)))
