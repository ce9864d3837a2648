"""Plays environments of GEM; run by `child.py`, it imports nothing of the project.

An episode follows from (id, seed, replies). The environments draw from the global generators, so each has
states of these of its own, which stand in place while it is played and at no other time. Episodes in play are
kept by their replies; one that is asked for and not kept is played again from its beginning.
"""

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gem
import numpy as np
from gem.envs.registration import ENV_REGISTRY
from gem.utils.constants import TERMINAL_STATE

NAMES = sorted(ENV_REGISTRY)
KEPT = 256
"""Episodes in play."""


class Live:
    """An episode in play."""

    def __init__(self, id: str, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        self.generators = random.getstate(), np.random.get_state()
        with self.own_generators():
            self.env = gem.make(id)
            seen, info = self.env.reset(seed=seed)
        self.text, self.reward, self.done = _text(seen, info), 0.0, False

    @contextmanager
    def own_generators(self) -> Iterator[None]:
        random.setstate(self.generators[0])
        np.random.set_state(self.generators[1])
        try:
            yield
        finally:
            self.generators = random.getstate(), np.random.get_state()

    def step(self, reply: str) -> None:
        with self.own_generators():
            seen, reward, terminated, truncated, info = self.env.step(reply)
        self.text, self.reward, self.done = _text(seen, info), float(reward), bool(terminated or truncated)


_live: "OrderedDict[tuple[Any, ...], Live]" = OrderedDict()


def answer(question: Any) -> Any:
    if question == "names":
        return NAMES
    what, id, seed, replies, *rest = question
    live = reached(id, seed, tuple(replies))
    if what == "play":
        return {"text": live.text, "reward": live.reward, "done": live.done}
    return possible(live, *rest)


def reached(id: str, seed: int, replies: tuple[str, ...]) -> Live:
    """The episode after these replies."""
    key = (id, seed)
    if (key, replies) not in _live:
        live = _live.pop((key, replies[:-1]), None) if replies else None
        rest = replies[-1:]
        if live is None:
            live, rest = Live(id, seed), replies
        for reply in rest:
            live.step(reply)
        _live[key, replies] = live
        if len(_live) > KEPT:
            _live.popitem(last=False)
    return _live[key, replies]


def possible(live: Live, draw: int) -> str | None:
    """A reply of the kind that is asked for, drawn by the environment itself; None where it draws none."""
    standing = random.getstate()
    random.seed(draw)
    try:
        return str(live.env.sample_random_action())
    except NotImplementedError:
        return None
    finally:
        random.setstate(standing)


def _text(seen: Any, info: dict[str, Any]) -> str:
    """What is seen, and what is asked for then, which the library's wrappers put behind it."""
    text = "" if seen == TERMINAL_STATE else str(seen)
    asked = info.get("suffix") or ""
    if isinstance(asked, dict):  # some games put it there twice
        asked = asked.get("suffix") or ""
    return f"{text}\n{asked}".strip()
