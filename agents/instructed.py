"""`Instructed`: a policy with a text of the user's at the beginning of its system message."""

from dataclasses import dataclass
from typing import Any

import gymnasium

from ludus.agents.policy import Action, BranchingPlayer, Player, Policy
from ludus.agents.search.branches import SearchError
from ludus.envs.chat import Chat, content_text, system


@dataclass(frozen=True)
class Instructed:
    policy: Policy
    text: str

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "InstructedPlayer":
        return InstructedPlayer(self.policy.player(env, seed), self.text)


class InstructedPlayer:
    def __init__(self, player: Player, text: str) -> None:
        self._player = player
        self._text = text
        """Empty once it was said."""

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        if self._text:
            observation = instructed(observation, self._text)
            self._text = ""
        return await self._player.act(observation, info)

    def branch(self, seed: int) -> "InstructedPlayer":
        if not isinstance(self._player, BranchingPlayer):
            raise SearchError("an instructed player that cannot be branched: search over turns needs a model")
        return InstructedPlayer(self._player.branch(seed), self._text)

    def close(self) -> None:
        self._player.close()


def instructed(messages: Chat, text: str) -> Chat:
    """The messages with the text at the beginning of the system message, or in a new one."""
    first, *rest = messages
    if first["role"] == "system":
        return [system(f"{text}\n\n{content_text(first)}"), *rest]
    return [system(text), *messages]
