import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.registration import environment_ids

RUN_PROGRAMS = ("ludus.envs.code.", "ludus.envs.math.mathtool")


@pytest.fixture(params=environment_ids())
def id(request: pytest.FixtureRequest) -> str:
    """Every environment; one that runs programs only where they can be run."""
    name: str = request.param
    if str(gymnasium.spec(name).entry_point).startswith(RUN_PROGRAMS):
        request.getfixturevalue("needs_sandbox")
    return name
