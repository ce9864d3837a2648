"""`ludus judge`: what the judges of a configuration fall for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ludus.tools.judging.attacks import ATTACKS

from ..judge_server import JudgeServer, candidates

CONFIG = Path(__file__).parents[2] / "configs" / "judge.toml"


@pytest.fixture
def gullible() -> Iterator[str]:
    """Likes length alone."""
    server = JudgeServer(lambda content: json.dumps({"verdict": min(10, len(candidates(content)[0]) / 50)}))
    yield server.url
    server.close()


def test_it_says_which_attacks_succeed(run, gullible: str) -> None:
    result = run("judge", str(CONFIG), "--tasks", "2", "--scorers.0.judge.model", gullible)
    assert result.code == 1
    for name in ("none", *ATTACKS):
        assert name in result.out
    lines = result.out.splitlines()
    assert any("padding" in line and "2 of 2" in line for line in lines)
    assert any("empty" in line and "0 of 2" in line for line in lines)
    assert f"of {2 * (1 + len(ATTACKS))} attacks succeed" in lines[-1]
    loose = ("--trust.planted_answers", "1.0")
    assert run("judge", str(CONFIG), "--tasks", "1", "--scorers.0.judge.model", gullible, *loose).code == 0


def test_a_judge_without_a_verdict_is_not_safe_and_it_says_why(run) -> None:
    server = JudgeServer(lambda content: "It depends.")
    result = run("judge", str(CONFIG), "--tasks", "1", "--scorers.0.judge.model", server.url)
    server.close()
    assert result.code == 1
    last = result.out.splitlines()[-1]
    assert f"nothing was judged, {1 + len(ATTACKS)} without a verdict; the first: " in last
    assert "nan" not in result.out
    assert "It depends" in last


def test_a_configuration_without_scorers_is_refused(run) -> None:
    result = run("judge", str(CONFIG.with_name("tiny.toml")))
    assert result.code == 2
    assert "no [[scorers]]" in result.err
