"""An environment with tools, for tests over MCP: `mcp_counting:Counting-v0`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from ludus.envs.base import Outcome, Start
from ludus.envs.chat import image_part, system, text_part, user
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.tool import tool

print("a module that prints")

PNG = b"\x89PNG\r\n\x1a\n0000"


@dataclass(frozen=True)
class Count:
    goal: int
    value: int = 0


class Oracle(ScriptedAgent):
    """Adds one at a time, and says when it is done."""

    def begin(self) -> None:
        self.goal = None

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        if self.goal is None:
            self.goal = self.left = int(observation[1]["content"].split()[2])
        if self.left == 0:
            return "done"
        assert self.left == self.goal or observation[0]["content"] == f"now {self.goal - self.left} ü"
        self.left -= 1
        function = {"name": "add", "arguments": {"number": 1}}
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        }


class Counting(ToolEnv):
    """Counts."""

    max_turns = 6
    rubric = Rubric({"counted": 1.0, "steps": -0.01, "tool_errors": -0.1})
    scripted = {"oracle": Oracle}  # noqa: RUF012

    def start(self, rng: Any, options: Mapping[str, Any]) -> Start:
        print("an environment that prints")
        os.system("echo and starts programs that do")
        goal = int(rng.integers(2, 5))
        return Start([system("Count."), user(f"count to {goal}")], f"goal={goal}", Count(goal))

    def respond(self, state: Count, text: str) -> Outcome:
        done = state.value == state.goal
        return Outcome(state, [user("That was it.")], {"counted": float(done), "steps": 1.0}, True, done)

    @tool
    def add(self, state: Count, number: int = 1) -> Answer:
        """Add.

        Args:
            number: How much.
        """
        if number < 0:
            raise ToolError("only upwards")
        if number > 100:
            raise ToolFault("the counter broke")
        value = state.value + number
        return Answer(replace(state, value=value), f"now {value} ü", {"steps": 1.0})

    @tool
    def picture(self, state: Count) -> Answer:
        """Draw."""
        return Answer(state, [text_part("here"), image_part(PNG)])


gymnasium.register("Counting-v0", entry_point=Counting, disable_env_checker=True, order_enforce=False)
