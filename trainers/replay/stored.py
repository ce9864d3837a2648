"""A stored step, read into arrays: without texts and contexts it takes the memory of its sampled tokens."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from ludus.agents.episode import Episode, Turn
from ludus.agents.store import EpisodeFileError, stream_episodes
from ludus.trainers.advantages.process import StepRewards
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.groups import trajectory_of
from ludus.trainers.batches.layout import Layout
from ludus.trainers.config.run import RunConfig
from ludus.trainers.replay.record import BOOTSTRAP, REWARD


@dataclass(frozen=True)
class StoredTokens:
    """E scored episodes with F sampled tokens, in the order of the file."""

    trajectories: tuple[tuple[Trajectory, ...], ...]
    """The episodes, as credit is given in them by each of the configurations asked for."""
    rows: tuple[tuple[tuple[int, ...], ...], ...]
    """The turns of each row of each episode."""
    engine_F: Tensor
    """The engine's log-probabilities, float32."""
    named: dict[str, Tensor]
    """What training recorded, [F] by name; see `record`. NaN where there is nothing."""
    bootstrap_E: tuple[float, ...]

    @cached_property
    def places(self) -> list[Tensor]:
        """Which of the F tokens are each episode's, in the order of its turns."""
        counts = [sum(trajectory.tokens) for trajectory in self.trajectories[0]]
        return [torch.arange(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]

    def layout(self, algorithm: int, members: Sequence[int]) -> Layout:
        """These episodes in rows, as credit is given by a configuration."""
        rows = [(turns, index) for index, e in enumerate(members) for turns in self.rows[e]]
        return Layout(
            tuple(self.trajectories[algorithm][e] for e in members),
            tuple(turns for turns, _ in rows),
            tuple(index for _, index in rows),
        )


def read_tokens(file: Path, configs: Sequence[RunConfig], baselines: Mapping[str, float]) -> StoredTokens:
    """Reads an episode file, an episode after the other.

    Args:
        configs: By which credit will be given.
        baselines: What each role had earned before the step.

    Raises:
        EpisodeFileError: it is damaged, or its turns do not have a number for each token.
        RunError: a return is not finite.
    """
    trajectories: list[list[Trajectory]] = [[] for _ in configs]
    rows, bootstrap_E = [], []
    columns = _Columns()
    for episode in stream_episodes(file):
        if not episode.is_scored:
            continue
        steps = _step_rewards(episode)
        for config, judged in zip(configs, trajectories, strict=True):
            judged.append(trajectory_of(episode, config, steps, baselines))
        rows.append(tuple(episode.row_turns()))
        last = episode.turns[-1].training if episode.turns else {}
        bootstrap_E.append(last.get(BOOTSTRAP, (0.0,))[0])
        for turn in episode.turns:
            if not columns.add(turn):
                raise EpisodeFileError(
                    f"{file}: an episode with seed {episode.seed} does not have one number for each of its "
                    "sampled tokens: the file was written or changed by something else than training"
                )
    named = columns.tensors()
    return StoredTokens(
        tuple(map(tuple, trajectories)), tuple(rows), named.pop(_ENGINE), named, tuple(bootstrap_E)
    )


_ENGINE = "engine"


def _step_rewards(episode: Episode) -> StepRewards | None:
    """Without the values of steps, of which only the tokens that earned them are stored."""
    if not any(REWARD in turn.training for turn in episode.turns):
        return None
    pieces = [turn.training.get(REWARD, ()) for turn in episode.turns]
    return StepRewards((), torch.tensor([value for piece in pieces for value in piece], dtype=torch.float64))


class _Columns:
    """The numbers of the tokens so far, by name: float32, in which models computed them."""

    def __init__(self) -> None:
        self._columns = {_ENGINE: array("f")}
        self._tokens = 0

    def add(self, turn: Turn) -> bool:
        """Whether the turn has one number for each completion id."""
        count = len(turn.completion_ids)
        for name, values in {**turn.training, _ENGINE: turn.logprobs}.items():
            if name in (BOOTSTRAP, REWARD):
                continue
            if len(values) != count:
                return False
            column = self._columns.setdefault(name, array("f"))
            self._pad(column)
            column.extend(values)
        self._tokens += count
        return True

    def tensors(self) -> dict[str, Tensor]:
        for column in self._columns.values():
            self._pad(column)
        return {
            name: torch.frombuffer(column, dtype=torch.float32) if column else torch.zeros(0)
            for name, column in self._columns.items()
        }

    def _pad(self, column: "array[float]") -> None:
        column.extend([float("nan")] * (self._tokens - len(column)))
