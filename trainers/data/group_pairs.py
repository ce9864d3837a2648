"""Pairs from episodes that share a start: in each group, the best against the worst."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ludus.agents.bench.directory import open_folder
from ludus.agents.episode import Episode
from ludus.agents.store import read_episodes
from ludus.envs.chat import Message
from ludus.tools.errors import DataError
from ludus.tools.wording import did_you_mean
from ludus.trainers.data.dialogue import Dialogue
from ludus.trainers.data.pairs import Pair, common_beginning
from ludus.trainers.data.traces import dialogues_of, is_bench_folder

Judge = Callable[[Episode], float]
"""How good an episode is."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two episodes of a group."""

    chosen: Episode
    rejected: Episode
    margin: float
    """By how much the chosen one is judged better; above 0."""


def contrasts(
    group: Sequence[Episode], judge: Judge, most: int = 1, least_margin: float = 0.0
) -> list[Contrast]:
    """The best episode against the worst, the second best against the second worst, and so on. Of episodes
    with the same replies the first counts, of those judged the same the first comes first.

    Args:
        group: Episodes with the same start, all scored.
        most: How many at most.
        least_margin: A smaller margin is no contrast; nor is 0.
    """
    distinct: dict[str, Episode] = {}
    for episode in group:
        distinct.setdefault(json.dumps([turn.reply for turn in episode.turns]), episode)
    ranked = sorted(distinct.values(), key=lambda episode: -judge(episode))
    found = (
        Contrast(best, worst, judge(best) - judge(worst))
        for best, worst in zip(ranked, reversed(ranked), strict=True)
    )
    return [*takewhile(lambda pair: pair.margin > 0 and pair.margin >= least_margin, found)][:most]


def judge_by(name: str) -> Judge:
    """What judges by `success`, by `reward` (the episode's return), or by a reward term of that name, summed
    over the turns."""
    if name == "success":
        return lambda episode: float(episode.success)
    if name == "reward":
        return lambda episode: episode.episode_return
    return lambda episode: episode.reward_terms().get(name, 0.0)


@dataclass
class Count:
    """What became of the groups."""

    groups: int = 0
    alike: int = 0
    """Groups without a pair."""
    unusable: int = 0
    """Episodes left out: faults, refusals, replies that were cut off."""


def group_pairs(
    source: Path, by: str, most: int = 1, least_margin: float = 0.0, count: Count | None = None
) -> Iterator[Pair]:
    """Pairs from a run's folder (its training episodes, never those of an evaluation), a folder of `ludus
    bench` or an episode file.

    Args:
        by: See `judge_by`.
        most: Of a group; see `contrasts`, as for `least_margin`.
        count: Gets what became of the groups.

    Raises:
        DataError: there are no such episodes, or none of them has the term.
        UserError: a file is damaged.
    """
    count = count or Count()
    for path, episodes in _episodes(source):
        refuse_unknown(str(path), by, episodes)
        groups: dict[str, list[tuple[Episode, Dialogue]]] = {}
        for episode, told in zip(episodes, dialogues_of(path, episodes), strict=True):
            key = json.dumps([episode.environment, episode.arguments, episode.seed], sort_keys=True)
            members = groups.setdefault(key, [])
            count.unusable += bool(told.unusable)
            if not told.unusable:
                members.append((episode, told))
        for members in groups.values():
            told_of = {id(episode): told for episode, told in members}
            found = contrasts([episode for episode, _ in members], judge_by(by), most, least_margin)
            count.groups += 1
            count.alike += not found
            for pair in found:
                yield _pair(told_of[id(pair.chosen)], told_of[id(pair.rejected)], pair.margin, by)


def _episodes(source: Path) -> Iterator[tuple[Path, list[Episode]]]:
    if is_bench_folder(source):
        yield source, open_folder(source).episodes()
    elif source.is_file():
        yield source, read_episodes(source)
    else:
        files = [
            *sorted(source.glob("episodes/rft-*.parquet")),
            *sorted(source.glob("episodes/train-*.parquet")),
        ]
        if not files:
            raise DataError(
                f"{source} has no training episodes to make pairs of: a run keeps those of rejection "
                "sampling (rft.iterations) and of every grpo.store_every-th step; name one that has, a "
                "folder of ludus bench, or an episode file"
            )
        for path in files:
            yield path, read_episodes(path)


def refuse_unknown(place: str, by: str, episodes: Sequence[Episode]) -> None:
    """
    Raises:
        DataError: none of the episodes has the reward term that is to judge them.
    """
    known = ["success", "reward", *sorted({name for episode in episodes for name in episode.reward_terms()})]
    if episodes and by not in known:
        hint = did_you_mean(by, known, otherwise=f"there is {', '.join(known)}")
        raise DataError(f"{place}: no episode has a reward term {by!r}; {hint}")


def _pair(chosen: Dialogue, rejected: Dialogue, margin: float, by: str) -> Pair:
    sides = _messages(chosen), _messages(rejected)
    return Pair(*common_beginning(*sides), chosen.tools, margin, by, chosen.place)


def _messages(told: Dialogue) -> list[Message]:
    return [message for turn in told.turns for message in (*turn.observation, turn.reply)]
