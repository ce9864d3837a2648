"""Faults are rare, and do not depend on what the policy does.

A faulted episode counts in no metric and is never trained on. With many faults, every metric describes a
biased selection; and a policy whose actions break its environment escapes the tasks that it would fail.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import comb

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.envs.chat import content_text
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.errors import RunError

CHANCE = 1e-3
"""Faults count as following a kind of action if chance alone would put as many on it with less than this
probability."""

FEWEST = 3
"""With fewer faults than this on a kind of action, there is no warning."""


def check_fault_share(episodes: Sequence[Episode], config: GrpoSection, when: str) -> None:
    """
    Args:
        episodes: All episodes played in a step.
        when: Which step, for a person.

    Raises:
        RunError: if more of them faulted than `config.fault_share_limit` allows.
    """
    faults = [episode.fault for episode in episodes if episode.is_fault]
    share = len(faults) / len(episodes)
    if share > config.fault_share_limit:
        fault, count = Counter(faults).most_common(1)[0]
        raise RunError(
            f"{when}: {len(faults)} of {len(episodes)} episodes faulted ({share:.0%}), more "
            f"than grpo.fault_share_limit = {config.fault_share_limit:g} allows, {count} of them with: "
            f"{fault}. Faulted episodes are left out, so the rest is a biased sample. Fix what broke and go "
            "on with --resume"
        )


def faults_by_action(episodes: Sequence[Episode]) -> str:
    """A one-line warning if the environment's faults follow a kind of action, otherwise an empty string.

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
    kind = min(chances, key=chances.__getitem__, default="")
    if not kind or chances[kind] > CHANCE:
        return ""
    return (
        f"faults follow what the policy does: {broken[kind]} of {faults} environment faults came after "
        f"{kind}, which is {turns[kind] / total:.0%} of all turns (by chance with probability below "
        f"{chances[kind]:.0e}). A faulted episode counts nowhere, so a policy can learn to break its "
        "environment: find the bug, the step's episodes are stored"
    )


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
