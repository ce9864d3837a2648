"""Wrappers of chat environments."""

from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from ludus.envs.chat import Chat, Reply
from ludus.envs.spaces import UnicodeText


class TextObservation(gymnasium.Wrapper[str, str, Chat, Reply], RecordConstructorArgs):
    """Plain strings in and out: an observation is the contents of the messages added, an action is a reply's
    text.

    Contents are parted by a blank line. Roles are left out, so whoever calls knows that the first paragraph
    after `reset` is the system message.

        env = TextObservation(gymnasium.make("ludus/Arithmetic-v0"))
        text, info = env.reset(seed=7)
        text, reward, terminated, truncated, info = env.step("<think>…</think><answer>42</answer>")
    """

    def __init__(self, env: gymnasium.Env[Chat, Reply]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        messages, info = self.env.reset(seed=seed, options=options)
        return flatten(messages), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        messages, reward, terminated, truncated, info = self.env.step(action)
        return flatten(messages), float(reward), terminated, truncated, info


def flatten(messages: Chat) -> str:
    """The contents of messages, parted by blank lines."""
    return "\n\n".join(message["content"] for message in messages)
