"""`ByStep`: a model that writes a reply step by step, so that search can choose among beginnings of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import gymnasium

from ludus.agents.conversation import Conversation
from ludus.agents.engines.base import EngineError
from ludus.agents.instructed import Instructed
from ludus.agents.policy import Action, EnginePlayer, EnginePolicy, Policy, derive_seed, tool_schemas
from ludus.envs.chat import Chat


@dataclass(frozen=True)
class ByStep:
    """The same model, whose actions are steps of a reply: each continues the ids that are there, and only the
    last one is an action for the environment, with the whole reply. A player of it is for search alone.

    A step ends with the token that completes the separator behind anything but blanks, as that of a process
    reward model does.
    """

    policy: EnginePolicy
    separator: str = "\n"

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "StepPlayer":
        return StepPlayer(self.policy, tool_schemas(env), seed, self.separator)


def by_step(policy: Policy, separator: str = "\n") -> Policy:
    """
    Raises:
        EngineError: the policy does not work on token ids.
    """
    if isinstance(policy, EnginePolicy):
        return ByStep(policy, separator)
    if isinstance(policy, Instructed):
        return replace(policy, policy=by_step(policy.policy, separator))
    raise EngineError(
        f"{type(policy).__name__} cannot be stopped within a reply: search over steps needs token ids, as an "
        "engine in this process or a server of kind openai gives them; search over turns instead"
    )


class StepPlayer(EnginePlayer):
    def __init__(self, policy: EnginePolicy, tools: Any, seed: int, separator: str) -> None:
        super().__init__(policy, tools, seed)
        self._separator = separator
        self._heard: Conversation | None = None
        """The conversation up to where the reply begins, while it is being written."""
        self._begun = Action("")
        """What is written of the reply."""

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        heard, action = self._heard, replace(self._begun, completion_tokens=0)
        if heard is None:
            heard, prompt = self._conversation.hear(observation)
            action = Action("", tuple(prompt.ids), fork=prompt.fork, completion_tokens=0)
        begun = len(action.completion_ids)
        action = replace(action, prompt_tokens=len(heard.context) + begun, is_partial=True)
        step = b""
        while action.is_partial and not (self._separator.encode() in step and step.strip()):
            action = await self._continued(heard, action)
            step = b"".join(heard.format.pieces(action.completion_ids[begun:]))
        action = replace(action, reply=heard.format.parse(action.completion_ids, heard.tools))
        if action.is_partial:
            self._heard, self._begun = heard, action
        else:
            self._conversation, self._heard = heard.say(action.reply, action.completion_ids), None
            self._turn += 1
        return action

    async def _continued(self, heard: Conversation, action: Action) -> Action:
        """The reply up to where a step may end, or whole."""
        written, ends = action.completion_ids, self._sampling.stop_ids
        room = self._sampling.max_tokens - len(written)
        stops = (*ends, *_ids_with(self._separator[-1:], heard.format.pieces, heard.format.vocab_size))
        sampling = replace(self._sampling, stop_ids=stops, max_tokens=room)
        seed = derive_seed(*self._seeds, self._turn, len(written))
        more = await self._session.generate((*heard.context, *written), sampling, seed, heard.pictures)
        is_over = more.finish == "length" or more.ids[-1] in ends or len(more.ids) == room
        return replace(
            action,
            completion_ids=(*written, *more.ids),
            logprobs=(*action.logprobs, *more.logprobs),
            finish="" if not is_over else "stop" if more.ids and more.ids[-1] in ends else "length",
            weights_version=more.weights_version,
            completion_tokens=(action.completion_tokens or 0) + len(more.ids),
            cached_tokens=more.cached_tokens,
            is_partial=not is_over,
        )

    def branch(self, seed: int) -> "StepPlayer":
        twin = StepPlayer(self._policy, self._conversation.tools, seed, self._separator)
        twin._conversation, twin._turn = self._conversation, self._turn
        twin._heard, twin._begun = self._heard, self._begun
        return twin


@lru_cache(maxsize=4)
def _ids_with(text: str, pieces: Callable[[Sequence[int]], list[bytes]], vocab_size: int) -> tuple[int, ...]:
    return tuple(id for id, piece in enumerate(pieces(range(vocab_size))) if text.encode() in piece)
