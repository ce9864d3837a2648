"""Readings of the episodes of a step: their tasks, and what they have in common."""

import math
from collections.abc import Sequence

from ludus.agents.episode import Episode, Turn
from ludus.trainers.checks.trust import Reading, Readings
from ludus.trainers.tasks import TaskStream


def sample_readings(episodes: Sequence[Episode], tasks: TaskStream) -> Readings:
    """
    Args:
        episodes: All that were played in a step.
    """
    held_out = [episode for episode in episodes if tasks.is_held_out(episode)]
    named = f"{held_out[0].environment}, seed {held_out[0].seed}" if held_out else ""
    return {
        "held_out_tasks": Reading(len(held_out), named),
        "identical_completions": Reading(improbability_of_repeats(episodes)),
    }


def improbability_of_repeats(episodes: Sequence[Episode]) -> float:
    """-log₁₀ of a bound on the chance that the first completions of the groups' samples repeat each other so
    often; 0 where they do so less than is to be expected.

    Given the first sample of a group, each other one is the same with its probability p, independently. For
    their number X with expectation E, P(X ≥ x) ≤ exp(x - E - x ln(x / E)) (Chernoff), whatever the p are.
    """
    groups: dict[int, list[Turn]] = {}
    for episode in sorted(episodes, key=lambda episode: (episode.group, episode.sample)):
        if episode.turns and episode.turns[0].completion_ids:
            groups.setdefault(episode.group, []).append(episode.turns[0])
    repeats, expected = 0, 0.0
    for first, *others in groups.values():
        alike = [turn for turn in others if turn.prompt_ids == first.prompt_ids]
        repeats += sum(turn.completion_ids == first.completion_ids for turn in alike)
        expected += len(alike) * math.exp(min(0.0, sum(first.logprobs)))
    if repeats <= expected:
        return 0.0
    expected = max(expected, 1e-300)
    return (repeats * math.log(repeats / expected) - repeats + expected) / math.log(10)
