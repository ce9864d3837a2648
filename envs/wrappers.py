"""Wrappers of chat environments."""

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from ludus.envs.chat import Chat, Reply, content_text
from ludus.envs.spaces import UnicodeText


class TextObservation(gymnasium.ObservationWrapper[str, Reply, Chat], RecordConstructorArgs):
    """Plain strings in and out: an observation is the contents of the messages added, an action is a text.

    Contents are parted by a blank line; an image reads `[image]`. Roles are left out: after `reset` the
    system message comes first.

        env = TextObservation(gymnasium.make("ludus/Arithmetic-v0"))
        text, info = env.reset(seed=7)
        text, reward, terminated, truncated, info = env.step("<think>…</think><answer>42</answer>")
    """

    def __init__(self, env: gymnasium.Env[Chat, Reply]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()

    def observation(self, observation: Chat) -> str:
        return "\n\n".join(content_text(message) for message in observation)
