"""`ChatPolicy`: a model behind `/v1/chat/completions`, which renders messages and reads tool calls itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium

from ludus.agents.engines.answers import BadAnswer, read_ids, read_logprobs
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.server import ContextTooLong, OpenAIServer
from ludus.agents.formats.calls.reply import distinct_ids, read_json
from ludus.agents.policy import Action, derive_seed
from ludus.agents.written_calls import WrittenCalls
from ludus.envs.chat import Chat, Message, content_text


@dataclass(frozen=True)
class ChatPolicy:
    """A language model behind a server with OpenAI's interface.

    A turn's seed is `derive_seed(policy seed, player seed, turn)`, cut to the 31 bits that every server
    takes.
    """

    server: OpenAIServer
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=1024, temperature=0.0))
    """Without stop ids. `top_p`, `top_k` and `min_p` are sent only if they cut something off."""
    seed: int = 0
    token_ids: bool = False
    """Ask for token ids and log-probabilities (vLLM gives them), so that the episodes can be trained on.
    If the server renders a history differently from what was sampled, the episode forks."""
    written_calls: str = ""
    """Empty: the server is told the tools and reads the calls. Or the name of a format (`hermes`, `openai`,
    …): the tools stand in the system message, and calls are read from the reply's text."""
    images: bool = False
    """Send images; otherwise the model reads `[image]`."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "ChatPlayer":
        return ChatPlayer(self, [tool.openai for tool in getattr(env.unwrapped, "tools", ())], seed)


class ChatPlayer:
    def __init__(self, policy: ChatPolicy, tools: Sequence[Any], seed: int) -> None:
        self._policy = policy
        self._tools = tools
        self._written = WrittenCalls(policy.written_calls, tools) if policy.written_calls and tools else None
        self._seed = seed
        self._sent: list[dict[str, Any]] = []
        """The conversation as it goes over the wire."""
        self._context: tuple[int, ...] = ()
        self._turn = 0

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        policy = self._policy
        seed = derive_seed(policy.seed, self._seed, self._turn)
        if self._written is not None:
            observation = (
                self._written.observe(observation) if self._turn else self._written.introduce(observation)
            )
        self._sent = [*self._sent, *(_sent(message, policy.images) for message in observation)]
        self._turn += 1
        try:
            action = await policy.server.post("chat/completions", self._request(seed), self._read, seed)
        except ContextTooLong:
            return Action({"role": "assistant", "content": ""}, finish="length")
        self._sent = [*self._sent, _sent(action.reply)]
        if self._written is not None:
            action = replace(action, reply=self._written.read(action.reply))
        return self._continued(action) if action.prompt_ids else action

    def branch(self, seed: int) -> "ChatPlayer":
        twin = ChatPlayer(self._policy, self._tools, seed)
        twin._sent, twin._context, twin._turn = self._sent, self._context, self._turn
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
        }

    def _read(self, answer: Any) -> Action:
        """The action in the server's answer, and the ids of the whole prompt.

        Raises:
            BadAnswer: it cannot be used.
        """
        action = _action(answer, self._policy.sampling.max_tokens)
        return _with_ids(action, answer) if self._policy.token_ids else action

    def _continued(self, action: Action) -> Action:
        """The action with the ids that its prompt adds; a prompt that does not begin with the ids seen so far
        is a fork."""
        prompt, seen = action.prompt_ids, self._context
        appended = prompt[: len(seen)] == seen
        self._context = (*prompt, *action.completion_ids)
        return replace(action, prompt_ids=prompt[len(seen) :] if appended else prompt, fork=not appended)


def _sent(message: Mapping[str, Any], images: bool = False) -> dict[str, Any]:
    """A message as servers expect it: arguments are the text of a JSON object, whatever the model wrote.

    Malformed arguments go back under the key `malformed`: a server whose template reads the arguments refuses
    the whole conversation if it cannot read them.
    """
    sent: dict[str, Any] = {**message, "content": message["content"] if images else content_text(message)}
    if "tool_calls" in sent:
        sent["tool_calls"] = [_sent_call(call) for call in sent["tool_calls"]]
    return sent


def _sent_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        read = read_json(function["arguments"] or "{}")
    except ValueError:
        read = None
    arguments = read if isinstance(read, dict) else {"malformed": function["arguments"]}
    return {**call, "function": {**function, "arguments": json.dumps(arguments)}}


def _action(answer: Any, max_tokens: int) -> Action:
    """
    Raises:
        BadAnswer: it has no choice with a message.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
    except (LookupError, TypeError):
        raise BadAnswer(f"an answer without a choice: {json.dumps(answer)[:200]}") from None
    if not isinstance(message, dict):
        raise BadAnswer("a choice without a message")
    cut = choice.get("finish_reason") == "length"
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    sampled = _count(usage.get("completion_tokens"))
    return Action(
        reply=_reply(message),
        finish="length" if cut else "stop",
        prompt_tokens=_count(usage.get("prompt_tokens")) or 0,
        completion_tokens=sampled if sampled is not None else max_tokens if cut else 0,
    )


def _count(value: Any) -> int | None:
    """A number of tokens; None if it is not a number."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def _with_ids(action: Action, answer: Any) -> Action:
    """The action with the server's ids, if it gives all of them.

    Raises:
        BadAnswer: they are not ids, or not log-probabilities.
    """
    choice = answer["choices"][0]
    prompt, ids = read_ids(answer.get("prompt_token_ids")), read_ids(choice.get("token_ids"))
    given = choice.get("logprobs")
    tokens = given.get("content") if isinstance(given, dict) else None
    if isinstance(tokens, list):
        tokens = [token.get("logprob") if isinstance(token, dict) else token for token in tokens]
    logprobs = read_logprobs(tokens)
    if not prompt or len(ids) != len(logprobs):
        return action
    return replace(action, prompt_ids=prompt, completion_ids=ids, logprobs=logprobs)


def _reply(message: Mapping[str, Any]) -> Message:
    """The assistant's message, reduced to the keys of a conversation, with each call in OpenAI's form."""
    content = message.get("content") or message.get("refusal") or ""
    reply: Message = {"role": "assistant", "content": content_text({"content": content})}
    calls = message.get("tool_calls")
    if calls and isinstance(calls, list):
        calls = [call if isinstance(call, Mapping) else {} for call in calls]
        ids = distinct_ids([str(call.get("id") or "") for call in calls])
        reply["tool_calls"] = [_call(id, call) for id, call in zip(ids, calls, strict=True)]
    return reply


def _call(id: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """A call in OpenAI's form, whatever the server left out."""
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments")
    return {
        "id": id,
        "type": "function",
        "function": {
            "name": str(function.get("name") or ""),
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        },
    }
