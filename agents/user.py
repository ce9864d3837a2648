"""`ModelUser`: a language model as the user of an environment, through any policy."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import gymnasium

from ludus.agents.engines.base import EngineFault, ServerRefusal
from ludus.agents.policy import Action, Policy, derive_seed
from ludus.envs.assistant.user import Brief
from ludus.envs.chat import Message, content_text, reply_text, system, user
from ludus.tools.errors import ToolFault

T = TypeVar("T")
MAX_SAID = 1_000
"""The most characters of an answer; the rest is dropped."""


class ModelUser:
    """Answers an assistant as a brief instructs; a `ludus.envs.assistant.user.User`.

        server = OpenAIServer.connect("http://localhost:8000/v1")
        env = gym.make("ludus/Assistant-v0", user=ModelUser(ChatPolicy(server)))

    The policy runs on its own event loop: give it an engine that nothing else uses.

    Args:
        policy: the model; it needs no tools.
        seed: its samples depend only on this and the conversation.
    """

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self._policy = policy
        self._seed = seed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def answer(self, brief: Brief, history: Sequence[Message], text: str) -> str:
        """
        Raises:
            ToolFault: the engine broke, its server refuses the conversation, or the conversation has become
                too long for the model.
        """
        spoken = [
            f"{'You' if message['role'] == 'user' else 'Assistant'}: {content_text(message)}"
            for message in history
        ]
        talk = "\n\n".join(
            (*spoken, f"Assistant: {text}", "What do you answer? Write nothing but your answer.")
        )
        try:
            action = self._run(self._act([system(brief.written), user(talk)], len(history)))
        except (EngineFault, ServerRefusal) as fault:
            raise ToolFault(f"the model that plays the user: {fault}") from fault
        if action.is_empty:
            raise ToolFault("the conversation is too long for the model that plays the user")
        return reply_text(action.reply).strip()[:MAX_SAID] or "(The user says nothing.)"

    async def _act(self, observation: list[Message], turn: int) -> Action:
        player = self._policy.player(gymnasium.Env(), derive_seed(self._seed, turn))
        try:
            return await player.act(observation, {})
        finally:
            player.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on this user's loop, from any thread, and wait for it."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="model-user", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
