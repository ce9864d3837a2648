"""Logs of agents from outside: an oracle over MCP is scored as the oracle, what is given up is a failure."""

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from ludus.agents.bench.directory import BenchError
from ludus.agents.bench.episode_log import EpisodeLog, score
from ludus.agents.bench.journal import read_journal
from ludus.agents.bench.tasks import FIRST_SEED, make_tasks
from ludus.agents.episode import StopReason
from ludus.agents.rollout import EnvironmentSpec
from ludus.cli import main
from ludus.envs.base import ChatEnv
from ludus.envs.faults import EnvironmentFault
from ludus.envs.mcp.episodes import Episodes
from ludus.tools.errors import UserError
from ludus.tools.mcp import McpServer
from tests.envs.test_mcp_server import play, play_directly

WEATHER, ARITHMETIC = "ludus/Weather-v0", "ludus/Arithmetic-v0"
MAIN = "import sys; from ludus.cli import main; sys.exit(main())"


def make(id: str) -> Any:
    return gymnasium.make(id, disable_env_checker=True)


def test_an_oracle_over_mcp_scores_what_it_scores_in_the_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "outside.log"
    words = ("serve", "mcp", WEATHER, "--seed", str(FIRST_SEED), "--log", str(log))
    with McpServer([sys.executable, "-c", MAIN, *words]) as server:
        here = make(WEATHER)
        for _ in range(2):
            play(server, here)
            server.call("episode_next")
        server.call("geocode", {"name": "nowhere"})  # and leaves in the middle of the third
    episodes = [*read_journal(log)]
    assert [episode.stop for episode in episodes] == [
        StopReason.TERMINATED,
        StopReason.TERMINATED,
        StopReason.GIVEN_UP,
    ]
    outcome = score(log, tmp_path / "scored", "outside")
    (row,) = outcome.rows
    assert outcome.folder.tasks.sets == (make_tasks(EnvironmentSpec(WEATHER), 3),)
    direct = [play_directly(here, FIRST_SEED + i)["return"] for i in range(2)]
    assert [result.reward for result in outcome.results][:2] == pytest.approx(direct)
    assert row.figures.verdicts == {"success": 2, "given up": 1}
    assert (row.figures.success.value, row.figures.scored) == (pytest.approx(2 / 3), 3)
    assert row.figures.calls > 1
    assert row.baselines["oracle"].success.value == 1

    assert main(["bench", "score", str(log), "--name", "mine", "--out", str(tmp_path / "cli")]) == 0
    assert "2 success, 1 given up" in capsys.readouterr().out
    assert json.loads((tmp_path / "cli/results.json").read_text())["settings"]["model"] == "mine"
    assert (tmp_path / "cli/report.html").exists()


def test_every_way_to_end_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EpisodeLog(tmp_path / "log", ARITHMETIC, {})
    first, second = (Episodes(lambda: make(ARITHMETIC), 5, log.watcher()) for _ in range(2))
    first.say("wrong")
    first.next()
    first.next()  # without an answer
    step = ChatEnv.step

    def breaks(env: Any, action: Any) -> Any:
        raise EnvironmentFault("no disk")

    monkeypatch.setattr(ChatEnv, "step", breaks)
    with pytest.raises(EnvironmentFault):
        first.say("anything")
    monkeypatch.setattr(ChatEnv, "step", step)
    first.next()
    first.close()  # nothing was done in the last one
    second.say("<think>x</think><answer>1</answer>")
    second.close()
    episodes = [*read_journal(tmp_path / "log")]
    assert [(episode.seed, str(episode.stop)) for episode in episodes] == [
        (5, "environment:terminated"),
        (6, "agent:gave-up"),
        (7, "fault:environment"),
        (5, "environment:terminated"),
    ]
    assert episodes[0].turns[0].reply["content"] == "wrong"
    assert episodes[0].turns[0].observation[-1]["role"] == "user"
    outcome = score(tmp_path / "log", tmp_path / "out", "someone")
    figures = outcome.rows[0].figures
    assert (figures.tasks, figures.episodes, figures.faults, figures.repeats) == (2, 4, 1, 2)
    assert outcome.is_incomplete


def test_an_empty_log_and_one_in_use_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(BenchError, match="no finished episodes"):
        score(tmp_path / "log", tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()
    held = EpisodeLog(tmp_path / "held", ARITHMETIC, {})
    with pytest.raises(UserError, match="another process"):
        EpisodeLog(tmp_path / "held", ARITHMETIC, {})
    del held
