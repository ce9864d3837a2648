"""ReAct: think, then act (S. Yao et al., "ReAct: synergizing reasoning and acting in language models",
2023)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from ludus.agents.formats.calls.literals import read_call
from ludus.agents.formats.calls.reply import Call, ParsedReply, calls_of, message
from ludus.agents.policy import Action, BranchingPlayer, Player, Policy
from ludus.agents.search.branches import SearchError
from ludus.agents.written_calls import with_preface
from ludus.envs.chat import Chat, Message, content_text, reply_text, user

PREFACE = (
    "Work in small steps. Begin every reply with one or two sentences behind 'Thought:' that say what you "
    "know and what to do next. "
)
WITH_TOOLS = (
    "Then either call a tool, or, once you know enough, write what is asked for behind 'Final answer:'. "
    "Where you cannot call a tool otherwise, write a line such as 'Action: name(key=\"value\")'."
)
WITHOUT_TOOLS = "Then write what is asked for behind 'Final answer:'."

_ACTION = re.compile(r"^Action:[ \t]*(.+?)(?=^Action:|^Observation:|\Z)", re.M | re.S)
_INPUT = re.compile(r"(.*?)^Action Input:(.*)", re.M | re.S)


@dataclass(frozen=True)
class ReAct:
    """Asks a model for a thought before each step, by a preface to the system message.

    The model may use its own tool calls; if it writes `Action: name(key="value")`, or `Action: name` and
    `Action Input: {…}`, that is carried out as a call, and the result comes back after `Observation:`. From a
    reply without calls, the environment gets the text after the last `Final answer:`, or all of it.
    """

    policy: Policy

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "ReActPlayer":
        return ReActPlayer(self.policy.player(env, seed), bool(getattr(env.unwrapped, "tools", ())))


class ReActPlayer:
    def __init__(self, player: Player, has_tools: bool) -> None:
        self._player = player
        self._has_tools = has_tools
        self._begun = False
        self._wrote = False
        """The last calls were read from the text, so the model has no calls of its own that results could
        belong to."""

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        if not self._begun:
            observation = with_preface(
                observation, PREFACE + (WITH_TOOLS if self._has_tools else WITHOUT_TOOLS)
            )
            self._begun = True
        elif self._wrote:
            observation = [_observed(message) for message in observation]
        action = await self._player.act(observation, info)
        reply = action.reply
        text = reply_text(reply)
        self._wrote = False
        if isinstance(reply, dict) and reply.get("tool_calls"):
            return action
        if self._has_tools and (calls := written_calls(text)):
            self._wrote = True
            return replace(action, reply=message(ParsedReply(text, tuple(calls))))
        return replace(action, reply={"role": "assistant", "content": final_words(text)})

    def branch(self, seed: int) -> "ReActPlayer":
        if not isinstance(self._player, BranchingPlayer):
            raise SearchError("ReAct over a player that cannot be branched: search over turns needs a model")
        twin = ReActPlayer(self._player.branch(seed), self._has_tools)
        twin._begun, twin._wrote = self._begun, self._wrote
        return twin

    def close(self) -> None:
        self._player.close()


def written_calls(text: str) -> Sequence[Call]:
    """The calls in a reply's text, up to where the model invents an observation."""
    text = re.split(r"^Observation:", text, maxsplit=1, flags=re.M)[0]
    return [_call(match[1].strip()) for match in _ACTION.finditer(text)]


def final_words(text: str) -> str:
    """The text after the last `Final answer:`, or the whole text if there is none."""
    found = re.split(r"^Final answer:[ \t]*", text, flags=re.M | re.I)
    return found[-1].strip() if len(found) > 1 else text


def _call(text: str) -> Call:
    separate = _INPUT.fullmatch(text)
    if separate is None:
        return read_call(text)
    written = {"function": {"name": separate[1].strip(), "arguments": separate[2].strip()}}
    (call,) = calls_of({"tool_calls": [written]})
    return call


def _observed(message: Message) -> Message:
    return user(f"Observation: {content_text(message)}") if message["role"] == "tool" else message
