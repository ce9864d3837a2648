from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.registration import environment_ids

RUN_PROGRAMS = ("ludus.envs.code.", "ludus.envs.math.mathtool")

ONE_OF_EACH_KIND = ("Arithmetic", "CodeFunction", "Market", "PacMan", "TicTacToeChat", "Weather")
"""Of those that hold texts alone, a sandbox, compiled code, an opponent, services."""


def environments(is_slow: Callable[[str], bool]) -> list[Any]:
    """Every environment, slow where that is said of the name between `ludus/` and the version."""
    names = {id: id.removeprefix("ludus/").rpartition("-v")[0] for id in environment_ids()}
    return [pytest.param(id, marks=[pytest.mark.slow] if is_slow(name) else []) for id, name in names.items()]


@pytest.fixture(params=environment_ids())
def id(request: pytest.FixtureRequest) -> str:
    """Every environment; one that runs programs only where they can be run."""
    name: str = request.param
    if str(gymnasium.spec(name).entry_point).startswith(RUN_PROGRAMS):
        request.getfixturevalue("needs_sandbox")
    return name
