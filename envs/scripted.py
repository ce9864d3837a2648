"""Scripted agents: what every environment ships to prove that its reward measures what it says."""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium


class ScriptedAgent(ABC):
    """Plays one environment through its public interface: spaces, tools, observations, info.

    `begin` is called after every `reset`, `act` before every `step`. An agent may keep what it saw; it may
    call `snapshot` and `restore`, which are public, but reads no private attribute.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        self.env = env
        self.seed = seed

    def begin(self) -> None:  # noqa: B027 (most agents have nothing to forget)
        """Forget the last episode."""

    @abstractmethod
    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The action that answers what `reset` or `step` just returned."""


class Silent(ScriptedAgent):
    """Says nothing."""

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return ""
