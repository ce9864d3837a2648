"""`ludus arena`: a table, results and a report; killed and called again; bad input in one line."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ludus.agents.arena.folder import Settings, read_games
from ludus.agents.arena.run import Contestant, arena
from ludus.agents.match import GamePlayer
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.cli.arena.progress import LiveArena

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing."""
    return build_small_model(
        [EnvironmentSpec("ludus/TicTacToeChat-v0")],
        SmallModelShape(hidden=16, layers=1, heads=1, kv_heads=1, head_dim=16, intermediate=16),
        cache_directory=tmp_path_factory.mktemp("models"),
    )


def test_an_arena_has_a_table_results_and_a_report(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "arena"
    result = run("arena", "Nim", "--players", "random", "strong=oracle", "--games", 4, "--out", out)
    assert result.code == 0, result.err
    assert re.search(r"strong +[\d,]+ +[-\d,]+ to [\d,]+ .*\) +4 ", result.out)
    found = json.loads((out / "results.json").read_text())
    assert [player["name"] for player in found["players"]] == ["strong", "random"]
    assert found["anchors"] == {"random": 0.0}
    page = (out / "report.html").read_text()
    data = json.loads(page.partition('id="replay-data">')[2].partition("</script>")[0])
    assert len(data["games"]) == 2
    for game in data["games"]:
        assert len(game["boards"]) == len(game["plies"]) + 1
        assert max(game["boards"]) < len(data["pictures"])

    again = run("arena", "Nim", "--players", "strong=oracle", "random", "--games", 4, "--out", out)
    assert again.code == 0, again.err
    assert "4 already played" in again.err
    assert json.loads((out / "results.json").read_text())["players"] == found["players"]
    run("arena", "Nim", "--players", "random", "strong=oracle", "--games", 6, "--out", out).assert_refused(
        1, "games 4, not 6", "--out"
    )


def test_the_standings_are_drawn_while_games_are_played(tmp_path: Path) -> None:
    settings = Settings(
        "Nim", {name: f"scripted:{name}" for name in ("random", "oracle")}, 4, "round-robin", 0, 3, None
    )
    console = Console(force_terminal=True, width=120, file=io.StringIO())
    listener = LiveArena(settings, console)
    contestants = [Contestant(name, lambda name=name: GamePlayer(name)) for name in settings.players]
    with listener.live:
        arena(settings, contestants, tmp_path, listener=listener)
        shown = Console(width=120, file=io.StringIO())
        listener.draw()
        shown.print(listener.live.renderable)
    assert "4 of 4 games" in shown.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"oracle +\d+ .* 4 ", shown.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.slow
def test_killed_and_called_again_it_plays_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ludus", "arena", "Othello", "--players", "random", "minimax:1"]
    command += ["--games", "40", "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "games.jsonl"
    until = time.monotonic() + 120
    while not journal.exists() or journal.stat().st_size < 10_000:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = read_games(tmp_path / "killed")
    assert 0 < len(kept) < 40
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    games = read_games(tmp_path / "killed")
    assert len(games) == 40
    assert {fixture: games[fixture] for fixture in kept} == kept


def test_models_play_as_in_eval_and_are_anchored(run: Run, tmp_path: Path, small_model: Path) -> None:
    out = tmp_path / "arena"
    words = ["arena", "TicTacToe", "--players", f"mine={small_model}", f"other={small_model}", "random"]
    result = run(*words, "--games", 2, "--max-tokens", 6, "--error-limit", 2, "--out", out)
    assert result.code == 0, result.err
    found = json.loads((out / "results.json").read_text())
    lines = {player["name"]: player for player in found["players"]}
    assert lines["random"]["anchored"]
    assert lines["mine"]["about"] == str(small_model)
    assert lines["mine"]["malformed"] + lines["mine"]["illegal"] > 0
    assert lines["mine"]["forfeits"] + lines["other"]["forfeits"] > 0


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["Chess", "--players", "random", "oracle"], 2, ["Chess"]),
        (["TicTacToe", "--players", "random", "orakle"], 2, ["no player orakle", "did you mean oracle"]),
        (["TicTacToe", "--players", "random", "random"], 2, ["two players have the name random"]),
        (["TicTacToe", "--players", "a=random", "a=oracle"], 2, ["two players have the name a"]),
        (["TicTacToe", "--players", "random"], 2, ["at least two players"]),
        (["TicTacToe", "--players", "random", "minimax:0"], 2, ["minimax:0"]),
        (["TicTacToe", "--players", "random", "oracle", "--games", "0"], 2, ["--games 0", "even"]),
        (["TicTacToe", "--players", "random", "oracle", "--games", "5"], 2, ["--games 5", "even"]),
        (["Nim", "--players", "random", "oracle", "--arg", "heaps=9"], 2, ["heaps"]),
        (["Nim", "--players", "random", "oracle", "--arg", "stones=9"], 2, ["stones"]),
        (["TicTacToe", "--players", "random", "oracle", "--timeout", "5"], 2, ["--timeout"]),
        (["TicTacToe", "--players", "random", "oracle", "--reply-seconds", "0"], 2, ["--reply-seconds"]),
    ],
)
def test_bad_input_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, names: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("arena", *words).assert_refused(code, *names)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model_is_one_line_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "arena"
    result = run("arena", "TicTacToe", "--players", "random", tmp_path / "empty", "--games", 2, "--out", out)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("error: ")
    assert "has no config.json" in result.err
    missing = run("arena", "TicTacToe", "--players", "random", tmp_path / "none", "--games", 2, "--out", out)
    assert missing.code == 1
    assert f"no folder {tmp_path / 'none'}" in missing.err.splitlines()[-1]
