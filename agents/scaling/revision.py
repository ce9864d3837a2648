"""Sequential revision: the model is shown its own answer and asked again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium

from ludus.agents.episode import Episode
from ludus.agents.policy import Action, Player, Policy, derive_seed
from ludus.envs.chat import Chat, Message, text_part, user

REQUEST = (
    "Check what you did. Then do the same task once more from its beginning, with your whole answer in the "
    "same form."
)
FAILED = "That was not right: it earned {reward:g}."


@dataclass(frozen=True)
class Revising:
    """A policy that is shown an earlier attempt at its episode, and asked to try again.

    An attempt is an episode of its own, from the start of the task; only the latest is shown. The whole
    prompt is rendered anew, so nothing is trained on it.
    """

    policy: Policy
    number: int
    """Which revision: each draws its tokens anew."""
    earlier: Mapping[int, Chat]
    """`attempt` of the latest, by the seed of the episode's player."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "RevisingPlayer":
        return RevisingPlayer(self.policy.player(env, derive_seed(seed, self.number)), self.earlier[seed])


class RevisingPlayer:
    def __init__(self, player: Player, shown: Chat) -> None:
        self._player = player
        self._shown = shown
        """Empty once it was shown."""

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        shown, self._shown = self._shown, []
        return await self._player.act([*observation, *shown], info)

    def close(self) -> None:
        self._player.close()


def attempt(episode: Episode, feedback: bool) -> Chat:
    """What an episode adds to the messages of its start, and the request to do it again.

    Args:
        episode: The attempt.
        feedback: Whether the model reads what the environment answered at the end, and what it earned.
    """
    messages: Chat = []
    for number, turn in enumerate(episode.turns):
        messages += [*(turn.observation if number else []), turn.reply]
    # A server refuses calls without results.
    last = [
        m if feedback else _untold(m) for m in episode.final_observation if feedback or m["role"] == "tool"
    ]
    said = f"{FAILED.format(reward=episode.episode_return)} {REQUEST}" if feedback else REQUEST
    if last and last[-1]["role"] == "user":  # some templates refuse two of a user's messages in a row
        return [*messages, *last[:-1], _longer(last[-1], said)]
    return [*messages, *last, user(said)]


def _untold(message: Message) -> Message:
    return {**message, "content": "Received."}


def _longer(message: Message, text: str) -> Message:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": f"{content}\n\n{text}"}
    return {**message, "content": [*content, text_part(text)]}
