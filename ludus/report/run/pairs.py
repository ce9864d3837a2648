"""Which episodes the report shows, by a stated rule: improvements and failures alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ludus.agents.episode import Episode

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Pair:
    """Two episodes to read side by side; one may be missing."""

    kind: str
    """Its class of pairs, such as `solved after training`."""
    count: int
    """The number of pairs in the class, this one included."""
    left: Episode | None
    right: Episode | None


@dataclass(frozen=True)
class Matched:
    """Two evaluations on the same tasks, joined: one pair per episode of a task that both played without
    a fault."""

    pairs: tuple[tuple[Episode, Episode], ...]

    def gains(self) -> list[float]:
        return self.by_task(lambda episode: episode.episode_return)

    def by_task(self, measure: Callable[[Episode], float]) -> list[float]:
        """After minus before, for each task; the mean over its samples."""
        changes: dict[Key, list[float]] = {}
        for before, after in self.pairs:
            changes.setdefault(task_key(after), []).append(measure(after) - measure(before))
        return [fmean(values) for values in changes.values()]


HELDOUT_RULE = (
    "One task of each kind: the largest gain in return among tasks that only the final model solves, the "
    "largest loss among those that only the primed model solves, and the middle one, in seed order, of those "
    "that neither or both solve; then the largest gain and loss overall, unless already shown. Ties go to "
    "the lower seed."
)
TRAINING_RULE = (
    "From the first and the last stored training batch: the episodes with the median, the lowest and the "
    "highest return, and the first that was cut off, forked or ended in a fault. The tasks on the two sides "
    "differ."
)


def match(before: Sequence[Episode], after: Sequence[Episode]) -> Matched:
    """Join on task, seed and sample, in seed order."""
    played = {_key(episode): episode for episode in reversed(before) if episode.is_scored}
    joined = {
        _key(episode): (played[_key(episode)], episode)
        for episode in reversed(after)
        if episode.is_scored and _key(episode) in played
    }
    return Matched(
        tuple(sorted(joined.values(), key=lambda pair: (pair[1].seed, pair[1].task, pair[1].sample)))
    )


def heldout_pairs(matched: Matched) -> list[Pair]:
    """At most six pairs, by `HELDOUT_RULE`."""
    pairs = matched.pairs
    classes: list[
        tuple[str, list[tuple[Episode, Episode]], Callable[[Sequence[tuple[Episode, Episode]]], int]]
    ] = [
        (
            "solved only after training",
            [p for p in pairs if p[1].success and not p[0].success],
            _largest_gain,
        ),
        ("solved only before", [p for p in pairs if p[0].success and not p[1].success], _largest_loss),
        ("solved by neither", [p for p in pairs if not p[0].success and not p[1].success], _middle),
        ("solved by both", [p for p in pairs if p[0].success and p[1].success], _middle),
        ("higher return", [p for p in pairs if _gain(p) > 0], _largest_gain),
        ("lower return", [p for p in pairs if _gain(p) < 0], _largest_loss),
    ]
    shown: list[Pair] = []
    for kind, members, choose in classes:
        if members:
            left, right = members[choose(members)]
            if all(pair.right is not right for pair in shown):
                shown.append(Pair(kind, len(members), left, right))
    return shown


def training_pairs(early: Sequence[Episode], late: Sequence[Episode]) -> list[Pair]:
    """At most four pairs, by `TRAINING_RULE`; none if nothing is stored."""
    if not early and not late:
        return []
    pairs = [
        Pair(kind, 0, _at_rank(early, rank), _at_rank(late, rank))
        for kind, rank in (("median return", 0.5), ("lowest return", 0.0), ("highest return", 1.0))
    ]
    odd_early, odd_late = [e for e in early if is_odd(e)], [e for e in late if is_odd(e)]
    if odd_early or odd_late:
        first_early, first_late = next(iter(odd_early), None), next(iter(odd_late), None)
        pairs.append(
            Pair("cut off, forked or faulted", len(odd_early) + len(odd_late), first_early, first_late)
        )
    return [pair for pair in pairs if pair.left or pair.right]


def typical(matched: Matched) -> tuple[Episode, Episode] | None:
    """The task whose two returns are closest to the two means: typical, not the best."""
    if not matched.pairs:
        return None
    count = len(matched.pairs)
    mean_before = sum(before.episode_return for before, _ in matched.pairs) / count
    mean_after = sum(after.episode_return for _, after in matched.pairs) / count
    return min(
        matched.pairs,
        key=lambda p: (p[0].episode_return - mean_before) ** 2 + (p[1].episode_return - mean_after) ** 2,
    )


def is_odd(episode: Episode) -> bool:
    """Whether the episode deserves a flag."""
    return not episode.is_scored or any(turn.fork or turn.finish == "length" for turn in episode.turns)


def task_key(episode: Episode) -> Key:
    """The same for all samples of a task."""
    return episode.environment, episode.task, episode.seed


def _key(episode: Episode) -> tuple[Key, int]:
    return task_key(episode), episode.sample


def _gain(pair: tuple[Episode, Episode]) -> float:
    return pair[1].episode_return - pair[0].episode_return


def _largest_gain(pairs: Sequence[tuple[Episode, Episode]]) -> int:
    return max(range(len(pairs)), key=lambda i: (_gain(pairs[i]), -i))


def _largest_loss(pairs: Sequence[tuple[Episode, Episode]]) -> int:
    return min(range(len(pairs)), key=lambda i: (_gain(pairs[i]), i))


def _middle(pairs: Sequence[tuple[Episode, Episode]]) -> int:
    return len(pairs) // 2


def _at_rank(episodes: Sequence[Episode], rank: float) -> Episode | None:
    played = sorted((e for e in episodes if e.is_scored), key=lambda e: e.episode_return)
    return played[round(rank * (len(played) - 1))] if played else None
