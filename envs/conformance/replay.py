"""Plays recordings in a process of its own: `python -m ludus.envs.conformance.replay`, with pickled work as
input."""

import hashlib
import pickle
import sys
from collections.abc import Callable
from typing import Any

import gymnasium

from ludus.envs.conformance.episodes import Recording, replay


def digest(make: Callable[[], gymnasium.Env[Any, Any]], recordings: tuple[Recording, ...]) -> str:
    """A hash of what comes of the recorded seeds and actions."""
    env = make()
    traces = [tuple(replay(env, recording)) for recording in recordings]
    env.close()
    return hashlib.sha256(repr(traces).encode("utf-8", "backslashreplace")).hexdigest()


def main() -> None:
    """Print the digest of the work that comes in: the parent's `sys.path`, what to make, what to replay."""
    path, work = pickle.load(sys.stdin.buffer)
    # The environment's module must be found here as it is there.
    sys.path[:] = path
    print(digest(*pickle.loads(work)))
