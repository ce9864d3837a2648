"""Tool calls: from a scripted agent to a policy primed on them, which samples and is trained on rewards."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.suites import require_playable
from ludus.agents.formats.base import FormatError
from ludus.agents.models import load_format
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.agents.store import read_episodes
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.tool import tool
from ludus.trainers.algorithms.sft import demonstrate
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.job import refuse_unreadable_calls, train
from ludus.trainers.tasks import Task

TINY = SmallModelShape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=32)
ID = "ludus-test/Lamps-v0"


class Switching(ScriptedAgent):
    """Switches on the named lamps, all in one reply."""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        calls = [
            {
                "id": f"lamp_{lamp}",
                "type": "function",
                "function": {"name": "switch", "arguments": {"lamp": lamp}},
            }
            for lamp in map(int, observation[-1]["content"].split())
        ]
        return {"role": "assistant", "content": "I switch.", "tool_calls": calls}


class Idle(ScriptedAgent):
    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        return "no"


class Lamps(ToolEnv):
    """Two lamps to switch on."""

    max_turns = 2
    rubric = Rubric({"lit": 0.5, "tool_errors": -0.1})
    scripted = {"null": Idle, "random": Switching, "oracle": Switching}  # noqa: RUF012

    def start(self, rng: Any, options: Any) -> Start:
        lamps = tuple(int(lamp) for lamp in rng.permutation(8)[:2])
        return Start([system("Lamps."), user(f"{lamps[0]} {lamps[1]}")], str(lamps), lamps)

    def respond(self, state: Any, text: str) -> Outcome:
        return Outcome(state, [user("Call switch.")], {})

    @tool
    def switch(self, state: Any, lamp: int) -> Answer:
        """Switch a lamp on.

        Args:
            lamp: Which.
        """
        left = tuple(lit for lit in state if lit != lamp)
        return Answer(left, "on", {"lit": float(left != state)}, not left, not left)


@pytest.fixture
def lamps(tiny: RunConfig) -> Any:
    gymnasium.register(ID, Lamps, disable_env_checker=True)
    dump = tiny.model_dump()
    changes = {
        "environment": {"id": ID, "arguments": {}},
        "sft": {**dump["sft"], "steps": 120, "heldout_every": 20},
        "grpo": {**dump["grpo"], "steps": 1, "store_every": 1},
        "rollout": {**dump["rollout"], "max_tokens": 40},
        "evaluation": {**dump["evaluation"], "episodes": 16},
    }
    yield parse_config({**dump, **changes})
    gymnasium.registry.pop(ID)


def test_demonstrations_show_the_tools_and_score_the_calls(lamps: RunConfig, tmp_path: Path) -> None:
    chat_format = load_format(build_small_model([lamps.environment.spec], TINY, cache_directory=tmp_path))
    (row,) = demonstrate([Task(lamps.environment.spec, 7)], chat_format, lamps)
    texts = chat_format.decode(row.ids)
    shown = "".join(text for text, sampled in zip(texts, row.sampled, strict=True) if not sampled)
    said = "".join(text for text, sampled in zip(texts, row.sampled, strict=True) if sampled)
    assert "<|tools|>switch(lamp: integer)<|end|>" in shown
    first, second = shown.partition("<|user|>")[2].partition("<|end|>")[0].split()
    assert said == (
        f"I switch.\n<|call|>switch(lamp={first})<|/call|>\n<|call|>switch(lamp={second})<|/call|><|end|>"
    )


def test_scripted_calls_are_learnt_and_trained_on(lamps: RunConfig, tmp_path: Path) -> None:
    train(lamps, tmp_path / "run")
    (step,) = [line for line in read_metrics(tmp_path / "run") if line["phase"] == "grpo"]
    assert step["mismatch_max"] < 1e-3
    assert step["grad_norm"] > 0
    assert step["terms/lit"] > 0.5
    played = read_episodes(tmp_path / "run" / "episodes" / "evaluation-primed.parquet")
    # Sampled calls reached the environment with their own ids, and the answers have the same ids.
    turns = [turn for episode in played for turn in episode.turns]
    calls = [call for turn in turns for call in turn.reply.get("tool_calls", [])]
    assert len(calls) >= len(played)
    assert {call["id"] for call in calls} >= {"call_0", "call_1"}
    assert any(episode.success for episode in played)
    for episode in played:
        for turn, following in pairwise(episode.turns):
            answered = [m["tool_call_id"] for m in following.observation if m["role"] == "tool"]
            assert answered == [call["id"] for call in turn.reply.get("tool_calls", [])]


def test_calls_that_could_not_be_read_are_refused_before_anything_is_sampled(
    lamps: RunConfig, tmp_path: Path
) -> None:
    sums = EnvironmentSpec("ludus/Arithmetic-v0")
    specs = [sums, lamps.environment.spec]
    folder = build_small_model([sums], TINY, cache_directory=tmp_path)
    (folder / "chat_template.jinja").write_text(
        "{{ tools | tojson if tools else '' }}{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% for call in m.tool_calls or [] %}CALL {{ call.function.name }}{% endfor %}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    refuse_unreadable_calls(load_format(folder), [sums])
    require_playable([sums], PlayerChoice(str(folder)))
    for refuse in (
        lambda: refuse_unreadable_calls(load_format(folder), specs),
        lambda: require_playable(specs, PlayerChoice(str(folder))),
    ):
        with pytest.raises(FormatError, match=r"in no format known here .* use another model") as refused:
            refuse()
        assert "\n" not in str(refused.value)
    without = build_small_model([sums], TINY, cache_directory=tmp_path / "own")
    with pytest.raises(FormatError, match="made for environments without tools"):
        refuse_unreadable_calls(load_format(without), specs)
