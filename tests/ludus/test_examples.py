"""The examples run as their first lines say."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("gym_loop.py", "return "),
        ("own_environment.py", "7: Yes!"),
        ("check_own_environment.py", "example/Guess-v0: conforms"),
    ],
)
def test_an_example_runs(script: str, expected: str) -> None:
    command = [sys.executable, str(REPOSITORY / "examples" / script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "Warn" not in done.stderr


def test_the_page_on_own_environments_shows_code_that_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "environments" / "own.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "ToolEnv" in block]
    names: dict[str, Any] = {"__name__": "page"}
    exec(code, names)
    env = names["Safe"]()
    env.reset(seed=0)
    lift = [{"id": f"c{cup}", "function": {"name": "lift", "arguments": {"cup": cup}}} for cup in range(1, 5)]
    answers, *_ = env.step({"role": "assistant", "content": None, "tool_calls": lift})
    assert answers[3]["content"] == "Error: there is no cup 4; there are 1, 2 and 3"
    (number,) = [answer["content"] for answer in answers[:3] if answer["content"] != "nothing"]
    enter = {"id": "e", "function": {"name": "enter", "arguments": {"number": int(number)}}}
    _, reward, terminated, _, info = env.step({"role": "assistant", "content": None, "tool_calls": [enter]})
    assert (reward, terminated, info["success"]) == (1.0, True, True)
