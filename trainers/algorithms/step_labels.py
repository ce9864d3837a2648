"""Labels for the steps of replies: how often the policy succeeds when it goes on from there.

Math-Shepherd's soft estimation (arXiv:2312.08935, section 3.2), for steps in any turn of an episode: the
episode's turns up to there are said again, in the same environment from the same seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from ludus.agents.episode import Episode
from ludus.agents.formats.base import ChatFormat
from ludus.agents.reward_model import turn_steps
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, Job
from ludus.trainers.config.reward_model import RewardModelSection
from ludus.trainers.data.examples import with_labels
from ludus.trainers.parallel.play import play
from ludus.trainers.parallel.team import Team
from ludus.trainers.tasks import Task


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a step."""

    episode: int
    turn: int
    token: int
    """Of the completion, the one that ends the step."""


def play_episodes(
    team: Team, tasks: Sequence[Task], samples: int, temperature: float, told: Callable[[Episode], None]
) -> list[Episode]:
    """Episodes that the policy plays, without faults."""
    jobs = [
        (task.spec, EpisodeStart(task.seed, group, sample))
        for group, task in enumerate(tasks)
        for sample in range(samples)
    ]
    return [episode for episode in play(team, jobs, temperature, told).episodes if episode.is_scored]


def continuations(
    episodes: Sequence[Episode], chat_format: ChatFormat, section: RewardModelSection
) -> tuple[list[Place], list[Job]]:
    """The steps that do not end their episode, and `rollouts` episodes from the end of each, whose groups are
    the steps' numbers."""
    places: list[Place] = []
    jobs: list[Job] = []
    for number, episode in enumerate(episodes):
        spec = EnvironmentSpec(episode.environment, episode.arguments)
        said = [turn.completion_ids for turn in episode.turns]
        for index, turn in enumerate(episode.turns):
            if not turn.completion_ids:
                continue
            for _, token in turn_steps(turn, chat_format, section.separator):
                is_reply = token == len(turn.completion_ids) - 1
                if is_reply and index == len(episode.turns) - 1:
                    continue
                opening = (
                    (*said[:index], said[index], ())
                    if is_reply
                    else (*said[:index], said[index][: token + 1])
                )
                for _ in range(section.rollouts):
                    sample = section.samples + len(jobs)  # no two have the same random numbers
                    start = EpisodeStart(episode.seed, len(places), sample, opening=tuple(opening))
                    jobs.append((spec, start))
                places.append(Place(number, index, token))
    return places, jobs


def label_steps(
    team: Team,
    episodes: Sequence[Episode],
    chat_format: ChatFormat,
    section: RewardModelSection,
    temperature: float,
    told: Callable[[Episode], None],
) -> list[Episode]:
    """The episodes with a label at the end of each step (`ludus.trainers.data.examples`): the share of its
    rollouts that succeeded; of an episode's last step, whether it did. A step of which every rollout was a
    fault has none."""
    places, jobs = continuations(episodes, chat_format, section)
    played = play(team, jobs, temperature, told).episodes if jobs else []
    labels: list[list[dict[int, float]]] = [[{} for _ in episode.turns] for episode in episodes]
    for group, members in groupby(played, key=lambda episode: episode.group):
        if successes := [episode.success for episode in members if episode.is_scored]:
            place = places[group]
            labels[place.episode][place.turn][place.token] = fmean(successes)
    for episode, of_episode in zip(episodes, labels, strict=True):
        if episode.turns and (last := len(episode.turns[-1].completion_ids)):
            of_episode[-1][last - 1] = float(episode.success)
    return [with_labels(*pair) for pair in zip(episodes, labels, strict=True)]
