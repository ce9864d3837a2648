"""Faults are rare, and do not depend on what the policy does.

A faulted episode counts in no metric and is never trained on. With many faults, every metric describes a
biased selection; and a policy whose actions break its environment escapes the tasks that it would fail.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import comb
from statistics import fmean, median

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.envs.chat import content_text
from ludus.trainers.checks.trust import Reading, Readings

FEWEST = 3
"""With fewer faults than this on a kind of action, nothing is said of it."""


def fault_readings(episodes: Sequence[Episode]) -> Readings:
    """
    Args:
        episodes: All episodes played in a step.
    """
    return {
        "fault_share": fault_share(episodes),
        "faults_by_action": faults_by_action(episodes),
        "faults_by_reward": faults_by_reward(episodes),
    }


def fault_share(episodes: Sequence[Episode]) -> Reading:
    """The share that faulted, and what most of them faulted with."""
    faults = [episode.fault for episode in episodes if episode.is_fault]
    if not faults:
        return Reading(0.0)
    fault, count = Counter(faults).most_common(1)[0]
    told = f"{len(faults)} of {len(episodes)} episodes faulted, {count} of them with: {fault}"
    return Reading(len(faults) / len(episodes), told)


def faults_by_action(episodes: Sequence[Episode]) -> Reading:
    """-log₁₀ of the chance that so many of the environment's faults follow one kind of action.

    Every turn is of one or more kinds: a call of a tool, no call at all, text with unprintable characters. If
    faults were independent of actions, the number of them on turns of one kind would be hypergeometric; its
    tail, times the number of kinds, bounds the probability of so many (Fisher's exact test, Bonferroni's
    bound).
    """
    turns: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    total = faults = 0
    for episode in episodes:
        for number, turn in enumerate(episode.turns, 1):
            last = episode.stop is StopReason.ENVIRONMENT_FAULT and number == len(episode.turns)
            total, faults = total + 1, faults + last
            for kind in set(_kinds(turn)):
                turns[kind] += 1
                broken[kind] += last
    chances = {
        kind: len(turns) * _tail(total, turns[kind], faults, count)
        for kind, count in broken.items()
        if count >= FEWEST
    }
    if not chances:
        return Reading(0.0)
    kind = min(chances, key=chances.__getitem__)
    told = (
        f"{broken[kind]} of {faults} environment faults came after {kind}, which is "
        f"{turns[kind] / total:.0%} of all turns"
    )
    return Reading(_improbability(chances[kind]), told)


def faults_by_reward(episodes: Sequence[Episode]) -> Reading:
    """-log₁₀ of the chance that so many faults are in groups whose other episodes earned less, or more, than
    the median group: hypergeometric if faults were independent of that (Fisher's exact test, times 2 for the
    two sides)."""
    groups: dict[int, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.group, []).append(episode)
    judged = [
        (fmean(scored), sum(e.is_fault for e in group), len(group))
        for group in groups.values()
        if (scored := [e.episode_return for e in group if e.is_scored])
    ]
    faults = sum(count for _, count, _ in judged)
    if faults < FEWEST:
        return Reading(0.0)
    middle, total = median(mean for mean, _, _ in judged), sum(size for _, _, size in judged)
    worst = Reading(0.0)
    for side in ("less", "more"):
        chosen = [g for g in judged if (g[0] < middle if side == "less" else g[0] > middle)]
        inside, size = sum(count for _, count, _ in chosen), sum(size for _, _, size in chosen)
        if chosen:
            chance = _improbability(2 * _tail(total, size, faults, inside))
            if chance > worst.value:
                told = f"{inside} of {faults} faults are in the groups that earn {side} than the median"
                worst = Reading(chance, told)
    return worst


def _improbability(chance: float) -> float:
    return max(0.0, -math.log10(max(chance, 1e-300)))


def _kinds(turn: Turn) -> Iterator[str]:
    calls = turn.reply.get("tool_calls") or []
    for call in calls:
        yield f"a call of {call['function']['name']}"
    if not calls:
        yield "a reply without a tool call"
    text = content_text(turn.reply) + "".join(str(call["function"]["arguments"]) for call in calls)
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda escape: chr(int(escape[1], 16)), text)
    if not text.replace("\n", "").isprintable():
        yield "characters that cannot be printed"


def _tail(total: int, of_kind: int, drawn: int, at_least: int) -> float:
    """P(X >= at_least), where X is how many of `drawn` turns, drawn from `total`, are among the `of_kind`
    turns of a kind."""
    ways = sum(
        comb(of_kind, k) * comb(total - of_kind, drawn - k) for k in range(at_least, min(of_kind, drawn) + 1)
    )
    return ways / comb(total, drawn)
