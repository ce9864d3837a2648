"""Curricula: which levels the next step plays, from the metrics of the steps so far.

A pure function of the history, so that a resumed run goes on as it would have.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from ludus.trainers.config.curriculum import CurriculumSection
from ludus.trainers.mixture import Member, Mixture

History = Sequence[Mapping[str, float | str]]

LEAST_LEARNABILITY = 0.05
"""Levels that teach less are still drawn as if they taught this much: a policy changes, and so does what it
can learn from."""


def level_chances(mixture: Mixture, history: History) -> dict[str, list[float]]:
    """Environment's name → the chance of each of its levels in the step after `history`."""
    return {member.name: _chances(member, history) for member in mixture.members}


def all_levels(mixture: Mixture) -> dict[str, list[float]]:
    """Every level alike, as for demonstrations."""
    return {member.name: [1.0] * len(member.specs) for member in mixture.members}


def comparable(history: History) -> History:
    """The steps at the same levels as the last one: the reward of others says nothing about this one's."""
    return [line for line in history if _levels_of(line) == _levels_of(history[-1])]


def metric(name: str, figure: str) -> str:
    """The metric of one environment's figure."""
    return f"environments/{name}/{figure}"


def _chances(member: Member, history: History) -> list[float]:
    count, curriculum = len(member.specs), member.curriculum
    if curriculum is None:
        return [1.0]
    if curriculum.kind == "learnability":
        learnabilities = [_learnability(member, level, curriculum, history) for level in range(count)]
        return [max(value, LEAST_LEARNABILITY) for value in learnabilities]
    level = _level_by_success(member, curriculum, history)
    return [float(index == level) for index in range(count)]


def _level_by_success(member: Member, curriculum: CurriculumSection, history: History) -> int:
    """The last level, one higher or one lower if success at it, over the window, is above `high` or below
    `low`."""
    played = list(_columns(history, metric(member.name, "level"), metric(member.name, "success")))
    if not played:
        return curriculum.start
    level = int(played[-1][0])
    successes: list[float] = []
    for then, success in reversed(played):
        if then != level or len(successes) == curriculum.window:
            break
        successes.append(success)
    if len(successes) < curriculum.window:
        return level
    share = fmean(successes)
    step = (share > curriculum.high) - (share < curriculum.low)
    return min(max(level + step, 0), len(member.specs) - 1)


def _learnability(member: Member, level: int, curriculum: CurriculumSection, history: History) -> float:
    """The share of the level's groups that were not flat, over the last steps that played it; 1 if none has,
    so that every level is tried."""
    flat = [share for (share,) in _columns(history, metric(member.name, f"level-{level}/flat_groups"))]
    return 1.0 - fmean(flat[-curriculum.window :]) if flat else 1.0


def _columns(history: History, *names: str) -> Iterator[tuple[float, ...]]:
    """The values of the steps that have all of them."""
    for line in history:
        if all(name in line for name in names):
            yield tuple(float(line[name]) for name in names)


def _levels_of(line: Mapping[str, float | str]) -> dict[str, float | str]:
    return {
        name: value
        for name, value in line.items()
        if name.startswith("environments/") and name.endswith("/level")
    }
