"""`best_line`: what an oracle plays that knows nothing of the game, only how to try it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any


def best_line(env: Any, reply: Callable[[Any, int], str], episodes: int) -> list[str]:
    """The replies of the best of so many episodes in a copy of the environment, from where it stands; none
    follows one that succeeded.

    Args:
        reply: the next reply, from the copy and the number of the episode.
    """
    here, twin = env.snapshot(), deepcopy(env)
    twin.render_mode = None
    best: tuple[bool, float, list[str]] | None = None
    for number in range(episodes):
        twin.restore(here)
        line: list[str] = []
        total, ended, info = 0.0, False, {}
        while not ended:
            line.append(reply(twin, number))
            _, reward, terminated, truncated, info = twin.step(line[-1])
            total, ended = total + reward, terminated or truncated
        if best is None or (info["success"], total) > best[:2]:
            best = (info["success"], total, line)
        if info["success"]:
            break
    return best[2] if best else []
