"""`Layout`: the groups of a minibatch as rows, and values of tokens between the two orders that they have.

Credit reads the tokens of a trajectory in the order of its turns, [T]. The flat order of `packing` runs
through rows; an episode has several where it forked, or where several actors played it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ludus.agents.episode import TrainingSequence
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.groups import Group


@dataclass(frozen=True)
class Layout:
    """E trajectories in R rows."""

    trajectories: tuple[Trajectory, ...]
    turns_R: tuple[tuple[int, ...], ...]
    """The turns of its trajectory that each row is of."""
    episode_R: tuple[int, ...]
    """The trajectory that each row is of."""
    rows: tuple[TrainingSequence, ...] = ()
    """What a model reads; empty where its scores are stored."""

    def tokens_E(self) -> Tensor:
        """How many tokens of each trajectory are trained on, [E] int64."""
        return torch.tensor([sum(t.tokens) * t.is_trained_on for t in self.trajectories], dtype=torch.int64)

    def all_rows(self) -> range:
        return range(len(self.turns_R))

    def others(self, chosen: Sequence[int]) -> list[int]:
        """The rows that are not chosen."""
        return sorted(set(self.all_rows()) - set(chosen))

    def counts(self, chosen: Sequence[int]) -> Tensor:
        """Sampled tokens of each of the chosen rows, [R] int64."""
        return torch.tensor([self._count_R[r] for r in chosen], dtype=torch.int64)

    @cached_property
    def _count_R(self) -> list[int]:
        tokens = [trajectory.tokens for trajectory in self.trajectories]
        pairs = zip(self.turns_R, self.episode_R, strict=True)
        return [sum(tokens[episode][turn] for turn in turns) for turns, episode in pairs]

    def episode_S(self, chosen: Sequence[int]) -> Tensor:
        """The trajectory of each sampled token of the chosen rows, in flat order, [S] int64."""
        return torch.tensor([self.episode_R[r] for r in chosen], dtype=torch.int64).repeat_interleave(
            self.counts(chosen)
        )

    def places(self, chosen: Sequence[int]) -> Tensor:
        """Of each sampled token of the chosen rows, in flat order: its trajectory, its turn, and its position
        among the tokens of that turn, [A, 3] int64."""
        turns = [(self.episode_R[r], turn) for r in chosen for turn in self.turns_R[r]]
        counts = torch.tensor(
            [self.trajectories[episode].tokens[turn] for episode, turn in turns], dtype=torch.int64
        )
        ends = counts.cumsum(0)
        starts_A = (ends - counts).repeat_interleave(counts)
        turns_A2 = torch.tensor(turns, dtype=torch.int64).view(-1, 2).repeat_interleave(counts, 0)
        return torch.cat([turns_A2, (torch.arange(len(starts_A)) - starts_A)[:, None]], 1)

    def to_flat(self, values: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        """From one tensor [T] for each trajectory to the sampled tokens of the chosen rows, [S]."""
        episodes = {self.episode_R[r] for r in chosen}
        pieces = {e: values[e].split(self.trajectories[e].tokens) for e in episodes}
        flat = [pieces[self.episode_R[r]][turn] for r in chosen for turn in self.turns_R[r]]
        return torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64)

    def to_trajectories(self, values_A: Tensor) -> list[Tensor]:
        """From the sampled tokens of all rows, in flat order, to one tensor [T] for each trajectory."""
        pieces = [[values_A[:0]] * len(t.tokens) for t in self.trajectories]
        begin = 0
        for turns, episode in zip(self.turns_R, self.episode_R, strict=True):
            for turn in turns:
                count = self.trajectories[episode].tokens[turn]
                pieces[episode][turn] = values_A[begin : begin + count]
                begin += count
        return [torch.cat([values_A[:0], *turns]) for turns in pieces]


def lay_out(groups: Sequence[Group]) -> Layout:
    """The groups' episodes in rows, in the order of the groups."""
    episodes = [episode for group in groups for episode in group.episodes]
    rows = [(row, index) for index, episode in enumerate(episodes) for row in episode.training_sequences()]
    return Layout(
        tuple(trajectory for group in groups for trajectory in group.trajectories),
        tuple(row.turns for row, _ in rows),
        tuple(index for _, index in rows),
        tuple(row for row, _ in rows),
    )
