"""Checks that `info["anchor"]` names the state: where it is the same, the same action leads to the same."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium

from ludus.envs.base import ChatEnv
from ludus.envs.conformance.episodes import REPEATABLE, Episode, Step, Subject, comparable
from ludus.envs.conformance.report import Violation
from ludus.tools.content import NoContentKey

MOST_COMPARED = 40
"""States of which it is looked whether they answer like another with the same key."""


@dataclass(frozen=True)
class _Place:
    """A state in an episode that goes on."""

    seed: int
    position: int
    """Steps before it."""
    anchor: Any
    snapshot: Any
    following: Step


def anchors(subject: Subject) -> str:
    """`anchor` always; states that share one answer the same action in the same way, however they were
    reached."""
    env = subject.make()
    same: dict[Any, list[_Place]] = defaultdict(list)
    states = 0
    for episode in subject.played:
        states += len(episode.steps)
        for place in _walk(env, episode):
            if episode.agent in (*REPEATABLE, "null"):
                same[place.anchor].append(place)
    compared = 0
    tried: set[tuple[Any, str]] = set()
    for places in same.values():
        for place in places:
            # Rather one that was reached in another way, which other positions make sure of.
            others = sorted((p for p in places if p is not place), key=lambda p: p.position == place.position)
            question = place.anchor, repr(comparable(place.following.action))
            if others and question not in tried and compared < MOST_COMPARED:
                tried.add(question)
                compared += _compare(env, place, others[0])
    return f"{states} states, {len(same)} different ones; {compared} compared with another of the same key"


def _walk(env: gymnasium.Env[Any, Any], episode: Episode) -> Iterator[_Place]:
    """The states of an episode but the last, the keys of all checked."""
    made: Any = env.unwrapped
    _, info = env.reset(seed=episode.seed)
    for position, step in enumerate(episode.steps[1:]):
        anchor = _checked(made, info)
        # Where there are no snapshots, another check says so.
        snapshot = made.snapshot() if hasattr(made, "restore") else None
        following = Step(step.action, *env.step(step.action))
        info = following.info
        if snapshot is not None:
            yield _Place(episode.seed, position, anchor, snapshot, following)
    _checked(made, info)


def _compare(env: gymnasium.Env[Any, Any], place: _Place, other: _Place) -> bool:
    """Whether two states could be compared: they cannot where a limit cuts the episode off.

    Raises:
        Violation: the other one answers otherwise.
    """
    expected = place.following
    env.reset(seed=other.seed)
    env.unwrapped.restore(other.snapshot)  # type: ignore[attr-defined]
    found = Step(expected.action, *env.step(expected.action))
    if expected.truncated or found.truncated:
        return False
    if comparable(_seen(found)) != comparable(_seen(expected)):
        raise Violation(
            f"seed {place.seed}: the states after {place.position} and {other.position} steps have the same "
            f'info["anchor"], but {expected.action!r:.120} leads to {_seen(expected)!r:.200} from one and to '
            f"{_seen(found)!r:.200} from the other; put into anchor() what they differ in"
        )
    return True


def _seen(step: Step) -> Any:
    return step.observation, step.reward, step.terminated, step.info


def _checked(env: Any, info: dict[str, Any]) -> Any:
    key = info.get("anchor")
    if isinstance(key, str | int) and not isinstance(key, bool) and key != "":
        return key
    why = "give the state's key, an int or a str"
    if isinstance(env, ChatEnv):
        try:
            env.anchor(env._state)
        except NoContentKey as error:
            why = f"{error}; override anchor(state), or keep such parts out of the state"
    raise Violation(f'info["anchor"] is {key!r}: {why}')
