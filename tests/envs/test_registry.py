"""Every registered environment keeps the whole contract."""

import warnings
from collections.abc import Sequence

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.conformance import CHECKS, check
from ludus.envs.errors import ArgumentError
from ludus.registration import environment_ids
from ludus.tools.errors import UserError

from .conftest import ONE_OF_EACH_KIND, environments

RUN_PROGRAMS = ("ludus.envs.code.", "ludus.envs.math.mathtool.")


LONG = (
    *("Assistant", "Calendar", "CodeFunctionRepl", "CodeRepair", "ConnectFour", "ConnectFourChat"),
    *("DataAnalysis", "MarketChat", "MathTool", "Minichess", "MinichessChat", "MinichessValue"),
    *("Othello", "OthelloChat", "PacManVision", "PacManWhere", "Search"),
)
"""Environments whose conformance suite takes ten seconds or more: long episodes, an oracle that searches."""
START_PROCESSES = ("processes", "vectors")
"""Checks that start a dozen processes."""


def is_long(id: str) -> bool:
    return id.startswith(tuple(f"ludus/{name}-" for name in LONG))


@pytest.mark.parametrize("id", environments(lambda name: name in LONG))
def test_conforms(id: str, request: pytest.FixtureRequest) -> None:
    conforms(id, [name for name in CHECKS if is_long(id) or name not in START_PROCESSES], request)


@pytest.mark.parametrize(
    "id",
    [
        environment
        for environment in environments(lambda name: name not in ONE_OF_EACH_KIND)
        if not is_long(environment.values[0])
    ],
)
def test_conforms_in_other_processes(id: str, request: pytest.FixtureRequest) -> None:
    conforms(id, START_PROCESSES, request)


def conforms(id: str, checks: Sequence[str], request: pytest.FixtureRequest) -> None:
    if str(gymnasium.spec(id).entry_point).startswith(RUN_PROGRAMS):
        request.getfixturevalue("needs_sandbox")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # From Python 3.12 on, for AsyncVectorEnv's workers: other tests in this process leave threads behind.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        report = check(id, episodes=25, only=checks)
    assert report.passed, str(report)
    assert [outcome.name for outcome in report.checks] == [*checks]


@pytest.mark.parametrize("id", environment_ids())
def test_an_unknown_argument_is_a_type_error_in_pythons_words(id: str) -> None:
    """Libraries try out arguments such as Atari's `frameskip`, and continue after a TypeError."""
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'") as refused:
        gymnasium.make(id, frameskip=4)
    assert isinstance(refused.value, UserError)


@pytest.mark.parametrize("id", environment_ids())
def test_a_wrong_render_mode_is_refused_by_name(id: str) -> None:
    entry = gymnasium.envs.registration.load_env_creator(gymnasium.spec(id).entry_point)
    with pytest.raises(ArgumentError, match="render_mode: 'hologram' is unknown"):
        entry(render_mode="hologram")


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 2, "fractions": True, "think_tag": "work", "answer_tag": "result"},
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                {"operations": ("add", "subtract"), "digits": 2, "depth": 1, "phrasing": "bare"},
                {"operations": ("multiply",), "operands": (10, 99), "phrasing": "words"},
                {"depth": 4, "digits": 3},
                {"operations": ("divide",), "fractions": True},
                {"reply_format": "plain", "fractions": True},
            )
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("id", ["ludus/Arithmetic-v0", "ludus/ArithmeticChallenge-v0"])
def test_arithmetic_conforms_with_other_arguments(id: str, arguments: dict) -> None:
    report = check(
        id, episodes=40, only=("malformed replies", "rewards", "snapshots", "scripted agents"), **arguments
    )
    assert report.passed, str(report)
