"""An environment that says again what it is told, for tests of surfaces: `echoing:Echoing-v0`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Reply, image_part, system, text_part, user
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.errors import ToolError
from ludus.tools.tool import tool

PNG = b"\x89PNG\r\n\x1a\n0000"


@dataclass(frozen=True)
class Told:
    goal: int
    said: int = 0


class Oracle(ScriptedAgent):
    """Calls, looks, and then says the word as often as is asked."""

    def begin(self) -> None:
        self.goal = self.turn = 0

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        self.goal = self.goal or int(observation[1]["content"].split()[2])
        self.turn += 1
        if self.turn == 2:
            return calling("look")
        if self.turn % 2:
            return calling("say", text="é🦊")
        return "again é🦊"


class Echoing(ToolEnv):
    """Says it again.

    Args:
        tries: replies of an episode.
    """

    rubric = Rubric({"said": 1 / 3, "length": -1e-7, "tool_errors": -0.1})
    scripted = {"oracle": Oracle}  # noqa: RUF012

    def __init__(self, tries: int = 6, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.max_turns = tries

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        goal = int(rng.integers(3, 1000))
        return Start([system("Say it – é🦊."), user(f"say it {goal} times")], f"{goal}", Told(goal))

    def answer(self, state: Told, action: Reply) -> Outcome:
        outcome = super().answer(state, action)
        # More messages than calls.
        return replace(outcome, messages=[*outcome.messages, user(f"{outcome.state.said} times")])

    def respond(self, state: Told, text: str) -> Outcome:
        state = replace(state, said=state.said + 1)
        done = state.said == state.goal % 3 + 1 and "é" in text
        return Outcome(state, [user(text[:999])], {"said": 1.0, "length": len(text)}, done, done)

    @tool
    def say(self, state: Told, text: str) -> Answer:
        """Say something.

        Args:
            text: What.
        """
        if len(text) > 1000:
            raise ToolError("shorter, please")
        return Answer(replace(state, said=state.said + 1), text, {"said": 1.0})

    @tool
    def look(self, state: Told) -> Answer:
        """See what there is."""
        return Answer(state, [text_part("here"), image_part(PNG)])


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }


gymnasium.register("Echoing-v0", entry_point=Echoing, disable_env_checker=True, order_enforce=False)
