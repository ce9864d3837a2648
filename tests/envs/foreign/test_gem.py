"""`ludus/Gem-v0`: another library's games, with our promises; and ours in its form, as the page has it."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.conformance import CHECKS, check
from ludus.envs.errors import ArgumentError

pytest.importorskip("gem", reason="needs gem: .ci/foreign.sh")
ID = "ludus/Gem-v0"
PAGE = Path(__file__).parents[3] / "docs" / "surfaces" / "gem.md"


def make(env_id: str = "game:GuessTheNumber-v0-easy", **arguments: Any) -> Any:
    return gymnasium.make(ID, env_id=env_id, **arguments).unwrapped


def guess(number: object) -> str:
    return f"I say \\boxed{{{number}}}."


@pytest.mark.slow
def test_conforms() -> None:
    report = check(ID, episodes=10)
    assert report.passed, str(report)
    assert [outcome.name for outcome in report.checks] == list(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("game", ["Minesweeper", "Game2048", "Sokoban"])
def test_games_that_draw_keep_what_depends_on_that(game: str) -> None:
    kept = ("seeds", "instances", "threads", "snapshots", "anchors")
    report = check(ID, env_id=f"game:{game}-v0-easy", episodes=2, only=kept)
    assert report.passed, str(report)


def test_a_game_is_won_and_lost() -> None:
    env = make()
    messages, _ = env.reset(seed=3)
    assert "between 1 and 10" in messages[0]["content"]
    assert messages[0]["content"].endswith("Enter your next guess.")
    here, steps = env.snapshot(), {}
    for number in range(1, 11):
        env.restore(here)
        steps[number] = env.step(guess(number))
    (hidden,) = [number for number, step in steps.items() if step[2]]
    _, reward, _, _, info = steps[hidden]
    assert (reward, info["success"]) == (1.0, True)
    other = hidden % 10 + 1
    assert steps[other][0][0]["content"].startswith(f"At turn 1, you guessed {other}, and the target number")
    env.restore(here)
    _, reward, terminated, _, info = env.step("seven")  # in no box
    assert (reward, terminated, info["success"]) == (-0.1, True, False)
    assert env.verdict.failure == "a reward of -0.1"


def test_a_reply_without_a_text_leaves_the_game_as_it_was() -> None:
    env = make()
    env.reset(seed=3)
    _, reward, terminated, *_ = env.step(" ")
    assert (reward, terminated) == (-0.1, False)
    _, reward, _, _, info = env.step("x" * 30_000)
    assert (reward, info["reward_terms"]["refused"]) == (-0.1, 1.0)
    seen = env.step(guess(5))[0][0]["content"]
    assert "At turn 1, you guessed" in seen or "in 1 turns" in seen


def test_an_item_of_reasoning_gym_is_one_turn() -> None:
    env = make("rg:basic_arithmetic")
    messages, _ = env.reset(seed=3)
    assert messages[0]["content"]
    messages, _, terminated, _, _ = env.step(guess("no number"))
    assert (messages[0]["content"], terminated) == ("It has ended.", True)


def test_games_in_turns_do_not_disturb_each_other() -> None:
    def played(env: Any, seed: int) -> list[str]:
        seen = [env.reset(seed=seed)[0][0]["content"]]
        for draw in range(4):
            random.random()
            seen.append(env.step(env.possible_reply(draw))[0][0]["content"])
        return seen

    one, other = make("game:Game2048-v0-easy"), make("game:Game2048-v0-easy")
    alone = played(one, 3)
    one.reset(seed=3)
    beside = []
    for draw in range(4):
        beside.append(one.step(one.possible_reply(draw))[0][0]["content"])
        other.reset(seed=4 + draw)
        other.step(other.possible_reply(draw))
    assert beside == alone[1:]


def test_what_cannot_be_played_is_one_line() -> None:
    with pytest.raises(
        ArgumentError, match=r"env_id: 'game:Sudoko-v0-easy' is unknown; the nearest of \d+ are"
    ):
        make("game:Sudoko-v0-easy")
    with pytest.raises(ArgumentError, match="cannot be played here, in a process without a net") as refused:
        make("math:GSM8K")
    assert "\n" not in str(refused.value)


def test_the_pages_example_runs_as_it_stands(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rewards = json.loads(done.stdout.splitlines()[-1])
    assert len(rewards) == 4
