"""`ChatPolicy`: a model behind `/v1/chat/completions`, which renders messages and reads tool calls itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium

from ludus.agents.chat_messages import read_action, wire_message, with_ids
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.options import SERVED_MAX_TOKENS
from ludus.agents.engines.server import ContextTooLong, MalformedOutput, OpenAIServer
from ludus.agents.policy import Action, derive_seed
from ludus.agents.written_calls import AUTO, WrittenCalls, call_marker, read_any
from ludus.envs.chat import Chat, content_text

_OPTIONAL = (
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "logprobs", "return_token_ids"),
    "response_format",
)
_TOKEN = 4
"""Characters in a token, about."""


@dataclass(frozen=True)
class ChatPolicy:
    """A language model behind a server with OpenAI's interface.

    A turn's seed is `derive_seed(policy seed, player seed, turn)`, cut to the 31 bits that every server
    takes.
    """

    server: OpenAIServer
    sampling: Sampling = field(
        default_factory=lambda: Sampling(max_tokens=SERVED_MAX_TOKENS, temperature=0.0)
    )
    """Without stop ids. `top_p`, `top_k` and `min_p` are sent only if they cut something off."""
    seed: int = 0
    token_ids: bool = False
    """Ask for token ids and log-probabilities (vLLM gives them), so that the episodes can be trained on.
    If the server renders a history differently from what was sampled, the episode forks."""
    written_calls: str = ""
    """How calls in the text of a reply are read. Empty: not at all; the server reads the calls. `auto`: in
    whatever format they are, where the server left them in the text. The name of a format (`hermes`,
    `openai`, …): the server is not told of the tools, which stand in the system message instead."""
    images: bool = False
    """Send images; otherwise the model reads `[image]`."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the server holds replies to, where it can."""

    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """The subjects of `tell`."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "ChatPlayer":
        return ChatPlayer(self, [tool.openai for tool in getattr(env.unwrapped, "tools", ())], seed)

    def tell(self, subject: str, what: str) -> None:
        """Tell whoever watches something about the server, once for each subject."""
        if subject not in self._told:
            self._told.add(subject)
            self.server.listener.note(f"{self.server.name} {what}")


class ChatPlayer:
    def __init__(self, policy: ChatPolicy, tools: Sequence[Any], seed: int) -> None:
        form = policy.written_calls if tools else ""
        self._policy = policy
        self._tools = tools
        self._written = WrittenCalls(form, tools) if form not in ("", AUTO) else None
        self._seed = seed
        self._sent: list[dict[str, Any]] = []
        """The conversation as it goes over the wire."""
        self._context: tuple[int, ...] = ()
        self._tokens = 0
        """About how long the conversation is: as the server counted, before the latest messages."""
        self._turn = 0

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        policy = self._policy
        seed = derive_seed(policy.seed, self._seed, self._turn)
        if self._written is not None:
            observation = (
                self._written.observe(observation) if self._turn else self._written.introduce(observation)
            )
        self._sent = [*self._sent, *(wire_message(message, {}, policy.images) for message in observation)]
        self._tokens += sum(len(content_text(message)) for message in observation) // _TOKEN
        self._turn += 1
        seconds: list[float] = []
        try:
            action = await policy.server.post(
                "chat/completions",
                self._request(seed),
                self._read,
                seed,
                optional=_OPTIONAL,
                prompt_tokens=self._tokens,
                timed=seconds.append,
            )
        except ContextTooLong:
            return Action({"role": "assistant", "content": ""}, finish="length")
        except MalformedOutput as failure:
            action = Action({"role": "assistant", "content": failure.written}, finish="malformed")
        else:
            if not action.prompt_tokens:  # no prompt is empty
                policy.tell(
                    "usage", "does not always count tokens: the figures for tokens and cost are too small"
                )
        action = replace(action, model_seconds=seconds[-1])
        if (action.prompt_tokens or 0) + (action.completion_tokens or 0):
            self._tokens = (action.prompt_tokens or 0) + (action.completion_tokens or 0)
        if self._written is None and self._tools:
            action = self._with_calls_of_text(action)
        self._sent = [*self._sent, wire_message(action.reply, action.vendor)]
        if self._written is not None:
            action = replace(action, reply=self._written.read(action.reply))
        return self._continued(action) if action.prompt_ids else action

    def branch(self, seed: int) -> "ChatPlayer":
        twin = ChatPlayer(self._policy, self._tools, seed)
        twin._sent, twin._context, twin._turn = self._sent, self._context, self._turn
        twin._tokens = self._tokens
        return twin

    def close(self) -> None:
        pass

    def _request(self, seed: int) -> dict[str, Any]:
        policy, sampling = self._policy, self._policy.sampling
        return {
            "messages": self._sent,
            "tools": (self._written is None and self._tools) or None,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p if sampling.top_p < 1 else None,
            "top_k": sampling.top_k if sampling.top_k > 0 else None,
            "min_p": sampling.min_p if sampling.min_p > 0 else None,
            "seed": seed >> 32,
            **({"logprobs": True, "return_token_ids": True} if policy.token_ids else {}),
            "response_format": None if policy.schema is None else _response_format(policy.schema),
        }

    def _read(self, answer: Any) -> Action:
        """The action in the server's answer, and the ids of the whole prompt.

        Raises:
            BadAnswer: it cannot be used.
            ServerRefusal: a filter ended the reply.
        """
        action = read_action(answer, self._policy.sampling.max_tokens)
        return with_ids(action, answer) if self._policy.token_ids else action

    def _with_calls_of_text(self, action: Action) -> Action:
        """The action with the calls that the server left in the text, if they are to be read."""
        if action.reply.get("tool_calls"):
            return action
        if self._policy.written_calls == AUTO:
            return replace(action, reply=read_any(action.reply, self._tools))
        if marker := call_marker(content_text(action.reply)):
            self._policy.tell(
                "calls",
                f"leaves tool calls in the text ({marker}), where they do not count as calls: give "
                "--written-calls auto to have them read",
            )
        return action

    def _continued(self, action: Action) -> Action:
        """The action with the ids that its prompt adds; a prompt that does not begin with the ids seen so far
        is a fork."""
        prompt, seen = action.prompt_ids, self._context
        appended = prompt[: len(seen)] == seen
        self._context = (*prompt, *action.completion_ids)
        return replace(action, prompt_ids=prompt[len(seen) :] if appended else prompt, fork=not appended)


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    held = {"name": "reply", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": held}
